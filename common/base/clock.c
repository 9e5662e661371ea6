/* Time and cheap randomness; see clock.h. */
#include <weir/clock.h>

#include <stdbool.h>
#include <sys/random.h>
#include <time.h>

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t weir_wall_ms(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000;
}

int64_t weir_mono_ms(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t weir_mono_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

static void digits(char *out, int count, int64_t value)
{
    while (count-- > 0) {
        out[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Own arithmetic instead of gmtime_r and strftime: it is on the way of every log line and message.
 * The date is Howard Hinnant's civil_from_days, whose years begin on 1 March. */
void weir_iso_time(int64_t wall_ms, char out[WEIR_ISO_SIZE])
{
    const int64_t first = -62167219200000, last = 253402300799999; /* years 0000 and 9999 */
    int64_t ms = wall_ms < first ? first : wall_ms > last ? last : wall_ms;

    ms -= first + 60 * INT64_C(86400000); /* since 0000-03-01, from -60 days on */
    int64_t days = ms / 86400000 - (ms % 86400000 < 0);
    int64_t of_day = ms - days * 86400000;

    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);

    digits(out, 4, year);
    out[4] = '-';
    digits(out + 5, 2, month);
    out[7] = '-';
    digits(out + 8, 2, doy - (153 * mp + 2) / 5 + 1);
    out[10] = 'T';
    digits(out + 11, 2, of_day / 3600000);
    out[13] = ':';
    digits(out + 14, 2, of_day / 60000 % 60);
    out[16] = ':';
    digits(out + 17, 2, of_day / 1000 % 60);
    out[19] = '.';
    digits(out + 20, 3, of_day % 1000);
    out[23] = 'Z';
    out[24] = '\0';
}

/* splitmix64: every state is a good one, so threads need only different seeds. */
uint64_t weir_random(void)
{
    static _Thread_local uint64_t state;
    static _Thread_local bool seeded;

    if (!seeded) {
        if (getrandom(&state, sizeof(state), 0) != (ssize_t)sizeof(state))
            state = (uint64_t)now_ns(CLOCK_REALTIME) ^ (uint64_t)(uintptr_t)&state;
        seeded = true;
    }
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
