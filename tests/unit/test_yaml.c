/* YAML: types of scalars, what is refused, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/mem.h>
#include <weir/yaml.h>

static void reads_core_schema(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "a: 1", "{\"a\":1}" },
        { "[null, Null, NULL, ~, '', \"\"]", "[null,null,null,null,\"\",\"\"]" },
        { "a:\nb: ", "{\"a\":null,\"b\":null}" },
        { "[true, True, TRUE, false, yes, no, on, off, y]",
          "[true,true,true,false,\"yes\",\"no\",\"on\",\"off\",\"y\"]" },
        { "[0, -1, +2, 007, 0o17, 0xff, -0x1, 1_000]", "[0,-1,2,7,15,255,\"-0x1\",\"1_000\"]" },
        { "[1.5, .5, 1., -1e3, 1e-2, 1e, e1, ., 1.2.3, 5:30]",
          "[1.5,0.5,1.0,-1000.0,0.01,\"1e\",\"e1\",\".\",\"1.2.3\",\"5:30\"]" },
        { "['1', \"true\", !!str 5, ! 6, 2026-11-25]",
          "[\"1\",\"true\",\"5\",\"6\",\"2026-11-25\"]" },
        { "a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}" },
        { "# comment\n---\n- x: {y: [1]}\n- []\n...\n", "[{\"x\":{\"y\":[1]}},[]]" },
        { "200: ok\nnull: n", "{\"200\":\"ok\",\"null\":\"n\"}" },
        { "--- 5", "5" },
        { "caf\xC3\xA9: \xE2\x82\xAC", "{\"caf\xC3\xA9\":\"\xE2\x82\xAC\"}" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *root = NULL;
        struct weir_err err = { 0 };
        int fault = weir_yaml_parse("t.yaml", rows[i][0], strlen(rows[i][0]), &root, &err);
        assert_string_equal(err.text, "");
        assert_int_equal(fault, WEIR_OK);
        char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
        assert_string_equal(text, rows[i][1]);
        free(text);
        json_decref(root);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "", "t.yaml:1: no document" },
        { "# nothing\n", "t.yaml:2: no document" },
        { "a: 1\nb: 2\na: 3\n", "t.yaml:3: duplicate key 'a'" },
        { "a: 1\n'a': 3\n", "t.yaml:2: duplicate key 'a'" },
        { "x:\n  a: &p 1\n", "t.yaml:2: anchors are not allowed" },
        { "x: &p\n  a: 1\n", "t.yaml:1: anchors are not allowed" },
        { "x: &p [1]\n", "t.yaml:1: anchors are not allowed" },
        { "x: *p\n", "t.yaml:1: aliases are not allowed" },
        { "*p : x\n", "t.yaml:1: a key that is no scalar" },
        { "[1]: x\n", "t.yaml:1: a key that is no scalar" },
        { "x: !!binary aGVsbG8=\n", "t.yaml:1: tags are not allowed" },
        { "x: !local {}\n", "t.yaml:1: tags are not allowed" },
        { "x: !!int '5'\n", "t.yaml:1: tags are not allowed" },
        { "a: 1\n---\nb: 2\n", "t.yaml:2: more than one document" },
        { "a:\n - b\n c: d\n", "t.yaml:3: did not find expected '-' indicator" },
        { "a: [1, 2\n", "t.yaml:2: did not find expected ',' or ']'" },
        { "a: 'x\n", "t.yaml:2: found unexpected end of stream" },
        { "\n\na: 99999999999999999999\n", "t.yaml:3: an integer beyond 64 bits" },
        { "a: .inf\n", "t.yaml:1: not a finite number" },
        { "a: -.INF\n", "t.yaml:1: not a finite number" },
        { "a: .nan\n", "t.yaml:1: not a finite number" },
        { "a: 1e999\n", "t.yaml:1: not a finite number" },
        { "a: \"x\\0y\"\n", "t.yaml:1: U+0000 is not allowed" },
        { "a: b\nc: \xFF\n", "t.yaml:2: invalid leading UTF-8 octet" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *root = NULL;
        struct weir_err err = { 0 };
        int fault = weir_yaml_parse("t.yaml", rows[i][0], strlen(rows[i][0]), &root, &err);
        assert_string_equal(err.text, rows[i][1]);
        assert_int_equal(fault, WEIR_FATAL);
        assert_null(root);
    }
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    for (int depth = 60; depth < 70; depth++) {
        WEIR_AUTO_BUF text = { 0 };
        json_t *root = NULL;
        struct weir_err err;
        for (int i = 0; i < depth; i++)
            weir_buf_char(&text, '[');
        for (int i = 0; i < depth; i++)
            weir_buf_char(&text, ']');
        int fault = weir_yaml_parse("t.yaml", text.data, text.length, &root, &err);
        assert_int_equal(fault, depth <= 64 ? WEIR_OK : WEIR_FATAL);
        json_decref(root);
    }
}

static void loads_files(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-test-yaml-XXXXXX";
    int fd = mkstemp(path);
    json_t *root = NULL;
    struct weir_err err;

    assert_int_equal(write(fd, "a: [1, x]\n", 10), 10);
    close(fd);
    assert_int_equal(weir_yaml_load(path, 10, &root, &err), WEIR_OK);
    assert_int_equal(json_array_size(json_object_get(root, "a")), 2);
    json_decref(root);

    root = NULL;
    assert_int_equal(weir_yaml_load(path, 9, &root, &err), WEIR_FATAL);
    assert_non_null(strstr(err.text, ": longer than 9 bytes"));
    unlink(path);
    assert_int_equal(weir_yaml_load(path, 9, &root, &err), WEIR_FATAL);
    assert_non_null(strstr(err.text, ": No such file or directory"));
    assert_int_equal(weir_yaml_load("/", 9, &root, &err), WEIR_FATAL);
    assert_string_equal(err.text, "/: Is a directory");
    assert_null(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_core_schema),
        cmocka_unit_test(refuses),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(loads_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
