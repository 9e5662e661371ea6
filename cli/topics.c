/* weir topics: creates and alters topics as the AsyncAPI file says. Never deletes or shrinks. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include <weir/clock.h>

#include "cli.h"
#include "spec.h"

static const char usage[] =
    "usage: weir topics apply [--spec FILE] [--replicas N]\n"
    "       weir topics diff [--spec FILE] [--json]\n"
    "       weir topics ls [--json]\n"
    "\n"
    "  apply   creates missing topics, adds partitions, sets values that differ; deletes nothing\n"
    "  diff    what apply would do; exit status 1 when there is something\n"
    "  ls      the topics that exist\n"
    "\n"
    "  --spec FILE      AsyncAPI 3 file with Kafka bindings [$WEIR_SPEC, else "
    "proto/asyncapi.yaml,\n"
    "                   else the installed one]\n"
    "  --replicas N     of topics to create, instead of the file's\n"
    "  --brokers LIST   [$WEIR_BROKERS]\n";

enum { OPT_SPEC = OPT_OWN, OPT_REPLICAS };

/* One difference between the file and the cluster. */
struct difference {
    const struct weir_topic_spec *spec;
    const char *what;        /* "topic", "partitions", or the name of a value */
    const char *is, *wanted; /* is NULL: absent */
};

struct differences {
    struct difference *items;
    size_t count, capacity;
};

static void add_difference(struct differences *to, const struct weir_topic_spec *spec,
                           const char *what, const char *is, const char *wanted)
{
    if (to->count == to->capacity) {
        to->capacity = to->capacity ? 2 * to->capacity : 16;
        to->items = weir_xrealloc(to->items, to->capacity * sizeof(*to->items));
    }
    to->items[to->count++] = (struct difference){ spec, what, is, wanted };
}

static const struct weir_topic_info *find_topic(const struct weir_topic_info *topics, size_t count,
                                                const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(topics[i].name, name) == 0)
            return &topics[i];
    return NULL;
}

static int compare_configs(weir_bus *bus, const struct weir_topic_spec *spec, weir_arena *arena,
                           struct differences *out, struct weir_err *err)
{
    struct weir_topic_config *have;
    size_t have_count;

    if (weir_bus_topic_configs(bus, spec->name, CLI_TIMEOUT_MS, arena, &have, &have_count, err) < 0)
        return err->fault;
    for (const struct weir_topic_config *want = spec->configs; want && want->name; want++) {
        const char *is = NULL;
        for (size_t i = 0; i < have_count; i++)
            if (strcmp(have[i].name, want->name) == 0)
                is = have[i].value;
        if (!is || strcmp(is, want->value) != 0)
            add_difference(out, spec, want->name, is, want->value);
    }
    return WEIR_OK;
}

static int compare(weir_bus *bus, const struct weir_topic_spec *specs, size_t spec_count,
                   weir_arena *arena, struct differences *out, struct weir_err *err)
{
    struct weir_topic_info *topics;
    size_t topic_count;

    if (weir_bus_topics(bus, CLI_TIMEOUT_MS, arena, &topics, &topic_count, err) < 0)
        return err->fault;
    for (size_t i = 0; i < spec_count; i++) {
        const struct weir_topic_info *topic = find_topic(topics, topic_count, specs[i].name);
        const char *wanted = weir_printf(arena, "%" PRId32, specs[i].partitions);
        if (!topic) {
            add_difference(out, &specs[i], "topic", NULL, wanted);
            continue;
        }
        if (topic->partitions != specs[i].partitions)
            add_difference(out, &specs[i], "partitions",
                           weir_printf(arena, "%" PRId32, topic->partitions), wanted);
        if (compare_configs(bus, &specs[i], arena, out, err) < 0)
            return err->fault;
    }
    return WEIR_OK;
}

static void print_differences(const struct differences *differences, bool json)
{
    WEIR_AUTO_BUF out = { 0 };

    for (size_t i = 0; i < differences->count; i++) {
        const struct difference *at = &differences->items[i];
        bool missing = strcmp(at->what, "topic") == 0;
        if (json) {
            weir_buf_char(&out, '{');
            cli_json_text(&out, "topic", at->spec->name);
            cli_json_text(&out, "what", at->what);
            cli_json_text(&out, "is", at->is);
            cli_json_text(&out, "wanted", missing ? "present" : at->wanted);
            weir_buf_text(&out, "}\n");
        } else if (missing) {
            weir_buf_printf(&out, "%s: missing\n", at->spec->name);
        } else {
            weir_buf_printf(&out, "%s: %s: %s, wanted %s\n", at->spec->name, at->what,
                            at->is ? at->is : "not set", at->wanted);
        }
    }
    cli_flush(&out);
}

/* A topic just created is not known to every broker at once; whoever comes next relies on it. */
static int await_topics(weir_bus *bus, const struct weir_topic_spec *specs, size_t count,
                        struct weir_err *err)
{
    int64_t deadline_ms = weir_mono_ms() + CLI_TIMEOUT_MS;

    for (;;) {
        WEIR_AUTO(weir_arena) *arena = weir_arena_new();
        struct weir_topic_info *topics;
        size_t topic_count, there = 0;
        if (weir_bus_topics(bus, CLI_TIMEOUT_MS, arena, &topics, &topic_count, err) < 0)
            return err->fault;
        for (size_t i = 0; i < count; i++) {
            const struct weir_topic_info *topic = find_topic(topics, topic_count, specs[i].name);
            there += topic && topic->partitions >= specs[i].partitions;
        }
        if (there == count)
            return WEIR_OK;
        if (weir_mono_ms() > deadline_ms)
            return weir_fail(err, WEIR_TRY_LATER, "topics were created but did not appear");
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
}

static int create(weir_bus *bus, const struct weir_topic_spec *spec, int32_t replicas,
                  struct weir_err *err)
{
    struct weir_topic_spec wanted = *spec;
    if (replicas > 0)
        wanted.replicas = replicas;
    if (weir_bus_topic_create(bus, &wanted, CLI_TIMEOUT_MS, err) < 0)
        return err->fault;
    printf("%s: created, %" PRId32 " partition%s\n", spec->name, spec->partitions,
           spec->partitions == 1 ? "" : "s");
    return WEIR_OK;
}

static int grow(weir_bus *bus, const struct difference *difference, struct weir_err *err)
{
    const struct weir_topic_spec *spec = difference->spec;
    if (strtol(difference->is, NULL, 10) > spec->partitions) {
        cli_say("%s: has %s partitions, the file says %s: partitions can't be taken away",
                spec->name, difference->is, difference->wanted);
        return WEIR_OK;
    }
    cli_say("%s: with more partitions, keys move to others: order per key holds from here on only",
            spec->name);
    if (weir_bus_topic_grow(bus, spec->name, spec->partitions, CLI_TIMEOUT_MS, err) < 0)
        return err->fault;
    printf("%s: partitions: %s -> %s\n", spec->name, difference->is, difference->wanted);
    return WEIR_OK;
}

static int set_value(weir_bus *bus, const struct difference *difference, struct weir_err *err)
{
    struct weir_topic_config one[] = { { difference->what, difference->wanted }, { 0 } };
    if (weir_bus_topic_configure(bus, difference->spec->name, one, CLI_TIMEOUT_MS, err) < 0)
        return err->fault;
    printf("%s: %s: %s -> %s\n", difference->spec->name, difference->what,
           difference->is ? difference->is : "not set", difference->wanted);
    return WEIR_OK;
}

static int apply(weir_bus *bus, const struct differences *differences, int32_t replicas,
                 struct weir_err *err)
{
    for (size_t i = 0; i < differences->count; i++) {
        const struct difference *at = &differences->items[i];
        int fault = strcmp(at->what, "topic") == 0        ? create(bus, at->spec, replicas, err)
                    : strcmp(at->what, "partitions") == 0 ? grow(bus, at, err)
                                                          : set_value(bus, at, err);
        if (fault < 0)
            return fault;
    }
    return WEIR_OK;
}

static int list(weir_bus *bus, bool json)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO_BUF out = { 0 };
    struct weir_topic_info *topics;
    struct weir_err err;
    size_t count;

    if (weir_bus_topics(bus, CLI_TIMEOUT_MS, arena, &topics, &count, &err) < 0)
        return cli_fail(&err);
    if (!json)
        weir_buf_printf(&out, "%-48s %10s %8s\n", "TOPIC", "PARTITIONS", "REPLICAS");
    for (size_t i = 0; i < count; i++) {
        if (!json) {
            weir_buf_printf(&out, "%-48s %10" PRId32 " %8" PRId32 "\n", topics[i].name,
                            topics[i].partitions, topics[i].replicas);
            continue;
        }
        weir_buf_char(&out, '{');
        cli_json_text(&out, "topic", topics[i].name);
        cli_json_int(&out, "partitions", topics[i].partitions);
        cli_json_int(&out, "replicas", topics[i].replicas);
        weir_buf_text(&out, "}\n");
    }
    cli_flush(&out);
    return EX_OK;
}

static int apply_or_diff(weir_bus *bus, const char *spec_path, bool applying, int32_t replicas,
                         bool json)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct weir_topic_spec *specs;
    struct differences differences = { 0 };
    struct weir_err err;
    size_t count;
    int status = EX_OK;

    if (spec_load(spec_path, arena, &specs, &count, &err) < 0)
        return cli_fail(&err);
    if (compare(bus, specs, count, arena, &differences, &err) < 0) {
        status = cli_fail(&err);
    } else if (!applying) {
        print_differences(&differences, json);
        status = differences.count ? CLI_DIFFERENCE : EX_OK;
    } else if (apply(bus, &differences, replicas, &err) < 0 ||
               await_topics(bus, specs, count, &err) < 0) {
        status = cli_fail(&err);
    } else if (differences.count == 0) {
        printf("%zu topics are as the file says\n", count);
    }
    free(differences.items);
    return status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        { "spec", required_argument, NULL, OPT_SPEC },
        { "replicas", required_argument, NULL, OPT_REPLICAS },
        CLI_OPTIONS,
    };
    WEIR_AUTO(weir_bus) *bus = NULL;
    const char *spec_path = NULL;
    struct weir_err err;
    int64_t replicas = 0;
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPT_SPEC)
            spec_path = optarg;
        else if (option == OPT_REPLICAS && !cli_number("--replicas", optarg, 1, 100, &replicas))
            return EX_USAGE;
        else if (option < OPT_OWN && (status = cli_common_option(cli, option)) != CLI_GO_ON)
            return status;
    }
    if (argc - optind != 1)
        return cli_usage_error(cli, "one of apply, diff, ls is wanted");
    const char *action = argv[optind];
    bool applying = strcmp(action, "apply") == 0, listing = strcmp(action, "ls") == 0;
    if (!applying && !listing && strcmp(action, "diff") != 0)
        return cli_usage_error(cli, "unknown action '%s'", action);
    if (cli_open_bus(cli, NULL, &bus, &err) < 0)
        return cli_fail(&err);
    if (listing)
        return list(bus, cli->json);
    return apply_or_diff(bus, spec_path, applying, (int32_t)replicas, cli->json);
}

const struct command topics_command = {
    .name = "topics",
    .summary = "create topics from the AsyncAPI file, compare, list",
    .usage = usage,
    .run = run,
};
