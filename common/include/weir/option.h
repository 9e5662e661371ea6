/* Options: environment variables described by a table.
 *
 * A value comes from NAME, or from the file named by NAME_FILE (trailing line break dropped; for
 * secrets). An empty variable counts as unset, as compose files pass those on as empty. The
 * member's type decides how a value is read: text; bool (true/false/1/0/yes/no); double; int64_t by
 * its unit: milliseconds as "250ms", "2s", "5m", "1h", "7d" or a plain number, bytes as "64KiB",
 * "16MiB", "1GiB" or a plain number. */
#ifndef WEIR_OPTION_H
#define WEIR_OPTION_H

#include <weir/at.h>
#include <weir/err.h>
#include <weir/mem.h>

/* NONE: by the variable's name, which ends in _MS or _BYTES, else a plain number. */
enum weir_unit { WEIR_UNIT_NONE, WEIR_UNIT_MS, WEIR_UNIT_BYTES };

struct weir_option {
    const char *name; /* the variable, UPPER_SNAKE */
    struct weir_at at;
    enum weir_unit unit; /* INT only */
    const char *def;     /* default, written as a user would; NULL: the option is required */
    bool optional;       /* with def NULL: may be unset (text NULL) */
    bool secret;         /* never shown, not by --describe or a log */
    /* Numbers: inclusive bounds (in ms or bytes) when not both 0. A max below min: no upper one. */
    double min, max;
    const char *const *one_of; /* text: the allowed values */
    const char *help;          /* one line */
};

/* Reads the table's variables from env (an environ) into *out (zeroed by the caller). Text is
 * copied into arena. FATAL, one line that names the variable: missing, unreadable file, both NAME
 * and NAME_FILE, not of the type, out of bounds. The line never shows a secret's value. */
WEIR_MUST_CHECK int weir_options_read(const struct weir_option *options, char *const *env,
                                      weir_arena *arena, void *out, struct weir_err *err);

/* Looks for variables that no table knows. tables is NULL-terminated. FATAL with the nearest known
 * name for an unknown WEIR_* one, except WEIR_KAFKA_*, WEIR_STACK_* and what Kubernetes sets for
 * services whose name begins with "weir-". For prefix (such as "SHELF_HELP_"; may be NULL) unknown
 * names are reported through warn(arg, line), as they may be a sister service's. */
WEIR_MUST_CHECK int weir_options_unknown(const struct weir_option *const *tables, char *const *env,
                                         const char *prefix,
                                         void (*warn)(void *arg, const char *line), void *arg,
                                         struct weir_err *err);

/* --help: name, unit or choices, default and help, aligned, to out. */
void weir_options_help(const struct weir_option *options, struct weir_buf *out);

/* --describe: a JSON array of objects {name, type, unit, default, required, secret, help} and,
 * where the row has them, min, max and one_of. Never a value; no default of a secret. */
void weir_options_describe(const struct weir_option *options, struct weir_buf *out);

#endif
