/* The dead letters of a service, as its topic <service>.dlq shows them.
 *
 * A letter is a record as it was, with headers weir_* that say where it came from and why. What was
 * done with it is written behind it into the same partition, as a marker: a record without a value
 * whose headers weir_settled (redriven, purged), weir_topic, weir_partition and weir_offset name
 * the letter. A letter that lies behind its marker is a new one: the origin's records were read
 * again, and it failed again. Letters of one origin are one; a crash may leave two. */
#ifndef WEIR_CLI_LETTERS_H
#define WEIR_CLI_LETTERS_H

#include <weir/bus.h>

enum letter_state { LETTER_OPEN, LETTER_REDRIVEN, LETTER_PURGED };

/* Without key, value and headers, so that many fit into memory. */
struct letter {
    int32_t partition; /* where it lies */
    int64_t offset;
    const char *topic; /* its origin; the place where it lies if the headers do not tell */
    int32_t origin_partition;
    int64_t origin_offset;
    bool has_origin;
    bool matches; /* the filter */
    bool repeat;  /* another one of the same origin and state stands for it */
    enum letter_state state;
    int64_t time_ms; /* when it was given up */
    const char *fault, *reason;
    size_t size_bytes; /* of key, value and headers */
};

struct letter_filter {
    const char *reason; /* part of it; NULL, here and below: any */
    const char *fault, *topic, *key;
    int64_t since_ms, until_ms; /* until 0: none */
};

struct letters {
    const char *topic;
    struct letter *items; /* by origin, then by where they lie */
    size_t count;
    int32_t partitions;
    int64_t *first, *end; /* of each partition, when it was read */
};

/* Reads the whole topic; letters live in arena, free items by letters_free(). FATAL: no such topic.
 */
WEIR_MUST_CHECK int letters_read(weir_bus *bus, const char *topic,
                                 const struct letter_filter *filter, weir_arena *arena,
                                 struct letters *out, struct weir_err *err);
void letters_free(struct letters *letters);

int letter_compare_origin(const struct letter *a, const struct letter *b);

/* Names of headers that tell of a record's way through Weir and are not its own. */
bool is_letter_header(const char *name);

#endif
