/* What a batch of events means for the tables, worked out before the database is asked.
 *
 * The rows are exactly those of one event after another, each in a transaction of its own:
 * - a shelf or book that is new is created by the first event that names it, with that event's
 * texts; its date_added is that event's time (a library search leaves both dates of a book NULL);
 * - of the shelf searches that show it, the last in the batch gives date_last_searched or
 * date_last_displayed. Pure: no I/O. Everything lives in the arena and points into the events. */
#ifndef SHELF_HELP_MERGE_H
#define SHELF_HELP_MERGE_H

#include <stdbool.h>

#include <weir/mem.h>

#include "shelf-help/event.h"

/* An event with the digests of what it names. */
struct event {
    struct shelf_help_event event;
    uint8_t (*book_digests)[32]; /* of each book in order; of the one book of a library search */
    uint8_t shelf_digest[32];
};

/* A shelf or a book that the batch names. */
struct named {
    uint8_t digest[32];
    const struct shelf_help_book *book; /* a book: as the first event had it */
    const char *shelf_url;              /* a shelf */
    const char *added;                  /* date_added if the row is new: NULL for NULL */
    const char *shown;                  /* time of the last shelf search; NULL may be its value */
    bool is_shown;                      /* by a shelf search of this batch */
    int64_t id;                         /* 0 until the database or the cache tells */
};

struct names {
    struct named *rows; /* in order of first appearance */
    size_t count;
    uint32_t *slots; /* open addressing: index into rows + 1 */
    size_t mask;
};

struct merged {
    struct names books, shelves;
    const struct event **shelf_searches, **library_searches; /* in order */
    size_t shelf_search_count, library_search_count;
};

/* SHA-256 of title-author-goodreads_id-isbn, null as "None" (reference 4.2). */
void merge_book_digest(const struct shelf_help_book *book, weir_arena *arena, uint8_t out[32]);
void merge_digests(struct event *event, weir_arena *arena);

/* events are of known kinds. */
void merge(const struct event *const *events, size_t count, weir_arena *arena, struct merged *out);
struct named *merge_find(const struct names *names, const uint8_t digest[32]);

#endif
