/* The breaker of a service: closed while its dependencies answer; open, with growing jittered
 * pauses, while they don't. After a pause one unit of work goes through as a probe; its success
 * closes the breaker. Pure: the caller brings the time and a random number. */
#ifndef WEIR_BREAKER_H
#define WEIR_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker {
    int64_t min_ms, max_ms; /* first and longest pause */
    bool open, probing;
    int64_t pause_ms, until_ms, opened_ms;
};

/* May a unit of work start now? When open, the first yes of a pause's end is the probe. */
bool breaker_allows(struct breaker *breaker, int64_t now_ms);

/* A dependency is away. Only the first failure, and each failed probe, lengthens the pause. */
void breaker_fail(struct breaker *breaker, bool probe, int64_t now_ms, uint64_t random);

/* A unit ended otherwise; true when that closed the breaker. */
bool breaker_succeed(struct breaker *breaker, bool probe);

/* When to ask again, or -1. */
int64_t breaker_next_ms(const struct breaker *breaker);

#endif
