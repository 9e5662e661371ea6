#include "runtime/breaker.h"

bool breaker_allows(struct breaker *breaker, int64_t now_ms)
{
    if (!breaker->open)
        return true;
    if (breaker->probing || now_ms < breaker->until_ms)
        return false;
    breaker->probing = true;
    return true;
}

void breaker_fail(struct breaker *breaker, bool probe, int64_t now_ms, uint64_t random)
{
    if (breaker->open && !probe)
        return; /* started before the breaker opened: says nothing new */
    if (!breaker->open) {
        breaker->opened_ms = now_ms;
        breaker->pause_ms = breaker->min_ms;
    } else if (breaker->pause_ms < breaker->max_ms / 2) {
        breaker->pause_ms *= 2;
    } else {
        breaker->pause_ms = breaker->max_ms;
    }
    breaker->open = true;
    breaker->probing = false;
    /* Between half and all of the pause, so that replicas don't probe in step. */
    int64_t half_ms = breaker->pause_ms / 2;
    breaker->until_ms = now_ms + half_ms + (int64_t)(random % (uint64_t)(half_ms + 1));
}

bool breaker_succeed(struct breaker *breaker, bool probe)
{
    if (!breaker->open || !probe)
        return false;
    breaker->open = breaker->probing = false;
    return true;
}

int64_t breaker_next_ms(const struct breaker *breaker)
{
    return breaker->open && !breaker->probing ? breaker->until_ms : -1;
}
