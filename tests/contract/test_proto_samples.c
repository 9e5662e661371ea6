/* Every sample under proto/ passes its topic's check, or fails with the reason that lies beside it.
 *
 * samples/good/NAME.json must decode; samples/bad/NAME.json must not, and its reason must hold
 * the text of NAME.reason. Runs in the root of the source tree. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <weir/json.h>

#include "shelf-help/event.h"
#include "topics.h"

#define SAMPLES "proto/shelf-help/samples/"

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    struct weir_buf buf = { 0 };
    char block[4096];
    size_t got;

    if (!file)
        fail_msg("%s: cannot be opened", path);
    weir_buf_text(&buf, "");
    while ((got = fread(block, 1, sizeof(block), file)) > 0)
        weir_buf_add(&buf, block, got);
    fclose(file);
    *length = buf.length;
    return buf.data;
}

static int decode_file(const char *path, weir_arena *arena, struct shelf_help_event *event,
                       struct weir_err *err)
{
    size_t length;
    char *text = read_file(path, &length);
    int fault = shelf_help_decode(text, length, arena, event, err);
    free(text);
    return fault;
}

/* Calls each(path) for the .json files of a directory. */
static void for_samples(const char *directory, void (*each)(const char *path))
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    size_t count = 0;

    if (!dir)
        fail_msg("%s: cannot be opened", directory);
    while ((entry = readdir(dir))) {
        const char *dot = strrchr(entry->d_name, '.');
        char path[512];
        if (!dot || strcmp(dot, ".json") != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        each(path);
        count++;
    }
    closedir(dir);
    assert_true(count > 0);
}

static void check_good(const char *path)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event;
    struct weir_err err = { 0 };

    if (decode_file(path, arena, &event, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    assert_non_null(event.message_id);

    size_t length;
    char *text = read_file(path, &length);
    int fault = proto_topic_find("shelf-help.events")->check(text, length, arena, &err);
    free(text);
    if (event.kind == SHELF_HELP_UNKNOWN)
        assert_int_equal(fault, WEIR_BAD_INPUT); /* not published, though consumers let it pass */
    else if (fault < 0)
        fail_msg("%s: publishing it: %s", path, err.text);
}

static void check_bad(const char *path)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event;
    struct weir_err err = { 0 };
    char reason_path[512];
    size_t length;

    snprintf(reason_path, sizeof(reason_path), "%.*s.reason", (int)(strlen(path) - 5), path);
    char *reason = read_file(reason_path, &length);
    reason[strcspn(reason, "\n")] = '\0';
    if (decode_file(path, arena, &event, &err) != WEIR_BAD_INPUT)
        fail_msg("%s: passed, should fail with \"%s\"", path, reason);
    if (!strstr(err.text, reason))
        fail_msg("%s: reason \"%s\", should be \"%s\"", path, err.text, reason);
    free(reason);
}

static void good_samples_pass(void **state)
{
    (void)state;
    for_samples(SAMPLES "good", check_good);
}

static void bad_samples_fail_as_named(void **state)
{
    (void)state;
    for_samples(SAMPLES "bad", check_bad);
}

static void shelf_search_members(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event;
    struct weir_err err;
    (void)state;

    assert_int_equal(decode_file(SAMPLES "good/shelfsearch.json", arena, &event, &err), WEIR_OK);
    assert_int_equal(event.kind, SHELF_HELP_SHELF_SEARCH);
    assert_string_equal(event.msg_type, "SHELFSEARCH");
    assert_string_equal(event.message_id, "1f0c6a52-3b1e-5d0a-9a77-0c2f4be1a000");
    assert_string_equal(event.envelope.type, "Notification");
    assert_null(event.envelope.signature);
    const struct shelf_search *search = &event.shelf_search;
    assert_string_equal(search->shelf_url,
                        "https://www.goodreads.com/review/list/0-example?shelf=to-read");
    assert_int_equal(search->books.count, 2);
    const struct shelf_help_book *books = search->books.items;
    assert_string_equal(books[0].title, "The Cartographer's Orchard");
    assert_string_equal(books[0].author, "Ilse Varnholt");
    assert_string_equal(books[0].isbn, "9780000012345");
    assert_string_equal(books[0].goodreads_id, "770001234");
    assert_string_equal(books[1].isbn, "");
    assert_true(search->num_books.set);
    assert_int_equal(search->num_books.value, 2);
    assert_string_equal(search->time_start, "2024-11-05T18:02:11.250000");
    assert_string_equal(search->time_end, "2024-11-05T18:02:14.731902");
    assert_int_equal(search->total_books.value, 128);
    assert_string_equal(search->search_type, "Shuffle");
}

static void library_search_members(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event;
    struct weir_err err;
    (void)state;

    assert_int_equal(decode_file(SAMPLES "good/librarysearch.json", arena, &event, &err), WEIR_OK);
    assert_int_equal(event.kind, SHELF_HELP_LIBRARY_SEARCH);
    assert_string_equal(event.message_id, "1f0c6a52-3b1e-5d0a-9a77-0c2f4be1a001");
    const struct library_search *search = &event.library_search;
    assert_string_equal(search->library_id, "sno-isle");
    assert_true(search->is_libby.set && search->is_libby.value);
    assert_string_equal(search->time_start, "2024-11-05T18:03:00");
    assert_string_equal(search->book.title, "Brass Rain (The Gilded Weather, #2)");
    assert_string_equal(search->book.goodreads_id, "770001235");
    assert_true(search->available.set && !search->available.value);
    assert_string_equal(search->availability_message, "UNAVAILABLE: Check to see hold");
}

/* The digests are those that the domain reference states for the two worked events. */
static void ids_without_an_envelope_id(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event, bare;
    struct weir_err err;
    (void)state;

    assert_int_equal(decode_file(SAMPLES "good/envelope-message-only.json", arena, &event, &err),
                     WEIR_OK);
    assert_string_equal(event.message_id,
                        "d6e45ff94b8564dd0de2461ff1b687979ea2f795868eeec9f2b2ef7d3f966e06");
    assert_int_equal(decode_file(SAMPLES "good/shelfsearch.json", arena, &event, &err), WEIR_OK);
    assert_int_equal(shelf_help_decode(event.envelope.message, strlen(event.envelope.message),
                                       arena, &bare, &err),
                     WEIR_OK);
    assert_string_equal(bare.message_id,
                        "7eca4ffaf280710b8d03737f7bd75cbcec4cb6f34142f4fd3cd94d62bba1f0b4");
    assert_null(bare.envelope.message);
}

static void nulls_are_kept(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct shelf_help_event event;
    struct weir_err err;
    (void)state;

    assert_int_equal(decode_file(SAMPLES "good/nulls-librarysearch.json", arena, &event, &err),
                     WEIR_OK);
    assert_false(event.library_search.is_libby.set);
    assert_false(event.library_search.available.set);
    assert_null(event.library_search.time_start);
    assert_null(event.library_search.availability_message);
    assert_int_equal(decode_file(SAMPLES "good/null-type.json", arena, &event, &err), WEIR_OK);
    assert_int_equal(event.kind, SHELF_HELP_UNKNOWN);
    assert_null(event.msg_type);
    assert_int_equal(decode_file(SAMPLES "good/type-twice.json", arena, &event, &err), WEIR_OK);
    assert_int_equal(event.kind, SHELF_HELP_SHELF_SEARCH);
}

/* Encoding by the table gives an event that decodes to the same. */
static void encoding_reads_back(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO_BUF first = { 0 }, second = { 0 };
    struct shelf_help_event event, again;
    struct weir_err err;
    (void)state;

    assert_int_equal(decode_file(SAMPLES "good/escapes.json", arena, &event, &err), WEIR_OK);
    weir_json_encode(shelf_search_fields, &event.shelf_search, &first);
    assert_int_equal(shelf_help_decode(first.data, first.length, arena, &again, &err), WEIR_OK);
    weir_json_encode(shelf_search_fields, &again.shelf_search, &second);
    assert_string_equal(first.data, second.data);
    assert_non_null(strstr(first.data, "Nächte über Ørsund 😀"));
}

static void too_many_books(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO_BUF text = { 0 };
    struct shelf_help_event event;
    struct weir_err err;
    (void)state;

    for (int count = SHELF_HELP_BOOKS_MAX; count <= SHELF_HELP_BOOKS_MAX + 1; count++) {
        weir_buf_clear(&text);
        weir_buf_text(&text, "{\"msg_type\":\"SHELFSEARCH\",\"shelf_url\":\"u\",\"books\":[");
        for (int i = 0; i < count; i++)
            weir_buf_printf(&text,
                            "%s{\"title\":\"t\",\"author\":\"a\",\"isbn\":\"\","
                            "\"goodreads_id\":\"%d\"}",
                            i ? "," : "", i);
        weir_buf_text(&text, "],\"num_books\":1,\"time_start\":null,\"time_end\":null,"
                             "\"total_books\":1,\"search_type\":null}");
        int fault = shelf_help_decode(text.data, text.length, arena, &event, &err);
        if (count <= SHELF_HELP_BOOKS_MAX)
            assert_int_equal(fault, WEIR_OK);
        else
            assert_int_equal(fault, WEIR_BAD_INPUT);
    }
    assert_string_equal(err.text, "/books: 10001 elements, more than 10000");
}

static void unknown_types_are_not_published(void **state)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    const struct proto_topic *topic = proto_topic_find("shelf-help.events");
    static const char bare[] = "{\"msg_type\":\"PING\"}";
    static const char wrapped[] = "{\"Message\":\"{\\\"msg_type\\\":\\\"PING\\\"}\"}";
    struct weir_err err;
    (void)state;

    assert_int_equal(topic->check(bare, sizeof(bare) - 1, arena, &err), WEIR_BAD_INPUT);
    assert_string_equal(err.text, "/msg_type: unknown");
    assert_int_equal(topic->check(wrapped, sizeof(wrapped) - 1, arena, &err), WEIR_BAD_INPUT);
    assert_string_equal(err.text, "/Message/msg_type: unknown");
    assert_null(proto_topic_find("no-such-topic"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_samples_pass),
        cmocka_unit_test(bad_samples_fail_as_named),
        cmocka_unit_test(shelf_search_members),
        cmocka_unit_test(library_search_members),
        cmocka_unit_test(ids_without_an_envelope_id),
        cmocka_unit_test(nulls_are_kept),
        cmocka_unit_test(encoding_reads_back),
        cmocka_unit_test(too_many_books),
        cmocka_unit_test(unknown_types_are_not_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
