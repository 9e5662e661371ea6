/* Any bytes as a record of shelf-help.events: no crash, and what passes keeps the promises that the
 * writer relies on. More seeds: proto/shelf-help/samples/good and bad. */
#include <stdlib.h>

#include "shelf-help/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool true_)
{
    if (!true_)
        abort();
}

static void check_book(const struct shelf_help_book *book)
{
    require(!book->goodreads_id || !shelf_help_goodreads_id_check(book->goodreads_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event;
    struct weir_err err = { 0 };

    if (shelf_help_decode(data, size, arena, &event, &err) < 0) {
        require(err.fault == WEIR_BAD_INPUT && err.text[0]);
        return 0;
    }
    require(event.message_id && *event.message_id);
    if (event.kind == SHELF_HELP_SHELF_SEARCH) {
        const struct shelf_search *search = &event.shelf_search;
        const struct shelf_help_book *books = search->books.items;
        require(search->shelf_url);
        require(!search->time_start || !shelf_help_time_check(search->time_start));
        require(search->num_books.value >= INT32_MIN && search->num_books.value <= INT32_MAX);
        for (size_t i = 0; i < search->books.count; i++)
            check_book(&books[i]);
    } else if (event.kind == SHELF_HELP_LIBRARY_SEARCH) {
        require(event.library_search.library_id);
        check_book(&event.library_search.book);
    }
    return 0;
}
