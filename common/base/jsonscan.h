/* A JSON scanner (RFC 8259) over bytes in memory: steps over values, checking them, and builds
 * nothing. */
#ifndef WEIR_BASE_JSONSCAN_H
#define WEIR_BASE_JSONSCAN_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/mem.h>

enum { WEIR_SCAN_MAX_DEPTH = 256 }; /* bounds the scanner's recursion */

struct weir_scan {
    const char *begin, *at, *end;
    const char
        *fault; /* what is wrong near at, once a call returned false; never quotes the input */
    int depth;
};

/* A value's text as it stands in the input, strings with their quotes. */
struct weir_span {
    const char *text; /* NULL: none */
    size_t length;
    size_t count; /* arrays: elements */
};

/* Steps over one value, white space before it included. */
bool weir_scan_value(struct weir_scan *scan, struct weir_span *out);

/* The character after white space, not taken; '\0' at the end of the input or for a NUL in it. */
char weir_scan_peek(struct weir_scan *scan);

/* For each member of an object or element of an array: `bool more = weir_scan_open(&scan, '{')`,
 * then while more: weir_scan_member() (objects only), the value, and weir_scan_more(). False with
 * .fault unset: no (more). */
bool weir_scan_open(struct weir_scan *scan, char bracket);
bool weir_scan_member(struct weir_scan *scan, struct weir_span *key);
bool weir_scan_more(struct weir_scan *scan, char bracket);

/* Takes what is left: true when it is white space. */
bool weir_scan_end(struct weir_scan *scan);

/* The text of a string's span: NUL-terminated, in arena; in the input itself never. */
char *weir_scan_text(const struct weir_span *span, weir_arena *arena, size_t *length);

#endif
