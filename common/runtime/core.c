/* The loop and the bus's events. */
#include "runtime/run.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/admin.h>
#include <weir/log.h>

#include "runtime/core.h"

enum {
    WORKERS_DEFAULT = 4,
    IN_FLIGHT_DEFAULT = 1000,
    RECORDS_A_TURN = 256, /* read before looking at anything else */
    LOOP_WAIT_MS = 500,
    BOUNDS_TIMEOUT_MS = 2000,
    LAST_COMMITS_MS = 5000,
    STUCK_MS = 60000, /* the loop has not turned for so long: /healthz fails */
};

/* What the admin thread sees of the core. */
struct health {
    pthread_mutex_t lock;
    bool ready;
    char reason[240];
    atomic_llong turn_ms;
};

static struct health health = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int answer_health(void *arg, int ready, char reason[240])
{
    (void)arg;
    if (!ready) {
        bool stuck = weir_mono_ms() - atomic_load(&health.turn_ms) > STUCK_MS;
        snprintf(reason, 240, "%s", stuck ? "the main loop does not turn" : "ok");
        return !stuck;
    }
    pthread_mutex_lock(&health.lock);
    int fine = health.ready;
    snprintf(reason, 240, "%s", health.reason);
    pthread_mutex_unlock(&health.lock);
    return fine;
}

static void set_health(const struct core *core)
{
    const char *reason = "ok";

    if (!core->subscribed)
        reason = "starting: not all workers are up";
    else if (!core->bus_up)
        reason = "the brokers can't be reached";
    else if (!core->assigned)
        reason = "no partitions assigned yet";
    else if (core->breaker.open || core->resuming)
        reason = "paused: a dependency is away";
    else if (atomic_load(&core->stop))
        reason = "stopping";
    bool ready = strcmp(reason, "ok") == 0;
    pthread_mutex_lock(&health.lock);
    if (ready && !health.ready)
        weir_log(WEIR_INFO, "ready", WEIR_I("partitions", core->part_count));
    health.ready = ready;
    snprintf(health.reason, sizeof(health.reason), "%s", reason);
    pthread_mutex_unlock(&health.lock);
    atomic_store(&health.turn_ms, weir_mono_ms());
}

/* ---- partitions ---- */

struct part *core_part(struct core *core, const char *topic, int32_t partition)
{
    for (struct part *part = core->parts; part; part = part->next)
        if (part->partition == partition && strcmp(part->topic, topic) == 0)
            return part;
    return NULL;
}

static const struct weir_route *route_named(const struct core *core, const char *topic)
{
    for (const struct weir_route *route = core->service->routes; route->topic; route++)
        if (strcmp(route->topic, topic) == 0)
            return route;
    return NULL; /* a retry topic */
}

static bool ready_for(void *arg, const char *topic, int32_t partition)
{
    struct core *core = arg;
    const struct part *part = core_part(core, topic, partition);

    if (!part || part->stopping || atomic_load(&core->stop) || core->fatal.fault)
        return false;
    /* A retry topic's records are due in order: behind one that is not, none is. */
    if (!part->route && core->delayed && part->records > 0)
        return false;
    return part->records < core->records_max / core->part_count + 1 &&
           part->bytes < core->bytes_max / core->part_count;
}

static bool is_stopping(void *arg)
{
    return atomic_load(&((struct core *)arg)->stop);
}

static void collect_done(struct core *core)
{
    struct unit *unit = pool_done(core->pool);
    while (unit) {
        struct unit *next = unit->next;
        flow_complete(core, unit);
        unit = next;
    }
}

void core_pump(struct core *core, int timeout_ms)
{
    flow_resend(core);
    collect_done(core);
    weir_bus_poll(core->bus, timeout_ms);
    collect_done(core);
    atomic_store(&health.turn_ms, weir_mono_ms());
}

/* Is the sink's offset before the group's, so that what was announced there lies far ahead? */
static bool is_behind(struct core *core, const struct part *part, int64_t next)
{
    struct weir_err ignored;
    int64_t end;

    if (next < 0 && part->guard.suspect_end >= 0 &&
        weir_bus_bounds(core->bus, part->topic, part->partition, BOUNDS_TIMEOUT_MS, &next, &end,
                        &ignored) < 0)
        next = 0;
    return next < part->committed;
}

/* Asks the sink where each partition goes on. Waits as long as it takes: without an answer nothing
 * may be read. */
static void resume_from_sink(struct core *core, struct part *part)
{
    int64_t pause_ms = core->settings->backoff_min_ms;

    while (!atomic_load(&core->stop) && !core->fatal.fault) {
        struct unit *unit = unit_new(UNIT_RESUME, part, part->route, 0);
        struct unit *answer = NULL;

        unit->topic = part->topic;
        unit->partition = part->partition;
        pool_submit(core->pool, unit);
        while (!answer) {
            struct unit *done = pool_done(core->pool);
            while (done) {
                struct unit *next = done->next;
                if (done == unit)
                    answer = done;
                else
                    flow_complete(core, done);
                done = next;
            }
            if (!answer)
                weir_bus_poll(core->bus, 20);
        }
        struct weir_err err = unit->err;
        int64_t next = unit->sink_offset;
        unit_free(unit);
        core->resuming = err.fault != WEIR_OK;
        if (err.fault == WEIR_OK) {
            /* The sink is the authority: an older or empty one (restored, moved) is filled again.
             */
            part->position = part->next_offset = part->stored = next;
            if (is_behind(core, part, next))
                guard_load(&part->guard, NULL, -1, true);
            return;
        }
        if (err.fault == WEIR_FATAL) {
            core->fatal = err;
            return;
        }
        weir_log(WEIR_ERROR, "can't read the sink's offsets", WEIR_S("topic", part->topic),
                 WEIR_I("partition", part->partition), WEIR_S("reason", err.text));
        set_health(core);
        int64_t until_ms = weir_mono_ms() + pause_ms;
        while (weir_mono_ms() < until_ms && !atomic_load(&core->stop))
            core_pump(core, (int)(until_ms - weir_mono_ms()));
        pause_ms = pause_ms * 2 < core->settings->backoff_max_ms ? pause_ms * 2
                                                                 : core->settings->backoff_max_ms;
    }
}

static void on_assigned(void *arg, struct weir_partition *parts, size_t count)
{
    struct core *core = arg;

    for (size_t i = 0; i < count; i++) {
        struct part *part = weir_xcalloc(1, sizeof(*part));
        part->topic = weir_xstrdup(parts[i].topic);
        part->partition = parts[i].partition;
        part->serial = ++core->serial;
        part->route = route_named(core, part->topic);
        part->metrics = metrics_of(part->topic, part->partition);
        part->position = part->next_offset = part->committed = parts[i].offset;
        part->committing = part->promised = part->promising = -1;
        part->read_ms = part->commit_ms = weir_mono_ms();
        guard_load(&part->guard, parts[i].metadata, parts[i].offset,
                   part->route && part->route->handle_batch);
        part->next = core->parts;
        core->parts = part;
        core->part_count++;
        if (core->service->resume && part->route)
            resume_from_sink(core, part);
        parts[i].offset = part->next_offset;
        part->suspect = part->guard.suspect_end >= 0;
        if (part->suspect) {
            core->suspects++;
            weir_log(WEIR_WARN, "unclean end before: going carefully", WEIR_S("topic", part->topic),
                     WEIR_I("partition", part->partition), WEIR_I("from", parts[i].offset),
                     WEIR_I("to", part->guard.suspect_end));
        }
        weir_log(WEIR_INFO, "assigned", WEIR_S("topic", part->topic),
                 WEIR_I("partition", part->partition), WEIR_I("from", part->next_offset));
    }
    for (struct part *part = core->parts; part; part = part->next)
        part->read_ms = weir_mono_ms(); /* the sink may have kept us waiting */
    core->assigned = true;
}

static bool busy(const struct core *core)
{
    for (const struct part *part = core->parts; part; part = part->next)
        if (part->stopping && (part->running > 0 || part->sending > 0 ||
                               (commit_fills_gap(part) && !core->breaker.open)))
            return true;
    return false;
}

/* What workers hold is finished and committed; what they don't is dropped uncommitted. */
static void on_revoked(void *arg, const struct weir_partition *parts, size_t count, bool lost)
{
    struct core *core = arg;
    int64_t deadline_ms = weir_mono_ms() + core->settings->drain_ms;

    for (size_t i = 0; i < count; i++) {
        struct part *part = core_part(core, parts[i].topic, parts[i].partition);
        if (part)
            part->stopping = true;
    }
    while (busy(core) && weir_mono_ms() < deadline_ms) {
        flow_dispatch(core);
        core_pump(core, 20);
    }
    if (lost)
        core->assigned = false;
    deadline_ms = weir_mono_ms() + LAST_COMMITS_MS; /* of all of them together */
    for (size_t i = 0; i < count; i++) {
        struct part *part = core_part(core, parts[i].topic, parts[i].partition);
        if (!part)
            continue;
        if (!lost)
            commit_last(core, part, deadline_ms);
        weir_log(WEIR_INFO, "revoked", WEIR_S("topic", part->topic),
                 WEIR_I("partition", part->partition), WEIR_I("position", part->position),
                 WEIR_S("lost", lost ? "yes" : "no"));
        flow_detach(core, part);
    }
}

static void on_delivered(void *arg, void *opaque, enum weir_fault fault, int32_t partition,
                         int64_t offset, const char *reason)
{
    (void)partition;
    (void)offset;
    flow_delivered(arg, opaque, fault, reason);
}

static void on_committed(void *arg, void *opaque, enum weir_fault fault, const char *reason)
{
    struct core *core = arg;
    for (struct part *part = core->parts; part; part = part->next)
        if (part->serial == (uintptr_t)opaque) { /* else it is gone */
            commit_outcome(core, part, fault, reason);
            return;
        }
}

static void on_state(void *arg, bool up, const char *reason)
{
    struct core *core = arg;

    if (up == core->bus_up)
        weir_log(WEIR_WARN, "kafka", WEIR_S("reason", reason));
    else if (up)
        weir_log(WEIR_INFO, "kafka: reachable again");
    else
        weir_log(WEIR_ERROR, "kafka: unreachable, waiting", WEIR_S("reason", reason));
    core->bus_up = up;
    weir_metric_set(core->metrics->up, up);
}

/* ---- the loop ---- */

static int64_t sooner(int64_t wait_ms, int64_t at_ms, int64_t now_ms)
{
    int64_t left_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    return left_ms < wait_ms ? left_ms : wait_ms;
}

static int next_wait_ms(const struct core *core)
{
    int64_t now_ms = weir_mono_ms(), wait_ms = LOOP_WAIT_MS;

    if (core->delayed)
        wait_ms = sooner(wait_ms, core->delayed->due_ms, now_ms);
    if (core->unsent)
        wait_ms = sooner(wait_ms, core->unsent_ms, now_ms);
    int64_t probe_ms = breaker_next_ms(&core->breaker);
    if (probe_ms >= 0)
        wait_ms = sooner(wait_ms, probe_ms, now_ms);
    for (const struct part *part = core->parts; part; part = part->next) {
        int64_t left_ms = core->breaker.open || part->batches ? -1 : batch_wait_left_ms(core, part);
        if (left_ms >= 0 && !part->want_promise && core->suspects == 0)
            wait_ms = sooner(wait_ms, now_ms + left_ms, now_ms);
        for (const struct unit *unit = part->batches; unit; unit = unit->after)
            if (unit->due_ms > now_ms)
                wait_ms = sooner(wait_ms, unit->due_ms, now_ms);
        int64_t commit_ms = commit_due_ms(core, part);
        if (commit_ms >= 0)
            wait_ms = sooner(wait_ms, commit_ms, now_ms);
    }
    return (int)wait_ms;
}

static void set_gauges(struct core *core)
{
    weir_metric_set(core->metrics->in_flight, (double)core->records);
    weir_metric_set(core->metrics->in_flight_bytes, (double)core->bytes);
    for (struct part *part = core->parts; part; part = part->next) {
        int64_t end = weir_bus_end(core->bus, part->topic, part->partition);
        if (end >= 0 && part->position >= 0)
            weir_metric_set(part->metrics->lag, (double)(end - part->position));
    }
}

static void read_some(struct core *core, int wait_ms)
{
    const struct weir_msg *msg;
    struct weir_err err;

    for (int i = 0; i < RECORDS_A_TURN; i++) {
        int got = weir_bus_consume(core->bus, i == 0 ? wait_ms : 0, &msg, &err);
        if (got < 0) {
            core->fatal = err;
            return;
        }
        if (got == 0)
            return;
        flow_receive(core, msg);
        if (pool_has_done(core->pool))
            return;
    }
}

static void turn(struct core *core)
{
    read_some(core, next_wait_ms(core));
    collect_done(core);
    flow_resend(core);
    flow_wake_delayed(core);
    for (struct part *part = core->parts; part; part = part->next) {
        if (part->route && part->route->handle_batch)
            batch_advance(core, part);
        commit_advance(core, part);
    }
    flow_dispatch(core);
    for (struct part *part = core->parts; part; part = part->next)
        commit_advance(core, part); /* promises that the dispatch asked for */
    set_gauges(core);
    set_health(core);
}

/* Routes, and the retry topics if some route uses them. */
static const char **topics_of(const struct weir_service *service, weir_arena *arena)
{
    size_t count = 0;
    bool retries = false;

    while (service->routes[count].topic)
        count++;
    const char **topics = weir_alloc_zero(arena, (count + RETRY_STAGES + 1) * sizeof(*topics));
    for (size_t i = 0; i < count; i++) {
        topics[i] = service->routes[i].topic;
        retries = retries || service->routes[i].retry == WEIR_RETRY_TOPICS;
    }
    for (int i = 0; retries && i < RETRY_STAGES; i++)
        topics[count++] = weir_printf(arena, "%s%s", service->name, retry_suffixes[i]);
    return topics;
}

static int wait_for_workers(struct core *core)
{
    struct weir_err err;
    bool said = false;

    while (pool_started(core->pool, &err) < core->workers && !atomic_load(&core->stop)) {
        if (err.fault == WEIR_FATAL) {
            core->fatal = err;
            return WEIR_FATAL;
        }
        if (err.fault == WEIR_TRY_LATER && !said)
            weir_log(WEIR_ERROR, "waiting for a dependency to start", WEIR_S("reason", err.text));
        said = said || err.fault == WEIR_TRY_LATER;
        weir_bus_poll(core->bus, 100);
        set_health(core);
    }
    return WEIR_OK;
}

static void wake_bus(void *arg)
{
    struct core *core = arg;
    weir_bus_wake(core->bus);
}

/* ---- signals: a thread of their own, so that no handler runs in the middle of anything ---- */

struct signals {
    struct core *core;
    int64_t drain_ms;
};

static void *wait_for_signals(void *arg)
{
    const struct signals *signals = arg;
    sigset_t set;
    int number;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigwait(&set, &number);
    weir_log(WEIR_INFO, "stopping", WEIR_S("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
    atomic_store(&signals->core->stop, true);
    weir_bus_wake(signals->core->bus);
    /* The drain has its own bound; this one is for what does not keep to it (a handler that hangs).
     * A supervisor may signal the process and its group at once: that is one wish, not two. */
    struct timespec soon = { .tv_sec = 1 }, bound = { .tv_sec = signals->drain_ms / 1000 + 6 };
    while (sigtimedwait(&set, NULL, &soon) >= 0)
        continue;
    if (sigtimedwait(&set, NULL, &bound) >= 0)
        weir_log(WEIR_WARN, "second signal: stopping at once, uncommitted");
    else
        weir_log(WEIR_ERROR, "drain time over: stopping, uncommitted");
    _exit(1);
}

/* ---- a run ---- */

static void open_core(struct core *core)
{
    const struct settings *settings = core->settings;

    core->workers = (size_t)settings->concurrency;
    if (core->workers == 0)
        core->workers =
            core->service->concurrency ? (size_t)core->service->concurrency : WORKERS_DEFAULT;
    core->records_max = (size_t)settings->in_flight_records;
    for (const struct weir_route *route = core->service->routes;
         settings->in_flight_records == 0 && route->topic; route++) {
        size_t wanted =
            route->handle_batch ? 2 * (size_t)batch_max(core, route) : IN_FLIGHT_DEFAULT;
        if (wanted > core->records_max)
            core->records_max = wanted;
    }
    core->bytes_max = (size_t)settings->in_flight_bytes;
    core->window = 2 * (int64_t)core->records_max + 1;
    core->metrics = metrics_open();
    weir_metric_set(core->metrics->up, 1);
    keys_open(&core->keys, core->records_max);
}

static void close_core(struct core *core)
{
    while (core->unsent) {
        struct outgoing *out = core->unsent;
        core->unsent = out->next;
        free(out);
    }
    keys_close(&core->keys);
    free(core->metrics);
}

static int open_bus(struct core *core, char *const *env, weir_arena *arena, struct weir_err *err)
{
    const char *brokers = core->settings->brokers;
    bool memory = strncmp(brokers, "memory:", 7) == 0; /* unit tests */
    struct weir_bus_config config = {
        .url = memory ? brokers : weir_printf(arena, "kafka:%s", brokers),
        .name_space = core->settings->name_space,
        .client_id = core->service->name,
        .group = core->service->name,
        .instance = core->settings->instance,
        .env = env,
        .ready_for = ready_for,
        .stopping = is_stopping,
        .on = { .assigned = on_assigned,
                .revoked = on_revoked,
                .delivered = on_delivered,
                .committed = on_committed,
                .state = on_state,
                .arg = core },
    };
    return weir_bus_open(&config, &core->bus, err);
}

static int open_admin(const struct core *core, weir_admin **admin, struct weir_err *err)
{
    struct weir_admin_config config = { .host = core->settings->admin_host,
                                        .port = (int)core->settings->admin_port,
                                        .health = answer_health };
    set_health(core);
    return config.port > 0 ? weir_admin_open(&config, admin, err) : WEIR_OK;
}

/* From the first worker to the last commit. */
static void work_until_stopped(struct core *core, const void *self, weir_arena *arena)
{
    struct pool_config config = { .service = core->service,
                                  .self = self,
                                  .workers = core->workers,
                                  .backoff_min_ms = core->settings->backoff_min_ms,
                                  .backoff_max_ms = core->settings->backoff_max_ms,
                                  .wake = wake_bus,
                                  .arg = core };
    core->pool = pool_open(&config);
    weir_log(WEIR_INFO, "started", WEIR_S("version", WEIR_VERSION),
             WEIR_I("workers", core->workers));
    if (wait_for_workers(core) == WEIR_OK && !atomic_load(&core->stop)) {
        if (weir_bus_subscribe(core->bus, topics_of(core->service, arena), &core->fatal) == WEIR_OK)
            core->subscribed = true;
        while (!atomic_load(&core->stop) && !core->fatal.fault)
            turn(core);
    }
    struct weir_err why = core->fatal;
    /* A handler that hangs must not keep us: the signal's bound holds here too. */
    if (why.fault)
        /* NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): blocked, and awaited by sigwait() */
        pthread_kill(core->signal_thread, SIGTERM);
    weir_bus_leave(core->bus); /* revokes what is assigned: drains and commits */
    pool_close(&core->pool);   /* before the bus, which workers wake */
    core->fatal = why;
}

int core_run(const struct weir_service *service, const struct settings *settings, const void *self,
             char *const *env)
{
    struct core core = {
        .service = service,
        .settings = settings,
        .bus_up = true,
        .breaker = { .min_ms = settings->backoff_min_ms, .max_ms = settings->backoff_max_ms },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    weir_admin *admin = NULL;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread: all inherit it */
    signal(SIGPIPE, SIG_IGN);
    open_core(&core);
    if (open_bus(&core, env, arena, &core.fatal) == WEIR_OK &&
        open_admin(&core, &admin, &core.fatal) == WEIR_OK) {
        struct signals signals = { &core, settings->drain_ms };
        if (pthread_create(&core.signal_thread, NULL, wait_for_signals, &signals) != 0)
            abort();
        work_until_stopped(&core, self, arena);
        pthread_cancel(
            core.signal_thread); /* until here its bound holds for a worker that hangs, too */
        pthread_join(core.signal_thread, NULL);
    }
    weir_admin_close(&admin);
    weir_bus_close(&core.bus);
    close_core(&core);
    if (core.fatal.fault) {
        weir_log(WEIR_ERROR, "stopped: can't go on", WEIR_S("reason", core.fatal.text));
        return core.subscribed ? WEIR_FATAL : WEIR_BAD_INPUT;
    }
    weir_log(WEIR_INFO, "stopped");
    return WEIR_OK;
}
