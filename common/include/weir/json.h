/* JSON by table: one table decodes, checks, encodes and documents a message.
 *
 *     const struct weir_field order_fields[] = {
 *         { "/id",          .at = WEIR_AT(struct order, id), .max_len = 36 },
 *         { "/customer/id", .at = WEIR_AT(struct order, customer_id), .nullable = true },
 *         { "/lines",       .at = WEIR_AT(struct order, lines), .max = 100,
 *           .items = line_fields, .item_size = sizeof(struct line) },
 *         { 0 }
 *     };
 *
 * A member is required unless .optional. Unknown members are ignored; of members with one name the
 * last counts (RFC 8259, 4). An error names the place: "/total_cents: -5 is below 0",
 * "/lines/2/sku: missing". */
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include <weir/at.h>
#include <weir/err.h>
#include <weir/mem.h>

struct weir_field {
    const char *path; /* JSON pointer of object members, without escapes: "/customer/id" */
    struct weir_at at;
    bool optional; /* may be absent: the member of the struct stays zero */
    bool nullable; /* null gives: TEXT NULL, LIST an empty one. (OPT types allow it as they are.) */
    size_t max_len; /* TEXT: longest, in bytes; 0: as long as the input */
    /* Numbers: inclusive bounds when not both 0; a max below min: no upper one. LIST: bounds of the
     * count; max 0: 10,000. */
    double min, max;
    const char *const *one_of; /* TEXT: the allowed values, NULL-terminated; NULL: any */
    /* TEXT, not NULL: a reason when the text is wrong, else NULL. The reason must not quote it. */
    const char *(*check)(const char *text);
    /* LIST: table of an element. One row with the path "" stands for an element that is no object.
     */
    const struct weir_field *items;
    size_t item_size; /* LIST: bytes of an element */
};

/* Decodes text (length bytes, UTF-8; need not be NUL-terminated) into *out, which is zeroed first.
 * Strings and lists live in arena. BAD_INPUT: not JSON, not an object, or a row's rule is broken;
 * the reason starts with the place. U+0000, lone surrogates and invalid UTF-8 are refused.
 * An integer may be written 5, 5.0 or 5e0, as in JSON Schema. No reason quotes a text of the input.
 * struct_size is the size of *out. */
WEIR_MUST_CHECK int weir_json_decode(const struct weir_field *fields, const void *text,
                                     size_t length, weir_arena *arena, void *out,
                                     size_t struct_size, struct weir_err *err);

/* Appends the compact JSON object of *in. NULL text, unset OPT members and empty lists: left out
 * where the row is optional, else null or []. Plain numbers and truth values are always written:
 * where absence must survive, use the OPT types. Numbers must be finite. */
void weir_json_encode(const struct weir_field *fields, const void *in, struct weir_buf *out);

#endif
