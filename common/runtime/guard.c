#include "runtime/guard.h"

#include <inttypes.h>
#include <stdio.h>

void guard_load(struct guard *guard, const char *metadata, int64_t committed, bool grouped)
{
    int64_t count = 0, deaths = 0;

    *guard = (struct guard){ .suspect_end = -1 };
    if (!metadata || committed < 0)
        return;
    if (sscanf(metadata, "weir running %" SCNd64, &count) == 1 && count > 0) {
        guard->suspect_end = committed + count;
        guard->group = grouped ? (count + GUARD_GROUPS - 1) / GUARD_GROUPS : 1;
    } else if (sscanf(metadata, "weir suspect %" SCNd64 " %" SCNd64, &count, &deaths) == 2 &&
               count > 0) {
        guard->suspect_end = committed + count;
        guard->group = 1;
        guard->deaths = count == 1 ? deaths + 1 : 0;
    }
}

bool guard_suspects(const struct guard *guard, int64_t offset)
{
    return offset < guard->suspect_end;
}

bool guard_condemns(const struct guard *guard, int64_t committed, int64_t offset)
{
    return offset == committed && guard->deaths >= GUARD_DEATHS_ALONE;
}

void guard_running(char out[GUARD_METADATA_SIZE], int64_t window)
{
    snprintf(out, GUARD_METADATA_SIZE, "weir running %" PRId64, window);
}

void guard_suspect(char out[GUARD_METADATA_SIZE], int64_t count, int64_t deaths)
{
    snprintf(out, GUARD_METADATA_SIZE, "weir suspect %" PRId64 " %" PRId64, count, deaths);
}
