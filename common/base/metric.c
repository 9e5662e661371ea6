/* Prometheus metrics; see metric.h.
 *
 * Counting is lock-free. Registration and printing take a lock; families and series are only ever
 * added, and live until exit. */
#include <weir/metric.h>

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const char *const kind_names[] = { "counter", "gauge", "histogram" };

static const double bounds[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                 0.5,   1,      2.5,   5,    10,    30,   60 };
enum { BOUNDS = sizeof(bounds) / sizeof(bounds[0]), CACHE_LINE = 64 };

/* A double, as its bits: C11's atomic doubles would bring in libatomic's locks on some targets. */
typedef _Atomic uint64_t atomic_number;

struct weir_metric {
    /* On a line of its own: threads count neighbouring series at the same time. */
    _Alignas(CACHE_LINE) atomic_number value; /* a histogram's sum */
    enum kind kind;
    char *labels; /* "" for none */
    struct weir_metric *next;
    _Atomic uint64_t buckets[]; /* histograms: BOUNDS + 1, not cumulative */
};

struct family {
    char *name, *help;
    enum kind kind;
    struct weir_metric *series, **end;
    struct family *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family *families, **families_end = &families;

/* ---- registration ---- */

static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:";
    size_t first = strspn(name, letters);
    return first > 0 && name[first + strspn(name + first, "0123456789abcdefghijklmnopqrstuvwxyz"
                                                          "ABCDEFGHIJKLMNOPQRSTUVWXYZ_:")] == '\0';
}

static struct family *family_of(enum kind kind, const char *name, const char *help)
{
    for (struct family *family = families; family; family = family->next) {
        if (strcmp(family->name, name) != 0)
            continue;
        assert(family->kind == kind);
        if (family->help == NULL && help != NULL)
            family->help = weir_xstrdup(help);
        return family;
    }
    assert(is_name(name));

    struct family *family = weir_xcalloc(1, sizeof(*family));
    family->name = weir_xstrdup(name);
    family->help = help ? weir_xstrdup(help) : NULL;
    family->kind = kind;
    family->end = &family->series;
    *families_end = family;
    families_end = &family->next;
    return family;
}

static weir_metric *series_of(enum kind kind, const char *name, const char *help,
                              const char *labels)
{
    if (labels == NULL)
        labels = "";

    pthread_mutex_lock(&lock);
    struct family *family = family_of(kind, name, help);
    weir_metric *metric = family->series;
    while (metric != NULL && strcmp(metric->labels, labels) != 0)
        metric = metric->next;
    if (metric == NULL) {
        size_t buckets = kind == HISTOGRAM ? BOUNDS + 1 : 0;
        size_t size = sizeof(*metric) + buckets * sizeof(metric->buckets[0]);
        size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
        metric = aligned_alloc(CACHE_LINE, size);
        if (metric == NULL)
            abort();
        memset(metric, 0, size);
        metric->kind = kind;
        metric->labels = weir_xstrdup(labels);
        *family->end = metric;
        family->end = &metric->next;
    }
    pthread_mutex_unlock(&lock);
    return metric;
}

weir_metric *weir_counter(const char *name, const char *help, const char *labels)
{
    return series_of(COUNTER, name, help, labels);
}

weir_metric *weir_gauge(const char *name, const char *help, const char *labels)
{
    return series_of(GAUGE, name, help, labels);
}

weir_metric *weir_histogram(const char *name, const char *help, const char *labels)
{
    return series_of(HISTOGRAM, name, help, labels);
}

/* ---- counting ---- */

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static double number_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void add(atomic_number *number, double amount)
{
    uint64_t old = atomic_load_explicit(number, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(number, &old, bits_of(number_of(old) + amount),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void weir_metric_add(weir_metric *metric, double amount)
{
    /* A counter that falls looks like a restart to rate(). */
    assert(metric->kind == GAUGE || (metric->kind == COUNTER && amount >= 0));
    add(&metric->value, amount);
}

void weir_metric_set(weir_metric *metric, double value)
{
    assert(metric->kind == GAUGE);
    atomic_store_explicit(&metric->value, bits_of(value), memory_order_relaxed);
}

void weir_metric_observe(weir_metric *metric, double seconds)
{
    assert(metric->kind == HISTOGRAM);
    size_t i = 0;
    while (i < BOUNDS && seconds > bounds[i])
        i++;
    atomic_fetch_add_explicit(&metric->buckets[i], 1, memory_order_relaxed);
    add(&metric->value, seconds);
}

static uint64_t bucket(const weir_metric *metric, size_t i)
{
    return atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
}

double weir_metric_value(const weir_metric *metric)
{
    if (metric->kind != HISTOGRAM)
        return number_of(atomic_load_explicit(&metric->value, memory_order_relaxed));
    uint64_t count = 0;
    for (size_t i = 0; i <= BOUNDS; i++)
        count += bucket(metric, i);
    return (double)count;
}

/* ---- printing ---- */

static void print_number(struct weir_buf *out, double value)
{
    if (isnan(value))
        weir_buf_text(out, "NaN");
    else if (isinf(value))
        weir_buf_text(out, value > 0 ? "+Inf" : "-Inf");
    else if (value == floor(value) && fabs(value) < 1e15)
        weir_buf_printf(out, "%.0f", value);
    else
        weir_buf_printf(out, "%.15g", value);
}

static void print_help(struct weir_buf *out, const char *help)
{
    for (; *help; help++) {
        if (*help == '\\')
            weir_buf_text(out, "\\\\");
        else if (*help == '\n')
            weir_buf_text(out, "\\n");
        else
            weir_buf_char(out, *help);
    }
}

/* name{labels,le="bound"}; le NULL: none. */
static void print_name(struct weir_buf *out, const char *name, const char *suffix,
                       const char *labels, const char *le)
{
    weir_buf_printf(out, "%s%s", name, suffix);
    if (*labels == '\0' && le == NULL)
        return;
    weir_buf_printf(out, "{%s", labels);
    if (le != NULL)
        weir_buf_printf(out, "%sle=\"%s\"", *labels ? "," : "", le);
    weir_buf_char(out, '}');
}

static void print_histogram(struct weir_buf *out, const char *name, const weir_metric *metric)
{
    uint64_t count = 0;

    for (size_t i = 0; i <= BOUNDS; i++) {
        char le[32] = "+Inf";
        if (i < BOUNDS)
            snprintf(le, sizeof(le), "%g", bounds[i]);
        count += bucket(metric, i);
        print_name(out, name, "_bucket", metric->labels, le);
        weir_buf_printf(out, " %llu\n", (unsigned long long)count);
    }
    print_name(out, name, "_sum", metric->labels, NULL);
    weir_buf_char(out, ' ');
    print_number(out, number_of(atomic_load_explicit(&metric->value, memory_order_relaxed)));
    /* The count is that of the buckets just read, so that it agrees with them. */
    weir_buf_char(out, '\n');
    print_name(out, name, "_count", metric->labels, NULL);
    weir_buf_printf(out, " %llu\n", (unsigned long long)count);
}

void weir_metrics_print(struct weir_buf *out)
{
    pthread_mutex_lock(&lock);
    for (const struct family *family = families; family; family = family->next) {
        if (family->help != NULL) {
            weir_buf_printf(out, "# HELP %s ", family->name);
            print_help(out, family->help);
            weir_buf_char(out, '\n');
        }
        weir_buf_printf(out, "# TYPE %s %s\n", family->name, kind_names[family->kind]);
        for (const weir_metric *metric = family->series; metric; metric = metric->next) {
            if (metric->kind == HISTOGRAM) {
                print_histogram(out, family->name, metric);
                continue;
            }
            print_name(out, family->name, "", metric->labels, NULL);
            weir_buf_char(out, ' ');
            print_number(out, weir_metric_value(metric));
            weir_buf_char(out, '\n');
        }
    }
    pthread_mutex_unlock(&lock);
}
