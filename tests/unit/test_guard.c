/* The crash guard's announcements, and what follows from finding one (runtime/guard.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/guard.h"

static void loads_what_was_announced(void **state)
{
    (void)state;
    static const struct {
        const char *metadata;
        int64_t committed;
        bool grouped;
        int64_t suspect_end, group, deaths;
    } rows[] = {
        { NULL, 10, false, -1, 0, 0 },
        { "", 10, false, -1, 0, 0 },
        { "another tool's", 10, false, -1, 0, 0 },
        { "weir running", 10, false, -1, 0, 0 },
        { "weir running 0", 10, false, -1, 0, 0 },
        { "weir running -3", 10, false, -1, 0, 0 },
        { "weir running 200", -1, false, -1, 0, 0 }, /* nothing committed: metadata of nothing */
        { "weir running 200", 10, false, 210, 1, 0 },
        { "weir running 200", 10, true, 210, 4, 0 },
        { "weir running 64", 0, true, 64, 1, 0 },
        { "weir running 65", 0, true, 65, 2, 0 },
        { "weir running 1", 0, true, 1, 1, 0 },
        { "weir suspect 1 0", 10, false, 11, 1, 1 }, /* alone, and the process has died */
        { "weir suspect 1 1", 10, true, 11, 1, 2 },
        { "weir suspect 7 0", 10, true, 17, 1, 0 }, /* of a group nobody knows who it was */
        { "weir suspect 7 5", 10, true, 17, 1, 0 },
        { "weir suspect 0 0", 10, true, -1, 0, 0 },
        { "weir suspect 3", 10, true, -1, 0, 0 },
    };
    struct guard guard;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        guard_load(&guard, rows[i].metadata, rows[i].committed, rows[i].grouped);
        assert_int_equal(guard.suspect_end, rows[i].suspect_end);
        assert_int_equal(guard.group, rows[i].group);
        assert_int_equal(guard.deaths, rows[i].deaths);
    }
}

static void reads_what_it_writes(void **state)
{
    (void)state;
    char text[GUARD_METADATA_SIZE];
    struct guard guard;

    guard_running(text, 2001);
    assert_string_equal(text, "weir running 2001");
    guard_load(&guard, text, 5, false);
    assert_int_equal(guard.suspect_end, 2006);
    guard_suspect(text, 1, 1);
    assert_string_equal(text, "weir suspect 1 1");
    guard_load(&guard, text, INT64_MAX - 1, false);
    assert_int_equal(guard.suspect_end, INT64_MAX);
    guard_suspect(text, INT64_MAX, INT64_MAX); /* the longest there can be */
    assert_string_equal(text, "weir suspect 9223372036854775807 9223372036854775807");
}

static void suspects_end_where_they_were_announced(void **state)
{
    (void)state;
    struct guard guard;

    guard_load(&guard, "weir running 3", 10, false);
    assert_true(guard_suspects(&guard, 10));
    assert_true(guard_suspects(&guard, 12));
    assert_false(guard_suspects(&guard, 13));
    guard_load(&guard, "", 10, false);
    assert_false(guard_suspects(&guard, 0));
}

/* The life of a record that kills: each round is one process, which dies of it. */
static void the_third_death_condemns(void **state)
{
    (void)state;
    char announced[GUARD_METADATA_SIZE];
    struct guard guard;
    int deaths = 1;

    guard_running(announced, 2001);
    for (;;) {
        guard_load(&guard, announced, 10, false);
        assert_true(guard_suspects(&guard, 10));
        if (guard_condemns(&guard, 10, 10))
            break;
        guard_suspect(announced, 1, guard.deaths);
        deaths++;
    }
    assert_int_equal(deaths, 3);
    assert_false(guard_condemns(&guard, 10, 11)); /* its neighbour is innocent */
    assert_false(guard_condemns(&guard, 9, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_was_announced),
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(suspects_end_where_they_were_announced),
        cmocka_unit_test(the_third_death_condemns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
