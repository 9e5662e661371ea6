#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <weir/clock.h>

int cli_common_option(struct cli *cli, int option)
{
    switch (option) {
    case OPT_BROKERS:
        cli->brokers = optarg;
        return CLI_GO_ON;
    case OPT_JSON:
        cli->json = true;
        return CLI_GO_ON;
    case OPT_HELP:
        fputs(cli->command->usage, stdout);
        return EX_OK;
    default: /* getopt_long has said what is wrong */
        fputs(cli->command->usage, stderr);
        return EX_USAGE;
    }
}

bool cli_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    int64_t value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max) {
        cli_say("%s: not a number from %" PRId64 " to %" PRId64, option, min, max);
        return false;
    }
    *out = value;
    return true;
}

int64_t cli_iso_ms(const char *text, size_t length)
{
    struct tm tm = { 0 };
    char copy[64];
    int64_t ms = 0;

    if (length == 0 || length >= sizeof(copy))
        return -1;
    memcpy(copy, text, length);
    copy[length] = '\0';
    const char *at = strptime(copy, "%Y-%m-%d", &tm);
    if (at && (*at == 'T' || *at == ' '))
        at = strptime(at + 1, "%H:%M:%S", &tm);
    if (!at)
        return -1;
    if (*at == '.') {
        int64_t unit = 100;
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            ms += (*at - '0') * unit;
    }
    if (*at == 'Z')
        at++;
    return *at ? -1 : (int64_t)timegm(&tm) * 1000 + ms;
}

bool cli_time(const char *option, const char *text, int64_t *out_ms)
{
    char *end;
    errno = 0;
    int64_t age = strtoll(text, &end, 10);
    if (end > text && *end && end[1] == '\0' && age >= 0 && age < 1000000000 && !errno) {
        int64_t unit_ms = *end == 's'   ? 1000
                          : *end == 'm' ? 60000
                          : *end == 'h' ? 3600000
                          : *end == 'd' ? 86400000
                                        : 0;
        if (unit_ms) {
            *out_ms = weir_wall_ms() - age * unit_ms;
            return true;
        }
    }
    *out_ms = cli_iso_ms(text, strlen(text));
    if (*out_ms >= 0)
        return true;
    cli_say("%s: neither a time like 2026-11-25T10:00:00Z nor an age like 2h", option);
    return false;
}

void cli_say(const char *format, ...)
{
    va_list args;
    fputs("weir: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int cli_usage_error(const struct cli *cli, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "weir: %s: ", cli->command->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n%s", cli->command->usage);
    return EX_USAGE;
}

int cli_fail(const struct weir_err *err)
{
    cli_say("%s", err->text);
    switch (err->fault) {
    case WEIR_BAD_INPUT:
        return EX_DATAERR;
    case WEIR_FATAL:
        return EX_CONFIG;
    default:
        return EX_UNAVAILABLE;
    }
}

int cli_open_bus(const struct cli *cli, const struct weir_bus_events *on, weir_bus **out,
                 struct weir_err *err)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    if (!cli->brokers || !*cli->brokers)
        return weir_fail(err, WEIR_FATAL,
                         "no brokers: set WEIR_BROKERS or give --brokers "
                         "HOST:PORT");
    const char *name_space = getenv("WEIR_NAMESPACE");
    /* A command reads partitions one after the other; a fetch that waits at the end of one holds up
     * the next. */
    setenv("WEIR_KAFKA_FETCH_WAIT_MAX_MS", "10", 0);
    struct weir_bus_config config = {
        .url = weir_printf(arena, "kafka:%s", cli->brokers),
        .name_space = name_space ? name_space : "",
        .client_id = "weir",
        .env = environ,
    };
    if (on)
        config.on = *on;
    return weir_bus_open(&config, out, err);
}

int cli_partitions(weir_bus *bus, const char *topic, int32_t *count, struct weir_err *err)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_topic_info *topics;
    size_t topic_count;

    *count = 0;
    if (weir_bus_topics(bus, CLI_TIMEOUT_MS, arena, &topics, &topic_count, err) < 0)
        return err->fault;
    for (size_t i = 0; i < topic_count; i++)
        if (strcmp(topics[i].name, topic) == 0)
            *count = topics[i].partitions;
    return WEIR_OK;
}

static void json_name(struct weir_buf *out, const char *name)
{
    if (out->length && out->data[out->length - 1] != '{')
        weir_buf_char(out, ',');
    weir_buf_json_text(out, name, strlen(name));
    weir_buf_char(out, ':');
}

void cli_json_text(struct weir_buf *out, const char *name, const char *text)
{
    cli_json_bytes(out, name, text, text ? strlen(text) : 0);
}

void cli_json_bytes(struct weir_buf *out, const char *name, const void *bytes, size_t size_bytes)
{
    json_name(out, name);
    if (bytes)
        weir_buf_json_text(out, bytes, size_bytes);
    else
        weir_buf_text(out, "null");
}

void cli_json_int(struct weir_buf *out, const char *name, int64_t value)
{
    json_name(out, name);
    weir_buf_printf(out, "%" PRId64, value);
}

void cli_flush(struct weir_buf *out)
{
    if (out->length)
        fwrite(out->data, 1, out->length, stdout);
    weir_buf_clear(out);
}
