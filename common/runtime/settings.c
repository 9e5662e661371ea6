#include "runtime/settings.h"

// clang-format off
const struct weir_option settings_options[] = {
    { "WEIR_BROKERS", WEIR_AT(struct settings, brokers), .help = "Kafka brokers, host:port,host:port" },
    { "WEIR_NAMESPACE", WEIR_AT(struct settings, name_space), .def = "", .help = "prefix of every topic and group" },
    { "WEIR_INSTANCE", WEIR_AT(struct settings, instance), .def = "", .help = "static group membership: a name that only this replica has, the same after a restart" },
    { "WEIR_LOG", WEIR_AT(struct settings, log), .def = "info", .help = "debug, info, warn or error; then ,json or ,text (default: text on a terminal)" },
    { "WEIR_ADMIN_HOST", WEIR_AT(struct settings, admin_host), .def = "127.0.0.1", .help = "where /healthz, /readyz and /metrics listen" },
    { "WEIR_ADMIN_PORT", WEIR_AT(struct settings, admin_port), .def = "0", .min = 0, .max = 65535, .help = "their port, 0: off" },
    { "WEIR_CONCURRENCY", WEIR_AT(struct settings, concurrency), .def = "0", .min = 0, .max = 1024, .help = "worker threads, 0: the service's own number" },
    { "WEIR_DRAIN_MS", WEIR_AT(struct settings, drain_ms), .unit = WEIR_UNIT_MS, .def = "20s", .min = 100, .max = 3600000, .help = "time to finish what is in flight after SIGTERM" },
    { "WEIR_IN_FLIGHT_RECORDS", WEIR_AT(struct settings, in_flight_records), .def = "0", .min = 0, .max = 1e6, .help = "most records read and not finished; 0: 1000, or twice a batch" },
    { "WEIR_IN_FLIGHT_BYTES", WEIR_AT(struct settings, in_flight_bytes), .unit = WEIR_UNIT_BYTES, .def = "16MiB", .min = 65536, .max = 1e12, .help = "most bytes of them" },
    { "WEIR_BATCH_MAX", WEIR_AT(struct settings, batch_max), .def = "0", .min = 0, .max = 100000, .help = "most records of a batch, 0: the route's own" },
    { "WEIR_BATCH_WAIT_MS", WEIR_AT(struct settings, batch_wait_ms), .unit = WEIR_UNIT_MS, .def = "0", .min = 0, .max = 60000, .help = "how long an incomplete batch waits, 0: the route's own" },
    { "WEIR_BACKOFF_MIN_MS", WEIR_AT(struct settings, backoff_min_ms), .unit = WEIR_UNIT_MS, .def = "200ms", .min = 1, .max = 60000, .help = "first pause when a dependency is away" },
    { "WEIR_BACKOFF_MAX_MS", WEIR_AT(struct settings, backoff_max_ms), .unit = WEIR_UNIT_MS, .def = "30s", .min = 1, .max = 3600000, .help = "longest such pause" },
    { "WEIR_RETRY_WAIT_MS", WEIR_AT(struct settings, retry_wait_ms), .unit = WEIR_UNIT_MS, .def = "500ms", .min = 1, .max = 60000, .help = "first pause before a record is tried again in place; doubles" },
    { "WEIR_COMMIT_MS", WEIR_AT(struct settings, commit_ms), .unit = WEIR_UNIT_MS, .def = "500ms", .min = 10, .max = 60000, .help = "longest time between finishing a record and committing its offset" },
    { 0 }
};
// clang-format on
