/* weir lag: how far groups are behind, in records and in seconds. */
#include <inttypes.h>

#include <weir/clock.h>

#include "cli.h"

static const char usage[] =
    "usage: weir lag [GROUP] [--json]\n"
    "\n"
    "For each partition that a group (default: every group) has committed: the next offset it "
    "will\n"
    "read, the partition's end, and the lag between them, in records and as the age of the oldest\n"
    "unread record in seconds.\n"
    "\n"
    "  --brokers LIST   [$WEIR_BROKERS]\n";

static int take_time(void *arg, const struct weir_msg *msg)
{
    *(int64_t *)arg = msg->time_ms;
    return 1; /* the first one is enough */
}

static int print_partition(weir_bus *bus, const char *group, const struct weir_partition *at,
                           bool json, struct weir_err *err)
{
    int64_t first, end, time_ms = 0;
    WEIR_AUTO_BUF out = { 0 };

    if (weir_bus_bounds(bus, at->topic, at->partition, CLI_TIMEOUT_MS, &first, &end, err) < 0)
        return err->fault;
    int64_t next = at->offset < first ? first : at->offset; /* retention took the rest */
    int64_t records = end > next ? end - next : 0;
    if (records && weir_bus_scan(bus, at->topic, at->partition, next, end, CLI_TIMEOUT_MS,
                                 take_time, &time_ms, err) < 0)
        return err->fault;
    int64_t age_ms = time_ms ? weir_wall_ms() - time_ms : 0;
    double seconds = age_ms > 0 ? (double)age_ms / 1000 : 0;

    if (!json) {
        weir_buf_printf(
            &out, "%-24s %-32s %9" PRId32 " %12" PRId64 " %12" PRId64 " %10" PRId64 " %10.1f\n",
            group, at->topic, at->partition, at->offset, end, records, seconds);
    } else {
        weir_buf_char(&out, '{');
        cli_json_text(&out, "group", group);
        cli_json_text(&out, "topic", at->topic);
        cli_json_int(&out, "partition", at->partition);
        cli_json_int(&out, "committed", at->offset);
        cli_json_int(&out, "end", end);
        cli_json_int(&out, "lag", records);
        weir_buf_printf(&out, ",\"lag_seconds\":%.3f}\n", seconds);
    }
    cli_flush(&out);
    return WEIR_OK;
}

static int print_group(weir_bus *bus, const char *group, bool json, size_t *printed,
                       struct weir_err *err)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_partition *parts;
    size_t count;

    if (weir_bus_group_offsets(bus, group, CLI_TIMEOUT_MS, arena, &parts, &count, err) < 0)
        return err->fault;
    for (size_t i = 0; i < count; i++) {
        /* A deleted topic's offsets stay for a while. */
        int fault = print_partition(bus, group, &parts[i], json, err);
        if (fault == WEIR_BAD_INPUT)
            cli_say("%s: %s", group, err->text);
        else if (fault < 0)
            return fault;
        else
            ++*printed;
    }
    return WEIR_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { CLI_OPTIONS };
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO(weir_bus) *bus = NULL;
    const char **groups;
    size_t count, printed = 0;
    struct weir_err err;
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((status = cli_common_option(cli, option)) != CLI_GO_ON)
            return status;
    if (argc - optind > 1)
        return cli_usage_error(cli, "one group at most");
    /* Asking for groups is answered with none when no broker can be asked. */
    struct weir_topic_info *topics;
    size_t topic_count;
    if (cli_open_bus(cli, NULL, &bus, &err) < 0 ||
        weir_bus_topics(bus, CLI_TIMEOUT_MS, arena, &topics, &topic_count, &err) < 0)
        return cli_fail(&err);
    if (optind < argc) {
        groups = weir_alloc(arena, sizeof(*groups));
        groups[0] = argv[optind];
        count = 1;
    } else if (weir_bus_groups(bus, CLI_TIMEOUT_MS, arena, &groups, &count, &err) < 0) {
        return cli_fail(&err);
    }
    if (!cli->json)
        printf("%-24s %-32s %9s %12s %12s %10s %10s\n", "GROUP", "TOPIC", "PARTITION", "COMMITTED",
               "END", "LAG", "SECONDS");
    for (size_t i = 0; i < count; i++)
        if (print_group(bus, groups[i], cli->json, &printed, &err) < 0)
            return cli_fail(&err);
    if (optind < argc && printed == 0)
        cli_say("group %s: has committed nothing", argv[optind]);
    return EX_OK;
}

const struct command lag_command = {
    .name = "lag",
    .summary = "how far groups are behind, in records and seconds",
    .usage = usage,
    .run = run,
};
