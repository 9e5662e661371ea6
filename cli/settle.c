#include "settle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/clock.h>

#include "cli.h"

enum {
    WINDOW_LETTERS = 500,
    WINDOW_BYTES = 32 << 20,
    DELIVERY_MS = 30000, /* without any progress */
    NUMBER_SIZE = 24,
};

/* A letter under way; in a window they stand by origin. */
struct moving {
    struct letter *letter;
    struct letter *copies_end; /* letter ... copies_end: those of its origin */
    struct weir_msg msg;       /* the record as it was, in the window's arena */
    bool found, sent, delivered;
};

/* ---- deliveries ---- */

static void on_delivered(void *arg, void *opaque, enum weir_fault fault, int32_t partition,
                         int64_t offset, const char *reason)
{
    struct settler *settler = arg;
    struct moving *moving = opaque; /* NULL: a marker */
    (void)partition;
    (void)offset;

    settler->in_flight--;
    if (fault == WEIR_OK && moving)
        moving->delivered = true;
    if (fault && !settler->trouble.fault)
        weir_fail(&settler->trouble, fault, "not delivered: %s", reason);
}

struct weir_bus_events settler_events(struct settler *settler)
{
    return (struct weir_bus_events){ .delivered = on_delivered, .arg = settler };
}

static int await_deliveries(struct settler *settler, struct weir_err *err)
{
    int64_t deadline_ms = weir_mono_ms() + DELIVERY_MS;
    while (settler->in_flight > 0) {
        size_t before = settler->in_flight;
        weir_bus_poll(settler->bus, 100);
        if (settler->in_flight < before)
            deadline_ms = weir_mono_ms() + DELIVERY_MS;
        else if (weir_mono_ms() > deadline_ms)
            return weir_fail(err, WEIR_TRY_LATER, "no delivery report in %d s", DELIVERY_MS / 1000);
    }
    return WEIR_OK;
}

static int produce(struct settler *settler, const struct weir_msg *msg, struct moving *moving,
                   struct weir_err *err)
{
    int64_t deadline_ms = weir_mono_ms() + DELIVERY_MS;
    int fault;
    while ((fault = weir_bus_produce(settler->bus, msg, moving, err)) == WEIR_TRY_LATER &&
           weir_mono_ms() < deadline_ms)
        weir_bus_poll(settler->bus, 100);
    settler->in_flight += fault == WEIR_OK;
    return fault;
}

/* ---- markers ---- */

static int mark(struct settler *settler, const struct letter *letter, const char *how,
                struct weir_err *err)
{
    char partition[NUMBER_SIZE], offset[NUMBER_SIZE];

    snprintf(partition, sizeof(partition), "%" PRId32, letter->origin_partition);
    snprintf(offset, sizeof(offset), "%" PRId64, letter->origin_offset);
    const struct weir_header headers[] = {
        { "weir_settled", how, strlen(how) },
        { "weir_topic", letter->topic, strlen(letter->topic) },
        { "weir_partition", partition, strlen(partition) },
        { "weir_offset", offset, strlen(offset) },
    };
    const struct weir_msg msg = {
        .topic = settler->letters->topic,
        .partition = letter->partition,
        .headers = headers,
        .header_count = sizeof(headers) / sizeof(headers[0]),
    };
    return produce(settler, &msg, NULL, err);
}

/* Marks the letter and its open copies; they are sorted, so one marker a partition will do. */
static int mark_all(struct settler *settler, const struct moving *moving, enum letter_state state,
                    struct weir_err *err)
{
    const char *how = state == LETTER_PURGED ? "purged" : "redriven";
    int32_t marked = -1;

    for (struct letter *copy = moving->letter; copy < moving->copies_end; copy++) {
        if (copy->state != LETTER_OPEN)
            continue;
        if (copy->partition != marked && mark(settler, copy, how, err) < 0)
            return err->fault;
        marked = copy->partition;
    }
    return WEIR_OK;
}

/* The markers are safe: from here on the letters are settled. */
static void note_settled(struct settler *settler, const struct moving *moving,
                         enum letter_state state)
{
    for (struct letter *copy = moving->letter; copy < moving->copies_end; copy++)
        if (copy->state == LETTER_OPEN)
            copy->state = state;
    settler->settled++;
}

static int mark_window(struct settler *settler, const struct moving *window, size_t count,
                       enum letter_state state, struct weir_err *err)
{
    struct weir_err before = settler->trouble;

    memset(&settler->trouble, 0, sizeof(settler->trouble));
    for (size_t i = 0; i < count; i++)
        if (window[i].delivered && mark_all(settler, &window[i], state, err) < 0)
            return weir_wrap(err, "marker");
    if (await_deliveries(settler, err) < 0)
        return weir_wrap(err, "marker");
    if (settler->trouble.fault) {
        *err = settler->trouble;
        return weir_wrap(err, "marker");
    }
    settler->trouble = before;
    for (size_t i = 0; i < count; i++)
        if (window[i].delivered)
            note_settled(settler, &window[i], state);
    return WEIR_OK;
}

/* ---- windows ---- */

/* The next open letters that match, from *at on, within the window's bounds. */
static size_t next_window(struct settler *settler, size_t *at, struct moving window[WINDOW_LETTERS])
{
    struct letters *letters = settler->letters;
    size_t room = settler->limit - settler->settled, count = 0, bytes = 0;
    if (settler->rate && room > (size_t)settler->rate)
        room = (size_t)settler->rate; /* a second's worth, so that no mark comes much later */

    while (*at < letters->count && count < WINDOW_LETTERS && count < room && bytes < WINDOW_BYTES) {
        struct letter *letter = &letters->items[*at];
        struct letter *end = letter + 1, *last = letters->items + letters->count;
        if (letter->state != LETTER_OPEN || letter->repeat || !letter->matches) {
            ++*at;
            continue;
        }
        while (end < last && letter_compare_origin(letter, end) == 0)
            end++;
        window[count++] = (struct moving){ .letter = letter, .copies_end = end };
        bytes += letter->size_bytes;
        *at = (size_t)(end - letters->items);
    }
    return count;
}

/* ---- redrive ---- */

struct fetch {
    struct moving **by_place; /* of one partition, by offset */
    size_t count;
    weir_arena *arena;
};

static const void *keep(weir_arena *arena, const void *bytes, size_t size)
{
    return bytes ? weir_strndup(arena, bytes, size) : NULL;
}

static int compare_offset(const void *key, const void *element)
{
    int64_t offset = *(const int64_t *)key;
    int64_t other = (*(struct moving *const *)element)->letter->offset;
    return offset < other ? -1 : offset > other;
}

static int by_place(const void *a, const void *b)
{
    const struct letter *left = (*(struct moving *const *)a)->letter;
    const struct letter *right = (*(struct moving *const *)b)->letter;
    if (left->partition != right->partition)
        return left->partition < right->partition ? -1 : 1;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static int take(void *arg, const struct weir_msg *msg)
{
    struct fetch *fetch = arg;
    struct moving **at = bsearch(&msg->offset, fetch->by_place, fetch->count,
                                 sizeof(*fetch->by_place), compare_offset);
    if (!at)
        return 0;
    struct weir_header *headers =
        weir_alloc(fetch->arena, (msg->header_count + 2) * sizeof(*headers));
    size_t count = 0;
    for (size_t i = 0; i < msg->header_count; i++)
        if (!is_letter_header(msg->headers[i].name))
            headers[count++] = (struct weir_header){
                .name = weir_strdup(fetch->arena, msg->headers[i].name),
                .value = keep(fetch->arena, msg->headers[i].value, msg->headers[i].size_bytes),
                .size_bytes = msg->headers[i].size_bytes,
            };
    const char *place = weir_printf(fetch->arena, "%s/%" PRId32 "/%" PRId64, msg->topic,
                                    msg->partition, msg->offset);
    headers[count++] = (struct weir_header){ "weir_redriven", place, strlen(place) };
    /* A record without an id is known by its place (msg.h), which changes now: it keeps the first.
     */
    const struct letter *letter = (*at)->letter;
    if (letter->has_origin && !weir_msg_header(msg, "ce_id")) {
        const char *id = weir_printf(fetch->arena, "%s/%" PRId32 "/%" PRId64, letter->topic,
                                     letter->origin_partition, letter->origin_offset);
        headers[count++] = (struct weir_header){ "ce_id", id, strlen(id) };
    }
    (*at)->msg = (struct weir_msg){
        .key = keep(fetch->arena, msg->key, msg->key_size_bytes),
        .key_size_bytes = msg->key_size_bytes,
        .value = keep(fetch->arena, msg->value, msg->value_size_bytes),
        .value_size_bytes = msg->value_size_bytes,
        .headers = headers,
        .header_count = count,
    };
    (*at)->found = true;
    return 0;
}

/* Reads the records of a window: they were left behind when the topic was first read. */
static int fetch_window(struct settler *settler, struct moving *window, size_t count,
                        weir_arena *arena, struct weir_err *err)
{
    struct moving *places[WINDOW_LETTERS];

    for (size_t i = 0; i < count; i++)
        places[i] = &window[i];
    qsort(places, count, sizeof(places[0]), by_place);
    for (size_t i = 0, end; i < count; i = end) {
        const struct letter *first = places[i]->letter;
        for (end = i + 1; end < count && places[end]->letter->partition == first->partition; end++)
            ;
        struct fetch fetch = { .by_place = places + i, .count = end - i, .arena = arena };
        if (weir_bus_scan(settler->bus, settler->letters->topic, first->partition, first->offset,
                          places[end - 1]->letter->offset + 1, CLI_TIMEOUT_MS, take, &fetch,
                          err) < 0)
            return err->fault;
    }
    return WEIR_OK;
}

/* Keeps to the rate; deliveries are served meanwhile. */
static void pace(struct settler *settler, int64_t *next_ns)
{
    if (!settler->rate)
        return;
    int64_t left_ns;
    while ((left_ns = *next_ns - weir_mono_ns()) > 0 && !*settler->stop)
        weir_bus_poll(settler->bus, (int)(left_ns / 1000000) + 1);
    int64_t now_ns = weir_mono_ns();
    *next_ns = (*next_ns > now_ns ? *next_ns : now_ns) + 1000000000 / settler->rate;
}

/* The partitions of the topics that letters come from; asked once a topic, as letters are sorted.
 */
struct target {
    const char *topic;
    int32_t partitions;
};

static int find_target(struct settler *settler, const char *topic, struct target *target,
                       struct weir_err *err)
{
    if (target->topic && strcmp(target->topic, topic) == 0)
        return WEIR_OK;
    if (cli_partitions(settler->bus, topic, &target->partitions, err) < 0)
        return err->fault;
    target->topic = topic;
    if (target->partitions == 0)
        return weir_fail(err, WEIR_FATAL, "topic %s: letters came from it, but it is gone", topic);
    return WEIR_OK;
}

/* Without a key the order of a partition would be lost in others, so such a record goes back to its
 * own. */
static int send(struct settler *settler, struct moving *moving, const struct target *target,
                struct weir_err *err)
{
    const struct letter *letter = moving->letter;
    moving->msg.topic = letter->topic;
    moving->msg.partition = -1;
    if (!moving->msg.key && letter->origin_partition < target->partitions)
        moving->msg.partition = letter->origin_partition;
    int fault = produce(settler, &moving->msg, moving, err);
    moving->sent = fault == WEIR_OK;
    return fault;
}

static void count_failed(struct settler *settler, const struct moving *moving, const char *why)
{
    const struct letter *letter = moving->letter;
    settler->failed++;
    cli_say("%" PRId32 "/%" PRId64 ": stays: %s", letter->partition, letter->offset, why);
}

int settler_redrive(struct settler *settler, struct weir_err *err)
{
    struct moving window[WINDOW_LETTERS];
    struct target target = { 0 };
    int64_t next_ns = 0;
    size_t at = 0, count;

    while (!*settler->stop && (count = next_window(settler, &at, window)) > 0) {
        WEIR_AUTO(weir_arena) *arena = weir_arena_new();
        struct weir_err trouble = { 0 };

        if (fetch_window(settler, window, count, arena, err) < 0)
            return err->fault;
        for (size_t i = 0; i < count && !trouble.fault && !*settler->stop; i++) {
            if (!window[i].letter->has_origin || !window[i].found) {
                count_failed(settler, &window[i],
                             window[i].found ? "its headers name no origin" : "it is gone");
                continue;
            }
            if (find_target(settler, window[i].letter->topic, &target, &trouble) < 0)
                break;
            pace(settler, &next_ns);
            if (*settler->stop)
                break;
            struct weir_err refused;
            int fault = send(settler, &window[i], &target, &refused);
            if (fault == WEIR_BAD_INPUT)
                count_failed(settler, &window[i], refused.text);
            else if (fault < 0)
                trouble = refused;
        }
        /* What was delivered gets its mark, whatever became of the others. */
        if (await_deliveries(settler, err) < 0 ||
            mark_window(settler, window, count, LETTER_REDRIVEN, err) < 0)
            return err->fault;
        if (trouble.fault || settler->trouble.fault == WEIR_TRY_LATER) {
            *err = trouble.fault ? trouble : settler->trouble;
            return err->fault;
        }
        for (size_t i = 0; i < count; i++)
            if (window[i].sent && !window[i].delivered)
                count_failed(settler, &window[i], settler->trouble.text);
    }
    return WEIR_OK;
}

/* ---- purge ---- */

int settler_purge(struct settler *settler, struct weir_err *err)
{
    struct moving window[WINDOW_LETTERS];
    size_t at = 0, count;

    while (!*settler->stop && (count = next_window(settler, &at, window)) > 0) {
        for (size_t i = 0; i < count; i++)
            window[i].delivered = true; /* nothing to deliver before the mark */
        if (mark_window(settler, window, count, LETTER_PURGED, err) < 0)
            return err->fault;
    }
    return WEIR_OK;
}

int settler_truncate(struct settler *settler, size_t *kept, struct weir_err *err)
{
    const struct letters *letters = settler->letters;

    *kept = 0;
    for (int32_t partition = 0; partition < letters->partitions; partition++) {
        /* Letters that came after the topic was read lie behind its end of then. */
        int64_t before = letters->end[partition];
        for (size_t i = 0; i < letters->count; i++) {
            const struct letter *letter = &letters->items[i];
            if (letter->partition == partition && letter->state == LETTER_OPEN &&
                letter->offset < before)
                before = letter->offset;
        }
        for (size_t i = 0; i < letters->count; i++) {
            const struct letter *letter = &letters->items[i];
            *kept += letter->partition == partition && letter->state == LETTER_PURGED &&
                     letter->offset >= before;
        }
        if (before > letters->first[partition] &&
            weir_bus_truncate(settler->bus, letters->topic, partition, before, CLI_TIMEOUT_MS,
                              err) < 0)
            return err->fault;
    }
    return WEIR_OK;
}
