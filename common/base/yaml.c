/* YAML files; see yaml.h. The only file that includes yaml.h of libyaml. */
#include <weir/yaml.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#include <weir/mem.h>

enum { MAX_DEPTH = 64 };

struct reader {
    yaml_parser_t parser;
    const char *name, *text;
    size_t length;
    struct weir_err *err;
    int depth;
};

#define FAIL(reader, mark, format, ...)                                                            \
    weir_fail((reader)->err, WEIR_FATAL, "%s:%zu: " format, (reader)->name, (mark).line + 1,       \
              __VA_ARGS__)

static int next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event))
        return WEIR_OK;
    const yaml_parser_t *parser = &reader->parser;
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR) { /* of a wrong byte it tells the offset alone */
        mark.line = 0;
        for (size_t i = 0; i < parser->problem_offset && i < reader->length; i++)
            mark.line += reader->text[i] == '\n';
    }
    return FAIL(reader, mark, "%s", parser->problem ? parser->problem : "out of memory");
}

/* ---- scalars: YAML 1.2.2, section 10.3.2 ---- */

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(*words, text) == 0)
            return true;
    return false;
}

static bool all_of(const char *text, const char *set)
{
    return *text != '\0' && text[strspn(text, set)] == '\0';
}

static bool is_float(const char *text)
{
    static const char digits[] = "0123456789";
    text += *text == '-' || *text == '+';
    size_t whole = strspn(text, digits), part = 0;
    text += whole;
    if (*text == '.') {
        part = strspn(++text, digits);
        text += part;
    }
    if (whole == 0 && part == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        return all_of(text, digits);
    }
    return *text == '\0';
}

static int read_integer(struct reader *reader, const yaml_event_t *event, const char *digits,
                        int base, json_t **out)
{
    errno = 0;
    long long number = strtoll(digits, NULL, base);
    if (errno == ERANGE)
        return FAIL(reader, event->start_mark, "%s", "an integer beyond 64 bits");
    *out = json_integer(number);
    return WEIR_OK;
}

static int read_plain(struct reader *reader, const yaml_event_t *event, const char *text,
                      json_t **out)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
    static const char *const trues[] = { "true", "True", "TRUE", NULL };
    static const char *const falses[] = { "false", "False", "FALSE", NULL };
    static const char *const unreal[] = { ".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL };
    const char *unsigned_text = text + (*text == '-' || *text == '+');

    if (is_one_of(text, nulls)) {
        *out = json_null();
    } else if (is_one_of(text, trues)) {
        *out = json_true();
    } else if (is_one_of(text, falses)) {
        *out = json_false();
    } else if (all_of(unsigned_text, "0123456789")) {
        return read_integer(reader, event, text, 10, out);
    } else if (strncmp(text, "0o", 2) == 0 && all_of(text + 2, "01234567")) {
        return read_integer(reader, event, text + 2, 8, out);
    } else if (strncmp(text, "0x", 2) == 0 && all_of(text + 2, "0123456789abcdefABCDEF")) {
        return read_integer(reader, event, text + 2, 16, out);
    } else if (is_one_of(unsigned_text, unreal)) {
        return FAIL(reader, event->start_mark, "%s", "not a finite number");
    } else if (is_float(text)) {
        double number = strtod(text, NULL);
        if (!isfinite(number))
            return FAIL(reader, event->start_mark, "%s", "not a finite number");
        *out = json_real(number);
    } else {
        *out = json_string(text);
    }
    return WEIR_OK;
}

/* Checks what is common to keys and values and gives the text. */
static int scalar_text(struct reader *reader, const yaml_event_t *event, const char **out)
{
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;

    if (event->data.scalar.anchor != NULL)
        return FAIL(reader, event->start_mark, "%s", "anchors are not allowed");
    if (tag != NULL && strcmp(tag, "!") != 0 && strcmp(tag, YAML_STR_TAG) != 0)
        return FAIL(reader, event->start_mark, "%s", "tags are not allowed");
    if (memchr(text, '\0', event->data.scalar.length) != NULL)
        return FAIL(reader, event->start_mark, "%s", "U+0000 is not allowed");
    *out = text;
    return WEIR_OK;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, json_t **out)
{
    const char *text;

    if (scalar_text(reader, event, &text) < 0)
        return reader->err->fault;
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && event->data.scalar.tag == NULL) {
        if (read_plain(reader, event, text, out) < 0)
            return reader->err->fault;
    } else {
        *out = json_string(text);
    }
    if (*out == NULL)
        return FAIL(reader, event->start_mark, "%s", "a text that is not UTF-8");
    return WEIR_OK;
}

/* ---- nodes ---- */

static int read_node(struct reader *reader, const yaml_event_t *event, json_t **out);

/* Reads the node that begins with the next event; *end is set instead when that is the event
 * `last`. */
static int read_next(struct reader *reader, yaml_event_type_t last, json_t **out, bool *end)
{
    yaml_event_t event;

    if (next_event(reader, &event) < 0)
        return reader->err->fault;
    *end = event.type == last;
    int fault = *end ? WEIR_OK : read_node(reader, &event, out);
    yaml_event_delete(&event);
    return fault;
}

static int read_sequence(struct reader *reader, json_t *array)
{
    for (;;) {
        json_t *item = NULL;
        bool end = false;
        if (read_next(reader, YAML_SEQUENCE_END_EVENT, &item, &end) < 0)
            return reader->err->fault;
        if (end)
            return WEIR_OK;
        json_array_append_new(array, item);
    }
}

static int read_pair(struct reader *reader, const yaml_event_t *key, json_t *object)
{
    const char *name = NULL;
    json_t *value = NULL;
    bool end = false;

    if (key->type != YAML_SCALAR_EVENT)
        return FAIL(reader, key->start_mark, "%s", "a key that is no scalar");
    if (scalar_text(reader, key, &name) < 0)
        return reader->err->fault;
    if (json_object_get(object, name) != NULL)
        return FAIL(reader, key->start_mark, "duplicate key '%.60s'", name);
    if (read_next(reader, YAML_NO_EVENT, &value, &end) < 0)
        return reader->err->fault;
    if (json_object_set_new(object, name, value) < 0)
        return FAIL(reader, key->start_mark, "%s", "a key that is not UTF-8");
    return WEIR_OK;
}

static int read_mapping(struct reader *reader, json_t *object)
{
    for (;;) {
        yaml_event_t key;
        if (next_event(reader, &key) < 0)
            return reader->err->fault;
        bool end = key.type == YAML_MAPPING_END_EVENT;
        int fault = end ? WEIR_OK : read_pair(reader, &key, object);
        yaml_event_delete(&key);
        if (end || fault < 0)
            return fault;
    }
}

static int read_collection(struct reader *reader, const yaml_event_t *event, json_t **out)
{
    bool mapping = event->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor =
        mapping ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
    const yaml_char_t *tag =
        mapping ? event->data.mapping_start.tag : event->data.sequence_start.tag;

    if (anchor != NULL)
        return FAIL(reader, event->start_mark, "%s", "anchors are not allowed");
    if (tag != NULL)
        return FAIL(reader, event->start_mark, "%s", "tags are not allowed");
    if (++reader->depth > MAX_DEPTH)
        return FAIL(reader, event->start_mark, "nested deeper than %d levels", MAX_DEPTH);

    json_t *node = mapping ? json_object() : json_array();
    int fault = mapping ? read_mapping(reader, node) : read_sequence(reader, node);
    reader->depth--;
    if (fault < 0) {
        json_decref(node);
        return fault;
    }
    *out = node;
    return WEIR_OK;
}

static int read_node(struct reader *reader, const yaml_event_t *event, json_t **out)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event, out);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return read_collection(reader, event, out);
    case YAML_ALIAS_EVENT:
        return FAIL(reader, event->start_mark, "%s", "aliases are not allowed");
    default:
        return FAIL(reader, event->start_mark, "%s", "a value was expected");
    }
}

/* Stream start, document start, the node, document end, stream end. */
static int read_stream(struct reader *reader, json_t **out)
{
    static const yaml_event_type_t before[] = { YAML_STREAM_START_EVENT,
                                                YAML_DOCUMENT_START_EVENT };
    static const yaml_event_type_t after[] = { YAML_DOCUMENT_END_EVENT, YAML_STREAM_END_EVENT };
    yaml_event_t event;
    bool end = false;

    for (size_t i = 0; i < 2; i++) {
        if (next_event(reader, &event) < 0)
            return reader->err->fault;
        yaml_event_type_t type = event.type;
        yaml_mark_t mark = event.start_mark;
        yaml_event_delete(&event);
        if (type != before[i])
            return FAIL(reader, mark, "%s", "no document");
    }
    if (read_next(reader, YAML_NO_EVENT, out, &end) < 0)
        return reader->err->fault;
    for (size_t i = 0; i < 2; i++) {
        if (next_event(reader, &event) < 0)
            return reader->err->fault;
        yaml_event_type_t type = event.type;
        yaml_mark_t mark = event.start_mark;
        yaml_event_delete(&event);
        if (type != after[i])
            return FAIL(reader, mark, "%s", "more than one document");
    }
    return WEIR_OK;
}

int weir_yaml_parse(const char *name, const void *text, size_t length, struct json_t **out,
                    struct weir_err *err)
{
    struct reader reader = { .name = name, .text = text, .err = err, .length = length };
    json_t *root = NULL;

    if (!yaml_parser_initialize(&reader.parser))
        return weir_fail(err, WEIR_FATAL, "%s: out of memory", name);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
    int fault = read_stream(&reader, &root);
    yaml_parser_delete(&reader.parser);
    if (fault < 0) {
        json_decref(root);
        return fault;
    }
    *out = root;
    return WEIR_OK;
}

int weir_yaml_load(const char *path, size_t max_bytes, struct json_t **out, struct weir_err *err)
{
    WEIR_AUTO_BUF text = { .max_bytes = max_bytes };
    char piece[8192];
    ssize_t got;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail(err, WEIR_FATAL, "%s: %s", path, strerror(errno));
    do {
        got = read(fd, piece, sizeof(piece));
        if (got > 0)
            weir_buf_add(&text, piece, (size_t)got);
    } while ((got > 0 && !text.failed) || (got < 0 && errno == EINTR));
    int failed = got < 0 ? errno : 0;
    close(fd);

    if (failed)
        return weir_fail(err, WEIR_FATAL, "%s: %s", path, strerror(failed));
    if (text.failed)
        return weir_fail(err, WEIR_FATAL, "%s: longer than %zu bytes", path, max_bytes);
    return weir_yaml_parse(path, text.data ? text.data : "", text.length, out, err);
}
