/* What may be published by hand, and how it is checked: one row a topic of asyncapi.yaml. */
#ifndef PROTO_TOPICS_H
#define PROTO_TOPICS_H

#include <weir/err.h>
#include <weir/mem.h>

struct proto_topic {
    const char *name;
    const char *default_key; /* of a record published without a key; NULL: none */
    /* BAD_INPUT with the place when value is not a message of this topic. Stricter than its
     * consumers, who must let unknown types pass. NULL: not checked */
    int (*check)(const void *value, size_t size_bytes, weir_arena *arena, struct weir_err *err);
};

/* Ended by a row whose name is NULL. */
extern const struct proto_topic proto_topics[];

/* The row of that name, or NULL. */
const struct proto_topic *proto_topic_find(const char *name);

#endif
