/* Batch routes: records of a partition, in offset order, several at a time.
 *
 * At most two batches of a partition exist: one is handled while the next is collected and decoded.
 * A batch begins only when all before it is finished and no dead letter is under way, so that a
 * sink which stores offsets never stores one past a record that could still be lost. A batch that
 * fails as a whole comes apart into halves, down to the bad record. */
#include <stdlib.h>

#include <weir/log.h>

#include "runtime/core.h"

enum { BATCHES_AHEAD = 2, BATCH_MAX_DEFAULT = 1000, BATCH_RETRIES = 5 };

int64_t batch_max(const struct core *core, const struct weir_route *route)
{
    if (core->settings->batch_max > 0)
        return core->settings->batch_max;
    return route->batch_max > 0 ? route->batch_max : BATCH_MAX_DEFAULT;
}

static int64_t wait_ms(const struct core *core, const struct weir_route *route)
{
    return core->settings->batch_wait_ms > 0 ? core->settings->batch_wait_ms : route->batch_wait_ms;
}

/* A partition's share of the bytes in flight, halved: one batch is handled, one is collected. */
static size_t bytes_max(const struct core *core)
{
    return core->bytes_max / core->part_count / BATCHES_AHEAD;
}

int64_t batch_wait_left_ms(const struct core *core, const struct part *part)
{
    if (!part->unbatched)
        return -1;
    int64_t left_ms = part->unbatched->received_ms + wait_ms(core, part->route) - weir_mono_ms();
    return left_ms > 0 ? left_ms : 0;
}

static size_t count_batches(const struct part *part)
{
    size_t count = 0;
    for (const struct unit *unit = part->batches; unit; unit = unit->after)
        count++;
    return count;
}

static void append(struct part *part, struct unit *unit)
{
    struct unit **at = &part->batches;
    while (*at)
        at = &(*at)->after;
    *at = unit;
    unit->after = NULL;
}

static void remove_unit(struct part *part, struct unit *unit)
{
    struct unit **at = &part->batches;
    while (*at != unit)
        at = &(*at)->after;
    *at = unit->after;
    unit->after = NULL;
}

static bool submit(struct core *core, struct unit *unit)
{
    if (!flow_submit(core, unit))
        return false;
    unit->running = true;
    for (size_t i = 0; i < unit->count; i++)
        unit->records[i]->state = RECORD_RUNNING;
    return true;
}

/* Takes the oldest unbatched records into a new batch, when it is full or has waited long enough.
 */
static void collect(struct core *core, struct part *part)
{
    const struct weir_route *route = part->route;
    size_t most = (size_t)batch_max(core, route);

    if (!part->unbatched || count_batches(part) >= BATCHES_AHEAD ||
        (part->suspect && part->batches))
        return;
    if (part->suspect && (int64_t)most > part->guard.group)
        most = (size_t)part->guard.group;
    if (part->unbatched_records < most && part->unbatched_bytes < bytes_max(core) &&
        batch_wait_left_ms(core, part) > 0 && !part->suspect)
        return;

    size_t count = 0, bytes = 0;
    struct record *last = part->unbatched;
    for (struct record *record = part->unbatched; record && count < most; record = record->next) {
        if (part->suspect && record->offset >= part->unbatched->offset + part->guard.group)
            break;
        if (count > 0 && (bytes + record->size_bytes > bytes_max(core) ||
                          record->offset >= part->unbatched->offset + core->window))
            break; /* the latter: behind a gap wider than any promise */
        bytes += record->size_bytes;
        count++;
        last = record;
    }
    if (!commit_allows(core, part, part->unbatched, last->offset))
        return;

    struct unit *unit = unit_new(route->decode ? UNIT_DECODE : UNIT_HANDLE, part, route, 0);
    unit->records = weir_xrealloc(unit->records, (count + 1) * sizeof(*unit->records));
    unit->count = count;
    for (size_t i = 0; i < count; i++) {
        unit->records[i] = part->unbatched;
        part->unbatched = part->unbatched->next;
    }
    part->unbatched_records -= count;
    part->unbatched_bytes -= bytes;
    unit->memory = weir_xcalloc(1, sizeof(*unit->memory));
    unit->memory->arena = weir_arena_new();
    unit->memory->users = 1;
    unit->ready = !route->decode;
    append(part, unit);
}

/* Nothing at hand, and the last finished records left no rows: their end is stored by itself, or
 * they would come again at the next start. */
static void advance_sink(struct core *core, struct part *part)
{
    if (!core->service->advance || part->first || part->running || part->position <= part->stored)
        return;
    struct unit *unit = unit_new(UNIT_ADVANCE, part, part->route, 0);
    unit->topic = part->topic;
    unit->partition = part->partition;
    unit->sink_offset = part->position;
    part->advancing = flow_submit(core, unit);
    if (!part->advancing)
        unit_free(unit);
}

void batch_advance(struct core *core, struct part *part)
{
    if (part->stopping || part->revoked)
        return;
    collect(core, part);
    struct unit *first = part->batches;
    for (struct unit *unit = first; unit; unit = unit->after)
        if (!unit->ready && !unit->running && !submit(core, unit))
            return;
    if (!first)
        advance_sink(core, part);
    if (!first || !first->ready || part->advancing || first->running || part->sending > 0 ||
        first->due_ms > weir_mono_ms())
        return;
    first->kind = UNIT_HANDLE;
    (void)submit(core, first);
}

/* Takes the blamed out of the unit and sends them to the dead letters. */
static size_t bury_blamed(struct core *core, struct unit *unit)
{
    size_t kept = 0, blamed = 0;

    for (size_t i = 0; i < unit->count; i++) {
        struct record *record = unit->records[i];
        if (record->blamed) {
            blamed++;
            flow_letter(core, record, &record->blame, unit->attempt);
        } else {
            unit->records[kept++] = record;
        }
    }
    unit->count = kept;
    return blamed;
}

static void split(struct unit *unit)
{
    size_t half = unit->count / 2;
    struct unit *rest = unit_new(UNIT_HANDLE, unit->part, unit->route, unit->count - half);

    memcpy(rest->records, unit->records + half, (unit->count - half) * sizeof(*rest->records));
    unit->count = half;
    rest->memory = unit->memory;
    rest->memory->users++;
    rest->ready = true;
    unit->attempt = rest->attempt = 1;
    rest->after = unit->after;
    unit->after = rest;
}

static void discard(struct part *part, struct unit *unit)
{
    remove_unit(part, unit);
    unit_free(unit);
}

static void fail_whole(struct core *core, struct unit *unit)
{
    if (unit->count > 1) {
        weir_log(WEIR_WARN, "batch comes apart", WEIR_S("topic", unit->part->topic),
                 WEIR_I("records", unit->count), WEIR_S("reason", unit->err.text));
        split(unit);
        return;
    }
    flow_letter(core, unit->records[0], &unit->err, unit->attempt);
    discard(unit->part, unit);
}

static void handled(struct core *core, struct unit *unit)
{
    struct part *part = unit->part;

    for (size_t i = 0; i < unit->count; i++)
        unit->records[i]->outcome = unit->records[i]->duplicate ? OUTCOME_DUPLICATE : OUTCOME_DONE;
    flow_send_output(core, unit);
    part->stored = unit->records[unit->count - 1]->offset + 1;
    remove_unit(part, unit);
    for (size_t i = 0; i < unit->count; i++) {
        struct record *record = unit->records[i];
        if (record->state == RECORD_WAITING) /* it sent nothing */
            flow_finish(core, record, record->outcome);
    }
    unit_free(unit);
}

void batch_complete(struct core *core, struct unit *unit)
{
    int64_t retries = unit->route->retries > 0 ? unit->route->retries : BATCH_RETRIES;

    unit->running = false;
    for (size_t i = 0; i < unit->count; i++)
        unit->records[i]->state = RECORD_WAITING;
    if (unit->kind == UNIT_DECODE) {
        if (unit->err.fault == WEIR_FATAL)
            return; /* the core stops */
        bury_blamed(core, unit);
        unit->ready = true;
        if (unit->count == 0)
            discard(unit->part, unit);
        return;
    }
    switch (unit->err.fault) {
    case WEIR_OK:
        handled(core, unit);
        break;
    case WEIR_BAD_INPUT:
        if (bury_blamed(core, unit) == 0)
            fail_whole(core, unit);
        else if (unit->count == 0)
            discard(unit->part, unit);
        break;
    case WEIR_RETRY:
        if (unit->attempt > retries) {
            fail_whole(core, unit);
            break;
        }
        unit->due_ms = weir_mono_ms() + (core->settings->retry_wait_ms << (unit->attempt - 1));
        unit->attempt++;
        break;
    case WEIR_TRY_LATER:
    case WEIR_FATAL:
        break; /* stays first in line; the breaker or the end of the process says when */
    }
}
