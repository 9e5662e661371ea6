/* The two events of shelf-help: a shelf was searched, a library was asked about a book.
 *
 * Every member listed here is required; where the pointer may be NULL (or .set false) the member
 * may be null, which is stored as NULL. Members that nobody stores (avg_rating, link, ...) are
 * ignored. */
#ifndef PROTO_SHELF_HELP_EVENTS_H
#define PROTO_SHELF_HELP_EVENTS_H

#include <weir/json.h>

enum { SHELF_HELP_BOOKS_MAX = 10000 };

/* What tells the events apart; exact and case-sensitive. */
struct shelf_help_kind {
    const char *msg_type;
};

struct shelf_help_book {
    const char *title;
    const char *author;
    const char *isbn;         /* very often empty, which is not NULL */
    const char *goodreads_id; /* decimal digits within signed 64 bits; leading zeros count for the
                                 book's hash, so it stays text */
};

struct shelf_search {
    const char *msg_type;
    const char *shelf_url;  /* personal data: never in a log or metric. Not NULL */
    struct weir_list books; /* of struct shelf_help_book */
    struct weir_opt_int num_books;
    const char *time_start, *time_end; /* see shelf_help_time_check() */
    struct weir_opt_int total_books;
    const char *search_type;
};

struct library_search {
    const char *msg_type;
    const char *library_id; /* not NULL */
    struct weir_opt_bool is_libby;
    const char *time_start, *time_end;
    struct shelf_help_book book;
    struct weir_opt_bool available;
    const char *availability_message;
};

extern const struct weir_field shelf_help_kind_fields[];
extern const struct weir_field shelf_help_book_fields[];
extern const struct weir_field shelf_search_fields[];
extern const struct weir_field library_search_fields[];

/* Our own rule for times, narrower than PostgreSQL's, which takes "now" and reads 1725270414 as a
 * year: a date, or a date, T or blank, a time of day with an optional fraction and offset (Z, +hh,
 * +hhmm, +hh:mm; below 16 hours, as PostgreSQL has it). Returns NULL when right, else a reason. */
const char *shelf_help_time_check(const char *text);

const char *shelf_help_goodreads_id_check(const char *text);

#endif
