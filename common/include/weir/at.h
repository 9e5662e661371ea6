/* Typed places in a struct: the shared vocabulary of option tables and JSON field tables.
 *
 * WEIR_AT(struct order, total_cents) gives offset and type of the member; the type comes from the
 * member itself by _Generic, so a table row cannot disagree with its struct. */
#ifndef WEIR_AT_H
#define WEIR_AT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number or truth value that JSON may give as null (or leave out, where optional). */
struct weir_opt_int {
    bool set;
    int64_t value;
};
struct weir_opt_bool {
    bool set;
    bool value;
};

/* An array of structs, decoded by the row's .items table; count elements of .item_size bytes. */
struct weir_list {
    void *items;
    size_t count;
};

enum weir_type {
    WEIR_TYPE_TEXT = 1, /* const char *: NULL for JSON null or absent */
    WEIR_TYPE_INT,      /* int64_t */
    WEIR_TYPE_BOOL,     /* bool */
    WEIR_TYPE_NUMBER,   /* double */
    WEIR_TYPE_OPT_INT,  /* struct weir_opt_int: null allowed */
    WEIR_TYPE_OPT_BOOL, /* struct weir_opt_bool: null allowed */
    WEIR_TYPE_LIST,     /* struct weir_list */
};

// clang-format off
#define WEIR_TYPE_OF(member)                      \
    _Generic((member),                            \
        const char *: WEIR_TYPE_TEXT,             \
        int64_t: WEIR_TYPE_INT,                   \
        bool: WEIR_TYPE_BOOL,                     \
        double: WEIR_TYPE_NUMBER,                 \
        struct weir_opt_int: WEIR_TYPE_OPT_INT,   \
        struct weir_opt_bool: WEIR_TYPE_OPT_BOOL, \
        struct weir_list: WEIR_TYPE_LIST)
// clang-format on

struct weir_at {
    size_t offset;
    enum weir_type type;
};

// clang-format off
#define WEIR_AT(type_, member) { offsetof(type_, member), WEIR_TYPE_OF(((type_ *)0)->member) }
// clang-format on

#endif
