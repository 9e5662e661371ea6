/* weir migrate: applies a directory of migrations as Atlas does, and keeps its sum file.
 *
 * What was applied stands in public.atlas_schema_revisions, the table that Atlas itself keeps (with
 * --revisions-schema public), so that either tool takes over from the other. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <weir/clock.h>
#include <weir/pg.h>

#include "atlas.h"
#include "cli.h"

static const char usage[] =
    "usage: weir migrate up DIR [--url URL] [--timeout SECONDS]\n"
    "       weir migrate status DIR [--url URL] [--json]\n"
    "       weir migrate new DIR NAME\n"
    "       weir migrate hash DIR\n"
    "\n"
    "  up       applies what is not applied yet, each file in a transaction of its own\n"
    "  status   what is applied and what is not\n"
    "  new      makes an empty file YYYYMMDDhhmmss_NAME.sql and lists it in atlas.sum\n"
    "  hash     writes atlas.sum anew, after a file that nobody has applied was edited\n"
    "\n"
    "DIR is a directory in Atlas's format. up and status refuse one that does not fit its "
    "atlas.sum,\n"
    "and a database that has seen other files than these.\n"
    "\n"
    "  --url URL            PostgreSQL connection string [$WEIR_DATABASE_URL]\n"
    "  --timeout SECONDS    of one statement [600]\n";

enum { OPT_URL = OPT_OWN, OPT_TIMEOUT };
enum { LOCK_WAIT_MS = 60000, LOCK_POLL_MS = 200 };

/* Atlas's own lock: FNV-1, 32 bits, of "atlas_migrate_execute". Neither tool then runs into the
 * other. */
static const char lock_sql[] = "select pg_try_advisory_lock(2686470616)";

static const char table_exists_sql[] =
    "select 1 from pg_catalog.pg_tables"
    " where schemaname = 'public' and tablename = 'atlas_schema_revisions'";

static const char create_table_sql[] = "create table public.atlas_schema_revisions ("
                                       "version character varying not null primary key,"
                                       " description character varying not null,"
                                       " type bigint not null default 2,"
                                       " applied bigint not null default 0,"
                                       " total bigint not null default 0,"
                                       " executed_at timestamp with time zone not null,"
                                       " execution_time bigint not null,"
                                       " error text,"
                                       " error_stmt text,"
                                       " hash character varying not null,"
                                       " partial_hashes jsonb,"
                                       " operator_version character varying not null)";

/* Atlas keeps an identifier of its own in a row whose version begins with a dot. */
static const char revisions_sql[] = "select version, description, type, applied, total, hash,"
                                    " to_char(executed_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                                    " from public.atlas_schema_revisions where version not like "
                                    "'.%' order by version collate \"C\"";

static const char record_sql[] =
    "insert into public.atlas_schema_revisions (version, description, type, applied, total,"
    " executed_at, execution_time, error, error_stmt, hash, partial_hashes, operator_version)"
    " values ($1, $2, 2, $3::bigint, $3::bigint, now(), $4::bigint, '', '', $5, 'null',"
    " 'weir " WEIR_VERSION "')";

enum { TYPE_BASELINE = 1 }; /* a bit of the column type */

/* What the database says of one file. */
struct revision {
    const struct atlas_file *file;
    bool applied;
    const char *executed_at; /* NULL: not applied, or before the baseline */
};

struct migration {
    struct atlas_dir dir;
    struct revision *revisions; /* one a file of dir */
    size_t pending;
    weir_arena *arena;
    weir_pg *pg;
};

/* Faults of SQL mean "wait for an operator" to a service; to a migration the file is wrong. */
static int fail_sql(const weir_pg *pg, const struct weir_err *err)
{
    static const char *const unavailable[] = { "08", "53", "57", "58", "55", NULL };
    const char *state = pg ? weir_pg_sqlstate(pg) : "";

    if (!*state)
        return cli_fail(err);
    cli_say("%s", err->text);
    for (const char *const *at = unavailable; *at; at++)
        if (strncmp(state, *at, 2) == 0)
            return EX_UNAVAILABLE;
    return EX_DATAERR;
}

/* ---- what the database has seen ---- */

static int read_revision(struct migration *migration, const weir_rows *rows, size_t row,
                         struct weir_err *err)
{
    const struct atlas_dir *dir = &migration->dir;
    const char *version = weir_rows_text(rows, row, 0);
    bool baseline = weir_rows_int(rows, row, 2) & TYPE_BASELINE;
    size_t at = 0;

    while (at < dir->count && strcmp(dir->files[at].version, version) != 0)
        at++;
    if (at == dir->count && !baseline)
        return weir_fail(err, WEIR_BAD_INPUT,
                         "%s %s: applied to the database, but not in the directory", version,
                         weir_rows_text(rows, row, 1));
    if (baseline) {
        for (size_t i = 0; i < dir->count && strcmp(dir->files[i].version, version) <= 0; i++)
            migration->revisions[i].applied = true;
        return WEIR_OK;
    }
    const struct atlas_file *file = &dir->files[at];
    if (weir_rows_int(rows, row, 3) != weir_rows_int(rows, row, 4))
        return weir_fail(err, WEIR_BAD_INPUT,
                         "%s: applied in part only; mend that with the tool that did it",
                         file->name);
    if (strcmp(weir_rows_text(rows, row, 5), file->hash) != 0)
        return weir_fail(err, WEIR_BAD_INPUT,
                         "%s: is not what was applied to the database (it or a file before it "
                         "has changed)",
                         file->name);
    migration->revisions[at].applied = true;
    migration->revisions[at].executed_at =
        weir_strdup(migration->arena, weir_rows_text(rows, row, 6));
    return WEIR_OK;
}

static int check_order(struct migration *migration, struct weir_err *err)
{
    const struct atlas_dir *dir = &migration->dir;
    size_t last = dir->count;

    migration->pending = 0;
    for (size_t i = dir->count; i-- > 0;) {
        if (migration->revisions[i].applied && last == dir->count)
            last = i;
        migration->pending += !migration->revisions[i].applied;
        if (!migration->revisions[i].applied && last < dir->count)
            return weir_fail(err, WEIR_BAD_INPUT,
                             "%s: not applied, though it comes before %s, which is: give it a "
                             "newer version",
                             dir->files[i].name, dir->files[last].name);
    }
    return WEIR_OK;
}

static int read_revisions(struct migration *migration, bool *has_table, struct weir_err *err)
{
    WEIR_AUTO(weir_rows) *found = NULL;
    WEIR_AUTO(weir_rows) *rows = NULL;
    const struct atlas_dir *dir = &migration->dir;

    migration->revisions =
        weir_alloc_zero(migration->arena, (dir->count + 1) * sizeof(*migration->revisions));
    for (size_t i = 0; i < dir->count; i++)
        migration->revisions[i].file = &dir->files[i];
    if (weir_pg_query(migration->pg, table_exists_sql, 0, NULL, &found, err) < 0)
        return err->fault;
    *has_table = weir_rows_count(found) > 0;
    if (*has_table) {
        if (weir_pg_query(migration->pg, revisions_sql, 0, NULL, &rows, err) < 0)
            return err->fault;
        for (size_t i = 0; i < weir_rows_count(rows); i++)
            if (read_revision(migration, rows, i, err) < 0)
                return err->fault;
    }
    return check_order(migration, err);
}

/* ---- up ---- */

static int lock(weir_pg *pg, struct weir_err *err)
{
    int64_t start_ms = weir_mono_ms();
    bool said = false;

    for (;;) {
        WEIR_AUTO(weir_rows) *rows = NULL;
        if (weir_pg_query(pg, lock_sql, 0, NULL, &rows, err) < 0)
            return err->fault;
        if (strcmp(weir_rows_text(rows, 0, 0), "t") == 0)
            return WEIR_OK;
        if (weir_mono_ms() - start_ms > LOCK_WAIT_MS)
            return weir_fail(err, WEIR_TRY_LATER, "another migration holds the lock");
        if (!said)
            cli_say("another migration is running, waiting for it");
        said = true;
        nanosleep(&(struct timespec){ .tv_nsec = LOCK_POLL_MS * 1000000L }, NULL);
    }
}

static int apply_file(struct migration *migration, const struct atlas_file *file,
                      struct weir_err *err)
{
    struct atlas_statement *statements;
    int64_t start_ns = weir_mono_ns();
    size_t count;

    if (atlas_split(file, migration->arena, &statements, &count, err) < 0)
        return err->fault;
    if (weir_pg_exec(migration->pg, "begin", err) < 0)
        return err->fault;
    /* The first failure ends it: a call after a lost connection would open another, outside the
     * transaction. */
    for (size_t i = 0; i < count; i++)
        if (weir_pg_exec(migration->pg, statements[i].text, err) < 0)
            return weir_wrap(err, "%s:%d", file->name, statements[i].line);

    const char *const params[] = {
        file->version,
        file->description,
        weir_printf(migration->arena, "%zu", count),
        weir_printf(migration->arena, "%" PRId64, weir_mono_ns() - start_ns),
        file->hash,
    };
    if (weir_pg_query(migration->pg, record_sql, 5, params, NULL, err) < 0 ||
        weir_pg_exec(migration->pg, "commit", err) < 0)
        return weir_wrap(err, "%s", file->name);
    printf("%s: applied, %zu statements, %" PRId64 " ms\n", file->name, count,
           (weir_mono_ns() - start_ns) / 1000000);
    fflush(stdout);
    return WEIR_OK;
}

/* A file's statements are cut before any file is applied, so that a slip in the last one is not
 * found half-way. */
static int check_files(struct migration *migration, struct weir_err *err)
{
    struct atlas_statement *statements;
    size_t count;
    for (size_t i = 0; i < migration->dir.count; i++)
        if (!migration->revisions[i].applied &&
            atlas_split(&migration->dir.files[i], migration->arena, &statements, &count, err) < 0)
            return err->fault;
    return WEIR_OK;
}

static int up(struct migration *migration)
{
    struct weir_err err;
    bool has_table = false;

    if (lock(migration->pg, &err) < 0 || read_revisions(migration, &has_table, &err) < 0 ||
        check_files(migration, &err) < 0)
        return fail_sql(migration->pg, &err);
    if (!has_table && weir_pg_exec(migration->pg, create_table_sql, &err) < 0)
        return fail_sql(migration->pg, &err);
    if (migration->pending == 0)
        printf("%s: all %zu files are applied\n", migration->dir.path, migration->dir.count);
    for (size_t i = 0; i < migration->dir.count; i++) {
        if (migration->revisions[i].applied)
            continue;
        if (apply_file(migration, &migration->dir.files[i], &err) < 0) {
            int status = fail_sql(migration->pg, &err);
            weir_pg_rollback(migration->pg);
            return status;
        }
    }
    return EX_OK;
}

/* ---- status ---- */

static int status_of(struct migration *migration, bool json)
{
    WEIR_AUTO_BUF out = { 0 };
    struct weir_err err;
    bool has_table = false;

    if (read_revisions(migration, &has_table, &err) < 0)
        return fail_sql(migration->pg, &err);
    for (size_t i = 0; i < migration->dir.count; i++) {
        const struct revision *revision = &migration->revisions[i];
        const char *state = revision->applied ? "applied" : "pending";
        if (json) {
            weir_buf_char(&out, '{');
            cli_json_text(&out, "version", revision->file->version);
            cli_json_text(&out, "description", revision->file->description);
            cli_json_text(&out, "state", state);
            cli_json_text(&out, "executed_at", revision->executed_at);
            weir_buf_text(&out, "}\n");
        } else {
            weir_buf_printf(&out, "%-8s %-20s %s\n", state,
                            revision->executed_at ? revision->executed_at : "-",
                            revision->file->name);
        }
    }
    if (!json)
        weir_buf_printf(&out, "%zu applied, %zu pending\n",
                        migration->dir.count - migration->pending, migration->pending);
    cli_flush(&out);
    return EX_OK;
}

static int with_database(const char *action, const char *path, const char *url, int64_t timeout_s,
                         bool json)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    WEIR_AUTO(weir_pg) *probe = NULL;
    WEIR_AUTO(weir_pg) *pg = NULL;
    struct migration migration = { .arena = arena };
    struct weir_err err;

    if (atlas_load(path, arena, &migration.dir, &err) < 0 ||
        atlas_verify(&migration.dir, arena, &err) < 0)
        return cli_fail(&err);
    if (!url || !*url) {
        cli_say("no database: give --url or set WEIR_DATABASE_URL");
        return EX_CONFIG;
    }
    /* The long time-out is for statements; whether there is a server shows sooner. */
    if (weir_pg_open(url, CLI_TIMEOUT_MS, &probe, &err) < 0 ||
        weir_pg_open(url, timeout_s * 1000, &pg, &err) < 0)
        return cli_fail(&err);
    weir_pg_close(&probe);
    migration.pg = pg;
    return strcmp(action, "up") == 0 ? up(&migration) : status_of(&migration, json);
}

/* ---- new, hash ---- */

static int hash(const char *path)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    struct atlas_dir dir;
    struct weir_err err;

    if (atlas_load(path, arena, &dir, &err) < 0 || atlas_write_sum(&dir, arena, &err) < 0)
        return cli_fail(&err);
    printf("%s/atlas.sum: %zu files\n", path, dir.count);
    return EX_OK;
}

static int new_file(const struct cli *cli, const char *path, const char *name)
{
    WEIR_AUTO(weir_arena) *arena = weir_arena_new();
    time_t now = (time_t)(weir_wall_ms() / 1000);
    struct atlas_dir dir;
    struct weir_err err;
    struct tm tm;
    char version[16];

    if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
        return cli_usage_error(cli, "a name has a-z, 0-9 and _");
    /* Not before the sum is right: it would bless whatever was changed. */
    if (atlas_load(path, arena, &dir, &err) < 0 ||
        (dir.count > 0 && atlas_verify(&dir, arena, &err) < 0))
        return cli_fail(&err);
    strftime(version, sizeof(version), "%Y%m%d%H%M%S", gmtime_r(&now, &tm));
    if (dir.count > 0 && strcmp(version, dir.files[dir.count - 1].version) <= 0) {
        cli_say("%s is newer than the clock; try again later", dir.files[dir.count - 1].name);
        return EX_DATAERR;
    }
    const char *file = weir_printf(arena, "%s/%s_%s.sql", path, version, name);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        cli_say("%s: %s", file, strerror(errno));
        return EX_CANTCREAT;
    }
    close(fd);
    if (atlas_load(path, arena, &dir, &err) < 0 || atlas_write_sum(&dir, arena, &err) < 0)
        return cli_fail(&err);
    printf("%s\n", file);
    return EX_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    static const struct option options[] = {
        { "url", required_argument, NULL, OPT_URL },
        { "timeout", required_argument, NULL, OPT_TIMEOUT },
        CLI_OPTIONS,
    };
    const char *url = getenv("WEIR_DATABASE_URL");
    int64_t timeout_s = 600;
    int option, status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPT_URL)
            url = optarg;
        else if (option == OPT_TIMEOUT && !cli_number("--timeout", optarg, 1, 86400, &timeout_s))
            return EX_USAGE;
        else if (option < OPT_OWN && (status = cli_common_option(cli, option)) != CLI_GO_ON)
            return status;
    }
    int arguments = argc - optind;
    const char *action = arguments > 0 ? argv[optind] : "";
    const char *path = arguments > 1 ? argv[optind + 1] : NULL;
    if (strcmp(action, "new") == 0 && arguments == 3)
        return new_file(cli, path, argv[optind + 2]);
    if (strcmp(action, "hash") == 0 && arguments == 2)
        return hash(path);
    if ((strcmp(action, "up") == 0 || strcmp(action, "status") == 0) && arguments == 2)
        return with_database(action, path, url, timeout_s, cli->json);
    return cli_usage_error(cli, "up DIR, status DIR, new DIR NAME or hash DIR is wanted");
}

const struct command migrate_command = {
    .name = "migrate",
    .summary = "apply database migrations in Atlas's format",
    .usage = usage,
    .run = run,
};
