/* The bus inside one process, for unit tests: topics, logs, groups and offsets in memory.
 *
 * All buses of one name share a store, behind one mutex; it is freed when the last of them closes,
 * so a test keeps one open for as long as it wants the records. Nothing is ever evicted: a log
 * grows until it is truncated or the store goes.
 *
 * A rebalance is eager: every member of the group gives back all it has, each on its own thread
 * inside consume() or leave(), then the partitions are shared out by range, in the order in which
 * the members came. A member that does not call consume() holds up its group, as no clock evicts
 * it. Static membership (config.instance), replication and topic configuration have no effect,
 * except max.message.bytes; configuration is kept and shown. There is no outage: on.state is only
 * told of unknown topics. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/clock.h>

#include "bus/ops.h"

enum {
    RECORD_MAX_BYTES = 1000000, /* librdkafka's message.max.bytes, and what Kafka takes */
    TOPIC_NAME_MAX = 249,       /* Kafka's own limit */
};

/* ---- the store ---- */

struct entry { /* a record: one block of memory, shared by the log and who reads it */
    int users;
    struct weir_msg msg; /* topic: the full name; key, value and headers follow the struct */
};

struct log { /* a partition */
    struct entry **entries;
    size_t count, capacity;
    int64_t first; /* offset of entries[0] */
};

struct topic {
    struct topic *next;
    char *name; /* with the namespace */
    struct log *logs;
    int32_t partitions, replicas;
    int32_t turn; /* of records without a key */
    struct weir_topic_config *configs;
    size_t config_count;
};

struct committed {
    struct committed *next;
    char *topic; /* with the namespace */
    int32_t partition;
    int64_t offset;
    char *metadata;
};

struct group {
    struct group *next;
    char *name; /* with the namespace */
    struct committed *committed;
    struct memory *members; /* in the order in which they came (linked by .peer) */
};

struct store {
    struct store *next;
    char *name;
    int users;
    pthread_mutex_t lock; /* guards all below, and what struct memory marks as shared */
    struct topic *topics;
    struct group *groups;
    struct memory *buses; /* linked by .sibling */
};

static pthread_mutex_t stores_lock = PTHREAD_MUTEX_INITIALIZER;
static struct store *stores;

/* ---- a bus ---- */

enum report_kind { REPORT_DELIVERED, REPORT_COMMITTED, REPORT_STATE };

struct report { /* what a callback will be told, on the bus's thread */
    struct report *next;
    enum report_kind kind;
    void *opaque;
    enum weir_fault fault;
    int32_t partition;
    int64_t offset;
    char reason[TOPIC_NAME_MAX + 80];
};

struct part {
    struct topic *topic;
    int32_t partition;
    int64_t position; /* the bus's thread only */
};

struct memory {
    weir_bus base;
    struct store *store;
    char *name_space, *group_name;
    size_t name_space_length;
    bool (*ready_for)(void *arg, const char *topic, int32_t partition);
    struct weir_bus_events on;

    struct report *reports, **reports_end;
    struct entry *current; /* borrowed by the caller until the next call */
    struct weir_msg msg;
    size_t next_part;

    /* Shared: written under the store's lock. parts are written by the bus's thread alone, which
     * therefore reads them without. */
    struct memory *sibling, *peer;
    pthread_cond_t signal;
    bool signalled;
    const struct log *scanning; /* wake when it grows */
    struct group *group;        /* NULL: no member of one */
    char **subscription;        /* full names, NULL-terminated */
    struct part *parts;
    size_t part_count;
    bool must_give_back;
    struct part *offer; /* the share in the assignment that is to be taken */
    size_t offer_count;
    bool has_offer;
};

static void lock(const struct memory *bus)
{
    pthread_mutex_lock(&bus->store->lock);
}

static void unlock(const struct memory *bus)
{
    pthread_mutex_unlock(&bus->store->lock);
}

static void signal_bus(struct memory *bus)
{
    bus->signalled = true;
    pthread_cond_signal(&bus->signal);
}

static char *full_name(const struct memory *bus, const char *name)
{
    size_t length = strlen(name);
    char *full = weir_xmalloc(bus->name_space_length + length + 1);
    memcpy(full, bus->name_space, bus->name_space_length);
    memcpy(full + bus->name_space_length, name, length + 1);
    return full;
}

static bool in_name_space(const struct memory *bus, const char *full)
{
    return strncmp(full, bus->name_space, bus->name_space_length) == 0;
}

static const char *short_name(const struct memory *bus, const char *full)
{
    return in_name_space(bus, full) ? full + bus->name_space_length : full;
}

static struct topic *find_topic(const struct memory *bus, const char *name)
{
    for (struct topic *topic = bus->store->topics; topic; topic = topic->next)
        if (in_name_space(bus, topic->name) &&
            strcmp(topic->name + bus->name_space_length, name) == 0)
            return topic;
    return NULL;
}

static struct log *find_log(const struct memory *bus, const char *name, int32_t partition)
{
    struct topic *topic = find_topic(bus, name);
    return topic && partition >= 0 && partition < topic->partitions ? &topic->logs[partition]
                                                                    : NULL;
}

static int unknown(struct weir_err *err, const char *topic)
{
    return weir_fail(err, WEIR_BAD_INPUT, "memory: %s: unknown topic or partition", topic);
}

static int64_t end_of(const struct log *log)
{
    return log->first + (int64_t)log->count;
}

/* ---- records ---- */

static void *put(char **at, const void *data, size_t size)
{
    char *to = *at;
    if (!data)
        return NULL;
    memcpy(to, data, size);
    *at += size;
    return to;
}

/* With a byte more than needed, so that an empty value at the end has an address of its own. */
static struct entry *entry_new(const struct weir_msg *msg)
{
    size_t size = sizeof(struct entry) + msg->header_count * sizeof(struct weir_header) +
                  msg->key_size_bytes + msg->value_size_bytes + 1;
    for (size_t i = 0; i < msg->header_count; i++)
        size += strlen(msg->headers[i].name) + 1 + msg->headers[i].size_bytes;

    struct entry *entry = weir_xmalloc(size);
    struct weir_header *headers = (struct weir_header *)(entry + 1);
    char *at = (char *)(headers + msg->header_count);
    entry->users = 1;
    entry->msg = (struct weir_msg){
        .key = put(&at, msg->key, msg->key_size_bytes),
        .key_size_bytes = msg->key ? msg->key_size_bytes : 0,
        .value = put(&at, msg->value, msg->value_size_bytes),
        .value_size_bytes = msg->value ? msg->value_size_bytes : 0,
        .time_ms = msg->time_ms > 0 ? msg->time_ms : weir_wall_ms(),
        .headers = headers,
        .header_count = msg->header_count,
    };
    for (size_t i = 0; i < msg->header_count; i++) {
        const struct weir_header *from = &msg->headers[i];
        headers[i].name = put(&at, from->name, strlen(from->name) + 1);
        headers[i].value = put(&at, from->value, from->size_bytes);
        headers[i].size_bytes = from->value ? from->size_bytes : 0;
    }
    return entry;
}

static void entry_release(struct entry *entry)
{
    if (--entry->users == 0)
        free(entry);
}

static void append(struct log *log, struct entry *entry)
{
    if (log->count == log->capacity) {
        log->capacity = log->capacity ? 2 * log->capacity : 16;
        log->entries = weir_xrealloc(log->entries, log->capacity * sizeof(struct entry *));
    }
    log->entries[log->count++] = entry;
}

/* ---- groups ---- */

static struct group *find_group(struct store *store, const char *name)
{
    for (struct group *group = store->groups; group; group = group->next)
        if (strcmp(group->name, name) == 0)
            return group;
    return NULL;
}

static struct group *need_group(const struct memory *bus)
{
    char *name = full_name(bus, bus->group_name);
    struct group *group = find_group(bus->store, name);

    if (group) {
        free(name);
        return group;
    }
    group = weir_xcalloc(1, sizeof(*group));
    group->name = name;
    group->next = bus->store->groups;
    bus->store->groups = group;
    return group;
}

static struct committed *find_committed(const struct group *group, const char *topic,
                                        int32_t partition)
{
    for (struct committed *at = group->committed; at; at = at->next)
        if (at->partition == partition && strcmp(at->topic, topic) == 0)
            return at;
    return NULL;
}

static bool subscribed(const struct memory *bus, const char *topic)
{
    for (char **name = bus->subscription; name && *name; name++)
        if (strcmp(*name, topic) == 0)
            return true;
    return false;
}

static void withdraw_offer(struct memory *bus)
{
    free(bus->offer);
    bus->offer = NULL;
    bus->offer_count = 0;
    bus->has_offer = false;
}

/* The range strategy: of each topic, every subscribed member gets a run of partitions. */
static void share_out(struct topic *topic, struct group *group)
{
    int32_t members = 0, next = 0, index = 0;

    for (struct memory *member = group->members; member; member = member->peer)
        members += subscribed(member, topic->name);
    for (struct memory *member = group->members; member; member = member->peer) {
        if (!subscribed(member, topic->name))
            continue;
        int32_t share = topic->partitions / members + (index++ < topic->partitions % members);
        member->offer = weir_xrealloc(member->offer, (member->offer_count + (size_t)share + 1) *
                                                         sizeof(*member->offer));
        while (share-- > 0)
            member->offer[member->offer_count++] = (struct part){ topic, next++, -1 };
    }
}

/* Once nobody has anything any more, everybody is offered a share. */
static void assign_if_free(struct store *store, struct group *group)
{
    for (struct memory *member = group->members; member; member = member->peer)
        if (member->part_count > 0)
            return;
    for (struct memory *member = group->members; member; member = member->peer)
        withdraw_offer(member);
    for (struct topic *topic = store->topics; topic; topic = topic->next)
        share_out(topic, group);
    for (struct memory *member = group->members; member; member = member->peer) {
        member->has_offer = true;
        signal_bus(member);
    }
}

static void rebalance(struct store *store, struct group *group)
{
    for (struct memory *member = group->members; member; member = member->peer) {
        withdraw_offer(member);
        if (member->part_count > 0) {
            member->must_give_back = true;
            signal_bus(member);
        }
    }
    assign_if_free(store, group);
}

static void topic_changed(struct store *store, const struct topic *topic)
{
    for (struct group *group = store->groups; group; group = group->next)
        for (struct memory *member = group->members; member; member = member->peer)
            if (subscribed(member, topic->name)) {
                rebalance(store, group);
                break;
            }
}

static void give_back(struct memory *bus)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_partition *parts = weir_alloc_zero(arena, (bus->part_count + 1) * sizeof(*parts));

    for (size_t i = 0; i < bus->part_count; i++)
        parts[i] = (struct weir_partition){ short_name(bus, bus->parts[i].topic->name),
                                            bus->parts[i].partition, -1, NULL };
    if (bus->on.revoked)
        bus->on.revoked(bus->on.arg, parts, bus->part_count, false);
    lock(bus);
    free(bus->parts);
    bus->parts = NULL;
    bus->part_count = bus->next_part = 0;
    bus->must_give_back = false;
    unlock(bus);
}

/* Called with the lock, which it lets go of for the callback. */
static void take_offer(struct memory *bus)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    size_t count = bus->offer_count;
    struct weir_partition *parts = weir_alloc_zero(arena, (count + 1) * sizeof(*parts));

    free(bus->parts); /* of a share of none */
    bus->parts = weir_take(&bus->offer);
    bus->part_count = count;
    withdraw_offer(bus);
    for (size_t i = 0; i < count; i++) {
        const struct part *part = &bus->parts[i];
        const struct committed *at = find_committed(bus->group, part->topic->name, part->partition);
        parts[i] = (struct weir_partition){
            .topic = short_name(bus, part->topic->name),
            .partition = part->partition,
            .offset = at ? at->offset : -1,
            .metadata = at ? weir_strdup(arena, at->metadata) : NULL,
        };
    }
    unlock(bus);
    if (bus->on.assigned)
        bus->on.assigned(bus->on.arg, parts, count);
    for (size_t i = 0; i < count; i++)
        bus->parts[i].position = parts[i].offset;
    lock(bus);
}

static void serve_group(struct memory *bus)
{
    lock(bus);
    if (bus->must_give_back) {
        unlock(bus);
        give_back(bus);
        lock(bus);
        assign_if_free(bus->store, bus->group);
    }
    if (bus->has_offer)
        take_offer(bus);
    unlock(bus);
}

/* ---- reports ---- */

static struct report *report(struct memory *bus, enum report_kind kind, void *opaque,
                             enum weir_fault fault)
{
    struct report *made = weir_xcalloc(1, sizeof(*made));
    made->kind = kind;
    made->opaque = opaque;
    made->fault = fault;
    made->partition = -1;
    made->offset = -1;
    *bus->reports_end = made;
    bus->reports_end = &made->next;
    return made;
}

/* Taken out one by one, as a callback may poll. */
static bool serve_reports(struct memory *bus)
{
    bool any = false;

    while (bus->reports) {
        struct report *next = bus->reports;
        bus->reports = next->next;
        if (!bus->reports)
            bus->reports_end = &bus->reports;
        if (next->kind == REPORT_DELIVERED && bus->on.delivered)
            bus->on.delivered(bus->on.arg, next->opaque, next->fault, next->partition, next->offset,
                              next->reason);
        else if (next->kind == REPORT_COMMITTED && bus->on.committed)
            bus->on.committed(bus->on.arg, next->opaque, next->fault, next->reason);
        else if (next->kind == REPORT_STATE && bus->on.state)
            bus->on.state(bus->on.arg, true, next->reason);
        free(next);
        any = true;
    }
    return any;
}

/* Until something signals the bus, or the time (monotonic) has come. Called with the lock. */
static void wait_for_signal(struct memory *bus, int64_t deadline_ms)
{
    struct timespec until = { .tv_sec = deadline_ms / 1000,
                              .tv_nsec = deadline_ms % 1000 * 1000000 };
    while (!bus->signalled && pthread_cond_timedwait(&bus->signal, &bus->store->lock, &until) == 0)
        continue;
    bus->signalled = false;
}

/* ---- consuming ---- */

static void drop_current(struct memory *bus)
{
    if (!bus->current)
        return;
    lock(bus);
    entry_release(bus->current);
    unlock(bus);
    bus->current = NULL;
}

static int memory_subscribe(weir_bus *base, const char *const *topics, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    size_t count = 0;

    if (!bus->group_name)
        return weir_fail(err, WEIR_FATAL, "subscribe: needs a bus with a group");
    while (topics[count])
        count++;
    char **names = weir_xcalloc(count + 1, sizeof(*names));
    for (size_t i = 0; i < count; i++)
        names[i] = full_name(bus, topics[i]);

    lock(bus);
    for (char **name = bus->subscription; name && *name; name++)
        free(*name);
    free(bus->subscription);
    bus->subscription = names;
    if (!bus->group) {
        bus->group = need_group(bus);
        struct memory **at = &bus->group->members;
        while (*at)
            at = &(*at)->peer;
        *at = bus;
    }
    rebalance(bus->store, bus->group);
    for (size_t i = 0; i < count; i++)
        if (!find_topic(bus, topics[i]))
            snprintf(report(bus, REPORT_STATE, NULL, WEIR_OK)->reason, sizeof(bus->reports->reason),
                     "topic %s: unknown", topics[i]);
    unlock(bus);
    return WEIR_OK;
}

/* One that was truncated under the reader, or never was, is read from the beginning of the log. */
static bool take_next(struct memory *bus, struct part *part)
{
    const struct log *log = &part->topic->logs[part->partition];

    if (part->position < log->first || part->position > end_of(log))
        part->position = log->first;
    if (part->position == end_of(log))
        return false;
    bus->current = log->entries[part->position - log->first];
    bus->current->users++;
    bus->msg = bus->current->msg;
    bus->msg.topic = short_name(bus, part->topic->name);
    bus->msg.partition = part->partition;
    bus->msg.offset = part->position++;
    return true;
}

static bool next_record(struct memory *bus)
{
    for (size_t i = 0; i < bus->part_count; i++) {
        if (bus->next_part >= bus->part_count)
            bus->next_part = 0;
        struct part *part = &bus->parts[bus->next_part++];
        if (bus->ready_for &&
            !bus->ready_for(bus->on.arg, short_name(bus, part->topic->name), part->partition))
            continue;
        lock(bus);
        bool found = take_next(bus, part);
        unlock(bus);
        if (found)
            return true;
    }
    return false;
}

static int memory_consume(weir_bus *base, int timeout_ms, const struct weir_msg **out,
                          struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    int64_t deadline_ms = weir_mono_ms() + timeout_ms;

    if (!bus->group_name)
        return weir_fail(err, WEIR_FATAL, "consume: needs a bus with a group");
    drop_current(bus);
    for (bool waited = timeout_ms <= 0;; waited = true) {
        bool served = serve_reports(bus);
        serve_group(bus);
        if (next_record(bus)) {
            *out = &bus->msg;
            return 1;
        }
        if (waited || served)
            return 0;
        lock(bus);
        wait_for_signal(bus, deadline_ms);
        unlock(bus);
    }
}

static void memory_poll(weir_bus *base, int timeout_ms)
{
    struct memory *bus = (struct memory *)base;

    if (serve_reports(bus) || timeout_ms <= 0)
        return;
    lock(bus);
    wait_for_signal(bus, weir_mono_ms() + timeout_ms);
    unlock(bus);
    serve_reports(bus);
}

static void memory_wake(weir_bus *base)
{
    struct memory *bus = (struct memory *)base;
    lock(bus);
    signal_bus(bus);
    unlock(bus);
}

static void memory_leave(weir_bus *base)
{
    struct memory *bus = (struct memory *)base;

    drop_current(bus);
    if (!bus->group)
        return;
    if (bus->part_count > 0)
        give_back(bus);
    lock(bus);
    struct group *group = bus->group;
    struct memory **at = &group->members;
    while (*at != bus)
        at = &(*at)->peer;
    *at = bus->peer;
    bus->peer = NULL;
    bus->group = NULL;
    withdraw_offer(bus);
    rebalance(bus->store, group);
    unlock(bus);
}

/* ---- producing and committing ---- */

/* Kafka's own, as in org.apache.kafka.common.utils.Utils.murmur2. */
static uint32_t murmur2(const void *key, size_t length)
{
    const unsigned char *data = key;
    const uint32_t m = 0x5bd1e995;
    uint32_t hash = 0x9747b28c ^ (uint32_t)length;

    for (; length >= 4; data += 4, length -= 4) {
        uint32_t k = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
                     (uint32_t)data[3] << 24;
        k *= m;
        k ^= k >> 24;
        hash = hash * m ^ k * m;
    }
    if (length >= 3)
        hash ^= (uint32_t)data[2] << 16;
    if (length >= 2)
        hash ^= (uint32_t)data[1] << 8;
    if (length >= 1)
        hash = (hash ^ data[0]) * m;
    hash = (hash ^ hash >> 13) * m;
    return hash ^ hash >> 15;
}

static int32_t partition_for(struct topic *topic, const struct weir_msg *msg)
{
    if (msg->partition >= 0)
        return msg->partition;
    if (!msg->key)
        return topic->turn++ % topic->partitions;
    return (int32_t)((murmur2(msg->key, msg->key_size_bytes) & 0x7fffffff) %
                     (uint32_t)topic->partitions);
}

static void wake_readers(struct store *store, const struct topic *topic, int32_t partition)
{
    for (struct memory *bus = store->buses; bus; bus = bus->sibling) {
        bool reads = bus->scanning == &topic->logs[partition];
        for (size_t i = 0; i < bus->part_count; i++)
            reads = reads || (bus->parts[i].topic == topic && bus->parts[i].partition == partition);
        if (reads)
            signal_bus(bus);
    }
}

/* The one configuration that has an effect, so that a refusal by the broker can be had. */
static size_t most_bytes(const struct topic *topic)
{
    for (size_t i = 0; i < topic->config_count; i++)
        if (strcmp(topic->configs[i].name, "max.message.bytes") == 0)
            return strtoull(topic->configs[i].value, NULL, 10);
    return SIZE_MAX;
}

static int memory_produce(weir_bus *base, const struct weir_msg *msg, void *opaque,
                          struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    size_t header_bytes = 0;

    for (size_t i = 0; i < msg->header_count; i++)
        header_bytes += strlen(msg->headers[i].name) + msg->headers[i].size_bytes;
    if (msg->key_size_bytes + msg->value_size_bytes > RECORD_MAX_BYTES ||
        header_bytes > RECORD_MAX_BYTES)
        return weir_fail(err, WEIR_BAD_INPUT, "memory: produce to %s: record too large",
                         msg->topic);
    lock(bus);
    struct topic *topic = find_topic(bus, msg->topic);
    int32_t partition = topic ? partition_for(topic, msg) : -1;
    if (!topic || partition >= topic->partitions) {
        struct report *refused = report(bus, REPORT_DELIVERED, opaque, WEIR_TRY_LATER);
        snprintf(refused->reason, sizeof(refused->reason), "unknown topic or partition");
    } else if (msg->key_size_bytes + msg->value_size_bytes + header_bytes > most_bytes(topic)) {
        struct report *refused = report(bus, REPORT_DELIVERED, opaque, WEIR_BAD_INPUT);
        snprintf(refused->reason, sizeof(refused->reason), "record larger than max.message.bytes");
    } else {
        struct report *done = report(bus, REPORT_DELIVERED, opaque, WEIR_OK);
        done->partition = partition;
        done->offset = end_of(&topic->logs[partition]);
        append(&topic->logs[partition], entry_new(msg));
        wake_readers(bus->store, topic, partition);
    }
    unlock(bus);
    return WEIR_OK;
}

static void set_committed(struct group *group, const char *topic, const struct weir_partition *to)
{
    struct committed *at = find_committed(group, topic, to->partition);

    if (!at) {
        at = weir_xcalloc(1, sizeof(*at));
        at->topic = weir_xstrdup(topic);
        at->partition = to->partition;
        at->next = group->committed;
        group->committed = at;
    }
    free(at->metadata);
    at->metadata = weir_xstrdup(to->metadata ? to->metadata : "");
    at->offset = to->offset;
}

/* Who is no member may commit only while nobody is, as with Kafka. */
static void memory_commit(weir_bus *base, const struct weir_partition *parts, size_t count,
                          void *opaque)
{
    struct memory *bus = (struct memory *)base;
    const char *refusal = NULL;

    lock(bus);
    struct group *group = bus->group_name ? need_group(bus) : NULL;
    if (!group)
        refusal = "the bus has no group";
    else if (!bus->group && group->members)
        refusal = "not a member of the group";
    for (size_t i = 0; !refusal && i < count; i++) {
        const struct topic *topic = find_topic(bus, parts[i].topic);
        if (!topic || parts[i].partition < 0 || parts[i].partition >= topic->partitions)
            refusal = "unknown topic or partition";
        else
            set_committed(group, topic->name, &parts[i]);
    }
    struct report *outcome =
        report(bus, REPORT_COMMITTED, opaque, refusal ? WEIR_TRY_LATER : WEIR_OK);
    snprintf(outcome->reason, sizeof(outcome->reason), "%s", refusal ? refusal : "");
    unlock(bus);
}

static int64_t memory_end(weir_bus *base, const char *topic, int32_t partition)
{
    struct memory *bus = (struct memory *)base;
    lock(bus);
    const struct log *log = find_log(bus, topic, partition);
    int64_t end = log ? end_of(log) : -1;
    unlock(bus);
    return end;
}

/* ---- asking the cluster: answers are at hand, no timeout is needed ---- */

static int memory_topics(weir_bus *base, int timeout_ms, weir_arena *arena,
                         struct weir_topic_info **out, size_t *count, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    size_t most = 1;
    (void)timeout_ms;
    (void)err;

    lock(bus);
    for (const struct topic *topic = bus->store->topics; topic; topic = topic->next)
        most++;
    *out = weir_alloc_zero(arena, most * sizeof(**out));
    *count = 0;
    for (const struct topic *topic = bus->store->topics; topic; topic = topic->next)
        if (in_name_space(bus, topic->name))
            (*out)[(*count)++] =
                (struct weir_topic_info){ weir_strdup(arena, short_name(bus, topic->name)),
                                          topic->partitions, topic->replicas };
    unlock(bus);
    return WEIR_OK;
}

static bool valid_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= TOPIC_NAME_MAX && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

static void set_config(struct topic *topic, const struct weir_topic_config *config)
{
    struct weir_topic_config *at = topic->configs;
    size_t i = 0;

    while (i < topic->config_count && strcmp(at[i].name, config->name) != 0)
        i++;
    if (i == topic->config_count) {
        at = weir_xrealloc(topic->configs, (i + 1) * sizeof(*at));
        at[i].name = weir_xstrdup(config->name);
        topic->configs = at;
        topic->config_count++;
    } else {
        free((char *)(uintptr_t)at[i].value);
    }
    at[i].value = weir_xstrdup(config->value);
}

static int memory_topic_create(weir_bus *base, const struct weir_topic_spec *spec, int timeout_ms,
                               struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    char *name = full_name(bus, spec->name);
    int fault = WEIR_OK;
    (void)timeout_ms;

    lock(bus);
    if (!valid_name(name) || spec->partitions < 1) {
        fault = weir_fail(err, WEIR_BAD_INPUT, "memory: %s: bad name or number of partitions",
                          spec->name);
    } else if (find_topic(bus, spec->name)) {
        fault = weir_fail(err, WEIR_BAD_INPUT, "memory: %s: exists already", spec->name);
    } else {
        struct topic *topic = weir_xcalloc(1, sizeof(*topic));
        topic->name = weir_take(&name);
        topic->partitions = spec->partitions;
        topic->replicas = spec->replicas > 0 ? spec->replicas : 1;
        topic->logs = weir_xcalloc((size_t)spec->partitions, sizeof(*topic->logs));
        for (const struct weir_topic_config *config = spec->configs; config && config->name;
             config++)
            set_config(topic, config);
        topic->next = bus->store->topics;
        bus->store->topics = topic;
        topic_changed(bus->store, topic);
    }
    unlock(bus);
    free(name);
    return fault;
}

static int memory_topic_grow(weir_bus *base, const char *name, int32_t partitions, int timeout_ms,
                             struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    int fault = WEIR_OK;
    (void)timeout_ms;

    lock(bus);
    struct topic *topic = find_topic(bus, name);
    if (!topic) {
        fault = unknown(err, name);
    } else if (partitions <= topic->partitions) {
        fault = weir_fail(err, WEIR_BAD_INPUT, "memory: %s: has %d partitions already", name,
                          topic->partitions);
    } else {
        topic->logs = weir_xrealloc(topic->logs, (size_t)partitions * sizeof(*topic->logs));
        memset(topic->logs + topic->partitions, 0,
               (size_t)(partitions - topic->partitions) * sizeof(*topic->logs));
        topic->partitions = partitions;
        topic_changed(bus->store, topic);
    }
    unlock(bus);
    return fault;
}

static int memory_topic_configs(weir_bus *base, const char *name, int timeout_ms, weir_arena *arena,
                                struct weir_topic_config **out, size_t *count, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    int fault = WEIR_OK;
    (void)timeout_ms;

    lock(bus);
    const struct topic *topic = find_topic(bus, name);
    if (!topic) {
        fault = unknown(err, name);
    } else {
        *out = weir_alloc_zero(arena, (topic->config_count + 1) * sizeof(**out));
        *count = topic->config_count;
        for (size_t i = 0; i < topic->config_count; i++)
            (*out)[i] = (struct weir_topic_config){ weir_strdup(arena, topic->configs[i].name),
                                                    weir_strdup(arena, topic->configs[i].value) };
    }
    unlock(bus);
    return fault;
}

static int memory_topic_configure(weir_bus *base, const char *name,
                                  const struct weir_topic_config *configs, int timeout_ms,
                                  struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    int fault = WEIR_OK;
    (void)timeout_ms;

    lock(bus);
    struct topic *topic = find_topic(bus, name);
    if (!topic)
        fault = unknown(err, name);
    for (; topic && configs->name; configs++)
        set_config(topic, configs);
    unlock(bus);
    return fault;
}

static int memory_truncate(weir_bus *base, const char *topic, int32_t partition,
                           int64_t before_offset, int timeout_ms, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    int fault = WEIR_OK;
    (void)timeout_ms;

    lock(bus);
    struct log *log = find_log(bus, topic, partition);
    if (!log) {
        fault = unknown(err, topic);
    } else if (before_offset < 0 || before_offset > end_of(log)) {
        fault = weir_fail(err, WEIR_BAD_INPUT, "memory: %s: offset out of range", topic);
    } else if (before_offset > log->first) {
        size_t gone = (size_t)(before_offset - log->first);
        for (size_t i = 0; i < gone; i++)
            entry_release(log->entries[i]);
        log->count -= gone;
        memmove(log->entries, log->entries + gone, log->count * sizeof(struct entry *));
        log->first = before_offset;
    }
    unlock(bus);
    return fault;
}

static int memory_bounds(weir_bus *base, const char *topic, int32_t partition, int timeout_ms,
                         int64_t *first, int64_t *end, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    (void)timeout_ms;

    lock(bus);
    const struct log *log = find_log(bus, topic, partition);
    if (log) {
        *first = log->first;
        *end = end_of(log);
    }
    unlock(bus);
    return log ? WEIR_OK : unknown(err, topic);
}

static int memory_groups(weir_bus *base, int timeout_ms, weir_arena *arena, const char ***out,
                         size_t *count, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    size_t most = 1;
    (void)timeout_ms;
    (void)err;

    lock(bus);
    for (const struct group *group = bus->store->groups; group; group = group->next)
        most++;
    *out = weir_alloc_zero(arena, most * sizeof(**out));
    *count = 0;
    for (const struct group *group = bus->store->groups; group; group = group->next)
        if (in_name_space(bus, group->name))
            (*out)[(*count)++] = weir_strdup(arena, short_name(bus, group->name));
    unlock(bus);
    return WEIR_OK;
}

static int memory_group_offsets(weir_bus *base, const char *name, int timeout_ms, weir_arena *arena,
                                struct weir_partition **out, size_t *count, struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    char *full = full_name(bus, name);
    size_t most = 1;
    (void)timeout_ms;
    (void)err;

    lock(bus);
    const struct group *group = find_group(bus->store, full);
    const struct committed *committed = group ? group->committed : NULL;
    for (const struct committed *at = committed; at; at = at->next)
        most++;
    *out = weir_alloc_zero(arena, most * sizeof(**out));
    *count = 0;
    for (const struct committed *at = committed; at; at = at->next)
        (*out)[(*count)++] =
            (struct weir_partition){ weir_strdup(arena, short_name(bus, at->topic)), at->partition,
                                     at->offset, weir_strdup(arena, at->metadata) };
    unlock(bus);
    free(full);
    return WEIR_OK;
}

static int memory_scan(weir_bus *base, const char *topic, int32_t partition, int64_t offset,
                       int64_t end, int timeout_ms,
                       int (*each)(void *arg, const struct weir_msg *msg), void *arg,
                       struct weir_err *err)
{
    struct memory *bus = (struct memory *)base;
    int64_t deadline_ms = weir_mono_ms() + timeout_ms;
    int result = WEIR_OK;

    if (bus->group_name)
        return weir_fail(err, WEIR_FATAL, "scan: needs a bus without a group");
    lock(bus);
    while (result == WEIR_OK && offset < end) {
        const struct log *log = find_log(bus, topic, partition); /* anew: a topic may grow */
        if (log && offset < log->first) {
            offset = log->first;
            continue;
        }
        if (!log || offset >= end_of(log)) {
            if (!log || weir_mono_ms() >= deadline_ms) {
                result = weir_fail(err, WEIR_TRY_LATER, "memory: %s: no answer in %d ms", topic,
                                   timeout_ms);
                break;
            }
            bus->scanning = log;
            wait_for_signal(bus, deadline_ms);
            bus->scanning = NULL;
            continue;
        }
        struct entry *entry = log->entries[offset - log->first];
        struct weir_msg msg = entry->msg;
        msg.topic = topic;
        msg.partition = partition;
        msg.offset = offset++;
        entry->users++;
        unlock(bus);
        result = each(arg, &msg);
        deadline_ms = weir_mono_ms() + timeout_ms;
        lock(bus);
        entry_release(entry);
    }
    unlock(bus);
    return result;
}

/* ---- opening and closing ---- */

static struct store *join_store(const char *name)
{
    struct store *store;

    pthread_mutex_lock(&stores_lock);
    for (store = stores; store && strcmp(store->name, name) != 0; store = store->next)
        continue;
    if (!store) {
        store = weir_xcalloc(1, sizeof(*store));
        store->name = weir_xstrdup(name);
        pthread_mutex_init(&store->lock, NULL);
        store->next = stores;
        stores = store;
    }
    store->users++;
    pthread_mutex_unlock(&stores_lock);
    return store;
}

static void free_topic(struct topic *topic)
{
    for (int32_t i = 0; i < topic->partitions; i++) {
        for (size_t k = 0; k < topic->logs[i].count; k++)
            entry_release(topic->logs[i].entries[k]);
        free(topic->logs[i].entries);
    }
    for (size_t i = 0; i < topic->config_count; i++) {
        free((char *)(uintptr_t)topic->configs[i].name);
        free((char *)(uintptr_t)topic->configs[i].value);
    }
    free(topic->configs);
    free(topic->logs);
    free(topic->name);
    free(topic);
}

static void free_group(struct group *group)
{
    while (group->committed) {
        struct committed *at = group->committed;
        group->committed = at->next;
        free(at->topic);
        free(at->metadata);
        free(at);
    }
    free(group->name);
    free(group);
}

static void leave_store(struct store *store)
{
    pthread_mutex_lock(&stores_lock);
    bool last = --store->users == 0;
    if (last) {
        struct store **at = &stores;
        while (*at != store)
            at = &(*at)->next;
        *at = store->next;
    }
    pthread_mutex_unlock(&stores_lock);
    if (!last)
        return;
    while (store->topics) {
        struct topic *topic = store->topics;
        store->topics = topic->next;
        free_topic(topic);
    }
    while (store->groups) {
        struct group *group = store->groups;
        store->groups = group->next;
        free_group(group);
    }
    pthread_mutex_destroy(&store->lock);
    free(store->name);
    free(store);
}

static void memory_close(weir_bus *base)
{
    struct memory *bus = (struct memory *)base;

    memory_leave(base);
    lock(bus);
    struct memory **at = &bus->store->buses;
    while (*at != bus)
        at = &(*at)->sibling;
    *at = bus->sibling;
    unlock(bus);
    leave_store(bus->store);
    while (bus->reports) {
        struct report *next = bus->reports;
        bus->reports = next->next;
        free(next);
    }
    for (char **name = bus->subscription; name && *name; name++)
        free(*name);
    free(bus->subscription);
    free(bus->offer);
    free(bus->parts);
    pthread_cond_destroy(&bus->signal);
    free(bus->name_space);
    free(bus->group_name);
    free(bus);
}

static const struct weir_bus_ops memory_ops = {
    .close = memory_close,
    .leave = memory_leave,
    .subscribe = memory_subscribe,
    .consume = memory_consume,
    .poll = memory_poll,
    .wake = memory_wake,
    .produce = memory_produce,
    .commit = memory_commit,
    .end = memory_end,
    .topics = memory_topics,
    .topic_create = memory_topic_create,
    .topic_grow = memory_topic_grow,
    .topic_configs = memory_topic_configs,
    .topic_configure = memory_topic_configure,
    .truncate = memory_truncate,
    .bounds = memory_bounds,
    .groups = memory_groups,
    .group_offsets = memory_group_offsets,
    .scan = memory_scan,
};

int weir_bus_memory_open(const struct weir_bus_config *config, const char *address, weir_bus **out,
                         struct weir_err *err)
{
    pthread_condattr_t monotonic;
    (void)err;

    struct memory *bus = weir_xcalloc(1, sizeof(*bus));
    bus->base.ops = &memory_ops;
    bus->name_space = weir_xstrdup(config->name_space ? config->name_space : "");
    bus->name_space_length = strlen(bus->name_space);
    bus->group_name = config->group ? weir_xstrdup(config->group) : NULL;
    bus->ready_for = config->ready_for;
    bus->on = config->on;
    bus->reports_end = &bus->reports;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&bus->signal, &monotonic);
    pthread_condattr_destroy(&monotonic);
    bus->store = join_store(address);
    lock(bus);
    bus->sibling = bus->store->buses;
    bus->store->buses = bus;
    unlock(bus);
    *out = &bus->base;
    return WEIR_OK;
}
