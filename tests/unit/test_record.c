/* Records as copies, and the order of keys (runtime/record.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "runtime/record.h"

/* Partitions are only told apart here, never looked into. */
static char part_places[4];
#define PART(i) ((struct part *)(void *)&part_places[i])

static const struct weir_route route = { .topic = "orders" };

static struct record *copy_of(const struct weir_msg *msg)
{
    return record_new(msg, PART(0), &route);
}

static void a_record_is_a_copy(void **state)
{
    (void)state;
    char topic[] = "orders", key[] = "k\0y", value[] = "value", name[] = "h", text[] = "t\0xt";
    struct weir_header headers[] = { { name, text, 4 }, { "none", NULL, 0 }, { "empty", "", 0 } };
    struct weir_msg msg = { .topic = topic,
                            .partition = 3,
                            .offset = 42,
                            .key = key,
                            .key_size_bytes = 3,
                            .value = value,
                            .value_size_bytes = 5,
                            .time_ms = 99,
                            .headers = headers,
                            .header_count = 3 };

    struct record *record = copy_of(&msg);
    memset(topic, 'x', sizeof(topic));
    memset(key, 'x', sizeof(key));
    memset(value, 'x', sizeof(value));
    memset(name, 'x', sizeof(name));
    memset(text, 'x', sizeof(text));
    memset(headers, 0, sizeof(headers));

    const struct weir_msg *copy = &record->msg;
    assert_string_equal(copy->topic, "orders");
    assert_int_equal(copy->partition, 3);
    assert_int_equal(copy->offset, 42);
    assert_int_equal(copy->time_ms, 99);
    assert_int_equal(copy->key_size_bytes, 3);
    assert_memory_equal(copy->key, "k\0y", 4); /* and a NUL, for the careless */
    assert_int_equal(copy->value_size_bytes, 5);
    assert_memory_equal(copy->value, "value", 6);
    assert_int_equal(copy->header_count, 3);
    assert_string_equal(copy->headers[0].name, "h");
    assert_int_equal(copy->headers[0].size_bytes, 4);
    assert_memory_equal(copy->headers[0].value, "t\0xt", 4);
    assert_string_equal(copy->headers[1].name, "none");
    assert_null(copy->headers[1].value);
    assert_non_null(copy->headers[2].value);
    assert_int_equal(copy->headers[2].size_bytes, 0);
    assert_int_equal(copy->attempt, 1);
    assert_ptr_equal(record->part, PART(0));
    assert_ptr_equal(record->route, &route);
    assert_int_equal(record->offset, 42);
    assert_true(record->size_bytes > sizeof(*record));
    free(record);
}

static void nothing_stays_nothing(void **state)
{
    (void)state;
    struct record *record = copy_of(&(struct weir_msg){ .topic = "orders" });

    assert_null(record->msg.key);
    assert_null(record->msg.value);
    assert_int_equal(record->msg.header_count, 0);
    free(record);
    record = copy_of(&(struct weir_msg){ .topic = "orders", .key = "", .value = "" });
    assert_non_null(record->msg.key);
    assert_non_null(record->msg.value);
    assert_int_equal(record->msg.key_size_bytes, 0);
    free(record);
}

static void ids(void **state)
{
    (void)state;
    static char long_id[257];
    memset(long_id, 'i', sizeof(long_id) - 1);
    const struct {
        struct weir_header headers[2];
        size_t count;
        const char *want;
    } rows[] = {
        { { { 0 } }, 0, "orders/7/123456789012" },
        { { { "ce_id", "abc", 3 } }, 1, "abc" },
        { { { "ce_id", "abcdef", 3 } }, 1, "abc" },
        { { { "ce_id", "old", 3 }, { "ce_id", "new", 3 } }, 2, "new" },
        { { { "ce_id", NULL, 0 } }, 1, "orders/7/123456789012" },
        { { { "ce_id", "", 0 } }, 1, "orders/7/123456789012" },
        { { { "CE_ID", "abc", 3 } }, 1, "orders/7/123456789012" },
        { { { "ce_id", long_id, 256 } }, 1, long_id },
        { { { "ce_id", long_id, 257 } }, 1, "orders/7/123456789012" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct record *record = copy_of(&(struct weir_msg){ .topic = "orders",
                                                            .partition = 7,
                                                            .offset = 123456789012,
                                                            .headers = rows[i].headers,
                                                            .header_count = rows[i].count });
        assert_string_equal(record->msg.id, rows[i].want);
        free(record);
    }
}

static void what_comes_over_a_retry_topic_keeps_its_origin(void **state)
{
    (void)state;
    const struct weir_header headers[] = { { "weir_topic", "orders", 6 },
                                           { "weir_partition", "5", 1 },
                                           { "weir_offset", "9000000000", 10 },
                                           { "weir_attempts", "2", 1 } };
    struct weir_msg msg = {
        .topic = "svc.retry.1m", .partition = 0, .offset = 17, .headers = headers, .header_count = 4
    };

    struct record *record = copy_of(&msg);
    assert_string_equal(record->msg.topic, "orders");
    assert_int_equal(record->msg.partition, 5);
    assert_int_equal(record->msg.offset, 9000000000);
    assert_int_equal(record->msg.attempt, 3);
    assert_string_equal(record->msg.id, "orders/5/9000000000");
    assert_int_equal(record->offset, 17); /* what is committed is where it was read */
    free(record);

    /* In the topic of the route they mean nothing: a redriven record is a first delivery. */
    msg.topic = "orders";
    record = copy_of(&msg);
    assert_int_equal(record->msg.partition, 0);
    assert_int_equal(record->msg.offset, 17);
    assert_int_equal(record->msg.attempt, 1);
    free(record);
}

static void a_retry_record_made_by_hand_is_a_first_attempt(void **state)
{
    (void)state;
    static const struct weir_header junk[] = { { "weir_partition", "x", 1 },
                                               { "weir_offset", "12 ", 3 },
                                               { "weir_attempts", NULL, 0 } };
    for (size_t count = 0; count <= 3; count += 3) {
        struct record *record = copy_of(&(struct weir_msg){ .topic = "svc.retry.10s",
                                                            .partition = 1,
                                                            .offset = 17,
                                                            .headers = junk,
                                                            .header_count = count });
        assert_string_equal(record->msg.topic, "orders");
        assert_int_equal(record->msg.partition, 1);
        assert_int_equal(record->msg.offset, 17);
        assert_int_equal(record->msg.attempt, 1);
        free(record);
    }
}

/* ---- keys ---- */

static struct record *keyed(int part, const char *key)
{
    return record_new(&(struct weir_msg){ .topic = "orders",
                                          .key = key,
                                          .key_size_bytes = key ? strlen(key) : 0 },
                      PART(part), &route);
}

static void one_key_one_at_a_time(void **state)
{
    (void)state;
    struct keys keys;
    struct record *a = keyed(0, "k"), *b = keyed(0, "k"), *c = keyed(0, "k");
    struct record *other = keyed(0, "l"), *elsewhere = keyed(1, "k"), *empty = keyed(0, "");
    struct record *free_one = keyed(0, NULL), *free_two = keyed(0, NULL);

    keys_open(&keys, 10);
    assert_true(keys_enter(&keys, a));
    assert_false(keys_enter(&keys, b));
    assert_true(keys_enter(&keys, other));
    assert_true(keys_enter(&keys, elsewhere)); /* a key is one within its partition */
    assert_true(keys_enter(&keys, empty));     /* an empty key is a key */
    assert_true(keys_enter(&keys, free_one));
    assert_true(keys_enter(&keys, free_two));
    assert_null(keys_leave(&keys, free_one));
    assert_ptr_equal(keys_leave(&keys, a), b);
    assert_null(keys_leave(&keys, a)); /* it has left */
    assert_false(keys_enter(&keys, c));
    assert_ptr_equal(keys_leave(&keys, b), c);
    assert_null(keys_leave(&keys, c));
    free(a);
    a = keyed(0, "k");
    assert_true(keys_enter(&keys, a)); /* nobody is left of it */
    assert_null(keys_leave(&keys, a));
    assert_null(keys_leave(&keys, other));
    assert_null(keys_leave(&keys, elsewhere));
    assert_null(keys_leave(&keys, empty));
    for (size_t i = 0; i <= keys.mask; i++)
        assert_null(keys.buckets[i]);
    keys_close(&keys);
    struct record *const all[] = { a, b, c, other, elsewhere, empty, free_one, free_two };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* Against a model: a queue a key. The table is far too small, so that chains are long. */
static void many_keys_like_their_model(void **state)
{
    (void)state;
    enum { PARTS = 3, KEYS = 150, DEPTH = 6, STEPS = 60000 };
    static struct record *queues[PARTS][KEYS][DEPTH];
    static int lengths[PARTS][KEYS];
    struct keys keys;
    unsigned seed = 20240607;
    int waiting = 0;

    keys_open(&keys, 1);
    for (int step = 0; step < STEPS; step++) {
        int part = rand_r(&seed) % PARTS, key = rand_r(&seed) % KEYS;
        struct record **queue = queues[part][key];
        int *length = &lengths[part][key];
        /* Fill for a while, drain for a while, so that keys come to an end as well. */
        bool enter = rand_r(&seed) % 100 < (step / 5000 % 2 ? 35 : 65);
        if (enter && *length < DEPTH) {
            char name[16];
            snprintf(name, sizeof(name), "key %d", key);
            queue[*length] = keyed(part, name);
            assert_int_equal(keys_enter(&keys, queue[*length]), *length == 0);
            waiting += (*length)++ > 0;
        } else if (!enter && *length > 0) {
            struct record *next = keys_leave(&keys, queue[0]);
            assert_ptr_equal(next, *length > 1 ? queue[1] : NULL);
            free(queue[0]);
            memmove(queue, queue + 1, (size_t)-- * length * sizeof(*queue));
        }
    }
    assert_true(waiting > 1000);
    for (int part = 0; part < PARTS; part++)
        for (int key = 0; key < KEYS; key++)
            for (int i = 0; i < lengths[part][key]; i++) {
                (void)keys_leave(&keys, queues[part][key][i]);
                free(queues[part][key][i]);
            }
    for (size_t i = 0; i <= keys.mask; i++)
        assert_null(keys.buckets[i]);
    keys_close(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_a_copy),
        cmocka_unit_test(nothing_stays_nothing),
        cmocka_unit_test(ids),
        cmocka_unit_test(what_comes_over_a_retry_topic_keeps_its_origin),
        cmocka_unit_test(a_retry_record_made_by_hand_is_a_first_attempt),
        cmocka_unit_test(one_key_one_at_a_time),
        cmocka_unit_test(many_keys_like_their_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
