/* Picks the implementation by the url's scheme and passes calls on; lists are sorted here, for all.
 */
#include <stdlib.h>

#include "bus/ops.h"

int weir_bus_open(const struct weir_bus_config *config, weir_bus **out, struct weir_err *err)
{
    if (strncmp(config->url, "kafka:", 6) == 0)
        return weir_bus_kafka_open(config, config->url + 6, out, err);
    if (strncmp(config->url, "memory:", 7) == 0)
        return weir_bus_memory_open(config, config->url + 7, out, err);
    return weir_fail(err, WEIR_FATAL,
                     "bus url '%s': starts with neither kafka: nor memory:", config->url);
}

void weir_bus_close(weir_bus **bus)
{
    if (*bus)
        (*bus)->ops->close(*bus);
    *bus = NULL;
}

void weir_bus_leave(weir_bus *bus)
{
    bus->ops->leave(bus);
}

int weir_bus_subscribe(weir_bus *bus, const char *const *topics, struct weir_err *err)
{
    return bus->ops->subscribe(bus, topics, err);
}

int weir_bus_consume(weir_bus *bus, int timeout_ms, const struct weir_msg **out,
                     struct weir_err *err)
{
    return bus->ops->consume(bus, timeout_ms, out, err);
}

void weir_bus_poll(weir_bus *bus, int timeout_ms)
{
    bus->ops->poll(bus, timeout_ms);
}

void weir_bus_wake(weir_bus *bus)
{
    bus->ops->wake(bus);
}

int weir_bus_produce(weir_bus *bus, const struct weir_msg *msg, void *opaque, struct weir_err *err)
{
    return bus->ops->produce(bus, msg, opaque, err);
}

void weir_bus_commit(weir_bus *bus, const struct weir_partition *parts, size_t count, void *opaque)
{
    bus->ops->commit(bus, parts, count, opaque);
}

int64_t weir_bus_end(weir_bus *bus, const char *topic, int32_t partition)
{
    return bus->ops->end(bus, topic, partition);
}

static int by_topic_name(const void *a, const void *b)
{
    return strcmp(((const struct weir_topic_info *)a)->name,
                  ((const struct weir_topic_info *)b)->name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int weir_bus_topics(weir_bus *bus, int timeout_ms, weir_arena *arena, struct weir_topic_info **out,
                    size_t *count, struct weir_err *err)
{
    int fault = bus->ops->topics(bus, timeout_ms, arena, out, count, err);
    if (fault == WEIR_OK)
        qsort(*out, *count, sizeof(**out), by_topic_name);
    return fault;
}

int weir_bus_topic_create(weir_bus *bus, const struct weir_topic_spec *spec, int timeout_ms,
                          struct weir_err *err)
{
    return bus->ops->topic_create(bus, spec, timeout_ms, err);
}

int weir_bus_topic_grow(weir_bus *bus, const char *topic, int32_t partitions, int timeout_ms,
                        struct weir_err *err)
{
    return bus->ops->topic_grow(bus, topic, partitions, timeout_ms, err);
}

int weir_bus_topic_configs(weir_bus *bus, const char *topic, int timeout_ms, weir_arena *arena,
                           struct weir_topic_config **out, size_t *count, struct weir_err *err)
{
    return bus->ops->topic_configs(bus, topic, timeout_ms, arena, out, count, err);
}

int weir_bus_topic_configure(weir_bus *bus, const char *topic,
                             const struct weir_topic_config *configs, int timeout_ms,
                             struct weir_err *err)
{
    return bus->ops->topic_configure(bus, topic, configs, timeout_ms, err);
}

int weir_bus_truncate(weir_bus *bus, const char *topic, int32_t partition, int64_t before_offset,
                      int timeout_ms, struct weir_err *err)
{
    return bus->ops->truncate(bus, topic, partition, before_offset, timeout_ms, err);
}

int weir_bus_bounds(weir_bus *bus, const char *topic, int32_t partition, int timeout_ms,
                    int64_t *first, int64_t *end, struct weir_err *err)
{
    return bus->ops->bounds(bus, topic, partition, timeout_ms, first, end, err);
}

int weir_bus_groups(weir_bus *bus, int timeout_ms, weir_arena *arena, const char ***out,
                    size_t *count, struct weir_err *err)
{
    int fault = bus->ops->groups(bus, timeout_ms, arena, out, count, err);
    if (fault == WEIR_OK)
        qsort(*out, *count, sizeof(**out), by_text);
    return fault;
}

int weir_bus_group_offsets(weir_bus *bus, const char *group, int timeout_ms, weir_arena *arena,
                           struct weir_partition **out, size_t *count, struct weir_err *err)
{
    return bus->ops->group_offsets(bus, group, timeout_ms, arena, out, count, err);
}

int weir_bus_scan(weir_bus *bus, const char *topic, int32_t partition, int64_t offset, int64_t end,
                  int timeout_ms, int (*each)(void *arg, const struct weir_msg *msg), void *arg,
                  struct weir_err *err)
{
    return bus->ops->scan(bus, topic, partition, offset, end, timeout_ms, each, arg, err);
}
