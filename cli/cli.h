/* What the commands of `weir` share: options, exit statuses, the way to the broker, output.
 *
 * Exit statuses are those of sysexits.h: 64 usage, 65 bad data, 69 a server can't be reached, 74
 * output can't be written, 78 configuration. 1: `topics diff` found a difference. */
#ifndef WEIR_CLI_H
#define WEIR_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <sysexits.h>

#include <weir/bus.h>
#include <weir/err.h>
#include <weir/mem.h>

enum { CLI_DIFFERENCE = 1, CLI_GO_ON = -1 };
enum { CLI_TIMEOUT_MS = 10000 }; /* of one question to a server */

struct command;

struct cli {
    const struct command *command;
    const char *brokers; /* --brokers, else WEIR_BROKERS, else NULL */
    bool json;           /* --json */
};

struct command {
    const char *name, *summary;
    const char *usage; /* whole help text */
    /* argv[0] is "weir", options and arguments follow. Returns the exit status. */
    int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct command topics_command, publish_command, migrate_command, lag_command,
    dlq_command, describe_command;

/* ---- options: each command's table ends with CLI_OPTIONS ---- */

enum { OPT_BROKERS = 256, OPT_JSON, OPT_HELP, OPT_OWN /* a command's own start here */ };

// clang-format off
#define CLI_OPTIONS                                     \
    { "brokers", required_argument, NULL, OPT_BROKERS }, \
    { "json", no_argument, NULL, OPT_JSON },            \
    { "help", no_argument, NULL, OPT_HELP },            \
    { NULL, 0, NULL, 0 }
// clang-format on

/* Takes an option that is not the command's own: CLI_GO_ON, or the exit status to return. */
int cli_common_option(struct cli *cli, int option);

/* A whole number within bounds; false, after a line on stderr, when text is none. */
bool cli_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *out);

/* A time: "2026-11-25T10:00:00" with optional fraction and Z, "2026-11-25" (UTC), or an age: "90s",
 * "30m", "2h", "7d". Same failure. */
bool cli_time(const char *option, const char *text, int64_t *out_ms);

/* An ISO time as in records' headers; -1 when it is none. */
int64_t cli_iso_ms(const char *text, size_t length);

/* ---- failures ---- */

/* One line on stderr, "weir: ...". */
void cli_say(const char *format, ...) WEIR_PRINTF(1, 2);

/* The line, then the command's usage; returns EX_USAGE. */
int cli_usage_error(const struct cli *cli, const char *format, ...) WEIR_PRINTF(2, 3);

/* The line of err, and the exit status for its fault. */
int cli_fail(const struct weir_err *err);

/* ---- broker ---- */

/* Opens a bus without a group; on may be NULL. FATAL: no brokers given. */
WEIR_MUST_CHECK int cli_open_bus(const struct cli *cli, const struct weir_bus_events *on,
                                 weir_bus **out, struct weir_err *err);

/* The topic's partition count, 0 when there is no such topic. */
WEIR_MUST_CHECK int cli_partitions(weir_bus *bus, const char *topic, int32_t *count,
                                   struct weir_err *err);

/* ---- output ---- */

/* Appends "name": and the value as JSON; a comma first unless the object was just opened. */
void cli_json_text(struct weir_buf *out, const char *name, const char *text); /* NULL: null */
void cli_json_bytes(struct weir_buf *out, const char *name, const void *bytes, size_t size_bytes);
void cli_json_int(struct weir_buf *out, const char *name, int64_t value);

/* Writes the buffer to standard output and empties it. */
void cli_flush(struct weir_buf *out);

#endif
