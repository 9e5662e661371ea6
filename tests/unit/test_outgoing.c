/* What is sent because of a record: emitted messages, retries, dead letters (runtime/unit.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include <weir/trace.h>

#include "runtime/unit.h"

static const struct weir_route route = { .topic = "orders" };

static const struct weir_header of_cause[] = {
    { "ce_id", "cause-1", 7 },
    { "mine", "\0\xff", 2 },
    { "none", NULL, 0 },
    { "mine", "", 0 },
    { "weir_reason", "of an earlier try", 17 },
    { "weir_due_ms", "1", 1 },
    { "__connect.errors.topic", "old", 3 },
    { "weir_time", "old", 3 },
    { "weird", "not ours", 8 },
};
enum { OF_CAUSE = sizeof(of_cause) / sizeof(of_cause[0]) };

static struct record *cause_with(const struct weir_header *headers, size_t count)
{
    struct weir_msg msg = { .topic = "orders",
                            .partition = 2,
                            .offset = 77,
                            .key = "k\0",
                            .key_size_bytes = 2,
                            .value = "{\"a\":\0}",
                            .value_size_bytes = 7,
                            .time_ms = 123,
                            .headers = headers,
                            .header_count = count };
    return record_new(&msg, NULL, &route);
}

struct want {
    const char *name, *value; /* value NULL: the header has none */
    size_t size;              /* 0: of the text */
};

static void expect_headers(const struct weir_msg *msg, const struct want *want, size_t count)
{
    for (size_t i = 0; i < count && i < msg->header_count; i++) {
        const struct weir_header *got = &msg->headers[i];
        assert_string_equal(got->name, want[i].name);
        if (!want[i].value) {
            assert_null(got->value);
            continue;
        }
        size_t size = want[i].size ? want[i].size : strlen(want[i].value);
        assert_non_null(got->value);
        assert_int_equal(got->size_bytes, size);
        assert_memory_equal(got->value, want[i].value, size);
    }
    assert_int_equal(msg->header_count, count);
}

static void expect_whole(const struct outgoing *out, const struct record *cause)
{
    assert_ptr_equal(out->cause, cause);
    assert_int_equal(out->msg.partition, -1);
    assert_int_equal(out->msg.key_size_bytes, 2);
    assert_memory_equal(out->msg.key, "k\0", 2);
    assert_int_equal(out->msg.value_size_bytes, 7);
    assert_memory_equal(out->msg.value, "{\"a\":\0}", 7);
}

static const struct weir_err why = { WEIR_BAD_INPUT, "/a: not a number" };

static void a_dead_letter_is_whole(void **state)
{
    (void)state;
    static const struct want want[] = {
        { "ce_id", "cause-1", 0 },
        { "mine", "\0\xff", 2 },
        { "none", NULL, 0 },
        { "mine", "", 0 },
        { "weird", "not ours", 0 },
        { "weir_reason", "/a: not a number", 0 },
        { "weir_fault", "bad_input", 0 },
        { "weir_topic", "orders", 0 },
        { "weir_partition", "2", 0 },
        { "weir_offset", "77", 0 },
        { "weir_attempts", "4", 0 },
        { "weir_service", "svc", 0 },
        { "weir_time", "2023-11-14T22:13:20.123Z", 0 },
        { "__connect.errors.topic", "orders", 0 },
        { "__connect.errors.partition", "2", 0 },
        { "__connect.errors.offset", "77", 0 },
        { "__connect.errors.exception.message", "/a: not a number", 0 },
    };
    struct record *cause = cause_with(of_cause, OF_CAUSE);

    struct outgoing *out = outgoing_letter(cause, "svc", 4, &why, 1700000000123);
    assert_int_equal(out->kind, OUTGOING_LETTER);
    assert_string_equal(out->msg.topic, "svc.dlq");
    expect_whole(out, cause);
    expect_headers(&out->msg, want, sizeof(want) / sizeof(want[0]));
    free(out);
    free(cause);
}

static void a_letter_of_nothing(void **state)
{
    (void)state;
    struct record *cause = record_new(&(struct weir_msg){ .topic = "orders" }, NULL, &route);

    struct outgoing *out = outgoing_letter(cause, "svc", 1, &why, 0);
    assert_null(out->msg.key);
    assert_null(out->msg.value);
    assert_int_equal(out->msg.header_count, 12);
    free(out);
    free(cause);
}

/* Long names and reasons must neither overrun nor be lost. */
static void a_letter_of_long_names(void **state)
{
    (void)state;
    char topic[250], service[200];
    struct weir_err long_why = { .fault = WEIR_RETRY };
    struct weir_route far = { .topic = topic };

    memset(topic, 't', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    memset(service, 's', sizeof(service) - 1);
    service[sizeof(service) - 1] = '\0';
    memset(long_why.text, 'r', sizeof(long_why.text) - 1);
    struct record *cause = record_new(
        &(struct weir_msg){ .topic = topic, .partition = INT32_MAX, .offset = INT64_MAX }, NULL,
        &far);
    struct outgoing *out = outgoing_letter(cause, service, INT32_MAX, &long_why, INT64_MAX);
    const struct weir_header *reason = weir_msg_header(&out->msg, "weir_reason");
    const struct weir_header *last =
        weir_msg_header(&out->msg, "__connect.errors.exception.message");
    const struct weir_header *offset = weir_msg_header(&out->msg, "__connect.errors.offset");
    assert_int_equal(reason->size_bytes, sizeof(long_why.text) - 1);
    assert_int_equal(last->size_bytes, sizeof(long_why.text) - 1);
    assert_memory_equal(last->value, long_why.text, last->size_bytes);
    assert_memory_equal(offset->value, "9223372036854775807", offset->size_bytes);
    assert_int_equal(weir_msg_header(&out->msg, "weir_topic")->size_bytes, 249);
    assert_int_equal(strlen(out->msg.topic), 199 + 4);
    free(out);
    free(cause);
}

static void a_retry_says_when(void **state)
{
    (void)state;
    static const struct {
        const char *topic, *due_ms;
    } rows[RETRY_STAGES] = { { "svc.retry.10s", "1700000010123" },
                             { "svc.retry.1m", "1700000060123" },
                             { "svc.retry.10m", "1700000600123" } };
    struct weir_err again = { WEIR_RETRY, "502" };

    for (int stage = 0; stage < RETRY_STAGES; stage++) {
        struct record *cause = cause_with(of_cause, OF_CAUSE);
        cause->msg.attempt = stage + 1;
        const char attempts[] = { (char)('1' + stage), '\0' };
        const struct want want[] = {
            { "ce_id", "cause-1", 0 },
            { "mine", "\0\xff", 2 },
            { "none", NULL, 0 },
            { "mine", "", 0 },
            { "weird", "not ours", 0 },
            { "weir_reason", "502", 0 },
            { "weir_fault", "retry", 0 },
            { "weir_topic", "orders", 0 },
            { "weir_partition", "2", 0 },
            { "weir_offset", "77", 0 },
            { "weir_attempts", attempts, 0 },
            { "weir_service", "svc", 0 },
            { "weir_due_ms", rows[stage].due_ms, 0 },
        };

        struct outgoing *out = outgoing_retry(cause, "svc", stage, &again, 1700000000123);
        assert_int_equal(out->kind, OUTGOING_RETRY);
        assert_string_equal(out->msg.topic, rows[stage].topic);
        expect_whole(out, cause);
        expect_headers(&out->msg, want, sizeof(want) / sizeof(want[0]));
        assert_int_equal(retry_due_ms(&out->msg), strtoll(rows[stage].due_ms, NULL, 10));

        /* Read back, it is the same record at its next attempt. */
        struct weir_msg back = out->msg;
        back.partition = 0;
        back.offset = 5;
        struct record *again_record = record_new(&back, NULL, &route);
        assert_string_equal(again_record->msg.topic, "orders");
        assert_int_equal(again_record->msg.partition, 2);
        assert_int_equal(again_record->msg.offset, 77);
        assert_int_equal(again_record->msg.attempt, stage + 2);
        assert_string_equal(again_record->msg.id, cause->msg.id);
        free(again_record);
        free(out);
        free(cause);
    }
}

static void due_times_are_read_with_care(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        int64_t want;
    } rows[] = { { "1700000010123", 13, 1700000010123 },
                 { "17", 1, 1 },
                 { "", 0, 0 },
                 { NULL, 0, 0 },
                 { "soon", 4, 0 },
                 { "111111111111111111111111111111", 30, 0 } };

    assert_int_equal(retry_due_ms(&(struct weir_msg){ 0 }), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct weir_header header = { "weir_due_ms", rows[i].text, rows[i].size };
        struct weir_msg msg = { .headers = &header, .header_count = 1 };
        assert_int_equal(retry_due_ms(&msg), rows[i].want);
    }
}

static struct outgoing *emit(struct record *cause, const char *key)
{
    return outgoing_emit(cause, "svc", "out.topic", key, "{\"b\":2}", 7);
}

static const char *text_of(const struct outgoing *out, const char *name)
{
    const struct weir_header *header = weir_msg_header(&out->msg, name);
    assert_non_null(header);
    assert_int_equal(strlen(header->value), header->size_bytes);
    return header->value;
}

static void an_emitted_message_is_a_cloud_event(void **state)
{
    (void)state;
    static const char *const names[] = { "ce_specversion", "ce_id",   "ce_type",
                                         "ce_source",      "ce_time", "content-type",
                                         "traceparent" };
    struct record *cause = cause_with(of_cause, OF_CAUSE);

    struct outgoing *out = emit(cause, "key");
    assert_int_equal(out->kind, OUTGOING_EMIT);
    assert_ptr_equal(out->cause, cause);
    assert_string_equal(out->msg.topic, "out.topic");
    assert_int_equal(out->msg.partition, -1);
    assert_int_equal(out->msg.key_size_bytes, 3);
    assert_memory_equal(out->msg.key, "key", 3);
    assert_int_equal(out->msg.value_size_bytes, 7);
    assert_memory_equal(out->msg.value, "{\"b\":2}", 7);
    assert_int_equal(out->msg.header_count, 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(out->msg.headers[i].name, names[i]);
    assert_string_equal(text_of(out, "ce_specversion"), "1.0");
    assert_string_equal(text_of(out, "ce_type"), "out.topic");
    assert_string_equal(text_of(out, "ce_source"), "/weir/svc");
    assert_string_equal(text_of(out, "content-type"), "application/json");
    assert_int_equal(strlen(text_of(out, "ce_time")), 24);
    assert_true(weir_traceparent_valid(text_of(out, "traceparent"), 55));
    free(out);
    out = emit(cause, NULL);
    assert_null(out->msg.key);
    free(out);
    free(cause);
}

/* First 32 digits of SHA-256 of "cause-1/svc/0" and "cause-1/svc/1", by sha256sum. */
static void ids_follow_from_cause_and_place(void **state)
{
    (void)state;
    struct record *cause = cause_with(of_cause, OF_CAUSE);
    struct outgoing *first = emit(cause, "a"), *second = emit(cause, "a");

    assert_string_equal(text_of(first, "ce_id"), "e0811c3159b61f69eb802c0ca4fd00a9");
    assert_string_equal(text_of(second, "ce_id"), "2ad455349334fcc5393a168cf251de7b");
    cause->emitted = 0; /* a replay */
    struct outgoing *again = emit(cause, "another key");
    assert_string_equal(text_of(again, "ce_id"), text_of(first, "ce_id"));
    struct outgoing *other = outgoing_emit(cause, "other", "out.topic", NULL, "", 0);
    assert_string_not_equal(text_of(other, "ce_id"), text_of(second, "ce_id"));
    free(first);
    free(second);
    free(again);
    free(other);
    free(cause);
}

static void the_trace_goes_on(void **state)
{
    (void)state;
    static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const struct weir_header header = { "traceparent", parent, 55 };
    struct record *cause = cause_with(&header, 1);

    struct outgoing *out = emit(cause, NULL);
    const char *child = text_of(out, "traceparent");
    assert_memory_equal(child, parent, 36);
    assert_memory_not_equal(child + 36, parent + 36, 16);
    assert_string_equal(child + 52, "-01");
    free(out);
    free(cause);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_letter_is_whole),
        cmocka_unit_test(a_letter_of_nothing),
        cmocka_unit_test(a_letter_of_long_names),
        cmocka_unit_test(a_retry_says_when),
        cmocka_unit_test(due_times_are_read_with_care),
        cmocka_unit_test(an_emitted_message_is_a_cloud_event),
        cmocka_unit_test(ids_follow_from_cause_and_place),
        cmocka_unit_test(the_trace_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
