/* The topics of an AsyncAPI 3 file: address, partitions, replicas and configuration of each channel
 * with a Kafka binding. */
#ifndef WEIR_CLI_SPEC_H
#define WEIR_CLI_SPEC_H

#include <weir/bus.h>

/* path NULL: $WEIR_SPEC, else proto/asyncapi.yaml, else the installed one. Topics by name, in
 * arena. FATAL: no such file, or not such a file. */
WEIR_MUST_CHECK int spec_load(const char *path, weir_arena *arena, struct weir_topic_spec **out,
                              size_t *count, struct weir_err *err);

#endif
