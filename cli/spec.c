#include "spec.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/yaml.h>

#ifndef WEIR_PREFIX
#define WEIR_PREFIX "/usr/local"
#endif

enum { SPEC_MAX_BYTES = 16 << 20 };

static const char *find_spec(const char *path)
{
    static const char in_tree[] = "proto/asyncapi.yaml";
    const char *named = path ? path : getenv("WEIR_SPEC");
    if (named && *named)
        return named;
    return access(in_tree, R_OK) == 0 ? in_tree : WEIR_PREFIX "/share/weir/asyncapi.yaml";
}

/* A topic's value as the broker writes it: a list is joined by commas. NULL: neither text, number,
 * truth value nor list of texts. */
static const char *config_value(const json_t *value, weir_arena *arena)
{
    if (json_is_string(value))
        return weir_strdup(arena, json_string_value(value));
    if (json_is_integer(value))
        return weir_printf(arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (json_is_boolean(value))
        return json_is_true(value) ? "true" : "false";
    if (json_is_real(value))
        return weir_printf(arena, "%.17g", json_real_value(value));
    if (!json_is_array(value))
        return NULL;
    const char *joined = "";
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *item = json_string_value(json_array_get(value, i));
        if (!item)
            return NULL;
        joined = weir_printf(arena, "%s%s%s", joined, i ? "," : "", item);
    }
    return joined;
}

static int read_configs(const char *topic, json_t *configuration, weir_arena *arena,
                        struct weir_topic_spec *out, struct weir_err *err)
{
    size_t count = 0;
    struct weir_topic_config *configs =
        weir_alloc_zero(arena, (json_object_size(configuration) + 1) * sizeof(*configs));
    const char *name;
    json_t *value;

    json_object_foreach(configuration, name, value)
    {
        configs[count].name = weir_strdup(arena, name);
        configs[count].value = config_value(value, arena);
        if (!configs[count++].value)
            return weir_fail(err, WEIR_FATAL, "%s: topicConfiguration: %s: not a plain value",
                             topic, name);
    }
    out->configs = configs;
    return WEIR_OK;
}

static int read_count(const char *topic, const json_t *kafka, const char *name, int64_t otherwise,
                      int32_t *out, struct weir_err *err)
{
    const json_t *value = json_object_get(kafka, name);
    int64_t count = value ? json_integer_value(value) : otherwise;
    if (value && (!json_is_integer(value) || count < 1 || count > 100000))
        return weir_fail(err, WEIR_FATAL, "%s: %s: not a number from 1 to 100000", topic, name);
    *out = (int32_t)count;
    return WEIR_OK;
}

static int read_channel(const char *id, const json_t *channel, weir_arena *arena,
                        struct weir_topic_spec *out, struct weir_err *err)
{
    const json_t *kafka = json_object_get(json_object_get(channel, "bindings"), "kafka");
    const char *topic = json_string_value(json_object_get(kafka, "topic"));
    if (!topic)
        topic = json_string_value(json_object_get(channel, "address"));
    if (!topic)
        return weir_fail(err, WEIR_FATAL, "channel %s: no address", id);
    out->name = weir_strdup(arena, topic);
    if (read_count(topic, kafka, "partitions", 1, &out->partitions, err) < 0 ||
        read_count(topic, kafka, "replicas", -1, &out->replicas, err) < 0)
        return err->fault;
    return read_configs(topic, json_object_get(kafka, "topicConfiguration"), arena, out, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct weir_topic_spec *)a)->name,
                  ((const struct weir_topic_spec *)b)->name);
}

static int read_channels(json_t *channels, weir_arena *arena, struct weir_topic_spec **out,
                         size_t *count, struct weir_err *err)
{
    const char *id;
    json_t *channel;

    if (!json_is_object(channels) || json_object_size(channels) == 0)
        return weir_fail(err, WEIR_FATAL, "no channels");
    *out = weir_alloc_zero(arena, json_object_size(channels) * sizeof(**out));
    *count = 0;
    json_object_foreach(
        channels, id, channel) if (json_object_get(json_object_get(channel, "bindings"), "kafka") &&
                                   read_channel(id, channel, arena, &(*out)[(*count)++], err) <
                                       0) return err->fault;
    qsort(*out, *count, sizeof(**out), by_name);
    for (size_t i = 1; i < *count; i++)
        if (by_name(&(*out)[i - 1], &(*out)[i]) == 0)
            return weir_fail(err, WEIR_FATAL, "topic %s: two channels", (*out)[i].name);
    return WEIR_OK;
}

int spec_load(const char *path, weir_arena *arena, struct weir_topic_spec **out, size_t *count,
              struct weir_err *err)
{
    json_t *document;
    const char *found = find_spec(path);

    if (weir_yaml_load(found, SPEC_MAX_BYTES, &document, err) < 0)
        return err->fault;
    int fault = read_channels(json_object_get(document, "channels"), arena, out, count, err);
    json_decref(document);
    return fault < 0 ? weir_wrap(err, "%s", found) : WEIR_OK;
}
