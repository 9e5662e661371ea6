/* Errors: text and fault, cleaning and cutting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <weir/err.h>

static void sets_fault_and_text(void **state)
{
    (void)state;
    struct weir_err err;

    assert_int_equal(weir_fail(&err, WEIR_RETRY, "customer '%s'", "c9"), WEIR_RETRY);
    assert_int_equal(err.fault, WEIR_RETRY);
    assert_string_equal(err.text, "customer 'c9'");
}

static void wraps_outermost_first(void **state)
{
    (void)state;
    struct weir_err err;

    weir_fail(&err, WEIR_TRY_LATER, "connection refused");
    weir_wrap(&err, "pg");
    assert_int_equal(weir_wrap(&err, "customer '%s'", "c9"), WEIR_TRY_LATER);
    assert_string_equal(err.text, "customer 'c9': pg: connection refused");
}

static void takes_its_own_text(void **state)
{
    (void)state;
    struct weir_err err;

    weir_fail(&err, WEIR_FATAL, "inner");
    weir_fail(&err, WEIR_RETRY, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
}

static void cleans(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "line one\nline two\n", "line one line two" },
        { "ERROR:  gone\r\n\r\n", "ERROR:  gone" },
        { "bell\a and escape\x1b[31m", "bell  and escape [31m" },
        { "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80",
          "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80" },
        { "broken \xC3( \xFF \xED\xA0\x80", "broken ?( ? ???" },
        { "c1 \xC2\x9B"
          "31m",
          "c1 31m" },
        { "", "" },
        { "\n", "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct weir_err err;
        weir_fail(&err, WEIR_FATAL, "%s", rows[i].text);
        assert_string_equal(err.text, rows[i].want);
    }
}

static void cuts_at_a_character(void **state)
{
    (void)state;
    struct weir_err err;
    char text[400];

    /* 239 bytes fit: 119 two-byte characters and one odd byte that must not be half a character */
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    text[398] = '\0';
    weir_fail(&err, WEIR_FATAL, "%s", text);
    assert_int_equal(strlen(err.text), 238);
    assert_memory_equal(err.text, text, 238);

    memset(text, 'x', 399);
    text[399] = '\0';
    weir_fail(&err, WEIR_FATAL, "%s", text);
    assert_int_equal(strlen(err.text), 239);
    weir_wrap(&err, "context");
    assert_int_equal(strlen(err.text), 239);
    assert_memory_equal(err.text, "context: xxx", 12);
    for (int i = 0; i < 50; i++)
        weir_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.text), 239);
}

static void names_faults(void **state)
{
    (void)state;
    assert_string_equal(weir_fault_name(WEIR_OK), "ok");
    assert_string_equal(weir_fault_name(WEIR_BAD_INPUT), "bad_input");
    assert_string_equal(weir_fault_name(WEIR_RETRY), "retry");
    assert_string_equal(weir_fault_name(WEIR_TRY_LATER), "try_later");
    assert_string_equal(weir_fault_name(WEIR_FATAL), "fatal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_fault_and_text), cmocka_unit_test(wraps_outermost_first),
        cmocka_unit_test(takes_its_own_text),  cmocka_unit_test(cleans),
        cmocka_unit_test(cuts_at_a_character), cmocka_unit_test(names_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
