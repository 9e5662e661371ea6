/* Shelf-help's batches against one event after another, and the cache of ids.
 *
 * The service's files are included rather than linked: a test binary is linked with the libraries
 * only, and these two files need nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "../../services/shelf-help-writer/ids.c"
#include "../../services/shelf-help-writer/merge.c"

/* ---- the book hash (reference, section 4.2) ---- */

static void book_digests(void **state)
{
    (void)state;
    static const struct {
        struct shelf_help_book book;
        const char *want;
    } rows[] = {
        { { "The Cartographer's Orchard", "Ilse Varnholt", "9780000012345", "770001234" },
          "b111659c996c8456546cb1894768d130260f846b0ab0b8a21fbfba751b386953" },
        { { "Brass Rain (The Gilded Weather, #2)", "Teodor Quill", "", "770001235" },
          "f7f17e12a3a69ed7361d08fc7991e4abc67235b504123149f89e6bf66bf2098b" },
        { { "Nächte über Ørsund", "Þóra Blæng", "", "770001236" },
          "e2d1455b4f7a14abb31066b280c4cb666dac77deb3c3d659f9f980627e10d556" },
        /* sha256sum of "None-None-None-None" */
        { { NULL, NULL, NULL, NULL },
          "8db3ed9f596706d210e119ba77255226e04b076a7257e777184d5203333fd39f" },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    uint8_t digest[32];
    char hex[WEIR_SHA256_HEX_SIZE];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        merge_book_digest(&rows[i].book, arena, digest);
        weir_hex(digest, sizeof(digest), hex);
        assert_string_equal(hex, rows[i].want);
    }
}

static void the_hyphen_is_no_separator(void **state)
{
    (void)state;
    static const struct shelf_help_book same[] = { { "Fen-Road", "Marsh", "", "1" },
                                                   { "Fen", "Road-Marsh", "", "1" } };
    static const struct shelf_help_book others[] = {
        { "Fen-Road", "Marsh", "", "01" },  { "fen-road", "Marsh", "", "1" },
        { "Fen-Road", "Marsh ", "", "1" },  { "Fen-Road", "Marsh", "x", "1" },
        { "Fen-Road", "Marsh", NULL, "1" },
    };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    uint8_t a[32], b[32];

    merge_book_digest(&same[0], arena, a);
    merge_book_digest(&same[1], arena, b);
    assert_memory_equal(a, b, 32);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        merge_book_digest(&others[i], arena, b);
        assert_memory_not_equal(a, b, 32);
    }
}

/* ---- the model: tables, and events one by one ----
 * Of tables that held nothing before: what a row has when all events are through. */

enum { ROWS_MAX = 64 };

struct row {
    char name[80]; /* hash input of a book, url of a shelf */
    const char *title;
    const char *added, *shown;
    bool is_shown;
};

struct table {
    struct row rows[ROWS_MAX];
    size_t count;
};

static struct row *find_or_add(struct table *table, const char *name, const char *title,
                               const char *added)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    assert_true(table->count < ROWS_MAX);
    struct row *row = &table->rows[table->count++];
    *row = (struct row){ .title = title, .added = added };
    snprintf(row->name, sizeof(row->name), "%s", name);
    return row;
}

static struct row *book_row(struct table *books, const struct shelf_help_book *book,
                            const char *added)
{
    char name[80];
    snprintf(name, sizeof(name), "%s-%s-%s-%s", book->title ? book->title : "None",
             book->author ? book->author : "None", book->goodreads_id ? book->goodreads_id : "None",
             book->isbn ? book->isbn : "None");
    return find_or_add(books, name, book->title, added);
}

static void apply(const struct shelf_help_event *event, struct table *books, struct table *shelves)
{
    if (event->kind == SHELF_HELP_LIBRARY_SEARCH) {
        (void)book_row(books, &event->library_search.book, NULL);
        return;
    }
    const struct shelf_search *search = &event->shelf_search;
    const struct shelf_help_book *items = search->books.items;
    struct row *shelf = find_or_add(shelves, search->shelf_url, NULL, search->time_start);
    shelf->shown = search->time_start;
    shelf->is_shown = true;
    for (size_t i = 0; i < search->books.count; i++) {
        struct row *book = book_row(books, &items[i], search->time_start);
        book->shown = search->time_start;
        book->is_shown = true;
    }
}

static void expect_text(const char *got, const char *want)
{
    if (want) {
        assert_non_null(got);
        assert_string_equal(got, want);
    } else {
        assert_null(got);
    }
}

static void expect_table(const struct names *got, const struct table *want, bool books)
{
    assert_int_equal(got->count, want->count);
    for (size_t i = 0; i < want->count; i++) {
        uint8_t digest[32];
        weir_sha256_digest(want->rows[i].name, strlen(want->rows[i].name), digest);
        const struct named *row = &got->rows[i];
        assert_memory_equal(row->digest, digest, 32);
        assert_ptr_equal(merge_find(got, digest), row);
        assert_int_equal(row->id, 0);
        expect_text(row->added, want->rows[i].added);
        assert_int_equal(row->is_shown, want->rows[i].is_shown);
        if (row->is_shown)
            expect_text(row->shown, want->rows[i].shown);
        if (books)
            expect_text(row->book->title, want->rows[i].title);
        else
            expect_text(row->shelf_url, want->rows[i].name);
    }
}

static void expect_like_model(struct event *events, size_t count)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct table books = { .count = 0 }, shelves = { .count = 0 };
    const struct event **list = weir_alloc(arena, (count + 1) * sizeof(*list));
    size_t shelf_searches = 0, library_searches = 0;
    struct merged merged;
    uint8_t nobody[32] = { 1 };

    for (size_t i = 0; i < count; i++) {
        merge_digests(&events[i], arena);
        list[i] = &events[i];
        apply(&events[i].event, &books, &shelves);
    }
    merge(list, count, arena, &merged);
    expect_table(&merged.books, &books, true);
    expect_table(&merged.shelves, &shelves, false);
    assert_null(merge_find(&merged.books, nobody));
    for (size_t i = 0; i < count; i++) {
        if (events[i].event.kind == SHELF_HELP_SHELF_SEARCH)
            assert_ptr_equal(merged.shelf_searches[shelf_searches++], &events[i]);
        else
            assert_ptr_equal(merged.library_searches[library_searches++], &events[i]);
    }
    assert_int_equal(merged.shelf_search_count, shelf_searches);
    assert_int_equal(merged.library_search_count, library_searches);
}

static struct event shelf_event(const char *url, const char *time, struct shelf_help_book *books,
                                size_t count)
{
    struct event event = { .event = { .kind = SHELF_HELP_SHELF_SEARCH } };
    event.event.shelf_search =
        (struct shelf_search){ .shelf_url = url, .books = { books, count }, .time_start = time };
    return event;
}

static struct event library_event(const struct shelf_help_book *book, const char *time)
{
    struct event event = { .event = { .kind = SHELF_HELP_LIBRARY_SEARCH } };
    event.event.library_search =
        (struct library_search){ .library_id = "lib", .book = *book, .time_start = time };
    return event;
}

static void nothing_merges_to_nothing(void **state)
{
    (void)state;
    expect_like_model(NULL, 0);
}

static void first_adds_last_shows(void **state)
{
    (void)state;
    struct shelf_help_book book = { "T", "A", "", "1" }, other = { "U", "A", "", "2" };
    struct shelf_help_book both[] = { book, other };
    struct event events[] = {
        library_event(&book, "2024-01-09"), /* creates it, with neither date */
        shelf_event("s", "2024-01-02", &book, 1),
        shelf_event("s", "2024-01-01", both, 2), /* later in the log, though its time is earlier */
        shelf_event("empty", NULL, NULL, 0),
        library_event(&other, "2024-01-08"),
    };
    expect_like_model(events, sizeof(events) / sizeof(events[0]));
    expect_like_model(events + 1, 1);
}

static void a_null_time_shows_too(void **state)
{
    (void)state;
    struct shelf_help_book book = { "T", "A", "", "1" };
    struct event events[] = { shelf_event("s", "2024-01-02", &book, 1),
                              shelf_event("s", NULL, &book, 1) };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct merged merged;

    expect_like_model(events, 2);
    merge_digests(&events[0], arena);
    merge_digests(&events[1], arena);
    merge((const struct event *const[]){ &events[0], &events[1] }, 2, arena, &merged);
    assert_true(merged.books.rows[0].is_shown);
    assert_null(merged.books.rows[0].shown);
    assert_string_equal(merged.books.rows[0].added, "2024-01-02");
}

static void one_event_may_name_a_book_twice(void **state)
{
    (void)state;
    struct shelf_help_book twice[] = { { "Fen-Road", "Marsh", "", "1" },
                                       { "Fen", "Road-Marsh", "", "1" },
                                       { "Fen-Road", "Marsh", "", "1" } };
    struct event event = shelf_event("s", "2024-01-02", twice, 3);
    expect_like_model(&event, 1); /* the first text is kept */
}

static void random_batches_like_one_by_one(void **state)
{
    (void)state;
    static const char *const times[] = { "2024-01-01", "2024-01-02", "2024-01-03", NULL };
    static const char *const urls[] = { "a", "b", "c", "d", "e" };
    static const char *const texts[] = { "x", "x-y", "y", "", NULL };
    enum { ROUNDS = 500, EVENTS_MAX = 30, BOOKS_MAX = 5 };
    static struct event events[EVENTS_MAX];
    static struct shelf_help_book books[EVENTS_MAX][BOOKS_MAX];
    unsigned seed = 45;

    for (int round = 0; round < ROUNDS; round++) {
        size_t count = (size_t)rand_r(&seed) % EVENTS_MAX;
        for (size_t i = 0; i < count; i++) {
            size_t named = (size_t)rand_r(&seed) % (BOOKS_MAX + 1);
            const char *time = times[rand_r(&seed) % 4];
            for (size_t k = 0; k < BOOKS_MAX; k++)
                books[i][k] =
                    (struct shelf_help_book){ .title = texts[rand_r(&seed) % 5],
                                              .author = texts[rand_r(&seed) % 3],
                                              .isbn = "",
                                              .goodreads_id = rand_r(&seed) % 2 ? "1" : "2" };
            events[i] = rand_r(&seed) % 3
                            ? shelf_event(urls[rand_r(&seed) % 5], time, books[i], named)
                            : library_event(&books[i][0], time);
        }
        expect_like_model(events, count);
    }
}

/* ---- ids ---- */

static void digest_of(int i, uint8_t out[32])
{
    weir_sha256_digest(&i, sizeof(i), out);
}

static void ids_are_found_again(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct ids *ids = ids_new(COUNT * 8); /* wide enough that hardly a set is full */
    uint8_t digest[32];
    int found = 0;

    digest_of(1, digest);
    assert_int_equal(ids_find(ids, digest), 0);
    for (int i = 1; i <= COUNT; i++) {
        digest_of(i, digest);
        ids_put(ids, digest, i);
        assert_int_equal(ids_find(ids, digest), i);
    }
    for (int i = 1; i <= COUNT; i++) {
        digest_of(i, digest);
        int64_t id = ids_find(ids, digest);
        assert_true(id == 0 || id == i);
        found += id == i;
    }
    assert_true(found > COUNT * 99 / 100);
    digest_of(7, digest);
    ids_put(ids, digest, 70000000000);
    assert_int_equal(ids_find(ids, digest), 70000000000);
    ids_clear(ids);
    for (int i = 1; i <= COUNT; i++) {
        digest_of(i, digest);
        assert_int_equal(ids_find(ids, digest), 0);
    }
    ids_free(&ids);
    assert_null(ids);
    ids_free(&ids);
}

/* Wrong ids would put rows under another's name, so a full cache must forget rather than mix up. */
static void a_full_cache_forgets_the_oldest(void **state)
{
    (void)state;
    struct ids *ids = ids_new(4); /* one set */
    uint8_t digest[32];

    for (int i = 1; i <= 4; i++) {
        digest_of(i, digest);
        ids_put(ids, digest, i);
    }
    digest_of(2, digest);
    ids_put(ids, digest, 2); /* is the newest now, and twice nowhere */
    digest_of(5, digest);
    ids_put(ids, digest, 5);
    static const int64_t want[] = { 0, 0, 2, 3, 4, 5 };
    for (int i = 1; i <= 5; i++) {
        digest_of(i, digest);
        assert_int_equal(ids_find(ids, digest), want[i]);
    }
    ids_free(&ids);
}

static void a_small_cache_never_lies(void **state)
{
    (void)state;
    struct ids *ids = ids_new(64);
    unsigned seed = 9;
    uint8_t digest[32];

    for (int step = 0; step < 100000; step++) {
        int i = 1 + rand_r(&seed) % 300;
        digest_of(i, digest);
        if (step % 2) {
            ids_put(ids, digest, i);
        } else {
            int64_t id = ids_find(ids, digest);
            assert_true(id == 0 || id == i);
        }
    }
    ids_free(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(book_digests),
        cmocka_unit_test(the_hyphen_is_no_separator),
        cmocka_unit_test(nothing_merges_to_nothing),
        cmocka_unit_test(first_adds_last_shows),
        cmocka_unit_test(a_null_time_shows_too),
        cmocka_unit_test(one_event_may_name_a_book_twice),
        cmocka_unit_test(random_batches_like_one_by_one),
        cmocka_unit_test(ids_are_found_again),
        cmocka_unit_test(a_full_cache_forgets_the_oldest),
        cmocka_unit_test(a_small_cache_never_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
