/* A unit of work: what the core hands to a worker and gets back. While with a worker it is the
 * worker's alone. */
#ifndef WEIR_UNIT_H
#define WEIR_UNIT_H

#include "runtime/record.h"

enum outgoing_kind { OUTGOING_EMIT, OUTGOING_RETRY, OUTGOING_LETTER };

/* A record to be produced because of another, kept until its delivery is reported. One block of
 * memory; key and value of a retry or letter are the cause's own. */
struct outgoing {
    struct outgoing *next;
    struct record *cause;
    enum outgoing_kind kind;
    struct weir_msg msg;
};

/* Decoded values of a batch, shared by the halves it came apart into. */
struct memory {
    weir_arena *arena;
    int users;
};

enum unit_kind { UNIT_HANDLE, UNIT_DECODE, UNIT_RESUME, UNIT_ADVANCE };

struct unit {
    struct unit *next;  /* of the pool's queues */
    struct unit *after; /* batch routes: the partition's next batch */
    enum unit_kind kind;
    struct part *part;
    const struct weir_route *route;
    struct record **records; /* owned array, borrowed records */
    size_t count;
    struct memory *memory; /* batch routes */
    int attempt;           /* of a batch, in place; 1: first */
    int64_t due_ms;        /* not before; 0: at once */
    bool ready;            /* batch: decoded, may be handled */
    bool running;
    bool probe; /* of the breaker */

    struct weir_err err; /* the outcome: fault WEIR_OK or why not */
    struct outgoing *out, *out_last;
    const char *topic; /* UNIT_RESUME, UNIT_ADVANCE: of the partition */
    int32_t partition;
    int64_t sink_offset; /* UNIT_RESUME: what is stored, or -1; UNIT_ADVANCE: to be stored */
    int64_t submitted_ns, started_ns, ended_ns;
};

struct unit *unit_new(enum unit_kind kind, struct part *part, const struct weir_route *route,
                      size_t count);
/* Frees the unit and what it would have sent, not the records. */
void unit_free(struct unit *unit);
void unit_drop_output(struct unit *unit);

/* ---- what is sent because of a record ---- */

struct outgoing *outgoing_emit(struct record *cause, const char *service, const char *topic,
                               const char *key, const void *value, size_t size_bytes);
/* Stage 0, 1, 2: <service>.retry.10s, .1m, .10m; due that long after now_ms (wall clock). */
struct outgoing *outgoing_retry(struct record *cause, const char *service, int stage,
                                const struct weir_err *why, int64_t now_ms);
struct outgoing *outgoing_letter(struct record *cause, const char *service, int attempts,
                                 const struct weir_err *why, int64_t now_ms);

enum { RETRY_STAGES = 3 };
extern const char *const retry_suffixes[RETRY_STAGES]; /* ".retry.10s", ... */
/* When a record read from a retry topic is due, wall clock; 0: it does not say. */
int64_t retry_due_ms(const struct weir_msg *msg);

/* ---- worker threads ---- */

struct pool;

struct pool_config {
    const struct weir_service *service;
    const void *self; /* options filled in: copied for each worker */
    size_t workers;
    int64_t backoff_min_ms, backoff_max_ms; /* of start() */
    void (*wake)(void *arg);                /* any thread: something is done */
    void *arg;
};
struct pool *pool_open(const struct pool_config *config);
/* Wakes, joins and frees. Workers end after the unit they are in; units not begun are dropped. */
void pool_close(struct pool **pool);

/* Workers whose start() succeeded. err: the last failure of a start (fault FATAL: it won't
 * succeed). */
size_t pool_started(struct pool *pool, struct weir_err *err);
void pool_submit(struct pool *pool, struct unit *unit);
/* Units that came back, in that order, linked by next; NULL when none. */
struct unit *pool_done(struct pool *pool);
bool pool_has_done(const struct pool *pool);

/* ---- hooks outside a pool (--check) ---- */

struct weir_ctx {
    const struct weir_service *service;
    void *self;
    weir_arena *arena;
    struct weir_err err;
    struct unit *unit;
    struct record *record; /* the one being handled or decoded; NULL in a batch */
};

#endif
