/* What both buses promise (weir/bus.h), each test on memory and on Kafka.
 *
 * Memory always; Kafka when WEIR_BROKERS names some, otherwise its tests count as skipped. Every
 * test has a namespace of its own, so a broker can be shared; the topics stay behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/bus.h>
#include <weir/clock.h>

enum {
    LONG_MS = 30000, /* for what must come; only a failing test waits so long */
    QUIET_MS = 700,  /* for what must not come */
    ASK_MS = 10000,
    PARTS_MAX = 16,
    KEEP_OFFSET = -2,
};

struct rig {
    const char *url; /* NULL: there are no brokers */
    char name_space[64];
    weir_bus *bus; /* without a group: produces and administers */
    struct peer *admin;
    struct peer *owners[PARTS_MAX]; /* of the partitions of the topic under test */
    int clashes;                    /* assigned to one while another had it */
};

struct delivery {
    void *opaque;
    enum weir_fault fault;
    int32_t partition;
    int64_t offset;
    char reason[80];
};

/* A bus and what its callbacks were told. Callbacks only note: a failing assertion would jump out
 * of librdkafka. */
struct peer {
    struct rig *rig;
    weir_bus *bus;
    struct delivery *deliveries;
    size_t delivery_count;
    size_t commits, commits_failed;
    void *commit_opaque;
    int assigned, revoked; /* calls that named partitions */
    size_t part_count;     /* owned now */
    int64_t committed[PARTS_MAX];
    char metadata[PARTS_MAX][64]; /* "-": NULL */
    int64_t start_at;             /* what on.assigned answers; KEEP_OFFSET: as it was */
    int64_t next[PARTS_MAX];      /* behind the last record seen; -1: none */
    bool held_back[PARTS_MAX];    /* ready_for says no */
    bool commits_when_revoked;
    size_t commits_in_callback, deliveries_in_callback;
    size_t remarks;
};

/* ---- callbacks ---- */

static void on_assigned(void *arg, struct weir_partition *parts, size_t count)
{
    struct peer *peer = arg;

    peer->assigned += count > 0;
    for (size_t i = 0; i < count; i++) {
        int32_t at = parts[i].partition;
        peer->rig->clashes += peer->rig->owners[at] != NULL;
        peer->rig->owners[at] = peer;
        peer->part_count++;
        peer->committed[at] = parts[i].offset;
        snprintf(peer->metadata[at], sizeof(peer->metadata[at]), "%s",
                 parts[i].metadata ? parts[i].metadata : "-");
        peer->next[at] = -1;
        if (peer->start_at != KEEP_OFFSET)
            parts[i].offset = peer->start_at;
    }
    weir_bus_poll(peer->bus, 0);
}

static void commit_all(struct peer *peer, const struct weir_partition *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t next = peer->next[parts[i].partition];
        struct weir_partition at = { parts[i].topic, parts[i].partition, next, "from revoked" };
        if (next >= 0)
            weir_bus_commit(peer->bus, &at, 1, NULL);
    }
}

static void on_revoked(void *arg, const struct weir_partition *parts, size_t count, bool lost)
{
    struct peer *peer = arg;

    (void)lost;
    peer->revoked += count > 0;
    if (peer->commits_when_revoked) {
        size_t commits = peer->commits + peer->commits_failed, wanted = commits;
        struct weir_msg msg = {
            .topic = "t", .partition = parts[0].partition, .value = "bye", .value_size_bytes = 3
        };
        struct weir_err err;
        for (size_t i = 0; i < count; i++)
            wanted += peer->next[parts[i].partition] >= 0;
        commit_all(peer, parts, count);
        size_t deliveries = peer->delivery_count;
        int produced = weir_bus_produce(peer->bus, &msg, NULL, &err);
        int64_t until_ms = weir_mono_ms() + LONG_MS;
        while ((peer->commits + peer->commits_failed < wanted ||
                (produced == WEIR_OK && peer->delivery_count == deliveries)) &&
               weir_mono_ms() < until_ms)
            weir_bus_poll(peer->bus, 20);
        peer->commits_in_callback = peer->commits - commits;
        peer->deliveries_in_callback = peer->delivery_count - deliveries;
    }
    for (size_t i = 0; i < count; i++)
        peer->rig->owners[parts[i].partition] = NULL;
    peer->part_count -= count;
}

static void on_delivered(void *arg, void *opaque, enum weir_fault fault, int32_t partition,
                         int64_t offset, const char *reason)
{
    struct peer *peer = arg;

    peer->deliveries =
        weir_xrealloc(peer->deliveries, (peer->delivery_count + 1) * sizeof(*peer->deliveries));
    struct delivery *delivery = &peer->deliveries[peer->delivery_count++];
    *delivery = (struct delivery){ opaque, fault, partition, offset, "" };
    snprintf(delivery->reason, sizeof(delivery->reason), "%s", reason);
}

static void on_committed(void *arg, void *opaque, enum weir_fault fault, const char *reason)
{
    struct peer *peer = arg;
    (void)reason;

    peer->commit_opaque = opaque;
    if (fault == WEIR_OK)
        peer->commits++;
    else
        peer->commits_failed++;
}

static void on_state(void *arg, bool up, const char *reason)
{
    struct peer *peer = arg;
    (void)reason;
    peer->remarks += up;
}

static bool ready_for(void *arg, const char *topic, int32_t partition)
{
    struct peer *peer = arg;
    (void)topic;
    return !peer->held_back[partition];
}

/* ---- helpers ---- */

/* So that rebalances and metadata take tenths of seconds. */
static char *const quick[] = { "WEIR_KAFKA_HEARTBEAT_INTERVAL_MS=200",
                               "WEIR_KAFKA_TOPIC_METADATA_REFRESH_INTERVAL_MS=300",
                               "WEIR_KAFKA_TOPIC_METADATA_PROPAGATION_MAX_MS=3000",
                               "WEIR_KAFKA_FETCH_WAIT_MAX_MS=50", NULL };

static struct peer *open_peer_in(struct rig *rig, const char *name_space, const char *group)
{
    struct peer *peer = weir_xcalloc(1, sizeof(*peer));
    struct weir_err err;
    struct weir_bus_config config = { .url = rig->url,
                                      .name_space = name_space,
                                      .client_id = "conformance",
                                      .group = group,
                                      .env = quick,
                                      .ready_for = ready_for,
                                      .on = { on_assigned, on_revoked, on_delivered, on_committed,
                                              on_state, peer } };
    peer->rig = rig;
    peer->start_at = KEEP_OFFSET;
    assert_int_equal(weir_bus_open(&config, &peer->bus, &err), WEIR_OK);
    return peer;
}

static struct peer *open_peer(struct rig *rig, const char *group)
{
    return open_peer_in(rig, rig->name_space, group);
}

static struct peer *open_member(struct rig *rig, const char *group)
{
    struct peer *peer = open_peer(rig, group);
    struct weir_err err;
    assert_int_equal(weir_bus_subscribe(peer->bus, (const char *const[]){ "t", NULL }, &err),
                     WEIR_OK);
    return peer;
}

static void close_peer(struct peer **peer)
{
    if (*peer) {
        weir_bus_close(&(*peer)->bus);
        assert_null((*peer)->bus);
        free((*peer)->deliveries);
        free(*peer);
    }
    *peer = NULL;
}

/* A topic just made may take a moment until every part of the broker knows it. */
static void make_topic(struct rig *rig, const char *name, int32_t partitions)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_topic_spec spec = { .name = name, .partitions = partitions, .replicas = -1 };
    struct weir_topic_info *topics;
    struct weir_err err;
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    size_t count;

    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, ASK_MS, &err), WEIR_OK);
    for (bool there = false; !there;) {
        assert_true(weir_mono_ms() < until_ms);
        assert_int_equal(weir_bus_topics(rig->bus, ASK_MS, arena, &topics, &count, &err), WEIR_OK);
        for (size_t i = 0; i < count; i++)
            there = there || strcmp(topics[i].name, name) == 0;
    }
}

static void produce(struct peer *peer, const struct weir_msg *msg, void *opaque)
{
    struct weir_err err;
    assert_int_equal(weir_bus_produce(peer->bus, msg, opaque, &err), WEIR_OK);
}

/* Waits for the reports of all that the peer produced. */
static void settle(struct peer *peer, size_t count)
{
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    while (peer->delivery_count < count) {
        assert_true(weir_mono_ms() < until_ms);
        weir_bus_poll(peer->bus, 100);
    }
    assert_int_equal(peer->delivery_count, count);
}

static void send_numbers(struct rig *rig, const char *topic, int32_t partition, int from, int count)
{
    size_t before = rig->admin->delivery_count;
    char value[16];

    for (int i = from; i < from + count; i++) {
        struct weir_msg msg = { .topic = topic, .partition = partition, .value = value };
        msg.value_size_bytes = (size_t)snprintf(value, sizeof(value), "%d", i);
        produce(rig->admin, &msg, NULL);
    }
    settle(rig->admin, before + (size_t)count);
    for (size_t i = before; i < rig->admin->delivery_count; i++)
        assert_int_equal(rig->admin->deliveries[i].fault, WEIR_OK);
}

static int number_in(const struct weir_msg *msg)
{
    char text[16] = "";
    assert_true(msg->value_size_bytes < sizeof(text));
    memcpy(text, msg->value, msg->value_size_bytes);
    return atoi(text);
}

/* A record if there is one within timeout_ms. */
static const struct weir_msg *try_next(struct peer *peer, int timeout_ms)
{
    const struct weir_msg *msg = NULL;
    struct weir_err err;

    int got = weir_bus_consume(peer->bus, timeout_ms, &msg, &err);
    assert_in_range(got, 0, 1);
    if (got == 0)
        return NULL;
    peer->next[msg->partition] = msg->offset + 1;
    return msg;
}

static const struct weir_msg *next(struct peer *peer)
{
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    for (;;) {
        const struct weir_msg *msg = try_next(peer, 100);
        if (msg)
            return msg;
        assert_true(weir_mono_ms() < until_ms);
    }
}

static void expect_quiet(struct peer *peer)
{
    int64_t until_ms = weir_mono_ms() + QUIET_MS;
    while (weir_mono_ms() < until_ms)
        assert_null(try_next(peer, 50));
}

static void await_commits(struct peer *peer, size_t count)
{
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    while (peer->commits + peer->commits_failed < count) {
        assert_true(weir_mono_ms() < until_ms);
        weir_bus_poll(peer->bus, 50);
    }
    assert_int_equal(peer->commits_failed, 0);
    assert_int_equal(peer->commits, count);
}

/* Both take turns until they share the topic's partitions so; neither expects records. */
static void await_shares(struct peer *a, size_t a_parts, struct peer *b, size_t b_parts)
{
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    while (a->part_count != a_parts || (b && b->part_count != b_parts)) {
        assert_true(weir_mono_ms() < until_ms);
        (void)try_next(a, 20);
        if (b)
            (void)try_next(b, 20);
    }
}

/* ---- records ---- */

static void order_in_a_partition(void **state)
{
    struct rig *rig = *state;
    enum { COUNT = 500 };

    make_topic(rig, "t", 2);
    send_numbers(rig, "t", 1, 0, COUNT);
    struct peer *peer = open_member(rig, "g");
    for (int i = 0; i < COUNT; i++) {
        const struct weir_msg *msg = next(peer);
        assert_string_equal(msg->topic, "t");
        assert_int_equal(msg->partition, 1);
        assert_int_equal(msg->offset, i);
        assert_int_equal(number_in(msg), i);
    }
    expect_quiet(peer);
    assert_int_equal(weir_bus_end(peer->bus, "t", 1), COUNT);
    close_peer(&peer);
}

struct sample {
    const char *name;
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    int64_t time_ms;
    struct weir_header headers[4];
    size_t header_count;
};

static const struct sample samples[] = {
    { "all", "k", 1, "v", 1, 1700000000123, { { "h", "x", 1 } }, 1 },
    { "nothing", NULL, 0, NULL, 0, 0, { { 0 } }, 0 },
    { "tombstone", "k", 1, NULL, 0, 1, { { 0 } }, 0 },
    { "empty value", "k", 1, "", 0, 1, { { 0 } }, 0 },
    { "empty key", "", 0, "v", 1, 1, { { 0 } }, 0 },
    { "no key", NULL, 0, "v", 1, 1, { { 0 } }, 0 },
    { "binary", "\0\xff\n", 3, "\x80\0\0\xfe", 4, 1, { { "b", "\0\1\0", 3 } }, 1 },
    { "header without value", "k", 1, "v", 1, 1, { { "none", NULL, 0 } }, 1 },
    { "header with empty value", "k", 1, "v", 1, 1, { { "empty", "", 0 } }, 1 },
    { "headers in order, a name twice",
      "k",
      1,
      "v",
      1,
      1,
      { { "b", "1", 1 }, { "a", "2", 1 }, { "b", "3", 1 }, { "\xc5\xbc", NULL, 0 } },
      4 },
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static void expect_bytes(const void *got, size_t got_size, const void *want, size_t want_size)
{
    if (!want) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_int_equal(got_size, want_size);
    assert_memory_equal(got, want, want_size);
}

static void expect_sample(const struct weir_msg *msg, const struct sample *want)
{
    expect_bytes(msg->key, msg->key_size_bytes, want->key, want->key_size);
    expect_bytes(msg->value, msg->value_size_bytes, want->value, want->value_size);
    if (want->time_ms)
        assert_int_equal(msg->time_ms, want->time_ms);
    else
        assert_in_range(weir_wall_ms() - msg->time_ms, 0, LONG_MS);
    assert_int_equal(msg->header_count, want->header_count);
    for (size_t k = 0; k < want->header_count; k++) {
        assert_string_equal(msg->headers[k].name, want->headers[k].name);
        expect_bytes(msg->headers[k].value, msg->headers[k].size_bytes, want->headers[k].value,
                     want->headers[k].size_bytes);
    }
}

static int expect_sample_in_scan(void *arg, const struct weir_msg *msg)
{
    size_t *seen = arg;
    expect_sample(msg, &samples[(*seen)++]);
    return 0;
}

static void bytes_are_kept_whole(void **state)
{
    struct rig *rig = *state;
    struct weir_err err;
    size_t seen = 0;

    make_topic(rig, "t", 1);
    for (size_t i = 0; i < SAMPLES; i++) {
        struct weir_msg msg = { .topic = "t",
                                .partition = 0,
                                .key = samples[i].key,
                                .key_size_bytes = samples[i].key_size,
                                .value = samples[i].value,
                                .value_size_bytes = samples[i].value_size,
                                .time_ms = samples[i].time_ms,
                                .headers = samples[i].headers,
                                .header_count = samples[i].header_count };
        produce(rig->admin, &msg, NULL);
    }
    settle(rig->admin, SAMPLES);
    struct peer *peer = open_member(rig, "g");
    for (size_t i = 0; i < SAMPLES; i++)
        expect_sample(next(peer), &samples[i]);
    close_peer(&peer);
    assert_int_equal(
        weir_bus_scan(rig->bus, "t", 0, 0, SAMPLES, ASK_MS, expect_sample_in_scan, &seen, &err),
        WEIR_OK);
    assert_int_equal(seen, SAMPLES);
}

static void what_is_produced_is_copied(void **state)
{
    struct rig *rig = *state;
    char key[] = "key", value[] = "value", name[] = "name", text[] = "text";
    struct weir_header header = { name, text, 4 };
    struct weir_msg msg = { .topic = "t",
                            .partition = 0,
                            .key = key,
                            .key_size_bytes = 3,
                            .value = value,
                            .value_size_bytes = 5,
                            .time_ms = 1,
                            .headers = &header,
                            .header_count = 1 };
    struct sample want = { "", "key", 3, "value", 5, 1, { { "name", "text", 4 } }, 1 };

    make_topic(rig, "t", 1);
    produce(rig->admin, &msg, NULL);
    memset(key, 'x', 3);
    memset(value, 'x', 5);
    memset(name, 'x', 4);
    memset(text, 'x', 4);
    settle(rig->admin, 1);
    struct peer *peer = open_member(rig, "g");
    expect_sample(next(peer), &want);
    close_peer(&peer);
}

/* ---- producing ---- */

static void delivery_reports(void **state)
{
    struct rig *rig = *state;
    enum { COUNT = 90 };
    int64_t end[3] = { 0 };
    char opaques[COUNT];
    bool seen[COUNT] = { false };

    make_topic(rig, "t", 3);
    for (int i = 0; i < COUNT; i++) {
        struct weir_msg msg = {
            .topic = "t", .partition = i % 3, .value = "v", .value_size_bytes = 1
        };
        produce(rig->admin, &msg, &opaques[i]);
    }
    assert_int_equal(rig->admin->delivery_count, 0); /* not inside produce */
    settle(rig->admin, COUNT);
    for (int i = 0; i < COUNT; i++) {
        const struct delivery *delivery = &rig->admin->deliveries[i];
        long at = (char *)delivery->opaque - opaques;
        assert_int_equal(delivery->fault, WEIR_OK);
        assert_in_range(at, 0, COUNT - 1);
        assert_false(seen[at]);
        seen[at] = true;
        assert_int_equal(delivery->partition, at % 3);
        assert_int_equal(delivery->offset, at / 3);
        end[delivery->partition]++;
    }
    assert_int_equal(end[2], COUNT / 3);
}

/* Partitions by org.apache.kafka.common.utils.Utils.murmur2 of kafka-clients 4.1.1. */
static const struct {
    const char *key;
    size_t size;
    int of_2, of_3, of_7, of_12;
} partitions[] = {
    { "", 0, 1, 0, 2, 9 },
    { "a", 1, 0, 1, 5, 4 },
    { "ab", 2, 0, 2, 0, 2 },
    { "abc", 3, 1, 0, 4, 3 },
    { "abcd", 4, 0, 2, 5, 8 },
    { "foobar", 6, 0, 0, 0, 6 },
    { "21", 2, 0, 0, 3, 0 },
    { "a-little-bit-longer-string", 26, 1, 2, 0, 11 },
    { "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 48, 1, 2, 3, 5 },
    { "shelf/4711", 10, 0, 1, 0, 10 },
    { "\xc5\xbc\xc3\xb3\xc5\x82w", 7, 0, 2, 5, 8 },
    { "\0\xff\x80\0\1", 5, 0, 0, 3, 6 },
};
enum { KEYS = sizeof(partitions) / sizeof(partitions[0]) };

static void a_key_has_the_partition_that_java_gives_it(void **state)
{
    struct rig *rig = *state;
    static const struct {
        const char *topic;
        int32_t partitions;
    } topics[] = { { "t2", 2 }, { "t3", 3 }, { "t7", 7 }, { "t12", 12 } };

    for (size_t t = 0; t < 4; t++) {
        make_topic(rig, topics[t].topic, topics[t].partitions);
        for (size_t i = 0; i < KEYS; i++) {
            const int wanted[] = { partitions[i].of_2, partitions[i].of_3, partitions[i].of_7,
                                   partitions[i].of_12 };
            struct weir_msg msg = { .topic = topics[t].topic,
                                    .partition = -1,
                                    .key = partitions[i].key,
                                    .key_size_bytes = partitions[i].size };
            produce(rig->admin, &msg, (void *)(intptr_t)wanted[t]);
        }
        settle(rig->admin, (t + 1) * KEYS);
    }
    for (size_t i = 0; i < rig->admin->delivery_count; i++) {
        assert_int_equal(rig->admin->deliveries[i].fault, WEIR_OK);
        assert_int_equal(rig->admin->deliveries[i].partition,
                         (intptr_t)rig->admin->deliveries[i].opaque);
    }
}

/* A client may stay with a partition for a while, so it takes as many as it takes. */
static void without_a_key_no_partition_is_left_out(void **state)
{
    struct rig *rig = *state;
    const struct weir_msg msg = {
        .topic = "t", .partition = -1, .value = "v", .value_size_bytes = 1
    };
    bool used[3] = { false };
    int64_t until_ms = weir_mono_ms() + LONG_MS;

    make_topic(rig, "t", 3);
    for (size_t i = 0; !(used[0] && used[1] && used[2]); i++) {
        assert_true(weir_mono_ms() < until_ms);
        produce(rig->admin, &msg, NULL);
        settle(rig->admin, i + 1);
        assert_in_range(rig->admin->deliveries[i].partition, 0, 2);
        used[rig->admin->deliveries[i].partition] = true;
    }
}

/* Never a success; a success after the topic was made, on the next try. */
static void a_missing_topic_is_no_success(void **state)
{
    struct rig *rig = *state;
    struct weir_msg msg = { .topic = "missing", .partition = -1, .key = "k", .key_size_bytes = 1 };
    struct weir_err err;

    int fault = weir_bus_produce(rig->bus, &msg, NULL, &err);
    if (fault == WEIR_OK) {
        settle(rig->admin, 1);
        assert_int_equal(rig->admin->deliveries[0].fault, WEIR_TRY_LATER);
        assert_true(rig->admin->deliveries[0].reason[0] != '\0');
    } else {
        assert_int_equal(fault, WEIR_TRY_LATER);
    }
    make_topic(rig, "missing", 1);
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    for (bool done = false; !done;) {
        size_t before = rig->admin->delivery_count;
        assert_true(weir_mono_ms() < until_ms);
        if (weir_bus_produce(rig->bus, &msg, NULL, &err) == WEIR_OK) {
            settle(rig->admin, before + 1);
            done = rig->admin->deliveries[before].fault == WEIR_OK;
        } else {
            weir_bus_poll(rig->bus, 50);
        }
    }
}

static void too_large_is_bad_input(void **state)
{
    struct rig *rig = *state;
    enum { SIZE = 1200000 };
    const struct weir_topic_config small[] = { { "max.message.bytes", "2000" }, { 0 } };
    struct weir_topic_spec spec = {
        .name = "small", .partitions = 1, .replicas = -1, .configs = small
    };
    char *value = weir_xcalloc(1, SIZE);
    struct weir_msg msg = {
        .topic = "t", .partition = 0, .value = value, .value_size_bytes = SIZE
    };
    struct weir_err err = { 0 };

    make_topic(rig, "t", 1);
    int fault = weir_bus_produce(rig->bus, &msg, NULL, &err);
    if (fault == WEIR_OK) {
        settle(rig->admin, 1);
        fault = rig->admin->deliveries[0].fault;
    }
    assert_int_equal(fault, WEIR_BAD_INPUT);

    /* The broker's own refusal comes with the report. */
    size_t before = rig->admin->delivery_count;
    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, ASK_MS, &err), WEIR_OK);
    msg.topic = "small";
    msg.value_size_bytes = 3000;
    produce(rig->admin, &msg, NULL);
    settle(rig->admin, before + 1);
    assert_int_equal(rig->admin->deliveries[before].fault, WEIR_BAD_INPUT);

    /* Neither keeps others from being sent. */
    msg.value_size_bytes = 100;
    produce(rig->admin, &msg, NULL);
    settle(rig->admin, before + 2);
    assert_int_equal(rig->admin->deliveries[before + 1].fault, WEIR_OK);
    free(value);
}

/* ---- groups ---- */

static void what_was_committed_comes_back(void **state)
{
    struct rig *rig = *state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_partition *offsets;
    struct weir_err err;
    size_t count;
    char mark;

    make_topic(rig, "t", 2);
    send_numbers(rig, "t", 0, 0, 5);
    send_numbers(rig, "t", 1, 10, 5);
    struct peer *peer = open_member(rig, "g");
    for (int i = 0; i < 10; i++)
        (void)next(peer);
    assert_int_equal(peer->committed[0], -1);
    assert_int_equal(peer->committed[1], -1);
    struct weir_partition at[] = { { "t", 0, 3, "weir running 7" } };
    weir_bus_commit(peer->bus, at, 1, &mark);
    assert_int_equal(peer->commits, 0); /* not inside commit */
    await_commits(peer, 1);
    assert_ptr_equal(peer->commit_opaque, &mark);
    close_peer(&peer);

    peer = open_member(rig, "g");
    const struct weir_msg *msg = next(peer);
    assert_int_equal(peer->committed[0], 3);
    assert_string_equal(peer->metadata[0], "weir running 7");
    assert_int_equal(peer->committed[1], -1);
    int seen[2] = { 0, 0 };
    for (int i = 0; i < 7; i++) { /* two of partition 0, all of 1 */
        if (i > 0)
            msg = next(peer);
        assert_int_equal(msg->offset, (msg->partition == 0 ? 3 : 0) + seen[msg->partition]);
        seen[msg->partition]++;
    }
    assert_int_equal(seen[0], 2);
    expect_quiet(peer);
    struct weir_partition later[] = { { "t", 0, 4, "" }, { "t", 1, 5, NULL } };
    weir_bus_commit(peer->bus, later, 2, NULL);
    await_commits(peer, 1);
    close_peer(&peer);

    assert_int_equal(weir_bus_group_offsets(rig->bus, "g", ASK_MS, arena, &offsets, &count, &err),
                     WEIR_OK);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(offsets[i].topic, "t");
        assert_int_equal(offsets[i].offset, offsets[i].partition == 0 ? 4 : 5);
        assert_true(!offsets[i].metadata || !*offsets[i].metadata);
    }
    assert_int_equal(
        weir_bus_group_offsets(rig->bus, "nobody", ASK_MS, arena, &offsets, &count, &err), WEIR_OK);
    assert_int_equal(count, 0);
}

static void what_was_not_committed_comes_again(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    send_numbers(rig, "t", 0, 0, 3);
    for (int round = 0; round < 2; round++) {
        struct peer *peer = open_member(rig, "g");
        for (int i = 0; i < 3; i++)
            assert_int_equal(next(peer)->offset, i);
        close_peer(&peer);
    }
}

static void the_callback_says_where_to_start(void **state)
{
    struct rig *rig = *state;
    static const struct {
        int64_t start_at;
        int first;
    } rows[] = { { 4, 4 }, { -1, 0 }, { KEEP_OFFSET, 2 }, { 0, 0 } };

    make_topic(rig, "t", 1);
    send_numbers(rig, "t", 0, 0, 6);
    struct peer *peer = open_member(rig, "g");
    (void)next(peer);
    weir_bus_commit(peer->bus, &(struct weir_partition){ "t", 0, 2, "" }, 1, NULL);
    await_commits(peer, 1);
    close_peer(&peer);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        peer = open_member(rig, "g");
        peer->start_at = rows[i].start_at;
        for (int n = rows[i].first; n < 6; n++)
            assert_int_equal(number_in(next(peer)), n);
        expect_quiet(peer);
        assert_int_equal(peer->committed[0], 2);
        close_peer(&peer);
    }
}

static void a_partition_that_is_not_ready_waits(void **state)
{
    struct rig *rig = *state;
    enum { COUNT = 200 };
    int seen = 0;

    make_topic(rig, "t", 2);
    send_numbers(rig, "t", 0, 0, COUNT);
    send_numbers(rig, "t", 1, 0, 10);
    struct peer *peer = open_member(rig, "g");
    peer->held_back[0] = true;
    for (int i = 0; i < 10; i++)
        assert_int_equal(next(peer)->partition, 1);
    expect_quiet(peer);
    while (seen < COUNT) { /* in fits and starts */
        peer->held_back[0] = false;
        for (int i = 0; i < 7 && seen < COUNT; i++) {
            const struct weir_msg *msg = next(peer);
            assert_int_equal(msg->partition, 0);
            assert_int_equal(number_in(msg), seen++);
        }
        peer->held_back[0] = true;
        assert_null(try_next(peer, 5));
    }
    send_numbers(rig, "t", 0, COUNT, 1);
    expect_quiet(peer);
    peer->held_back[0] = false;
    assert_int_equal(number_in(next(peer)), COUNT);
    close_peer(&peer);
}

static void two_members_share(void **state)
{
    struct rig *rig = *state;
    bool seen[5] = { false };

    make_topic(rig, "t", 5);
    struct peer *a = open_member(rig, "g");
    await_shares(a, 5, NULL, 0);
    struct peer *b = open_member(rig, "g");
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    while (a->part_count + b->part_count != 5 || b->part_count == 0) {
        assert_true(weir_mono_ms() < until_ms);
        assert_null(try_next(a, 20));
        assert_null(try_next(b, 20));
    }
    assert_in_range(a->part_count, 2, 3);
    assert_true(a->revoked >= 1);
    assert_int_equal(rig->clashes, 0);

    for (int32_t i = 0; i < 5; i++)
        send_numbers(rig, "t", i, i, 1);
    for (int got = 0; got < 5;) {
        assert_true(weir_mono_ms() < until_ms);
        struct peer *const both[] = { a, b };
        for (int k = 0; k < 2; k++) {
            const struct weir_msg *msg = try_next(both[k], 20);
            if (!msg)
                continue;
            assert_ptr_equal(rig->owners[msg->partition], both[k]);
            assert_false(seen[msg->partition]);
            seen[msg->partition] = true;
            got++;
        }
    }
    close_peer(&a); /* who stays gets all */
    await_shares(b, 5, NULL, 0);
    assert_int_equal(rig->clashes, 0);
    close_peer(&b);
    for (int i = 0; i < 5; i++)
        assert_null(rig->owners[i]);
}

static void more_members_than_partitions(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    struct peer *a = open_member(rig, "g");
    await_shares(a, 1, NULL, 0);
    struct peer *b = open_member(rig, "g");
    int64_t until_ms = weir_mono_ms() + 2 * QUIET_MS;
    while (weir_mono_ms() < until_ms) {
        assert_null(try_next(a, 20));
        assert_null(try_next(b, 20));
    }
    await_shares(a, 1 - b->part_count, b, b->part_count);
    struct peer *owner = b->part_count ? b : a, *standby = owner == a ? b : a;
    close_peer(&owner);
    await_shares(standby, 1, NULL, 0);
    send_numbers(rig, "t", 0, 7, 1);
    assert_int_equal(number_in(next(standby)), 7);
    assert_int_equal(rig->clashes, 0);
    close_peer(&standby);
}

static void the_next_owner_sees_what_the_last_committed(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 2);
    send_numbers(rig, "t", 0, 0, 20);
    send_numbers(rig, "t", 1, 0, 20);
    struct peer *a = open_member(rig, "g");
    a->commits_when_revoked = true;
    while (a->next[0] <= 0 || a->next[1] <= 0)
        (void)next(a);
    a->held_back[0] = a->held_back[1] = true;
    int64_t at[] = { a->next[0], a->next[1] };
    struct peer *b = open_member(rig, "g");
    b->held_back[0] = b->held_back[1] = true;
    await_shares(a, 1, b, 1);
    assert_int_equal(a->commits_in_callback, 2);
    assert_int_equal(a->deliveries_in_callback, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig->owners[i]->committed[i], at[i]);
        assert_string_equal(rig->owners[i]->metadata[i], "from revoked");
    }
    int32_t mine = rig->owners[0] == b ? 0 : 1;
    b->held_back[mine] = false;
    send_numbers(rig, "t", mine, 99, 1); /* it may have been read to its end */
    assert_int_equal(next(b)->offset, at[mine]);
    a->commits_when_revoked = false;
    close_peer(&a);
    close_peer(&b);
}

static void leaving_gives_back_and_still_produces(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 2);
    send_numbers(rig, "t", 0, 0, 4);
    struct peer *a = open_member(rig, "g");
    for (int i = 0; i < 3; i++)
        (void)next(a);
    a->commits_when_revoked = true;
    weir_bus_leave(a->bus);
    assert_int_equal(a->revoked, 1);
    assert_int_equal(a->part_count, 0);
    assert_int_equal(a->commits_in_callback, 1);
    assert_int_equal(a->deliveries_in_callback, 1);

    struct peer *b = open_member(rig, "g");
    assert_int_equal(number_in(next(b)), 3);
    size_t before = a->delivery_count;
    struct weir_msg msg = { .topic = "t", .partition = 1, .value = "8", .value_size_bytes = 1 };
    produce(a, &msg, NULL);
    settle(a, before + 1);
    assert_int_equal(a->deliveries[before].fault, WEIR_OK);
    weir_bus_leave(a->bus);
    close_peer(&a);
    close_peer(&b);
    assert_int_equal(rig->clashes, 0);
}

static void a_member_that_never_consumed_can_go(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    struct peer *idle = open_peer(rig, "idle"); /* not even subscribed */
    close_peer(&idle);
    idle = open_member(rig, "g");
    close_peer(&idle);
    struct peer *peer = open_member(rig, "g");
    await_shares(peer, 1, NULL, 0);
    weir_bus_leave(peer->bus);
    close_peer(&peer);
}

static void who_left_may_come_back(void **state)
{
    struct rig *rig = *state;
    struct weir_err err;

    make_topic(rig, "t", 1);
    send_numbers(rig, "t", 0, 0, 2);
    struct peer *peer = open_member(rig, "g");
    (void)next(peer);
    weir_bus_leave(peer->bus);
    assert_null(try_next(peer, 20));
    weir_bus_commit(peer->bus, &(struct weir_partition){ "t", 0, 1, "" }, 1, NULL);
    weir_bus_poll(peer->bus, 0);
    assert_int_equal(peer->commits + peer->commits_failed, 1);
    assert_int_equal(weir_bus_subscribe(peer->bus, (const char *const[]){ "t", NULL }, &err),
                     WEIR_OK);
    (void)next(peer);
    assert_int_equal(peer->assigned, 2);
    close_peer(&peer);
}

static void without_a_group_there_is_no_consuming(void **state)
{
    struct rig *rig = *state;
    const struct weir_msg *msg;
    struct weir_err err;

    assert_int_equal(weir_bus_subscribe(rig->bus, (const char *const[]){ "t", NULL }, &err),
                     WEIR_FATAL);
    assert_int_equal(weir_bus_consume(rig->bus, 0, &msg, &err), WEIR_FATAL);
    weir_bus_commit(rig->bus, &(struct weir_partition){ "t", 0, 1, "" }, 1, NULL);
    weir_bus_poll(rig->bus, 0);
    assert_int_equal(rig->admin->commits_failed, 1);
    weir_bus_leave(rig->bus);
    make_topic(rig, "t", 1); /* and it is still of use */
    send_numbers(rig, "t", 0, 0, 1);
}

static void a_topic_may_come_later(void **state)
{
    struct rig *rig = *state;
    struct peer *peer = open_member(rig, "g");

    expect_quiet(peer);
    assert_int_equal(peer->part_count, 0);
    make_topic(rig, "t", 1);
    send_numbers(rig, "t", 0, 42, 1);
    assert_int_equal(number_in(next(peer)), 42);
    assert_true(peer->remarks > 0); /* someone should know */
    close_peer(&peer);
}

static void partitions_may_be_added(void **state)
{
    struct rig *rig = *state;
    struct weir_err err;

    make_topic(rig, "t", 1);
    struct peer *peer = open_member(rig, "g");
    await_shares(peer, 1, NULL, 0);
    assert_int_equal(weir_bus_topic_grow(rig->bus, "t", 3, ASK_MS, &err), WEIR_OK);
    await_shares(peer, 3, NULL, 0);
    send_numbers(rig, "t", 2, 5, 1);
    assert_int_equal(number_in(next(peer)), 5);
    assert_int_equal(weir_bus_topic_grow(rig->bus, "t", 3, ASK_MS, &err), WEIR_BAD_INPUT);
    assert_int_equal(weir_bus_topic_grow(rig->bus, "t", 2, ASK_MS, &err), WEIR_BAD_INPUT);
    assert_int_equal(weir_bus_topic_grow(rig->bus, "none", 2, ASK_MS, &err), WEIR_BAD_INPUT);
    close_peer(&peer);
}

static void reading_goes_on_behind_what_was_truncated(void **state)
{
    struct rig *rig = *state;
    struct weir_err err;

    make_topic(rig, "t", 1);
    send_numbers(rig, "t", 0, 0, 10);
    struct peer *peer = open_member(rig, "g");
    (void)next(peer);
    weir_bus_commit(peer->bus, &(struct weir_partition){ "t", 0, 1, "" }, 1, NULL);
    await_commits(peer, 1);
    close_peer(&peer);
    assert_int_equal(weir_bus_truncate(rig->bus, "t", 0, 6, ASK_MS, &err), WEIR_OK);
    peer = open_member(rig, "g");
    assert_int_equal(next(peer)->offset, 6);
    assert_int_equal(peer->committed[0], 1);
    close_peer(&peer);
}

/* ---- waiting ---- */

struct waker {
    weir_bus *bus;
    atomic_bool woken;
};

static void *wake_later(void *arg)
{
    struct waker *waker = arg;
    struct timespec soon = { .tv_nsec = 100000000 }; /* so that it most likely waits by then */

    nanosleep(&soon, NULL);
    atomic_store(&waker->woken, true);
    weir_bus_wake(waker->bus);
    return NULL;
}

static void waking_ends_a_wait(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    struct peer *peer = open_member(rig, "g");
    await_shares(peer, 1, NULL, 0);
    for (int way = 0; way < 2; way++) {
        struct waker waker = { .bus = peer->bus };
        pthread_t thread;
        int64_t started_ms = weir_mono_ms();
        assert_int_equal(pthread_create(&thread, NULL, wake_later, &waker), 0);
        while (!atomic_load(&waker.woken)) {
            if (way == 0)
                assert_null(try_next(peer, LONG_MS));
            else
                weir_bus_poll(peer->bus, LONG_MS);
        }
        assert_true(weir_mono_ms() - started_ms < LONG_MS / 3);
        pthread_join(thread, NULL);
    }
    weir_bus_wake(peer->bus); /* one before the wait counts too */
    int64_t started_ms = weir_mono_ms();
    weir_bus_poll(peer->bus, LONG_MS);
    assert_true(weir_mono_ms() - started_ms < LONG_MS / 3);
    close_peer(&peer);
}

static void no_time_no_wait(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    struct peer *peer = open_member(rig, "g");
    await_shares(peer, 1, NULL, 0);
    int64_t started_ms = weir_mono_ms();
    for (int i = 0; i < 200; i++) {
        assert_null(try_next(peer, 0));
        weir_bus_poll(peer->bus, 0);
    }
    assert_true(weir_mono_ms() - started_ms < 2000);
    close_peer(&peer);
}

static void a_record_ends_a_wait(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    struct peer *peer = open_member(rig, "g");
    await_shares(peer, 1, NULL, 0);
    send_numbers(rig, "t", 0, 1, 1);
    int64_t started_ms = weir_mono_ms();
    const struct weir_msg *msg = NULL;
    while (!msg)
        msg = try_next(peer, LONG_MS);
    assert_true(weir_mono_ms() - started_ms < LONG_MS / 3);
    close_peer(&peer);
}

/* ---- administering ---- */

static void a_topic_is_created_once(void **state)
{
    struct rig *rig = *state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_topic_spec spec = { .name = "t", .partitions = 1, .replicas = -1 };
    struct weir_topic_info *topics;
    struct weir_err err;
    size_t count;

    make_topic(rig, "z", 4);
    make_topic(rig, "t", 1);
    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, ASK_MS, &err), WEIR_BAD_INPUT);
    assert_int_equal(err.fault, WEIR_BAD_INPUT);
    spec.name = "no/such name";
    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, ASK_MS, &err), WEIR_BAD_INPUT);
    spec.name = "none";
    spec.partitions = 0;
    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, ASK_MS, &err), WEIR_BAD_INPUT);

    assert_int_equal(weir_bus_topics(rig->bus, ASK_MS, arena, &topics, &count, &err), WEIR_OK);
    assert_int_equal(count, 2);
    assert_string_equal(topics[0].name, "t");
    assert_int_equal(topics[0].partitions, 1);
    assert_int_equal(topics[0].replicas, 1);
    assert_string_equal(topics[1].name, "z");
    assert_int_equal(topics[1].partitions, 4);
}

/* A broker may answer from before a change for a moment. value NULL: not set. */
static void expect_config(struct rig *rig, const char *topic, const char *name, const char *value,
                          size_t want_count)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    int64_t until_ms = weir_mono_ms() + LONG_MS;
    struct weir_topic_config *configs;
    struct weir_err err;
    size_t count;

    for (bool right = false; !right;) {
        assert_true(weir_mono_ms() < until_ms);
        assert_int_equal(
            weir_bus_topic_configs(rig->bus, topic, ASK_MS, arena, &configs, &count, &err),
            WEIR_OK);
        const char *found = NULL;
        for (size_t i = 0; i < count; i++)
            if (strcmp(configs[i].name, name) == 0)
                found = configs[i].value;
        right = count == want_count && (value ? found && strcmp(found, value) == 0 : !found);
    }
}

static void configs_are_kept(void **state)
{
    struct rig *rig = *state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    const struct weir_topic_config first[] = { { "retention.ms", "60000" },
                                               { "cleanup.policy", "compact" },
                                               { 0 } };
    const struct weir_topic_config second[] = { { "retention.ms", "70000" },
                                                { "segment.ms", "90000" },
                                                { 0 } };
    struct weir_topic_spec spec = {
        .name = "t", .partitions = 1, .replicas = -1, .configs = first
    };
    struct weir_topic_config *configs;
    struct weir_err err;
    size_t count;

    assert_int_equal(weir_bus_topic_create(rig->bus, &spec, ASK_MS, &err), WEIR_OK);
    make_topic(rig, "plain", 1);
    expect_config(rig, "t", "retention.ms", "60000", 2);
    expect_config(rig, "t", "cleanup.policy", "compact", 2);
    assert_int_equal(weir_bus_topic_configure(rig->bus, "t", second, ASK_MS, &err), WEIR_OK);
    expect_config(rig, "t", "retention.ms", "70000", 3);
    expect_config(rig, "t", "cleanup.policy", "compact", 3);
    expect_config(rig, "t", "segment.ms", "90000", 3);
    expect_config(rig, "plain", "retention.ms", NULL, 0);
    assert_int_equal(
        weir_bus_topic_configs(rig->bus, "none", ASK_MS, arena, &configs, &count, &err),
        WEIR_BAD_INPUT);
    assert_int_equal(weir_bus_topic_configure(rig->bus, "none", second, ASK_MS, &err),
                     WEIR_BAD_INPUT);
}

static void expect_bounds(struct rig *rig, int64_t first, int64_t end)
{
    int64_t got_first = -5, got_end = -5;
    struct weir_err err;
    assert_int_equal(weir_bus_bounds(rig->bus, "t", 0, ASK_MS, &got_first, &got_end, &err),
                     WEIR_OK);
    assert_int_equal(got_first, first);
    assert_int_equal(got_end, end);
}

static void truncating_moves_the_bounds(void **state)
{
    struct rig *rig = *state;
    struct weir_err err;
    int64_t first, end;

    make_topic(rig, "t", 1);
    expect_bounds(rig, 0, 0);
    send_numbers(rig, "t", 0, 0, 8);
    expect_bounds(rig, 0, 8);
    assert_int_equal(weir_bus_truncate(rig->bus, "t", 0, 5, ASK_MS, &err), WEIR_OK);
    expect_bounds(rig, 5, 8);
    assert_int_equal(weir_bus_truncate(rig->bus, "t", 0, 2, ASK_MS, &err), WEIR_OK);
    expect_bounds(rig, 5, 8);
    assert_int_equal(weir_bus_truncate(rig->bus, "t", 0, 9, ASK_MS, &err), WEIR_BAD_INPUT);
    assert_int_equal(weir_bus_truncate(rig->bus, "t", 0, 8, ASK_MS, &err), WEIR_OK);
    expect_bounds(rig, 8, 8);
    send_numbers(rig, "t", 0, 8, 1);
    expect_bounds(rig, 8, 9);
    assert_int_not_equal(weir_bus_bounds(rig->bus, "none", 0, 3000, &first, &end, &err), WEIR_OK);
    assert_int_not_equal(weir_bus_bounds(rig->bus, "t", 1, 3000, &first, &end, &err), WEIR_OK);
}

static void the_end_needs_no_asking(void **state)
{
    struct rig *rig = *state;

    make_topic(rig, "t", 1);
    struct peer *stranger = open_peer(rig, NULL);
    int64_t known = weir_bus_end(stranger->bus, "t", 0);
    assert_true(known == -1 || known == 0);
    assert_int_equal(weir_bus_end(stranger->bus, "none", 0), -1);
    close_peer(&stranger);
    send_numbers(rig, "t", 0, 0, 3);
    struct peer *peer = open_member(rig, "g");
    for (int i = 0; i < 3; i++)
        (void)next(peer);
    assert_int_equal(weir_bus_end(peer->bus, "t", 0), 3);
    weir_bus_leave(peer->bus);
    known = weir_bus_end(peer->bus, "t", 0);
    assert_true(known == -1 || known == 3);
    close_peer(&peer);
}

/* ---- scanning ---- */

struct scan {
    int want, stop_at, stop_with;
    int64_t first_offset;
};

static int expect_number(void *arg, const struct weir_msg *msg)
{
    struct scan *scan = arg;
    assert_string_equal(msg->topic, "t");
    assert_int_equal(msg->partition, 1);
    assert_int_equal(number_in(msg), scan->want);
    assert_int_equal(msg->offset, scan->want);
    return scan->want++ == scan->stop_at ? scan->stop_with : 0;
}

static int scan_t(struct rig *rig, struct scan *scan, int64_t from, int64_t end, int timeout_ms)
{
    struct weir_err err;
    return weir_bus_scan(rig->bus, "t", 1, from, end, timeout_ms, expect_number, scan, &err);
}

static void scanning(void **state)
{
    struct rig *rig = *state;
    struct weir_err err;

    make_topic(rig, "t", 2);
    send_numbers(rig, "t", 0, 100, 5);
    send_numbers(rig, "t", 1, 0, 20);
    struct scan scan = { .want = 3, .stop_at = -1 };
    assert_int_equal(scan_t(rig, &scan, 3, 7, ASK_MS), WEIR_OK);
    assert_int_equal(scan.want, 7);
    scan = (struct scan){ .want = 0, .stop_at = 4, .stop_with = 7 };
    assert_int_equal(scan_t(rig, &scan, 0, 20, ASK_MS), 7);
    assert_int_equal(scan.want, 5);
    scan = (struct scan){ .want = 0, .stop_at = 2, .stop_with = WEIR_BAD_INPUT };
    assert_int_equal(scan_t(rig, &scan, 0, 20, ASK_MS), WEIR_BAD_INPUT);
    scan = (struct scan){ .want = 0, .stop_at = -1 }; /* nothing of the last one is left over */
    assert_int_equal(scan_t(rig, &scan, 0, 20, ASK_MS), WEIR_OK);
    assert_int_equal(scan.want, 20);
    scan = (struct scan){ .want = 9, .stop_at = -1 };
    assert_int_equal(scan_t(rig, &scan, 9, 9, ASK_MS), WEIR_OK);
    assert_int_equal(scan_t(rig, &scan, 12, 9, ASK_MS), WEIR_OK);
    assert_int_equal(scan.want, 9);
    scan = (struct scan){ .want = 18, .stop_at = -1 };
    assert_int_equal(scan_t(rig, &scan, 18, 21, 500), WEIR_TRY_LATER);
    assert_int_equal(scan.want, 20);

    assert_int_equal(weir_bus_truncate(rig->bus, "t", 1, 15, ASK_MS, &err), WEIR_OK);
    scan = (struct scan){ .want = 15, .stop_at = -1 };
    assert_int_equal(scan_t(rig, &scan, 0, 20, ASK_MS), WEIR_OK);
    assert_int_equal(scan.want, 20);
    assert_int_equal(weir_bus_truncate(rig->bus, "t", 1, 20, ASK_MS, &err), WEIR_OK);
    assert_int_equal(scan_t(rig, &scan, 0, 20, 3000), WEIR_OK);

    struct peer *peer = open_peer(rig, "g");
    assert_int_equal(weir_bus_scan(peer->bus, "t", 1, 0, 1, 100, expect_number, &scan, &err),
                     WEIR_FATAL);
    close_peer(&peer);
}

/* ---- several installations ---- */

static void namespaces_isolate(void **state)
{
    struct rig *rig = *state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_topic_info *topics;
    const char **groups;
    struct weir_err err;
    size_t count;
    char elsewhere[80];

    snprintf(elsewhere, sizeof(elsewhere), "else.%s", rig->name_space);
    struct peer *other = open_peer_in(rig, elsewhere, NULL);
    struct rig there = *rig;
    there.bus = other->bus;
    there.admin = other;
    make_topic(rig, "t", 1);
    make_topic(&there, "t", 3);
    make_topic(&there, "only.there", 1);
    send_numbers(rig, "t", 0, 1, 1);
    send_numbers(&there, "t", 0, 2, 1);

    struct peer *a = open_member(rig, "g");
    struct peer *b = open_peer_in(&there, elsewhere, "g2");
    assert_int_equal(weir_bus_subscribe(b->bus, (const char *const[]){ "t", NULL }, &err), WEIR_OK);
    const struct weir_msg *msg = next(a);
    assert_int_equal(number_in(msg), 1);
    assert_string_equal(msg->topic, "t");
    msg = next(b);
    assert_int_equal(number_in(msg), 2);
    assert_string_equal(msg->topic, "t");
    expect_quiet(a);
    weir_bus_commit(a->bus, &(struct weir_partition){ "t", 0, 1, "" }, 1, NULL);
    await_commits(a, 1);

    assert_int_equal(weir_bus_topics(rig->bus, ASK_MS, arena, &topics, &count, &err), WEIR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(topics[0].name, "t");
    assert_int_equal(topics[0].partitions, 1);
    assert_int_equal(weir_bus_topics(other->bus, ASK_MS, arena, &topics, &count, &err), WEIR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(weir_bus_groups(rig->bus, ASK_MS, arena, &groups, &count, &err), WEIR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(groups[0], "g");
    assert_int_equal(weir_bus_groups(other->bus, ASK_MS, arena, &groups, &count, &err), WEIR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(groups[0], "g2");
    close_peer(&a);
    close_peer(&b);
    close_peer(&other);
    /* What is committed stays listed when the members are gone. */
    assert_int_equal(weir_bus_groups(rig->bus, ASK_MS, arena, &groups, &count, &err), WEIR_OK);
    assert_int_equal(count, 1);
}

/* ---- threads ---- */

enum { CROWD_PARTS = 4, CROWD_RECORDS = 400, CROWD_MEMBERS = 3 };

struct crowd {
    struct rig *rig;
    atomic_int seen[CROWD_PARTS][CROWD_RECORDS];
    atomic_int total;
};

static void crowd_revoked(void *arg, const struct weir_partition *parts, size_t count, bool lost)
{
    struct peer *peer = arg;
    (void)lost;
    size_t wanted = peer->commits + peer->commits_failed;
    int64_t until_ms = weir_mono_ms() + LONG_MS;

    for (size_t i = 0; i < count; i++)
        wanted += peer->next[parts[i].partition] >= 0;
    commit_all(peer, parts, count);
    while (peer->commits + peer->commits_failed < wanted && weir_mono_ms() < until_ms)
        weir_bus_poll(peer->bus, 20);
}

static void crowd_assigned(void *arg, struct weir_partition *parts, size_t count)
{
    struct peer *peer = arg;
    for (size_t i = 0; i < count; i++)
        peer->next[parts[i].partition] = -1;
}

static void *crowd_member(void *arg)
{
    struct crowd *crowd = arg;
    struct peer peer = { .rig = crowd->rig, .start_at = KEEP_OFFSET };
    struct weir_bus_config config = { .url = crowd->rig->url,
                                      .name_space = crowd->rig->name_space,
                                      .client_id = "crowd",
                                      .group = "crowd",
                                      .env = quick,
                                      .on = { .assigned = crowd_assigned,
                                              .revoked = crowd_revoked,
                                              .committed = on_committed,
                                              .arg = &peer } };
    const struct weir_msg *msg;
    struct weir_err err;
    int64_t until_ms = weir_mono_ms() + 2 * LONG_MS;

    if (weir_bus_open(&config, &peer.bus, &err) < 0 ||
        weir_bus_subscribe(peer.bus, (const char *const[]){ "t", NULL }, &err) < 0)
        abort();
    while (atomic_load(&crowd->total) < CROWD_PARTS * CROWD_RECORDS && weir_mono_ms() < until_ms) {
        if (weir_bus_consume(peer.bus, 20, &msg, &err) != 1)
            continue;
        peer.next[msg->partition] = msg->offset + 1;
        atomic_fetch_add(&crowd->seen[msg->partition][msg->offset], 1);
        atomic_fetch_add(&crowd->total, 1);
    }
    weir_bus_close(&peer.bus);
    return NULL;
}

/* Members come while others read: as each commits inside revoked, all is seen exactly once. */
static void members_on_threads_of_their_own(void **state)
{
    struct rig *rig = *state;
    struct crowd crowd = { .rig = rig };
    pthread_t threads[CROWD_MEMBERS];
    int sent = 0;

    make_topic(rig, "t", CROWD_PARTS);
    for (int i = 0; i < CROWD_MEMBERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowd), 0);
        int more = i == CROWD_MEMBERS - 1 ? CROWD_RECORDS - sent : CROWD_RECORDS / CROWD_MEMBERS;
        for (int32_t part = 0; part < CROWD_PARTS; part++)
            send_numbers(rig, "t", part, sent, more);
        sent += more;
    }
    for (int i = 0; i < CROWD_MEMBERS; i++)
        pthread_join(threads[i], NULL);
    for (int part = 0; part < CROWD_PARTS; part++)
        for (int i = 0; i < CROWD_RECORDS; i++)
            assert_int_equal(atomic_load(&crowd.seen[part][i]), 1);
}

static void urls_are_checked(void **state)
{
    (void)state;
    struct weir_bus_config config = { .url = "kafka:", .name_space = "", .client_id = "x" };
    weir_bus *bus = NULL;
    struct weir_err err;

    assert_int_equal(weir_bus_open(&config, &bus, &err), WEIR_FATAL);
    config.url = "amqp:x";
    assert_int_equal(weir_bus_open(&config, &bus, &err), WEIR_FATAL);
    config.url = "kafka:localhost:1";
    config.group = "g";
    config.env = (char *[]){ "WEIR_KAFKA_NO_SUCH_PROPERTY=1", NULL };
    assert_int_equal(weir_bus_open(&config, &bus, &err), WEIR_FATAL);
    assert_non_null(strstr(err.text, "WEIR_KAFKA_NO_SUCH_PROPERTY"));
    assert_null(bus);
}

/* ---- the suite ---- */

static int open_rig(void **state, const char *url)
{
    static int made;
    struct rig *rig = weir_xcalloc(1, sizeof(*rig));

    rig->url = url;
    snprintf(rig->name_space, sizeof(rig->name_space), "conformance.%d.%06x.%d.", (int)getpid(),
             (unsigned)(weir_random() & 0xffffff), made++);
    if (url) {
        rig->admin = open_peer(rig, NULL);
        rig->bus = rig->admin->bus;
    }
    *state = rig;
    return 0;
}

static int open_memory(void **state)
{
    return open_rig(state, "memory:conformance");
}

static int open_kafka(void **state)
{
    static char url[256];
    const char *brokers = getenv("WEIR_BROKERS");

    if (!brokers || !*brokers)
        return open_rig(state, NULL);
    snprintf(url, sizeof(url), "kafka:%s", brokers);
    return open_rig(state, url);
}

static int close_rig(void **state)
{
    struct rig *rig = *state;
    close_peer(&rig->admin);
    free(rig);
    return 0;
}

#define EACH_TEST(X)                                                                               \
    X(order_in_a_partition)                                                                        \
    X(bytes_are_kept_whole)                                                                        \
    X(what_is_produced_is_copied)                                                                  \
    X(delivery_reports)                                                                            \
    X(a_key_has_the_partition_that_java_gives_it)                                                  \
    X(without_a_key_no_partition_is_left_out)                                                      \
    X(a_missing_topic_is_no_success)                                                               \
    X(too_large_is_bad_input)                                                                      \
    X(what_was_committed_comes_back)                                                               \
    X(what_was_not_committed_comes_again)                                                          \
    X(the_callback_says_where_to_start)                                                            \
    X(a_partition_that_is_not_ready_waits)                                                         \
    X(two_members_share)                                                                           \
    X(more_members_than_partitions)                                                                \
    X(the_next_owner_sees_what_the_last_committed)                                                 \
    X(leaving_gives_back_and_still_produces)                                                       \
    X(a_member_that_never_consumed_can_go)                                                         \
    X(who_left_may_come_back)                                                                      \
    X(without_a_group_there_is_no_consuming)                                                       \
    X(a_topic_may_come_later)                                                                      \
    X(partitions_may_be_added)                                                                     \
    X(reading_goes_on_behind_what_was_truncated)                                                   \
    X(waking_ends_a_wait)                                                                          \
    X(no_time_no_wait)                                                                             \
    X(a_record_ends_a_wait)                                                                        \
    X(a_topic_is_created_once)                                                                     \
    X(configs_are_kept)                                                                            \
    X(truncating_moves_the_bounds)                                                                 \
    X(the_end_needs_no_asking)                                                                     \
    X(scanning)                                                                                    \
    X(namespaces_isolate)                                                                          \
    X(members_on_threads_of_their_own)

#define ON_MEMORY(test) { "memory: " #test, test, open_memory, close_rig, NULL },
#define ON_KAFKA(test) { "kafka: " #test, or_skip_##test, open_kafka, close_rig, NULL },
#define OR_SKIP(test)                                                                              \
    static void or_skip_##test(void **state)                                                       \
    {                                                                                              \
        if (!((struct rig *)*state)->url)                                                          \
            skip();                                                                                \
        test(state);                                                                               \
    }

EACH_TEST(OR_SKIP)

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(urls_are_checked),
                                        EACH_TEST(ON_MEMORY) /* no comma: each has its own */
                                        EACH_TEST(ON_KAFKA) };
    const char *brokers = getenv("WEIR_BROKERS");

    if (!brokers || !*brokers)
        print_message("WEIR_BROKERS is not set: the tests on Kafka are skipped\n");
    const char *only = getenv("WEIR_TEST_ONLY"); /* a pattern, as of cmocka_set_test_filter() */
    if (only)
        cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
