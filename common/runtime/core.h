/* The engine of a service: one thread that reads the bus, hands units of work to workers, and moves
 * offsets. core.c is the loop and the bus's events; flow.c what becomes of a record; batch.c
 * batches; commit.c offsets and the crash guard. Nothing here is locked: all of it runs on the one
 * thread. */
#ifndef WEIR_CORE_H
#define WEIR_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <weir/bus.h>
#include <weir/clock.h>

#include "runtime/breaker.h"
#include "runtime/guard.h"
#include "runtime/record.h"
#include "runtime/settings.h"
#include "runtime/unit.h"

struct part { /* an assigned partition */
    struct part *next;
    char *topic;
    int32_t partition;
    uintptr_t serial; /* of this assignment: names it to the bus, as an address may come again */
    const struct weir_route *route; /* NULL: a retry topic, the record says */
    struct route_metrics *metrics;

    struct record *first, *last; /* in offset order; the first is the oldest unfinished */
    size_t records, bytes;
    int64_t next_offset; /* behind the last record read; -1: nothing known */
    int64_t position; /* the oldest unfinished offset: what may be committed; -1: nothing known */

    int64_t handed_out; /* behind the highest offset that went to a worker */
    struct record *runnable,
        *runnable_last;       /* singles whose turn it is, by offset (linked by .link) */
    struct unit *batches;     /* in order; the first is being handled or next */
    struct record *unbatched; /* oldest record in no batch yet */
    size_t unbatched_records, unbatched_bytes;

    int64_t stored; /* sinks: what is stored as the next offset; -1: nothing */
    bool advancing; /* a UNIT_ADVANCE is with a worker */

    int running; /* units with workers */
    int sending; /* records awaiting delivery reports */

    struct guard guard;
    bool suspect;                  /* counted in core.suspects */
    int64_t committed, committing; /* acknowledged; under way (-1: none) */
    int64_t promised,
        promising; /* records below may be handed out; once the commit is acknowledged */
    bool want_promise;
    int64_t commit_ms; /* when last sent */
    int64_t read_ms;   /* when the last record came */
    bool revoked;      /* ours no more: wait for workers, touch nothing */
    bool stopping;     /* being revoked: hand out nothing new */
};

struct core {
    const struct weir_service *service;
    const struct settings *settings;
    weir_bus *bus;
    struct pool *pool;
    size_t workers;

    struct part *parts;
    size_t part_count;
    int suspects; /* partitions that go carefully: one of them at a time, the others wait */
    size_t records_max, bytes_max; /* in flight, all partitions */
    size_t records, bytes;
    int64_t window; /* offsets from the committed one within which records may be in flight */
    struct keys keys;
    struct record *delayed; /* by due time (linked by .link) */
    size_t submitted;       /* units with workers */
    struct breaker breaker;
    struct outgoing *unsent, *unsent_last; /* to be produced again */
    int64_t unsent_ms;                     /* not before */

    uintptr_t serial; /* of the last partition assigned */
    pthread_t signal_thread;
    bool subscribed, assigned, bus_up;
    bool resuming;         /* the sink does not say where to go on */
    atomic_bool stop;      /* set by the signal thread */
    struct weir_err fatal; /* fault WEIR_OK: none */
    struct core_metrics *metrics;
};

/* ---- flow.c ---- */

void flow_receive(struct core *core, const struct weir_msg *msg);
void flow_complete(struct core *core, struct unit *unit); /* takes the unit */
void flow_delivered(struct core *core, struct outgoing *out, enum weir_fault fault,
                    const char *reason);
void flow_dispatch(struct core *core);
void flow_wake_delayed(struct core *core);
void flow_resend(struct core *core);
void flow_send(struct core *core, struct outgoing *out);
void flow_finish(struct core *core, struct record *record, enum record_outcome outcome);
void flow_letter(struct core *core, struct record *record, const struct weir_err *why,
                 int attempts);
void flow_send_output(struct core *core, struct unit *unit);
/* Drops a partition's records; its memory goes when the last worker has let go of it. */
void flow_detach(struct core *core, struct part *part);
bool flow_submit(struct core *core, struct unit *unit); /* false: the breaker says no */
void flow_outage(struct core *core, const struct weir_err *err, bool probe);

/* ---- batch.c ---- */

void batch_advance(struct core *core, struct part *part);
void batch_complete(struct core *core, struct unit *unit);                    /* takes the unit */
int64_t batch_wait_left_ms(const struct core *core, const struct part *part); /* -1: not waiting */
int64_t batch_max(const struct core *core, const struct weir_route *route);

/* ---- commit.c ---- */

/* May records up to last_offset, beginning with first, go to a worker? If not, what is needed for
 * it is under way. */
bool commit_allows(struct core *core, struct part *part, const struct record *first,
                   int64_t last_offset);
/* At a stop: is a record to be handled though no worker has it yet, because later ones are done and
 * would otherwise come again? */
bool commit_fills_gap(const struct part *part);
void commit_advance(struct core *core, struct part *part);
void commit_outcome(struct core *core, struct part *part, enum weir_fault fault,
                    const char *reason);
/* Before the partition goes: commits what it has finished, at the latest until deadline_ms. */
void commit_last(struct core *core, struct part *part, int64_t deadline_ms);
/* When commit_advance() will have something to send, on the monotonic clock; -1: not by itself. */
int64_t commit_due_ms(const struct core *core, const struct part *part);

/* ---- core.c ---- */

struct part *core_part(struct core *core, const char *topic, int32_t partition);
/* Work that needs no new records: reports, commits, what workers finished. For waits inside
 * callbacks. */
void core_pump(struct core *core, int timeout_ms);

/* ---- metrics.c ---- */

struct route_metrics {
    weir_metric *received, *finished[OUTCOME_COUNT], *returned, *lag;
};
struct core_metrics {
    weir_metric *handle_seconds, *handoff_seconds, *batch_records, *in_flight, *in_flight_bytes,
        *breaker_open, *up, *failures[5];
};
struct core_metrics *metrics_open(void);
struct route_metrics *metrics_of(const char *topic, int32_t partition);

#endif
