#include "merge.h"

#include <weir/hash.h>

static const char *or_none(const char *text)
{
    return text ? text : "None";
}

void merge_book_digest(const struct shelf_help_book *book, weir_arena *arena, uint8_t out[32])
{
    const char *input =
        weir_printf(arena, "%s-%s-%s-%s", or_none(book->title), or_none(book->author),
                    or_none(book->goodreads_id), or_none(book->isbn));
    weir_sha256_digest(input, strlen(input), out);
}

void merge_digests(struct event *event, weir_arena *arena)
{
    if (event->event.kind == SHELF_HELP_SHELF_SEARCH) {
        const struct shelf_search *search = &event->event.shelf_search;
        const struct shelf_help_book *books = search->books.items;
        event->book_digests = weir_alloc(arena, (search->books.count + 1) * 32);
        for (size_t i = 0; i < search->books.count; i++)
            merge_book_digest(&books[i], arena, event->book_digests[i]);
        weir_sha256_digest(search->shelf_url, strlen(search->shelf_url), event->shelf_digest);
    } else if (event->event.kind == SHELF_HELP_LIBRARY_SEARCH) {
        event->book_digests = weir_alloc(arena, 32);
        merge_book_digest(&event->event.library_search.book, arena, event->book_digests[0]);
    }
}

/* ---- names: each once ---- */

static void names_open(struct names *names, size_t most, weir_arena *arena)
{
    size_t size = 16;
    while (size < 2 * most)
        size *= 2;
    names->rows = weir_alloc(arena, (most + 1) * sizeof(*names->rows));
    names->slots = weir_alloc_zero(arena, size * sizeof(*names->slots));
    names->mask = size - 1;
    names->count = 0;
}

static uint32_t *slot_of(const struct names *names, const uint8_t digest[32])
{
    uint64_t at;
    memcpy(&at, digest, sizeof(at));
    while (names->slots[at & names->mask] &&
           memcmp(names->rows[names->slots[at & names->mask] - 1].digest, digest, 32) != 0)
        at++;
    return &names->slots[at & names->mask];
}

struct named *merge_find(const struct names *names, const uint8_t digest[32])
{
    uint32_t slot = *slot_of(names, digest);
    return slot ? &names->rows[slot - 1] : NULL;
}

/* The row of digest; a new one starts with added as its date. */
static struct named *name(struct names *names, const uint8_t digest[32], const char *added)
{
    uint32_t *slot = slot_of(names, digest);
    if (*slot)
        return &names->rows[*slot - 1];
    struct named *row = &names->rows[names->count++];
    *row = (struct named){ .added = added };
    memcpy(row->digest, digest, 32);
    *slot = (uint32_t)names->count;
    return row;
}

static void show(struct named *row, const char *time)
{
    row->shown = time;
    row->is_shown = true;
}

static void merge_shelf_search(const struct event *event, struct merged *out)
{
    const struct shelf_search *search = &event->event.shelf_search;
    const struct shelf_help_book *books = search->books.items;

    struct named *shelf = name(&out->shelves, event->shelf_digest, search->time_start);
    shelf->shelf_url = search->shelf_url;
    show(shelf, search->time_start);
    for (size_t i = 0; i < search->books.count; i++) {
        struct named *book = name(&out->books, event->book_digests[i], search->time_start);
        if (!book->book)
            book->book = &books[i];
        show(book, search->time_start);
    }
    out->shelf_searches[out->shelf_search_count++] = event;
}

static void merge_library_search(const struct event *event, struct merged *out)
{
    struct named *book = name(&out->books, event->book_digests[0], NULL);
    if (!book->book)
        book->book = &event->event.library_search.book;
    out->library_searches[out->library_search_count++] = event;
}

void merge(const struct event *const *events, size_t count, weir_arena *arena, struct merged *out)
{
    size_t books = 0, shelves = 0;

    for (size_t i = 0; i < count; i++) {
        bool shelf = events[i]->event.kind == SHELF_HELP_SHELF_SEARCH;
        shelves += shelf;
        books += shelf ? events[i]->event.shelf_search.books.count : 1;
    }
    *out = (struct merged){ 0 };
    names_open(&out->books, books, arena);
    names_open(&out->shelves, shelves, arena);
    out->shelf_searches = weir_alloc(arena, (count + 1) * sizeof(*out->shelf_searches));
    out->library_searches = weir_alloc(arena, (count + 1) * sizeof(*out->library_searches));
    for (size_t i = 0; i < count; i++) {
        if (events[i]->event.kind == SHELF_HELP_SHELF_SEARCH)
            merge_shelf_search(events[i], out);
        else
            merge_library_search(events[i], out);
    }
}
