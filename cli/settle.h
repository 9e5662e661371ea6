/* Redriving and purging: acting on letters, and marking what was done. See letters.h. */
#ifndef WEIR_CLI_SETTLE_H
#define WEIR_CLI_SETTLE_H

#include "letters.h"

struct settler {
    weir_bus *bus; /* opened with settler_events() */
    struct letters *letters;
    size_t limit;           /* most letters to settle */
    int64_t rate;           /* records a second, 0: as fast as they go */
    size_t settled, failed; /* letters, out: repeats not counted */
    size_t in_flight;
    struct weir_err trouble;  /* the first delivery that failed */
    volatile const int *stop; /* not 0: finish what is under way, then return */
};

struct weir_bus_events settler_events(struct settler *settler);

/* Puts open letters that match back into the topics they came from, in the order of their origin
 * offsets, and marks each once the broker has it. When it fails half-way, or is killed between a
 * record and its mark, the repeat moves at most the last window again. TRY_LATER: broker. A letter
 * that can never be sent is counted as failed and left open. */
WEIR_MUST_CHECK int settler_redrive(struct settler *settler, struct weir_err *err);

/* Marks open letters that match as purged. */
WEIR_MUST_CHECK int settler_purge(struct settler *settler, struct weir_err *err);

/* Deletes what lies before the first open letter of each partition, for good. *kept: purged letters
 * that lie behind an open one. */
WEIR_MUST_CHECK int settler_truncate(struct settler *settler, size_t *kept, struct weir_err *err);

#endif
