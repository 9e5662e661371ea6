#include "letters.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli.h"

/* A record of the topic while it is read: letter or marker. */
struct entry {
    struct letter letter; /* of a marker: the origin it names, and what it says */
    bool is_marker;
};

struct reader {
    const char *topic;
    const struct letter_filter *filter;
    weir_arena *arena;
    struct entry *entries;
    size_t count, capacity;
};

bool is_letter_header(const char *name)
{
    return strncmp(name, "weir_", 5) == 0 || strncmp(name, "__connect.errors.", 17) == 0;
}

static const char *header_text(const struct weir_msg *msg, const char *name, weir_arena *arena)
{
    const struct weir_header *header = weir_msg_header(msg, name);
    return header && header->value ? weir_strndup(arena, header->value, header->size_bytes) : NULL;
}

static bool header_int(const struct weir_msg *msg, const char *name, int64_t *out)
{
    const struct weir_header *header = weir_msg_header(msg, name);
    char text[24], *end;

    if (!header || !header->value || header->size_bytes == 0 || header->size_bytes >= sizeof(text))
        return false;
    memcpy(text, header->value, header->size_bytes);
    text[header->size_bytes] = '\0';
    *out = strtoll(text, &end, 10);
    return *end == '\0';
}

static void read_origin(struct reader *reader, const struct weir_msg *msg, struct letter *letter)
{
    int64_t partition, offset;
    const char *topic = header_text(msg, "weir_topic", reader->arena);

    letter->has_origin = topic && *topic && header_int(msg, "weir_partition", &partition) &&
                         header_int(msg, "weir_offset", &offset);
    letter->topic = letter->has_origin ? topic : reader->topic;
    letter->origin_partition = letter->has_origin ? (int32_t)partition : msg->partition;
    letter->origin_offset = letter->has_origin ? offset : msg->offset;
}

static bool matches(const struct letter_filter *filter, const struct letter *letter,
                    const struct weir_msg *msg)
{
    if (filter->reason && !strstr(letter->reason, filter->reason))
        return false;
    if (filter->fault && strcmp(letter->fault, filter->fault) != 0)
        return false;
    if (filter->topic && strcmp(letter->topic, filter->topic) != 0)
        return false;
    if (filter->key && (!msg->key || msg->key_size_bytes != strlen(filter->key) ||
                        memcmp(msg->key, filter->key, msg->key_size_bytes) != 0))
        return false;
    return letter->time_ms >= filter->since_ms &&
           (!filter->until_ms || letter->time_ms < filter->until_ms);
}

static int take(void *arg, const struct weir_msg *msg)
{
    struct reader *reader = arg;
    const char *settled = header_text(msg, "weir_settled", reader->arena);

    if (reader->count == reader->capacity) {
        reader->capacity = reader->capacity ? 2 * reader->capacity : 256;
        reader->entries =
            weir_xrealloc(reader->entries, reader->capacity * sizeof(*reader->entries));
    }
    struct entry *entry = &reader->entries[reader->count++];
    struct letter *letter = &entry->letter;
    memset(entry, 0, sizeof(*entry));
    letter->partition = msg->partition;
    letter->offset = msg->offset;
    read_origin(reader, msg, letter);
    if (settled && !msg->value) {
        entry->is_marker = true;
        letter->state = strcmp(settled, "purged") == 0 ? LETTER_PURGED : LETTER_REDRIVEN;
        return 0;
    }
    const char *fault = header_text(msg, "weir_fault", reader->arena);
    const char *reason = header_text(msg, "weir_reason", reader->arena);
    const struct weir_header *time = weir_msg_header(msg, "weir_time");
    letter->fault = fault ? fault : "";
    letter->reason = reason ? reason : "";
    letter->time_ms = time && time->value ? cli_iso_ms(time->value, time->size_bytes) : -1;
    if (letter->time_ms < 0)
        letter->time_ms = msg->time_ms;
    letter->size_bytes = msg->key_size_bytes + msg->value_size_bytes;
    for (size_t i = 0; i < msg->header_count; i++)
        letter->size_bytes += strlen(msg->headers[i].name) + msg->headers[i].size_bytes;
    letter->matches = matches(reader->filter, letter, msg);
    return 0;
}

#define COMPARE(a, b) ((a) < (b) ? -1 : (a) > (b))

int letter_compare_origin(const struct letter *a, const struct letter *b)
{
    int order = strcmp(a->topic, b->topic);
    if (!order)
        order = COMPARE(a->origin_partition, b->origin_partition);
    return order ? order : COMPARE(a->origin_offset, b->origin_offset);
}

static int by_origin_and_place(const void *a, const void *b)
{
    const struct letter *left = &((const struct entry *)a)->letter;
    const struct letter *right = &((const struct entry *)b)->letter;
    int order = letter_compare_origin(left, right);
    if (!order)
        order = COMPARE(left->partition, right->partition);
    return order ? order : COMPARE(left->offset, right->offset);
}

/* Entries are sorted, so a marker stands right behind the letters of its origin and partition that
 * it settles. */
static void settle(struct reader *reader)
{
    const struct entry *marker = NULL;
    for (size_t i = reader->count; i-- > 0;) {
        struct entry *entry = &reader->entries[i];
        if (entry->is_marker)
            marker = entry;
        else if (marker && marker->letter.partition == entry->letter.partition &&
                 letter_compare_origin(&marker->letter, &entry->letter) == 0)
            entry->letter.state = marker->letter.state;
    }
}

static void find_repeats(struct letters *letters)
{
    const struct letter *standing[3] = { NULL, NULL, NULL }; /* one a state */
    for (size_t i = 0; i < letters->count; i++) {
        struct letter *letter = &letters->items[i];
        const struct letter *before = standing[letter->state];
        letter->repeat = before && letter_compare_origin(before, letter) == 0;
        if (!letter->repeat)
            standing[letter->state] = letter;
    }
}

int letters_read(weir_bus *bus, const char *topic, const struct letter_filter *filter,
                 weir_arena *arena, struct letters *out, struct weir_err *err)
{
    struct reader reader = { .topic = topic, .filter = filter, .arena = arena };
    int fault = WEIR_OK;

    *out = (struct letters){ .topic = topic };
    if (cli_partitions(bus, topic, &out->partitions, err) < 0)
        return err->fault;
    if (out->partitions == 0)
        return weir_fail(err, WEIR_FATAL, "topic %s: unknown", topic);
    out->first = weir_alloc_zero(arena, (size_t)out->partitions * sizeof(*out->first));
    out->end = weir_alloc_zero(arena, (size_t)out->partitions * sizeof(*out->end));
    for (int32_t i = 0; i < out->partitions && fault == WEIR_OK; i++) {
        fault = weir_bus_bounds(bus, topic, i, CLI_TIMEOUT_MS, &out->first[i], &out->end[i], err);
        if (fault == WEIR_OK)
            fault = weir_bus_scan(bus, topic, i, out->first[i], out->end[i], CLI_TIMEOUT_MS, take,
                                  &reader, err);
    }
    if (fault == WEIR_OK && reader.count) {
        qsort(reader.entries, reader.count, sizeof(*reader.entries), by_origin_and_place);
        settle(&reader);
        out->items = weir_xcalloc(reader.count, sizeof(*out->items));
        for (size_t i = 0; i < reader.count; i++)
            if (!reader.entries[i].is_marker)
                out->items[out->count++] = reader.entries[i].letter;
        find_repeats(out);
    }
    free(reader.entries);
    return fault;
}

void letters_free(struct letters *letters)
{
    free(letters->items);
    letters->items = NULL;
    letters->count = 0;
}
