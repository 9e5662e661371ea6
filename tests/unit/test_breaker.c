/* The breaker: who may start, and when to ask again (runtime/breaker.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/breaker.h"

static const struct breaker fresh = { .min_ms = 200, .max_ms = 1000 };

static void closed_it_lets_everything_through(void **state)
{
    (void)state;
    struct breaker breaker = fresh;

    assert_true(breaker_allows(&breaker, 0));
    assert_true(breaker_allows(&breaker, 0));
    assert_int_equal(breaker_next_ms(&breaker), -1);
    assert_false(breaker_succeed(&breaker, false)); /* nothing was closed by it */
}

static void open_it_lets_one_probe_through(void **state)
{
    (void)state;
    struct breaker breaker = fresh;

    breaker_fail(&breaker, false, 1000, 0);
    assert_true(breaker.open);
    assert_int_equal(breaker.opened_ms, 1000);
    assert_int_equal(breaker_next_ms(&breaker), 1100);
    assert_false(breaker_allows(&breaker, 1000));
    assert_false(breaker_allows(&breaker, 1099));
    assert_true(breaker_allows(&breaker, 1100));
    assert_false(breaker_allows(&breaker, 1100));
    assert_false(breaker_allows(&breaker, 99999));
    assert_int_equal(breaker_next_ms(&breaker), -1); /* the probe's end says */

    assert_true(breaker_succeed(&breaker, true));
    assert_false(breaker.open);
    assert_true(breaker_allows(&breaker, 1101));
}

static void stragglers_say_nothing_new(void **state)
{
    (void)state;
    struct breaker breaker = fresh;

    breaker_fail(&breaker, false, 1000, 0);
    struct breaker before = breaker;
    breaker_fail(&breaker, false, 1050, 99); /* started before it opened */
    assert_memory_equal(&breaker, &before, sizeof(breaker));
    assert_false(breaker_succeed(&breaker, false));
    assert_true(breaker.open);
    assert_true(breaker_allows(&breaker, 1100));
    breaker_fail(&breaker, false, 1101, 0);
    assert_true(breaker.probing); /* the probe is still out */
}

static void pauses_grow_to_the_longest(void **state)
{
    (void)state;
    struct breaker breaker = fresh;
    static const int64_t pauses[] = { 200, 400, 800, 1000, 1000, 1000 };
    int64_t now_ms = 0;

    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        breaker_fail(&breaker, i > 0, now_ms, 0);
        assert_int_equal(breaker.pause_ms, pauses[i]);
        now_ms = breaker_next_ms(&breaker);
        assert_true(breaker_allows(&breaker, now_ms));
    }
    assert_int_equal(breaker.opened_ms, 0); /* of the outage, not of its last probe */
    assert_true(breaker_succeed(&breaker, true));
    breaker_fail(&breaker, false, now_ms, 0);
    assert_int_equal(breaker.pause_ms, 200);
    assert_int_equal(breaker.opened_ms, now_ms);
}

static void jitter_keeps_between_half_and_all(void **state)
{
    (void)state;
    bool early = false, late = false;

    for (uint64_t random = 0; random < 1000; random++) {
        struct breaker breaker = fresh;
        breaker_fail(&breaker, false, 5000, random * UINT64_C(0x9E3779B97F4A7C15));
        int64_t wait_ms = breaker_next_ms(&breaker) - 5000;
        assert_in_range(wait_ms, 100, 200);
        early = early || wait_ms < 120;
        late = late || wait_ms > 180;
    }
    assert_true(early && late);
}

static void the_shortest_pause_works(void **state)
{
    (void)state;
    struct breaker breaker = { .min_ms = 1, .max_ms = 1 };

    breaker_fail(&breaker, false, 10, UINT64_MAX);
    assert_in_range(breaker_next_ms(&breaker), 10, 11);
    assert_true(breaker_allows(&breaker, 11));
    breaker_fail(&breaker, true, 11, UINT64_MAX);
    assert_int_equal(breaker.pause_ms, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_it_lets_everything_through),
        cmocka_unit_test(open_it_lets_one_probe_through),
        cmocka_unit_test(stragglers_say_nothing_new),
        cmocka_unit_test(pauses_grow_to_the_longest),
        cmocka_unit_test(jitter_keeps_between_half_and_all),
        cmocka_unit_test(the_shortest_pause_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
