/* The options that every service has: WEIR_*. */
#ifndef WEIR_SETTINGS_H
#define WEIR_SETTINGS_H

#include <weir/option.h>
#include <weir/service.h>

struct settings {
    const char *brokers;
    const char *name_space;
    const char *instance;
    const char *log;
    const char *admin_host;
    int64_t admin_port;
    int64_t concurrency; /* 0: the service's own */
    int64_t drain_ms;
    int64_t in_flight_records; /* 0: by the routes */
    int64_t in_flight_bytes;
    int64_t batch_max;     /* 0: the route's */
    int64_t batch_wait_ms; /* 0: the route's */
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t retry_wait_ms; /* first pause of an in-place retry; doubles */
    int64_t commit_ms;
};

extern const struct weir_option settings_options[];

#endif
