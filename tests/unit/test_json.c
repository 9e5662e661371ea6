/* JSON by table: what is decoded, every reason, and that encoding is decoding's inverse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/json.h>

struct line {
    const char *sku;
    int64_t count;
    struct weir_list tags;
};

struct tag {
    const char *text;
};

struct order {
    const char *id, *customer_id, *customer_name, *state, *email;
    int64_t total_cents, big;
    bool gift;
    double rate;
    struct weir_opt_int page;
    struct weir_opt_bool seen;
    struct weir_list lines;
    struct weir_opt_int zip;
};

static const char *const states[] = { "new", "paid", NULL };

static const char *check_email(const char *text)
{
    return strchr(text, '@') ? NULL : "not an address";
}

// clang-format off
static const struct weir_field tag_fields[] = {
    { "", .at = WEIR_AT(struct tag, text), .max_len = 5, .nullable = true },
    { 0 }
};
static const struct weir_field line_fields[] = {
    { "/sku",   .at = WEIR_AT(struct line, sku) },
    { "/count", .at = WEIR_AT(struct line, count), .optional = true, .min = 1, .max = 99 },
    { "/tags",  .at = WEIR_AT(struct line, tags), .optional = true,
      .items = tag_fields, .item_size = sizeof(struct tag) },
    { 0 }
};
static const struct weir_field order_fields[] = {
    { "/id",                   .at = WEIR_AT(struct order, id), .max_len = 8 },
    { "/customer/id",          .at = WEIR_AT(struct order, customer_id), .optional = true },
    { "/customer/address/zip", .at = WEIR_AT(struct order, zip), .optional = true, .min = 1 },
    { "/state",                .at = WEIR_AT(struct order, state), .optional = true, .one_of = states },
    { "/email",                .at = WEIR_AT(struct order, email), .optional = true, .check = check_email },
    { "/customer/name",        .at = WEIR_AT(struct order, customer_name), .optional = true, .nullable = true },
    { "/total_cents",          .at = WEIR_AT(struct order, total_cents), .optional = true, .max = 1e8 },
    { "/big",                  .at = WEIR_AT(struct order, big), .optional = true },
    { "/gift",                 .at = WEIR_AT(struct order, gift), .optional = true },
    { "/rate",                 .at = WEIR_AT(struct order, rate), .optional = true, .min = -1, .max = 1.5 },
    { "/page",                 .at = WEIR_AT(struct order, page), .optional = true, .min = 1, .max = 9 },
    { "/seen",                 .at = WEIR_AT(struct order, seen), .optional = true },
    { "/lines",                .at = WEIR_AT(struct order, lines), .optional = true, .nullable = true, .max = 3,
      .items = line_fields, .item_size = sizeof(struct line) },
    { 0 }
};
// clang-format on

/* Rows write ' for ", as long as they are not about quotes themselves. */
static char *unquote(const char *text)
{
    char *copy = strdup(text);
    for (char *at = copy; *at; at++)
        if (*at == '\'')
            *at = '"';
    return copy;
}

/* In a block of its exact size, so that a read beyond the end is seen by the sanitizer. */
static int decode(const char *text, size_t length, weir_arena *arena, struct order *order,
                  struct weir_err *err)
{
    char *exact = malloc(length ? length : 1);
    memcpy(exact, text, length);
    memset(order, 0xAA, sizeof(*order));
    int fault = weir_json_decode(order_fields, exact, length, arena, order, sizeof(*order), err);
    free(exact);
    return fault;
}

/* What is decoded, as encoding shows it. */
static void accepts(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "{'id':'a'}", "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0}" },
        { " \t\r\n{ 'id' : 'a' , 'gift' : true }\n ",
          "{'id':'a','total_cents':0,'big':0,'gift':true,'rate':0}" },
        { "{'id':'a','customer':{'name':'n','id':'c','address':{'zip':7,'x':[]}}}",
          "{'id':'a','customer':{'id':'c','address':{'zip':7},'name':'n'},"
          "'total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'unknown':{'id':[1,{},-0.5e+3]},'id':'a','customer':null,'idx':1,'i':2}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'a','total_cents':5.0,'big':-9223372036854775808,'rate':-1}",
          "{'id':'a','total_cents':5,'big':-9223372036854775808,'gift':false,'rate':-1}" },
        { "{'id':'a','total_cents':1e2,'big':9223372036854775807,'rate':0.1}",
          "{'id':'a','total_cents':100,'big':9223372036854775807,'gift':false,'rate':0.1}" },
        { "{'id':'a','page':3,'seen':false}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0,'page':3,'seen':false}" },
        { "{'id':'a','page':null,'seen':null,'lines':null}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'a','lines':[{'sku':'x','count':2},{'sku':'y','count':1,'tags':['p',null,'q']}]}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0,"
          "'lines':[{'sku':'x','count':2},{'sku':'y','count':1,'tags':['p',null,'q']}]}" },
        /* the last of duplicates counts, also of what is around it, and a wrong first does no harm
         */
        { "{'id':5,'id':'a','id':'b'}",
          "{'id':'b','total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'a','customer':{'id':'c','name':'n'},'customer':{'name':'m'}}",
          "{'id':'a','customer':{'name':'m'},'total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'a','customer':5,'customer':{'name':'m'}}",
          "{'id':'a','customer':{'name':'m'},'total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'a','customer':{'name':'m'},'customer':null}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0}" },
        /* escapes, in names too; a slash in a name is no path */
        { "{'\\u0069d':'\\u00e9\\ud83d\\ude00'}",
          "{'id':'\xC3\xA9\xF0\x9F\x98\x80','total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'\\/\\b\\f\\n'}",
          "{'id':'/\\b\\f\\n','total_cents':0,'big':0,'gift':false,'rate':0}" },
        { "{'id':'a','customer/id':'c','':1}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0}" },
        /* numbers nobody asked for may be as large as they like */
        { "{'id':'a','x':123456789012345678901234567890,'y':1e999}",
          "{'id':'a','total_cents':0,'big':0,'gift':false,'rate':0}" },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = unquote(rows[i][0]), *want = unquote(rows[i][1]);
        WEIR_AUTO_BUF out = { 0 };
        struct order order;
        struct weir_err err = { 0 };

        int fault = decode(text, strlen(text), arena, &order, &err);
        assert_string_equal(err.text, "");
        assert_int_equal(fault, WEIR_OK);
        weir_json_encode(order_fields, &order, &out);
        assert_string_equal(out.data, want);
        free(text);
        free(want);
        weir_arena_reset(arena);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "", "not JSON: cut short near byte 0" },
        { "  ", "not JSON: cut short near byte 2" },
        { "nul", "not JSON: an unknown word near byte 0" },
        { "{'id':'a'", "not JSON: cut short near byte 9" },
        { "{'id':'a", "not JSON: cut short near byte 8" },
        { "{'id':'a'}x", "not JSON: more after the end near byte 10" },
        { "{'id':'a'}{}", "not JSON: more after the end near byte 10" },
        { "{'id':'a',}", "not JSON: a name was expected near byte 10" },
        { "{'id' 'a'}", "not JSON: a colon was expected near byte 6" },
        { "{'id':'a' 'b'}", "not JSON: a comma was expected near byte 10" },
        { "{'id':[1,]}", "not JSON: a value was expected near byte 9" },
        { "{'id':[1 2]}", "not JSON: a comma was expected near byte 9" },
        { "{'id':[1}", "not JSON: a comma was expected near byte 8" },
        { "{'x':01}", "not JSON: a comma was expected near byte 6" },
        { "{'x':-}", "not JSON: a broken number near byte 6" },
        { "{'x':+1}", "not JSON: a value was expected near byte 5" },
        { "{'x':1.}", "not JSON: a broken number near byte 7" },
        { "{'x':.5}", "not JSON: a value was expected near byte 5" },
        { "{'x':1e}", "not JSON: a broken number near byte 7" },
        { "{'x':NaN}", "not JSON: a value was expected near byte 5" },
        { "{'x':True}", "not JSON: a value was expected near byte 5" },
        { "{'x':truth}", "not JSON: an unknown word near byte 5" },
        { "{'x':'\\x41'}", "not JSON: an unknown escape near byte 6" },
        { "{'x':'\\u12g4'}", "not JSON: a broken \\u escape near byte 6" },
        { "{'x':'\\u0000'}", "not JSON: U+0000 near byte 6" },
        { "{'x':'\\ud800'}", "not JSON: a lone surrogate near byte 6" },
        { "{'x':'\\ud800\\u0041'}", "not JSON: a lone surrogate near byte 6" },
        { "{'x':'\\udc00'}", "not JSON: a lone surrogate near byte 6" },
        { "{'x':'a\nb'}", "not JSON: a control character in a string near byte 7" },
        { "{'x':'\xFF'}", "not JSON: a byte that is not UTF-8 near byte 6" },
        { "{'x':'\xED\xA0\x80'}", "not JSON: a byte that is not UTF-8 near byte 6" },
        { "{'x':'\xC0\xAF'}", "not JSON: a byte that is not UTF-8 near byte 6" },
        { "\xEF\xBB\xBF{'id':'a'}", "not JSON: a value was expected near byte 0" },
        { "[]", ": not an object" },
        { "5", ": not an object" },
        { "'id'", ": not an object" },
        { "{}", "/id: missing" },
        { "{'id':null}", "/id: must not be null" },
        { "{'id':5}", "/id: not a text" },
        { "{'id':'123456789'}", "/id: longer than 8 bytes" },
        { "{'id':'12345\xF0\x9F\x98\x80'}", "/id: longer than 8 bytes" },
        { "{'id':'a','customer':5}", "/customer: not an object" },
        { "{'id':'a','customer':{'address':[]}}", "/customer/address: not an object" },
        { "{'id':'a','customer':{'id':null}}", "/customer/id: must not be null" },
        { "{'id':'a','customer':{'address':{'zip':0}}}", "/customer/address/zip: 0 is below 1" },
        { "{'id':'a','state':'secret'}", "/state: not one of new, paid" },
        { "{'id':'a','email':'secret'}", "/email: not an address" },
        { "{'id':'a','total_cents':-5}", "/total_cents: -5 is below 0" },
        { "{'id':'a','total_cents':100000001}", "/total_cents: 100000001 is above 100000000" },
        { "{'id':'a','total_cents':'5'}", "/total_cents: not an integer" },
        { "{'id':'a','total_cents':1.5}", "/total_cents: not an integer" },
        { "{'id':'a','total_cents':1e400}", "/total_cents: not an integer" },
        { "{'id':'a','total_cents':true}", "/total_cents: not an integer" },
        { "{'id':'a','total_cents':null}", "/total_cents: must not be null" },
        { "{'id':'a','big':9223372036854775808}", "/big: not an integer of 64 bits" },
        { "{'id':'a','big':-9223372036854775809}", "/big: not an integer of 64 bits" },
        { "{'id':'a','gift':1}", "/gift: not true or false" },
        { "{'id':'a','rate':'x'}", "/rate: not a number" },
        { "{'id':'a','rate':1e999}", "/rate: a number out of range" },
        { "{'id':'a','rate':1.51}", "/rate: 1.51 is above 1.5" },
        { "{'id':'a','page':0}", "/page: 0 is below 1" },
        { "{'id':'a','seen':'x'}", "/seen: not true or false" },
        { "{'id':'a','lines':{}}", "/lines: not a list" },
        { "{'id':'a','lines':[{'sku':''},5]}", "/lines/1: not an object" },
        { "{'id':'a','lines':[{'sku':''},{}]}", "/lines/1/sku: missing" },
        { "{'id':'a','lines':[{'sku':'','count':100}]}", "/lines/0/count: 100 is above 99" },
        { "{'id':'a','lines':[{'sku':'','tags':['a','abcdef']}]}",
          "/lines/0/tags/1: longer than 5 bytes" },
        { "{'id':'a','lines':[{'sku':'','tags':[['a']]}]}", "/lines/0/tags/0: not a text" },
        { "{'id':'a','lines':[1,2,3,4]}", "/lines: 4 elements, more than 3" },
        /* the first in the table's order, whatever the document's */
        { "{'lines':5,'big':'x','state':1}", "/id: missing" },
        { "{'id':'a','x':'", "not JSON: cut short near byte 15" },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = unquote(rows[i][0]);
        struct order order;
        struct weir_err err = { 0 };

        int fault = decode(text, strlen(text), arena, &order, &err);
        assert_string_equal(err.text, rows[i][1]);
        assert_int_equal(fault, WEIR_BAD_INPUT);
        free(text);
    }

    struct order order;
    struct weir_err err;
    assert_int_equal(decode("{\"id\":\"a\"}\0", 11, arena, &order, &err), WEIR_BAD_INPUT);
    assert_string_equal(err.text, "not JSON: more after the end near byte 10");
    assert_int_equal(decode("{\"id\":\"a\0\"}", 11, arena, &order, &err), WEIR_BAD_INPUT);
    assert_int_equal(weir_json_decode(order_fields, NULL, 0, arena, &order, sizeof(order), &err),
                     WEIR_BAD_INPUT);
}

/* Every byte of a document cut off, or changed, gives a verdict and no crash. */
static void survives_mutilation(void **state)
{
    (void)state;
    char *text =
        unquote("{'id':'\\u00e9\xC3\xA9','customer':{'id':'c','address':{'zip':7}},'big':-12,"
                "'rate':-1.5e-1,'gift':true,'page':null,'lines':[{'sku':'x','tags':['p']}]}");
    size_t length = strlen(text);
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct order order;
    struct weir_err err;

    assert_int_equal(decode(text, length, arena, &order, &err), WEIR_OK);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(decode(text, i, arena, &order, &err), WEIR_BAD_INPUT);
    for (size_t i = 0; i < length; i++) {
        char kept = text[i];
        for (int byte = 0; byte < 256; byte++) {
            text[i] = (char)byte;
            (void)!decode(text, length, arena, &order, &err);
            weir_arena_reset(arena);
        }
        text[i] = kept;
    }
    free(text);
}

/* Every position of a special byte relative to the words that the scanner reads at a time. */
static void strings_of_every_length(void **state)
{
    (void)state;
    static const struct {
        const char *piece;
        bool good;
    } rows[] = {
        { "\x7f", true },  { " ", true },     { "\\n", true },   { "\xC3\xA9", true },
        { "\x1f", false }, { "\x80", false }, { "\xC3", false }, { "!", true },
        { "#", true },     { "[", true },     { "]", true },
    };
    static const struct weir_field fields[] = { { "/x", .at = WEIR_AT(struct tag, text) }, { 0 } };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int before = 0; before < 20; before++) {
            for (int after = 0; after < 20; after++) {
                char text[128];
                struct tag tag;
                struct weir_err err;
                int length =
                    snprintf(text, sizeof(text), "{\"x\":\"%.*s%s%.*s\"}", before,
                             "aaaaaaaaaaaaaaaaaaaa", rows[i].piece, after, "bbbbbbbbbbbbbbbbbbbb");
                int fault =
                    weir_json_decode(fields, text, (size_t)length, arena, &tag, sizeof(tag), &err);
                assert_int_equal(fault, rows[i].good ? WEIR_OK : WEIR_BAD_INPUT);
                if (rows[i].good && rows[i].piece[0] != '\\')
                    assert_int_equal(strlen(tag.text),
                                     (size_t)(before + after) + strlen(rows[i].piece));
            }
        }
    }
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct order order;
    struct weir_err err;

    for (int depth = 250; depth < 260; depth++) {
        WEIR_AUTO_BUF text = { 0 };
        weir_buf_text(&text, "{\"id\":\"a\",\"x\":");
        for (int i = 0; i < depth; i++)
            weir_buf_char(&text, '[');
        for (int i = 0; i < depth; i++)
            weir_buf_char(&text, ']');
        weir_buf_char(&text, '}');
        int fault = decode(text.data, text.length, arena, &order, &err);
        assert_int_equal(fault, depth < 256 ? WEIR_OK : WEIR_BAD_INPUT);
    }
    WEIR_AUTO_BUF deep = { 0 };
    for (int i = 0; i < 1000000; i++)
        weir_buf_text(&deep, i % 2 ? "[" : "{\"x\":");
    assert_int_equal(decode(deep.data, deep.length, arena, &order, &err), WEIR_BAD_INPUT);
    assert_memory_equal(err.text, "not JSON: nested too deeply", 27);
}

static void long_lists_are_bounded_by_default(void **state)
{
    (void)state;
    struct {
        struct weir_list tags;
    } out;
    static const struct weir_field fields[] = {
        { "/tags", .at = { 0, WEIR_TYPE_LIST }, .items = tag_fields,
          .item_size = sizeof(struct tag) },
        { 0 },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_err err;

    for (int count = 9999; count <= 10001; count++) {
        WEIR_AUTO_BUF text = { 0 };
        weir_buf_text(&text, "{\"tags\":[\"a\"");
        for (int i = 1; i < count; i++)
            weir_buf_text(&text, ",\"b\"");
        weir_buf_text(&text, "]}");
        int fault =
            weir_json_decode(fields, text.data, text.length, arena, &out, sizeof(out), &err);
        assert_int_equal(fault, count <= 10000 ? WEIR_OK : WEIR_BAD_INPUT);
        if (fault == WEIR_OK) {
            assert_int_equal(out.tags.count, count);
            assert_string_equal(((struct tag *)out.tags.items)[count - 1].text, "b");
        }
    }
}

static void encodes_numbers_shortest(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *want;
    } rows[] = {
        { 0.1, "{\"rate\":0.1}" },
        { 1.0 / 3, "{\"rate\":0.3333333333333333}" },
        { 5e-324, "{\"rate\":4.94065645841247e-324}" },
        { 1e300, "{\"rate\":1e+300}" },
        { -0.0, "{\"rate\":-0}" },
        { 0.1 + 0.2, "{\"rate\":0.30000000000000004}" },
    };
    static const struct weir_field fields[] = { { "/rate", .at = WEIR_AT(struct order, rate) },
                                                { 0 } };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct order in = { .rate = rows[i].value }, back;
        WEIR_AUTO_BUF out = { 0 };
        struct weir_err err;
        weir_json_encode(fields, &in, &out);
        assert_string_equal(out.data, rows[i].want);
        assert_int_equal(
            weir_json_decode(fields, out.data, out.length, arena, &back, sizeof(back), &err),
            WEIR_OK);
        assert_true(back.rate == in.rate);
    }
}

static void required_rows_are_written_as_null(void **state)
{
    (void)state;
    static const struct weir_field fields[] = {
        { "/id", .at = WEIR_AT(struct order, id), .nullable = true },
        { "/page", .at = WEIR_AT(struct order, page) },
        { "/seen", .at = WEIR_AT(struct order, seen) },
        { "/lines", .at = WEIR_AT(struct order, lines), .items = line_fields,
          .item_size = sizeof(struct line) },
        { "/customer/id", .at = WEIR_AT(struct order, customer_id), .optional = true },
        { 0 },
    };
    struct order order = { 0 };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO_BUF out = { 0 };
    struct weir_err err;

    weir_json_encode(fields, &order, &out);
    assert_string_equal(out.data, "{\"id\":null,\"page\":null,\"seen\":null,\"lines\":[]}");
    assert_int_equal(
        weir_json_decode(fields, out.data, out.length, arena, &order, sizeof(order), &err),
        WEIR_OK);

    static const struct weir_field none[] = { { 0 } };
    weir_buf_clear(&out);
    weir_json_encode(none, &order, &out);
    assert_string_equal(out.data, "{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(survives_mutilation),
        cmocka_unit_test(strings_of_every_length),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(long_lists_are_bounded_by_default),
        cmocka_unit_test(encodes_numbers_shortest),
        cmocka_unit_test(required_rows_are_written_as_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
