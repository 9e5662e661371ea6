/* YAML files, read into jansson's tree (libyaml).
 *
 * Plain scalars have the types of YAML 1.2's core schema: null, true and false, integers, floats,
 * else text; quoted ones are text. What makes YAML surprising is refused: anchors and aliases, tags
 * other than
 * !!str, duplicate keys, a second document, infinities, nesting over 64 levels. */
#ifndef WEIR_YAML_H
#define WEIR_YAML_H

#include <stddef.h>

#include <weir/err.h>

struct json_t;

/* The caller owns *out: json_decref(). FATAL: can't be read, longer than max_bytes, not such YAML;
 * the reason begins with "path:line: ". */
WEIR_MUST_CHECK int weir_yaml_load(const char *path, size_t max_bytes, struct json_t **out,
                                   struct weir_err *err);

/* The same from memory; name stands for the path in reasons. */
WEIR_MUST_CHECK int weir_yaml_parse(const char *name, const void *text, size_t length,
                                    struct json_t **out, struct weir_err *err);

#endif
