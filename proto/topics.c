#include "topics.h"

#include <string.h>

#include "shelf-help/event.h"

static int check_shelf_help_event(const void *value, size_t size_bytes, weir_arena *arena,
                                  struct weir_err *err)
{
    struct shelf_help_event event;
    if (shelf_help_decode(value, size_bytes, arena, &event, err) < 0)
        return err->fault;
    if (event.kind == SHELF_HELP_UNKNOWN)
        return weir_fail(err, WEIR_BAD_INPUT, "%s/msg_type: unknown",
                         event.envelope.message ? "/Message" : "");
    return WEIR_OK;
}

// clang-format off
const struct proto_topic proto_topics[] = {
    { "shelf-help.events", .default_key = "default-group" /* SNS's one message group */, .check = check_shelf_help_event },
    { 0 }
};
// clang-format on

const struct proto_topic *proto_topic_find(const char *name)
{
    for (const struct proto_topic *topic = proto_topics; topic->name; topic++)
        if (strcmp(topic->name, name) == 0)
            return topic;
    return NULL;
}
