/* weir dlq: lists, shows, redrives and purges the dead letters of a service. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/clock.h>

#include "cli.h"
#include "letters.h"
#include "settle.h"

static const char usage[] =
    "usage: weir dlq ls SERVICE [FILTER ...] [--all] [--count] [--limit N] [--json]\n"
    "       weir dlq show SERVICE PARTITION/OFFSET [--value] [--json]\n"
    "       weir dlq redrive SERVICE [FILTER ...] [--limit N] [--rate N] [--dry-run] [--json]\n"
    "       weir dlq purge SERVICE [FILTER ...] [--limit N] [--dry-run] [--json]\n"
    "\n"
    "  ls        open letters: id, time, fault, where they came from, reason\n"
    "  show      one letter's headers and value; --value: nothing but the bytes of the value\n"
    "  redrive   sends letters back to where they came from, in their old order, once each\n"
    "  purge     gives letters up, and deletes them as soon as no open one lies before them\n"
    "\n"
    "  --reason TEXT        letters whose reason holds TEXT\n"
    "  --fault NAME         bad_input, retry, try_later or fatal\n"
    "  --topic TOPIC        letters that came from TOPIC\n"
    "  --key K              letters of that key\n"
    "  --since, --until T   given up then: 2026-11-25T10:00:00Z, or an age: 90s, 30m, 2h, 7d\n"
    "\n"
    "  --all            ls: settled ones too\n"
    "  --count          ls: numbers only\n"
    "  --limit N        no more than N letters\n"
    "  --rate N         redrive: N records a second at most\n"
    "  --dry-run        say which letters it would be, do nothing\n"
    "  --brokers LIST   [$WEIR_BROKERS]\n";

enum {
    OPT_REASON = OPT_OWN,
    OPT_FAULT,
    OPT_TOPIC,
    OPT_KEY,
    OPT_SINCE,
    OPT_UNTIL,
    OPT_ALL,
    OPT_COUNT,
    OPT_LIMIT,
    OPT_RATE,
    OPT_DRY_RUN,
    OPT_VALUE,
};

static const char *const state_names[] = { "open", "redriven", "purged" };

struct request {
    const char *service, *topic;
    struct letter_filter filter;
    bool all, count_only, dry_run, value_only, json;
    int64_t limit, rate;
};

/* ---- ls ---- */

/* What came from outside may hold what a terminal takes for orders. */
static void add_shown(struct weir_buf *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = (c >= ' ' && c != 0x7f) || c == '\n' || c == '\t';
        weir_buf_char(out, plain ? text[i] : '?');
    }
}

static void print_letter(const struct letter *letter, bool json)
{
    WEIR_AUTO_BUF out = { 0 };
    char time[WEIR_ISO_SIZE];

    weir_iso_time(letter->time_ms, time);
    if (json) {
        weir_buf_char(&out, '{');
        weir_buf_printf(&out, "\"id\":\"%" PRId32 "/%" PRId64 "\"", letter->partition,
                        letter->offset);
        cli_json_text(&out, "time", time);
        cli_json_text(&out, "fault", letter->fault);
        cli_json_text(&out, "reason", letter->reason);
        cli_json_text(&out, "topic", letter->has_origin ? letter->topic : NULL);
        cli_json_int(&out, "partition", letter->origin_partition);
        cli_json_int(&out, "offset", letter->origin_offset);
        cli_json_text(&out, "state", state_names[letter->state]);
        weir_buf_text(&out, "}\n");
    } else {
        char id[48];
        snprintf(id, sizeof(id), "%" PRId32 "/%" PRId64, letter->partition, letter->offset);
        weir_buf_printf(&out, "%-10s %s %-9s %s/%" PRId32 "/%" PRId64 " ", id, time, letter->fault,
                        letter->topic, letter->origin_partition, letter->origin_offset);
        if (letter->state != LETTER_OPEN)
            weir_buf_printf(&out, "[%s] ", state_names[letter->state]);
        add_shown(&out, letter->reason, strlen(letter->reason));
        weir_buf_char(&out, '\n');
    }
    cli_flush(&out);
}

static int by_time(const void *a, const void *b)
{
    const struct letter *left = *(struct letter *const *)a, *right = *(struct letter *const *)b;
    if (left->time_ms != right->time_ms)
        return left->time_ms < right->time_ms ? -1 : 1;
    if (left->partition != right->partition)
        return left->partition < right->partition ? -1 : 1;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static void print_counts(const struct request *request, const size_t counts[3])
{
    if (!request->json) {
        printf("%zu open, %zu redriven, %zu purged\n", counts[LETTER_OPEN], counts[LETTER_REDRIVEN],
               counts[LETTER_PURGED]);
    } else if (request->count_only) {
        WEIR_AUTO_BUF out = { 0 };
        weir_buf_char(&out, '{');
        for (int state = LETTER_OPEN; state <= LETTER_PURGED; state++)
            cli_json_int(&out, state_names[state], (int64_t)counts[state]);
        weir_buf_text(&out, "}\n");
        cli_flush(&out);
    }
}

static int list(const struct request *request, const struct letters *letters)
{
    struct letter **shown = weir_xcalloc(letters->count + 1, sizeof(struct letter *));
    size_t shown_count = 0, counts[3] = { 0, 0, 0 };

    for (size_t i = 0; i < letters->count; i++) {
        struct letter *letter = &letters->items[i];
        if (!letter->matches || letter->repeat)
            continue;
        counts[letter->state]++;
        if (request->all || letter->state == LETTER_OPEN)
            shown[shown_count++] = letter;
    }
    qsort(shown, shown_count, sizeof(*shown), by_time);
    for (size_t i = 0; i < shown_count && (int64_t)i < request->limit; i++)
        if (!request->count_only)
            print_letter(shown[i], request->json);
    print_counts(request, counts);
    free(shown);
    return EX_OK;
}

/* ---- show ---- */

struct shown {
    const struct request *request;
    bool found;
};

static void show_json(const struct weir_msg *msg, struct weir_buf *out)
{
    char time[WEIR_ISO_SIZE];

    weir_iso_time(msg->time_ms, time);
    weir_buf_printf(out, "{\"id\":\"%" PRId32 "/%" PRId64 "\"", msg->partition, msg->offset);
    cli_json_text(out, "time", time);
    cli_json_bytes(out, "key", msg->key, msg->key_size_bytes);
    weir_buf_text(out, ",\"headers\":[");
    for (size_t i = 0; i < msg->header_count; i++) {
        weir_buf_text(out, i ? ",{" : "{");
        cli_json_text(out, "name", msg->headers[i].name);
        cli_json_bytes(out, "value", msg->headers[i].value, msg->headers[i].size_bytes);
        weir_buf_char(out, '}');
    }
    weir_buf_char(out, ']');
    cli_json_bytes(out, "value", msg->value, msg->value_size_bytes);
    weir_buf_text(out, "}\n");
}

static void show_text(const struct weir_msg *msg, struct weir_buf *out)
{
    char time[WEIR_ISO_SIZE];

    weir_iso_time(msg->time_ms, time);
    weir_buf_printf(out, "id: %" PRId32 "/%" PRId64 "\ntime: %s\n", msg->partition, msg->offset,
                    time);
    if (msg->key) {
        weir_buf_text(out, "key: ");
        add_shown(out, msg->key, msg->key_size_bytes);
        weir_buf_char(out, '\n');
    }
    for (size_t i = 0; i < msg->header_count; i++) {
        add_shown(out, msg->headers[i].name, strlen(msg->headers[i].name));
        weir_buf_text(out, ": ");
        add_shown(out, msg->headers[i].value, msg->headers[i].size_bytes);
        weir_buf_char(out, '\n');
    }
    weir_buf_char(out, '\n');
    add_shown(out, msg->value, msg->value_size_bytes);
    weir_buf_char(out, '\n');
}

static int show_record(void *arg, const struct weir_msg *msg)
{
    struct shown *shown = arg;
    WEIR_AUTO_BUF out = { 0 };

    shown->found = true;
    if (shown->request->value_only)
        weir_buf_add(&out, msg->value, msg->value_size_bytes);
    else if (shown->request->json)
        show_json(msg, &out);
    else
        show_text(msg, &out);
    cli_flush(&out);
    return 1;
}

static int show(const struct cli *cli, const struct request *request, weir_bus *bus, const char *id)
{
    struct shown shown = { .request = request };
    int32_t partition, partitions;
    int64_t offset, first, end;
    struct weir_err err;
    char rest;

    if (sscanf(id, "%" SCNd32 "/%" SCNd64 "%c", &partition, &offset, &rest) != 2 || partition < 0 ||
        offset < 0)
        return cli_usage_error(cli, "'%s' is not a letter's id, PARTITION/OFFSET", id);
    if (cli_partitions(bus, request->topic, &partitions, &err) < 0)
        return cli_fail(&err);
    if (partitions == 0) {
        cli_say("topic %s: unknown", request->topic);
        return EX_CONFIG;
    }
    if (partition < partitions) {
        if (weir_bus_bounds(bus, request->topic, partition, CLI_TIMEOUT_MS, &first, &end, &err) < 0)
            return cli_fail(&err);
        if (offset >= first && offset < end &&
            weir_bus_scan(bus, request->topic, partition, offset, offset + 1, CLI_TIMEOUT_MS,
                          show_record, &shown, &err) < 0)
            return cli_fail(&err);
    }
    if (!shown.found) {
        cli_say("%s: no letter %s", request->topic, id);
        return EX_DATAERR;
    }
    return EX_OK;
}

/* ---- redrive, purge ---- */

static volatile int stop_asked;

static void ask_stop(int signal_)
{
    (void)signal_;
    stop_asked = 1;
}

/* The first signal lets what is under way come to its end, so that nothing is sent without its
 * mark; a second one kills. */
static void catch_stop(void)
{
    struct sigaction action = { .sa_handler = ask_stop, .sa_flags = (int)SA_RESETHAND };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int dry_run(const struct request *request, const struct letters *letters)
{
    size_t count = 0;
    for (size_t i = 0; i < letters->count && (int64_t)count < request->limit; i++) {
        const struct letter *letter = &letters->items[i];
        if (letter->state != LETTER_OPEN || letter->repeat || !letter->matches)
            continue;
        print_letter(letter, request->json);
        count++;
    }
    if (!request->json)
        printf("%zu letters, left as they are\n", count);
    return EX_OK;
}

static void print_outcome(const struct request *request, const struct settler *settler,
                          const char *what, size_t kept)
{
    if (request->json) {
        printf("{\"%s\":%zu,\"failed\":%zu,\"kept\":%zu}\n", what, settler->settled,
               settler->failed, kept);
        return;
    }
    printf("%zu %s", settler->settled, what);
    if (settler->failed)
        printf(", %zu failed", settler->failed);
    putchar('\n');
    if (kept)
        cli_say("%zu purged letters lie behind open ones: a purge after those are settled deletes "
                "them",
                kept);
}

static int settle(const struct request *request, struct settler *settler, bool redriving)
{
    size_t kept = 0;
    struct weir_err err;

    catch_stop();
    settler->stop = &stop_asked;
    settler->limit = (size_t)request->limit;
    settler->rate = request->rate;
    int fault = redriving ? settler_redrive(settler, &err) : settler_purge(settler, &err);
    if (fault == WEIR_OK && !redriving)
        fault = settler_truncate(settler, &kept, &err);
    print_outcome(request, settler, redriving ? "redriven" : "purged", kept);
    if (fault < 0)
        return cli_fail(&err);
    if (stop_asked) {
        cli_say("stopped; the rest stays open");
        return 128 + SIGINT;
    }
    return settler->failed ? EX_DATAERR : EX_OK;
}

/* ---- command line ---- */

static bool take_option(struct request *request, int option)
{
    switch (option) {
    case OPT_REASON:
        request->filter.reason = optarg;
        return true;
    case OPT_FAULT:
        request->filter.fault = optarg;
        return true;
    case OPT_TOPIC:
        request->filter.topic = optarg;
        return true;
    case OPT_KEY:
        request->filter.key = optarg;
        return true;
    case OPT_SINCE:
        return cli_time("--since", optarg, &request->filter.since_ms);
    case OPT_UNTIL:
        return cli_time("--until", optarg, &request->filter.until_ms);
    case OPT_ALL:
        request->all = true;
        return true;
    case OPT_COUNT:
        request->count_only = true;
        return true;
    case OPT_LIMIT:
        return cli_number("--limit", optarg, 1, INT64_MAX, &request->limit);
    case OPT_RATE:
        return cli_number("--rate", optarg, 1, 1000000, &request->rate);
    case OPT_DRY_RUN:
        request->dry_run = true;
        return true;
    default:
        request->value_only = true;
        return true;
    }
}

static int act(const struct request *request, const char *action, weir_bus *bus,
               struct settler *settler)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct letters letters;
    struct weir_err err;
    int status;

    if (letters_read(bus, request->topic, &request->filter, arena, &letters, &err) < 0)
        return cli_fail(&err);
    settler->bus = bus;
    settler->letters = &letters;
    if (strcmp(action, "ls") == 0)
        status = list(request, &letters);
    else if (request->dry_run)
        status = dry_run(request, &letters);
    else
        status = settle(request, settler, strcmp(action, "redrive") == 0);
    letters_free(&letters);
    settler->letters = NULL;
    return status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        { "reason", required_argument, NULL, OPT_REASON },
        { "fault", required_argument, NULL, OPT_FAULT },
        { "topic", required_argument, NULL, OPT_TOPIC },
        { "key", required_argument, NULL, OPT_KEY },
        { "since", required_argument, NULL, OPT_SINCE },
        { "until", required_argument, NULL, OPT_UNTIL },
        { "all", no_argument, NULL, OPT_ALL },
        { "count", no_argument, NULL, OPT_COUNT },
        { "limit", required_argument, NULL, OPT_LIMIT },
        { "rate", required_argument, NULL, OPT_RATE },
        { "dry-run", no_argument, NULL, OPT_DRY_RUN },
        { "value", no_argument, NULL, OPT_VALUE },
        CLI_OPTIONS,
    };
    struct request request = { .limit = INT64_MAX };
    struct settler settler = { 0 };
    struct weir_bus_events on = settler_events(&settler);
    struct weir_err err;
    weir_bus *bus = NULL;
    char topic[300];
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option >= OPT_OWN) {
            if (!take_option(&request, option))
                return EX_USAGE;
        } else if ((status = cli_common_option(cli, option)) != CLI_GO_ON) {
            return status;
        }
    }
    int arguments = argc - optind;
    const char *action = arguments > 0 ? argv[optind] : "";
    bool showing = strcmp(action, "show") == 0;
    if (arguments != (showing ? 3 : 2) ||
        (!showing && strcmp(action, "ls") != 0 && strcmp(action, "redrive") != 0 &&
         strcmp(action, "purge") != 0))
        return cli_usage_error(cli, "ls, redrive or purge SERVICE, or show SERVICE "
                                    "PARTITION/OFFSET, is wanted");
    request.service = argv[optind + 1];
    request.json = cli->json;
    snprintf(topic, sizeof(topic), "%s.dlq", request.service);
    request.topic = topic;
    if (cli_open_bus(cli, &on, &bus, &err) < 0)
        return cli_fail(&err);
    status =
        showing ? show(cli, &request, bus, argv[optind + 2]) : act(&request, action, bus, &settler);
    weir_bus_close(&bus);
    return status;
}

const struct command dlq_command = {
    .name = "dlq",
    .summary = "list, show, redrive and purge dead letters",
    .usage = usage,
    .run = run,
};
