/* A service: an option table, handlers and a descriptor. The runtime owns main(), signals, polling,
 * commits, retries, dead letters, metrics, health and shutdown; docs/adding-a-service.md walks
 * through one.
 *
 * Promises, for every route: a record's offset is committed only when its effect is durable;
 * records of one key in one partition are handled one at a time in offset order; one `self` a
 * worker thread, so handlers need no locks. */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include <weir/err.h>
#include <weir/json.h>
#include <weir/log.h>
#include <weir/mem.h>
#include <weir/metric.h>
#include <weir/msg.h>
#include <weir/option.h>

/* What a hook may ask of the runtime; valid while the hook runs. */
typedef struct weir_ctx weir_ctx;

enum weir_retry_mode {
    WEIR_RETRY_IN_PLACE = 0, /* ordered: the record waits, and its key with it; others pass      */
    WEIR_RETRY_TOPICS,       /* unordered: <service>.retry.10s, .1m, .10m, then the dead letters */
};

struct weir_route {
    const char *topic;

    /* One of the two. handle: one record. handle_batch: up to batch_max records of one partition in
     * offset order, at most one batch of a partition at a time. Both return WEIR_OK or a fault set
     * in weir_err(ctx). */
    int (*handle)(weir_ctx *ctx, const struct weir_msg *msg);
    int (*handle_batch)(weir_ctx *ctx, const struct weir_msg *const *msgs, size_t count);

    /* Batch routes, optional: turns one record into *decoded (in the arena, kept until the batch is
     * done), ahead of and beside the writing of the batch before. No I/O. BAD_INPUT dead-letters
     * that record alone. */
    int (*decode)(weir_ctx *ctx, const struct weir_msg *msg, void **decoded);

    enum weir_retry_mode retry;
    int retries;           /* RETRY_IN_PLACE: tries after the first; 0: 5 */
    int64_t batch_max;     /* records; 0: 1000. The user's WEIR_BATCH_MAX goes first */
    int64_t batch_wait_ms; /* an incomplete batch waits this long; WEIR_BATCH_WAIT_MS goes first */
};

struct weir_service {
    const char *name;                /* = directory, binary, group, log and metric label */
    const char *summary;             /* one line for --help */
    const char *prefix;              /* of the pipeline's options: "SHELF_HELP_" */
    const struct weir_route *routes; /* ended by { 0 } */
    const char *const *outputs; /* topics that handlers emit to, NULL-terminated; may be NULL */
    const struct weir_option *options; /* ended by { 0 }; may be NULL */
    int concurrency;  /* worker threads unless WEIR_CONCURRENCY says otherwise; 0: 4 */
    size_t self_size; /* one a worker thread, zeroed, options filled in */

    int (*start)(weir_ctx *ctx); /* on the worker's thread. TRY_LATER: tried again with back-off */
    void (*stop)(weir_ctx *ctx);
    int (*check)(weir_ctx *ctx); /* --check: reachability beyond the broker; may be NULL */

    /* Sinks that store offsets with their rows: sets *next to the stored next offset of a
     * partition, or leaves it (-1) where nothing is stored. Asked at every assignment. Such routes
     * must be batch routes. */
    int (*resume)(weir_ctx *ctx, const char *topic, int32_t partition, int64_t *next);
    /* With resume: stores next though no rows come with it, because the last records before it went
     * to the dead letters. Asked when a partition has nothing else to do. */
    int (*advance)(weir_ctx *ctx, const char *topic, int32_t partition, int64_t next);
};

extern const struct weir_service weir_service; /* each service's service.c */

/* ---- in hooks ---- */

void *weir_self(weir_ctx *ctx);
struct weir_err *weir_err(weir_ctx *ctx);
weir_arena *weir_arena_of(weir_ctx *ctx); /* dropped whole after the record or batch */
int64_t weir_now_ms(weir_ctx *ctx);       /* wall clock */
const char *weir_service_name(weir_ctx *ctx);

/* Decodes the record's value by table; BAD_INPUT with the place. */
WEIR_MUST_CHECK int weir_decode(weir_ctx *ctx, const struct weir_msg *msg,
                                const struct weir_field *fields, void *out, size_t struct_size);

/* Sends *in to topic when the handler returns WEIR_OK; the cause's offset waits for the delivery
 * report. The id derives from the cause's id and the count of its outputs so far. key NULL: none.
 * In a batch, cause says which record it is due to; elsewhere NULL will do. FATAL: topic is not
 * among the service's outputs. */
WEIR_MUST_CHECK int weir_emit(weir_ctx *ctx, const struct weir_msg *cause, const char *topic,
                              const char *key, const struct weir_field *fields, const void *in);
WEIR_MUST_CHECK int weir_emit_raw(weir_ctx *ctx, const struct weir_msg *cause, const char *topic,
                                  const char *key, const void *value, size_t size_bytes);

/* Batch handlers: names a record that can never succeed. When the handler then returns BAD_INPUT,
 * the blamed go to the dead letters and the rest comes again as one batch, once those are safe.
 * Without a name, a BAD_INPUT batch comes again in halves. */
void weir_blame(weir_ctx *ctx, const struct weir_msg *msg, const char *format, ...)
    WEIR_PRINTF(3, 4);

/* Counts a record as dropped because its effect was there already; it is then not counted as done.
 * Undone unless the handler returns WEIR_OK. */
void weir_duplicate(weir_ctx *ctx, const struct weir_msg *msg);

#endif
