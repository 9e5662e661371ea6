/* Log lines; see log.h.
 *
 * A line is built in one buffer and leaves by one write(2), so that lines of several threads, and
 * of several processes on one pipe, do not mix. Sizes are bounded: a text is cut at MAX_TEXT bytes.
 */
#include <weir/log.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <weir/clock.h>
#include <weir/mem.h>

#include "base/utf8.h"

enum { MAX_TEXT = 2000, MAX_FIELDS = 32 };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

/* Set by weir_log_open(), before there are threads; atomic for those that tests start early. */
static const char *_Atomic service_name = "";
static _Atomic int lowest = WEIR_INFO;
static _Atomic int as_text = -1; /* -1: not yet opened, ask the terminal */

int weir_log_open(const char *service, const char *spec, struct weir_err *err)
{
    int level = WEIR_INFO, text = -1;

    if (spec != NULL && *spec != '\0') {
        size_t length = strcspn(spec, ",");
        const char *form = spec[length] == ',' ? spec + length + 1 : NULL;

        for (level = WEIR_ERROR; level >= WEIR_DEBUG; level--)
            if (strlen(level_names[level]) == length &&
                memcmp(level_names[level], spec, length) == 0)
                break;
        if (level < WEIR_DEBUG)
            return weir_fail(err, WEIR_FATAL,
                             "WEIR_LOG: '%.20s' is not debug, info, warn or error, "
                             "optionally with ,json or ,text",
                             spec);
        if (form != NULL && strcmp(form, "json") != 0 && strcmp(form, "text") != 0)
            return weir_fail(err, WEIR_FATAL, "WEIR_LOG: '%.20s' is not json or text", form);
        if (form != NULL)
            text = strcmp(form, "text") == 0;
    }
    service_name = service;
    lowest = level;
    as_text = text == -1 ? isatty(STDERR_FILENO) : text;
    return WEIR_OK;
}

/* ---- rate limit ----
 * A message text is known by its hash. Texts that share a set push out the one whose window is
 * oldest; what was held back of that one is then no longer told, which a limiter of bounded size
 * cannot avoid. */

enum { WINDOW_MS = 10000, LINES = 20, SETS = 64, WAYS = 4 };

struct window {
    uint64_t text; /* hash; 0: free */
    int64_t start_ms;
    int64_t lines, held_back;
};

static pthread_mutex_t windows_lock = PTHREAD_MUTEX_INITIALIZER;
static struct window windows[SETS][WAYS];

static uint64_t hash_of(enum weir_level level, const char *msg)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) + (uint64_t)level; /* FNV-1a */
    for (; *msg; msg++)
        hash = (hash ^ (unsigned char)*msg) * UINT64_C(0x100000001B3);
    return hash | 1;
}

/* Says whether the line may be written, and how many were held back before it. */
static bool admit(enum weir_level level, const char *msg, int64_t *held_back)
{
    uint64_t hash = hash_of(level, msg);
    int64_t now = weir_mono_ms();
    bool yes;

    pthread_mutex_lock(&windows_lock);
    struct window *set = windows[hash >> 1 & (SETS - 1)], *found = NULL;
    for (int i = 0; i < WAYS && found == NULL; i++)
        if (set[i].text == hash)
            found = &set[i];
    if (found == NULL) {
        found = &set[0];
        for (int i = 1; i < WAYS; i++)
            if (set[i].text == 0 || (found->text != 0 && set[i].start_ms < found->start_ms))
                found = &set[i];
        *found = (struct window){ .text = hash, .start_ms = now };
    } else if (now - found->start_ms >= WINDOW_MS) {
        found->start_ms = now;
        found->lines = 0;
    }
    yes = found->lines < LINES;
    if (yes) {
        found->lines++;
        *held_back = found->held_back;
        found->held_back = 0;
    } else {
        found->held_back++;
    }
    pthread_mutex_unlock(&windows_lock);
    return yes;
}

/* ---- the two forms ---- */

/* The length at which text is cut: at a character, when it is too long. */
static size_t cut(const char *text)
{
    size_t length = strnlen(text, MAX_TEXT + 1);
    if (length <= MAX_TEXT)
        return length;
    length = MAX_TEXT;
    while (length > MAX_TEXT - 4 && ((unsigned char)text[length] & 0xC0) == 0x80)
        length--;
    return length;
}

static void json_value(struct weir_buf *line, const struct weir_log_field *field)
{
    if (field->text != NULL)
        weir_buf_json_text(line, field->text, cut(field->text));
    else
        weir_buf_printf(line, "%lld", (long long)field->number);
}

static void json_head(struct weir_buf *line, enum weir_level level, const char *time,
                      const char *msg)
{
    weir_buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"service\":", time,
                    level_names[level]);
    const char *service = service_name;
    weir_buf_json_text(line, service, strlen(service));
    weir_buf_text(line, ",\"msg\":");
    weir_buf_json_text(line, msg, cut(msg));
}

static void json_field(struct weir_buf *line, const struct weir_log_field *field)
{
    weir_buf_char(line, ',');
    weir_buf_json_text(line, field->name, strlen(field->name));
    weir_buf_char(line, ':');
    json_value(line, field);
}

/* A terminal obeys control characters, so a text that holds any is shown quoted and escaped. */
static void text_value(struct weir_buf *line, const char *text, const char *quoted_for)
{
    size_t length = cut(text);
    bool plain = length > 0;

    for (size_t i = 0; i < length && plain;) {
        const unsigned char *at = (const unsigned char *)text + i;
        size_t size = weir_utf8_length(at, length - i);
        plain = size > 0 && *at >= 0x20 && *at != 0x7F && strchr(quoted_for, *at) == NULL &&
                !(size == 2 && at[0] == 0xC2 && at[1] < 0xA0);
        i += size;
    }
    if (plain)
        weir_buf_add(line, text, length);
    else
        weir_buf_json_text(line, text, length);
}

static void text_head(struct weir_buf *line, enum weir_level level, const char *time,
                      const char *msg)
{
    static const char *const labels[] = { "debug", "info ", "WARN ", "ERROR" };
    weir_buf_printf(line, "%.12s %s ", time + 11, labels[level]);
    text_value(line, msg, "");
}

static void text_field(struct weir_buf *line, const struct weir_log_field *field)
{
    weir_buf_printf(line, " %s=", field->name);
    if (field->text != NULL)
        text_value(line, field->text, " \"=\\");
    else
        weir_buf_printf(line, "%lld", (long long)field->number);
}

/* ---- a line ---- */

static void write_line(const struct weir_buf *line)
{
    for (size_t done = 0; done < line->length;) {
        ssize_t wrote = write(STDERR_FILENO, line->data + done, line->length - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return; /* nobody to tell */
        done += (size_t)wrote;
    }
}

void weir_log_fields(enum weir_level level, const char *msg, ...)
{
    int64_t held_back = 0;

    if ((int)level < lowest || !admit(level, msg, &held_back))
        return;

    int saved = errno; /* callers log, then look at errno */
    int form = as_text;
    bool text = form == -1 ? isatty(STDERR_FILENO) : form == 1;
    WEIR_AUTO_BUF line = { 0 };
    char time[WEIR_ISO_SIZE];
    va_list args;

    weir_iso_time(weir_wall_ms(), time);
    (text ? text_head : json_head)(&line, level, time, msg);
    va_start(args, msg);
    for (int i = 0; i < MAX_FIELDS; i++) {
        struct weir_log_field field = va_arg(args, struct weir_log_field);
        if (field.name == NULL)
            break;
        (text ? text_field : json_field)(&line, &field);
    }
    va_end(args);
    if (held_back > 0)
        (text ? text_field : json_field)(&line, &WEIR_I("suppressed", held_back));
    weir_buf_text(&line, text ? "\n" : "}\n");
    write_line(&line);
    errno = saved;
}
