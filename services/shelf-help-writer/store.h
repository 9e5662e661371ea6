/* A merged batch as a handful of statements over arrays, inside the sink's open transaction. */
#ifndef SHELF_HELP_STORE_H
#define SHELF_HELP_STORE_H

#include <weir/pg.h>

#include "merge.h"

struct store; /* what is remembered between batches: ids of books and shelves, known libraries */

struct store *store_new(void);
void store_free(struct store **store);

/* After a failed or unknown transaction nothing remembered can be trusted. */
void store_forget(struct store *store);
/* After a commit: the ids that the batch brought become known. */
void store_learn(struct store *store, const struct merged *merged);

/* Of ids, count texts, each once: sets seen[i] where that id was stored before; stores the others.
 */
WEIR_MUST_CHECK int store_message_ids(weir_pg *pg, const char *const *ids, size_t count, bool *seen,
                                      struct weir_err *err);

/* Sets known[i] for the ids that libraries has. */
WEIR_MUST_CHECK int store_libraries(struct store *store, weir_pg *pg, const char *const *ids,
                                    size_t count, bool *known, struct weir_err *err);

/* Writes the rows of all five tables. */
WEIR_MUST_CHECK int store_rows(struct store *store, weir_pg *pg, struct merged *merged,
                               struct weir_err *err);

#endif
