/* main() of every service: the command line, the options, and then the core.
 *
 * Exit statuses are those of sysexits.h: 64 usage, 69 something needed can't be reached (--check),
 * 70 a fatal fault, 78 configuration. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <weir/admin.h>
#include <weir/bus.h>
#include <weir/service.h>

#include "runtime/run.h"
#include "runtime/unit.h"

extern char **environ;

enum { CHECK_TIMEOUT_MS = 5000 };

static const struct weir_option no_options[] = { { 0 } };

static const struct weir_option *own_options(void)
{
    return weir_service.options ? weir_service.options : no_options;
}

static int flush(struct weir_buf *out)
{
    bool written = !out->failed && fwrite(out->data, 1, out->length, stdout) == out->length &&
                   fflush(stdout) == 0;
    weir_buf_free(out);
    return written ? EXIT_SUCCESS : EX_IOERR;
}

static int help(void)
{
    struct weir_buf out = { 0 };

    weir_buf_printf(&out, "%s: %s\n\n", weir_service.name, weir_service.summary);
    weir_buf_printf(
        &out,
        "usage: %s             run until SIGTERM\n"
        "       %s --check     are the options right, do broker and sinks answer?\n"
        "       %s --health    does the one that runs here say it is well? (WEIR_ADMIN_PORT)\n"
        "       %s --describe  routes, outputs and options as JSON\n"
        "       %s --help | --version\n\nReads:",
        weir_service.name, weir_service.name, weir_service.name, weir_service.name,
        weir_service.name);
    for (const struct weir_route *route = weir_service.routes; route->topic; route++)
        weir_buf_printf(&out, " %s", route->topic);
    weir_buf_text(&out, "\nDead letters: ");
    weir_buf_printf(&out, "%s.dlq\n\n", weir_service.name);
    weir_buf_text(&out, "Options are environment variables; NAME_FILE reads NAME from a file.\n");
    weir_options_help(own_options(), &out);
    weir_buf_text(&out, "\nOptions of every service:\n");
    weir_options_help(settings_options, &out);
    weir_buf_text(&out, "  WEIR_KAFKA_*  any librdkafka property: WEIR_KAFKA_SECURITY_PROTOCOL=SSL "
                        "sets security.protocol\n");
    return flush(&out);
}

static void json_text(struct weir_buf *out, const char *text)
{
    weir_buf_json_text(out, text, strlen(text));
}

static int describe(void)
{
    struct weir_buf out = { 0 };

    weir_buf_text(&out, "{\"name\":");
    json_text(&out, weir_service.name);
    weir_buf_text(&out, ",\"summary\":");
    json_text(&out, weir_service.summary);
    weir_buf_text(&out, ",\"version\":");
    json_text(&out, WEIR_VERSION);
    weir_buf_text(&out, ",\"routes\":[");
    for (const struct weir_route *route = weir_service.routes; route->topic; route++) {
        weir_buf_text(&out, route == weir_service.routes ? "{\"topic\":" : ",{\"topic\":");
        json_text(&out, route->topic);
        weir_buf_printf(&out, ",\"batch_max\":%lld,\"retry\":\"%s\"}",
                        route->handle_batch ? (long long)route->batch_max : 1LL,
                        route->retry == WEIR_RETRY_TOPICS ? "topics" : "in_place");
    }
    weir_buf_text(&out, "],\"outputs\":[");
    for (const char *const *topic = weir_service.outputs; topic && *topic; topic++) {
        weir_buf_text(&out, topic == weir_service.outputs ? "" : ",");
        json_text(&out, *topic);
    }
    weir_buf_text(&out, "],\"dead_letters\":");
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    json_text(&out, weir_printf(arena, "%s.dlq", weir_service.name));
    weir_buf_text(&out, ",\"options\":");
    weir_options_describe(own_options(), &out);
    weir_buf_text(&out, ",\"common_options\":");
    weir_options_describe(settings_options, &out);
    weir_buf_text(&out, "}\n");
    return flush(&out);
}

static int refuse(const struct weir_err *err, int status)
{
    fprintf(stderr, "%s: %s\n", weir_service.name, err->text);
    return status;
}

static void warn_line(void *arg, const char *line)
{
    (void)arg;
    weir_log(WEIR_WARN, line);
}

static int read_options(weir_arena *arena, struct settings *settings, void *self,
                        struct weir_err *err)
{
    const struct weir_option *const tables[] = { settings_options, own_options(), NULL };

    if (weir_options_read(settings_options, environ, arena, settings, err) < 0 ||
        weir_log_open(weir_service.name, settings->log, err) < 0 ||
        weir_options_unknown(tables, environ, weir_service.prefix, warn_line, NULL, err) < 0 ||
        weir_options_read(own_options(), environ, arena, self, err) < 0)
        return err->fault;
    for (const struct weir_route *route = weir_service.routes; route->topic; route++) {
        if (route->handle_batch && route->retry == WEIR_RETRY_TOPICS)
            return weir_fail(err, WEIR_FATAL, "route %s: a batch route retries in place",
                             route->topic);
        if (weir_service.resume && (!route->handle_batch || weir_service.outputs))
            return weir_fail(
                err, WEIR_FATAL,
                "route %s: a sink that stores offsets needs batch routes and no outputs",
                route->topic);
    }
    return WEIR_OK;
}

/* Every topic that the service reads and its dead letters must be there. */
static int check_topics(const struct settings *settings, weir_arena *arena, struct weir_err *err)
{
    WEIR_AUTO(weir_bus) *bus = NULL;
    struct weir_topic_info *topics;
    size_t count;
    struct weir_bus_config config = {
        .url = weir_printf(arena, "kafka:%s", settings->brokers),
        .name_space = settings->name_space,
        .client_id = weir_service.name,
        .env = environ,
    };

    if (weir_bus_open(&config, &bus, err) < 0 ||
        weir_bus_topics(bus, CHECK_TIMEOUT_MS, arena, &topics, &count, err) < 0)
        return err->fault;
    const char *missing = NULL;
    for (const struct weir_route *route = weir_service.routes; !missing; route++) {
        const char *wanted =
            route->topic ? route->topic : weir_printf(arena, "%s.dlq", weir_service.name);
        bool found = false;
        for (size_t i = 0; i < count; i++)
            found = found || strcmp(topics[i].name, wanted) == 0;
        if (!found)
            missing = wanted;
        if (!route->topic)
            break;
    }
    if (missing)
        return weir_fail(err, WEIR_TRY_LATER, "topic %s: missing; create it (weir topics apply)",
                         missing);
    return WEIR_OK;
}

static int check(const struct settings *settings, void *self, weir_arena *arena)
{
    weir_ctx ctx = { .service = &weir_service, .self = self, .arena = arena };
    int status = EXIT_SUCCESS;

    if (check_topics(settings, arena, &ctx.err) < 0)
        status = refuse(&ctx.err, ctx.err.fault == WEIR_FATAL ? EX_CONFIG : EX_UNAVAILABLE);
    ctx.err.fault = WEIR_OK;
    if (weir_service.check && weir_service.check(&ctx) < 0)
        status = refuse(&ctx.err, ctx.err.fault == WEIR_FATAL ? EX_CONFIG : EX_UNAVAILABLE);
    if (status == EXIT_SUCCESS)
        printf("%s: ok\n", weir_service.name);
    return status;
}

static int health(const struct settings *settings)
{
    if (settings->admin_port == 0) {
        fprintf(stderr, "%s: --health needs WEIR_ADMIN_PORT\n", weir_service.name);
        return EX_CONFIG;
    }
    int status = weir_admin_probe(settings->admin_host, (int)settings->admin_port, "/healthz");
    return status == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const char *mode = argc == 1 ? "" : argc == 2 && *argv[1] ? argv[1] : "?";
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct settings settings = { 0 };
    struct weir_err err = { 0 };

    /* One heap: blocks are made on one thread and freed on another, and each further heap of
     * glibc's would keep its own peak. */
    mallopt(M_ARENA_MAX, 1);
    if (strcmp(mode, "--help") == 0)
        return help();
    if (strcmp(mode, "--version") == 0) {
        printf("%s %s\n", weir_service.name, WEIR_VERSION);
        return EXIT_SUCCESS;
    }
    if (strcmp(mode, "--describe") == 0)
        return describe();
    if (*mode && strcmp(mode, "--check") != 0 && strcmp(mode, "--health") != 0) {
        fprintf(stderr, "usage: %s [--check | --health | --describe | --help | --version]\n",
                weir_service.name);
        return EX_USAGE;
    }
    void *self = weir_alloc_zero(arena, weir_service.self_size + 1);
    if (read_options(arena, &settings, self, &err) < 0)
        return refuse(&err, EX_CONFIG);
    if (strcmp(mode, "--check") == 0)
        return check(&settings, self, arena);
    if (strcmp(mode, "--health") == 0)
        return health(&settings);
    int fault = core_run(&weir_service, &settings, self, environ);
    return fault == WEIR_OK ? EXIT_SUCCESS : fault == WEIR_BAD_INPUT ? EX_CONFIG : EX_SOFTWARE;
}
