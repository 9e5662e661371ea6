/* PostgreSQL array literals (weir/pg.h; PostgreSQL documentation, 8.15.6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include <weir/pg.h>

static void texts_are_quoted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "", "{\"\"}" },
        { "plain", "{\"plain\"}" },
        { "two words", "{\"two words\"}" },
        { "NULL", "{\"NULL\"}" }, /* quoted it is a text */
        { NULL, "{NULL}" },
        { "a,b", "{\"a,b\"}" },
        { "{}", "{\"{}\"}" },
        { "{", "{\"{\"}" },
        { "\"", "{\"\\\"\"}" },
        { "\\", "{\"\\\\\"}" },
        { "\\\"\\", "{\"\\\\\\\"\\\\\"}" },
        { "say \"hi\" to C:\\", "{\"say \\\"hi\\\" to C:\\\\\"}" },
        { "it's\n\ttabbed", "{\"it's\n\ttabbed\"}" },
        { "N\xc3\xa4"
          "chte",
          "{\"N\xc3\xa4"
          "chte\"}" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        WEIR_AUTO_BUF buf = { 0 };
        weir_pg_array_open(&buf);
        weir_pg_array_text(&buf, rows[i].text);
        weir_pg_array_close(&buf);
        assert_false(buf.failed);
        assert_string_equal(buf.data, rows[i].want);
    }
}

static void elements_are_separated(void **state)
{
    (void)state;
    WEIR_AUTO_BUF buf = { 0 };

    weir_pg_array_open(&buf);
    weir_pg_array_close(&buf);
    assert_string_equal(buf.data, "{}");
    weir_buf_clear(&buf);

    weir_pg_array_open(&buf);
    weir_pg_array_text(&buf, "{");
    weir_pg_array_text(&buf, "");
    weir_pg_array_text(&buf, NULL);
    weir_pg_array_text(&buf, "\"");
    weir_pg_array_null(&buf);
    weir_pg_array_null(&buf);
    weir_pg_array_text(&buf, "z");
    weir_pg_array_close(&buf);
    assert_string_equal(buf.data, "{\"{\",\"\",NULL,\"\\\"\",NULL,NULL,\"z\"}");
}

static void numbers_and_truth(void **state)
{
    (void)state;
    WEIR_AUTO_BUF buf = { 0 };

    weir_pg_array_open(&buf);
    weir_pg_array_int(&buf, INT64_MIN);
    weir_pg_array_int(&buf, 0);
    weir_pg_array_null(&buf);
    weir_pg_array_int(&buf, INT64_MAX);
    weir_pg_array_close(&buf);
    assert_string_equal(buf.data, "{-9223372036854775808,0,NULL,9223372036854775807}");
    weir_buf_clear(&buf);

    weir_pg_array_open(&buf);
    weir_pg_array_bool(&buf, true);
    weir_pg_array_bool(&buf, false);
    weir_pg_array_null(&buf);
    weir_pg_array_close(&buf);
    assert_string_equal(buf.data, "{t,f,NULL}");
}

static void one_that_grows_too_large_says_so(void **state)
{
    (void)state;
    WEIR_AUTO_BUF buf = { .max_bytes = 32 };

    weir_pg_array_open(&buf);
    for (int i = 0; i < 20; i++)
        weir_pg_array_text(&buf, "0123456789\"");
    weir_pg_array_close(&buf);
    assert_true(buf.failed);
}

/* Read back by PostgreSQL's rules: what comes out is what went in, whatever it is. */
static void any_text_comes_back(void **state)
{
    (void)state;
    static const char alphabet[] = "a\"\\{},' NUL\n\xc3\xa4";
    unsigned seed = 8156;
    char text[40], back[40];

    for (int round = 0; round < 20000; round++) {
        WEIR_AUTO_BUF buf = { 0 };
        size_t length = (size_t)rand_r(&seed) % (sizeof(text) - 1), got = 0;
        for (size_t i = 0; i < length; i++)
            text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        text[length] = '\0';
        weir_pg_array_open(&buf);
        weir_pg_array_text(&buf, text);
        weir_pg_array_close(&buf);

        const char *at = buf.data;
        assert_int_equal(*at++, '{');
        assert_int_equal(*at++, '"');
        for (; *at != '"'; at++) {
            if (*at == '\\')
                at++;
            assert_true(*at != '\0' && got < sizeof(back) - 1);
            back[got++] = *at;
        }
        back[got] = '\0';
        assert_string_equal(at, "\"}");
        assert_string_equal(back, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_quoted),    cmocka_unit_test(elements_are_separated),
        cmocka_unit_test(numbers_and_truth),   cmocka_unit_test(one_that_grows_too_large_says_so),
        cmocka_unit_test(any_text_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
