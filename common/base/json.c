/* JSON by table; see json.h.
 *
 * No tree is built. A first pass over an object checks its syntax and notes, per row of the table,
 * where the value stands in the input; rows are then converted in the table's order from those
 * places. So the last of duplicate members counts, a wrong value that a later duplicate replaces
 * does no harm, the reported fault is the first in the table's order, and memory is spent on what
 * the table wants alone. */
#include <weir/json.h>

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jsonscan.h"

enum { MAX_ROWS = 128, DEFAULT_MAX_ITEMS = 10000 };

/* A list element's place; the object of a place NULL is the document. */
struct place {
    const struct place *parent;
    const char *path; /* of the list's row */
    size_t index;
};

struct decoder {
    weir_arena *arena;
    struct weir_err *err;
};

/* What the first pass notes of a row. */
struct found {
    struct weir_span value; /* .text NULL: absent */
    size_t blocked; /* not 0: so many bytes of the row's path lead to a value that is no object */
};

/* ---- reasons ---- */

static void put_place(const struct place *place, char *out, size_t size)
{
    if (place == NULL)
        return;
    put_place(place->parent, out, size);
    size_t used = strlen(out);
    snprintf(out + used, size - used, "%s/%zu", place->path, place->index);
}

static int wrong(struct decoder *decoder, const struct place *place, const char *path,
                 size_t path_length, const char *format, ...) WEIR_PRINTF(5, 6);

static int wrong(struct decoder *decoder, const struct place *place, const char *path,
                 size_t path_length, const char *format, ...)
{
    char where[160] = "", what[160];
    va_list args;

    put_place(place, where, sizeof(where));
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return weir_fail(decoder->err, WEIR_BAD_INPUT, "%s%.*s: %s", where, (int)path_length, path,
                     what);
}

/* The fault of a row. */
#define WRONG(...) wrong(decoder, place, field->path, strlen(field->path), __VA_ARGS__)

static int not_json(struct decoder *decoder, const struct weir_scan *scan)
{
    return weir_fail(decoder->err, WEIR_BAD_INPUT, "not JSON: %s near byte %zu", scan->fault,
                     (size_t)(scan->at - scan->begin));
}

/* ---- first pass ---- */

static size_t count_rows(const struct weir_field *fields)
{
    size_t count = 0;
    while (fields[count].path != NULL)
        count++;
    assert(count <= MAX_ROWS);
    return count;
}

/* Whether path goes on, behind its first `depth` bytes, with "/name"; then what follows it ('\0' or
 * '/'), else -1. */
static int step(const char *path, size_t depth, const char *name, size_t length)
{
    const char *at = path + depth;
    if (*at != '/' || strncmp(at + 1, name, length) != 0)
        return -1;
    char next = at[1 + length];
    return next == '\0' || next == '/' ? next : -1;
}

/* Notes the members of the object at scan for those rows whose path begins as prefix does, depth
 * bytes long. */
static bool scan_object(struct decoder *decoder, struct weir_scan *scan,
                        const struct weir_field *fields, size_t rows, const char *prefix,
                        size_t depth, struct found *found)
{
    struct weir_span key;
    bool more = weir_scan_open(scan, '{');

    for (; more; more = weir_scan_more(scan, '{')) {
        if (!weir_scan_member(scan, &key))
            return false;

        const char *name = key.text + 1;
        size_t length = key.length - 2;
        if (memchr(name, '\\', length) != NULL)
            name = weir_scan_text(&key, decoder->arena, &length);

        const char *inner = NULL; /* path of a row that leads through this member */
        struct found *leaf = NULL;
        bool namable = memchr(name, '/', length) == NULL; /* paths have no escape for it */
        for (size_t i = 0; i < rows && namable; i++) {
            if (depth > 0 && strncmp(fields[i].path, prefix, depth) != 0)
                continue;
            int next = step(fields[i].path, depth, name, length);
            if (next < 0)
                continue;
            found[i] = (struct found){ 0 }; /* a duplicate replaces what the first one had */
            if (next == '\0')
                leaf = &found[i];
            else
                inner = fields[i].path;
        }

        size_t inner_depth = depth + 1 + length;
        struct weir_span value;
        char first = weir_scan_peek(scan);
        if (inner != NULL && first == '{') {
            if (!scan_object(decoder, scan, fields, rows, inner, inner_depth, found))
                return false;
            continue;
        }
        if (!weir_scan_value(scan, &value))
            return false;
        if (leaf != NULL)
            leaf->value = value;
        if (inner != NULL && first != 'n')
            for (size_t i = 0; i < rows; i++)
                if (strncmp(fields[i].path, inner, inner_depth) == 0 &&
                    fields[i].path[inner_depth] == '/')
                    found[i].blocked = inner_depth;
    }
    return scan->fault == NULL;
}

/* ---- second pass ---- */

static int decode_value(struct decoder *decoder, struct weir_scan *scan,
                        const struct weir_field *fields, const struct place *place, void *out);

static int decode_text(struct decoder *decoder, const struct place *place,
                       const struct weir_field *field, const struct weir_span *value,
                       const char **out)
{
    if (value->text[0] != '"')
        return WRONG("not a text");

    /* An escape takes at most 6 bytes for 1 of text: what is longer still need not be copied. */
    size_t length = value->length - 2, max = field->max_len;
    if (max != 0 && length / 6 > max)
        return WRONG("longer than %zu bytes", max);
    char *text = weir_scan_text(value, decoder->arena, &length);
    if (max != 0 && length > max)
        return WRONG("longer than %zu bytes", max);

    if (field->one_of != NULL) {
        const char *const *choice = field->one_of;
        const char *all = "";
        for (; *choice != NULL && strcmp(*choice, text) != 0; choice++)
            all = weir_printf(decoder->arena, "%s%s%s", all, *all ? ", " : "", *choice);
        if (*choice == NULL)
            return WRONG("not one of %s", all);
    }
    const char *reason = field->check != NULL ? field->check(text) : NULL;
    if (reason != NULL)
        return WRONG("%s", reason);
    *out = text;
    return WEIR_OK;
}

/* The scanner has checked the grammar, so a span that begins like a number is one. */
static bool is_number(const struct weir_span *value)
{
    return value->text[0] == '-' || (value->text[0] >= '0' && value->text[0] <= '9');
}

static double to_double(struct decoder *decoder, const struct weir_span *value)
{
    char copy[64];

    if (value->length < sizeof(copy)) {
        memcpy(copy, value->text, value->length);
        copy[value->length] = '\0';
        return strtod(copy, NULL);
    }
    return strtod(weir_strndup(decoder->arena, value->text, value->length), NULL);
}

static int decode_int(struct decoder *decoder, const struct place *place,
                      const struct weir_field *field, const struct weir_span *value, int64_t *out)
{
    if (!is_number(value))
        return WRONG("not an integer");

    bool negative = value->text[0] == '-';
    size_t i = negative;
    int64_t number = 0;
    for (; i < value->length && value->text[i] >= '0' && value->text[i] <= '9'; i++) {
        int digit = value->text[i] - '0';
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number)) /* downwards, for INT64_MIN's sake */
            return WRONG("not an integer of 64 bits");
    }
    if (i < value->length) {
        double real = to_double(decoder, value);
        if (real != floor(real) || fabs(real) > 9007199254740992.0)
            return WRONG("not an integer");
        number = (int64_t)real;
    } else if (!negative && __builtin_mul_overflow(number, -1, &number)) {
        return WRONG("not an integer of 64 bits");
    }

    /* Compared as long double, which holds every int64_t. */
    bool bounded = field->min != 0 || field->max != 0;
    if (bounded && (long double)number < field->min)
        return WRONG("%lld is below %.15g", (long long)number, field->min);
    if (bounded && field->max >= field->min && (long double)number > field->max)
        return WRONG("%lld is above %.15g", (long long)number, field->max);
    *out = number;
    return WEIR_OK;
}

static int decode_number(struct decoder *decoder, const struct place *place,
                         const struct weir_field *field, const struct weir_span *value, double *out)
{
    if (!is_number(value))
        return WRONG("not a number");
    double number = to_double(decoder, value);
    if (!isfinite(number))
        return WRONG("a number out of range");

    bool bounded = field->min != 0 || field->max != 0;
    if (bounded && number < field->min)
        return WRONG("%.15g is below %.15g", number, field->min);
    if (bounded && field->max >= field->min && number > field->max)
        return WRONG("%.15g is above %.15g", number, field->max);
    *out = number;
    return WEIR_OK;
}

static int decode_bool(struct decoder *decoder, const struct place *place,
                       const struct weir_field *field, const struct weir_span *value, bool *out)
{
    if (value->text[0] != 't' && value->text[0] != 'f')
        return WRONG("not true or false");
    *out = value->text[0] == 't';
    return WEIR_OK;
}

static int decode_list(struct decoder *decoder, const struct place *place,
                       const struct weir_field *field, const struct weir_span *value,
                       struct weir_list *out)
{
    assert(field->items != NULL && field->item_size > 0);
    if (value->text[0] != '[')
        return WRONG("not a list");

    size_t max = field->max > 0 ? (size_t)field->max : DEFAULT_MAX_ITEMS;
    if (value->count > max)
        return WRONG("%zu elements, more than %zu", value->count, max);
    if ((double)value->count < field->min)
        return WRONG("%zu elements, fewer than %.15g", value->count, field->min);
    if (value->count == 0)
        return WEIR_OK;

    char *items = weir_alloc_zero(decoder->arena, value->count * field->item_size);
    struct weir_scan scan = { .begin = value->text,
                              .at = value->text,
                              .end = value->text + value->length };
    struct place element = { .parent = place, .path = field->path };
    bool more = weir_scan_open(&scan, '[');
    for (; more; more = weir_scan_more(&scan, '['), element.index++)
        if (decode_value(decoder, &scan, field->items, &element,
                         items + element.index * field->item_size) < 0)
            return decoder->err->fault;
    *out = (struct weir_list){ .items = items, .count = value->count };
    return WEIR_OK;
}

static int decode_row(struct decoder *decoder, const struct place *place,
                      const struct weir_field *field, const struct found *found, void *out)
{
    const struct weir_span *value = &found->value;
    char *member = (char *)out + field->at.offset;
    bool takes_null = field->nullable || field->at.type == WEIR_TYPE_OPT_INT ||
                      field->at.type == WEIR_TYPE_OPT_BOOL;
    struct weir_opt_int *opt_int = (void *)member;
    struct weir_opt_bool *opt_bool = (void *)member;

    if (found->blocked > 0)
        return wrong(decoder, place, field->path, found->blocked, "not an object");
    if (value->text == NULL)
        return field->optional ? WEIR_OK : WRONG("missing");
    if (value->text[0] == 'n')
        return takes_null ? WEIR_OK : WRONG("must not be null");

    switch (field->at.type) {
    case WEIR_TYPE_TEXT:
        return decode_text(decoder, place, field, value, (const char **)member);
    case WEIR_TYPE_INT:
        return decode_int(decoder, place, field, value, (int64_t *)member);
    case WEIR_TYPE_BOOL:
        return decode_bool(decoder, place, field, value, (bool *)member);
    case WEIR_TYPE_NUMBER:
        return decode_number(decoder, place, field, value, (double *)member);
    case WEIR_TYPE_OPT_INT:
        opt_int->set = true;
        return decode_int(decoder, place, field, value, &opt_int->value);
    case WEIR_TYPE_OPT_BOOL:
        opt_bool->set = true;
        return decode_bool(decoder, place, field, value, &opt_bool->value);
    case WEIR_TYPE_LIST:
        return decode_list(decoder, place, field, value, (struct weir_list *)member);
    }
    assert(!"a row without a type");
    return WEIR_FATAL;
}

/* Takes one value from scan: an object by the table's rows, or anything where its only row has the
 * path "". */
static int decode_value(struct decoder *decoder, struct weir_scan *scan,
                        const struct weir_field *fields, const struct place *place, void *out)
{
    struct found found[MAX_ROWS];
    size_t rows = count_rows(fields);
    bool ok;

    memset(found, 0, rows * sizeof(found[0]));
    if (rows > 0 && fields[0].path[0] == '\0') {
        ok = weir_scan_value(scan, &found[0].value);
    } else if (weir_scan_peek(scan) == '{') {
        ok = scan_object(decoder, scan, fields, rows, "", 0, found);
    } else {
        struct weir_span unused;
        if (weir_scan_value(scan, &unused) && (place != NULL || weir_scan_end(scan)))
            return wrong(decoder, place, "", 0, "not an object");
        return not_json(decoder, scan);
    }
    if (!ok || (place == NULL && !weir_scan_end(scan)))
        return not_json(decoder, scan);

    for (size_t i = 0; i < rows; i++)
        if (decode_row(decoder, place, &fields[i], &found[i], out) < 0)
            return decoder->err->fault;
    return WEIR_OK;
}

int weir_json_decode(const struct weir_field *fields, const void *text, size_t length,
                     weir_arena *arena, void *out, size_t struct_size, struct weir_err *err)
{
    struct decoder decoder = { .arena = arena, .err = err };
    const char *begin = text != NULL ? text : "";
    struct weir_scan scan = { .begin = begin, .at = begin, .end = begin + (text ? length : 0) };

    memset(out, 0, struct_size);
    return decode_value(&decoder, &scan, fields, NULL, out);
}

/* ---- encoding ---- */

static void encode_value(const struct weir_field *fields, const void *in, struct weir_buf *out);

/* The shortest form that reads back as the same number. */
static void encode_number(double number, struct weir_buf *out)
{
    char text[32];

    assert(isfinite(number));
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    weir_buf_text(out, text);
}

/* Whether the row has nothing to say: it is then left out, or null or [] stands for it. */
static bool is_unset(const struct weir_field *field, const void *in)
{
    const void *member = (const char *)in + field->at.offset;

    switch (field->at.type) {
    case WEIR_TYPE_TEXT:
        return *(const char *const *)member == NULL;
    case WEIR_TYPE_OPT_INT:
        return !((const struct weir_opt_int *)member)->set;
    case WEIR_TYPE_OPT_BOOL:
        return !((const struct weir_opt_bool *)member)->set;
    case WEIR_TYPE_LIST:
        return ((const struct weir_list *)member)->count == 0;
    case WEIR_TYPE_INT:
    case WEIR_TYPE_BOOL:
    case WEIR_TYPE_NUMBER:
        return false;
    }
    return false;
}

static void encode_row(const struct weir_field *field, const void *in, struct weir_buf *out)
{
    const void *member = (const char *)in + field->at.offset;
    const struct weir_list *list = member;

    if (is_unset(field, in)) {
        weir_buf_text(out, field->at.type == WEIR_TYPE_LIST ? "[]" : "null");
        return;
    }
    switch (field->at.type) {
    case WEIR_TYPE_TEXT: {
        const char *text = *(const char *const *)member;
        weir_buf_json_text(out, text, strlen(text));
        return;
    }
    case WEIR_TYPE_INT:
        weir_buf_printf(out, "%lld", (long long)*(const int64_t *)member);
        return;
    case WEIR_TYPE_BOOL:
        weir_buf_text(out, *(const bool *)member ? "true" : "false");
        return;
    case WEIR_TYPE_NUMBER:
        encode_number(*(const double *)member, out);
        return;
    case WEIR_TYPE_OPT_INT:
        weir_buf_printf(out, "%lld", (long long)((const struct weir_opt_int *)member)->value);
        return;
    case WEIR_TYPE_OPT_BOOL:
        weir_buf_text(out, ((const struct weir_opt_bool *)member)->value ? "true" : "false");
        return;
    case WEIR_TYPE_LIST:
        for (size_t i = 0; i < list->count; i++) {
            weir_buf_char(out, i == 0 ? '[' : ',');
            encode_value(field->items, (const char *)list->items + i * field->item_size, out);
        }
        weir_buf_char(out, ']');
        return;
    }
}

/* Takes back what was appended since length. */
static void rewind_to(struct weir_buf *out, size_t length)
{
    if (out->failed || out->data == NULL)
        return;
    out->length = length;
    out->data[length] = '\0';
}

/* The object of the rows whose path begins with the first depth bytes of prefix. Says whether it
 * has members. */
static bool encode_object(const struct weir_field *fields, const char *prefix, size_t depth,
                          const void *in, struct weir_buf *out)
{
    char separator = '{';

    for (const struct weir_field *field = fields; field->path != NULL; field++) {
        if (strncmp(field->path, prefix, depth) != 0 || field->path[depth] != '/')
            continue;

        const char *name = field->path + depth + 1;
        size_t length = strcspn(name, "/"), inner_depth = depth + 1 + length;
        bool leaf = name[length] == '\0', written = false;
        if (leaf && field->optional && is_unset(field, in))
            continue;
        for (const struct weir_field *before = fields; before < field && !leaf; before++)
            written = written || (strncmp(before->path, field->path, inner_depth) == 0 &&
                                  before->path[inner_depth] == '/');
        if (written)
            continue;

        size_t start = out->length;
        weir_buf_char(out, separator);
        weir_buf_json_text(out, name, length);
        weir_buf_char(out, ':');
        if (leaf) {
            encode_row(field, in, out);
        } else if (!encode_object(fields, field->path, inner_depth, in, out)) {
            rewind_to(out, start);
            continue;
        }
        separator = ',';
    }
    bool any = separator == ',';
    weir_buf_text(out, any ? "}" : "{}");
    return any;
}

static void encode_value(const struct weir_field *fields, const void *in, struct weir_buf *out)
{
    if (fields->path != NULL && fields->path[0] == '\0')
        encode_row(fields, in, out);
    else
        encode_object(fields, "", 0, in, out);
}

void weir_json_encode(const struct weir_field *fields, const void *in, struct weir_buf *out)
{
    encode_value(fields, in, out);
}
