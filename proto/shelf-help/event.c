#include "shelf-help/event.h"

#include <weir/hash.h>

/* To ask whether a member is there at all: a row whose type does not fit fails the decoding, so a
 * text that is neither there nor refused is absent. */
struct presence {
    const char *text;
};

static const struct weir_field message_presence[] = {
    { "/Message", .at = WEIR_AT(struct presence, text), .optional = true },
    { 0 },
};
static const struct weir_field msg_type_presence[] = {
    { "/msg_type", .at = WEIR_AT(struct presence, text), .optional = true },
    { 0 },
};
static const struct weir_field no_fields[] = { { 0 } };

static bool is_absent(const struct weir_field *presence_fields, const void *text, size_t length,
                      weir_arena *arena)
{
    struct presence presence;
    struct weir_err ignored;
    return weir_json_decode(presence_fields, text, length, arena, &presence, sizeof(presence),
                            &ignored) == WEIR_OK &&
           !presence.text;
}

static enum shelf_help_event_kind kind_of(const char *msg_type)
{
    if (msg_type && strcmp(msg_type, "SHELFSEARCH") == 0)
        return SHELF_HELP_SHELF_SEARCH;
    if (msg_type && strcmp(msg_type, "LIBRARYSEARCH") == 0)
        return SHELF_HELP_LIBRARY_SEARCH;
    return SHELF_HELP_UNKNOWN;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* The publisher writes msg_type first. Where it stands there, one pass with the right table is
 * enough, as the table itself insists on the type; the guess need not be proof. */
static enum shelf_help_event_kind guess_kind(const char *text, size_t length)
{
    static const char member[] = "\"msg_type\"";
    const char *end = text + length, *at = skip_blanks(text, end);

    if (at == end || *at != '{')
        return SHELF_HELP_UNKNOWN;
    at = skip_blanks(at + 1, end);
    if ((size_t)(end - at) < sizeof(member) || memcmp(at, member, sizeof(member) - 1) != 0)
        return SHELF_HELP_UNKNOWN;
    at = skip_blanks(at + sizeof(member) - 1, end);
    if (at == end || *at != ':')
        return SHELF_HELP_UNKNOWN;
    at = skip_blanks(at + 1, end);
    if (end - at < 2 || *at != '"')
        return SHELF_HELP_UNKNOWN;
    return at[1] == 'S'   ? SHELF_HELP_SHELF_SEARCH
           : at[1] == 'L' ? SHELF_HELP_LIBRARY_SEARCH
                          : SHELF_HELP_UNKNOWN;
}

static int decode_kind(const char *text, size_t length, weir_arena *arena,
                       struct shelf_help_event *out, struct weir_err *err)
{
    struct shelf_help_kind kind;
    char nothing;
    struct weir_err not_text;

    if (weir_json_decode(shelf_help_kind_fields, text, length, arena, &kind, sizeof(kind),
                         &not_text) == WEIR_OK) {
        out->msg_type = kind.msg_type;
        out->kind = kind_of(kind.msg_type);
        return WEIR_OK;
    }
    /* A number, say, is an unknown type too: only what is no object, or has no msg_type, is bad. */
    if (weir_json_decode(no_fields, text, length, arena, &nothing, 0, err) < 0)
        return err->fault;
    if (is_absent(msg_type_presence, text, length, arena))
        return weir_fail(err, WEIR_BAD_INPUT, "/msg_type: missing");
    return WEIR_OK;
}

static int decode_as(enum shelf_help_event_kind kind, const char *text, size_t length,
                     weir_arena *arena, struct shelf_help_event *out, struct weir_err *err)
{
    out->kind = kind;
    if (kind == SHELF_HELP_SHELF_SEARCH) {
        out->msg_type = "SHELFSEARCH";
        return weir_json_decode(shelf_search_fields, text, length, arena, &out->shelf_search,
                                sizeof(out->shelf_search), err);
    }
    out->msg_type = "LIBRARYSEARCH";
    return weir_json_decode(library_search_fields, text, length, arena, &out->library_search,
                            sizeof(out->library_search), err);
}

static int decode_event(const char *text, size_t length, weir_arena *arena,
                        struct shelf_help_event *out, struct weir_err *err)
{
    enum shelf_help_event_kind guess = guess_kind(text, length);

    if (guess != SHELF_HELP_UNKNOWN && decode_as(guess, text, length, arena, out, err) == WEIR_OK)
        return WEIR_OK;
    out->kind = SHELF_HELP_UNKNOWN;
    out->msg_type = NULL;
    if (decode_kind(text, length, arena, out, err) < 0)
        return err->fault;
    if (out->kind == SHELF_HELP_UNKNOWN)
        return WEIR_OK;
    return decode_as(out->kind, text, length, arena, out, err);
}

static const char *digest(const void *bytes, size_t length, weir_arena *arena)
{
    char *hex = weir_alloc(arena, WEIR_SHA256_HEX_SIZE);
    weir_sha256_hex(bytes, length, hex);
    return hex;
}

int shelf_help_decode(const void *bytes, size_t length, weir_arena *arena,
                      struct shelf_help_event *out, struct weir_err *err)
{
    memset(out, 0, sizeof(*out));
    if (weir_json_decode(shelf_help_envelope_fields, bytes, length, arena, &out->envelope,
                         sizeof(out->envelope), err) < 0) {
        if (!is_absent(message_presence, bytes, length, arena) ||
            is_absent(msg_type_presence, bytes, length, arena))
            return err->fault;
        memset(&out->envelope, 0, sizeof(out->envelope));
        out->message_id = digest(bytes, length, arena);
        return decode_event(bytes, length, arena, out, err);
    }

    const char *message = out->envelope.message;
    size_t message_length = strlen(message);
    out->message_id = out->envelope.message_id ? out->envelope.message_id
                                               : digest(message, message_length, arena);
    if (decode_event(message, message_length, arena, out, err) < 0) {
        bool has_place = err->text[0] == '/' || err->text[0] == ':';
        return weir_fail(err, err->fault, has_place ? "/Message%s" : "/Message: %s", err->text);
    }
    return WEIR_OK;
}
