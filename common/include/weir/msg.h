/* A record of a topic, as handlers see it. Everything in it is borrowed: valid while the handler
 * runs. */
#ifndef WEIR_MSG_H
#define WEIR_MSG_H

#include <stddef.h>
#include <stdint.h>

struct weir_header {
    const char *name;
    const void *value; /* NULL: a header without a value */
    size_t size_bytes;
};

struct weir_msg {
    const char *topic; /* without WEIR_NAMESPACE */
    int32_t partition;
    int64_t offset;
    const void *key; /* NULL: no key */
    size_t key_size_bytes;
    const void *value; /* NULL: tombstone. Not NUL-terminated */
    size_t value_size_bytes;
    int64_t time_ms; /* the record's timestamp, since the epoch; 0 unknown */
    const struct weir_header *headers;
    size_t header_count;

    /* filled by the runtime */
    const char *id; /* ce_id, or "topic/partition/offset" */
    int attempt;    /* 1: first */
    void *decoded;  /* what the route's .decode left, else NULL */
};

/* The last header of that name, or NULL. */
const struct weir_header *weir_msg_header(const struct weir_msg *msg, const char *name);

#endif
