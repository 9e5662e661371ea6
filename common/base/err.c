/* Errors as values: see err.h. */
#include <weir/err.h>

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Drivers' messages come with line breaks, and what they quote may be any bytes. Whoever shows the
 * text (a log, a terminal, a record's header) may rely on one clean line. */
static void set_text(struct weir_err *err, const char *text)
{
    size_t length = strlen(text), used = 0;
    char last = ' ';

    for (size_t i = 0; i < length;) {
        const unsigned char *at = (const unsigned char *)text + i;
        size_t size = weir_utf8_length(at, length - i);
        bool control = *at < 0x20 || *at == 0x7F || (size == 2 && at[0] == 0xC2 && at[1] < 0xA0);

        if (size == 0 || control) {
            char mark = size == 0 ? '?' : ' ';
            i += size == 0 ? 1 : size;
            if (mark == ' ' && last == ' ')
                continue;
            if (used + 1 >= sizeof(err->text))
                break;
            last = err->text[used++] = mark;
            continue;
        }
        if (used + size >= sizeof(err->text))
            break;
        memcpy(err->text + used, at, size);
        used += size;
        i += size;
        last = err->text[used - 1];
    }
    while (used > 0 && err->text[used - 1] == ' ')
        used--;
    err->text[used] = '\0';
}

/* Longer than the text kept, so that collapsing control characters does not shorten it needlessly.
 */
enum { ROOM = 2 * sizeof(((struct weir_err *)0)->text) };

int weir_fail(struct weir_err *err, enum weir_fault fault, const char *format, ...)
{
    assert(fault != WEIR_OK);
    char text[ROOM]; /* an argument may be err->text */
    va_list args;

    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);

    err->fault = fault;
    set_text(err, text);
    return fault;
}

int weir_wrap(struct weir_err *err, const char *format, ...)
{
    /* Returning WEIR_OK from a failure would commit what was not done. */
    assert(err->fault != WEIR_OK);
    char text[ROOM + sizeof(err->text) + 2];
    va_list args;

    va_start(args, format);
    int length = vsnprintf(text, ROOM, format, args);
    va_end(args);

    size_t used = length < 0 ? 0 : length < ROOM ? (size_t)length : ROOM - 1;
    memcpy(text + used, ": ", 2);
    memcpy(text + used + 2, err->text, strlen(err->text) + 1);
    set_text(err, text);
    return err->fault;
}

const char *weir_fault_name(enum weir_fault fault)
{
    switch (fault) {
    case WEIR_OK:
        return "ok";
    case WEIR_BAD_INPUT:
        return "bad_input";
    case WEIR_RETRY:
        return "retry";
    case WEIR_TRY_LATER:
        return "try_later";
    case WEIR_FATAL:
        return "fatal";
    }
    return "unknown";
}
