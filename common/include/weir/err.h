/* Errors as values: what to do about it, then what happened.
 *
 * A function that can fail returns WEIR_OK or a negative enum weir_fault and describes the failure
 * in the caller's struct weir_err. weir_fail() sets it where it is known, weir_wrap() puts context
 * in front of it on the way up ("customer 'c9': pg: connection refused"). Nothing allocates. */
#ifndef WEIR_ERR_H
#define WEIR_ERR_H

#include <stdarg.h>

#define WEIR_MUST_CHECK __attribute__((warn_unused_result))
#define WEIR_PRINTF(text, first) __attribute__((format(printf, text, first)))

enum weir_fault {
    WEIR_OK = 0,
    WEIR_BAD_INPUT = -1, /* this message can never succeed: dead-letter it, go on    */
    WEIR_RETRY = -2,     /* this message failed, others may not: again, a few times  */
    WEIR_TRY_LATER = -3, /* a dependency is away: pause everything, back off, probe  */
    WEIR_FATAL = -4,     /* bug or bad configuration: stop, commit nothing           */
};

struct weir_err {
    enum weir_fault fault;
    char text[240]; /* one line of UTF-8, outermost context first; too long: cut at a character */
};

/* Sets *err and returns fault, so that `return weir_fail(...)` reads as one act. Line breaks,
 * control characters and what is not UTF-8 are replaced; an argument may be err->text itself. */
int weir_fail(struct weir_err *err, enum weir_fault fault, const char *format, ...)
    WEIR_PRINTF(3, 4);

/* Puts "context: " in front of the text and returns the fault already there. */
int weir_wrap(struct weir_err *err, const char *format, ...) WEIR_PRINTF(2, 3);

/* "bad_input", "retry", "try_later", "fatal" or "ok", as in headers, logs and metrics. */
const char *weir_fault_name(enum weir_fault fault);

#endif
