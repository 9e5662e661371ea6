#include "shelf-help/envelope.h"

#define AT(member) .at = WEIR_AT(struct shelf_help_envelope, member)

static const char *check_message_id(const char *text)
{
    return *text ? NULL : "empty";
}

static const char *check_type(const char *text)
{
    return strcmp(text, "Notification") == 0 ? NULL : "not Notification";
}

// clang-format off
const struct weir_field shelf_help_envelope_fields[] = {
    { "/Type",             AT(type),              .optional = true, .check = check_type },
    { "/MessageId",        AT(message_id),        .optional = true, .nullable = true, .check = check_message_id },
    { "/Message",          AT(message) },
    { "/TopicArn",         AT(topic_arn),         .optional = true, .nullable = true },
    { "/Timestamp",        AT(timestamp),         .optional = true, .nullable = true },
    { "/SequenceNumber",   AT(sequence_number),   .optional = true, .nullable = true },
    { "/Subject",          AT(subject),           .optional = true, .nullable = true },
    { "/SignatureVersion", AT(signature_version), .optional = true, .nullable = true },
    { "/Signature",        AT(signature),         .optional = true, .nullable = true },
    { "/SigningCertURL",   AT(signing_cert_url),  .optional = true, .nullable = true },
    { 0 }
};
// clang-format on
