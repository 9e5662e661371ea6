/* Arena and buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weir/clock.h>
#include <weir/mem.h>

static void arena_gives_what_was_asked(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    enum { COUNT = 20000 };
    static unsigned char *pieces[COUNT];
    static size_t sizes[COUNT];
    size_t total = 0;

    for (size_t i = 0; i < COUNT; i++) {
        sizes[i] = weir_random() % 200;
        if (i % 1000 == 0)
            sizes[i] =
                100 * 1000 + weir_random() % (3 * 1000 * 1000); /* also blocks of their own */
        pieces[i] = weir_alloc(arena, sizes[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)(i & 0xFF), sizes[i]);
        total += sizes[i];
    }
    assert_int_equal(weir_arena_bytes(arena), total);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j<sizes[i]; j += sizes[i]> 1000 ? 997 : 1)
            assert_int_equal(pieces[i][j], i & 0xFF);
}

static void arena_is_reused_after_reset(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    char *first = weir_alloc(arena, 100);
    weir_arena_reset(arena);
    assert_int_equal(weir_arena_bytes(arena), 0);
    assert_ptr_equal(weir_alloc(arena, 100), first);

    memset(weir_alloc(arena, 10 * 1000 * 1000), 1, 10 * 1000 * 1000);
    weir_arena_reset(arena);
    memset(weir_alloc(arena, 300), 1, 300);
    weir_arena_reset(arena);
    weir_arena_reset(arena);

    weir_arena_free(&arena);
    assert_null(arena);
    weir_arena_free(&arena);
}

static void arena_starts_with_a_large_piece(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    memset(weir_alloc(arena, 5 * 1000 * 1000), 1, 5 * 1000 * 1000);
    memset(weir_alloc(arena, 5), 1, 5);
    weir_arena_reset(arena);
    memset(weir_alloc(arena, 5), 1, 5);
}

static void arena_texts(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    static const char zeros[64];

    assert_string_equal(weir_strdup(arena, "text"), "text");
    assert_string_equal(weir_strndup(arena, "text", 2), "te");
    assert_string_equal(weir_strndup(arena, NULL, 0), "");
    assert_string_equal(weir_printf(arena, "%s/%d", "topic", 3), "topic/3");
    memset(weir_alloc(arena, 64), 0xFF, 64);
    assert_memory_equal(weir_alloc_zero(arena, 64), zeros, 64);
}

static void buffer_grows(void **state)
{
    (void)state;
    WEIR_AUTO_BUF buf = { 0 };

    assert_null(buf.data);
    weir_buf_text(&buf, "");
    assert_string_equal(buf.data, "");
    for (int i = 0; i < 1000; i++)
        weir_buf_printf(&buf, "%d,", i);
    weir_buf_char(&buf, '.');
    assert_false(buf.failed);
    assert_int_equal(buf.length, 3891);
    assert_int_equal(strlen(buf.data), buf.length);
    assert_string_equal(buf.data + buf.length - 9, "998,999,.");

    weir_buf_clear(&buf);
    assert_string_equal(buf.data, "");
    weir_buf_free(&buf);
    assert_null(buf.data);
}

static void buffer_remembers_that_it_was_full(void **state)
{
    (void)state;
    WEIR_AUTO_BUF buf = { .max_bytes = 10 };

    weir_buf_text(&buf, "0123456789");
    assert_false(buf.failed);
    weir_buf_char(&buf, 'x');
    assert_true(buf.failed);
    weir_buf_printf(&buf, "%d", 5);
    weir_buf_text(&buf, "");
    assert_string_equal(buf.data, "0123456789");

    weir_buf_clear(&buf);
    assert_false(buf.failed);
    weir_buf_printf(&buf, "%s", "01234567890");
    assert_true(buf.failed);
    assert_string_equal(buf.data, "");

    weir_buf_clear(&buf);
    weir_buf_add(&buf, "x", SIZE_MAX);
    assert_true(buf.failed);
}

static void json_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        const char *want;
    } rows[] = {
        { "plain", 5, "\"plain\"" },
        { "", 0, "\"\"" },
        { NULL, 0, "\"\"" },
        { "a\"b\\c/", 6, "\"a\\\"b\\\\c/\"" },
        { "\b\f\n\r\t\x01\x1f", 7, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\"" },
        { "a\0b", 3, "\"a\\u0000b\"" },
        { "\x7f\xC2\x80\xC2\x9F\xC2\xA0", 7, "\"\\u007f\\u0080\\u009f\xC2\xA0\"" },
        { "\xE2\x82\xAC\xF0\x9F\x98\x80", 7, "\"\xE2\x82\xAC\xF0\x9F\x98\x80\"" },
        { "x\xFFy\xC3", 4, "\"x\xEF\xBF\xBDy\xEF\xBF\xBD\"" },
        { "\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
        { "\xC0\x80", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        WEIR_AUTO_BUF buf = { 0 };
        weir_buf_json_text(&buf, rows[i].text, rows[i].length);
        assert_string_equal(buf.data, rows[i].want);
    }
}

static void owner_moves(void **state)
{
    (void)state;
    weir_arena *arena = weir_arena_new(), *first = arena;
    WEIR_AUTO(weir_arena) *other = weir_take(&arena);

    assert_null(arena);
    assert_ptr_equal(other, first);
}

/* The wall clock in the form of messages, against the C library's calendar. */
static void iso_times(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *want;
    } rows[] = {
        { 0, "1970-01-01T00:00:00.000Z" },
        { 1795601704567, "2026-11-25T10:15:04.567Z" },
        { 951782399999, "2000-02-28T23:59:59.999Z" },
        { 951782400000, "2000-02-29T00:00:00.000Z" },
        { 4107542400000, "2100-03-01T00:00:00.000Z" },
        { -1, "1969-12-31T23:59:59.999Z" },
        { -62167219200000, "0000-01-01T00:00:00.000Z" },
        { INT64_MIN, "0000-01-01T00:00:00.000Z" },
        { INT64_MAX, "9999-12-31T23:59:59.999Z" },
    };
    char text[WEIR_ISO_SIZE];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        weir_iso_time(rows[i].ms, text);
        assert_string_equal(text, rows[i].want);
    }
    for (int i = 0; i < 100000; i++) {
        int64_t ms = (int64_t)(weir_random() % UINT64_C(315569520000000)) - 62167219200000;
        time_t seconds = (time_t)((ms - (ms % 1000 + 1000) % 1000) / 1000);
        struct tm tm;
        char want[64];

        gmtime_r(&seconds, &tm);
        size_t length = strftime(want, sizeof(want), "%m-%dT%H:%M:%S.", &tm);
        snprintf(want + length, sizeof(want) - length, "%03dZ", (int)((ms % 1000 + 1000) % 1000));
        weir_iso_time(ms, text);
        assert_string_equal(text + 5, want);
        assert_int_equal(atoi(text), tm.tm_year + 1900);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_gives_what_was_asked),
        cmocka_unit_test(arena_is_reused_after_reset),
        cmocka_unit_test(arena_starts_with_a_large_piece),
        cmocka_unit_test(arena_texts),
        cmocka_unit_test(buffer_grows),
        cmocka_unit_test(buffer_remembers_that_it_was_full),
        cmocka_unit_test(json_texts),
        cmocka_unit_test(owner_moves),
        cmocka_unit_test(iso_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
