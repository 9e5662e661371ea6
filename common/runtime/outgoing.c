/* Emitted records, retries and dead letters: their headers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/clock.h>
#include <weir/hash.h>
#include <weir/trace.h>

#include "runtime/unit.h"

enum { OWN_HEADERS_MAX = 16, TEXT_MAX = 2048, REASON_MAX = 256 };

const char *const retry_suffixes[RETRY_STAGES] = { ".retry.10s", ".retry.1m", ".retry.10m" };
static const int64_t retry_waits_ms[RETRY_STAGES] = { 10000, 60000, 600000 };

/* Headers that the runtime sets itself on retries and letters; a record that has them already (from
 * an earlier retry) gets new ones. */
static const char *const own_headers[] = {
    "weir_reason",
    "weir_fault",
    "weir_topic",
    "weir_partition",
    "weir_offset",
    "weir_attempts",
    "weir_time",
    "weir_service",
    "weir_due_ms",
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.exception.message",
    NULL,
};

static bool is_own(const char *name)
{
    for (const char *const *own = own_headers; *own; own++)
        if (strcmp(name, *own) == 0)
            return true;
    return false;
}

/* The block under construction: struct outgoing, headers, texts. */
struct draft {
    struct outgoing *out;
    struct weir_header *headers;
    char *text, *text_end;
};

static struct draft draft_new(struct record *cause, enum outgoing_kind kind, size_t headers,
                              size_t text_size)
{
    struct draft draft;
    size_t size = sizeof(struct outgoing) + headers * sizeof(struct weir_header) + text_size;
    draft.out = weir_xmalloc(size);
    memset(draft.out, 0, sizeof(*draft.out));
    draft.headers = (struct weir_header *)(draft.out + 1);
    draft.text = (char *)(draft.headers + headers);
    draft.text_end = draft.text + text_size;
    draft.out->cause = cause;
    draft.out->kind = kind;
    draft.out->msg.partition = -1;
    draft.out->msg.headers = draft.headers;
    return draft;
}

static const char *keep_bytes(struct draft *draft, const void *data, size_t size)
{
    char *to = draft->text;
    if (size)
        memcpy(to, data, size);
    to[size] = '\0';
    draft->text += size + 1;
    return to;
}

WEIR_PRINTF(3, 4)
static const char *keep(struct draft *draft, size_t *length, const char *format, ...)
{
    va_list args;
    char *to = draft->text;
    size_t space = (size_t)(draft->text_end - to);

    va_start(args, format);
    int wanted = vsnprintf(to, space, format, args);
    va_end(args);
    size_t got = (size_t)wanted < space ? (size_t)wanted : space - 1;
    draft->text += got + 1;
    if (length)
        *length = got;
    return to;
}

static void add(struct draft *draft, const char *name, const void *value, size_t size)
{
    draft->headers[draft->out->msg.header_count++] =
        (struct weir_header){ .name = name, .value = value, .size_bytes = size };
}

#define ADD(draft, name, ...)                                                                      \
    do {                                                                                           \
        size_t length_ = 0;                                                                        \
        const char *text_ = keep((draft), &length_, __VA_ARGS__);                                  \
        add((draft), (name), text_, length_);                                                      \
    } while (0)

struct outgoing *outgoing_emit(struct record *cause, const char *service, const char *topic,
                               const char *key, const void *value, size_t size_bytes)
{
    const struct weir_header *parent = weir_msg_header(&cause->msg, "traceparent");
    size_t key_size = key ? strlen(key) : 0;
    struct draft draft = draft_new(cause, OUTGOING_EMIT, OWN_HEADERS_MAX,
                                   TEXT_MAX + key_size + size_bytes + strlen(topic));
    char seed[512], digest[WEIR_SHA256_HEX_SIZE], time[WEIR_ISO_SIZE];
    char trace[WEIR_TRACEPARENT_SIZE];

    draft.out->msg.topic = keep_bytes(&draft, topic, strlen(topic));
    draft.out->msg.key = key ? keep_bytes(&draft, key, key_size) : NULL;
    draft.out->msg.key_size_bytes = key_size;
    draft.out->msg.value = keep_bytes(&draft, value, size_bytes);
    draft.out->msg.value_size_bytes = size_bytes;

    /* The same cause at the same place gives the same id, so that a replay is recognised. */
    int length =
        snprintf(seed, sizeof(seed), "%s/%s/%" PRIu32, cause->msg.id, service, cause->emitted++);
    weir_sha256_hex(seed, (size_t)length < sizeof(seed) ? (size_t)length : sizeof(seed) - 1,
                    digest);
    weir_iso_time(weir_wall_ms(), time);
    weir_traceparent_child(parent ? parent->value : NULL, parent ? parent->size_bytes : 0, trace);
    ADD(&draft, "ce_specversion", "1.0");
    ADD(&draft, "ce_id", "%.32s", digest);
    ADD(&draft, "ce_type", "%s", topic);
    ADD(&draft, "ce_source", "/weir/%s", service);
    ADD(&draft, "ce_time", "%s", time);
    ADD(&draft, "content-type", "application/json");
    ADD(&draft, "traceparent", "%s", trace);
    return draft.out;
}

/* A copy of the cause's headers but for our own, then where it comes from and why. */
static struct draft draft_forward(struct record *cause, enum outgoing_kind kind,
                                  const char *service, int attempts, const struct weir_err *why)
{
    const struct weir_msg *msg = &cause->msg;
    struct draft draft = draft_new(cause, kind, msg->header_count + OWN_HEADERS_MAX,
                                   TEXT_MAX + 2 * strlen(msg->topic));

    draft.out->msg.key = msg->key;
    draft.out->msg.key_size_bytes = msg->key_size_bytes;
    draft.out->msg.value = msg->value;
    draft.out->msg.value_size_bytes = msg->value_size_bytes;
    for (size_t i = 0; i < msg->header_count; i++)
        if (!is_own(msg->headers[i].name))
            add(&draft, msg->headers[i].name, msg->headers[i].value, msg->headers[i].size_bytes);
    ADD(&draft, "weir_reason", "%.*s", REASON_MAX, why->text);
    ADD(&draft, "weir_fault", "%s", weir_fault_name(why->fault));
    ADD(&draft, "weir_topic", "%s", msg->topic);
    ADD(&draft, "weir_partition", "%" PRId32, msg->partition);
    ADD(&draft, "weir_offset", "%" PRId64, msg->offset);
    ADD(&draft, "weir_attempts", "%d", attempts);
    ADD(&draft, "weir_service", "%s", service);
    return draft;
}

struct outgoing *outgoing_retry(struct record *cause, const char *service, int stage,
                                const struct weir_err *why, int64_t now_ms)
{
    struct draft draft = draft_forward(cause, OUTGOING_RETRY, service, cause->msg.attempt, why);
    draft.out->msg.topic = keep(&draft, NULL, "%s%s", service, retry_suffixes[stage]);
    ADD(&draft, "weir_due_ms", "%" PRId64, now_ms + retry_waits_ms[stage]);
    return draft.out;
}

struct outgoing *outgoing_letter(struct record *cause, const char *service, int attempts,
                                 const struct weir_err *why, int64_t now_ms)
{
    struct draft draft = draft_forward(cause, OUTGOING_LETTER, service, attempts, why);
    char time[WEIR_ISO_SIZE];

    weir_iso_time(now_ms, time);
    draft.out->msg.topic = keep(&draft, NULL, "%s.dlq", service);
    ADD(&draft, "weir_time", "%s", time);
    ADD(&draft, "__connect.errors.topic", "%s", cause->msg.topic);
    ADD(&draft, "__connect.errors.partition", "%" PRId32, cause->msg.partition);
    ADD(&draft, "__connect.errors.offset", "%" PRId64, cause->msg.offset);
    ADD(&draft, "__connect.errors.exception.message", "%.*s", REASON_MAX, why->text);
    return draft.out;
}

int64_t retry_due_ms(const struct weir_msg *msg)
{
    const struct weir_header *header = weir_msg_header(msg, "weir_due_ms");
    char text[24] = "";
    if (header && header->value && header->size_bytes < sizeof(text))
        memcpy(text, header->value, header->size_bytes);
    return strtoll(text, NULL, 10);
}
