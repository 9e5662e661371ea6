/* Log lines: their form, which are written, and the rate limit. Standard error goes to a file
 * meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/log.h>

static char *capture_text;
static int saved_stderr;
static char path[] = "/tmp/weir-test-log-XXXXXX";

static void capture(void)
{
    int fd = open(path, O_RDWR | O_TRUNC | O_APPEND);
    assert_true(fd >= 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* What was written since capture(). */
static const char *captured(void)
{
    long size;

    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    free(capture_text);
    capture_text = calloc(1, (size_t)size + 1);
    assert_int_equal(fread(capture_text, 1, (size_t)size, file), size);
    fclose(file);
    return capture_text;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static void opens_only_with_a_known_spec(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *reason;
    } rows[] = {
        { NULL, NULL },
        { "", NULL },
        { "debug", NULL },
        { "warn,text", NULL },
        { "error,json", NULL },
        { "loud",
          "WEIR_LOG: 'loud' is not debug, info, warn or error, optionally with ,json or ,text" },
        { "info,xml", "WEIR_LOG: 'xml' is not json or text" },
        { "info,", "WEIR_LOG: '' is not json or text" },
        { ",json",
          "WEIR_LOG: ',json' is not debug, info, warn or error, optionally with ,json or ,text" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct weir_err err;
        int fault = weir_log_open("svc", rows[i].spec, &err);
        assert_int_equal(fault, rows[i].reason ? WEIR_FATAL : WEIR_OK);
        if (rows[i].reason)
            assert_string_equal(err.text, rows[i].reason);
    }
}

static void json_lines_are_json(void **state)
{
    (void)state;
    struct weir_err err;
    const char *absent = NULL;

    assert_int_equal(weir_log_open("svc", "info,json", &err), WEIR_OK);
    capture();
    weir_log(WEIR_DEBUG, "not this one");
    weir_log(WEIR_WARN, "dead \"letter\"\n", WEIR_S("topic", "a.b"), WEIR_I("offset", -5),
             WEIR_S("bytes", "\xFF\x1b[31m"), WEIR_S("absent", absent));
    const char *text = captured();
    assert_int_equal(count_lines(text), 1);

    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))), 24);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "service")), "svc");
    assert_string_equal(json_string_value(json_object_get(line, "msg")), "dead \"letter\"\n");
    assert_string_equal(json_string_value(json_object_get(line, "topic")), "a.b");
    assert_int_equal(json_integer_value(json_object_get(line, "offset")), -5);
    assert_string_equal(json_string_value(json_object_get(line, "bytes")), "\xEF\xBF\xBD\x1b[31m");
    assert_string_equal(json_string_value(json_object_get(line, "absent")), "");
    assert_int_equal(json_object_size(line), 8);
    json_decref(line);
}

static void text_lines_are_harmless(void **state)
{
    (void)state;
    struct weir_err err;

    assert_int_equal(weir_log_open("svc", "debug,text", &err), WEIR_OK);
    capture();
    weir_log(WEIR_ERROR, "text line", WEIR_S("plain", "a.b"), WEIR_S("spaced", "a b"),
             WEIR_S("escape", "\x1b]0;x\a"),
             WEIR_S("c1", "\xC2\x9B"
                          "31m"),
             WEIR_S("empty", ""), WEIR_I("n", 7));
    weir_log(WEIR_INFO, "\x1b[2J");
    const char *text = captured();
    assert_int_equal(count_lines(text), 2);
    assert_string_equal(strchr(text, ' '),
                        strstr(text,
                               " ERROR text line plain=a.b spaced=\"a b\" "
                               "escape=\"\\u001b]0;x\\u0007\" c1=\"\\u009b31m\" empty=\"\" n=7\n"));
    assert_non_null(strstr(text, " info  \"\\u001b[2J\"\n"));
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct weir_err err;
    char *big = malloc(100001);

    for (size_t i = 0; i < 100000; i += 2)
        memcpy(big + i, "\xC3\xA9", 2);
    big[100000] = '\0';
    big[1] = big[0] = 'x'; /* so that the limit falls inside a character, or not, by turns */
    assert_int_equal(weir_log_open("svc", "info,json", &err), WEIR_OK);
    capture();
    weir_log(WEIR_WARN, "cut", WEIR_S("even", big), WEIR_S("odd", big + 1));
    json_t *line = json_loads(captured(), 0, NULL);
    assert_non_null(line);
    assert_int_equal(json_string_length(json_object_get(line, "even")), 2000);
    assert_int_equal(json_string_length(json_object_get(line, "odd")), 1999);
    json_decref(line);
    free(big);
}

static void repeated_lines_are_held_back(void **state)
{
    (void)state;
    struct weir_err err;
    size_t lines;

    assert_int_equal(weir_log_open("svc", "info,json", &err), WEIR_OK);
    capture();
    for (int i = 0; i < 100; i++)
        weir_log(WEIR_WARN, "repeated", WEIR_I("i", i));
    weir_log(WEIR_WARN, "another");
    lines = count_lines(captured());
    assert_int_equal(lines, 21);
}

static void *log_many(void *arg)
{
    char msg[32];
    for (int i = 0; i < 50; i++) {
        snprintf(msg, sizeof(msg), "thread message %d", i % 7);
        weir_log(WEIR_INFO, msg, WEIR_S("thread", arg), WEIR_I("i", i));
    }
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    (void)state;
    struct weir_err err;
    pthread_t threads[4];
    char names[4][600];

    assert_int_equal(weir_log_open("svc", "info,json", &err), WEIR_OK);
    capture();
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, sizeof(names[i]) - 1);
        names[i][sizeof(names[i]) - 1] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);

    char *text = strdup(captured()), *save = NULL;
    assert_int_equal(count_lines(text), 7 * 20);
    for (char *at = strtok_r(text, "\n", &save); at; at = strtok_r(NULL, "\n", &save)) {
        json_t *line = json_loads(at, 0, NULL);
        assert_non_null(line);
        json_decref(line);
    }
    free(text);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    free(capture_text);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_only_with_a_known_spec), cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(text_lines_are_harmless),      cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(repeated_lines_are_held_back), cmocka_unit_test(threads_do_not_mix_lines),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
