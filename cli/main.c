/* weir: the operator's command. One file a command; this one finds it. */
#include <stdlib.h>

#include <weir/log.h>

#include "cli.h"

static const struct command *const commands[] = {
    &topics_command,
    &publish_command,
    &migrate_command,
    &lag_command,
    &dlq_command,
    &describe_command,
    NULL,
};

static void print_usage(FILE *to)
{
    fputs("usage: weir [--brokers HOST:PORT,...] COMMAND [ARGUMENT ...]\n\n", to);
    for (const struct command *const *at = commands; *at; at++)
        fprintf(to, "  %-10s %s\n", (*at)->name, (*at)->summary);
    fputs(
        "  help       this page; `weir COMMAND --help` tells more\n"
        "\n"
        "  WEIR_BROKERS     Kafka brokers, unless --brokers is given\n"
        "  WEIR_NAMESPACE   prefix of every topic and group; names are given and shown without it\n"
        "  WEIR_KAFKA_*     any librdkafka property, WEIR_KAFKA_SECURITY_PROTOCOL=SASL_SSL\n"
        "  WEIR_LOG         debug, info, warn or error [warn]\n"
        "\n"
        "Exit status: 0 done, 64 wrong command line, 65 wrong data, 69 a server can't be reached,\n"
        "74 output can't be written, 78 wrong configuration; 1 a difference, with `topics diff`.\n",
        to);
}

static const struct command *find_command(const char *name)
{
    for (const struct command *const *at = commands; *at; at++)
        if (strcmp((*at)->name, name) == 0)
            return *at;
    return NULL;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        { "brokers", required_argument, NULL, OPT_BROKERS },
        { "help", no_argument, NULL, OPT_HELP },
        { "version", no_argument, NULL, OPT_OWN },
        { NULL, 0, NULL, 0 },
    };
    int option;

    /* "+": stop at the command, whose options are its own. */
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        switch (option) {
        case OPT_BROKERS:
            cli->brokers = optarg;
            break;
        case OPT_HELP:
            print_usage(stdout);
            return EX_OK;
        case OPT_OWN:
            puts("weir " WEIR_VERSION);
            return EX_OK;
        default:
            print_usage(stderr);
            return EX_USAGE;
        }
    }
    if (optind == argc) {
        print_usage(stderr);
        return EX_USAGE;
    }
    const char *name = argv[optind];
    bool help = strcmp(name, "help") == 0;
    if (help && optind + 1 == argc) {
        print_usage(stdout);
        return EX_OK;
    }
    if (help)
        name = argv[++optind];
    cli->command = find_command(name);
    if (!cli->command) {
        cli_say("unknown command '%s'", name);
        print_usage(stderr);
        return EX_USAGE;
    }
    if (help) {
        fputs(cli->command->usage, stdout);
        return EX_OK;
    }
    argc -= optind;
    argv += optind;
    argv[0] = "weir"; /* as getopt_long names us in its complaints */
    optind = 0;       /* 0 rather than 1: getopt_long forgets the scan above */
    return cli->command->run(cli, argc, argv);
}

int main(int argc, char **argv)
{
    struct cli cli = { .brokers = getenv("WEIR_BROKERS") };
    const char *log = getenv("WEIR_LOG");
    struct weir_err err;

    if (weir_log_open("weir", log && *log ? log : "warn", &err) < 0)
        return cli_fail(&err);
    int status = run(&cli, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_say("standard output can't be written");
        return status ? status : EX_IOERR;
    }
    return status;
}
