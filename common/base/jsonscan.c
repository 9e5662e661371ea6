/* A JSON scanner; see jsonscan.h. */
#include "base/jsonscan.h"

#include <stdint.h>

#include "base/utf8.h"

static bool fail(struct weir_scan *scan, const char *fault)
{
    if (scan->fault == NULL)
        scan->fault = scan->at < scan->end ? fault : "cut short";
    return false;
}

char weir_scan_peek(struct weir_scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
    return scan->at < scan->end ? *scan->at : '\0';
}

/* ---- scalars ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at text, or -1. */
static int hex4(const char *text)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* At a backslash. */
static bool skip_escape(struct weir_scan *scan)
{
    if (scan->end - scan->at < 2) {
        scan->at = scan->end;
        return fail(scan, NULL);
    }
    char c = scan->at[1];
    if (c != 'u') {
        if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
            return fail(scan, "an unknown escape");
        scan->at += 2;
        return true;
    }

    int code = scan->end - scan->at < 6 ? -1 : hex4(scan->at + 2);
    if (code < 0)
        return fail(scan, "a broken \\u escape");
    if (code == 0)
        return fail(scan, "U+0000");
    if (code < 0xD800 || code > 0xDFFF) {
        scan->at += 6;
        return true;
    }
    int low = scan->end - scan->at < 12 || scan->at[6] != '\\' || scan->at[7] != 'u'
                  ? -1
                  : hex4(scan->at + 8);
    if (code > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return fail(scan, "a lone surrogate");
    scan->at += 12;
    return true;
}

/* Whether any of the eight bytes is a quote, a backslash, a control character or not ASCII; for
 * these it may see one byte too many, never one too few. */
static bool any_special(const char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word, quote, slash;

    memcpy(&word, at, sizeof(word));
    quote = word ^ ones * '"';
    slash = word ^ ones * '\\';
    return (((quote - ones) | (slash - ones) | (word - ones * 0x20) | word) & ones * 0x80) != 0;
}

/* At a quote. */
static bool skip_string(struct weir_scan *scan)
{
    scan->at++;
    for (;;) {
        while (scan->end - scan->at >= 8 && !any_special(scan->at))
            scan->at += 8;
        if (scan->at == scan->end)
            return fail(scan, NULL);

        unsigned char c = (unsigned char)*scan->at;
        if (c == '"') {
            scan->at++;
            return true;
        }
        if (c == '\\') {
            if (!skip_escape(scan))
                return false;
        } else if (c < 0x20) {
            return fail(scan, "a control character in a string");
        } else {
            size_t size =
                weir_utf8_length((const unsigned char *)scan->at, (size_t)(scan->end - scan->at));
            if (size == 0)
                return fail(scan, "a byte that is not UTF-8");
            scan->at += size;
        }
    }
}

/* At least one digit. */
static bool skip_digits(struct weir_scan *scan)
{
    const char *first = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return scan->at > first || fail(scan, "a broken number");
}

static bool take(struct weir_scan *scan, char a, char b)
{
    if (scan->at == scan->end || (*scan->at != a && *scan->at != b))
        return false;
    scan->at++;
    return true;
}

static bool skip_number(struct weir_scan *scan)
{
    take(scan, '-', '-');
    if (!take(scan, '0', '0') && !skip_digits(scan))
        return false;
    if (take(scan, '.', '.') && !skip_digits(scan))
        return false;
    if (take(scan, 'e', 'E')) {
        take(scan, '+', '-');
        return skip_digits(scan);
    }
    return true;
}

static bool skip_word(struct weir_scan *scan, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return fail(scan, "an unknown word");
    scan->at += length;
    return true;
}

/* ---- containers ---- */

bool weir_scan_open(struct weir_scan *scan, char bracket)
{
    if (weir_scan_peek(scan) != bracket)
        return fail(scan, "a wrong character");
    if (++scan->depth > WEIR_SCAN_MAX_DEPTH)
        return fail(scan, "nested too deeply");
    scan->at++;
    if (weir_scan_peek(scan) != bracket + 2) /* "{}" and "[]" in ASCII */
        return true;
    scan->at++;
    scan->depth--;
    return false;
}

bool weir_scan_member(struct weir_scan *scan, struct weir_span *key)
{
    if (weir_scan_peek(scan) != '"')
        return fail(scan, "a name was expected");
    const char *start = scan->at;
    if (!skip_string(scan))
        return false;
    *key = (struct weir_span){ .text = start, .length = (size_t)(scan->at - start) };
    if (weir_scan_peek(scan) != ':')
        return fail(scan, "a colon was expected");
    scan->at++;
    return true;
}

bool weir_scan_more(struct weir_scan *scan, char bracket)
{
    char c = weir_scan_peek(scan);
    if (c != ',' && c != bracket + 2)
        return fail(scan, "a comma was expected");
    scan->at++;
    if (c == ',')
        return true;
    scan->depth--;
    return false;
}

static bool skip_container(struct weir_scan *scan, char bracket, size_t *count)
{
    struct weir_span unused;
    bool more = weir_scan_open(scan, bracket);

    while (more) {
        if (bracket == '{' && !weir_scan_member(scan, &unused))
            return false;
        if (!weir_scan_value(scan, &unused))
            return false;
        (*count)++;
        more = weir_scan_more(scan, bracket);
    }
    return scan->fault == NULL;
}

bool weir_scan_value(struct weir_scan *scan, struct weir_span *out)
{
    char c = weir_scan_peek(scan);
    const char *start = scan->at;
    size_t count = 0;
    bool ok;

    switch (c) {
    case '"':
        ok = skip_string(scan);
        break;
    case '{':
    case '[':
        ok = skip_container(scan, c, &count);
        break;
    case 't':
        ok = skip_word(scan, "true");
        break;
    case 'f':
        ok = skip_word(scan, "false");
        break;
    case 'n':
        ok = skip_word(scan, "null");
        break;
    default:
        ok = (c == '-' || (c >= '0' && c <= '9')) ? skip_number(scan)
                                                  : fail(scan, "a value was expected");
    }
    *out =
        (struct weir_span){ .text = start, .length = (size_t)(scan->at - start), .count = count };
    return ok;
}

bool weir_scan_end(struct weir_scan *scan)
{
    weir_scan_peek(scan);
    return scan->at == scan->end || fail(scan, "more after the end");
}

/* ---- text ---- */

static char *put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

char *weir_scan_text(const struct weir_span *span, weir_arena *arena, size_t *length)
{
    const char *at = span->text + 1, *end = span->text + span->length - 1;
    const char *slash = memchr(at, '\\', (size_t)(end - at));

    if (slash == NULL) {
        *length = (size_t)(end - at);
        return weir_strndup(arena, at, *length);
    }

    /* Escapes only shrink, so a copy of the raw text has room. */
    char *text = weir_strndup(arena, at, (size_t)(end - at)), *out = text + (slash - at);
    for (at = slash; at < end;) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        if (at[1] != 'u') {
            static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
            *out++ = to[strchr(from, at[1]) - from];
            at += 2;
            continue;
        }
        unsigned code = (unsigned)hex4(at + 2);
        at += 6;
        if (code >= 0xD800 && code <= 0xDFFF) {
            code = 0x10000 + ((code - 0xD800) << 10) + ((unsigned)hex4(at + 2) - 0xDC00);
            at += 6;
        }
        out = put_utf8(out, code);
    }
    *out = '\0';
    *length = (size_t)(out - text);
    return text;
}
