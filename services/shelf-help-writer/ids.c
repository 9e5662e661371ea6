#include "ids.h"

#include <stdlib.h>
#include <string.h>

#include <weir/mem.h>

enum { WAYS = 4 };

struct entry {
    uint8_t digest[32];
    int64_t id; /* 0: free; identity columns start at 1 */
};

struct ids {
    struct entry *entries; /* sets of WAYS, the newest first */
    size_t set_mask;
};

struct ids *ids_new(size_t entries)
{
    struct ids *ids = weir_xcalloc(1, sizeof(*ids));
    size_t sets = 1;
    while (sets * WAYS < entries)
        sets *= 2;
    ids->entries = weir_xcalloc(sets * WAYS, sizeof(*ids->entries));
    ids->set_mask = sets - 1;
    return ids;
}

void ids_free(struct ids **ids)
{
    if (*ids)
        free((*ids)->entries);
    free(*ids);
    *ids = NULL;
}

void ids_clear(struct ids *ids)
{
    memset(ids->entries, 0, (ids->set_mask + 1) * WAYS * sizeof(*ids->entries));
}

static struct entry *set_of(const struct ids *ids, const uint8_t digest[32])
{
    uint64_t bits; /* a digest is as good as a hash gets */
    memcpy(&bits, digest, sizeof(bits));
    return &ids->entries[(bits & ids->set_mask) * WAYS];
}

int64_t ids_find(const struct ids *ids, const uint8_t digest[32])
{
    const struct entry *set = set_of(ids, digest);
    for (size_t way = 0; way < WAYS; way++)
        if (set[way].id && memcmp(set[way].digest, digest, 32) == 0)
            return set[way].id;
    return 0;
}

void ids_put(struct ids *ids, const uint8_t digest[32], int64_t id)
{
    struct entry *set = set_of(ids, digest);
    size_t way = 0;
    while (way < WAYS - 1 && set[way].id && memcmp(set[way].digest, digest, 32) != 0)
        way++;
    memmove(set + 1, set, way * sizeof(*set));
    memcpy(set[0].digest, digest, 32);
    set[0].id = id;
}
