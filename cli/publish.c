/* weir publish: produces records by hand, checked and with the headers that services expect. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include <weir/clock.h>
#include <weir/trace.h>

#include "cli.h"
#include "topics.h"

static const char usage[] =
    "usage: weir publish TOPIC [FILE] [--key K] [--header NAME=VALUE ...] [--lines] [--raw] "
    "[--json]\n"
    "\n"
    "Publishes FILE (or standard input) as one record, checked against the topic's contract, and\n"
    "prints topic, partition and offset once the broker has it. Without --key the topic's usual "
    "key,\n"
    "if it has one. A value is at most 1 MiB.\n"
    "\n"
    "  --lines            one record a line; stops at the first wrong one, which it names\n"
    "  --header N=V       adds a header, or replaces one of ours (ce_id, ce_type, ...)\n"
    "  --raw              no check: for topics without a contract, and to try what must fail\n"
    "  --brokers LIST     [$WEIR_BROKERS]\n"
    "\n"
    "  TRACEPARENT        in the environment: the trace that the records belong to\n";

enum { OPT_KEY = OPT_OWN, OPT_HEADER, OPT_LINES, OPT_RAW };

enum {
    VALUE_MAX_BYTES = 1 << 20,
    USER_HEADERS_MAX = 32,
    OWN_HEADERS = 7,
    IN_FLIGHT_MAX = 1000,
    DELIVERY_MS = 30000, /* without any progress */
};

struct publisher {
    weir_bus *bus;
    const char *topic, *key;
    struct weir_header user_headers[USER_HEADERS_MAX];
    size_t user_header_count;
    bool json;
    size_t in_flight;
    struct weir_err failed; /* fault WEIR_OK: nothing has failed */
};

static void on_delivered(void *arg, void *opaque, enum weir_fault fault, int32_t partition,
                         int64_t offset, const char *reason)
{
    struct publisher *publisher = arg;
    (void)opaque;

    publisher->in_flight--;
    if (fault) {
        if (!publisher->failed.fault)
            weir_fail(&publisher->failed, fault, "%s: not delivered: %s", publisher->topic, reason);
    } else if (publisher->json) {
        WEIR_AUTO_BUF out = { 0 };
        weir_buf_char(&out, '{');
        cli_json_text(&out, "topic", publisher->topic);
        cli_json_int(&out, "partition", partition);
        cli_json_int(&out, "offset", offset);
        weir_buf_text(&out, "}\n");
        cli_flush(&out);
    } else {
        printf("%s %" PRId32 " %" PRId64 "\n", publisher->topic, partition, offset);
    }
}

static void random_uuid(char out[37])
{
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        uint64_t halves[2] = { weir_random(), weir_random() };
        memcpy(bytes, halves, sizeof(bytes));
    }
    bytes[6] = (bytes[6] & 0x0f) | 0x40; /* RFC 9562: version 4, variant 10 */
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    for (size_t i = 0, at = 0; i < sizeof(bytes); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        snprintf(out + at, 3, "%02x", bytes[i]);
        at += 2;
    }
}

static bool has_header(const struct publisher *publisher, const char *name)
{
    for (size_t i = 0; i < publisher->user_header_count; i++)
        if (strcmp(publisher->user_headers[i].name, name) == 0)
            return true;
    return false;
}

static int wait_below(struct publisher *publisher, size_t limit, struct weir_err *err)
{
    int64_t deadline_ms = weir_mono_ms() + DELIVERY_MS;
    while (publisher->in_flight >= limit) {
        size_t before = publisher->in_flight;
        weir_bus_poll(publisher->bus, 100);
        if (publisher->in_flight < before)
            deadline_ms = weir_mono_ms() + DELIVERY_MS;
        else if (weir_mono_ms() > deadline_ms)
            return weir_fail(err, WEIR_TRY_LATER, "%s: no delivery report in %d s",
                             publisher->topic, DELIVERY_MS / 1000);
    }
    if (publisher->failed.fault)
        *err = publisher->failed;
    return publisher->failed.fault;
}

static int publish(struct publisher *publisher, const void *value, size_t size_bytes,
                   struct weir_err *err)
{
    char id[37], time[WEIR_ISO_SIZE], trace[WEIR_TRACEPARENT_SIZE];
    const char *parent = getenv("TRACEPARENT");
    struct weir_header headers[OWN_HEADERS + USER_HEADERS_MAX];
    size_t count = 0;

    random_uuid(id);
    weir_iso_time(weir_wall_ms(), time);
    weir_traceparent_child(parent, parent ? strlen(parent) : 0, trace);
    const struct {
        const char *name, *value;
    } own[OWN_HEADERS] = {
        { "ce_specversion", "1.0" },  { "ce_id", id },     { "ce_type", publisher->topic },
        { "ce_source", "/weir/cli" }, { "ce_time", time }, { "content-type", "application/json" },
        { "traceparent", trace },
    };
    for (size_t i = 0; i < OWN_HEADERS; i++)
        if (!has_header(publisher, own[i].name))
            headers[count++] =
                (struct weir_header){ own[i].name, own[i].value, strlen(own[i].value) };
    for (size_t i = 0; i < publisher->user_header_count; i++)
        headers[count++] = publisher->user_headers[i];

    struct weir_msg msg = {
        .topic = publisher->topic,
        .partition = -1,
        .key = publisher->key,
        .key_size_bytes = publisher->key ? strlen(publisher->key) : 0,
        .value = value,
        .value_size_bytes = size_bytes,
        .headers = headers,
        .header_count = count,
    };
    if (wait_below(publisher, IN_FLIGHT_MAX, err) < 0)
        return err->fault;
    if (weir_bus_produce(publisher->bus, &msg, NULL, err) < 0)
        return err->fault;
    publisher->in_flight++;
    return WEIR_OK;
}

static int check_and_publish(struct publisher *publisher, const struct proto_topic *contract,
                             weir_arena *arena, const char *value, size_t size_bytes,
                             struct weir_err *err)
{
    if (size_bytes > VALUE_MAX_BYTES)
        return weir_fail(err, WEIR_BAD_INPUT, "larger than %d bytes", VALUE_MAX_BYTES);
    weir_arena_reset(arena);
    if (contract && contract->check(value, size_bytes, arena, err) < 0)
        return err->fault;
    return publish(publisher, value, size_bytes, err);
}

static int publish_lines(struct publisher *publisher, const struct proto_topic *contract,
                         FILE *file, struct weir_err *err)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int fault = WEIR_OK;

    for (int64_t number = 1; fault == WEIR_OK && (length = getline(&line, &capacity, file)) >= 0;
         number++) {
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            length--;
        if (length > 0 &&
            check_and_publish(publisher, contract, arena, line, (size_t)length, err) < 0)
            fault = weir_wrap(err, "line %" PRId64, number);
    }
    free(line);
    return fault;
}

static int publish_whole(struct publisher *publisher, const struct proto_topic *contract,
                         FILE *file, struct weir_err *err)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    char *value = weir_xmalloc(VALUE_MAX_BYTES + 1);
    size_t size_bytes = fread(value, 1, VALUE_MAX_BYTES + 1, file);
    int fault = check_and_publish(publisher, contract, arena, value, size_bytes, err);
    free(value);
    return fault;
}

static bool add_header(struct publisher *publisher, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text || publisher->user_header_count == USER_HEADERS_MAX)
        return false;
    *equals = '\0';
    publisher->user_headers[publisher->user_header_count++] =
        (struct weir_header){ text, equals + 1, strlen(equals + 1) };
    return true;
}

static int publish_file(struct publisher *publisher, const char *path, bool lines,
                        const struct proto_topic *contract, struct weir_err *err)
{
    bool from_stdin = !path || strcmp(path, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(path, "re");
    int32_t partitions;

    if (!file)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: %s", path, strerror(errno));
    int fault = cli_partitions(publisher->bus, publisher->topic, &partitions, err);
    if (fault == WEIR_OK && partitions == 0)
        fault = weir_fail(err, WEIR_FATAL,
                          "topic %s: unknown; `weir topics apply` creates those "
                          "of the contract",
                          publisher->topic);
    if (fault == WEIR_OK)
        fault = lines ? publish_lines(publisher, contract, file, err)
                      : publish_whole(publisher, contract, file, err);
    if (fault == WEIR_OK && ferror(file))
        fault = weir_fail(err, WEIR_BAD_INPUT, "%s: can't be read", from_stdin ? "stdin" : path);
    if (!from_stdin)
        fclose(file);

    /* What was accepted before a wrong line is on its way and is waited for. */
    struct weir_err late;
    if (wait_below(publisher, 1, &late) < 0 && fault == WEIR_OK) {
        *err = late;
        fault = late.fault;
    }
    return fault;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        { "key", required_argument, NULL, OPT_KEY },
        { "header", required_argument, NULL, OPT_HEADER },
        { "lines", no_argument, NULL, OPT_LINES },
        { "raw", no_argument, NULL, OPT_RAW },
        CLI_OPTIONS,
    };
    struct publisher publisher = { 0 };
    bool lines = false, raw = false;
    struct weir_err err;
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPT_KEY)
            publisher.key = optarg;
        else if (option == OPT_HEADER && !add_header(&publisher, optarg))
            return cli_usage_error(cli, "--header wants NAME=VALUE, at most %d times",
                                   USER_HEADERS_MAX);
        else if (option == OPT_LINES)
            lines = true;
        else if (option == OPT_RAW)
            raw = true;
        else if (option < OPT_OWN && (status = cli_common_option(cli, option)) != CLI_GO_ON)
            return status;
    }
    if (argc - optind < 1 || argc - optind > 2)
        return cli_usage_error(cli, "a topic is wanted, and perhaps a file");
    publisher.topic = argv[optind];
    publisher.json = cli->json;
    const struct proto_topic *contract = proto_topic_find(publisher.topic);
    if (!contract && !raw) {
        cli_say("topic %s: no contract to check by; --raw publishes unchecked", publisher.topic);
        return EX_DATAERR;
    }
    if (contract && !publisher.key)
        publisher.key = contract->default_key;

    struct weir_bus_events on = { .delivered = on_delivered, .arg = &publisher };
    if (cli_open_bus(cli, &on, &publisher.bus, &err) < 0)
        return cli_fail(&err);
    int fault = publish_file(&publisher, argc - optind == 2 ? argv[optind + 1] : NULL, lines,
                             raw ? NULL : contract, &err);
    weir_bus_close(&publisher.bus);
    return fault < 0 ? cli_fail(&err) : EX_OK;
}

const struct command publish_command = {
    .name = "publish",
    .summary = "publish a record, checked by the topic's contract",
    .usage = usage,
    .run = run,
};
