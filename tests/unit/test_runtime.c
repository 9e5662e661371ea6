/* The engine as a whole (runtime/run.h), on the memory bus: what becomes of records by the fault
 * that their handler returns.
 *
 * A thread runs core_run() with a small service that does what each record's text says; the test
 * produces and looks through a bus of its own. It stops as in production, by SIGTERM, which all
 * threads but the core's own block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <weir/bus.h>
#include <weir/clock.h>
#include <weir/hash.h>
#include <weir/metric.h>

#include "runtime/run.h"
#include "runtime/unit.h"

#define BUS_URL "memory:runtime"
enum { LONG_MS = 20000, CALLS_MAX = 4000, RECORDS_MAX = 400 };

/* ---- what handlers were asked, and what they answered ---- */

struct call {
    char topic[40], key[16], text[24], id[40];
    int32_t partition;
    int64_t offset;
    int attempt;
    size_t batch; /* records of the batch; 0: a single */
    enum weir_fault fault;
    int64_t started_ns, ended_ns;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct call calls[CALLS_MAX];
    size_t count;
} diary = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };

static atomic_bool away;      /* "later": a dependency does not answer */
static atomic_int starts;     /* calls of start() */
static atomic_int bad_starts; /* how many of those to come fail with TRY_LATER */
static atomic_long stored;    /* the sink's next offset; -1: none */

static void copy_text(char *to, size_t size, const void *from, size_t length)
{
    snprintf(to, size, "%.*s", (int)length, from ? (const char *)from : "");
}

static void note(const struct weir_msg *msg, size_t batch, enum weir_fault fault,
                 int64_t started_ns)
{
    pthread_mutex_lock(&diary.lock);
    if (diary.count == CALLS_MAX)
        abort();
    struct call *call = &diary.calls[diary.count++];
    *call = (struct call){ .partition = msg->partition,
                           .offset = msg->offset,
                           .attempt = msg->attempt,
                           .batch = batch,
                           .fault = fault,
                           .started_ns = started_ns,
                           .ended_ns = weir_mono_ns() };
    copy_text(call->topic, sizeof(call->topic), msg->topic, strlen(msg->topic));
    copy_text(call->key, sizeof(call->key), msg->key, msg->key_size_bytes);
    copy_text(call->text, sizeof(call->text), msg->value, msg->value_size_bytes);
    copy_text(call->id, sizeof(call->id), msg->id, strlen(msg->id));
    pthread_cond_broadcast(&diary.more);
    pthread_mutex_unlock(&diary.lock);
}

/* Waits until that many calls are noted, then gives a copy of them. */
static const struct call *calls(size_t count)
{
    static struct call copy[CALLS_MAX];
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LONG_MS / 1000;
    pthread_mutex_lock(&diary.lock);
    while (diary.count < count && pthread_cond_timedwait(&diary.more, &diary.lock, &until) == 0)
        continue;
    size_t got = diary.count;
    memcpy(copy, diary.calls, got * sizeof(*copy));
    pthread_mutex_unlock(&diary.lock);
    assert_true(got >= count);
    return copy;
}

static size_t call_count(void)
{
    pthread_mutex_lock(&diary.lock);
    size_t count = diary.count;
    pthread_mutex_unlock(&diary.lock);
    return count;
}

/* ---- the service ---- */

static void sleep_ms(int64_t ms)
{
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

static int obey(weir_ctx *ctx, const struct weir_msg *msg, const char *text)
{
    struct weir_err *err = weir_err(ctx);
    char key[16], value[16];
    int n = 0;

    copy_text(key, sizeof(key), msg->key, msg->key_size_bytes);
    if (strcmp(text, "bad") == 0)
        return weir_fail(err, WEIR_BAD_INPUT, "told to be bad");
    if (sscanf(text, "retry %d", &n) == 1 && msg->attempt <= n)
        return weir_fail(err, WEIR_RETRY, "not yet");
    if (strcmp(text, "later") == 0 && atomic_load(&away))
        return weir_fail(err, WEIR_TRY_LATER, "nobody answers");
    if (strcmp(text, "fatal") == 0)
        return weir_fail(err, WEIR_FATAL, "told to die");
    if (sscanf(text, "sleep %d", &n) == 1)
        sleep_ms(n);
    if (strcmp(text, "twice") == 0)
        weir_duplicate(ctx, msg);
    if (strcmp(text, "stray") == 0)
        return weir_emit_raw(ctx, msg, "nowhere", NULL, "", 0);
    if (sscanf(text, "emit %d", &n) == 1 || sscanf(text, "emit-bad %d", &n) == 1) {
        for (int i = 0; i < n; i++) {
            int length = snprintf(value, sizeof(value), "%d", i);
            char topic[48];
            snprintf(topic, sizeof(topic), "%s.out", weir_service_name(ctx));
            if (weir_emit_raw(ctx, msg, topic, msg->key ? key : NULL, value, (size_t)length) < 0)
                return err->fault;
        }
        if (strncmp(text, "emit-bad", 8) == 0)
            return weir_fail(err, WEIR_BAD_INPUT, "after all, no");
    }
    int length = 0;
    if (sscanf(text, "large %d", &length) == 1) {
        char topic[48];
        snprintf(topic, sizeof(topic), "%s.out", weir_service_name(ctx));
        return weir_emit_raw(ctx, msg, topic, NULL, weir_alloc_zero(weir_arena_of(ctx), length),
                             (size_t)length);
    }
    return WEIR_OK;
}

static int handle(weir_ctx *ctx, const struct weir_msg *msg)
{
    int64_t started_ns = weir_mono_ns();
    char text[24];

    copy_text(text, sizeof(text), msg->value, msg->value_size_bytes);
    int fault = obey(ctx, msg, text);
    note(msg, 0, (enum weir_fault)fault, started_ns);
    return fault;
}

static int decode(weir_ctx *ctx, const struct weir_msg *msg, void **decoded)
{
    if (!msg->value)
        return weir_fail(weir_err(ctx), WEIR_BAD_INPUT, "a tombstone");
    *decoded = weir_strndup(weir_arena_of(ctx), msg->value, msg->value_size_bytes);
    return WEIR_OK;
}

static int handle_batch(weir_ctx *ctx, const struct weir_msg *const *msgs, size_t count)
{
    int64_t started_ns = weir_mono_ns();
    int fault = WEIR_OK;

    for (size_t i = 0; i < count; i++) {
        const char *text = msgs[i]->decoded;
        if (strcmp(text, "blame") == 0) {
            weir_blame(ctx, msgs[i], "offset %lld is to blame", (long long)msgs[i]->offset);
            fault = weir_fail(weir_err(ctx), WEIR_BAD_INPUT, "some are bad");
        }
    }
    for (size_t i = 0; i < count && fault == WEIR_OK; i++)
        fault = obey(ctx, msgs[i], msgs[i]->decoded);
    for (size_t i = 0; i < count; i++)
        note(msgs[i], count, (enum weir_fault)fault, started_ns);
    return fault;
}

static int start(weir_ctx *ctx)
{
    atomic_fetch_add(&starts, 1);
    if (atomic_fetch_sub(&bad_starts, 1) > 0)
        return weir_fail(weir_err(ctx), WEIR_TRY_LATER, "not yet up");
    return WEIR_OK;
}

static int never_starts(weir_ctx *ctx)
{
    return weir_fail(weir_err(ctx), WEIR_FATAL, "never");
}

static int resume(weir_ctx *ctx, const char *topic, int32_t partition, int64_t *next)
{
    (void)ctx;
    (void)topic;
    (void)partition;
    *next = atomic_load(&stored);
    return WEIR_OK;
}

/* ---- a run ---- */

struct rig {
    char name[40], topic[40]; /* of the service; of its one route */
    char out[48], dlq[48], retry[RETRY_STAGES][48];
    struct weir_route routes[2];
    const char *outputs[3];
    struct weir_service service;
    struct settings settings;
    weir_bus *bus;
    size_t delivered;
    pthread_t thread;
    bool running;
    atomic_int result; /* of several replicas: of one that failed */
    atomic_bool ended;
};

static struct rig *current; /* of the test that runs */

static void on_delivered(void *arg, void *opaque, enum weir_fault fault, int32_t partition,
                         int64_t offset, const char *reason)
{
    struct rig *rig = arg;
    (void)opaque;
    (void)partition;
    (void)offset;
    (void)reason;
    rig->delivered += fault == WEIR_OK;
}

static void make_topic(struct rig *rig, const char *name, int32_t partitions)
{
    struct weir_topic_spec spec = { .name = name, .partitions = partitions, .replicas = -1 };
    struct weir_err err;
    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, LONG_MS, &err), WEIR_OK);
}

/* A service named after the test, so that neither topics nor metrics are another's. */
static struct rig *open_rig(const char *name, int32_t partitions)
{
    struct rig *rig = weir_xcalloc(1, sizeof(*rig));
    struct weir_err err;
    struct weir_bus_config config = { .url = BUS_URL,
                                      .name_space = "test.",
                                      .client_id = "test",
                                      .on = { .delivered = on_delivered, .arg = rig } };

    snprintf(rig->name, sizeof(rig->name), "%s", name);
    snprintf(rig->topic, sizeof(rig->topic), "%s.in", name);
    snprintf(rig->out, sizeof(rig->out), "%s.out", name);
    snprintf(rig->dlq, sizeof(rig->dlq), "%s.dlq", name);
    for (int i = 0; i < RETRY_STAGES; i++)
        snprintf(rig->retry[i], sizeof(rig->retry[i]), "%s%s", name, retry_suffixes[i]);
    rig->routes[0] = (struct weir_route){ .topic = rig->topic, .handle = handle };
    rig->outputs[0] = rig->out;
    rig->service = (struct weir_service){
        .name = rig->name, .routes = rig->routes, .outputs = rig->outputs, .start = start
    };
    rig->settings = (struct settings){ .brokers = BUS_URL,
                                       .name_space = "test.",
                                       .instance = "",
                                       .concurrency = 4,
                                       .drain_ms = 5000,
                                       .in_flight_bytes = 1 << 20,
                                       .backoff_min_ms = 20,
                                       .backoff_max_ms = 100,
                                       .retry_wait_ms = 10,
                                       .commit_ms = 20 };
    current = rig;
    diary.count = 0;
    atomic_store(&away, false);
    atomic_store(&starts, 0);
    atomic_store(&bad_starts, 0);
    atomic_store(&stored, -1);
    assert_int_equal(weir_bus_open(&config, &rig->bus, &err), WEIR_OK);
    make_topic(rig, rig->topic, partitions);
    make_topic(rig, rig->dlq, 1);
    make_topic(rig, rig->out, 1);
    return rig;
}

static struct rig *open_batch_rig(const char *name, int64_t most)
{
    struct rig *rig = open_rig(name, 1);
    rig->routes[0] = (struct weir_route){ .topic = rig->topic,
                                          .handle_batch = handle_batch,
                                          .decode = decode,
                                          .batch_max = most,
                                          .batch_wait_ms = 50,
                                          .retries = 2 };
    rig->settings.batch_wait_ms = -1; /* the route's own */
    return rig;
}

static void *run(void *arg)
{
    struct rig *rig = arg;
    int result = core_run(&rig->service, &rig->settings, NULL, NULL);
    if (result != WEIR_OK)
        atomic_store(&rig->result, result);
    atomic_store(&rig->ended, true);
    return NULL;
}

static void start_core(struct rig *rig)
{
    atomic_store(&rig->ended, false);
    atomic_store(&rig->result, WEIR_OK);
    rig->running = true;
    assert_int_equal(pthread_create(&rig->thread, NULL, run, rig), 0);
}

static int join_core(struct rig *rig)
{
    pthread_join(rig->thread, NULL);
    rig->running = false;
    return atomic_load(&rig->result);
}

static int stop_core(struct rig *rig)
{
    assert_false(atomic_load(&rig->ended)); /* else the signal would wait for the next run */
    kill(getpid(), SIGTERM);
    return join_core(rig);
}

static double counted(const char *name, const char *topic, const char *outcome)
{
    char labels[128];
    if (outcome)
        snprintf(labels, sizeof(labels), "topic=\"%s\",outcome=\"%s\"", topic, outcome);
    else
        snprintf(labels, sizeof(labels), "topic=\"%s\"", topic);
    return weir_metric_value(weir_counter(name, NULL, labels));
}

static int finished(const char *topic, const char *outcome)
{
    return (int)counted("weir_records_finished_total", topic, outcome);
}

static void expect_balance(const char *topic)
{
    int all = finished(topic, "done") + finished(topic, "retried") + finished(topic, "dead") +
              finished(topic, "duplicate") +
              (int)counted("weir_records_returned_total", topic, NULL);
    assert_int_equal(counted("weir_records_received_total", topic, NULL), all);
}

/* Stops what runs; the ledger of a stopped service balances. */
static void close_rig(struct rig **owner)
{
    struct rig *rig = *owner;
    if (rig->running)
        assert_int_equal(stop_core(rig), WEIR_OK);
    expect_balance(rig->topic);
    for (int i = 0; i < RETRY_STAGES; i++)
        expect_balance(rig->retry[i]);
    weir_bus_close(&rig->bus);
    free(rig);
    *owner = current = NULL;
}

/* A test that failed half-way must not have its service answer in the next one. */
static int stop_leftover(void **state)
{
    (void)state;
    if (current && current->running) {
        if (!atomic_load(&current->ended))
            kill(getpid(), SIGTERM);
        (void)join_core(current);
    }
    current = NULL;
    return 0;
}

/* ---- producing and looking ---- */

static void send_to(struct rig *rig, const char *topic, int32_t partition, const char *key,
                    const char *text)
{
    struct weir_msg msg = { .topic = topic,
                            .partition = partition,
                            .key = key,
                            .key_size_bytes = key ? strlen(key) : 0,
                            .value = text,
                            .value_size_bytes = text ? strlen(text) : 0 };
    struct weir_err err;

    weir_bus_poll(rig->bus, 0);
    size_t before = rig->delivered;
    assert_int_equal(weir_bus_produce(rig->bus, &msg, NULL, &err), WEIR_OK);
    weir_bus_poll(rig->bus, 0);
    assert_int_equal(rig->delivered, before + 1);
}

static void send(struct rig *rig, const char *key, const char *text)
{
    send_to(rig, rig->topic, 0, key, text);
}

static int64_t end_of(struct rig *rig, const char *topic, int32_t partition)
{
    int64_t first, end;
    struct weir_err err;
    assert_int_equal(weir_bus_bounds(rig->bus, topic, partition, LONG_MS, &first, &end, &err),
                     WEIR_OK);
    return end;
}

/* What the group has committed; -1: nothing. */
static int64_t committed(struct rig *rig, const char *topic, int32_t partition, char metadata[64])
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_partition *offsets;
    struct weir_err err;
    size_t count;

    assert_int_equal(
        weir_bus_group_offsets(rig->bus, rig->name, LONG_MS, arena, &offsets, &count, &err),
        WEIR_OK);
    for (size_t i = 0; i < count; i++)
        if (strcmp(offsets[i].topic, topic) == 0 && offsets[i].partition == partition) {
            snprintf(metadata, 64, "%s", offsets[i].metadata);
            return offsets[i].offset;
        }
    *metadata = '\0';
    return -1;
}

/* Until all is committed, and committed as clean. */
static void await_clean(struct rig *rig, const char *topic, int32_t partition)
{
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    char metadata[64];

    while (committed(rig, topic, partition, metadata) != end_of(rig, topic, partition) ||
           *metadata) {
        assert_true(weir_mono_ms() < until_ms);
        sleep_ms(2);
    }
}

struct copies { /* of a topic's records */
    struct record *records[RECORDS_MAX];
    size_t count;
};

static int keep_copy(void *arg, const struct weir_msg *msg)
{
    struct copies *copies = arg;
    const struct weir_route as_read = { .topic = msg->topic };
    copies->records[copies->count++] = record_new(msg, NULL, &as_read);
    return 0;
}

/* Waits until a topic has at least that many records, and gives all there are. */
static const struct weir_msg *records_of(struct rig *rig, struct copies *copies, const char *topic,
                                         size_t count)
{
    struct weir_err err;
    copies->count = 0;
    assert_int_equal(
        weir_bus_scan(rig->bus, topic, 0, 0, (int64_t)count, LONG_MS, keep_copy, copies, &err),
        WEIR_OK);
    assert_int_equal(end_of(rig, topic, 0), count);
    return count ? &copies->records[0]->msg : NULL;
}

static void drop(struct copies *copies)
{
    while (copies->count > 0)
        free(copies->records[--copies->count]);
}

static void expect_header(const struct weir_msg *msg, const char *name, const char *want)
{
    const struct weir_header *header = weir_msg_header(msg, name);
    assert_non_null(header);
    assert_int_equal(header->size_bytes, strlen(want));
    assert_memory_equal(header->value, want, header->size_bytes);
}

/* ---- singles ---- */

static void what_is_done_is_committed(void **state)
{
    (void)state;
    struct rig *rig = open_rig("done", 2);
    char key[16];

    start_core(rig);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%d", i % 7);
        send_to(rig, rig->topic, i % 2, i % 5 ? key : NULL, "ok");
    }
    await_clean(rig, rig->topic, 0);
    await_clean(rig, rig->topic, 1);
    assert_int_equal(finished(rig->topic, "done"), 100);
    assert_int_equal(call_count(), 100);
    const struct call *call = calls(100);
    assert_int_equal(call->attempt, 1);
    char id[40];
    snprintf(id, sizeof(id), "done.in/%d/%lld", call->partition, (long long)call->offset);
    assert_string_equal(call->id, id);
    close_rig(&rig);
}

static void stopping_finishes_what_runs(void **state)
{
    (void)state;
    struct rig *rig = open_rig("drain", 1);
    char metadata[64];

    rig->settings.concurrency = 1;
    start_core(rig);
    send(rig, NULL, "ok");
    (void)calls(1);
    send(rig, NULL, "sleep 300");
    int64_t until_ms = weir_mono_ms() + LONG_MS; /* until a worker is in it */
    while (counted("weir_records_received_total", rig->topic, NULL) < 2) {
        assert_true(weir_mono_ms() < until_ms);
        sleep_ms(1);
    }
    sleep_ms(100);
    assert_int_equal(stop_core(rig), WEIR_OK);
    assert_int_equal(call_count(), 2);
    assert_int_equal(committed(rig, rig->topic, 0, metadata), 2);
    assert_string_equal(metadata, "");
    close_rig(&rig);
}

static void bad_input_is_dead_lettered(void **state)
{
    (void)state;
    struct rig *rig = open_rig("bad", 1);
    struct copies letters;
    const struct weir_header headers[] = { { "mine", "1", 1 }, { "none", NULL, 0 } };
    struct weir_msg msg = { .topic = rig->topic,
                            .key = "k\0",
                            .key_size_bytes = 2,
                            .value = "bad",
                            .value_size_bytes = 3,
                            .headers = headers,
                            .header_count = 2 };
    struct weir_err err;

    send(rig, "a", "ok");
    assert_int_equal(weir_bus_produce(rig->bus, &msg, NULL, &err), WEIR_OK);
    send(rig, "a", "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    const struct weir_msg *letter = records_of(rig, &letters, rig->dlq, 1);
    assert_int_equal(letter->key_size_bytes, 2);
    assert_memory_equal(letter->key, "k\0", 2);
    assert_int_equal(letter->value_size_bytes, 3);
    assert_memory_equal(letter->value, "bad", 3);
    assert_string_equal(letter->headers[0].name, "mine");
    assert_string_equal(letter->headers[1].name, "none");
    assert_null(letter->headers[1].value);
    expect_header(letter, "weir_reason", "told to be bad");
    expect_header(letter, "weir_fault", "bad_input");
    expect_header(letter, "weir_topic", "bad.in");
    expect_header(letter, "weir_partition", "0");
    expect_header(letter, "weir_offset", "1");
    expect_header(letter, "weir_attempts", "1");
    expect_header(letter, "weir_service", "bad");
    expect_header(letter, "__connect.errors.topic", "bad.in");
    expect_header(letter, "__connect.errors.partition", "0");
    expect_header(letter, "__connect.errors.offset", "1");
    expect_header(letter, "__connect.errors.exception.message", "told to be bad");
    drop(&letters);
    assert_int_equal(finished(rig->topic, "dead"), 1);
    assert_int_equal(finished(rig->topic, "done"), 2);
    close_rig(&rig);
}

static void a_retry_in_place_keeps_the_order_of_its_key(void **state)
{
    (void)state;
    struct rig *rig = open_rig("again", 1);

    rig->settings.retry_wait_ms = 100; /* so that the others pass while it waits */
    send(rig, "a", "retry 2");
    send(rig, "a", "ok");
    send(rig, "b", "ok");
    send(rig, NULL, "ok");
    start_core(rig);
    const struct call *all = calls(6);
    size_t passed = 0, last_of_a = 0;
    for (size_t i = 0, a = 0; i < 6; i++) {
        if (strcmp(all[i].key, "a") != 0) {
            passed++;
            continue;
        }
        static const int offsets[] = { 0, 0, 0, 1 }, attempts[] = { 1, 2, 3, 1 };
        assert_int_equal(all[i].offset, offsets[a]);
        assert_int_equal(all[i].attempt, attempts[a]);
        if (a == 1)
            assert_int_equal(passed, 2); /* they did not wait for it */
        last_of_a = i;
        a++;
    }
    assert_int_equal(all[last_of_a].offset, 1);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(finished(rig->topic, "done"), 4);
    assert_int_equal(end_of(rig, rig->dlq, 0), 0);
    close_rig(&rig);
}

static void retries_end_in_a_dead_letter(void **state)
{
    (void)state;
    struct rig *rig = open_rig("tired", 1);
    struct copies letters;

    rig->routes[0].retries = 3;
    send(rig, "a", "retry 99");
    send(rig, "a", "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(call_count(), 5);
    const struct weir_msg *letter = records_of(rig, &letters, rig->dlq, 1);
    expect_header(letter, "weir_fault", "retry");
    expect_header(letter, "weir_attempts", "4");
    drop(&letters);
    assert_int_equal(finished(rig->topic, "dead"), 1);
    close_rig(&rig);
}

static struct rig *open_retry_rig(const char *name)
{
    struct rig *rig = open_rig(name, 1);
    rig->routes[0].retry = WEIR_RETRY_TOPICS;
    for (int i = 0; i < RETRY_STAGES; i++)
        make_topic(rig, rig->retry[i], 1);
    return rig;
}

static void a_retry_may_go_over_topics(void **state)
{
    (void)state;
    struct rig *rig = open_retry_rig("later10s");
    struct copies copies;

    send(rig, "a", "retry 1");
    send(rig, "a", "ok");
    start_core(rig);
    const struct call *all = calls(2);
    assert_int_equal(all[1].offset, 1); /* its key does not wait */
    int64_t before_ms = weir_wall_ms();
    const struct weir_msg *again = records_of(rig, &copies, rig->retry[0], 1);
    assert_memory_equal(again->value, "retry 1", 7);
    assert_memory_equal(again->key, "a", 1);
    expect_header(again, "weir_attempts", "1");
    expect_header(again, "weir_topic", "later10s.in");
    expect_header(again, "weir_offset", "0");
    assert_in_range(retry_due_ms(again), before_ms + 10000 - LONG_MS, before_ms + 10000);
    drop(&copies);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(finished(rig->topic, "retried"), 1);
    assert_int_equal(stop_core(rig), WEIR_OK); /* not due yet: it stays, uncommitted */
    assert_int_equal(call_count(), 2);
    char metadata[64];
    assert_true(committed(rig, rig->retry[0], 0, metadata) <= 0);
    close_rig(&rig);
}

static void send_retry(struct rig *rig, int stage, const char *text, int64_t due_ms,
                       const char *attempts)
{
    char due[24];
    snprintf(due, sizeof(due), "%lld", (long long)due_ms);
    const struct weir_header headers[] = { { "weir_topic", rig->topic, strlen(rig->topic) },
                                           { "weir_partition", "3", 1 },
                                           { "weir_offset", "44", 2 },
                                           { "weir_attempts", attempts, strlen(attempts) },
                                           { "weir_due_ms", due, strlen(due) } };
    struct weir_msg msg = { .topic = rig->retry[stage],
                            .value = text,
                            .value_size_bytes = strlen(text),
                            .headers = headers,
                            .header_count = 5 };
    struct weir_err err;
    assert_int_equal(weir_bus_produce(rig->bus, &msg, NULL, &err), WEIR_OK);
}

static void a_record_of_a_retry_topic_waits_until_it_is_due(void **state)
{
    (void)state;
    struct rig *rig = open_retry_rig("due");
    struct copies copies;

    start_core(rig);
    int64_t due_ms = weir_wall_ms() + 300;
    send_retry(rig, 1, "ok", due_ms, "2");
    send_retry(rig, 2, "retry 99", 1, "3");
    send(rig, NULL, "ok"); /* others go on meanwhile */
    const struct call *all = calls(3);
    assert_true(weir_wall_ms() >= due_ms - 2);   /* two clocks, each cut to milliseconds */
    assert_string_equal(all[2].topic, "due.in"); /* by its name at birth */
    assert_int_equal(all[2].partition, 3);
    assert_int_equal(all[2].offset, 44);
    assert_int_equal(all[2].attempt, 3);
    assert_string_equal(all[2].id, "due.in/3/44");
    await_clean(rig, rig->retry[1], 0);

    /* Behind the last retry topic come the dead letters. */
    const struct weir_msg *letter = records_of(rig, &copies, rig->dlq, 1);
    expect_header(letter, "weir_attempts", "4");
    expect_header(letter, "weir_partition", "3");
    expect_header(letter, "weir_offset", "44");
    drop(&copies);
    await_clean(rig, rig->retry[2], 0);
    assert_int_equal(finished(rig->retry[2], "dead"), 1);
    assert_int_equal(finished(rig->retry[1], "done"), 1);
    close_rig(&rig);
}

static void an_outage_pauses_and_loses_nothing(void **state)
{
    (void)state;
    struct rig *rig = open_rig("outage", 2);
    weir_metric *breaker = weir_gauge("weir_breaker_open", NULL, NULL);
    char metadata[64];

    atomic_store(&away, true);
    start_core(rig);
    for (int i = 0; i < 40; i++)
        send_to(rig, rig->topic, i % 2, "a", "later");
    (void)calls(6);
    assert_true(weir_metric_value(breaker) == 1);
    size_t before = call_count();
    sleep_ms(500); /* pauses of at least 50 ms by then: probes, no storm */
    size_t probes = call_count() - before;
    assert_in_range(probes, 2, 20);
    assert_true(committed(rig, rig->topic, 0, metadata) <= 0);
    assert_int_equal(finished(rig->topic, "done"), 0);
    atomic_store(&away, false);
    await_clean(rig, rig->topic, 0);
    await_clean(rig, rig->topic, 1);
    assert_int_equal(finished(rig->topic, "done"), 40);
    assert_int_equal(end_of(rig, rig->dlq, 0), 0);
    assert_true(weir_metric_value(breaker) == 0);

    const struct call *all = calls(40);
    int64_t next[2] = { 0, 0 };
    for (size_t i = 0; i < call_count(); i++) {
        assert_int_equal(all[i].attempt, 1); /* an outage is no failure of the record */
        assert_int_equal(all[i].offset, next[all[i].partition]);
        next[all[i].partition] += all[i].fault == WEIR_OK;
    }
    close_rig(&rig);
}

static void the_dependency_may_be_away_at_the_start(void **state)
{
    (void)state;
    struct rig *rig = open_rig("late-start", 1);

    rig->settings.concurrency = 2;
    atomic_store(&bad_starts, 5);
    send(rig, NULL, "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(atomic_load(&starts), 7);
    close_rig(&rig);
}

/* ---- emitting ---- */

static void expect_emitted_id(const struct weir_msg *msg, const char *cause, const char *service,
                              int place)
{
    char seed[128], digest[WEIR_SHA256_HEX_SIZE];
    int length = snprintf(seed, sizeof(seed), "%s/%s/%d", cause, service, place);
    weir_sha256_hex(seed, (size_t)length, digest);
    digest[32] = '\0';
    expect_header(msg, "ce_id", digest);
}

static void what_is_emitted_is_sent_when_all_is_well(void **state)
{
    (void)state;
    struct rig *rig = open_rig("emits", 1);
    struct copies out;

    send(rig, "a", "emit 3");
    send(rig, "b", "emit-bad 2"); /* nothing of it */
    send(rig, NULL, "emit 0");
    send(rig, NULL, "emit 1");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    (void)records_of(rig, &out, rig->out, 4);
    int next = 0;
    for (size_t i = 0; i < out.count; i++) {
        const struct weir_msg *msg = &out.records[i]->msg;
        expect_header(msg, "ce_type", "emits.out");
        expect_header(msg, "ce_source", "/weir/emits");
        if (!msg->key) {
            expect_emitted_id(msg, "emits.in/0/3", "emits", 0);
            continue;
        }
        assert_memory_equal(msg->key, "a", 1);
        const char digit[] = { (char)('0' + next), '\0' };
        assert_memory_equal(msg->value, digit, 1);
        expect_emitted_id(msg, "emits.in/0/0", "emits", next++);
    }
    assert_int_equal(next, 3);
    drop(&out);
    assert_int_equal(finished(rig->topic, "done"), 3);
    assert_int_equal(finished(rig->topic, "dead"), 1);
    close_rig(&rig);
}

/* A failed try emits nothing, and what the good one emits has the ids that the first would have. */
static void a_replay_emits_the_same_ids(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("replay", 10);
    struct copies out;

    send(rig, "a", "emit 2");
    send(rig, "b", "retry 0"); /* msg->attempt of a batch's records stays 1: so no failure */
    send(rig, "c", "emit 1");
    send(rig, "d", "later");
    atomic_store(&away, true);
    start_core(rig);
    (void)calls(8); /* the batch of four, twice */
    assert_int_equal(end_of(rig, rig->out, 0), 0);
    atomic_store(&away, false);
    await_clean(rig, rig->topic, 0);
    (void)records_of(rig, &out, rig->out, 3);
    expect_emitted_id(&out.records[0]->msg, "replay.in/0/0", "replay", 0);
    expect_emitted_id(&out.records[1]->msg, "replay.in/0/0", "replay", 1);
    expect_emitted_id(&out.records[2]->msg, "replay.in/0/2", "replay", 0);
    drop(&out);
    close_rig(&rig);
}

static void a_message_that_is_refused_buries_its_cause(void **state)
{
    (void)state;
    struct rig *rig = open_rig("refused", 1);
    const struct weir_topic_config small[] = { { "max.message.bytes", "1000" }, { 0 } };
    struct copies letters;
    struct weir_err err;

    assert_int_equal(weir_bus_topic_configure(rig->bus, rig->out, small, LONG_MS, &err), WEIR_OK);
    send(rig, NULL, "large 10");
    send(rig, NULL, "large 5000");    /* the broker refuses it */
    send(rig, NULL, "large 2000000"); /* the client already does */
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(end_of(rig, rig->out, 0), 1);
    (void)records_of(rig, &letters, rig->dlq, 2);
    for (size_t i = 0; i < 2; i++) {
        expect_header(&letters.records[i]->msg, "weir_fault", "bad_input");
        assert_non_null(
            strstr(weir_msg_header(&letters.records[i]->msg, "weir_reason")->value, "refused.out"));
    }
    drop(&letters);
    assert_int_equal(finished(rig->topic, "done"), 1);
    assert_int_equal(finished(rig->topic, "dead"), 2);
    close_rig(&rig);
}

/* While the topic of an output, or of the dead letters, is missing, all waits and nothing is done
 * again. */
static void the_offset_waits_for_the_delivery(void **state)
{
    (void)state;
    static const char *const texts[] = { "emit 1", "bad" };
    static const char *const names[] = { "no-out", "no-dlq" };
    static const char *const suffixes[] = { ".out", ".dlq" };
    char metadata[64], missing[48];

    for (int i = 0; i < 2; i++) {
        struct rig *rig = open_rig(names[i], 1);
        /* The same service under another name, whose topics nobody has made. */
        snprintf(rig->name, sizeof(rig->name), "%s-2", names[i]);
        snprintf(missing, sizeof(missing), "%s%s", rig->name, suffixes[i]);
        rig->outputs[0] = missing;
        send(rig, "a", texts[i]);
        send(rig, "b", "ok");
        start_core(rig);
        (void)calls(2);
        sleep_ms(200);
        assert_true(committed(rig, rig->topic, 0, metadata) <= 0);
        make_topic(rig, missing, 1);
        await_clean(rig, rig->topic, 0);
        assert_int_equal(end_of(rig, missing, 0), 1);
        assert_int_equal(call_count(), 2);
        close_rig(&rig);
    }
}

static void only_outputs_may_be_emitted_to(void **state)
{
    (void)state;
    struct rig *rig = open_rig("stray", 1);

    send(rig, NULL, "stray");
    start_core(rig);
    assert_int_equal(join_core(rig), WEIR_FATAL);
    close_rig(&rig);
}

static void what_was_there_already_counts_as_duplicate(void **state)
{
    (void)state;
    struct rig *rig = open_rig("twice", 1);

    send(rig, NULL, "twice");
    send(rig, NULL, "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(finished(rig->topic, "duplicate"), 1);
    assert_int_equal(finished(rig->topic, "done"), 1);
    close_rig(&rig);
}

/* ---- batches ---- */

static void batches_are_collected(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("batches", 10);

    for (int i = 0; i < 25; i++)
        send(rig, NULL, "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    const struct call *all = calls(25);
    for (int i = 0; i < 25; i++) {
        assert_int_equal(all[i].offset, i);
        assert_int_equal(all[i].batch, i < 20 ? 10 : 5);
    }
    close_rig(&rig);
}

static void the_blamed_go_the_rest_comes_again(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("blame", 10);
    struct copies letters;

    for (int i = 0; i < 10; i++)
        send(rig, NULL, i == 3 || i == 7 ? "blame" : "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    const struct call *all = calls(18);
    assert_int_equal(call_count(), 18);
    for (int i = 10; i < 18; i++) {
        assert_int_equal(all[i].batch, 8);
        assert_int_equal(all[i].fault, WEIR_OK);
        assert_true(all[i].offset != 3 && all[i].offset != 7);
    }
    (void)records_of(rig, &letters, rig->dlq, 2);
    expect_header(&letters.records[0]->msg, "weir_reason", "offset 3 is to blame");
    expect_header(&letters.records[1]->msg, "weir_reason", "offset 7 is to blame");
    drop(&letters);
    assert_int_equal(finished(rig->topic, "dead"), 2);
    assert_int_equal(finished(rig->topic, "done"), 8);
    close_rig(&rig);
}

static void halves_come_down_to_the_bad_one(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("halves", 16);
    struct copies letters;
    int64_t next = 0;

    for (int i = 0; i < 16; i++)
        send(rig, NULL, i == 5 || i == 6 ? "bad" : "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    (void)records_of(rig, &letters, rig->dlq, 2);
    expect_header(&letters.records[0]->msg, "weir_offset", "5");
    expect_header(&letters.records[1]->msg, "weir_offset", "6");
    expect_header(&letters.records[1]->msg, "weir_reason", "told to be bad");
    drop(&letters);
    const struct call *all = calls(16);
    for (size_t i = 0; i < call_count(); i++) { /* in order, each once */
        if (all[i].fault != WEIR_OK)
            continue;
        next += next == 5 ? 2 : 0;
        assert_int_equal(all[i].offset, next++);
    }
    assert_int_equal(next, 16);
    assert_int_equal(finished(rig->topic, "done"), 14);
    close_rig(&rig);
}

static void a_batch_is_tried_again_before_it_comes_apart(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("stubborn", 4);
    struct copies letters;

    send(rig, NULL, "ok");
    send(rig, NULL, "ok");
    send(rig, NULL, "retry 99");
    send(rig, NULL, "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    const struct call *all = calls(12);
    for (int i = 0; i < 12; i++) { /* three times as a whole */
        assert_int_equal(all[i].batch, 4);
        assert_int_equal(all[i].fault, WEIR_RETRY);
    }
    expect_header(records_of(rig, &letters, rig->dlq, 1), "weir_offset", "2");
    drop(&letters);
    assert_int_equal(finished(rig->topic, "done"), 3);
    close_rig(&rig);
}

static void what_cannot_be_decoded_goes_alone(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("decoding", 5);
    struct copies letters;

    for (int i = 0; i < 12; i++)
        send(rig, NULL, i == 1 || i >= 10 ? NULL : "ok");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(call_count(), 9);
    (void)records_of(rig, &letters, rig->dlq, 3);
    expect_header(&letters.records[0]->msg, "weir_reason", "a tombstone");
    assert_null(letters.records[0]->msg.value);
    drop(&letters);
    close_rig(&rig);
}

static void a_batch_waits_out_an_outage(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("batch-outage", 3);

    atomic_store(&away, true);
    for (int i = 0; i < 6; i++)
        send(rig, NULL, i == 1 ? "later" : "ok");
    start_core(rig);
    const struct call *all = calls(9); /* the same three, three times */
    for (int i = 0; i < 9; i++)
        assert_int_equal(all[i].offset, i % 3);
    atomic_store(&away, false);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(end_of(rig, rig->dlq, 0), 0);
    assert_int_equal(finished(rig->topic, "done"), 6);
    close_rig(&rig);
}

static void a_sink_says_where_to_go_on(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("sink", 10);

    rig->service.resume = resume;
    rig->service.outputs = NULL;
    atomic_store(&stored, 4);
    for (int i = 0; i < 8; i++)
        send(rig, NULL, "ok");
    start_core(rig);
    const struct call *all = calls(4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(all[i].offset, 4 + i);
    await_clean(rig, rig->topic, 0);
    assert_int_equal(call_count(), 4);
    close_rig(&rig);
}

/* ---- the end ---- */

static void a_fatal_fault_stops_and_commits_nothing_of_it(void **state)
{
    (void)state;
    struct rig *rig = open_rig("fatal", 1);
    char metadata[64];

    start_core(rig);
    send(rig, NULL, "ok");
    await_clean(rig, rig->topic, 0);
    send(rig, NULL, "fatal");
    send(rig, NULL, "ok");
    assert_int_equal(join_core(rig), WEIR_FATAL);
    assert_int_equal(committed(rig, rig->topic, 0, metadata), 1);
    assert_int_equal(end_of(rig, rig->dlq, 0), 0);
    close_rig(&rig);

    rig = open_batch_rig("fatal-batch", 2);
    for (int i = 0; i < 6; i++)
        send(rig, NULL, i == 3 ? "fatal" : "ok");
    start_core(rig);
    assert_int_equal(join_core(rig), WEIR_FATAL);
    assert_int_equal(committed(rig, rig->topic, 0, metadata), 2);
    close_rig(&rig);
}

static void a_start_that_cannot_be_stops(void **state)
{
    (void)state;
    struct rig *rig = open_rig("nostart", 1);
    char metadata[64];

    rig->service.start = never_starts;
    send(rig, NULL, "ok");
    start_core(rig);
    assert_int_equal(join_core(rig), WEIR_BAD_INPUT);
    assert_int_equal(call_count(), 0);
    assert_int_equal(committed(rig, rig->topic, 0, metadata), -1);
    close_rig(&rig);
}

/* ---- the crash guard ---- */

static void commit_as_if_crashed(struct rig *rig, int64_t offset, const char *metadata)
{
    struct weir_bus_config config = {
        .url = BUS_URL, .name_space = "test.", .client_id = "test", .group = rig->name
    };
    struct weir_partition at = { rig->topic, 0, offset, metadata };
    struct weir_err err;
    char found[64];
    weir_bus *bus = NULL;

    assert_int_equal(weir_bus_open(&config, &bus, &err), WEIR_OK);
    weir_bus_commit(bus, &at, 1, NULL);
    weir_bus_close(&bus);
    assert_int_equal(committed(rig, rig->topic, 0, found), offset);
    assert_string_equal(found, metadata);
}

static void a_killer_is_buried_the_others_live(void **state)
{
    (void)state;
    struct rig *rig = open_rig("killer", 1);
    struct copies letters;

    for (int i = 0; i < 6; i++)
        send(rig, "a", "ok");
    commit_as_if_crashed(rig, 2, "weir suspect 1 1");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    const struct call *all = calls(3);
    assert_int_equal(call_count(), 3);
    assert_int_equal(all[0].offset, 3);
    const struct weir_msg *letter = records_of(rig, &letters, rig->dlq, 1);
    expect_header(letter, "weir_offset", "2");
    expect_header(letter, "weir_attempts", "3");
    expect_header(letter, "weir_reason", "killed the process 3 times");
    drop(&letters);
    close_rig(&rig);
}

/* Before each suspect starts, its name is in the committed metadata. */
static void suspects_go_one_at_a_time(void **state)
{
    (void)state;
    struct rig *rig = open_rig("careful", 2);

    for (int i = 0; i < 12; i++)
        send(rig, NULL, "sleep 5");
    for (int i = 0; i < 4; i++)
        send_to(rig, rig->topic, 1, NULL, "ok");
    commit_as_if_crashed(rig, 1, "weir running 5");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    await_clean(rig, rig->topic, 1);
    const struct call *all = calls(15);
    for (size_t i = 0; i < 5; i++) { /* 1 to 5, alone */
        assert_int_equal(all[i].partition, 0);
        assert_int_equal(all[i].offset, 1 + i);
        if (i > 0)
            assert_true(all[i].started_ns >= all[i - 1].ended_ns);
    }
    assert_int_equal(call_count(), 15);
    assert_int_equal(end_of(rig, rig->dlq, 0), 0);
    close_rig(&rig);
}

static void a_batch_service_takes_suspects_in_groups(void **state)
{
    (void)state;
    struct rig *rig = open_batch_rig("careful-batch", 50);

    for (int i = 0; i < 200; i++)
        send(rig, NULL, "ok");
    commit_as_if_crashed(rig, 0, "weir running 128");
    start_core(rig);
    await_clean(rig, rig->topic, 0);
    const struct call *all = calls(200);
    assert_int_equal(call_count(), 200);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(all[i].offset, i);
        assert_true(all[i].batch <= (i < 128 ? 2 : 50)); /* 128 in 64 groups */
    }
    close_rig(&rig);
}

/* ---- all at once ---- */

/* Random keys, waits and failures: each key in order, one at a time, and all come to their end. */
static void keys_keep_their_order_whatever_happens(void **state)
{
    (void)state;
    enum { COUNT = 300, PARTS = 3, KEYS = 8 };
    struct rig *rig = open_rig("mixed", PARTS);
    static const char *const texts[] = { "ok",  "ok",      "ok",      "sleep 1", "sleep 3",
                                         "bad", "retry 1", "retry 2", "emit 1",  "later" };
    unsigned seed = 77;
    int bad = 0;

    rig->settings.in_flight_records = 60; /* and under back-pressure */
    rig->settings.concurrency = 8;
    atomic_store(&away, true);
    start_core(rig);
    for (int i = 0; i < COUNT; i++) {
        char key[16];
        int which = rand_r(&seed) % KEYS;
        const char *text = texts[rand_r(&seed) % 10];
        snprintf(key, sizeof(key), "k%d", which);
        send_to(rig, rig->topic, which % PARTS, key, text);
        bad += strcmp(text, "bad") == 0;
        if (i == COUNT / 2)
            atomic_store(&away, false);
    }
    for (int32_t i = 0; i < PARTS; i++)
        await_clean(rig, rig->topic, i);
    assert_int_equal(finished(rig->topic, "done"), COUNT - bad);
    assert_int_equal(finished(rig->topic, "dead"), bad);

    const struct call *all = calls(COUNT);
    size_t count = call_count();
    for (int which = 0; which < KEYS; which++) {
        const struct call *before = NULL;
        char key[16];
        snprintf(key, sizeof(key), "k%d", which);
        for (size_t i = 0; i < count; i++) {
            if (strcmp(all[i].key, key) != 0)
                continue;
            if (before) {
                assert_true(all[i].started_ns >= before->ended_ns);
                bool again = before->fault == WEIR_RETRY || before->fault == WEIR_TRY_LATER;
                assert_true(again ? all[i].offset == before->offset
                                  : all[i].offset > before->offset);
            }
            before = &all[i];
        }
    }
    close_rig(&rig);
}

/* A second replica comes, the first goes: nothing is lost, nothing done twice, as both commit what
 * is finished before they let go. */
static void replicas_hand_over(void **state)
{
    (void)state;
    enum { COUNT = 200, PARTS = 4 };
    struct rig *rig = open_rig("replicas", PARTS);
    static int seen[PARTS][COUNT];
    pthread_t second;

    start_core(rig);
    for (int i = 0; i < COUNT; i++) {
        send_to(rig, rig->topic, i % PARTS, "k", "sleep 1");
        if (i == COUNT / 4)
            assert_int_equal(pthread_create(&second, NULL, run, rig), 0);
        if (i == COUNT / 2) {
            (void)calls(COUNT / 4);
            kill(getpid(), SIGTERM); /* one of the two takes it */
        }
    }
    for (int32_t i = 0; i < PARTS; i++)
        await_clean(rig, rig->topic, i);
    kill(getpid(), SIGTERM);
    pthread_join(second, NULL);
    assert_int_equal(join_core(rig), WEIR_OK);

    const struct call *all = calls(COUNT);
    assert_int_equal(call_count(), COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(seen[all[i].partition][all[i].offset]++, 0);
    close_rig(&rig);
}

/* ---- main ---- */

static weir_bus *keeper; /* so that the store outlives each test's buses, and tests share it */

static int open_keeper(void **state)
{
    (void)state;
    struct weir_bus_config config = { .url = BUS_URL, .name_space = "", .client_id = "keeper" };
    struct weir_err err;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (weir_log_open("test", getenv("WEIR_LOG") ? getenv("WEIR_LOG") : "error,text", &err) < 0)
        return -1;
    return weir_bus_open(&config, &keeper, &err);
}

static int close_keeper(void **state)
{
    (void)state;
    weir_bus_close(&keeper);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_done_is_committed, stop_leftover),
        cmocka_unit_test_teardown(stopping_finishes_what_runs, stop_leftover),
        cmocka_unit_test_teardown(bad_input_is_dead_lettered, stop_leftover),
        cmocka_unit_test_teardown(a_retry_in_place_keeps_the_order_of_its_key, stop_leftover),
        cmocka_unit_test_teardown(retries_end_in_a_dead_letter, stop_leftover),
        cmocka_unit_test_teardown(a_retry_may_go_over_topics, stop_leftover),
        cmocka_unit_test_teardown(a_record_of_a_retry_topic_waits_until_it_is_due, stop_leftover),
        cmocka_unit_test_teardown(an_outage_pauses_and_loses_nothing, stop_leftover),
        cmocka_unit_test_teardown(the_dependency_may_be_away_at_the_start, stop_leftover),
        cmocka_unit_test_teardown(what_is_emitted_is_sent_when_all_is_well, stop_leftover),
        cmocka_unit_test_teardown(a_replay_emits_the_same_ids, stop_leftover),
        cmocka_unit_test_teardown(a_message_that_is_refused_buries_its_cause, stop_leftover),
        cmocka_unit_test_teardown(the_offset_waits_for_the_delivery, stop_leftover),
        cmocka_unit_test_teardown(only_outputs_may_be_emitted_to, stop_leftover),
        cmocka_unit_test_teardown(what_was_there_already_counts_as_duplicate, stop_leftover),
        cmocka_unit_test_teardown(batches_are_collected, stop_leftover),
        cmocka_unit_test_teardown(the_blamed_go_the_rest_comes_again, stop_leftover),
        cmocka_unit_test_teardown(halves_come_down_to_the_bad_one, stop_leftover),
        cmocka_unit_test_teardown(a_batch_is_tried_again_before_it_comes_apart, stop_leftover),
        cmocka_unit_test_teardown(what_cannot_be_decoded_goes_alone, stop_leftover),
        cmocka_unit_test_teardown(a_batch_waits_out_an_outage, stop_leftover),
        cmocka_unit_test_teardown(a_sink_says_where_to_go_on, stop_leftover),
        cmocka_unit_test_teardown(a_fatal_fault_stops_and_commits_nothing_of_it, stop_leftover),
        cmocka_unit_test_teardown(a_start_that_cannot_be_stops, stop_leftover),
        cmocka_unit_test_teardown(a_killer_is_buried_the_others_live, stop_leftover),
        cmocka_unit_test_teardown(suspects_go_one_at_a_time, stop_leftover),
        cmocka_unit_test_teardown(a_batch_service_takes_suspects_in_groups, stop_leftover),
        cmocka_unit_test_teardown(keys_keep_their_order_whatever_happens, stop_leftover),
        cmocka_unit_test_teardown(replicas_hand_over, stop_leftover),
    };
    alarm(
        300); /* SIGTERM is blocked, so a run that hangs would outlive its supervisor's patience */
    const char *only = getenv("WEIR_TEST_ONLY"); /* a pattern, as of cmocka_set_test_filter() */
    if (only)
        cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, open_keeper, close_keeper);
}
