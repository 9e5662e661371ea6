/* Worker threads: one `self` each, units in, units out. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <weir/clock.h>

#include "runtime/unit.h"

struct queue { /* of units, first in first out */
    struct unit *first, *last;
};

struct pool {
    struct pool_config config;
    pthread_mutex_t lock;
    pthread_cond_t more; /* work, or the end */
    struct queue todo, done;
    atomic_bool has_done;
    bool closing;
    size_t started;
    struct weir_err start_err;
    pthread_t *threads;
};

static void push(struct queue *queue, struct unit *unit)
{
    unit->next = NULL;
    if (queue->last)
        queue->last->next = unit;
    else
        queue->first = unit;
    queue->last = unit;
}

static struct unit *pop(struct queue *queue)
{
    struct unit *unit = queue->first;
    if (unit) {
        queue->first = unit->next;
        if (!queue->first)
            queue->last = NULL;
    }
    return unit;
}

struct unit *unit_new(enum unit_kind kind, struct part *part, const struct weir_route *route,
                      size_t count)
{
    struct unit *unit = weir_xcalloc(1, sizeof(*unit));
    unit->kind = kind;
    unit->part = part;
    unit->route = route;
    unit->records = weir_xcalloc(count + 1, sizeof(*unit->records));
    unit->count = count;
    unit->attempt = 1;
    unit->sink_offset = -1;
    return unit;
}

void unit_drop_output(struct unit *unit)
{
    while (unit->out) {
        struct outgoing *out = unit->out;
        unit->out = out->next;
        free(out);
    }
    unit->out_last = NULL;
}

void unit_free(struct unit *unit)
{
    if (unit->memory && --unit->memory->users == 0) {
        weir_arena_free(&unit->memory->arena);
        free(unit->memory);
    }
    unit_drop_output(unit);
    free(unit->records);
    free(unit);
}

/* ---- running a unit ---- */

static void reset_attempt(struct record *record)
{
    record->emitted = 0;
    record->duplicate = false;
    record->blamed = false;
}

static int checked(weir_ctx *ctx, int fault)
{
    /* A hook that fails without saying why is a bug of the service, but its fault still counts. */
    if (fault != WEIR_OK && ctx->err.fault != (enum weir_fault)fault)
        weir_fail(&ctx->err, (enum weir_fault)fault, "no reason given");
    return fault;
}

static int decode(weir_ctx *ctx, struct unit *unit)
{
    weir_arena *scratch = ctx->arena;
    int fault = WEIR_OK;

    ctx->arena = unit->memory->arena;
    for (size_t i = 0; i < unit->count && fault != WEIR_FATAL; i++) {
        struct record *record = unit->records[i];
        reset_attempt(record);
        ctx->record = record;
        ctx->err.fault = WEIR_OK;
        fault = checked(ctx, unit->route->decode(ctx, &record->msg, &record->msg.decoded));
        if (fault != WEIR_OK && fault != WEIR_FATAL) {
            record->blamed = true;
            record->blame = ctx->err;
            record->blame.fault =
                WEIR_BAD_INPUT; /* decoding does no I/O: nothing else can be meant */
            fault = WEIR_OK;
        }
    }
    ctx->record = NULL;
    ctx->arena = scratch;
    return fault;
}

static int handle(weir_ctx *ctx, struct unit *unit)
{
    for (size_t i = 0; i < unit->count; i++)
        reset_attempt(unit->records[i]);
    if (unit->route->handle) {
        ctx->record = unit->records[0];
        int fault = checked(ctx, unit->route->handle(ctx, &ctx->record->msg));
        ctx->record = NULL;
        return fault;
    }
    const struct weir_msg **msgs = weir_alloc(ctx->arena, unit->count * sizeof(*msgs));
    for (size_t i = 0; i < unit->count; i++)
        msgs[i] = &unit->records[i]->msg;
    return checked(ctx, unit->route->handle_batch(ctx, msgs, unit->count));
}

static void run(weir_ctx *ctx, struct unit *unit)
{
    int fault = WEIR_OK;

    unit->started_ns = weir_mono_ns();
    ctx->unit = unit;
    ctx->err = (struct weir_err){ 0 };
    weir_arena_reset(ctx->arena);
    unit_drop_output(unit);
    switch (unit->kind) {
    case UNIT_HANDLE:
        fault = handle(ctx, unit);
        break;
    case UNIT_DECODE:
        fault = decode(ctx, unit);
        break;
    case UNIT_RESUME:
        fault = checked(
            ctx, ctx->service->resume(ctx, unit->topic, unit->partition, &unit->sink_offset));
        break;
    case UNIT_ADVANCE:
        fault = checked(
            ctx, ctx->service->advance(ctx, unit->topic, unit->partition, unit->sink_offset));
        break;
    }
    unit->err = ctx->err;
    unit->err.fault = (enum weir_fault)fault;
    if (fault != WEIR_OK)
        unit_drop_output(unit);
    ctx->unit = NULL;
    unit->ended_ns = weir_mono_ns();
}

/* ---- threads ---- */

/* start(), again with growing pauses while a dependency is away. False: the pool ends, or it can't
 * be. */
static bool start(struct pool *pool, weir_ctx *ctx)
{
    int64_t pause_ms = pool->config.backoff_min_ms;
    bool started = false;

    for (;;) {
        ctx->err = (struct weir_err){ 0 };
        int fault =
            pool->config.service->start ? checked(ctx, pool->config.service->start(ctx)) : WEIR_OK;
        weir_arena_reset(ctx->arena);
        pthread_mutex_lock(&pool->lock);
        started = fault == WEIR_OK;
        if (started)
            pool->started++;
        else
            pool->start_err = ctx->err;
        if (!started && fault == WEIR_TRY_LATER && !pool->closing) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += pause_ms / 1000;
            until.tv_nsec += (pause_ms % 1000) * 1000000;
            if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
            }
            pthread_cond_timedwait(&pool->more, &pool->lock, &until);
            pause_ms = pause_ms * 2 < pool->config.backoff_max_ms ? pause_ms * 2
                                                                  : pool->config.backoff_max_ms;
        }
        bool again = !started && fault == WEIR_TRY_LATER && !pool->closing;
        pthread_mutex_unlock(&pool->lock);
        pool->config.wake(pool->config.arg);
        if (!again)
            return started;
    }
}

static void *work(void *arg)
{
    struct pool *pool = arg;
    const struct weir_service *service = pool->config.service;
    weir_ctx ctx = {
        .service = service,
        .self = weir_xcalloc(1, service->self_size ? service->self_size : 1),
        .arena = weir_arena_new(),
    };
    if (service->self_size)
        memcpy(ctx.self, pool->config.self, service->self_size);

    if (start(pool, &ctx)) {
        pthread_mutex_lock(&pool->lock);
        for (;;) {
            while (!pool->todo.first && !pool->closing)
                pthread_cond_wait(&pool->more, &pool->lock);
            if (pool->closing)
                break;
            struct unit *unit = pop(&pool->todo);
            pthread_mutex_unlock(&pool->lock);
            run(&ctx, unit);
            pthread_mutex_lock(&pool->lock);
            bool first = !pool->done.first;
            push(&pool->done, unit);
            atomic_store(&pool->has_done, true);
            if (first) /* further ones are seen by the same look */
                pool->config.wake(pool->config.arg);
        }
        pthread_mutex_unlock(&pool->lock);
        if (service->stop)
            service->stop(&ctx);
    }
    free(ctx.self);
    weir_arena_free(&ctx.arena);
    return NULL;
}

struct pool *pool_open(const struct pool_config *config)
{
    struct pool *pool = weir_xcalloc(1, sizeof(*pool));
    pool->config = *config;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    pool->threads = weir_xcalloc(config->workers, sizeof(*pool->threads));
    for (size_t i = 0; i < config->workers; i++)
        if (pthread_create(&pool->threads[i], NULL, work, pool) != 0)
            abort(); /* no thread at the start: nothing to go on with */
    return pool;
}

void pool_close(struct pool **owner)
{
    struct pool *pool = *owner;
    struct unit *unit;

    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->config.workers; i++)
        pthread_join(pool->threads[i], NULL);
    while ((unit = pop(&pool->todo)) || (unit = pop(&pool->done)))
        unit_free(unit);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->more);
    free(pool->threads);
    free(pool);
    *owner = NULL;
}

size_t pool_started(struct pool *pool, struct weir_err *err)
{
    pthread_mutex_lock(&pool->lock);
    size_t started = pool->started;
    *err = pool->start_err;
    pthread_mutex_unlock(&pool->lock);
    return started;
}

void pool_submit(struct pool *pool, struct unit *unit)
{
    unit->submitted_ns = weir_mono_ns();
    pthread_mutex_lock(&pool->lock);
    push(&pool->todo, unit);
    pthread_cond_signal(&pool->more);
    pthread_mutex_unlock(&pool->lock);
}

bool pool_has_done(const struct pool *pool)
{
    return atomic_load_explicit(&((struct pool *)(uintptr_t)pool)->has_done, memory_order_relaxed);
}

struct unit *pool_done(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct unit *first = pool->done.first;
    pool->done = (struct queue){ 0 };
    atomic_store(&pool->has_done, false);
    pthread_mutex_unlock(&pool->lock);
    return first;
}
