/* W3C trace context (https://www.w3.org/TR/trace-context/): traceparent in, a child's traceparent
 * out. */
#ifndef WEIR_TRACE_H
#define WEIR_TRACE_H

#include <stdbool.h>
#include <stddef.h>

enum { WEIR_TRACEPARENT_SIZE = 56 }; /* "00-<32 hex>-<16 hex>-<2 hex>" and NUL */

bool weir_traceparent_valid(const char *text, size_t length);
/* Writes a child of parent (NULL or invalid: a new sampled trace) with a fresh span id. */
void weir_traceparent_child(const char *parent, size_t length, char out[WEIR_TRACEPARENT_SIZE]);

#endif
