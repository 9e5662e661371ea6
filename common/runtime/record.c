#include "runtime/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ATTEMPTS_MAX = 1000 };

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data; /* FNV-1a: short keys, and a crowded chain only costs time */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

static void *put(char **at, const void *data, size_t size)
{
    char *to = *at;
    if (size)
        memcpy(to, data, size);
    to[size] = '\0';
    *at += size + 1;
    return to;
}

static int64_t header_int(const struct weir_msg *msg, const char *name, int64_t otherwise)
{
    const struct weir_header *header = weir_msg_header(msg, name);
    char text[24];
    if (!header || !header->value || header->size_bytes == 0 || header->size_bytes >= sizeof(text))
        return otherwise;
    memcpy(text, header->value, header->size_bytes);
    text[header->size_bytes] = '\0';
    char *end;
    int64_t value = strtoll(text, &end, 10);
    return *end ? otherwise : value;
}

struct record *record_new(const struct weir_msg *msg, struct part *part,
                          const struct weir_route *route)
{
    const struct weir_header *id = weir_msg_header(msg, "ce_id");
    bool has_id = id && id->value && id->size_bytes > 0 && id->size_bytes <= 256;
    size_t size = sizeof(struct record) + msg->header_count * sizeof(struct weir_header) +
                  strlen(route->topic) + 1 + msg->key_size_bytes + 1 + msg->value_size_bytes + 1 +
                  (has_id ? id->size_bytes + 1 : strlen(route->topic) + 64);
    for (size_t i = 0; i < msg->header_count; i++)
        size += strlen(msg->headers[i].name) + 1 + msg->headers[i].size_bytes + 1;

    struct record *record = weir_xmalloc(size);
    memset(record, 0, sizeof(*record));
    struct weir_header *headers = (struct weir_header *)(record + 1);
    char *at = (char *)(headers + msg->header_count);

    record->part = part;
    record->route = route;
    record->offset = msg->offset;
    record->size_bytes = size;
    record->msg = *msg;
    record->msg.topic = put(&at, route->topic, strlen(route->topic));
    record->msg.key = msg->key ? put(&at, msg->key, msg->key_size_bytes) : NULL;
    record->msg.value = msg->value ? put(&at, msg->value, msg->value_size_bytes) : NULL;
    for (size_t i = 0; i < msg->header_count; i++) {
        headers[i].name = put(&at, msg->headers[i].name, strlen(msg->headers[i].name));
        headers[i].size_bytes = msg->headers[i].size_bytes;
        headers[i].value = msg->headers[i].value
                               ? put(&at, msg->headers[i].value, msg->headers[i].size_bytes)
                               : NULL;
    }
    record->msg.headers = headers;

    /* A record that came over a retry topic keeps the name it was born with. */
    record->msg.attempt = 1;
    if (strcmp(msg->topic, route->topic) != 0) {
        record->msg.partition = (int32_t)header_int(msg, "weir_partition", msg->partition);
        record->msg.offset = header_int(msg, "weir_offset", msg->offset);
        int64_t before = header_int(msg, "weir_attempts", 0); /* anyone may have written it */
        record->msg.attempt = before > 0 && before < ATTEMPTS_MAX ? (int)before + 1 : 1;
    }
    if (has_id) {
        record->msg.id = put(&at, id->value, id->size_bytes);
    } else {
        record->msg.id = at;
        snprintf(at, strlen(route->topic) + 64, "%s/%" PRId32 "/%" PRId64, route->topic,
                 record->msg.partition, record->msg.offset);
    }
    return record;
}

void keys_open(struct keys *keys, size_t most_records)
{
    size_t size = 64;
    while (size < most_records)
        size *= 2;
    keys->buckets = weir_xcalloc(size, sizeof(*keys->buckets));
    keys->mask = size - 1;
}

void keys_close(struct keys *keys)
{
    free(keys->buckets);
    keys->buckets = NULL;
}

static bool same_key(const struct record *a, const struct record *b)
{
    return a->key_hash == b->key_hash && a->part == b->part &&
           a->msg.key_size_bytes == b->msg.key_size_bytes &&
           memcmp(a->msg.key, b->msg.key, a->msg.key_size_bytes) == 0;
}

bool keys_enter(struct keys *keys, struct record *record)
{
    if (!record->msg.key)
        return true;
    record->keyed = true;
    record->key_hash = hash_bytes(14695981039346656037u, &record->part, sizeof(record->part));
    record->key_hash = hash_bytes(record->key_hash, record->msg.key, record->msg.key_size_bytes);

    struct record **at = &keys->buckets[record->key_hash & keys->mask];
    while (*at && !same_key(*at, record))
        at = &(*at)->bucket;
    struct record *last = *at;
    record->bucket = last ? last->bucket : NULL;
    *at = record; /* the last of a key stands in the table for all of it */
    if (last)
        last->behind = record;
    return !last;
}

struct record *keys_leave(struct keys *keys, struct record *record)
{
    if (!record->keyed)
        return NULL;
    record->keyed = false;
    if (record->behind)
        return record->behind;
    struct record **at = &keys->buckets[record->key_hash & keys->mask];
    while (*at != record)
        at = &(*at)->bucket;
    *at = record->bucket;
    return NULL;
}
