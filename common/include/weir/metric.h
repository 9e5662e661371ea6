/* Prometheus metrics: registered once, counted from any thread, printed as text exposition format
 * 0.0.4.
 *
 * Names and labels follow the Prometheus naming rules (base units, _total on counters). A series is
 * found again by (name, labels), so registering twice gives the same one. */
#ifndef WEIR_METRIC_H
#define WEIR_METRIC_H

#include <stdint.h>

#include <weir/mem.h>

typedef struct weir_metric weir_metric; /* lives until exit */

/* labels: text as it stands between the braces, `topic="a",fault="retry"` (values escaped by the
 * caller), or NULL. help may be NULL from the second series of a name on. */
weir_metric *weir_counter(const char *name, const char *help, const char *labels);
weir_metric *weir_gauge(const char *name, const char *help, const char *labels);
/* A histogram over seconds with buckets 1 ms ... 60 s. */
weir_metric *weir_histogram(const char *name, const char *help, const char *labels);

void weir_metric_add(weir_metric *metric, double amount);      /* counters and gauges */
void weir_metric_set(weir_metric *metric, double value);       /* gauges */
void weir_metric_observe(weir_metric *metric, double seconds); /* histograms */
double weir_metric_value(const weir_metric *metric); /* counters and gauges; a histogram's count */

void weir_metrics_print(struct weir_buf *out);

#endif
