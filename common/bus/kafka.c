/* The bus on Kafka: the only file that knows librdkafka.
 *
 * Each assigned partition keeps a queue of its own, cut off from the consumer's
 * (rd_kafka_queue_forward), so that back-pressure is simply not reading a queue: pause() would
 * throw away what was fetched. All queues signal one eventfd, on which consume() and poll() wait;
 * wake() writes to it.
 *
 * Assignment uses the range strategy: with librdkafka before 2.6 cooperative-sticky loops for ever
 * when a topic has fewer partitions than the group has members (librdkafka #4783). Both rebalance
 * protocols are handled. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include <weir/clock.h>
#include <weir/log.h>

#include "bus/ops.h"

enum {
    SERVICE_EVERY = 64, /* records between two looks at reports, commits and the group */
    COMMITTED_TIMEOUT_MS = 10000,
    COMMITTED_AGAIN_MS = 200,
    PROBE_EVERY_MS = 1000, /* while the cluster is away */
    NUDGE_EVERY_MS = 10,   /* see nudge() */
    SILENT_MS = 15000,     /* unread records and nothing fetched for so long: see watch_silence() */
    NUDGE_TIMEOUT_MS = 2,  /* the answer does not matter */
    FETCH_BACKOFF_VERSION = 0x020200ff, /* librdkafka 2.2.0: has fetch.queue.backoff.ms */
    TOPIC_NAME_MAX = 512,
};

struct part {    /* an assigned partition */
    char *topic; /* without the namespace */
    int32_t partition;
    rd_kafka_queue_t *queue;
    int64_t nudged_ms;       /* see nudge() */
    int64_t behind_since_ms; /* see watch_silence(); 0: not behind */
    int64_t
        next_offset; /* behind the last record handed out, or where reading starts; -1 unknown */
};

struct kafka {
    weir_bus base;
    char *brokers, *name_space, *client_id, *group, *instance;
    size_t name_space_length;
    char *const *env;
    bool (*ready_for)(void *arg, const char *topic, int32_t partition);
    bool (*stopping)(void *arg);
    struct weir_bus_events on;
    int64_t rebuilt_end; /* see watch_silence() */

    rd_kafka_t *consumer; /* group member, or a reader that never joins; opened when first needed */
    rd_kafka_t *producer;
    rd_kafka_queue_t *commits; /* outcomes of commits: served inside callbacks too */
    rd_kafka_queue_t *probes;  /* answers to "are you there" */
    int wake_fd;

    struct part *parts;
    size_t part_count, next_part;
    rd_kafka_topic_partition_list_t *subscription;

    rd_kafka_message_t *current; /* borrowed by the caller until the next call */
    struct weir_msg msg;
    struct weir_header *headers;
    size_t header_capacity;
    int unserviced;

    bool up, probing;
    int64_t next_probe_ms, last_record_ms;
    struct weir_err fatal; /* fault WEIR_OK: none */
};

static const char *full_topic(const struct kafka *bus, const char *topic, char out[TOPIC_NAME_MAX])
{
    snprintf(out, TOPIC_NAME_MAX, "%s%s", bus->name_space, topic);
    return out;
}

static const char *short_topic(const struct kafka *bus, const char *topic)
{
    bool ours = strncmp(topic, bus->name_space, bus->name_space_length) == 0;
    return ours ? topic + bus->name_space_length : topic;
}

static bool in_name_space(const struct kafka *bus, const char *name)
{
    return strncmp(name, bus->name_space, bus->name_space_length) == 0;
}

/* ---- state of the cluster ---- */

static void set_up(struct kafka *bus, bool up, const char *reason)
{
    if (bus->up == up)
        return;
    bus->up = up;
    bus->next_probe_ms = weir_mono_ms() + PROBE_EVERY_MS;
    if (bus->on.state)
        bus->on.state(bus->on.arg, up, reason);
}

static void remark(struct kafka *bus, const char *reason)
{
    if (bus->on.state)
        bus->on.state(bus->on.arg, bus->up, reason);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct kafka *bus = opaque;
    char text[512];

    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(rk, text, sizeof(text));
        if (rk == bus->consumer)
            weir_fail(&bus->fatal, WEIR_FATAL, "kafka: %s: %s", rd_kafka_err2name(cause), text);
        return; /* a producer's fatal error shows in its delivery reports, which rebuild it */
    }
    snprintf(text, sizeof(text), "%s: %s", rd_kafka_err2name(code), reason);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
        code == RD_KAFKA_RESP_ERR__SSL)
        set_up(bus, false, text);
    else if (code != RD_KAFKA_RESP_ERR__TRANSPORT && code != RD_KAFKA_RESP_ERR__RESOLVE &&
             code !=
                 RD_KAFKA_RESP_ERR__TIMED_OUT) /* those end in ALL_BROKERS_DOWN if they matter */
        remark(bus, text);
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    weir_log(level <= 2 ? WEIR_WARN : WEIR_DEBUG, "librdkafka", WEIR_S("facility", facility),
             WEIR_S("reason", text));
}

/* While the cluster is away nothing may come of itself (no records, no commits), so ask. */
static void probe(struct kafka *bus)
{
    int64_t now_ms = weir_mono_ms();
    rd_kafka_event_t *event;

    if (!bus->consumer || (bus->up && !bus->probing))
        return;
    while ((event = rd_kafka_queue_poll(bus->probes, 0))) {
        bus->probing = false;
        if (!rd_kafka_event_error(event)) {
            const rd_kafka_ListConsumerGroups_result_t *result =
                rd_kafka_event_ListConsumerGroups_result(event);
            size_t errors = 0;
            if (result)
                rd_kafka_ListConsumerGroups_result_errors(result, &errors);
            if (result && errors == 0)
                set_up(bus, true, "answers again");
        }
        rd_kafka_event_destroy(event);
    }
    if (bus->up || bus->probing || now_ms < bus->next_probe_ms)
        return;
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(bus->consumer, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_AdminOptions_set_request_timeout(options, 2 * PROBE_EVERY_MS, NULL, 0);
    rd_kafka_ListConsumerGroups(bus->consumer, options, bus->probes);
    rd_kafka_AdminOptions_destroy(options);
    bus->probing = true;
    bus->next_probe_ms = now_ms + PROBE_EVERY_MS;
}

/* ---- opening ---- */

struct property {
    const char *name, *value;
};

static const struct property common_properties[] = { { "socket.keepalive.enable", "true" },
                                                     { "reconnect.backoff.ms", "100" },
                                                     { "reconnect.backoff.max.ms", "2000" },
                                                     { "log.connection.close", "false" },
                                                     { 0 } };
/* Small queues: librdkafka's own defaults are 64 MiB a consumer and 1 GiB a producer. */
static const struct property consumer_properties[] = {
    { "enable.auto.commit", "false" },       { "enable.auto.offset.store", "false" },
    { "auto.offset.reset", "earliest" },     { "partition.assignment.strategy", "range" },
    { "queued.min.messages", "10000" },      { "queued.max.messages.kbytes", "2048" },
    { "fetch.max.bytes", "4194304" },        { "fetch.message.max.bytes", "1048576" },
    { "fetch.wait.max.ms", "100" }, /* a fetch that waits for one partition holds up the others' */
    { "allow.auto.create.topics", "false" }, { 0 }
};
static const struct property producer_properties[] = {
    { "enable.idempotence", "true" },
    { "acks", "all" },
    { "linger.ms", "2" },
    { "partitioner", "murmur2_random" },
    { "message.max.bytes", "4194304" }, /* the topic's own limit decides; a dead letter is larger */
    { "queue.buffering.max.kbytes", "16384" },
    { "queue.buffering.max.messages", "20000" },
    { "message.timeout.ms", "120000" },
    { 0 }
};

static int set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
                        const char *source, struct weir_err *err)
{
    char reason[256];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof(reason)) == RD_KAFKA_CONF_OK)
        return WEIR_OK;
    /* The reason may quote the value, which may be a secret: the name says enough. */
    return weir_fail(err, WEIR_FATAL, "%s: librdkafka refuses property '%s'", source, name);
}

/* WEIR_KAFKA_SASL_PASSWORD=x sets sasl.password; WEIR_KAFKA_SASL_PASSWORD_FILE names a file with x.
 */
static int set_from_env(rd_kafka_conf_t *conf, const char *variable, struct weir_err *err)
{
    const size_t prefix = strlen("WEIR_KAFKA_");
    const char *equals = strchr(variable, '=');
    char name[128], value[4096];
    size_t length = (size_t)(equals - variable);

    if (length - prefix == 0 || length - prefix >= sizeof(name))
        return weir_fail(err, WEIR_FATAL, "%.*s: not a librdkafka property", (int)length, variable);
    for (size_t i = prefix; i < length; i++)
        name[i - prefix] = variable[i] == '_' ? '.' : (char)tolower((unsigned char)variable[i]);
    name[length - prefix] = '\0';

    size_t name_length = length - prefix;
    if (name_length > 5 && strcmp(name + name_length - 5, ".file") == 0) {
        FILE *file = fopen(equals + 1, "re");
        if (!file)
            return weir_fail(err, WEIR_FATAL, "%.*s: %s", (int)length, variable, strerror(errno));
        size_t got = fread(value, 1, sizeof(value) - 1, file);
        fclose(file);
        value[got] = '\0';
        value[strcspn(value, "\r\n")] = '\0';
        name[name_length - 5] = '\0';
    } else {
        snprintf(value, sizeof(value), "%s", equals + 1);
    }
    char source[160];
    snprintf(source, sizeof(source), "%.*s", (int)length, variable);
    return set_property(conf, name, value, source, err);
}

static int set_properties(rd_kafka_conf_t *conf, const struct property *properties,
                          struct weir_err *err)
{
    for (; properties->name; properties++)
        if (set_property(conf, properties->name, properties->value, "weir", err) < 0)
            return err->fault;
    return WEIR_OK;
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque);
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque);

static rd_kafka_t *open_handle(struct kafka *bus, rd_kafka_type_t type, struct weir_err *err)
{
    char reason[256], group[TOPIC_NAME_MAX];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_opaque(conf, bus);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (set_property(conf, "bootstrap.servers", bus->brokers, "WEIR_BROKERS", err) < 0 ||
        set_property(conf, "client.id", bus->client_id, "client id", err) < 0 ||
        set_properties(conf, common_properties, err) < 0)
        goto refused;
    if (type == RD_KAFKA_CONSUMER) {
        full_topic(bus, bus->group ? bus->group : "weir-reader", group);
        if (set_property(conf, "group.id", group, "group", err) < 0 ||
            set_properties(conf, consumer_properties, err) < 0 ||
            (rd_kafka_version() >= FETCH_BACKOFF_VERSION &&
             set_property(conf, "fetch.queue.backoff.ms", "10", "weir", err) < 0))
            goto refused;
        if (bus->group && bus->instance && *bus->instance &&
            set_property(conf, "group.instance.id", bus->instance, "WEIR_INSTANCE", err) < 0)
            goto refused;
        if (bus->group)
            rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
        else if (set_property(conf, "enable.partition.eof", "true", "weir", err) < 0) /* scan() */
            goto refused;
    } else {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        if (set_properties(conf, producer_properties, err) < 0)
            goto refused;
    }
    for (char *const *env = bus->env; env && *env; env++)
        if (strncmp(*env, "WEIR_KAFKA_", 11) == 0 && strchr(*env, '=') &&
            set_from_env(conf, *env, err) < 0)
            goto refused;

    rd_kafka_t *rk = rd_kafka_new(type, conf, reason, sizeof(reason));
    if (rk)
        return rk;
    weir_fail(err, WEIR_FATAL, "kafka: %s", reason);
refused:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* The queue then writes to wake_fd when something is put into it while empty. */
static void signal_from(struct kafka *bus, rd_kafka_queue_t *queue)
{
    const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, bus->wake_fd, &one, sizeof(one));
}

static int need_consumer(struct kafka *bus, struct weir_err *err)
{
    if (bus->consumer)
        return WEIR_OK;
    bus->consumer = open_handle(bus, RD_KAFKA_CONSUMER, err);
    if (!bus->consumer)
        return err->fault;
    rd_kafka_poll_set_consumer(bus->consumer);
    bus->commits = rd_kafka_queue_new(bus->consumer);
    bus->probes = rd_kafka_queue_new(bus->consumer);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(bus->consumer);
    signal_from(bus, queue);
    rd_kafka_queue_destroy(queue);
    signal_from(bus, bus->commits);
    signal_from(bus, bus->probes);
    bus->last_record_ms = weir_mono_ms();
    return WEIR_OK;
}

static int need_producer(struct kafka *bus, struct weir_err *err)
{
    if (bus->producer)
        return WEIR_OK;
    bus->producer = open_handle(bus, RD_KAFKA_PRODUCER, err);
    if (!bus->producer)
        return err->fault;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(bus->producer);
    signal_from(bus, queue);
    rd_kafka_queue_destroy(queue);
    return WEIR_OK;
}

static void drop_current(struct kafka *bus)
{
    if (bus->current)
        rd_kafka_message_destroy(bus->current);
    bus->current = NULL;
}

/* A producer with a fatal error never sends again. What it holds is reported as not delivered, the
 * next produce opens another. */
static void rebuild_producer_if_fatal(struct kafka *bus)
{
    char reason[256];
    if (!bus->producer || !rd_kafka_fatal_error(bus->producer, reason, sizeof(reason)))
        return;
    remark(bus, reason);
    rd_kafka_purge(bus->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(bus->producer, 1000);
    rd_kafka_destroy(bus->producer);
    bus->producer = NULL;
}

static void close_consumer(struct kafka *bus)
{
    drop_current(bus);
    if (!bus->consumer)
        return;
    if (bus->group)
        rd_kafka_consumer_close(bus->consumer); /* runs on_rebalance for what is assigned */
    rd_kafka_queue_destroy(bus->commits);
    rd_kafka_queue_destroy(bus->probes);
    bus->commits = bus->probes = NULL;
    bus->probing = false;
    rd_kafka_destroy(bus->consumer);
    bus->consumer = NULL;
}

static void kafka_leave(weir_bus *base)
{
    close_consumer((struct kafka *)base);
}

static void kafka_close(weir_bus *base)
{
    struct kafka *bus = (struct kafka *)base;
    close_consumer(bus);
    if (bus->producer) {
        rd_kafka_purge(bus->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        bus->on.delivered = NULL; /* purged reports would reach an owner that is closing */
        rd_kafka_flush(bus->producer, 1000);
        rd_kafka_destroy(bus->producer);
    }
    if (bus->subscription)
        rd_kafka_topic_partition_list_destroy(bus->subscription);
    close(bus->wake_fd);
    free(bus->parts);
    free(bus->headers);
    free(bus->brokers);
    free(bus->name_space);
    free(bus->client_id);
    free(bus->group);
    free(bus->instance);
    free(bus);
}

/* ---- consuming ---- */

static void add_part(struct kafka *bus, const char *full, int32_t partition, int64_t offset)
{
    bus->parts = weir_xrealloc(bus->parts, (bus->part_count + 1) * sizeof(*bus->parts));
    struct part *part = &bus->parts[bus->part_count++];
    part->topic = weir_xstrdup(short_topic(bus, full));
    part->partition = partition;
    part->next_offset = offset;
    part->nudged_ms = 0;
    part->behind_since_ms = 0;
    part->queue = rd_kafka_queue_get_partition(bus->consumer, full, partition);
    rd_kafka_queue_forward(part->queue, NULL);
    signal_from(bus, part->queue);
}

static void remove_part(struct kafka *bus, const char *full, int32_t partition)
{
    for (size_t i = 0; i < bus->part_count; i++) {
        struct part *part = &bus->parts[i];
        if (part->partition != partition || strcmp(part->topic, short_topic(bus, full)) != 0)
            continue;
        rd_kafka_queue_io_event_enable(part->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(part->queue);
        free(part->topic);
        *part = bus->parts[--bus->part_count];
        return;
    }
}

/* What the group has committed for the partitions of list, offsets and metadata. */
static rd_kafka_resp_err_t read_committed(struct kafka *bus, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t code = rd_kafka_committed(bus->consumer, list, COMMITTED_TIMEOUT_MS);
    for (int i = 0; code == 0 && i < list->cnt; i++)
        code = list->elems[i].err;
    return code;
}

static bool take_assignment(struct kafka *bus, rd_kafka_topic_partition_list_t *list)
{
    size_t count = (size_t)list->cnt;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_partition *parts = weir_alloc_zero(arena, (count + 1) * sizeof(*parts));
    rd_kafka_resp_err_t code;

    /* Without the committed offsets all would be read again, and without their metadata a crash
     * would go unnoticed: an assignment waits for them, whatever the reason. */
    while ((code = read_committed(bus, list)) != 0) {
        remark(bus, rd_kafka_err2str(code));
        if (bus->stopping && bus->stopping(bus->on.arg))
            return false;
        usleep(COMMITTED_AGAIN_MS * 1000);
    }
    for (size_t i = 0; i < count; i++) {
        rd_kafka_topic_partition_t *from = &list->elems[i];
        parts[i] = (struct weir_partition){
            .topic = short_topic(bus, from->topic),
            .partition = from->partition,
            .offset = from->offset >= 0 ? from->offset : -1,
            .metadata =
                from->metadata ? weir_strndup(arena, from->metadata, from->metadata_size) : NULL,
        };
    }
    if (bus->on.assigned)
        bus->on.assigned(bus->on.arg, parts, count);
    for (size_t i = 0; i < count; i++) {
        list->elems[i].offset = parts[i].offset >= 0 ? parts[i].offset : RD_KAFKA_OFFSET_BEGINNING;
        add_part(bus, list->elems[i].topic, list->elems[i].partition, parts[i].offset);
    }
    return true;
}

static void give_back(struct kafka *bus, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    size_t count = (size_t)list->cnt;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_partition *parts = weir_alloc_zero(arena, (count + 1) * sizeof(*parts));

    for (size_t i = 0; i < count; i++) {
        parts[i].topic = short_topic(bus, list->elems[i].topic);
        parts[i].partition = list->elems[i].partition;
        parts[i].offset = -1;
    }
    if (bus->on.revoked)
        bus->on.revoked(bus->on.arg, parts, count, lost);
    for (int i = 0; i < list->cnt; i++)
        remove_part(bus, list->elems[i].topic, list->elems[i].partition);
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka *bus = opaque;
    bool cooperative = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    rd_kafka_error_t *error = NULL;

    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        set_up(bus, true, "answers again");
        bus->last_record_ms = weir_mono_ms();
        bool taken = take_assignment(bus, list);
        if (cooperative && taken)
            error = rd_kafka_incremental_assign(rk, list);
        else if (!cooperative)
            rd_kafka_assign(rk, taken ? list : NULL);
    } else {
        give_back(bus, list, rd_kafka_assignment_lost(rk));
        if (cooperative)
            error = rd_kafka_incremental_unassign(rk, list);
        else
            rd_kafka_assign(rk, NULL);
    }
    if (error) {
        remark(bus, rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
    }
}

static int kafka_subscribe(weir_bus *base, const char *const *topics, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];

    if (!bus->group)
        return weir_fail(err, WEIR_FATAL, "subscribe: needs a bus with a group");
    if (need_consumer(bus, err) < 0)
        return err->fault;
    if (bus->subscription)
        rd_kafka_topic_partition_list_destroy(bus->subscription);
    bus->subscription = rd_kafka_topic_partition_list_new(4);
    for (; *topics; topics++)
        rd_kafka_topic_partition_list_add(bus->subscription, full_topic(bus, *topics, name),
                                          RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(bus->consumer, bus->subscription);
    if (code)
        return weir_fail(err, WEIR_FATAL, "kafka: subscribe: %s", rd_kafka_err2str(code));
    return WEIR_OK;
}

static void fill_msg(struct kafka *bus, const rd_kafka_message_t *message, struct weir_msg *msg)
{
    rd_kafka_timestamp_type_t type;
    rd_kafka_headers_t *headers = NULL;
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);

    *msg = (struct weir_msg){
        .topic = short_topic(bus, rd_kafka_topic_name(message->rkt)),
        .partition = message->partition,
        .offset = message->offset,
        .key = message->key,
        .key_size_bytes = message->key_len,
        .value = message->payload,
        .value_size_bytes = message->len,
        .time_ms = time_ms > 0 ? time_ms : 0,
    };
    if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t count = rd_kafka_header_cnt(headers);
        if (count > bus->header_capacity) {
            bus->headers = weir_xrealloc(bus->headers, count * sizeof(*bus->headers));
            bus->header_capacity = count;
        }
        for (size_t i = 0; i < count; i++)
            (void)rd_kafka_header_get_all(headers, i, &bus->headers[i].name, &bus->headers[i].value,
                                          &bus->headers[i].size_bytes);
        msg->headers = bus->headers;
        msg->header_count = count;
    }
}

/* True when message is a record; otherwise what it says is acted on. Takes the message. */
static bool take_record(struct kafka *bus, rd_kafka_message_t *message)
{
    if (message->err == 0) {
        bus->current = message;
        return true;
    }
    if (message->err == RD_KAFKA_RESP_ERR__FATAL) {
        char text[256];
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(bus->consumer, text, sizeof(text));
        weir_fail(&bus->fatal, WEIR_FATAL, "kafka: %s: %s", rd_kafka_err2name(cause), text);
    } else if (message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
               message->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
        char text[TOPIC_NAME_MAX + 80];
        snprintf(text, sizeof(text), "topic %s: unknown; create it (weir topics apply)",
                 message->rkt ? rd_kafka_topic_name(message->rkt) : "?");
        remark(bus, text);
    } else {
        remark(bus, rd_kafka_message_errstr(message));
    }
    rd_kafka_message_destroy(message);
    return false;
}

/* Reports, commits and states: all that may happen inside callbacks too. */
static void service(struct kafka *bus)
{
    if (bus->producer)
        rd_kafka_poll(bus->producer, 0);
    if (bus->commits)
        rd_kafka_queue_poll_callback(bus->commits, 0);
    probe(bus);
    rebuild_producer_if_fatal(bus);
}

static void wait_for_signal(struct kafka *bus, int timeout_ms)
{
    struct pollfd fd = { .fd = bus->wake_fd, .events = POLLIN };
    uint64_t signals;

    if (poll(&fd, 1, timeout_ms) > 0 && read(bus->wake_fd, &signals, sizeof(signals)) < 0)
        return; /* someone else's read emptied it: same as a wake-up */
}

/* One record from the partitions that may have one, each in turn so that none starves. */
static bool next_record(struct kafka *bus)
{
    for (size_t i = 0; i < bus->part_count; i++) {
        if (bus->next_part >= bus->part_count)
            bus->next_part = 0;
        struct part *part = &bus->parts[bus->next_part];
        if (bus->ready_for && !bus->ready_for(bus->on.arg, part->topic, part->partition)) {
            bus->next_part++;
            continue;
        }
        rd_kafka_message_t *message = rd_kafka_consume_queue(part->queue, 0);
        if (message && take_record(bus, message)) {
            part->next_offset = message->offset + 1;
            part->behind_since_ms = 0;
            bus->last_record_ms = weir_mono_ms();
            return true; /* stay with this partition: its records came in one batch */
        }
        bus->next_part++;
    }
    return false;
}

/* librdkafka before 2.2 looks at a queue that was full and has been emptied only when its broker
 * thread wakes, up to a second later (since then: fetch.queue.backoff.ms). Any request to the
 * partition's leader wakes it. Only when the broker is known to have more than was handed out, so
 * never while idle. */
static void nudge(struct kafka *bus)
{
    int64_t now_ms = weir_mono_ms(), first, end;
    char name[TOPIC_NAME_MAX];

    if (!bus->up || rd_kafka_version() >= FETCH_BACKOFF_VERSION)
        return;
    for (size_t i = 0; i < bus->part_count; i++) {
        struct part *part = &bus->parts[i];
        if (part->next_offset < 0 || now_ms - part->nudged_ms < NUDGE_EVERY_MS ||
            rd_kafka_queue_length(part->queue) > 0 ||
            (bus->ready_for && !bus->ready_for(bus->on.arg, part->topic, part->partition)))
            continue;
        full_topic(bus, part->topic, name);
        if (rd_kafka_get_watermark_offsets(bus->consumer, name, part->partition, &first, &end) ||
            end <= part->next_offset)
            continue;
        part->nudged_ms = now_ms;
        (void)rd_kafka_query_watermark_offsets(bus->consumer, name, part->partition, &first, &end,
                                               NUDGE_TIMEOUT_MS);
    }
}

/* A consumer may stay silent after a broker's restart (librdkafka #5153). When the broker says that
 * there is more and none of it came for SILENT_MS, the consumer is built anew. */
static int watch_silence(struct kafka *bus, struct weir_err *err)
{
    int64_t first, end;
    char name[TOPIC_NAME_MAX];

    if (!bus->up || weir_mono_ms() - bus->last_record_ms < SILENT_MS)
        return WEIR_OK;
    bus->last_record_ms = weir_mono_ms();
    for (size_t i = 0; i < bus->part_count; i++) {
        struct part *part = &bus->parts[i];
        if (part->next_offset < 0 || rd_kafka_queue_length(part->queue) > 0)
            continue;
        if (rd_kafka_query_watermark_offsets(bus->consumer, full_topic(bus, part->topic, name),
                                             part->partition, &first, &end, 1000) != 0)
            continue;
        /* A log may end in what is no record (transaction markers): building anew once shows it. */
        if (end <= part->next_offset || end == bus->rebuilt_end) {
            part->behind_since_ms = 0;
        } else if (part->behind_since_ms == 0) {
            part->behind_since_ms = bus->last_record_ms;
        } else {
            bus->rebuilt_end = end;
            remark(bus, "consumer silent though there are records: building it anew");
            close_consumer(bus);
            if (need_consumer(bus, err) < 0)
                return err->fault;
            rd_kafka_resp_err_t code = rd_kafka_subscribe(bus->consumer, bus->subscription);
            if (code)
                return weir_fail(err, WEIR_FATAL, "kafka: subscribe: %s", rd_kafka_err2str(code));
            return WEIR_OK;
        }
    }
    return WEIR_OK;
}

static int kafka_consume(weir_bus *base, int timeout_ms, const struct weir_msg **out,
                         struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    int64_t deadline_ms = weir_mono_ms() + timeout_ms;

    if (!bus->group)
        return weir_fail(err, WEIR_FATAL, "consume: needs a bus with a group");
    if (!bus->consumer) { /* it has left */
        weir_bus_poll(base, timeout_ms);
        return 0;
    }
    drop_current(bus);
    for (;;) {
        if (bus->fatal.fault) {
            *err = bus->fatal;
            return err->fault;
        }
        bool found = false;
        if (bus->unserviced++ < SERVICE_EVERY)
            found = next_record(bus);
        if (!found) {
            bus->unserviced = 0;
            service(bus);
            rd_kafka_message_t *message = rd_kafka_consumer_poll(bus->consumer, 0);
            if (message)
                found = take_record(bus, message);
            if (!found)
                found = next_record(bus);
        }
        if (found) {
            if (!bus->up)
                set_up(bus, true, "answers again");
            fill_msg(bus, bus->current, &bus->msg);
            *out = &bus->msg;
            return 1;
        }
        nudge(bus);
        if (watch_silence(bus, err) < 0)
            return err->fault;
        int64_t left_ms = deadline_ms - weir_mono_ms();
        if (left_ms <= 0)
            return 0;
        wait_for_signal(bus, (int)left_ms);
        deadline_ms =
            0; /* whatever woke us is the caller's business too: look once more, then return */
    }
}

static void kafka_poll(weir_bus *base, int timeout_ms)
{
    struct kafka *bus = (struct kafka *)base;
    service(bus);
    if (timeout_ms > 0) {
        wait_for_signal(bus, timeout_ms);
        service(bus);
    }
}

static void kafka_wake(weir_bus *base)
{
    struct kafka *bus = (struct kafka *)base;
    const uint64_t one = 1;
    if (write(bus->wake_fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: it wakes anyway */
}

/* ---- producing and committing ---- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    struct kafka *bus = opaque;
    enum weir_fault fault = WEIR_OK;
    (void)rk;

    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        if (!bus->up)
            set_up(bus, true, "answers again");
        break;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
        fault = WEIR_BAD_INPUT;
        break;
    default:
        fault = WEIR_TRY_LATER;
    }
    if (bus->on.delivered)
        bus->on.delivered(bus->on.arg, message->_private, fault, message->partition,
                          message->offset, fault ? rd_kafka_err2str(message->err) : "");
}

static int kafka_produce(weir_bus *base, const struct weir_msg *msg, void *opaque,
                         struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char topic[TOPIC_NAME_MAX];

    if (need_producer(bus, err) < 0)
        return err->fault;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(msg->header_count + 1);
    for (size_t i = 0; i < msg->header_count; i++)
        rd_kafka_header_add(headers, msg->headers[i].name, -1, msg->headers[i].value,
                            (ssize_t)msg->headers[i].size_bytes);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        bus->producer, RD_KAFKA_V_TOPIC(full_topic(bus, msg->topic, topic)),
        RD_KAFKA_V_PARTITION(msg->partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(msg->key, msg->key_size_bytes),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)msg->value, msg->value_size_bytes),
        RD_KAFKA_V_TIMESTAMP(msg->time_ms), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(opaque),
        RD_KAFKA_V_END);
    if (code == 0)
        return WEIR_OK;
    rd_kafka_headers_destroy(headers);
    enum weir_fault fault = code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? WEIR_BAD_INPUT
                            : code == RD_KAFKA_RESP_ERR__QUEUE_FULL      ? WEIR_TRY_LATER
                                                                         : WEIR_RETRY;
    return weir_fail(err, fault, "kafka: produce to %s: %s", msg->topic, rd_kafka_err2str(code));
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                      rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
    struct kafka *bus = rd_kafka_opaque(rk);

    for (int i = 0; code == 0 && offsets && i < offsets->cnt; i++)
        code = offsets->elems[i].err;
    if (code == 0 && !bus->up)
        set_up(bus, true, "answers again");
    if (bus->on.committed)
        bus->on.committed(bus->on.arg, opaque, code ? WEIR_TRY_LATER : WEIR_OK,
                          code ? rd_kafka_err2str(code) : "");
}

static void kafka_commit(weir_bus *base, const struct weir_partition *parts, size_t count,
                         void *opaque)
{
    struct kafka *bus = (struct kafka *)base;
    char topic[TOPIC_NAME_MAX];

    if (!bus->group || !bus->consumer) {
        if (bus->on.committed)
            bus->on.committed(bus->on.arg, opaque, WEIR_TRY_LATER, "not a member of a group");
        return;
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);

    for (size_t i = 0; i < count; i++) {
        rd_kafka_topic_partition_t *to = rd_kafka_topic_partition_list_add(
            list, full_topic(bus, parts[i].topic, topic), parts[i].partition);
        to->offset = parts[i].offset;
        if (parts[i].metadata) { /* freed with the list, by free() */
            to->metadata = weir_xstrdup(parts[i].metadata);
            to->metadata_size = strlen(parts[i].metadata);
        }
    }
    rd_kafka_resp_err_t code =
        rd_kafka_commit_queue(bus->consumer, list, bus->commits, on_commit, opaque);
    rd_kafka_topic_partition_list_destroy(list);
    if (code && bus->on.committed)
        bus->on.committed(bus->on.arg, opaque, WEIR_TRY_LATER, rd_kafka_err2str(code));
}

static int64_t kafka_end(weir_bus *base, const char *topic, int32_t partition)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];
    int64_t first, end;

    if (!bus->consumer ||
        rd_kafka_get_watermark_offsets(bus->consumer, full_topic(bus, topic, name), partition,
                                       &first, &end) != 0)
        return -1;
    return end >= 0 ? end : -1;
}

/* ---- asking the cluster ---- */

static int unavailable(struct weir_err *err, const char *what, rd_kafka_resp_err_t code)
{
    return weir_fail(err, WEIR_TRY_LATER, "kafka: %s: %s", what, rd_kafka_err2str(code));
}

static int kafka_topics(weir_bus *base, int timeout_ms, weir_arena *arena,
                        struct weir_topic_info **out, size_t *count, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    const struct rd_kafka_metadata *metadata;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_resp_err_t code = rd_kafka_metadata(bus->consumer, 1, NULL, &metadata, timeout_ms);
    if (code)
        return unavailable(err, "list topics", code);
    *out = weir_alloc_zero(arena, ((size_t)metadata->topic_cnt + 1) * sizeof(**out));
    *count = 0;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
        if (topic->err || !in_name_space(bus, topic->topic))
            continue;
        (*out)[(*count)++] = (struct weir_topic_info){
            .name = weir_strdup(arena, short_topic(bus, topic->topic)),
            .partitions = topic->partition_cnt,
            .replicas = topic->partition_cnt ? topic->partitions[0].replica_cnt : 0,
        };
    }
    rd_kafka_metadata_destroy(metadata);
    return WEIR_OK;
}

/* An admin request under way: a queue of its own for the one answer. */
struct request {
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *event;
};

static void open_request(struct kafka *bus, struct request *request, rd_kafka_admin_op_t op,
                         int timeout_ms)
{
    request->options = rd_kafka_AdminOptions_new(bus->consumer, op);
    rd_kafka_AdminOptions_set_request_timeout(request->options, timeout_ms, NULL, 0);
    request->queue = rd_kafka_queue_new(bus->consumer);
    request->event = NULL;
}

static void close_request(struct request *request)
{
    if (request->event)
        rd_kafka_event_destroy(request->event);
    rd_kafka_queue_destroy(request->queue);
    rd_kafka_AdminOptions_destroy(request->options);
}

static bool is_outage(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT ||
           code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
           code == RD_KAFKA_RESP_ERR_NOT_CONTROLLER ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

static int refused(struct weir_err *err, const char *what, rd_kafka_resp_err_t code,
                   const char *reason)
{
    return weir_fail(err, is_outage(code) ? WEIR_TRY_LATER : WEIR_BAD_INPUT, "kafka: %s: %s", what,
                     reason && *reason ? reason : rd_kafka_err2str(code));
}

/* Waits for the answer; the request as a whole may have failed. */
static int await(struct request *request, const char *what, int timeout_ms, struct weir_err *err)
{
    request->event = rd_kafka_queue_poll(request->queue, timeout_ms + 1000);
    if (!request->event)
        return unavailable(err, what, RD_KAFKA_RESP_ERR__TIMED_OUT);
    rd_kafka_resp_err_t code = rd_kafka_event_error(request->event);
    if (code)
        return refused(err, what, code, rd_kafka_event_error_string(request->event));
    return WEIR_OK;
}

static int topic_outcome(const rd_kafka_topic_result_t **results, size_t count, const char *what,
                         struct weir_err *err)
{
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
        if (code)
            return refused(err, what, code, rd_kafka_topic_result_error_string(results[i]));
    }
    return WEIR_OK;
}

static int kafka_topic_create(weir_bus *base, const struct weir_topic_spec *spec, int timeout_ms,
                              struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX], reason[256];
    struct request request;
    size_t count = 0;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(full_topic(bus, spec->name, name), spec->partitions, spec->replicas,
                              reason, sizeof(reason));
    if (!topic)
        return weir_fail(err, WEIR_BAD_INPUT, "topic %s: %s", spec->name, reason);
    for (const struct weir_topic_config *config = spec->configs; config && config->name; config++)
        rd_kafka_NewTopic_set_config(topic, config->name, config->value);
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
    rd_kafka_CreateTopics(bus->consumer, &topic, 1, request.options, request.queue);
    if (await(&request, "create topic", timeout_ms, err) == WEIR_OK) {
        const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(
            rd_kafka_event_CreateTopics_result(request.event), &count);
        err->fault = WEIR_OK;
        (void)topic_outcome(results, count, spec->name, err);
    }
    close_request(&request);
    rd_kafka_NewTopic_destroy(topic);
    return err->fault;
}

static int kafka_topic_grow(weir_bus *base, const char *topic, int32_t partitions, int timeout_ms,
                            struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX], reason[256];
    struct request request;
    size_t count = 0;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_NewPartitions_t *grow = rd_kafka_NewPartitions_new(
        full_topic(bus, topic, name), (size_t)partitions, reason, sizeof(reason));
    if (!grow)
        return weir_fail(err, WEIR_BAD_INPUT, "topic %s: %s", topic, reason);
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, timeout_ms);
    rd_kafka_CreatePartitions(bus->consumer, &grow, 1, request.options, request.queue);
    if (await(&request, "add partitions", timeout_ms, err) == WEIR_OK) {
        const rd_kafka_topic_result_t **results = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(request.event), &count);
        err->fault = WEIR_OK;
        (void)topic_outcome(results, count, topic, err);
    }
    close_request(&request);
    rd_kafka_NewPartitions_destroy(grow);
    return err->fault;
}

/* The one resource of a config answer, or a failure. */
static int config_outcome(const rd_kafka_ConfigResource_t **resources, size_t count,
                          const char *topic, struct weir_err *err)
{
    if (count != 1)
        return weir_fail(err, WEIR_TRY_LATER, "kafka: %s: no configuration in the answer", topic);
    rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resources[0]);
    if (code)
        return refused(err, topic, code, rd_kafka_ConfigResource_error_string(resources[0]));
    return WEIR_OK;
}

static int kafka_topic_configs(weir_bus *base, const char *topic, int timeout_ms, weir_arena *arena,
                               struct weir_topic_config **out, size_t *count, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];
    struct request request;
    size_t resource_count = 0, entry_count = 0;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, full_topic(bus, topic, name));
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_DescribeConfigs(bus->consumer, &resource, 1, request.options, request.queue);
    if (await(&request, "describe topic", timeout_ms, err) < 0)
        goto out;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(request.event), &resource_count);
    if (config_outcome(resources, resource_count, topic, err) < 0)
        goto out;
    const rd_kafka_ConfigEntry_t **entries =
        rd_kafka_ConfigResource_configs(resources[0], &entry_count);
    *out = weir_alloc_zero(arena, (entry_count + 1) * sizeof(**out));
    *count = 0;
    for (size_t i = 0; i < entry_count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (rd_kafka_ConfigEntry_source(entries[i]) !=
                RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG ||
            !value)
            continue;
        (*out)[(*count)++] = (struct weir_topic_config){
            .name = weir_strdup(arena, rd_kafka_ConfigEntry_name(entries[i])),
            .value = weir_strdup(arena, value),
        };
    }
    err->fault = WEIR_OK;
out:
    close_request(&request);
    rd_kafka_ConfigResource_destroy(resource);
    return err->fault;
}

/* AlterConfigs replaces all values of a topic, so those to keep are read first and sent along. */
static int kafka_topic_configure(weir_bus *base, const char *topic,
                                 const struct weir_topic_config *configs, int timeout_ms,
                                 struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_topic_config *kept = NULL;
    char name[TOPIC_NAME_MAX];
    struct request request;
    size_t kept_count = 0, count = 0;

    if (kafka_topic_configs(base, topic, timeout_ms, arena, &kept, &kept_count, err) < 0)
        return err->fault;
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, full_topic(bus, topic, name));
    for (size_t i = 0; i < kept_count; i++) {
        const struct weir_topic_config *anew = configs; /* a name given twice is refused */
        while (anew->name && strcmp(anew->name, kept[i].name) != 0)
            anew++;
        if (!anew->name)
            rd_kafka_ConfigResource_set_config(resource, kept[i].name, kept[i].value);
    }
    for (; configs->name; configs++)
        rd_kafka_ConfigResource_set_config(resource, configs->name, configs->value);
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_ALTERCONFIGS, timeout_ms);
    rd_kafka_AlterConfigs(bus->consumer, &resource, 1, request.options, request.queue);
    if (await(&request, "alter topic", timeout_ms, err) == WEIR_OK) {
        const rd_kafka_ConfigResource_t **resources = rd_kafka_AlterConfigs_result_resources(
            rd_kafka_event_AlterConfigs_result(request.event), &count);
        err->fault = WEIR_OK;
        (void)config_outcome(resources, count, topic, err);
    }
    close_request(&request);
    rd_kafka_ConfigResource_destroy(resource);
    return err->fault;
}

static int kafka_truncate(weir_bus *base, const char *topic, int32_t partition,
                          int64_t before_offset, int timeout_ms, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];
    struct request request;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, full_topic(bus, topic, name), partition)->offset =
        before_offset;
    rd_kafka_DeleteRecords_t *records = rd_kafka_DeleteRecords_new(list);
    rd_kafka_topic_partition_list_destroy(list);
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_DELETERECORDS, timeout_ms);
    rd_kafka_DeleteRecords(bus->consumer, &records, 1, request.options, request.queue);
    if (await(&request, "delete records", timeout_ms, err) == WEIR_OK) {
        const rd_kafka_topic_partition_list_t *outcome = rd_kafka_DeleteRecords_result_offsets(
            rd_kafka_event_DeleteRecords_result(request.event));
        err->fault = WEIR_OK;
        if (outcome->cnt == 1 && outcome->elems[0].err)
            (void)refused(err, topic, outcome->elems[0].err, NULL);
    }
    close_request(&request);
    rd_kafka_DeleteRecords_destroy(records);
    return err->fault;
}

static int kafka_bounds(weir_bus *base, const char *topic, int32_t partition, int timeout_ms,
                        int64_t *first, int64_t *end, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        bus->consumer, full_topic(bus, topic, name), partition, first, end, timeout_ms);
    if (code)
        return refused(err, topic, code, NULL);
    return WEIR_OK;
}

static int kafka_groups(weir_bus *base, int timeout_ms, weir_arena *arena, const char ***out,
                        size_t *count, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    struct request request;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, timeout_ms);
    rd_kafka_ListConsumerGroups(bus->consumer, request.options, request.queue);
    if (await(&request, "list groups", timeout_ms, err) == WEIR_OK) {
        const rd_kafka_ListConsumerGroups_result_t *result =
            rd_kafka_event_ListConsumerGroups_result(request.event);
        size_t listed = 0;
        const rd_kafka_ConsumerGroupListing_t **groups =
            rd_kafka_ListConsumerGroups_result_valid(result, &listed);
        size_t error_count = 0;
        const rd_kafka_error_t **errors =
            rd_kafka_ListConsumerGroups_result_errors(result, &error_count);
        if (error_count > 0) { /* a broker that did not answer: its groups would be missing */
            (void)unavailable(err, "list groups", rd_kafka_error_code(errors[0]));
            close_request(&request);
            return err->fault;
        }
        *out = weir_alloc_zero(arena, (listed + 1) * sizeof(**out));
        *count = 0;
        for (size_t i = 0; i < listed; i++) {
            const char *name = rd_kafka_ConsumerGroupListing_group_id(groups[i]);
            if (in_name_space(bus, name))
                (*out)[(*count)++] = weir_strdup(arena, short_topic(bus, name));
        }
        err->fault = WEIR_OK;
    }
    close_request(&request);
    return err->fault;
}

static int kafka_group_offsets(weir_bus *base, const char *group, int timeout_ms, weir_arena *arena,
                               struct weir_partition **out, size_t *count, struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];
    struct request request;

    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_ListConsumerGroupOffsets_t *ask =
        rd_kafka_ListConsumerGroupOffsets_new(full_topic(bus, group, name), NULL);
    open_request(bus, &request, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, timeout_ms);
    rd_kafka_ListConsumerGroupOffsets(bus->consumer, &ask, 1, request.options, request.queue);
    if (await(&request, "group offsets", timeout_ms, err) == WEIR_OK) {
        size_t group_count = 0;
        const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(request.event), &group_count);
        const rd_kafka_error_t *error = group_count ? rd_kafka_group_result_error(groups[0]) : NULL;
        err->fault = WEIR_OK;
        if (error) {
            (void)refused(err, group, rd_kafka_error_code(error), rd_kafka_error_string(error));
        } else {
            const rd_kafka_topic_partition_list_t *list =
                group_count ? rd_kafka_group_result_partitions(groups[0]) : NULL;
            int listed = list ? list->cnt : 0;
            *out = weir_alloc_zero(arena, ((size_t)listed + 1) * sizeof(**out));
            *count = 0;
            for (int i = 0; i < listed; i++) {
                const rd_kafka_topic_partition_t *from = &list->elems[i];
                if (from->offset < 0 || !in_name_space(bus, from->topic))
                    continue;
                (*out)[(*count)++] = (struct weir_partition){
                    .topic = weir_strdup(arena, short_topic(bus, from->topic)),
                    .partition = from->partition,
                    .offset = from->offset,
                    .metadata = from->metadata
                                    ? weir_strndup(arena, from->metadata, from->metadata_size)
                                    : NULL,
                };
            }
        }
    }
    close_request(&request);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    return err->fault;
}

static int kafka_scan(weir_bus *base, const char *topic, int32_t partition, int64_t offset,
                      int64_t end, int timeout_ms,
                      int (*each)(void *arg, const struct weir_msg *msg), void *arg,
                      struct weir_err *err)
{
    struct kafka *bus = (struct kafka *)base;
    char name[TOPIC_NAME_MAX];
    int result = WEIR_OK;

    if (bus->group)
        return weir_fail(err, WEIR_FATAL, "scan: needs a bus without a group");
    if (offset >= end)
        return WEIR_OK;
    if (need_consumer(bus, err) < 0)
        return err->fault;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, full_topic(bus, topic, name), partition)->offset =
        offset;
    rd_kafka_assign(bus->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    int64_t waiting_since_ms = weir_mono_ms();
    while (result == WEIR_OK && offset < end) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(bus->consumer, 100);
        if (message && message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            /* Markers, compacted and deleted records leave gaps at the end: no record tells that
             * it was reached. */
            if (message->offset >= end)
                offset = end;
        } else if (message && message->err == 0) {
            struct weir_msg msg;
            offset = message->offset + 1;
            fill_msg(bus, message, &msg);
            if (message->offset < end)
                result = each(arg, &msg);
            waiting_since_ms = weir_mono_ms();
        } else if (message && !is_outage(message->err)) {
            result = weir_fail(err, WEIR_TRY_LATER, "kafka: %s: %s", topic,
                               rd_kafka_message_errstr(message));
        }
        if (message)
            rd_kafka_message_destroy(message);
        if (result == WEIR_OK && offset < end && weir_mono_ms() - waiting_since_ms > timeout_ms)
            result =
                weir_fail(err, WEIR_TRY_LATER, "kafka: %s: no answer in %d ms", topic, timeout_ms);
    }
    rd_kafka_assign(bus->consumer, NULL);
    return result;
}

static const struct weir_bus_ops kafka_ops = {
    .close = kafka_close,
    .leave = kafka_leave,
    .subscribe = kafka_subscribe,
    .consume = kafka_consume,
    .poll = kafka_poll,
    .wake = kafka_wake,
    .produce = kafka_produce,
    .commit = kafka_commit,
    .end = kafka_end,
    .topics = kafka_topics,
    .topic_create = kafka_topic_create,
    .topic_grow = kafka_topic_grow,
    .topic_configs = kafka_topic_configs,
    .topic_configure = kafka_topic_configure,
    .truncate = kafka_truncate,
    .bounds = kafka_bounds,
    .groups = kafka_groups,
    .group_offsets = kafka_group_offsets,
    .scan = kafka_scan,
};

#ifdef __SANITIZE_THREAD__
/* librdkafka starts its threads by C11's thrd_create(), which ThreadSanitizer does not see: it
 * crashes in the first of them. These two stand in front of libc's. */
#include <stdint.h>
#include <threads.h>

struct thread_start {
    thrd_start_t run;
    void *arg;
};

static void *begin_thread(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    free(arg);
    return (void *)(intptr_t)start.run(start.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
    struct thread_start *start = weir_xmalloc(sizeof(*start));
    *start = (struct thread_start){ run, arg };
    if (pthread_create(thread, NULL, begin_thread, start) == 0)
        return thrd_success;
    free(start);
    return thrd_error;
}

int thrd_join(thrd_t thread, int *result)
{
    void *got;
    if (pthread_join(thread, &got) != 0)
        return thrd_error;
    if (result)
        *result = (int)(intptr_t)got;
    return thrd_success;
}
#endif

int weir_bus_kafka_open(const struct weir_bus_config *config, const char *address, weir_bus **out,
                        struct weir_err *err)
{
    if (!*address)
        return weir_fail(err, WEIR_FATAL, "bus url: no broker");
    struct kafka *bus = weir_xcalloc(1, sizeof(*bus));
    bus->base.ops = &kafka_ops;
    bus->brokers = weir_xstrdup(address);
    bus->name_space = weir_xstrdup(config->name_space ? config->name_space : "");
    bus->name_space_length = strlen(bus->name_space);
    bus->client_id = weir_xstrdup(config->client_id);
    bus->group = config->group ? weir_xstrdup(config->group) : NULL;
    bus->instance = config->instance ? weir_xstrdup(config->instance) : NULL;
    bus->env = config->env;
    bus->ready_for = config->ready_for;
    bus->stopping = config->stopping;
    bus->rebuilt_end = -1;
    bus->on = config->on;
    bus->up = true; /* until the contrary is known */
    bus->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    weir_bus *opened = &bus->base;
    /* Both handles now, so that a wrong property stops the start rather than the first record. */
    int fault = config->group ? need_consumer(bus, err) : WEIR_OK;
    if (fault == WEIR_OK && config->group)
        fault = need_producer(bus, err);
    if (fault < 0) {
        kafka_close(opened);
        return fault;
    }
    *out = opened;
    return WEIR_OK;
}
