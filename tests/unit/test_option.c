/* Options: reading by type and unit, reasons, unknown names, --help and --describe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/option.h>

struct config {
    const char *url, *mode, *password;
    int64_t wait_ms, size_bytes, concurrency, offset;
    bool strict;
    double ratio;
    struct weir_opt_int limit;
    struct weir_opt_bool flag;
};

static const char *const modes[] = { "fast", "safe", NULL };

// clang-format off
static const struct weir_option options[] = {
    { "T_URL",         WEIR_AT(struct config, url), .optional = true, .help = "where to" },
    { "T_MODE",        WEIR_AT(struct config, mode), .def = "safe", .one_of = modes, .help = "how" },
    { "T_PASSWORD",    WEIR_AT(struct config, password), .def = "", .secret = true },
    { "T_WAIT_MS",     WEIR_AT(struct config, wait_ms), .def = "2s", .min = 1, .max = 3600000 },
    { "T_SIZE",        WEIR_AT(struct config, size_bytes), .unit = WEIR_UNIT_BYTES, .def = "64KiB" },
    { "T_CONCURRENCY", WEIR_AT(struct config, concurrency), .def = "4", .min = 1 },
    { "T_OFFSET",      WEIR_AT(struct config, offset), .def = "0" },
    { "T_STRICT",      WEIR_AT(struct config, strict), .def = "no" },
    { "T_RATIO",       WEIR_AT(struct config, ratio), .def = "0.5", .max = 1 },
    { "T_LIMIT",       WEIR_AT(struct config, limit), .optional = true, .secret = true, .max = 9 },
    { "T_FLAG",        WEIR_AT(struct config, flag), .optional = true },
    { 0 }
};
static const struct weir_option required[] = {
    { "SHELF_HELP_DATABASE_URL", WEIR_AT(struct config, url), .secret = true, .help = "PostgreSQL" },
    { 0 }
};
static const struct weir_option shared[] = {
    { "WEIR_CONCURRENCY", WEIR_AT(struct config, concurrency), .def = "4", .min = 1 },
    { "WEIR_DRAIN_MS",    WEIR_AT(struct config, wait_ms), .def = "20s" },
    { 0 }
};
// clang-format on

static int read_one(const struct weir_option *table, const char *variable, struct config *out,
                    weir_arena *arena, struct weir_err *err)
{
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", variable);
    char *env[] = { "PATH=/bin", copy, "T_URLX=no", NULL };
    memset(out, 0, sizeof(*out));
    return weir_options_read(table, env, arena, out, err);
}

static void defaults(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct config config;
    struct weir_err err;

    assert_int_equal(read_one(options, "X=1", &config, arena, &err), WEIR_OK);
    assert_null(config.url);
    assert_string_equal(config.mode, "safe");
    assert_string_equal(config.password, "");
    assert_int_equal(config.wait_ms, 2000);
    assert_int_equal(config.size_bytes, 65536);
    assert_int_equal(config.concurrency, 4);
    assert_false(config.strict);
    assert_true(config.ratio == 0.5);
    assert_false(config.limit.set);
    assert_false(config.flag.set);
}

static void integers_by_unit(void **state)
{
    (void)state;
    static const struct {
        const char *variable;
        size_t member;
        int64_t want;
    } rows[] = {
        { "T_WAIT_MS=250", offsetof(struct config, wait_ms), 250 },
        { "T_WAIT_MS=250ms", offsetof(struct config, wait_ms), 250 },
        { "T_WAIT_MS=5m", offsetof(struct config, wait_ms), 300000 },
        { "T_WAIT_MS=1h", offsetof(struct config, wait_ms), 3600000 },
        { "T_SIZE=100", offsetof(struct config, size_bytes), 100 },
        { "T_SIZE=100B", offsetof(struct config, size_bytes), 100 },
        { "T_SIZE=16MiB", offsetof(struct config, size_bytes), 16777216 },
        { "T_SIZE=3GiB", offsetof(struct config, size_bytes), INT64_C(3221225472) },
        { "T_OFFSET=-7", offsetof(struct config, offset), -7 },
        { "T_OFFSET=9223372036854775807", offsetof(struct config, offset), INT64_MAX },
        { "T_CONCURRENCY=", offsetof(struct config, concurrency), 4 },
        { "T_LIMIT=9", offsetof(struct config, limit.value), 9 },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config config;
        struct weir_err err;
        assert_int_equal(read_one(options, rows[i].variable, &config, arena, &err), WEIR_OK);
        assert_int_equal(*(int64_t *)((char *)&config + rows[i].member), rows[i].want);
    }
}

static void truth_values(void **state)
{
    (void)state;
    static const struct {
        const char *variable;
        bool want;
    } rows[] = {
        { "T_FLAG=true", true }, { "T_FLAG=false", false }, { "T_FLAG=1", true },
        { "T_FLAG=0", false },   { "T_FLAG=YES", true },    { "T_FLAG=no", false },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config config;
        struct weir_err err;
        assert_int_equal(read_one(options, rows[i].variable, &config, arena, &err), WEIR_OK);
        assert_true(config.flag.set);
        assert_int_equal(config.flag.value, rows[i].want);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *reason;
    } rows[] = {
        { "T_WAIT_MS=abc", "T_WAIT_MS: 'abc' is not a duration" },
        { "T_WAIT_MS=5 s", "T_WAIT_MS: '5 s' is not a duration" },
        { "T_WAIT_MS=-5", "T_WAIT_MS: '-5' is not a duration" },
        { "T_WAIT_MS=1.5s", "T_WAIT_MS: '1.5s' is not a duration" },
        { "T_WAIT_MS=99999999999999999d", "T_WAIT_MS: '99999999999999999d' is not a duration" },
        { "T_WAIT_MS=0", "T_WAIT_MS: 0 is below 1 ms" },
        { "T_WAIT_MS=2h", "T_WAIT_MS: 2h is above 3600000 ms" },
        { "T_SIZE=1kb", "T_SIZE: '1kb' is not a size" },
        { "T_CONCURRENCY=0", "T_CONCURRENCY: 0 is below 1" },
        { "T_CONCURRENCY=4s", "T_CONCURRENCY: '4s' is not an integer" },
        { "T_OFFSET=9223372036854775808", "T_OFFSET: '9223372036854775808' is not an integer" },
        { "T_OFFSET=--1", "T_OFFSET: '--1' is not an integer" },
        { "T_MODE=slow", "T_MODE: 'slow' is not one of fast, safe" },
        { "T_STRICT=maybe", "T_STRICT: 'maybe' is not true or false" },
        { "T_RATIO=nan", "T_RATIO: 'nan' is not a number" },
        { "T_RATIO=1e999", "T_RATIO: '1e999' is not a number" },
        { "T_RATIO=0x1", "T_RATIO: '0x1' is not a number" },
        { "T_RATIO=1.5", "T_RATIO: 1.5 is above 1" },
        { "T_RATIO=-1", "T_RATIO: -1 is below 0" },
        { "T_LIMIT=hunter2", "T_LIMIT: the value is not an integer" },
        { "T_LIMIT=10", "T_LIMIT: the value is above 9" },
        { "T_URL_FILE=/nonexistent", "T_URL_FILE: '/nonexistent': No such file or directory" },
        { "T_URL_FILE=/", "T_URL_FILE: '/': Is a directory" },
        { "T_URL_FILE=/dev/null", "T_URL_FILE: '/dev/null': empty" },
        { "T_URL_FILE=/dev/zero", "T_URL_FILE: '/dev/zero': longer than 64 KiB" },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config config;
        struct weir_err err;
        assert_int_equal(read_one(options, rows[i].variable, &config, arena, &err), WEIR_FATAL);
        assert_string_equal(err.text, rows[i].reason);
    }
}

static void required_is_missed(void **state)
{
    (void)state;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct config config;
    struct weir_err err;

    assert_int_equal(read_one(required, "X=1", &config, arena, &err), WEIR_FATAL);
    assert_string_equal(err.text, "SHELF_HELP_DATABASE_URL: missing");
    assert_int_equal(read_one(required, "SHELF_HELP_DATABASE_URL=", &config, arena, &err),
                     WEIR_FATAL);
    assert_string_equal(err.text, "SHELF_HELP_DATABASE_URL: missing");
}

static void secrets_from_files(void **state)
{
    (void)state;
    static const struct {
        const char *content, *want;
    } rows[] = {
        { "hunter2", "hunter2" },       { "hunter2\n", "hunter2" },   { "hunter2\r\n", "hunter2" },
        { "hunter2\n\n", "hunter2\n" }, { " hunter2 ", " hunter2 " },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    char path[] = "/tmp/weir-test-option-XXXXXX", variable[128];
    int fd = mkstemp(path);
    struct config config;
    struct weir_err err;

    assert_true(fd >= 0);
    snprintf(variable, sizeof(variable), "T_PASSWORD_FILE=%s", path);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, rows[i].content, strlen(rows[i].content), 0),
                         strlen(rows[i].content));
        assert_int_equal(read_one(options, variable, &config, arena, &err), WEIR_OK);
        assert_string_equal(config.password, rows[i].want);
    }

    char *both[] = { variable, "T_PASSWORD=hunter3", NULL };
    assert_int_equal(weir_options_read(options, both, arena, &config, &err), WEIR_FATAL);
    assert_string_equal(err.text, "T_PASSWORD: both it and T_PASSWORD_FILE are set");
    char *one_empty[] = { variable, "T_PASSWORD=", NULL };
    assert_int_equal(weir_options_read(options, one_empty, arena, &config, &err), WEIR_OK);
    close(fd);
    unlink(path);
}

static void collect(void *arg, const char *line)
{
    weir_buf_text(arg, line);
    weir_buf_char(arg, '\n');
}

static void unknown_names(void **state)
{
    (void)state;
    static const struct {
        char *variable;
        const char *reason, *warning;
    } rows[] = {
        { "WEIR_CONCURRENCY=4", "", "" },
        { "WEIR_CONCURRENCY_FILE=/x", "", "" },
        { "WEIR_KAFKA_ACKS=1", "", "" },
        { "WEIR_STACK_DIR=1", "", "" },
        { "OTHER=1", "", "" },
        { "WEIR_CONCURENCY=4", "WEIR_CONCURENCY: unknown; did you mean WEIR_CONCURRENCY?", "" },
        { "WEIR_DRIAN_MS=4", "WEIR_DRIAN_MS: unknown; did you mean WEIR_DRAIN_MS?", "" },
        { "WEIR_DRAIN=4", "WEIR_DRAIN: unknown; did you mean WEIR_DRAIN_MS?", "" },
        { "WEIR_ELSE_ALTOGETHER=4", "WEIR_ELSE_ALTOGETHER: unknown", "" },
        { "WEIR_=4", "WEIR_: unknown", "" },
        { "SHELF_HELP_DATABSE_URL=x", "",
          "SHELF_HELP_DATABSE_URL: unknown; did you mean SHELF_HELP_DATABASE_URL?\n" },
        { "SHELF_HELP_POLICY=x", "", "SHELF_HELP_POLICY: unknown\n" },
        { "SHELF_HELP_DATABASE_URL_FILE=x", "", "" },
        { "WEIR_GATEWAY_SERVICE_HOST=10.0.0.1", "", "" },
        { "WEIR_GATEWAY_SERVICE_PORT_HTTP=80", "", "" },
        { "WEIR_GATEWAY_PORT=tcp://10.0.0.1:80", "", "" },
        { "WEIR_GATEWAY_PORT_8080_TCP_ADDR=10.0.0.1", "", "" },
        { "WEIR_GATEWAY_PORT=80", "WEIR_GATEWAY_PORT: unknown", "" },
    };
    const struct weir_option *const tables[] = { shared, required, NULL };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *env[] = { "HOME=/", rows[i].variable, "PATH=/bin", NULL };
        WEIR_AUTO_BUF warnings = { 0 };
        struct weir_err err = { 0 };

        weir_buf_text(&warnings, "");
        int fault = weir_options_unknown(tables, env, "SHELF_HELP_", collect, &warnings, &err);
        assert_int_equal(fault, *rows[i].reason ? WEIR_FATAL : WEIR_OK);
        assert_string_equal(err.text, rows[i].reason);
        assert_string_equal(warnings.data, rows[i].warning);
    }
}

static void long_unknown_names(void **state)
{
    (void)state;
    const struct weir_option *const tables[] = { shared, NULL };
    char name[5000];
    char *env[] = { name, NULL };
    struct weir_err err;

    memset(name, 'X', sizeof(name) - 1);
    memcpy(name, "WEIR_", 5);
    name[sizeof(name) - 1] = '\0'; /* no '=' either */
    assert_int_equal(weir_options_unknown(tables, env, NULL, NULL, NULL, &err), WEIR_FATAL);
    assert_memory_equal(err.text, "WEIR_XXX", 8);
}

static void help_is_aligned(void **state)
{
    (void)state;
    WEIR_AUTO_BUF out = { 0 };

    weir_options_help(options, &out);
    assert_string_equal(out.data, "  T_URL          text       where to\n"
                                  "  T_MODE         fast|safe  how (default safe)\n"
                                  "  T_PASSWORD     text       \n"
                                  "  T_WAIT_MS      duration    (default 2s)\n"
                                  "  T_SIZE         size        (default 64KiB)\n"
                                  "  T_CONCURRENCY  integer     (default 4)\n"
                                  "  T_OFFSET       integer     (default 0)\n"
                                  "  T_STRICT       yes|no      (default no)\n"
                                  "  T_RATIO        number      (default 0.5)\n"
                                  "  T_LIMIT        integer    \n"
                                  "  T_FLAG         yes|no     \n");
    weir_buf_clear(&out);
    weir_options_help(required, &out);
    assert_string_equal(out.data, "  SHELF_HELP_DATABASE_URL  text  PostgreSQL (required)\n");
}

static void describes_as_json(void **state)
{
    (void)state;
    WEIR_AUTO_BUF out = { 0 };

    weir_options_describe(required, &out);
    assert_string_equal(out.data,
                        "[{\"name\":\"SHELF_HELP_DATABASE_URL\",\"type\":\"text\",\"unit\":null,"
                        "\"default\":null,\"required\":true,\"secret\":true,"
                        "\"help\":\"PostgreSQL\"}]");
    weir_buf_clear(&out);
    weir_options_describe(options, &out);
    json_t *list = json_loadb(out.data, out.length, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_array_size(list), 11);
    json_t *wait = json_array_get(list, 3);
    assert_string_equal(json_string_value(json_object_get(wait, "unit")), "ms");
    assert_string_equal(json_string_value(json_object_get(wait, "default")), "2s");
    assert_int_equal(json_number_value(json_object_get(wait, "max")), 3600000);
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 1), "one_of")), 2);
    json_decref(list);
    weir_buf_clear(&out);
    weir_options_describe(NULL, &out);
    assert_string_equal(out.data, "[]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),           cmocka_unit_test(integers_by_unit),
        cmocka_unit_test(truth_values),       cmocka_unit_test(refuses),
        cmocka_unit_test(required_is_missed), cmocka_unit_test(secrets_from_files),
        cmocka_unit_test(unknown_names),      cmocka_unit_test(long_unknown_names),
        cmocka_unit_test(help_is_aligned),    cmocka_unit_test(describes_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
