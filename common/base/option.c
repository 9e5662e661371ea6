/* Options from the environment; see option.h.
 *
 * Reasons name the variable and quote a wrong value, but never a secret's. */
#include <weir/option.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MAX_FILE = 64 * 1024, MAX_NAME = 64 };

struct scale {
    const char *suffix;
    int64_t factor;
};

static const struct scale ms_scales[] = { { "", 1 },      { "ms", 1 },      { "s", 1000 },
                                          { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
                                          { NULL, 0 } };
static const struct scale byte_scales[] = { { "", 1 },          { "B", 1 },
                                            { "KiB", 1 << 10 }, { "MiB", 1 << 20 },
                                            { "GiB", 1 << 30 }, { NULL, 0 } };
static const struct scale plain_scales[] = { { "", 1 }, { NULL, 0 } };

/* What an option takes, in the words of --help, of reasons and of --describe. */
struct kind {
    const char *help, *reason, *json, *unit;
    const struct scale *scales; /* integers */
};

static const struct kind text_kind = { "text", "a text", "text", NULL, NULL };
static const struct kind bool_kind = { "yes|no", "true or false", "bool", NULL, NULL };
static const struct kind number_kind = { "number", "a number", "number", NULL, NULL };
static const struct kind int_kind = { "integer", "an integer", "int", NULL, plain_scales };
static const struct kind ms_kind = { "duration", "a duration", "int", "ms", ms_scales };
static const struct kind bytes_kind = { "size", "a size", "int", "bytes", byte_scales };

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static const struct kind *kind_of(const struct weir_option *option)
{
    switch (option->at.type) {
    case WEIR_TYPE_TEXT:
        return &text_kind;
    case WEIR_TYPE_BOOL:
    case WEIR_TYPE_OPT_BOOL:
        return &bool_kind;
    case WEIR_TYPE_NUMBER:
        return &number_kind;
    case WEIR_TYPE_INT:
    case WEIR_TYPE_OPT_INT:
        if (option->unit == WEIR_UNIT_MS ||
            (option->unit == WEIR_UNIT_NONE && ends_with(option->name, "_MS")))
            return &ms_kind;
        if (option->unit == WEIR_UNIT_BYTES ||
            (option->unit == WEIR_UNIT_NONE && ends_with(option->name, "_BYTES")))
            return &bytes_kind;
        return &int_kind;
    case WEIR_TYPE_LIST:
        break;
    }
    assert(!"an option is a scalar");
    return NULL;
}

/* ---- values ---- */

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = { "false", "true", "0", "1", "no", "yes" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

/* Digits, then one of the suffixes; a sign only where no unit is meant. */
static bool parse_int(const char *text, const struct scale *scales, int64_t *out)
{
    bool negative = *text == '-' && scales == plain_scales;
    const char *at = text + negative;
    int64_t value = 0;

    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return false;
    while (scales->suffix != NULL && strcmp(scales->suffix, at) != 0)
        scales++;
    if (scales->suffix == NULL || __builtin_mul_overflow(value, scales->factor, &value))
        return false;
    *out = negative ? -value : value;
    return true;
}

static bool parse_number(const char *text, double *out)
{
    char *end;

    if (*text == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

static int out_of_bounds(const struct weir_option *option, const struct kind *kind,
                         const char *text, bool below, struct weir_err *err)
{
    return weir_fail(err, WEIR_FATAL, "%s: %s is %s %.15g%s%s", option->name,
                     option->secret ? "the value" : text, below ? "below" : "above",
                     below ? option->min : option->max, kind->unit ? " " : "",
                     kind->unit ? kind->unit : "");
}

static int check_bounds(const struct weir_option *option, const struct kind *kind, double value,
                        const char *text, struct weir_err *err)
{
    if (option->min == 0 && option->max == 0)
        return WEIR_OK;
    if (value < option->min)
        return out_of_bounds(option, kind, text, true, err);
    if (option->max >= option->min && value > option->max)
        return out_of_bounds(option, kind, text, false, err);
    return WEIR_OK;
}

static int not_of_kind(const struct weir_option *option, const struct kind *kind, const char *text,
                       struct weir_err *err)
{
    if (option->secret)
        return weir_fail(err, WEIR_FATAL, "%s: the value is not %s", option->name, kind->reason);
    return weir_fail(err, WEIR_FATAL, "%s: '%.60s' is not %s", option->name, text, kind->reason);
}

static int check_choice(const struct weir_option *option, const char *text, weir_arena *arena,
                        struct weir_err *err)
{
    if (option->one_of == NULL)
        return WEIR_OK;

    const char *all = "";
    for (const char *const *choice = option->one_of; *choice; choice++) {
        if (strcmp(*choice, text) == 0)
            return WEIR_OK;
        all = weir_printf(arena, "%s%s%s", all, *all ? ", " : "", *choice);
    }
    if (option->secret)
        return weir_fail(err, WEIR_FATAL, "%s: the value is not one of %s", option->name, all);
    return weir_fail(err, WEIR_FATAL, "%s: '%.60s' is not one of %s", option->name, text, all);
}

static int store(const struct weir_option *option, const char *text, weir_arena *arena, void *out,
                 struct weir_err *err)
{
    const struct kind *kind = kind_of(option);
    void *member = (char *)out + option->at.offset;
    struct weir_opt_bool truth = { .set = true };
    struct weir_opt_int integer = { .set = true };
    double number;

    switch (option->at.type) {
    case WEIR_TYPE_TEXT:
        if (check_choice(option, text, arena, err) < 0)
            return err->fault;
        *(const char **)member = weir_strdup(arena, text);
        return WEIR_OK;

    case WEIR_TYPE_BOOL:
    case WEIR_TYPE_OPT_BOOL:
        if (!parse_bool(text, &truth.value))
            return not_of_kind(option, kind, text, err);
        if (option->at.type == WEIR_TYPE_BOOL)
            *(bool *)member = truth.value;
        else
            *(struct weir_opt_bool *)member = truth;
        return WEIR_OK;

    case WEIR_TYPE_INT:
    case WEIR_TYPE_OPT_INT:
        if (!parse_int(text, kind->scales, &integer.value))
            return not_of_kind(option, kind, text, err);
        if (check_bounds(option, kind, (double)integer.value, text, err) < 0)
            return err->fault;
        if (option->at.type == WEIR_TYPE_INT)
            *(int64_t *)member = integer.value;
        else
            *(struct weir_opt_int *)member = integer;
        return WEIR_OK;

    case WEIR_TYPE_NUMBER:
        if (!parse_number(text, &number))
            return not_of_kind(option, kind, text, err);
        if (check_bounds(option, kind, number, text, err) < 0)
            return err->fault;
        *(double *)member = number;
        return WEIR_OK;

    case WEIR_TYPE_LIST:
        break;
    }
    assert(!"an option is a scalar");
    return WEIR_FATAL;
}

/* ---- where values come from ---- */

/* The value of a variable whose name is name and suffix; NULL: unset or empty. */
static const char *lookup(char *const *env, const char *name, const char *suffix)
{
    size_t length = strlen(name), suffix_length = strlen(suffix);

    for (; *env != NULL; env++)
        if (strncmp(*env, name, length) == 0 &&
            strncmp(*env + length, suffix, suffix_length) == 0 &&
            (*env)[length + suffix_length] == '=')
            return (*env)[length + suffix_length + 1] ? *env + length + suffix_length + 1 : NULL;
    return NULL;
}

/* The file's content with one line break at its end taken off. */
static int read_file(const char *name, const char *path, weir_arena *arena, const char **out,
                     struct weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_fail(err, WEIR_FATAL, "%s_FILE: '%.100s': %s", name, path, strerror(errno));

    char *text = weir_alloc(arena, MAX_FILE + 1);
    size_t length = 0;
    ssize_t got = 0;
    while (length <= MAX_FILE && ((got = read(fd, text + length, MAX_FILE + 1 - length)) > 0 ||
                                  (got < 0 && errno == EINTR)))
        length += got > 0 ? (size_t)got : 0;
    int failed = got < 0 ? errno : 0;
    close(fd);

    if (failed)
        return weir_fail(err, WEIR_FATAL, "%s_FILE: '%.100s': %s", name, path, strerror(failed));
    if (length > MAX_FILE)
        return weir_fail(err, WEIR_FATAL, "%s_FILE: '%.100s': longer than 64 KiB", name, path);
    if (memchr(text, '\0', length) != NULL)
        return weir_fail(err, WEIR_FATAL, "%s_FILE: '%.100s': not a text", name, path);
    if (length > 0 && text[length - 1] == '\n')
        length--;
    if (length > 0 && text[length - 1] == '\r')
        length--;
    if (length == 0)
        return weir_fail(err, WEIR_FATAL, "%s_FILE: '%.100s': empty", name, path);
    text[length] = '\0';
    *out = text;
    return WEIR_OK;
}

static int read_option(const struct weir_option *option, char *const *env, weir_arena *arena,
                       void *out, struct weir_err *err)
{
    const char *text = lookup(env, option->name, "");
    const char *path = lookup(env, option->name, "_FILE");

    if (text != NULL && path != NULL)
        return weir_fail(err, WEIR_FATAL, "%s: both it and %s_FILE are set", option->name,
                         option->name);
    if (path != NULL && read_file(option->name, path, arena, &text, err) < 0)
        return err->fault;
    if (text == NULL)
        text = option->def;
    if (text != NULL)
        return store(option, text, arena, out, err);
    if (option->optional)
        return WEIR_OK;
    return weir_fail(err, WEIR_FATAL, "%s: missing", option->name);
}

int weir_options_read(const struct weir_option *options, char *const *env, weir_arena *arena,
                      void *out, struct weir_err *err)
{
    for (const struct weir_option *option = options; option && option->name; option++)
        if (read_option(option, env, arena, out, err) < 0)
            return err->fault;
    return WEIR_OK;
}

/* ---- unknown names ---- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to insert, drop, change or swap with their neighbour to make b of a (optimal string
 * alignment). */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][MAX_NAME + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];

    if (a_length > MAX_NAME || b_length > MAX_NAME)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *reuse = before;
        before = last;
        last = row;
        row = reuse;
    }
    return last[b_length];
}

/* Kubernetes describes each service of the namespace to every pod: WEIR_GATEWAY_SERVICE_HOST,
 * WEIR_GATEWAY_SERVICE_PORT_HTTP, WEIR_GATEWAY_PORT_8080_TCP_ADDR, WEIR_GATEWAY_PORT=tcp://... */
static bool is_service_link(const char *name, size_t length, const char *value)
{
    char copy[256];

    if (length >= sizeof(copy))
        return false;
    memcpy(copy, name, length);
    copy[length] = '\0';

    const char *port = strstr(copy, "_PORT_");
    return ends_with(copy, "_SERVICE_HOST") || strstr(copy, "_SERVICE_PORT") != NULL ||
           (port != NULL && port[6] >= '0' && port[6] <= '9') ||
           (ends_with(copy, "_PORT") &&
            (starts_with(value, "tcp://") || starts_with(value, "udp://")));
}

/* Whether a table has name, or the option whose file it names. *nearest is set to the option whose
 * name differs least, when it differs little. */
static bool is_known(const struct weir_option *const *tables, const char *name, size_t length,
                     const char **nearest)
{
    size_t bare = length > 5 && strncmp(name + length - 5, "_FILE", 5) == 0 ? length - 5 : 0;
    size_t best = length / 4 + 2; /* further off, a suggestion confuses */

    *nearest = NULL;
    for (; *tables != NULL; tables++) {
        for (const struct weir_option *option = *tables; option->name; option++) {
            size_t known = strlen(option->name);
            if ((known == length || known == bare) && memcmp(option->name, name, known) == 0)
                return true;
            size_t off = distance(name, length, option->name, known);
            if (off < best) {
                best = off;
                *nearest = option->name;
            }
        }
    }
    return false;
}

/* Of the stack, the `weir` command and the tests: an operator may have them in the same shell. */
static bool is_neighbour(const char *name, size_t length)
{
    static const char *const names[] = { "WEIR_SPEC", "WEIR_DATABASE_URL", "WEIR_BUILD", NULL };

    if (starts_with(name, "WEIR_STACK_") || starts_with(name, "WEIR_KAFKA_"))
        return true;
    for (const char *const *at = names; *at != NULL; at++)
        if (strlen(*at) == length && memcmp(*at, name, length) == 0)
            return true;
    return false;
}

int weir_options_unknown(const struct weir_option *const *tables, char *const *env,
                         const char *prefix, void (*warn)(void *arg, const char *line), void *arg,
                         struct weir_err *err)
{
    for (; *env != NULL; env++) {
        const char *name = *env, *nearest;
        size_t length = strcspn(name, "=");
        bool ours = starts_with(name, "WEIR_") && !is_neighbour(name, length);
        bool pipelines = prefix != NULL && starts_with(name, prefix);

        if ((!ours && !pipelines) || is_known(tables, name, length, &nearest) ||
            is_service_link(name, length, name + length + (name[length] == '=')))
            continue;

        struct weir_err line;
        const char *hint = nearest ? "; did you mean " : "", *mark = nearest ? "?" : "";
        weir_fail(&line, WEIR_FATAL, "%.*s: unknown%s%s%s", (int)least(length, 100), name, hint,
                  nearest ? nearest : "", mark);
        if (ours) {
            *err = line;
            return err->fault;
        }
        if (warn != NULL)
            warn(arg, line.text);
    }
    return WEIR_OK;
}

/* ---- what the table says of itself ---- */

static void print_kind(const struct weir_option *option, struct weir_buf *out)
{
    if (option->at.type != WEIR_TYPE_TEXT || option->one_of == NULL) {
        weir_buf_text(out, kind_of(option)->help);
        return;
    }
    for (const char *const *choice = option->one_of; *choice; choice++)
        weir_buf_printf(out, "%s%s", choice == option->one_of ? "" : "|", *choice);
}

void weir_options_help(const struct weir_option *options, struct weir_buf *out)
{
    int name_width = 0, kind_width = 0;
    WEIR_AUTO_BUF kind = { 0 };

    for (const struct weir_option *option = options; option && option->name; option++) {
        int length = (int)strlen(option->name);
        name_width = length > name_width ? length : name_width;
        weir_buf_clear(&kind);
        print_kind(option, &kind);
        if ((int)kind.length > kind_width && kind.length <= 20)
            kind_width = (int)kind.length;
    }
    for (const struct weir_option *option = options; option && option->name; option++) {
        weir_buf_clear(&kind);
        print_kind(option, &kind);
        weir_buf_printf(out, "  %-*s  %-*s  %s", name_width, option->name, kind_width, kind.data,
                        option->help ? option->help : "");
        if (option->def == NULL && !option->optional)
            weir_buf_text(out, " (required)");
        else if (option->def != NULL && *option->def != '\0' && !option->secret)
            weir_buf_printf(out, " (default %s)", option->def);
        weir_buf_char(out, '\n');
    }
}

static void text_or_null(struct weir_buf *out, const char *name, const char *text)
{
    weir_buf_printf(out, ",\"%s\":", name);
    if (text != NULL)
        weir_buf_json_text(out, text, strlen(text));
    else
        weir_buf_text(out, "null");
}

static void describe(const struct weir_option *option, struct weir_buf *out)
{
    const struct kind *kind = kind_of(option);
    bool required = option->def == NULL && !option->optional;

    weir_buf_text(out, "{\"name\":");
    weir_buf_json_text(out, option->name, strlen(option->name));
    text_or_null(out, "type", kind->json);
    text_or_null(out, "unit", kind->unit);
    text_or_null(out, "default", option->secret ? NULL : option->def);
    weir_buf_printf(out, ",\"required\":%s,\"secret\":%s", required ? "true" : "false",
                    option->secret ? "true" : "false");
    text_or_null(out, "help", option->help);
    if (option->min != 0 || option->max != 0) {
        weir_buf_printf(out, ",\"min\":%.17g", option->min);
        if (option->max >= option->min)
            weir_buf_printf(out, ",\"max\":%.17g", option->max);
    }
    if (option->one_of != NULL) {
        weir_buf_text(out, ",\"one_of\":[");
        for (const char *const *choice = option->one_of; *choice; choice++) {
            if (choice != option->one_of)
                weir_buf_char(out, ',');
            weir_buf_json_text(out, *choice, strlen(*choice));
        }
        weir_buf_char(out, ']');
    }
    weir_buf_char(out, '}');
}

void weir_options_describe(const struct weir_option *options, struct weir_buf *out)
{
    weir_buf_char(out, '[');
    for (const struct weir_option *option = options; option && option->name; option++) {
        if (option != options)
            weir_buf_char(out, ',');
        describe(option, out);
    }
    weir_buf_char(out, ']');
}
