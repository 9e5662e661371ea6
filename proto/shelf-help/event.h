/* A record of shelf-help.events: an envelope around an event, or the bare event. */
#ifndef PROTO_SHELF_HELP_EVENT_H
#define PROTO_SHELF_HELP_EVENT_H

#include "shelf-help/envelope.h"
#include "shelf-help/events.h"

enum shelf_help_event_kind {
    SHELF_HELP_UNKNOWN, /* a msg_type that nobody knows (yet): no fault, no rows */
    SHELF_HELP_SHELF_SEARCH,
    SHELF_HELP_LIBRARY_SEARCH,
};

struct shelf_help_event {
    /* The envelope's MessageId; without one SHA-256, in hex, of the message text, or of the whole
     * value when the event is bare. Never NULL. */
    const char *message_id;
    enum shelf_help_event_kind kind;
    const char *msg_type;                /* NULL: null, or not a text */
    struct shelf_help_envelope envelope; /* .message is NULL when the event is bare */
    union {
        struct shelf_search shelf_search;
        struct library_search library_search;
    };
};

/* Decodes a record's value; strings and lists live in arena. White space around it is allowed. A
 * value with a member Message is an envelope. BAD_INPUT names the place:
 * "/Message/books/2/goodreads_id: not a decimal integer", for a bare event
 * "/books/2/goodreads_id: ...". */
WEIR_MUST_CHECK int shelf_help_decode(const void *bytes, size_t length, weir_arena *arena,
                                      struct shelf_help_event *out, struct weir_err *err);

#endif
