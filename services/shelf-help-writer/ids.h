/* A bounded cache from SHA-256 digests to database ids. Set-associative: a full set forgets its
 * oldest entry. */
#ifndef SHELF_HELP_IDS_H
#define SHELF_HELP_IDS_H

#include <stddef.h>
#include <stdint.h>

struct ids;

struct ids *ids_new(size_t entries); /* rounded up to a power of two */
void ids_free(struct ids **ids);
void ids_clear(struct ids *ids);
int64_t ids_find(const struct ids *ids, const uint8_t digest[32]); /* 0: not known */
void ids_put(struct ids *ids, const uint8_t digest[32], int64_t id);

#endif
