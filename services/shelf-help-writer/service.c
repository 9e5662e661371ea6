/* shelf-help-writer: stores analytics events, each once.
 *
 *     shelf-help.events --> shelf-help-writer --> postgres: shelves, books, shelf_searches,
 * library_searches
 *
 * A batch of events becomes a handful of statements in one transaction, together with the ids of
 * its messages and the partition's offset; its rows are those of one event after another. Writers
 * of several partitions take turns in the database: they share the rows of popular books, and would
 * otherwise wait for each other in a deadlock. */
#include <stdlib.h>

#include <weir/pg.h>
#include <weir/service.h>

#include "merge.h"
#include "store.h"

#define QUERY_CANCELED "57014" /* SQLSTATE of a statement time-out */

struct writer {
    const char *database_url; /* options */
    int64_t database_timeout_ms;
    weir_pg *pg; /* owned */
    struct store *store;
    weir_metric *unknown;
};

// clang-format off
static const struct weir_option options[] = {
    { "SHELF_HELP_DATABASE_URL", WEIR_AT(struct writer, database_url), .secret = true,
      .help = "PostgreSQL, a libpq connection string" },
    { "SHELF_HELP_DATABASE_TIMEOUT_MS", WEIR_AT(struct writer, database_timeout_ms), .unit = WEIR_UNIT_MS, .def = "30s", .min = 100, .max = 600000,
      .help = "bound on connecting and on each statement" },
    { 0 }
};
// clang-format on

static int start(weir_ctx *ctx)
{
    struct writer *self = weir_self(ctx);

    if (weir_pg_open(self->database_url, self->database_timeout_ms, &self->pg, weir_err(ctx)) < 0)
        return weir_wrap(weir_err(ctx), "SHELF_HELP_DATABASE_URL");
    self->store = store_new();
    self->unknown = weir_counter("shelf_help_unknown_events_total",
                                 "Events of a msg_type that nobody knows: read, not stored.", NULL);
    return WEIR_OK;
}

static void stop(weir_ctx *ctx)
{
    struct writer *self = weir_self(ctx);
    store_free(&self->store);
    weir_pg_close(&self->pg);
}

static int check(weir_ctx *ctx)
{
    struct writer *self = weir_self(ctx);
    WEIR_AUTO(weir_pg) *pg = NULL;

    if (weir_pg_open(self->database_url, self->database_timeout_ms, &pg, weir_err(ctx)) < 0)
        return weir_wrap(weir_err(ctx), "SHELF_HELP_DATABASE_URL");
    if (weir_pg_exec(pg, "select from shelf_help_messages, weir_offsets, libraries limit 0",
                     weir_err(ctx)) < 0)
        return weir_wrap(weir_err(ctx), "migrations missing? (weir migrate up)");
    return WEIR_OK;
}

static int resume(weir_ctx *ctx, const char *topic, int32_t partition, int64_t *next)
{
    struct writer *self = weir_self(ctx);
    return weir_pg_offset(self->pg, weir_service_name(ctx), topic, partition, next, weir_err(ctx));
}

static int advance(weir_ctx *ctx, const char *topic, int32_t partition, int64_t next)
{
    struct writer *self = weir_self(ctx);
    int64_t stored;

    if (weir_pg_sink_begin(self->pg, weir_service_name(ctx), topic, partition, &stored,
                           weir_err(ctx)) < 0 ||
        weir_pg_sink_commit(self->pg, next, weir_err(ctx)) < 0)
        return weir_err(ctx)->fault;
    return WEIR_OK;
}

static int decode(weir_ctx *ctx, const struct weir_msg *msg, void **decoded)
{
    weir_arena *arena = weir_arena_of(ctx);
    struct event *event = weir_alloc_zero(arena, sizeof(*event));

    if (shelf_help_decode(msg->value ? msg->value : "", msg->value_size_bytes, arena, &event->event,
                          weir_err(ctx)) < 0)
        return weir_err(ctx)->fault;
    merge_digests(event, arena);
    *decoded = event;
    return WEIR_OK;
}

/* The events of a batch that are still to be stored, with their messages. */
struct fresh {
    const struct weir_msg **msgs;
    const struct event **events;
    const char **ids;
    bool *seen;
    size_t count;
};

static int compare_ids(const void *a, const void *b, void *ids)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    int order = strcmp(((const char **)ids)[left], ((const char **)ids)[right]);
    return order ? order : (left > right) - (left < right);
}

/* Of equal ids within the batch the first counts. */
static void mark_repeats(weir_arena *arena, struct fresh *fresh)
{
    size_t *order = weir_alloc(arena, (fresh->count + 1) * sizeof(*order));

    for (size_t i = 0; i < fresh->count; i++)
        order[i] = i;
    qsort_r(order, fresh->count, sizeof(*order), compare_ids, fresh->ids);
    for (size_t i = 1; i < fresh->count; i++)
        if (strcmp(fresh->ids[order[i]], fresh->ids[order[i - 1]]) == 0)
            fresh->seen[order[i]] = true;
}

/* Leaves out the seen ones. */
static void keep_unseen(weir_ctx *ctx, struct fresh *fresh)
{
    size_t kept = 0;

    for (size_t i = 0; i < fresh->count; i++) {
        if (fresh->seen[i]) {
            weir_duplicate(ctx, fresh->msgs[i]);
            continue;
        }
        fresh->msgs[kept] = fresh->msgs[i];
        fresh->events[kept] = fresh->events[i];
        fresh->ids[kept] = fresh->ids[i];
        kept++;
    }
    fresh->count = kept;
    memset(fresh->seen, 0, kept * sizeof(*fresh->seen));
}

static void collect(weir_ctx *ctx, const struct weir_msg *const *msgs, size_t count, int64_t next,
                    struct fresh *fresh)
{
    weir_arena *arena = weir_arena_of(ctx);

    fresh->msgs = weir_alloc(arena, (count + 1) * sizeof(*fresh->msgs));
    fresh->events = weir_alloc(arena, (count + 1) * sizeof(*fresh->events));
    fresh->ids = weir_alloc(arena, (count + 1) * sizeof(*fresh->ids));
    fresh->seen = weir_alloc_zero(arena, (count + 1) * sizeof(*fresh->seen));
    fresh->count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct event *event = msgs[i]->decoded;
        if (msgs[i]->offset < next) {
            weir_duplicate(ctx, msgs[i]);
        } else if (event->event.kind != SHELF_HELP_UNKNOWN) {
            fresh->msgs[fresh->count] = msgs[i];
            fresh->events[fresh->count] = event;
            fresh->ids[fresh->count++] = event->event.message_id;
        }
    }
}

/* Names the events whose library is not there. */
static int check_libraries(weir_ctx *ctx, const struct fresh *fresh)
{
    struct writer *self = weir_self(ctx);
    weir_arena *arena = weir_arena_of(ctx);
    const char **ids = weir_alloc(arena, (fresh->count + 1) * sizeof(*ids));
    const struct weir_msg **msgs = weir_alloc(arena, (fresh->count + 1) * sizeof(*msgs));
    size_t count = 0, missing = 0;

    for (size_t i = 0; i < fresh->count; i++)
        if (fresh->events[i]->event.kind == SHELF_HELP_LIBRARY_SEARCH) {
            ids[count] = fresh->events[i]->event.library_search.library_id;
            msgs[count++] = fresh->msgs[i];
        }
    bool *known = weir_alloc_zero(arena, (count + 1) * sizeof(*known));
    if (store_libraries(self->store, self->pg, ids, count, known, weir_err(ctx)) < 0)
        return weir_err(ctx)->fault;
    for (size_t i = 0; i < count; i++)
        if (!known[i]) {
            const struct event *event = msgs[i]->decoded;
            weir_blame(ctx, msgs[i], "%s/library_id: no such library",
                       event->event.envelope.message ? "/Message" : "");
            missing++;
        }
    return missing ? weir_fail(weir_err(ctx), WEIR_BAD_INPUT, "unknown libraries") : WEIR_OK;
}

static int store_batch(weir_ctx *ctx, struct fresh *fresh, struct merged *merged)
{
    struct writer *self = weir_self(ctx);
    weir_arena *arena = weir_arena_of(ctx);

    mark_repeats(arena, fresh);
    keep_unseen(ctx, fresh);
    if (store_message_ids(self->pg, fresh->ids, fresh->count, fresh->seen, weir_err(ctx)) < 0)
        return weir_err(ctx)->fault;
    keep_unseen(ctx, fresh);
    if (check_libraries(ctx, fresh) < 0)
        return weir_err(ctx)->fault;
    merge(fresh->events, fresh->count, arena, merged);
    return store_rows(self->store, self->pg, merged, weir_err(ctx));
}

/* Once the batch is stored, as it may come several times before. */
static void tell_unknown(weir_ctx *ctx, const struct weir_msg *const *msgs, size_t count,
                         int64_t next)
{
    struct writer *self = weir_self(ctx);

    for (size_t i = 0; i < count; i++) {
        const struct event *event = msgs[i]->decoded;
        if (msgs[i]->offset < next || event->event.kind != SHELF_HELP_UNKNOWN)
            continue;
        weir_metric_add(self->unknown, 1);
        weir_log(WEIR_WARN, "unknown msg_type, not stored", WEIR_S("topic", msgs[i]->topic),
                 WEIR_I("partition", msgs[i]->partition), WEIR_I("offset", msgs[i]->offset));
    }
}

static int handle_batch(weir_ctx *ctx, const struct weir_msg *const *msgs, size_t count)
{
    struct writer *self = weir_self(ctx);
    struct weir_err *err = weir_err(ctx);
    struct merged merged = { 0 };
    struct fresh fresh;
    int64_t next;

    if (weir_pg_sink_begin(self->pg, weir_service_name(ctx), msgs[0]->topic, msgs[0]->partition,
                           &next, err) < 0 ||
        weir_pg_exec(self->pg, "select pg_advisory_xact_lock(hashtext('shelf-help-writer'))", err) <
            0)
        goto undo;
    collect(ctx, msgs, count, next, &fresh);
    if (fresh.count > 0 && store_batch(ctx, &fresh, &merged) < 0) {
        if (count > 1 && strcmp(weir_pg_sqlstate(self->pg), QUERY_CANCELED) == 0)
            err->fault = WEIR_RETRY; /* too much for one statement's time: it comes apart */
        goto undo;
    }
    int64_t end = msgs[count - 1]->offset + 1;
    if (weir_pg_sink_commit(self->pg, end > next ? end : next, err) < 0)
        goto undo;
    store_learn(self->store, &merged);
    tell_unknown(ctx, msgs, count, next);
    return WEIR_OK;
undo:
    weir_pg_rollback(self->pg);
    store_forget(self->store);
    if (strcmp(weir_pg_sqlstate(self->pg), "23503") == 0) /* a remembered row is gone: look again */
        err->fault = WEIR_RETRY;
    return err->fault;
}

const struct weir_service weir_service = {
    .name = "shelf-help-writer",
    .summary = "stores Shelf Help's analytics events in PostgreSQL, each once",
    .prefix = "SHELF_HELP_",
    .routes =
        (const struct weir_route[]){ { "shelf-help.events", .handle_batch = handle_batch,
                                       .decode = decode, .batch_max = 5000, .batch_wait_ms = 5 },
                                     { 0 } },
    .options = options,
    .concurrency = 2, /* one decodes while the other writes */
    .self_size = sizeof(struct writer),
    .start = start,
    .stop = stop,
    .check = check,
    .resume = resume,
    .advance = advance,
};
