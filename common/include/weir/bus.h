/* The bus port: what Weir asks of a log of records. Two implementations: "kafka" (librdkafka) and
 * "memory" (a process's own, for unit tests); tests/contract/bus_conformance.c says what both
 * promise.
 *
 * A bus is used by one thread, except weir_bus_wake(). Callbacks run inside weir_bus_poll(),
 * weir_bus_consume() and weir_bus_close() on that thread. Topic and group names are given and shown
 * without the namespace, which the bus adds and takes off. */
#ifndef WEIR_BUS_H
#define WEIR_BUS_H

#include <stdbool.h>

#include <weir/err.h>
#include <weir/mem.h>
#include <weir/msg.h>

typedef struct weir_bus weir_bus;

struct weir_partition {
    const char *topic;
    int32_t partition;
    int64_t offset;       /* in or out, as the call says; -1: none */
    const char *metadata; /* of a committed offset; NULL or text */
};

struct weir_bus_events {
    /* The group gave us partitions. For each, .offset and .metadata are what the group has
     * committed (-1: nothing). The callback may set .offset to where consumption shall start (-1:
     * the beginning of the log). */
    void (*assigned)(void *arg, struct weir_partition *parts, size_t count);
    /* The group takes partitions back; they are ours until the callback returns, unless lost: then
     * another member may have them already. */
    void (*revoked)(void *arg, const struct weir_partition *parts, size_t count, bool lost);
    /* The outcome of weir_bus_produce() with that opaque: fault WEIR_OK with partition and offset,
     * else TRY_LATER (not delivered in time) or BAD_INPUT (the broker refuses the record, e.g. too
     * large), with a reason. */
    void (*delivered)(void *arg, void *opaque, enum weir_fault fault, int32_t partition,
                      int64_t offset, const char *reason);
    /* The outcome of weir_bus_commit() with that opaque. */
    void (*committed)(void *arg, void *opaque, enum weir_fault fault, const char *reason);
    /* The cluster can't be reached (up false), can be again (true); also other remarks worth a log
     * line (up as before). */
    void (*state)(void *arg, bool up, const char *reason);
    void *arg;
};

struct weir_bus_config {
    /* "kafka:host:port,host:port" or "memory:name" (shared by all buses of that name in the
     * process) */
    const char *url;
    const char *name_space; /* prefix of topics and groups, "" for none */
    const char *client_id;
    const char *group;    /* NULL: no consumer group: produce, read and administer only */
    const char *instance; /* static membership; NULL or "": dynamic */
    char *const *env;     /* WEIR_KAFKA_* are passed through as librdkafka properties; NULL: none */
    /* Asked before a record of the partition is handed out; NULL: always. A partition that is not
     * ready is left in its queue: back-pressure without pausing. */
    bool (*ready_for)(void *arg, const char *topic, int32_t partition);
    /* Asked while an assignment waits for the cluster: true gives it up. NULL: never. */
    bool (*stopping)(void *arg);
    struct weir_bus_events on;
};

/* FATAL: malformed url or property. Does not wait for a broker: an absent one is reported by
 * on.state. */
WEIR_MUST_CHECK int weir_bus_open(const struct weir_bus_config *config, weir_bus **out,
                                  struct weir_err *err);

/* Gives back all partitions (on.revoked) and leaves the group; the bus then still produces and
 * polls. */
void weir_bus_leave(weir_bus *bus);

/* Leaves if it must, flushes nothing: deliveries not yet reported are dropped. */
void weir_bus_close(weir_bus **bus);

WEIR_MUST_CHECK int weir_bus_subscribe(weir_bus *bus, const char *const *topics,
                                       struct weir_err *err);

/* Waits up to timeout_ms for anything (0: not at all), runs callbacks, and returns 1 with *out
 * borrowed until the next call on this bus when there is a record, else 0, or a negative fault
 * (FATAL: fenced, unknown property of the broker, not authorised is TRY_LATER through on.state). */
WEIR_MUST_CHECK int weir_bus_consume(weir_bus *bus, int timeout_ms, const struct weir_msg **out,
                                     struct weir_err *err);

/* Like consume, but leaves records and rebalances alone: delivery reports, commits and states only.
 * Callable inside callbacks. Returns after the first wake-up, at the latest after timeout_ms. */
void weir_bus_poll(weir_bus *bus, int timeout_ms);

/* Any thread: makes a waiting consume or poll return soon. */
void weir_bus_wake(weir_bus *bus);

/* Queues a record (copied). msg.partition -1: by the key (murmur2, as Kafka's Java client), time_ms
 * 0: now. WEIR_TRY_LATER: the queue is full, poll and try again; BAD_INPUT: can never be sent (too
 * large); RETRY: refused for now (an unknown topic). */
WEIR_MUST_CHECK int weir_bus_produce(weir_bus *bus, const struct weir_msg *msg, void *opaque,
                                     struct weir_err *err);

/* Asynchronous: commits .offset (the next to read) and .metadata of each partition; on.committed
 * tells the outcome. */
void weir_bus_commit(weir_bus *bus, const struct weir_partition *parts, size_t count, void *opaque);

/* The last known end of a partition's log (high watermark), without asking; -1 unknown. */
int64_t weir_bus_end(weir_bus *bus, const char *topic, int32_t partition);

/* ---- asking the cluster ----
 * Each waits up to timeout_ms. TRY_LATER: no answer. Lists live in arena. */

struct weir_topic_info {
    const char *name;
    int32_t partitions;
    int32_t replicas;
};
/* All topics of the namespace, by name. */
WEIR_MUST_CHECK int weir_bus_topics(weir_bus *bus, int timeout_ms, weir_arena *arena,
                                    struct weir_topic_info **out, size_t *count,
                                    struct weir_err *err);

struct weir_topic_config {
    const char *name, *value; /* e.g. "retention.ms", "604800000" */
};
struct weir_topic_spec {
    const char *name;
    int32_t partitions;
    int32_t replicas;                        /* -1: the broker's default */
    const struct weir_topic_config *configs; /* ended by { 0 }; may be NULL */
};
/* BAD_INPUT: refused by the broker. An existing topic is BAD_INPUT too. */
WEIR_MUST_CHECK int weir_bus_topic_create(weir_bus *bus, const struct weir_topic_spec *spec,
                                          int timeout_ms, struct weir_err *err);
WEIR_MUST_CHECK int weir_bus_topic_grow(weir_bus *bus, const char *topic, int32_t partitions,
                                        int timeout_ms, struct weir_err *err);
/* Values that differ from the broker's defaults, only those of the topic itself. */
WEIR_MUST_CHECK int weir_bus_topic_configs(weir_bus *bus, const char *topic, int timeout_ms,
                                           weir_arena *arena, struct weir_topic_config **out,
                                           size_t *count, struct weir_err *err);
/* Sets exactly these values, keeping the others that the topic has. */
WEIR_MUST_CHECK int weir_bus_topic_configure(weir_bus *bus, const char *topic,
                                             const struct weir_topic_config *configs,
                                             int timeout_ms, struct weir_err *err);
/* Deletes a partition's records below before_offset. */
WEIR_MUST_CHECK int weir_bus_truncate(weir_bus *bus, const char *topic, int32_t partition,
                                      int64_t before_offset, int timeout_ms, struct weir_err *err);

/* First and next offset of a partition. */
WEIR_MUST_CHECK int weir_bus_bounds(weir_bus *bus, const char *topic, int32_t partition,
                                    int timeout_ms, int64_t *first, int64_t *end,
                                    struct weir_err *err);
/* Names of the namespace's consumer groups. */
WEIR_MUST_CHECK int weir_bus_groups(weir_bus *bus, int timeout_ms, weir_arena *arena,
                                    const char ***out, size_t *count, struct weir_err *err);
/* What a group has committed. */
WEIR_MUST_CHECK int weir_bus_group_offsets(weir_bus *bus, const char *group, int timeout_ms,
                                           weir_arena *arena, struct weir_partition **out,
                                           size_t *count, struct weir_err *err);

/* Reads a partition from offset on, without a group: each(arg, msg) for every record below end, in
 * order, until it returns other than 0, which is then returned. TRY_LATER: nothing came for
 * timeout_ms. */
WEIR_MUST_CHECK int weir_bus_scan(weir_bus *bus, const char *topic, int32_t partition,
                                  int64_t offset, int64_t end, int timeout_ms,
                                  int (*each)(void *arg, const struct weir_msg *msg), void *arg,
                                  struct weir_err *err);

/* ---- implementations: a bus starts with its operations ---- */

struct weir_bus_ops;
struct weir_bus {
    const struct weir_bus_ops *ops;
};

WEIR_AUTO_DEFINE(weir_bus, weir_bus_close)

#endif
