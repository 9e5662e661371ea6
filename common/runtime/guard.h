/* The crash guard of a partition: finds the record that kills the process.
 *
 * What may be in flight is announced in the metadata of the committed offset before it is handed
 * out, so that the next process knows what its predecessor died of:
 *
 *     ""                  clean: nothing was in flight
 *     "weir running N"    up to N records from the committed offset were in flight
 *     "weir suspect N K"  exactly these N records were, as K times before when the process died
 *
 * After an unclean end the records of the announced range are taken one at a time (a batch route's
 * first in groups, so that thousands don't take thousands of commits), each announced first. A
 * record announced alone at two deaths has, with the death that made it suspect, killed three
 * times: it goes to the dead letters. Pure: no I/O. */
#ifndef WEIR_GUARD_H
#define WEIR_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUARD_METADATA_SIZE = 64, GUARD_GROUPS = 64, GUARD_DEATHS_ALONE = 2 };

struct guard {
    int64_t suspect_end; /* records below are suspect; -1: none are */
    int64_t group;       /* how many suspects go at once */
    int64_t deaths;      /* of the one suspect at the committed offset, announced alone */
};

/* From the metadata found at assignment; committed is its offset. grouped: a batch route. Metadata
 * not ours counts as clean. */
void guard_load(struct guard *guard, const char *metadata, int64_t committed, bool grouped);

bool guard_suspects(const struct guard *guard, int64_t offset);

/* Whether the record at offset has died often enough to be dead-lettered. */
bool guard_condemns(const struct guard *guard, int64_t committed, int64_t offset);

void guard_running(char out[GUARD_METADATA_SIZE], int64_t window);
void guard_suspect(char out[GUARD_METADATA_SIZE], int64_t count, int64_t deaths);

#endif
