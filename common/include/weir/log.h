/* Log lines on standard error: JSON, or text when it is a terminal.
 *
 *     {"time":"2026-11-25T10:00:00.000Z","level":"info","service":"x","msg":"...", fields}
 *
 * Fields are ids, row numbers and reasons: never payload, names, addresses or secrets. Safe from
 * any thread. Call sites that repeat are limited: 20 lines of one message text in 10 s; what was
 * held back is counted in the next line, "suppressed". */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <stdint.h>

#include <weir/err.h>

enum weir_level { WEIR_DEBUG, WEIR_INFO, WEIR_WARN, WEIR_ERROR };

/* spec is WEIR_LOG's value: "level[,json|text]" or NULL. FATAL when malformed. service is kept, not
 * copied. */
WEIR_MUST_CHECK int weir_log_open(const char *service, const char *spec, struct weir_err *err);

/* One line. fields: name, value pairs built by WEIR_S (text), WEIR_I (integer), ended by the macro:
 *     weir_log(WEIR_WARN, "dead letter", WEIR_S("topic", topic), WEIR_I("offset", offset)); */
#define weir_log(level, ...) weir_log_fields(level, __VA_ARGS__, (struct weir_log_field){ 0 })

struct weir_log_field {
    const char *name;
    const char *text; /* NULL: number */
    int64_t number;
};
#define WEIR_S(name_, text_) weir_log_text((name_), (text_))
#define WEIR_I(name_, number_) ((struct weir_log_field){ (name_), NULL, (int64_t)(number_) })

/* A function, as gcc warns of `array ? array : ""` in a macro. */
static inline struct weir_log_field weir_log_text(const char *name, const char *text)
{
    return (struct weir_log_field){ name, text ? text : "", 0 };
}

/* What the macro calls: struct weir_log_field by value, ended by { 0 }. */
void weir_log_fields(enum weir_level level, const char *msg, ...);

#endif
