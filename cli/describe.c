/* weir describe: what a service says of itself. Services are the programs beside this one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

static const char usage[] =
    "usage: weir describe [SERVICE | PATH]\n"
    "\n"
    "Prints the service's routes, outputs and options as JSON (its --describe): of SERVICE, a "
    "program\n"
    "in weir's own directory, of the program at PATH, or one line each of all services in the\n"
    "directory.\n";

/* Another program of a shared bin directory must not be run just to see what it is: a service holds
 * the runtime's option names. */
static bool is_service(const char *path)
{
    static const char mark[] = "WEIR_ADMIN_PORT";
    struct stat stat_;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool found = false;

    if (fd < 0)
        return false;
    if (fstat(fd, &stat_) == 0 && S_ISREG(stat_.st_mode) && (stat_.st_mode & 0111) &&
        stat_.st_size > 4) {
        size_t size = (size_t)stat_.st_size;
        void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes != MAP_FAILED) {
            found = memcmp(bytes, "\177ELF", 4) == 0 && memmem(bytes, size, mark, sizeof(mark));
            munmap(bytes, size);
        }
    }
    close(fd);
    return found;
}

static int describe(const char *path)
{
    char *const argv[] = { (char *)(uintptr_t)path, (char *)(uintptr_t) "--describe", NULL };
    int status;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execv(path, argv);
        cli_say("%s: %s", path, strerror(errno));
        _exit(EX_UNAVAILABLE);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        cli_say("%s: %s", path, strerror(errno));
        return EX_OSERR;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "weir") != 0;
}

static int describe_all(const char *directory)
{
    struct dirent **entries;
    int status = EX_OK, count = scandir(directory, &entries, not_hidden, alphasort);

    if (count < 0) {
        cli_say("%s: %s", directory, strerror(errno));
        return EX_OSERR;
    }
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        int length = snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
        free(entries[i]);
        if (length >= (int)sizeof(path) || !is_service(path))
            continue;
        int one = describe(path);
        if (one != EX_OK)
            status = one;
    }
    free(entries);
    return status;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = { CLI_OPTIONS };
    char directory[PATH_MAX], path[2 * PATH_MAX];
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((status = cli_common_option(cli, option)) != CLI_GO_ON)
            return status;
    if (argc - optind > 1)
        return cli_usage_error(cli, "one service at most");
    if (optind < argc && strchr(argv[optind], '/'))
        return describe(argv[optind]);

    ssize_t length = readlink("/proc/self/exe", directory, sizeof(directory) - 1);
    if (length <= 0) {
        cli_say("/proc/self/exe: %s", strerror(errno));
        return EX_OSERR;
    }
    directory[length] = '\0';
    *strrchr(directory, '/') = '\0';
    if (optind == argc)
        return describe_all(directory);
    snprintf(path, sizeof(path), "%s/%s", directory, argv[optind]);
    return describe(path);
}

const struct command describe_command = {
    .name = "describe",
    .summary = "routes, outputs and options of the services",
    .usage = usage,
    .run = run,
};
