/* Metrics: identity, counting from several threads, the exposition format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <weir/metric.h>

static void a_series_is_found_again(void **state)
{
    (void)state;
    weir_metric *a = weir_counter("test_found_total", "help", "topic=\"a\"");
    weir_metric *b = weir_counter("test_found_total", NULL, "topic=\"b\"");
    weir_metric *none = weir_counter("test_found_total", NULL, NULL);

    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a, weir_counter("test_found_total", "other help", "topic=\"a\""));
    assert_ptr_equal(none, weir_counter("test_found_total", NULL, ""));
    weir_metric_add(a, 2);
    assert_true(weir_metric_value(a) == 2);
    assert_true(weir_metric_value(b) == 0);
}

static void prints_what_was_counted(void **state)
{
    (void)state;
    WEIR_AUTO_BUF out = { 0 };
    weir_metric *counter = weir_counter("test_print_total", "lines\nand \\ slashes", "a=\"b\"");
    weir_metric *gauge = weir_gauge("test_print_gauge", NULL, NULL);
    weir_metric *histogram = weir_histogram("test_print_seconds", "waits", "a=\"b\"");

    weir_metric_add(counter, 1);
    weir_metric_add(counter, 1234567);
    weir_metric_set(gauge, 0.25);
    weir_metric_add(gauge, -1);
    weir_metric_observe(histogram, 0.001); /* a bound belongs to its bucket */
    weir_metric_observe(histogram, 0.3);
    weir_metric_observe(histogram, 3600);
    weir_metrics_print(&out);

    assert_non_null(strstr(out.data, "# HELP test_print_total lines\\nand \\\\ slashes\n"
                                     "# TYPE test_print_total counter\n"
                                     "test_print_total{a=\"b\"} 1234568\n"));
    assert_non_null(strstr(out.data, "\n# TYPE test_print_gauge gauge\ntest_print_gauge -0.75\n"));
    const char *at = strstr(out.data, "# HELP test_print_seconds waits\n"
                                      "# TYPE test_print_seconds histogram\n"
                                      "test_print_seconds_bucket{a=\"b\",le=\"0.001\"} 1\n"
                                      "test_print_seconds_bucket{a=\"b\",le=\"0.0025\"} 1\n");
    assert_non_null(at);
    assert_non_null(
        strstr(at, "{a=\"b\",le=\"0.25\"} 1\ntest_print_seconds_bucket{a=\"b\",le=\"0.5\"} 2\n"));
    assert_non_null(strstr(at, "{a=\"b\",le=\"60\"} 2\n"
                               "test_print_seconds_bucket{a=\"b\",le=\"+Inf\"} 3\n"
                               "test_print_seconds_sum{a=\"b\"} 3600.301\n"
                               "test_print_seconds_count{a=\"b\"} 3\n"));
    assert_true(weir_metric_value(histogram) == 3);
}

static void prints_every_number(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *want;
    } rows[] = {
        { 0, "0" },
        { -1, "-1" },
        { 1e20, "1e+20" },
        { 0.1, "0.1" },
        { NAN, "NaN" },
        { INFINITY, "+Inf" },
        { -INFINITY, "-Inf" },
        { 123456789012, "123456789012" },
    };
    weir_metric *gauge = weir_gauge("test_number", NULL, NULL);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        WEIR_AUTO_BUF out = { 0 };
        char line[64];
        weir_metric_set(gauge, rows[i].value);
        weir_metrics_print(&out);
        snprintf(line, sizeof(line), "\ntest_number %s\n", rows[i].want);
        assert_non_null(strstr(out.data, line));
    }
}

enum { THREADS = 4, ADDS = 20000 };

static void *count(void *arg)
{
    (void)arg;
    for (int i = 0; i < ADDS; i++) {
        weir_metric_add(weir_counter("test_threads_total", NULL, i % 2 ? "x=\"1\"" : NULL), 0.5);
        weir_metric_observe(weir_histogram("test_threads_seconds", NULL, NULL), 0.25);
    }
    return NULL;
}

static void threads_lose_nothing(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    WEIR_AUTO_BUF out = { 0 };

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < 20; i++) {
        weir_buf_clear(&out);
        weir_metrics_print(&out);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    double total = weir_metric_value(weir_counter("test_threads_total", NULL, NULL)) +
                   weir_metric_value(weir_counter("test_threads_total", NULL, "x=\"1\""));
    assert_true(total == THREADS * ADDS / 2);
    assert_true(weir_metric_value(weir_histogram("test_threads_seconds", NULL, NULL)) ==
                THREADS * ADDS);
    weir_buf_clear(&out);
    weir_metrics_print(&out);
    assert_non_null(strstr(out.data, "test_threads_seconds_sum 20000\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_is_found_again),
        cmocka_unit_test(prints_what_was_counted),
        cmocka_unit_test(prints_every_number),
        cmocka_unit_test(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
