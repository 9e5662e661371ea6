#include "shelf-help/events.h"

#define KIND(member) .at = WEIR_AT(struct shelf_help_kind, member)
#define BOOK(member) .at = WEIR_AT(struct shelf_help_book, member)
#define SHELF(member) .at = WEIR_AT(struct shelf_search, member)
#define LIBRARY(member) .at = WEIR_AT(struct library_search, member)

enum { INT64_DIGITS = 19 };

static const char *const shelf_search_type[] = { "SHELFSEARCH", NULL };
static const char *const library_search_type[] = { "LIBRARYSEARCH", NULL };

// clang-format off
const struct weir_field shelf_help_kind_fields[] = {
    { "/msg_type", KIND(msg_type), .nullable = true },
    { 0 }
};

const struct weir_field shelf_help_book_fields[] = {
    { "/title",        BOOK(title),        .nullable = true },
    { "/author",       BOOK(author),       .nullable = true },
    { "/isbn",         BOOK(isbn),         .nullable = true },
    { "/goodreads_id", BOOK(goodreads_id), .nullable = true, .check = shelf_help_goodreads_id_check },
    { 0 }
};

const struct weir_field shelf_search_fields[] = {
    { "/msg_type",    SHELF(msg_type),    .one_of = shelf_search_type },
    { "/shelf_url",   SHELF(shelf_url) },
    { "/books",       SHELF(books),       .max = SHELF_HELP_BOOKS_MAX,
      .items = shelf_help_book_fields,    .item_size = sizeof(struct shelf_help_book) },
    { "/num_books",   SHELF(num_books),   .min = INT32_MIN, .max = INT32_MAX },
    { "/time_start",  SHELF(time_start),  .nullable = true, .check = shelf_help_time_check },
    { "/time_end",    SHELF(time_end),    .nullable = true, .check = shelf_help_time_check },
    { "/total_books", SHELF(total_books), .min = INT32_MIN, .max = INT32_MAX },
    { "/search_type", SHELF(search_type), .nullable = true },
    { 0 }
};

const struct weir_field library_search_fields[] = {
    { "/msg_type",             LIBRARY(msg_type),             .one_of = library_search_type },
    { "/library_id",           LIBRARY(library_id) },
    { "/is_libby",             LIBRARY(is_libby) },
    { "/time_start",           LIBRARY(time_start),           .nullable = true, .check = shelf_help_time_check },
    { "/time_end",             LIBRARY(time_end),             .nullable = true, .check = shelf_help_time_check },
    { "/book/title",           LIBRARY(book.title),           .nullable = true },
    { "/book/author",          LIBRARY(book.author),          .nullable = true },
    { "/book/isbn",            LIBRARY(book.isbn),            .nullable = true },
    { "/book/goodreads_id",    LIBRARY(book.goodreads_id),    .nullable = true, .check = shelf_help_goodreads_id_check },
    { "/available",            LIBRARY(available) },
    { "/availability_message", LIBRARY(availability_message), .nullable = true },
    { 0 }
};
// clang-format on

const char *shelf_help_goodreads_id_check(const char *text)
{
    bool negative = *text == '-';
    const char *digits = text + negative;
    size_t length = strspn(digits, "0123456789");

    if (length == 0 || digits[length] != '\0')
        return "not a decimal integer";
    while (length > 1 && *digits == '0') {
        digits++;
        length--;
    }
    const char *limit = negative ? "9223372036854775808" : "9223372036854775807";
    if (length > INT64_DIGITS || (length == INT64_DIGITS && strcmp(digits, limit) > 0))
        return "outside 64 bits";
    return NULL;
}

/* Reads exactly count digits and moves on; -1 when they are not there. */
static int number(const char **at, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (**at < '0' || **at > '9')
            return -1;
        value = value * 10 + (*(*at)++ - '0');
    }
    return value;
}

static bool take(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Z, +hh, +hhmm or +hh:mm, to the end of the text. */
static bool valid_offset(const char *at)
{
    if (take(&at, 'Z'))
        return *at == '\0';
    if (!take(&at, '+') && !take(&at, '-'))
        return false;
    int hours = number(&at, 2), minutes = 0;
    if (take(&at, ':') || *at != '\0')
        minutes = number(&at, 2);
    return hours >= 0 && hours < 16 && minutes >= 0 && minutes < 60 && *at == '\0';
}

const char *shelf_help_time_check(const char *text)
{
    static const char form[] = "not a time YYYY-MM-DDThh:mm:ss";
    const char *at = text;

    int year = number(&at, 4);
    if (year < 0 || !take(&at, '-'))
        return form;
    int month = number(&at, 2);
    if (month < 0 || !take(&at, '-'))
        return form;
    int day = number(&at, 2);
    if (day < 0)
        return form;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_of(year, month))
        return "not a day of the calendar";
    if (*at == '\0')
        return NULL;

    if (!take(&at, 'T') && !take(&at, ' '))
        return form;
    int hour = number(&at, 2);
    if (hour < 0 || !take(&at, ':'))
        return form;
    int minute = number(&at, 2);
    if (minute < 0 || !take(&at, ':'))
        return form;
    int second = number(&at, 2);
    if (second < 0)
        return form;
    if (hour > 23 || minute > 59 || second > 59)
        return "not a time of day";
    if (take(&at, '.')) {
        size_t digits = strspn(at, "0123456789");
        if (digits == 0)
            return form;
        at += digits;
    }
    return *at == '\0' || valid_offset(at) ? NULL : form;
}
