/* What becomes of a record: from the bus to a worker, and by the outcome to its end. */
#include <stdlib.h>

#include <weir/log.h>

#include "runtime/core.h"

enum {
    RETRIES_DEFAULT = 5,
    UNITS_PER_WORKER = 4,
    RESEND_MS = 500,
    QUEUE_FULL_MS = 5,
    RETRY_WAIT_MAX_MS = 30000
};

/* ---- lists ---- */

/* By offset; new ones almost always belong to the end. */
static void make_runnable(struct record *record)
{
    struct part *part = record->part;
    struct record **at = &part->runnable;

    record->state = RECORD_WAITING;
    if (part->runnable_last && part->runnable_last->offset < record->offset)
        at = &part->runnable_last->link;
    while (*at && (*at)->offset < record->offset)
        at = &(*at)->link;
    record->link = *at;
    *at = record;
    if (!record->link)
        part->runnable_last = record;
}

static void delay(struct core *core, struct record *record, int64_t due_ms)
{
    struct record **at = &core->delayed;

    record->state = RECORD_WAITING;
    record->due_ms = due_ms;
    while (*at && (*at)->due_ms <= due_ms)
        at = &(*at)->link;
    record->link = *at;
    *at = record;
}

void flow_wake_delayed(struct core *core)
{
    int64_t now_ms = weir_mono_ms();

    while (core->delayed && core->delayed->due_ms <= now_ms) {
        struct record *record = core->delayed;
        core->delayed = record->link;
        record->due_ms = 0;
        make_runnable(record);
    }
}

/* ---- in ---- */

static const struct weir_route *route_of(const struct core *core, const struct part *part,
                                         const struct weir_msg *msg)
{
    if (part->route)
        return part->route;
    const struct weir_header *origin = weir_msg_header(msg, "weir_topic");
    const struct weir_route *fallback = NULL;
    for (const struct weir_route *route = core->service->routes; route->topic; route++) {
        if (route->retry != WEIR_RETRY_TOPICS)
            continue;
        fallback = route; /* put into the retry topic by hand: some route has to answer for it */
        if (origin && origin->value && strlen(route->topic) == origin->size_bytes &&
            memcmp(route->topic, origin->value, origin->size_bytes) == 0)
            return route;
    }
    return fallback;
}

/* The log ends before the offset at which we wanted to go on, and was reset to its beginning: it is
 * not the log that the offset belongs to. The group's offset gives way. A sink's does not: its sink
 * would take the new records for old ones. */
static bool begins_anew(struct core *core, struct part *part, int64_t offset)
{
    if (core->service->resume) {
        weir_fail(&core->fatal, WEIR_FATAL,
                  "%s/%d: stored offset %lld lies beyond the end of the log: another cluster, or a "
                  "topic made anew? Then delete the partition's row in the sink's weir_offsets",
                  part->topic, (int)part->partition, (long long)part->next_offset);
        return false;
    }
    weir_log(WEIR_WARN, "the log begins anew", WEIR_S("topic", part->topic),
             WEIR_I("partition", part->partition), WEIR_I("wanted", part->next_offset),
             WEIR_I("offset", offset));
    part->committed = -1;
    part->promised = -1;
    return true;
}

void flow_receive(struct core *core, const struct weir_msg *msg)
{
    struct part *part = core_part(core, msg->topic, msg->partition);

    if (!part || part->stopping)
        return; /* a leftover of an assignment that is over */
    if (msg->offset < part->next_offset && !begins_anew(core, part, msg->offset))
        return;
    struct record *record = record_new(msg, part, route_of(core, part, msg));
    record->received_ms = part->read_ms = weir_mono_ms();
    if (part->last)
        part->last->next = record;
    else
        part->first = record;
    part->last = record;
    part->next_offset = record->offset + 1;
    if (part->first == record)
        part->position = record->offset;
    part->records++;
    part->bytes += record->size_bytes;
    core->records++;
    core->bytes += record->size_bytes;
    weir_metric_add(part->metrics->received, 1);

    if (record->route->handle_batch) {
        if (!part->unbatched)
            part->unbatched = record;
        part->unbatched_records++;
        part->unbatched_bytes += record->size_bytes;
        return;
    }
    int64_t due_in_ms = part->route ? 0 : retry_due_ms(msg) - weir_wall_ms();
    if (due_in_ms > 0)
        delay(core, record, weir_mono_ms() + due_in_ms);
    else if (!part->route || keys_enter(&core->keys, record))
        make_runnable(record);
}

bool flow_submit(struct core *core, struct unit *unit)
{
    /* Decoding asks no dependency: it goes on during an outage, and its success proves nothing. */
    if (unit->kind != UNIT_DECODE) {
        if (!breaker_allows(&core->breaker, weir_mono_ms()))
            return false;
        unit->probe = core->breaker.open;
    }
    unit->part->running++;
    core->submitted++;
    pool_submit(core->pool, unit);
    return true;
}

static bool dispatch_one(struct core *core, struct part *part)
{
    struct record *record = part->runnable;

    if (!record || !commit_allows(core, part, record, record->offset))
        return false;
    struct unit *unit = unit_new(UNIT_HANDLE, part, record->route, 1);
    unit->records[0] = record;
    if (!flow_submit(core, unit)) {
        unit_free(unit);
        return false;
    }
    record->state = RECORD_RUNNING;
    if (part->handed_out <= record->offset)
        part->handed_out = record->offset + 1;
    part->runnable = record->link;
    if (!part->runnable)
        part->runnable_last = NULL;
    return true;
}

/* Partitions take turns, so that one with a long queue does not starve another. */
void flow_dispatch(struct core *core)
{
    bool any = true;

    while (any) {
        any = false;
        for (struct part *part = core->parts; part; part = part->next)
            if (core->submitted < core->workers * UNITS_PER_WORKER && dispatch_one(core, part))
                any = true;
    }
}

/* ---- out ---- */

static void free_records(struct core *core, struct part *part)
{
    while (part->first && part->first->state == RECORD_FINISHED) {
        struct record *record = part->first;
        part->first = record->next;
        if (!part->first)
            part->last = NULL;
        part->position = part->first ? part->first->offset : part->next_offset;
        part->records--;
        part->bytes -= record->size_bytes;
        core->records--;
        core->bytes -= record->size_bytes;
        free(record);
    }
}

void flow_finish(struct core *core, struct record *record, enum record_outcome outcome)
{
    struct part *part = record->part;

    record->state = RECORD_FINISHED;
    record->outcome = outcome;
    weir_metric_add(part->metrics->finished[outcome], 1);
    struct record *next = keys_leave(&core->keys, record);
    if (next)
        make_runnable(next);
    if (!part->revoked)
        free_records(core, part);
}

static void queue_unsent(struct core *core, struct outgoing *out)
{
    out->next = NULL;
    if (core->unsent_last)
        core->unsent_last->next = out;
    else
        core->unsent = out;
    core->unsent_last = out;
}

void flow_send(struct core *core, struct outgoing *out)
{
    struct weir_err err;

    for (struct outgoing *before = core->unsent; before; before = before->next)
        if (before->cause == out->cause) { /* keep the order of what came of one record */
            queue_unsent(core, out);
            return;
        }
    int fault = weir_bus_produce(core->bus, &out->msg, out, &err);
    if (fault == WEIR_TRY_LATER) {
        queue_unsent(core, out);
        core->unsent_ms = weir_mono_ms() + QUEUE_FULL_MS;
    } else if (fault == WEIR_RETRY) {
        flow_delivered(core, out, WEIR_TRY_LATER, err.text);
    } else if (fault != WEIR_OK) {
        flow_delivered(core, out, (enum weir_fault)fault, err.text);
    }
}

void flow_resend(struct core *core)
{
    if (!core->unsent || weir_mono_ms() < core->unsent_ms)
        return;
    struct outgoing *out = core->unsent;
    core->unsent = core->unsent_last = NULL;
    while (out) {
        struct outgoing *next = out->next;
        flow_send(core, out);
        out = next;
    }
}

static void start_sending(struct record *record, int deliveries)
{
    record->state = RECORD_SENDING;
    record->in_delivery = deliveries;
    record->part->sending++;
}

void flow_letter(struct core *core, struct record *record, const struct weir_err *why, int attempts)
{
    weir_log(WEIR_WARN, "dead letter", WEIR_S("topic", record->msg.topic),
             WEIR_I("partition", record->msg.partition), WEIR_I("offset", record->msg.offset),
             WEIR_S("fault", weir_fault_name(why->fault)), WEIR_S("reason", why->text));
    record->outcome = OUTCOME_DEAD;
    record->blamed = false;
    start_sending(record, 1);
    flow_send(core, outgoing_letter(record, core->service->name, attempts, why, weir_wall_ms()));
}

void flow_send_output(struct core *core, struct unit *unit)
{
    struct outgoing *out = unit->out;

    for (struct outgoing *each = out; each; each = each->next) {
        if (each->cause->in_delivery == 0)
            start_sending(each->cause, 0);
        each->cause->in_delivery++;
    }
    unit->out = unit->out_last = NULL;
    while (out) {
        struct outgoing *next = out->next;
        flow_send(core, out);
        out = next;
    }
}

static void release_part(struct part *part);

/* All that a record sent is settled. */
static void sent(struct core *core, struct record *record)
{
    struct part *part = record->part;

    part->sending--;
    if (record->blamed) {
        flow_letter(core, record, &record->blame, record->msg.attempt);
        return;
    }
    flow_finish(core, record, record->outcome);
    if (part->revoked)
        release_part(part);
}

void flow_delivered(struct core *core, struct outgoing *out, enum weir_fault fault,
                    const char *reason)
{
    struct record *record = out->cause;

    if (fault != WEIR_OK && (fault == WEIR_TRY_LATER || out->kind != OUTGOING_EMIT)) {
        /* Never given up: the record's offset waits. A dead letter that the broker refuses needs a
         * person. */
        weir_log(WEIR_ERROR, "not delivered, will be sent again", WEIR_S("topic", out->msg.topic),
                 WEIR_S("reason", reason));
        core->unsent_ms = weir_mono_ms() + RESEND_MS;
        queue_unsent(core, out);
        return;
    }
    if (fault != WEIR_OK) {
        record->blamed = true;
        weir_fail(&record->blame, WEIR_BAD_INPUT, "its message to %s is refused: %s",
                  out->msg.topic, reason);
    }
    free(out);
    if (--record->in_delivery == 0)
        sent(core, record);
}

void flow_outage(struct core *core, const struct weir_err *err, bool probe)
{
    bool was_open = core->breaker.open;

    breaker_fail(&core->breaker, probe, weir_mono_ms(), weir_random());
    weir_metric_set(core->metrics->breaker_open, 1);
    if (!was_open || probe)
        weir_log(was_open ? WEIR_WARN : WEIR_ERROR, "paused: a dependency is away",
                 WEIR_S("reason", err->text), WEIR_I("pause_ms", core->breaker.pause_ms));
}

static void not_an_outage(struct core *core, const struct unit *unit)
{
    if (!breaker_succeed(&core->breaker, unit->probe))
        return;
    weir_metric_set(core->metrics->breaker_open, 0);
    weir_log(WEIR_INFO, "resumed: the dependency answers again",
             WEIR_I("away_ms", weir_mono_ms() - core->breaker.opened_ms));
}

static void retry(struct core *core, struct record *record, const struct weir_err *err)
{
    const struct weir_route *route = record->route;
    int attempt = record->msg.attempt;

    if (route->retry == WEIR_RETRY_TOPICS && attempt <= RETRY_STAGES) {
        record->outcome = OUTCOME_RETRIED;
        start_sending(record, 1);
        flow_send(core,
                  outgoing_retry(record, core->service->name, attempt - 1, err, weir_wall_ms()));
        return;
    }
    int retries = route->retries > 0 ? route->retries : RETRIES_DEFAULT;
    if (route->retry == WEIR_RETRY_TOPICS || attempt > retries) {
        flow_letter(core, record, err, attempt);
        return;
    }
    int64_t wait_ms = core->settings->retry_wait_ms << (attempt < 16 ? attempt - 1 : 15);
    record->msg.attempt++;
    delay(core, record,
          weir_mono_ms() + (wait_ms < RETRY_WAIT_MAX_MS ? wait_ms : RETRY_WAIT_MAX_MS));
}

static void single_complete(struct core *core, struct unit *unit)
{
    struct record *record = unit->records[0];

    switch (unit->err.fault) {
    case WEIR_OK:
        record->outcome = record->duplicate ? OUTCOME_DUPLICATE : OUTCOME_DONE;
        if (unit->out)
            flow_send_output(core, unit);
        else
            flow_finish(core, record, record->outcome);
        break;
    case WEIR_BAD_INPUT:
        flow_letter(core, record, &unit->err, record->msg.attempt);
        break;
    case WEIR_RETRY:
        retry(core, record, &unit->err);
        break;
    case WEIR_TRY_LATER:
        make_runnable(record);
        break;
    case WEIR_FATAL:
        break;
    }
    unit_free(unit);
}

static void observe(struct core *core, const struct unit *unit)
{
    if (unit->kind != UNIT_HANDLE)
        return;
    weir_metric_observe(core->metrics->handle_seconds,
                        (double)(unit->ended_ns - unit->started_ns) / 1e9);
    weir_metric_observe(core->metrics->handoff_seconds,
                        (double)unit->started_ns / 1e9 -
                            (double)unit->records[0]->received_ms / 1e3);
    if (unit->route->handle_batch)
        weir_metric_add(core->metrics->batch_records, (double)unit->count);
    if (unit->err.fault != WEIR_OK)
        weir_metric_add(core->metrics->failures[-unit->err.fault], 1);
}

void flow_complete(struct core *core, struct unit *unit)
{
    struct part *part = unit->part;

    core->submitted--;
    part->running--;
    observe(core, unit);
    if (unit->kind == UNIT_ADVANCE && unit->err.fault > WEIR_FATAL && unit->err.fault < WEIR_OK)
        unit->err.fault = WEIR_TRY_LATER; /* no record is to blame */
    if (unit->err.fault == WEIR_TRY_LATER)
        flow_outage(core, &unit->err, unit->probe);
    else
        not_an_outage(core, unit);
    if (unit->err.fault == WEIR_FATAL && core->fatal.fault == WEIR_OK)
        core->fatal = unit->err;
    if (unit->kind == UNIT_ADVANCE) {
        part->advancing = false;
        if (unit->err.fault == WEIR_OK)
            part->stored = unit->sink_offset;
    }
    if (part->revoked) { /* its effect stands, its offset is another's business now */
        unit_free(unit);
        release_part(part);
    } else if (unit->kind == UNIT_ADVANCE) {
        unit_free(unit);
    } else if (unit->route->handle_batch) {
        batch_complete(core, unit);
    } else {
        single_complete(core, unit);
    }
}

/* ---- a partition goes ---- */

static void forget_keys(struct core *core, const struct part *part)
{
    for (size_t i = 0; i <= core->keys.mask; i++)
        for (struct record **at = &core->keys.buckets[i]; *at;) {
            if ((*at)->part == part)
                *at = (*at)->bucket;
            else
                at = &(*at)->bucket;
        }
}

static void forget_delayed(struct core *core, const struct part *part)
{
    for (struct record **at = &core->delayed; *at;) {
        if ((*at)->part == part)
            *at = (*at)->link;
        else
            at = &(*at)->link;
    }
}

static void release_part(struct part *part)
{
    if (part->running > 0 || part->sending > 0)
        return;
    while (part->first) {
        struct record *record = part->first;
        part->first = record->next;
        free(record);
    }
    free(part->metrics);
    free(part->topic);
    free(part);
}

void flow_detach(struct core *core, struct part *part)
{
    struct part **at = &core->parts;

    while (*at != part)
        at = &(*at)->next;
    *at = part->next;
    core->part_count--;
    part->revoked = true;
    if (part->suspect)
        core->suspects--;
    forget_keys(core, part);
    forget_delayed(core, part);
    for (struct record *record = part->first; record; record = record->next) {
        record->keyed = false;
        record->behind = NULL;
        if (record->state != RECORD_FINISHED)
            weir_metric_add(part->metrics->returned, 1);
    }
    while (part->batches) {
        struct unit *unit = part->batches;
        part->batches = unit->after;
        if (!unit->running)
            unit_free(unit);
    }
    core->records -= part->records;
    core->bytes -= part->bytes;
    release_part(part);
}
