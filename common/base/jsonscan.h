/* A JSON scanner (RFC 8259) over bytes in memory: steps over values, checking them, and builds
 * nothing. */
#ifndef WEIR_BASE_JSONSCAN_H
#define WEIR_BASE_JSONSCAN_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/mem.h>

enum { JSON_MAX_DEPTH = 256 }; /* bounds the scanner's recursion */

struct json_scan {
    const char *begin, *at, *end;
    const char
        *fault; /* what is wrong near at, once a call returned false; never quotes the input */
    int depth;
};

/* A value's text as it stands in the input, strings with their quotes. */
struct json_span {
    const char *text; /* NULL: none */
    size_t length;
    size_t count; /* arrays: elements */
};

/* Steps over one value, white space before it included. */
bool json_skip_value(struct json_scan *scan, struct json_span *out);

/* The character after white space, not taken; '\0' at the end of the input or for a NUL in it. */
char json_peek(struct json_scan *scan);

/* For each member of an object or element of an array: `bool more = json_open(&scan, '{')`, then
 * while more: json_member() (objects only), the value, and json_more(). False with .fault unset: no
 * (more). */
bool json_open(struct json_scan *scan, char bracket);
bool json_member(struct json_scan *scan, struct json_span *key);
bool json_more(struct json_scan *scan, char bracket);

/* Takes what is left: true when it is white space. */
bool json_at_end(struct json_scan *scan);

/* The text of a string's span: NUL-terminated, in arena; in the input itself never. */
char *json_string(const struct json_span *span, weir_arena *arena, size_t *length);

#endif
