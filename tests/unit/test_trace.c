/* Trace context: what is valid, and what a child keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <weir/trace.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static void tells_valid_from_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        { "00-" TRACE "-" SPAN "-01", true },
        { "00-" TRACE "-" SPAN "-00", true },
        { "00-" TRACE "-" SPAN "-01-more", false },
        { "00-" TRACE "-" SPAN "-01\n", false },
        { "01-" TRACE "-" SPAN "-01-more", true },
        { "01-" TRACE "-" SPAN "-01.more", false },
        { "cc-" TRACE "-" SPAN "-01", true },
        { "ff-" TRACE "-" SPAN "-01", false },
        { "00-00000000000000000000000000000000-" SPAN "-01", false },
        { "00-" TRACE "-0000000000000000-01", false },
        { "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01", false },
        { "00-" TRACE "-" SPAN "-0", false },
        { "00_" TRACE "-" SPAN "-01", false },
        { "00-" TRACE "-" SPAN "-0g", false },
        { "", false },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(weir_traceparent_valid(rows[i].text, strlen(rows[i].text)), rows[i].valid);
    assert_false(weir_traceparent_valid(NULL, 0));
}

static void child_keeps_trace_and_sampling(void **state)
{
    (void)state;
    static const char *const flags[][2] = {
        { "00", "00" }, { "01", "01" }, { "fe", "00" }, { "ff", "01" }, { "0b", "01" }
    };
    char parent[WEIR_TRACEPARENT_SIZE] = "00-" TRACE "-" SPAN "-", child[WEIR_TRACEPARENT_SIZE];

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        strcpy(parent + 53, flags[i][0]);
        weir_traceparent_child(parent, strlen(parent), child);
        assert_int_equal(strlen(child), 55);
        assert_true(weir_traceparent_valid(child, 55));
        assert_memory_equal(child, "00-" TRACE "-", 36);
        assert_memory_not_equal(child + 36, SPAN, 16);
        assert_string_equal(child + 53, flags[i][1]);
    }
}

static void without_parent_a_new_trace(void **state)
{
    (void)state;
    char first[WEIR_TRACEPARENT_SIZE], second[WEIR_TRACEPARENT_SIZE];

    weir_traceparent_child(NULL, 0, first);
    weir_traceparent_child("garbage", 7, second);
    assert_true(weir_traceparent_valid(first, strlen(first)));
    assert_true(weir_traceparent_valid(second, strlen(second)));
    assert_memory_not_equal(first + 3, second + 3, 32);
    assert_string_equal(first + 53, "01");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_valid_from_invalid),
        cmocka_unit_test(child_keeps_trace_and_sampling),
        cmocka_unit_test(without_parent_a_new_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
