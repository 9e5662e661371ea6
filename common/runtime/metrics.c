/* The runtime's own metrics. The ledger balances: received = done + retried + dead + duplicate +
 * returned + in flight. */
#include <inttypes.h>
#include <stdio.h>

#include "runtime/core.h"

static const char *const outcome_names[OUTCOME_COUNT] = {
    [OUTCOME_DONE] = "done",
    [OUTCOME_RETRIED] = "retried",
    [OUTCOME_DEAD] = "dead",
    [OUTCOME_DUPLICATE] = "duplicate",
};

struct core_metrics *metrics_open(void)
{
    struct core_metrics *metrics = weir_xcalloc(1, sizeof(*metrics));
    char labels[64];

    metrics->handle_seconds =
        weir_histogram("weir_handle_seconds", "Time a handler took for a record or batch.", NULL);
    metrics->handoff_seconds = weir_histogram(
        "weir_handoff_seconds", "Time from reading a record to its handler's start.", NULL);
    metrics->batch_records =
        weir_counter("weir_batch_records_total", "Records handed out in batches.", NULL);
    metrics->in_flight =
        weir_gauge("weir_in_flight_records", "Records read and not finished.", NULL);
    metrics->in_flight_bytes = weir_gauge("weir_in_flight_bytes", "Bytes of them.", NULL);
    metrics->breaker_open = weir_gauge("weir_breaker_open", "1 while a dependency is away.", NULL);
    metrics->up = weir_gauge("weir_kafka_up", "1 while the brokers answer.", NULL);
    for (int fault = WEIR_BAD_INPUT; fault >= WEIR_FATAL; fault--) {
        snprintf(labels, sizeof(labels), "fault=\"%s\"", weir_fault_name((enum weir_fault)fault));
        metrics->failures[-fault] =
            weir_counter("weir_failures_total", "Units of work that failed, by fault.", labels);
    }
    return metrics;
}

struct route_metrics *metrics_of(const char *topic, int32_t partition)
{
    struct route_metrics *metrics = weir_xcalloc(1, sizeof(*metrics));
    char labels[512];

    snprintf(labels, sizeof(labels), "topic=\"%s\"", topic);
    metrics->received = weir_counter("weir_records_received_total", "Records read.", labels);
    metrics->returned =
        weir_counter("weir_records_returned_total",
                     "Records read and given back unfinished at a rebalance or stop.", labels);
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        snprintf(labels, sizeof(labels), "topic=\"%s\",outcome=\"%s\"", topic, outcome_names[i]);
        metrics->finished[i] =
            weir_counter("weir_records_finished_total", "Records finished, by outcome.", labels);
    }
    snprintf(labels, sizeof(labels), "topic=\"%s\",partition=\"%" PRId32 "\"", topic, partition);
    metrics->lag = weir_gauge("weir_lag_records", "Records of the partition not finished.", labels);
    return metrics;
}
