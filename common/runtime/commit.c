/* Offsets and the crash guard's announcements.
 *
 * A record may go to a worker only below part.promised: the promise is made by a commit whose
 * metadata says what may be in flight (guard.h), and holds once the broker has acknowledged it.
 * Under load commits follow each other anyway, so a promise costs a wait only after a partition was
 * idle. */
#include <weir/log.h>

#include "runtime/core.h"

enum { COMMIT_AGAIN_MS = 200, SUSPECTS_IDLE_MS = 30000 };

static void leave_suspects(struct core *core, struct part *part)
{
    part->guard.suspect_end = -1;
    part->guard.deaths = 0;
    if (part->suspect) {
        part->suspect = false;
        core->suspects--;
        weir_log(WEIR_INFO, "suspect records passed", WEIR_S("topic", part->topic),
                 WEIR_I("partition", part->partition), WEIR_I("position", part->position));
    }
}

/* A retry topic's record that is not due is in nobody's hands: it holds up nothing. */
static bool goes_carefully(const struct part *part)
{
    return part->suspect && !(part->first && part->first->due_ms > weir_mono_ms());
}

/* The partition whose turn it is to go carefully; NULL: none does. One at a time: a death must have
 * one cause. */
static const struct part *careful_one(const struct core *core)
{
    for (const struct part *part = core->suspects > 0 ? core->parts : NULL; part; part = part->next)
        if (goes_carefully(part))
            return part;
    return NULL;
}

bool commit_fills_gap(const struct part *part)
{
    return !part->suspect && part->runnable && part->runnable->offset < part->handed_out &&
           part->runnable->offset < part->promised;
}

bool commit_allows(struct core *core, struct part *part, const struct record *first,
                   int64_t last_offset)
{
    if (part->revoked || (part->stopping && !commit_fills_gap(part)))
        return false;
    const struct part *careful = careful_one(core);
    if (careful && careful != part)
        return false;
    if (part->suspect && (first != part->first || core->submitted > 0 || part->sending))
        return false;
    if (last_offset < part->promised)
        return true;
    part->want_promise = true;
    return false;
}

/* The record that part.first is may have killed the process too often. */
static bool condemn(struct core *core, struct part *part)
{
    struct record *head = part->first;
    struct weir_err why;

    if (!part->suspect || !head || head->state != RECORD_WAITING || head->due_ms != 0 ||
        !guard_condemns(&part->guard, part->committed, head->offset) || careful_one(core) != part)
        return false;
    int deaths = (int)part->guard.deaths + 1;
    weir_fail(&why, WEIR_BAD_INPUT, "killed the process %d times", deaths);
    part->guard.deaths = 0;
    if (part->unbatched == head) {
        part->unbatched = head->next;
        part->unbatched_records--;
        part->unbatched_bytes -= head->size_bytes;
    } else if (part->runnable == head) {
        part->runnable = head->link;
        if (!part->runnable)
            part->runnable_last = NULL;
    }
    flow_letter(core, head, &why, deaths);
    return true;
}

static void check_suspects(struct core *core, struct part *part)
{
    if (!part->suspect || part->running || part->sending)
        return;
    if (part->first) {
        if (!guard_suspects(&part->guard, part->first->offset))
            leave_suspects(core, part);
        return;
    }
    int64_t end = weir_bus_end(core->bus, part->topic, part->partition);
    bool at_end = end >= 0 && part->next_offset >= end;
    if (at_end || weir_mono_ms() - part->read_ms > SUSPECTS_IDLE_MS)
        leave_suspects(core, part);
}

/* The suspects not passed yet, for the next owner. */
static void announce_rest(const struct part *part, char metadata[GUARD_METADATA_SIZE])
{
    int64_t left = part->guard.suspect_end - part->position;
    guard_running(metadata, left > 0 ? left : 1);
}

static void commit_position(struct core *core, struct part *part, const char *metadata)
{
    struct weir_partition at = { part->topic, part->partition, part->position, metadata };

    part->committing = part->position;
    part->commit_ms = weir_mono_ms();
    weir_bus_commit(core->bus, &at, 1, (void *)part->serial);
}

static void send(struct core *core, struct part *part)
{
    char metadata[GUARD_METADATA_SIZE] = "";

    part->promising = part->position; /* nothing */
    if (part->suspect && part->first) {
        int64_t last = part->first->offset;
        for (struct record *record = part->first;
             record && record->offset < part->first->offset + part->guard.group;
             record = record->next)
            last = record->offset;
        int64_t count = last - part->first->offset + 1;
        bool same = part->first->offset == part->committed && count == 1;
        guard_suspect(metadata, count, same ? part->guard.deaths : 0);
        if (!same)
            part->guard.deaths = 0;
        part->promising = last + 1;
    } else if (part->first || part->want_promise) {
        guard_running(metadata, core->window);
        part->promising = part->position + core->window;
    } else if (part->suspect) {
        /* Nothing at hand yet of what is suspect: the announcement must outlive us unchanged. */
        announce_rest(part, metadata);
    } else {
        part->promised = part->position; /* clean: no promise, from this moment on */
    }
    part->want_promise = false;
    commit_position(core, part, metadata);
}

int64_t commit_due_ms(const struct core *core, const struct part *part)
{
    if (part->committing >= 0 || part->position < 0)
        return -1;
    if (part->position > (part->committed >= 0 ? part->committed : 0))
        return part->commit_ms + core->settings->commit_ms;
    if (!part->first && part->promised > part->position && !part->suspect)
        return (part->read_ms > part->commit_ms ? part->read_ms : part->commit_ms) +
               core->settings->commit_ms;
    return -1;
}

void commit_advance(struct core *core, struct part *part)
{
    if (part->revoked || part->stopping || part->position < 0)
        return;
    check_suspects(core, part);
    if (part->committing >= 0)
        return;
    if (condemn(core, part))
        return;
    int64_t due_ms = commit_due_ms(core, part);
    int64_t progress = part->position - (part->committed >= 0 ? part->committed : 0);
    bool much = progress > 0 && progress >= core->window / 4;
    if (part->want_promise || much || (due_ms >= 0 && due_ms <= weir_mono_ms()))
        send(core, part);
}

void commit_outcome(struct core *core, struct part *part, enum weir_fault fault, const char *reason)
{
    int64_t offset = part->committing;

    part->committing = -1;
    if (fault == WEIR_OK) {
        part->committed = offset;
        part->promised = part->promising;
        return;
    }
    part->commit_ms = weir_mono_ms() - core->settings->commit_ms + COMMIT_AGAIN_MS;
    if (part->first)
        part->want_promise = true;
    weir_log(WEIR_WARN, "commit failed", WEIR_S("topic", part->topic),
             WEIR_I("partition", part->partition), WEIR_I("offset", offset),
             WEIR_S("reason", reason));
}

void commit_last(struct core *core, struct part *part, int64_t deadline_ms)
{
    char metadata[GUARD_METADATA_SIZE] = "";

    /* One under way would overwrite ours. */
    while (part->committing >= 0 && weir_mono_ms() < deadline_ms)
        core_pump(core, 20);
    if (part->position < 0 || part->committing >= 0)
        return;
    if (part->running > 0) /* if a worker dies of what it still does, the next owner shall know */
        guard_running(metadata, core->window);
    else if (part->suspect)
        announce_rest(part, metadata);
    part->promising = part->position;
    commit_position(core, part, metadata);
    while (part->committing >= 0 && weir_mono_ms() < deadline_ms)
        core_pump(core, 20);
}
