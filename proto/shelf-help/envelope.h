/* The envelope that SNS puts around a message (a notification), as it lies in shelf-help.events.
 *
 * Only Message is required: what was published by hand need not invent the rest. A FIFO topic sends
 * no signature members. Members that nobody reads (UnsubscribeURL, MessageAttributes) are ignored.
 */
#ifndef PROTO_SHELF_HELP_ENVELOPE_H
#define PROTO_SHELF_HELP_ENVELOPE_H

#include <weir/json.h>

struct shelf_help_envelope {
    const char *type; /* "Notification", or NULL when absent */
    const char *message_id;
    const char *message; /* the event: JSON in a JSON string */
    const char *topic_arn;
    const char *timestamp;
    const char *sequence_number; /* digits, up to 128 bits: compare as text */
    const char *subject;
    const char *signature_version;
    const char *signature;
    const char *signing_cert_url;
};

extern const struct weir_field shelf_help_envelope_fields[];

#endif
