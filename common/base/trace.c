/* W3C trace context; see trace.h. */
#include <weir/trace.h>

#include <stdint.h>
#include <string.h>

#include <weir/clock.h>
#include <weir/hash.h>

enum { TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, LENGTH = 55 };

/* Lower-case hexadecimal, as the specification demands, and not all zero where zero is refused. */
static bool is_hex(const char *text, size_t length, bool zero_allowed)
{
    bool zero = true;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        zero = zero && c == '0';
    }
    return zero_allowed || !zero;
}

/* A version we do not know may carry more fields behind ours (section 4.3 of the specification). */
bool weir_traceparent_valid(const char *text, size_t length)
{
    if (text == NULL || length < LENGTH || !is_hex(text, 2, true) || memcmp(text, "ff", 2) == 0)
        return false;
    if (length > LENGTH && (memcmp(text, "00", 2) == 0 || text[LENGTH] != '-'))
        return false;
    return text[TRACE_AT - 1] == '-' && is_hex(text + TRACE_AT, 32, false) &&
           text[SPAN_AT - 1] == '-' && is_hex(text + SPAN_AT, 16, false) &&
           text[FLAGS_AT - 1] == '-' && is_hex(text + FLAGS_AT, 2, true);
}

/* 16 random digits; a zero id is invalid, so zero is drawn again. */
static void random_hex(char *out)
{
    uint64_t bits;
    uint8_t bytes[sizeof(bits)];
    char text[2 * sizeof(bits) + 1];

    do
        bits = weir_random();
    while (bits == 0);
    memcpy(bytes, &bits, sizeof(bits));
    weir_hex(bytes, sizeof(bytes), text);
    memcpy(out, text, 2 * sizeof(bits));
}

void weir_traceparent_child(const char *parent, size_t length, char out[WEIR_TRACEPARENT_SIZE])
{
    bool valid = weir_traceparent_valid(parent, length);

    memcpy(out, "00-", TRACE_AT);
    if (valid) {
        memcpy(out + TRACE_AT, parent + TRACE_AT, 32);
    } else {
        random_hex(out + TRACE_AT);
        random_hex(out + TRACE_AT + 16);
    }
    out[SPAN_AT - 1] = '-';
    random_hex(out + SPAN_AT);

    /* Of the parent's flags only "sampled" is handed on: we do not know what the others ask of us.
     */
    char low = valid ? parent[FLAGS_AT + 1] : '1';
    int bits = low <= '9' ? low - '0' : low - 'a' + 10;
    memcpy(out + FLAGS_AT - 1, bits & 1 ? "-01" : "-00", 4);
}
