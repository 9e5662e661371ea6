/* What an implementation of the bus port provides; each operation is described in weir/bus.h. */
#ifndef WEIR_BUS_OPS_H
#define WEIR_BUS_OPS_H

#include <weir/bus.h>

struct weir_bus_ops {
    void (*close)(weir_bus *bus);
    void (*leave)(weir_bus *bus);
    int (*subscribe)(weir_bus *bus, const char *const *topics, struct weir_err *err);
    int (*consume)(weir_bus *bus, int timeout_ms, const struct weir_msg **out,
                   struct weir_err *err);
    void (*poll)(weir_bus *bus, int timeout_ms);
    void (*wake)(weir_bus *bus);
    int (*produce)(weir_bus *bus, const struct weir_msg *msg, void *opaque, struct weir_err *err);
    void (*commit)(weir_bus *bus, const struct weir_partition *parts, size_t count, void *opaque);
    int64_t (*end)(weir_bus *bus, const char *topic, int32_t partition);
    int (*topics)(weir_bus *bus, int timeout_ms, weir_arena *arena, struct weir_topic_info **out,
                  size_t *count, struct weir_err *err);
    int (*topic_create)(weir_bus *bus, const struct weir_topic_spec *spec, int timeout_ms,
                        struct weir_err *err);
    int (*topic_grow)(weir_bus *bus, const char *topic, int32_t partitions, int timeout_ms,
                      struct weir_err *err);
    int (*topic_configs)(weir_bus *bus, const char *topic, int timeout_ms, weir_arena *arena,
                         struct weir_topic_config **out, size_t *count, struct weir_err *err);
    int (*topic_configure)(weir_bus *bus, const char *topic,
                           const struct weir_topic_config *configs, int timeout_ms,
                           struct weir_err *err);
    int (*truncate)(weir_bus *bus, const char *topic, int32_t partition, int64_t before_offset,
                    int timeout_ms, struct weir_err *err);
    int (*bounds)(weir_bus *bus, const char *topic, int32_t partition, int timeout_ms,
                  int64_t *first, int64_t *end, struct weir_err *err);
    int (*groups)(weir_bus *bus, int timeout_ms, weir_arena *arena, const char ***out,
                  size_t *count, struct weir_err *err);
    int (*group_offsets)(weir_bus *bus, const char *group, int timeout_ms, weir_arena *arena,
                         struct weir_partition **out, size_t *count, struct weir_err *err);
    int (*scan)(weir_bus *bus, const char *topic, int32_t partition, int64_t offset, int64_t end,
                int timeout_ms, int (*each)(void *arg, const struct weir_msg *msg), void *arg,
                struct weir_err *err);
};

/* address is the url without its scheme. */
int weir_bus_kafka_open(const struct weir_bus_config *config, const char *address, weir_bus **out,
                        struct weir_err *err);
int weir_bus_memory_open(const struct weir_bus_config *config, const char *address, weir_bus **out,
                         struct weir_err *err);

#endif
