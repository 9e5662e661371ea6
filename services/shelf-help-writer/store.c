#include "store.h"

#include <stdlib.h>

#include <weir/hash.h>

#include "ids.h"

enum { BOOKS_REMEMBERED = 32768, SHELVES_REMEMBERED = 16384, LIBRARIES_REMEMBERED = 16384 };

struct store {
    struct ids *books, *shelves;
    struct ids *libraries;     /* digest of the id, value 1: there is one */
    struct weir_buf arrays[8]; /* parameters under construction; kept for their memory */
};

struct store *store_new(void)
{
    struct store *store = weir_xcalloc(1, sizeof(*store));
    store->books = ids_new(BOOKS_REMEMBERED);
    store->shelves = ids_new(SHELVES_REMEMBERED);
    store->libraries = ids_new(LIBRARIES_REMEMBERED);
    return store;
}

void store_free(struct store **owner)
{
    struct store *store = *owner;
    if (!store)
        return;
    ids_free(&store->books);
    ids_free(&store->shelves);
    ids_free(&store->libraries);
    for (size_t i = 0; i < sizeof(store->arrays) / sizeof(*store->arrays); i++)
        weir_buf_free(&store->arrays[i]);
    free(store);
    *owner = NULL;
}

void store_forget(struct store *store)
{
    ids_clear(store->books);
    ids_clear(store->shelves);
    ids_clear(store->libraries);
}

void store_learn(struct store *store, const struct merged *merged)
{
    for (size_t i = 0; i < merged->books.count; i++)
        ids_put(store->books, merged->books.rows[i].digest, merged->books.rows[i].id);
    for (size_t i = 0; i < merged->shelves.count; i++)
        ids_put(store->shelves, merged->shelves.rows[i].digest, merged->shelves.rows[i].id);
}

/* ---- array parameters ---- */

static struct weir_buf *array(struct store *store, size_t at)
{
    weir_buf_clear(&store->arrays[at]);
    weir_pg_array_open(&store->arrays[at]);
    return &store->arrays[at];
}

/* Closes the first count arrays and runs sql over them. */
static int run(struct store *store, weir_pg *pg, const char *sql, size_t count, weir_rows **rows,
               struct weir_err *err)
{
    const char *params[8];

    for (size_t i = 0; i < count; i++) {
        weir_pg_array_close(&store->arrays[i]);
        if (store->arrays[i].failed)
            return weir_fail(err, WEIR_BAD_INPUT, "a batch's texts exceed the buffer's bound");
        params[i] = store->arrays[i].data;
    }
    return weir_pg_query(pg, sql, count, params, rows, err);
}

static void put_int(struct weir_buf *buf, struct weir_opt_int value)
{
    if (value.set)
        weir_pg_array_int(buf, value.value);
    else
        weir_pg_array_null(buf);
}

static void put_bool(struct weir_buf *buf, struct weir_opt_bool value)
{
    if (value.set)
        weir_pg_array_bool(buf, value.value);
    else
        weir_pg_array_null(buf);
}

/* ---- message ids ---- */

int store_message_ids(weir_pg *pg, const char *const *ids, size_t count, bool *seen,
                      struct weir_err *err)
{
    /* Ids inserted by this transaction carry its number, those from before another. */
    static const char insert[] = "with added as (insert into shelf_help_messages (message_id)"
                                 " select unnest($1::text[]) on conflict do nothing returning 1)"
                                 " select count(*) from added";
    static const char older[] =
        "select a.ord - 1 from unnest($1::text[]) with ordinality a(id, ord)"
        " join shelf_help_messages m on m.message_id = a.id"
        " where m.xmin <> pg_current_xact_id()::xid";
    WEIR_AUTO_BUF list = { 0 };
    WEIR_AUTO(weir_rows) *added = NULL, *found = NULL;

    weir_pg_array_open(&list);
    for (size_t i = 0; i < count; i++)
        weir_pg_array_text(&list, ids[i]);
    weir_pg_array_close(&list);
    const char *const params[] = { list.data };
    if (weir_pg_query(pg, insert, 1, params, &added, err) < 0)
        return weir_wrap(err, "message ids");
    if ((size_t)weir_rows_int(added, 0, 0) == count)
        return WEIR_OK;
    if (weir_pg_query(pg, older, 1, params, &found, err) < 0)
        return weir_wrap(err, "message ids");
    for (size_t i = 0; i < weir_rows_count(found); i++)
        seen[weir_rows_int(found, i, 0)] = true;
    return WEIR_OK;
}

/* ---- libraries ---- */

int store_libraries(struct store *store, weir_pg *pg, const char *const *ids, size_t count,
                    bool *known, struct weir_err *err)
{
    static const char sql[] = "select a.ord - 1 from unnest($1::text[]) with ordinality a(id, ord)"
                              " join libraries l on l.library_id = a.id";
    WEIR_AUTO(weir_rows) *rows = NULL;
    uint8_t digest[32];
    bool all = true;

    for (size_t i = 0; i < count; i++) {
        weir_sha256_digest(ids[i], strlen(ids[i]), digest);
        known[i] = ids_find(store->libraries, digest) != 0;
        all = all && known[i];
    }
    if (all)
        return WEIR_OK;
    array(store, 0);
    for (size_t i = 0; i < count; i++)
        weir_pg_array_text(&store->arrays[0], ids[i]);
    if (run(store, pg, sql, 1, &rows, err) < 0)
        return weir_wrap(err, "libraries");
    for (size_t i = 0; i < weir_rows_count(rows); i++) {
        int64_t at = weir_rows_int(rows, i, 0);
        known[at] = true;
        weir_sha256_digest(ids[at], strlen(ids[at]), digest);
        ids_put(store->libraries, digest, 1);
    }
    return WEIR_OK;
}

/* ---- books and shelves ---- */

/* What was asked for comes back as (place in the list, id). */
static void take_ids(struct named **asked, const weir_rows *rows)
{
    for (size_t i = 0; i < weir_rows_count(rows); i++)
        asked[weir_rows_int(rows, i, 0)]->id = weir_rows_int(rows, i, 1);
}

/* Rows that the cache knows: only their date moves, and only if it differs. */
static int touch(struct store *store, weir_pg *pg, const struct names *names, const char *sql,
                 struct weir_err *err)
{
    struct weir_buf *id = array(store, 0), *shown = array(store, 1);
    size_t count = 0;

    for (size_t i = 0; i < names->count; i++) {
        const struct named *row = &names->rows[i];
        if (row->id == 0 || !row->is_shown)
            continue;
        weir_pg_array_int(id, row->id);
        weir_pg_array_text(shown, row->shown);
        count++;
    }
    return count ? run(store, pg, sql, 2, NULL, err) : WEIR_OK;
}

static void find_cached(const struct ids *ids, struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        names->rows[i].id = ids_find(ids, names->rows[i].digest);
}

static int store_books(struct store *store, weir_pg *pg, struct names *books, struct weir_err *err)
{
    static const char touch_sql[] =
        "update books b set date_last_displayed = v.shown"
        " from unnest($1::bigint[], $2::timestamp[]) v(id, shown)"
        " where b.book_id = v.id and b.date_last_displayed is distinct from v.shown";
    /* New books in order of appearance; of the others the date moves where a shelf search showed
     * them. */
    static const char insert_sql[] =
        "with v as materialized (select * from unnest($1::text[], $2::bigint[], $3::text[],"
        " $4::text[], $5::text[], $6::timestamp[], $7::timestamp[], $8::boolean[])"
        " with ordinality v(hash, gr_id, title, author, isbn, added, shown, is_shown, ord)),"
        " old as (select v.ord, b.book_id, v.shown, v.is_shown, b.date_last_displayed"
        " from v join books b on b.unique_hash = v.hash),"
        " moved as (update books b set date_last_displayed = old.shown from old"
        " where b.book_id = old.book_id and old.is_shown"
        " and old.date_last_displayed is distinct from old.shown),"
        " new as (insert into books (unique_hash, gr_id, title, author, isbn, date_added,"
        " date_last_displayed) select hash, gr_id, title, author, isbn, added, shown from v"
        " where ord not in (select ord from old) order by ord returning book_id, unique_hash)"
        " select ord - 1, book_id from old union all"
        " select v.ord - 1, new.book_id from new join v on v.hash = new.unique_hash";
    WEIR_AUTO(weir_rows) *rows = NULL;

    find_cached(store->books, books);
    if (touch(store, pg, books, touch_sql, err) < 0)
        return weir_wrap(err, "books");
    struct named **asked = weir_xmalloc((books->count + 1) * sizeof(*asked));
    size_t count = 0;
    for (size_t i = 0; i < 8; i++)
        array(store, i);
    for (size_t i = 0; i < books->count; i++) {
        struct named *row = &books->rows[i];
        char hash[WEIR_SHA256_HEX_SIZE];
        if (row->id)
            continue;
        weir_hex(row->digest, sizeof(row->digest), hash);
        weir_pg_array_text(&store->arrays[0], hash);
        weir_pg_array_text(&store->arrays[1], row->book->goodreads_id);
        weir_pg_array_text(&store->arrays[2], row->book->title);
        weir_pg_array_text(&store->arrays[3], row->book->author);
        weir_pg_array_text(&store->arrays[4], row->book->isbn);
        weir_pg_array_text(&store->arrays[5], row->added);
        weir_pg_array_text(&store->arrays[6], row->shown);
        weir_pg_array_bool(&store->arrays[7], row->is_shown);
        asked[count++] = row;
    }
    int fault = count ? run(store, pg, insert_sql, 8, &rows, err) : WEIR_OK;
    if (fault == WEIR_OK && count)
        take_ids(asked, rows);
    free(asked);
    return fault == WEIR_OK ? fault : weir_wrap(err, "books");
}

static int store_shelves(struct store *store, weir_pg *pg, struct names *shelves,
                         struct weir_err *err)
{
    static const char touch_sql[] =
        "update shelves s set date_last_searched = v.shown"
        " from unnest($1::bigint[], $2::timestamp[]) v(id, shown)"
        " where s.shelf_id = v.id and s.date_last_searched is distinct from v.shown";
    static const char insert_sql[] =
        "with v as materialized (select * from unnest($1::text[], $2::timestamp[],"
        " $3::timestamp[]) with ordinality v(url, added, shown, ord)),"
        " old as (select v.ord, s.shelf_id, v.shown, s.date_last_searched"
        " from v join shelves s on s.shelf_url = v.url),"
        " moved as (update shelves s set date_last_searched = old.shown from old"
        " where s.shelf_id = old.shelf_id and old.date_last_searched is distinct from old.shown),"
        " new as (insert into shelves (shelf_url, date_added, date_last_searched)"
        " select url, added, shown from v where ord not in (select ord from old) order by ord"
        " returning shelf_id, shelf_url)"
        " select ord - 1, shelf_id from old union all"
        " select v.ord - 1, new.shelf_id from new join v on v.url = new.shelf_url";
    WEIR_AUTO(weir_rows) *rows = NULL;

    find_cached(store->shelves, shelves);
    if (touch(store, pg, shelves, touch_sql, err) < 0)
        return weir_wrap(err, "shelves");
    struct named **asked = weir_xmalloc((shelves->count + 1) * sizeof(*asked));
    size_t count = 0;
    for (size_t i = 0; i < 3; i++)
        array(store, i);
    for (size_t i = 0; i < shelves->count; i++) {
        struct named *row = &shelves->rows[i];
        if (row->id)
            continue;
        weir_pg_array_text(&store->arrays[0], row->shelf_url);
        weir_pg_array_text(&store->arrays[1], row->added);
        weir_pg_array_text(&store->arrays[2], row->shown);
        asked[count++] = row;
    }
    int fault = count ? run(store, pg, insert_sql, 3, &rows, err) : WEIR_OK;
    if (fault == WEIR_OK && count)
        take_ids(asked, rows);
    free(asked);
    if (fault == WEIR_BAD_INPUT) /* times are checked before: only the index can say no */
        return weir_wrap(err, "shelf_url");
    return fault == WEIR_OK ? fault : weir_wrap(err, "shelves");
}

/* ---- searches ---- */

static int store_shelf_searches(struct store *store, weir_pg *pg, const struct merged *merged,
                                struct weir_err *err)
{
    static const char sql[] =
        "insert into shelf_searches (shelf_id, num_books, time_start, time_complete,"
        " total_book_count, books_returned, search_type)"
        " select shelf_id, num_books, time_start, time_complete, total, books::bigint[], kind"
        " from unnest($1::bigint[], $2::integer[], $3::timestamp[], $4::timestamp[],"
        " $5::integer[], $6::text[], $7::text[]) with ordinality"
        " v(shelf_id, num_books, time_start, time_complete, total, books, kind, ord) order by ord";
    WEIR_AUTO_BUF books = { 0 };

    if (merged->shelf_search_count == 0)
        return WEIR_OK;
    for (size_t i = 0; i < 7; i++)
        array(store, i);
    for (size_t i = 0; i < merged->shelf_search_count; i++) {
        const struct event *event = merged->shelf_searches[i];
        const struct shelf_search *search = &event->event.shelf_search;

        weir_buf_clear(&books);
        weir_pg_array_open(&books);
        for (size_t book = 0; book < search->books.count; book++)
            weir_pg_array_int(&books, merge_find(&merged->books, event->book_digests[book])->id);
        weir_pg_array_close(&books);
        weir_pg_array_int(&store->arrays[0], merge_find(&merged->shelves, event->shelf_digest)->id);
        put_int(&store->arrays[1], search->num_books);
        weir_pg_array_text(&store->arrays[2], search->time_start);
        weir_pg_array_text(&store->arrays[3], search->time_end);
        put_int(&store->arrays[4], search->total_books);
        weir_pg_array_text(&store->arrays[5], books.data);
        weir_pg_array_text(&store->arrays[6], search->search_type);
    }
    if (run(store, pg, sql, 7, NULL, err) < 0)
        return weir_wrap(err, "shelf_searches");
    return WEIR_OK;
}

static int store_library_searches(struct store *store, weir_pg *pg, const struct merged *merged,
                                  struct weir_err *err)
{
    static const char sql[] =
        "insert into library_searches (library_id, is_libby, time_start, time_complete, book_id,"
        " available, availability_message)"
        " select library_id, is_libby, time_start, time_complete, book_id, available, message"
        " from unnest($1::text[], $2::boolean[], $3::timestamp[], $4::timestamp[], $5::bigint[],"
        " $6::boolean[], $7::text[]) with ordinality v(library_id, is_libby, time_start,"
        " time_complete, book_id, available, message, ord) order by ord";

    if (merged->library_search_count == 0)
        return WEIR_OK;
    for (size_t i = 0; i < 7; i++)
        array(store, i);
    for (size_t i = 0; i < merged->library_search_count; i++) {
        const struct event *event = merged->library_searches[i];
        const struct library_search *search = &event->event.library_search;

        weir_pg_array_text(&store->arrays[0], search->library_id);
        put_bool(&store->arrays[1], search->is_libby);
        weir_pg_array_text(&store->arrays[2], search->time_start);
        weir_pg_array_text(&store->arrays[3], search->time_end);
        weir_pg_array_int(&store->arrays[4],
                          merge_find(&merged->books, event->book_digests[0])->id);
        put_bool(&store->arrays[5], search->available);
        weir_pg_array_text(&store->arrays[6], search->availability_message);
    }
    if (run(store, pg, sql, 7, NULL, err) < 0)
        return weir_wrap(err, "library_searches");
    return WEIR_OK;
}

int store_rows(struct store *store, weir_pg *pg, struct merged *merged, struct weir_err *err)
{
    if (store_shelves(store, pg, &merged->shelves, err) < 0 ||
        store_books(store, pg, &merged->books, err) < 0 ||
        store_shelf_searches(store, pg, merged, err) < 0)
        return err->fault;
    return store_library_searches(store, pg, merged, err);
}
