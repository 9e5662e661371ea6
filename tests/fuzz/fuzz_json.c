/* Decoding by table, with jansson as the oracle of what is JSON: both must say the same. What is
 * decoded is encoded, which jansson must read, and decoded again, which must give the same. */
#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <weir/json.h>

struct tag {
    const char *text;
};

struct item {
    const char *name;
    int64_t count;
    struct weir_opt_int page;
    struct weir_list tags;
};

struct record {
    const char *id, *name, *city, *state;
    int64_t number;
    bool flag;
    double rate;
    struct weir_opt_int maybe;
    struct weir_opt_bool perhaps;
    struct weir_list items, plain;
};

static const char *const states[] = { "on", "off", NULL };

// clang-format off
static const struct weir_field tag_fields[] = {
    { "", .at = WEIR_AT(struct tag, text), .max_len = 9, .nullable = true },
    { 0 }
};
static const struct weir_field item_fields[] = {
    { "/n",      .at = WEIR_AT(struct item, name), .nullable = true },
    { "/c",      .at = WEIR_AT(struct item, count), .optional = true, .min = -5, .max = 1e15 },
    { "/deep/p", .at = WEIR_AT(struct item, page), .optional = true },
    { "/deep/t", .at = WEIR_AT(struct item, tags), .optional = true,
      .items = tag_fields, .item_size = sizeof(struct tag) },
    { 0 }
};
static const struct weir_field all_fields[] = {
    { "/id",       .at = WEIR_AT(struct record, id), .optional = true, .max_len = 20 },
    { "/a/name",   .at = WEIR_AT(struct record, name), .optional = true, .nullable = true },
    { "/a/b/city", .at = WEIR_AT(struct record, city), .optional = true },
    { "/state",    .at = WEIR_AT(struct record, state), .optional = true, .one_of = states },
    { "/a/num",    .at = WEIR_AT(struct record, number), .optional = true },
    { "/flag",     .at = WEIR_AT(struct record, flag), .optional = true },
    { "/rate",     .at = WEIR_AT(struct record, rate), .optional = true },
    { "/maybe",    .at = WEIR_AT(struct record, maybe), .optional = true, .min = 0, .max = 9 },
    { "/perhaps",  .at = WEIR_AT(struct record, perhaps), .optional = true },
    { "/items",    .at = WEIR_AT(struct record, items), .optional = true, .nullable = true, .max = 50,
      .items = item_fields, .item_size = sizeof(struct item) },
    { "/plain",    .at = WEIR_AT(struct record, plain), .optional = true,
      .items = tag_fields, .item_size = sizeof(struct tag) },
    { 0 }
};
// clang-format on

static void compare_with_jansson(const char *text, size_t size, int fault,
                                 const struct weir_err *err, const struct record *record)
{
    json_error_t error;
    json_t *root = json_loadb(text, size, 0, &error);
    bool not_json = fault != WEIR_OK && strncmp(err->text, "not JSON: ", 10) == 0;

    if (memchr(text, '\0', size) != NULL) {
        /* jansson 2.14 passes over a NUL behind a number. */
        assert(fault != WEIR_OK);
    } else if (root != NULL) {
        /* Its limit of nesting is 2048. */
        assert(!not_json || strstr(err->text, "nested too deeply") != NULL);
    } else if (json_error_code(&error) != json_error_numeric_overflow) {
        /* Numbers that fit no C type are its affair. Of scalars as documents it says no more than
         * that. */
        assert(fault != WEIR_OK);
    }
    if (root != NULL && fault == WEIR_OK && json_is_object(root)) {
        const char *id = json_string_value(json_object_get(root, "id"));
        json_t *number = json_object_get(json_object_get(root, "a"), "num");
        json_t *rate = json_object_get(root, "rate");
        assert((id == NULL) == (record->id == NULL));
        assert(id == NULL || strcmp(id, record->id) == 0);
        assert(!json_is_integer(number) || json_integer_value(number) == record->number);
        assert(!json_is_number(rate) || json_number_value(rate) == record->rate);
        assert(json_array_size(json_object_get(root, "items")) == record->items.count);
    }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO_BUF first = { 0 }, second = { 0 };
    struct record record;
    struct weir_err err;

    int fault = weir_json_decode(all_fields, data, size, arena, &record, sizeof(record), &err);
    compare_with_jansson((const char *)data, size, fault, &err, &record);
    if (fault != WEIR_OK) {
        assert(fault == WEIR_BAD_INPUT && err.text[0] != '\0');
        return 0;
    }

    weir_json_encode(all_fields, &record, &first);
    json_t *root = json_loadb(first.data, first.length, JSON_REJECT_DUPLICATES, NULL);
    assert(root != NULL);
    json_decref(root);

    fault = weir_json_decode(all_fields, first.data, first.length, arena, &record, sizeof(record),
                             &err);
    assert(fault == WEIR_OK);
    weir_json_encode(all_fields, &record, &second);
    assert(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    return 0;
}
