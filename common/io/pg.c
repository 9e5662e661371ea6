/* PostgreSQL: the only file that knows libpq.
 *
 * Calls are sent without blocking and awaited with a deadline of their own: statement_timeout ends
 * a slow statement on the server, the deadline a server that does not answer at all. */
#include <weir/pg.h>

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/clock.h>

enum { STATEMENTS_MAX = 64, PARAMS_MAX = 32, GRACE_MS = 2000, TEXT_MAX = 256 };

struct weir_pg {
    PGconn *conn; /* NULL: lost, opened by the next call */
    char *url;
    int64_t timeout_ms;
    const char *prepared[STATEMENTS_MAX]; /* statement N is named wN */
    size_t prepared_count;
    char sqlstate[6];
    char sink[3][TEXT_MAX]; /* service, topic, partition of the open sink transaction */
};

/* The same object as a PGresult, under the name that the header gives it. */
static PGresult *result_of(const weir_rows *rows)
{
    return (PGresult *)(uintptr_t)rows;
}

/* ---- faults ---- */

struct state_fault {
    const char *prefix; /* of the SQLSTATE */
    enum weir_fault fault;
};

/* PostgreSQL documentation, appendix A; the first match counts. */
static const struct state_fault state_faults[] = {
    { "22", WEIR_BAD_INPUT },    /* data exception */
    { "23", WEIR_BAD_INPUT },    /* integrity constraint violation */
    { "54", WEIR_BAD_INPUT },    /* program limit exceeded: an index entry too large */
    { "08", WEIR_TRY_LATER },    /* connection */
    { "40001", WEIR_TRY_LATER }, /* serialization failure */
    { "40P01", WEIR_TRY_LATER }, /* deadlock */
    { "53", WEIR_TRY_LATER },    /* insufficient resources: disk full, too many connections */
    { "55P03", WEIR_TRY_LATER }, /* lock not available */
    { "57", WEIR_TRY_LATER },    /* operator intervention: shutdown, time-out */
    { "58", WEIR_TRY_LATER },    /* system error: I/O */
    { "28", WEIR_TRY_LATER },    /* login refused           } an operator must mend these,  */
    { "3D", WEIR_TRY_LATER },    /* no such database        } and until then nothing may be */
    { "3F", WEIR_TRY_LATER },    /* no such schema          } lost or dead-lettered         */
    { "42", WEIR_TRY_LATER },    /* no such table, no right }                               */
    { "25006", WEIR_TRY_LATER }, /* read-only               }                               */
    { NULL, WEIR_RETRY },
};

static enum weir_fault fault_of(const char *sqlstate)
{
    const struct state_fault *row = state_faults;
    while (row->prefix && strncmp(sqlstate, row->prefix, strlen(row->prefix)) != 0)
        row++;
    return row->fault;
}

static void first_line(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text ? text : "");
    out[strcspn(out, "\r\n")] = '\0';
}

static void drop_connection(weir_pg *pg)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
    pg->prepared_count = 0;
}

static int lost(weir_pg *pg, const char *what, struct weir_err *err)
{
    char text[TEXT_MAX];
    first_line(text, sizeof(text), pg->conn ? PQerrorMessage(pg->conn) : "");
    drop_connection(pg);
    snprintf(pg->sqlstate, sizeof(pg->sqlstate), "08006");
    return weir_fail(err, WEIR_TRY_LATER, "pg: %s: %s", what, *text ? text : "no connection");
}

/* Sets err from a failed result. The primary message of class 22 quotes the value, so it stays out.
 */
static int failed(weir_pg *pg, const PGresult *result, struct weir_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    char text[TEXT_MAX];

    if (!state || PQstatus(pg->conn) == CONNECTION_BAD)
        return lost(pg, "connection lost", err);
    snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", state);
    if (strncmp(state, "22", 2) == 0)
        return weir_fail(err, WEIR_BAD_INPUT, "pg: %s: a value does not fit its column", state);
    if (constraint)
        return weir_fail(err, fault_of(state), "pg: %s: constraint %s", state, constraint);
    first_line(text, sizeof(text), PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    if (strcmp(state, "25006") ==
        0) /* read-only is a session's property: only a new one can be otherwise */
        drop_connection(pg);
    return weir_fail(err, fault_of(state), "pg: %s: %s", state, text);
}

/* ---- waiting ---- */

/* Waits until the socket can do one of events. False at the deadline. */
static bool wait_socket(const weir_pg *pg, short events, int64_t deadline_ms)
{
    struct pollfd fd = { .fd = PQsocket(pg->conn), .events = events };

    for (;;) {
        int64_t left_ms = deadline_ms - weir_mono_ms();
        if (left_ms <= 0)
            return false;
        int got = poll(&fd, 1, (int)left_ms);
        if (got > 0)
            return true;
        if (got < 0 && errno != EINTR)
            return false;
    }
}

/* Sends what is queued and gives the last result of the call; of several, the first that failed. */
static int await(weir_pg *pg, PGresult **out, struct weir_err *err)
{
    int64_t deadline_ms = weir_mono_ms() + pg->timeout_ms + GRACE_MS;
    PGresult *kept = NULL, *result;
    int unsent;

    while ((unsent = PQflush(pg->conn)) == 1) {
        if (!wait_socket(pg, POLLIN | POLLOUT, deadline_ms))
            return lost(pg, "no answer in time", err);
        if (!PQconsumeInput(pg->conn))
            return lost(pg, "connection lost", err);
    }
    if (unsent < 0)
        return lost(pg, "connection lost", err);
    for (;;) {
        while (PQisBusy(pg->conn)) {
            if (!wait_socket(pg, POLLIN, deadline_ms)) {
                PQclear(kept);
                return lost(pg, "no answer in time", err);
            }
            if (!PQconsumeInput(pg->conn)) {
                PQclear(kept);
                return lost(pg, "connection lost", err);
            }
        }
        result = PQgetResult(pg->conn);
        if (!result)
            break;
        if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
            PQclear(result);
        } else {
            PQclear(kept);
            kept = result;
        }
    }
    ExecStatusType status = kept ? PQresultStatus(kept) : PGRES_FATAL_ERROR;
    if (kept &&
        (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY)) {
        *out = kept;
        return WEIR_OK;
    }
    int fault = kept ? failed(pg, kept, err) : lost(pg, "connection lost", err);
    PQclear(kept);
    return fault;
}

/* ---- connecting ---- */

static void quiet(void *arg, const char *message)
{
    (void)arg; /* notices: libpq would print them on standard error */
    (void)message;
}

static int connect_now(weir_pg *pg, struct weir_err *err)
{
    char seconds[24], session[160], user_timeout[24];
    PGresult *result = NULL;

    snprintf(seconds, sizeof(seconds), "%" PRId64, (pg->timeout_ms + 999) / 1000);
    snprintf(user_timeout, sizeof(user_timeout), "%" PRId64, pg->timeout_ms + GRACE_MS);
    const char *const names[] = {
        "dbname",           "connect_timeout",           "client_encoding",
        "tcp_user_timeout", "fallback_application_name", NULL
    };
    const char *const values[] = { pg->url, seconds, "UTF8", user_timeout, "weir", NULL };
    pg->conn = PQconnectdbParams(names, values, 1);
    if (PQstatus(pg->conn) != CONNECTION_OK)
        return lost(pg, "can't connect", err);
    PQsetNoticeProcessor(pg->conn, quiet, NULL);
    if (PQsetnonblocking(pg->conn, 1) != 0)
        return lost(pg, "can't connect", err);
    snprintf(session, sizeof(session),
             "set time zone 'UTC'; set statement_timeout = %" PRId64
             "; set idle_in_transaction_session_timeout = %" PRId64,
             pg->timeout_ms, 2 * pg->timeout_ms + GRACE_MS);
    if (!PQsendQuery(pg->conn, session))
        return lost(pg, "can't set up the session", err);
    if (await(pg, &result, err) < 0)
        return err->fault;
    PQclear(result);
    return WEIR_OK;
}

int weir_pg_open(const char *url, int64_t timeout_ms, weir_pg **out, struct weir_err *err)
{
    char *reason = NULL;
    PQconninfoOption *parsed = PQconninfoParse(url, &reason);

    if (!parsed) { /* the reason may quote the url, which may hold a password */
        PQfreemem(reason);
        return weir_fail(err, WEIR_FATAL, "pg: malformed connection string");
    }
    PQconninfoFree(parsed);
    weir_pg *pg = weir_xcalloc(1, sizeof(*pg));
    pg->url = weir_xstrdup(url);
    pg->timeout_ms = timeout_ms;
    if (connect_now(pg, err) < 0) {
        weir_pg_close(&pg);
        return err->fault;
    }
    *out = pg;
    return WEIR_OK;
}

void weir_pg_close(weir_pg **pg)
{
    if (!*pg)
        return;
    PQfinish((*pg)->conn);
    free((*pg)->url);
    free(*pg);
    *pg = NULL;
}

static int need_connection(weir_pg *pg, struct weir_err *err)
{
    pg->sqlstate[0] = '\0';
    if (pg->conn && PQstatus(pg->conn) == CONNECTION_OK)
        return WEIR_OK;
    if (pg->conn)
        drop_connection(pg);
    return connect_now(pg, err);
}

const char *weir_pg_sqlstate(const weir_pg *pg)
{
    return pg->sqlstate;
}

/* ---- statements ---- */

/* Prepares sql unless this connection knows it; name is what it is called there. */
static int prepare(weir_pg *pg, const char *sql, char name[16], struct weir_err *err)
{
    PGresult *result = NULL;
    size_t at = 0;

    while (at < pg->prepared_count && pg->prepared[at] != sql)
        at++;
    snprintf(name, 16, "w%zu", at);
    if (at < pg->prepared_count)
        return WEIR_OK;
    if (at == STATEMENTS_MAX) {
        name[0] = '\0'; /* unnamed: parsed each time */
        return WEIR_OK;
    }
    if (!PQsendPrepare(pg->conn, name, sql, 0, NULL))
        return lost(pg, "connection lost", err);
    if (await(pg, &result, err) < 0)
        return err->fault;
    PQclear(result);
    pg->prepared[pg->prepared_count++] = sql;
    return WEIR_OK;
}

int weir_pg_query(weir_pg *pg, const char *sql, size_t param_count, const char *const *params,
                  weir_rows **rows, struct weir_err *err)
{
    PGresult *result = NULL;
    char name[16];

    if (need_connection(pg, err) < 0 || prepare(pg, sql, name, err) < 0)
        return err->fault;
    int sent =
        *name ? PQsendQueryPrepared(pg->conn, name, (int)param_count, params, NULL, NULL, 0)
              : PQsendQueryParams(pg->conn, sql, (int)param_count, NULL, params, NULL, NULL, 0);
    if (!sent)
        return lost(pg, "connection lost", err);
    if (await(pg, &result, err) < 0)
        return err->fault;
    if (rows)
        *rows = (weir_rows *)result;
    else
        PQclear(result);
    return WEIR_OK;
}

int weir_pg_exec(weir_pg *pg, const char *sql, struct weir_err *err)
{
    PGresult *result = NULL;

    if (need_connection(pg, err) < 0)
        return err->fault;
    if (!PQsendQuery(pg->conn, sql))
        return lost(pg, "connection lost", err);
    if (await(pg, &result, err) < 0)
        return err->fault;
    PQclear(result);
    return WEIR_OK;
}

size_t weir_rows_count(const weir_rows *rows)
{
    return (size_t)PQntuples(result_of(rows));
}

const char *weir_rows_text(const weir_rows *rows, size_t row, size_t column)
{
    PGresult *result = result_of(rows);
    return PQgetisnull(result, (int)row, (int)column) ? NULL
                                                      : PQgetvalue(result, (int)row, (int)column);
}

int64_t weir_rows_int(const weir_rows *rows, size_t row, size_t column)
{
    const char *text = weir_rows_text(rows, row, column);
    return text ? strtoll(text, NULL, 10) : 0;
}

void weir_rows_free(weir_rows **rows)
{
    PQclear(result_of(*rows));
    *rows = NULL;
}

/* ---- arrays (PostgreSQL documentation, 8.15.2) ---- */

void weir_pg_array_open(struct weir_buf *buf)
{
    weir_buf_char(buf, '{');
}

static void separate(struct weir_buf *buf)
{
    if (!buf->failed && buf->length > 0 && buf->data[buf->length - 1] != '{')
        weir_buf_char(buf, ',');
}

void weir_pg_array_text(struct weir_buf *buf, const char *text)
{
    if (!text) {
        weir_pg_array_null(buf);
        return;
    }
    separate(buf);
    weir_buf_char(buf, '"');
    while (*text) {
        size_t plain = strcspn(text, "\"\\");
        weir_buf_add(buf, text, plain);
        text += plain;
        if (*text) {
            weir_buf_char(buf, '\\');
            weir_buf_char(buf, *text++);
        }
    }
    weir_buf_char(buf, '"');
}

void weir_pg_array_int(struct weir_buf *buf, int64_t value)
{
    char text[24];
    separate(buf);
    weir_buf_add(buf, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, value));
}

void weir_pg_array_bool(struct weir_buf *buf, bool value)
{
    separate(buf);
    weir_buf_char(buf, value ? 't' : 'f');
}

void weir_pg_array_null(struct weir_buf *buf)
{
    separate(buf);
    weir_buf_text(buf, "NULL");
}

void weir_pg_array_close(struct weir_buf *buf)
{
    weir_buf_char(buf, '}');
}

/* ---- the sink ---- */

static int read_offset(weir_pg *pg, const char *sql, const char *service, const char *topic,
                       const char *partition, int64_t *next, struct weir_err *err)
{
    const char *const params[] = { service, topic, partition };
    WEIR_AUTO(weir_rows) *rows = NULL;

    if (weir_pg_query(pg, sql, 3, params, &rows, err) < 0)
        return err->fault;
    *next = weir_rows_count(rows) ? weir_rows_int(rows, 0, 0) : -1;
    return WEIR_OK;
}

int weir_pg_offset(weir_pg *pg, const char *service, const char *topic, int32_t partition,
                   int64_t *next, struct weir_err *err)
{
    char number[16];
    snprintf(number, sizeof(number), "%" PRId32, partition);
    return read_offset(pg,
                       "select next_offset from weir_offsets"
                       " where service = $1 and topic = $2 and partition = $3",
                       service, topic, number, next, err);
}

int weir_pg_sink_begin(weir_pg *pg, const char *service, const char *topic, int32_t partition,
                       int64_t *next, struct weir_err *err)
{
    static const char lock[] = "select next_offset from weir_offsets"
                               " where service = $1 and topic = $2 and partition = $3 for update";
    static const char insert[] = "insert into weir_offsets (service, topic, partition, next_offset)"
                                 " values ($1, $2, $3, 0) on conflict do nothing";

    snprintf(pg->sink[0], TEXT_MAX, "%s", service);
    snprintf(pg->sink[1], TEXT_MAX, "%s", topic);
    snprintf(pg->sink[2], TEXT_MAX, "%" PRId32, partition);
    const char *const params[] = { pg->sink[0], pg->sink[1], pg->sink[2] };

    if (weir_pg_exec(pg, "begin", err) < 0)
        return weir_wrap(err, "begin");
    if (read_offset(pg, lock, service, topic, pg->sink[2], next, err) < 0)
        goto undo;
    /* Not there yet: the insert waits for a second writer that is doing the same. */
    if (*next < 0 && (weir_pg_query(pg, insert, 3, params, NULL, err) < 0 ||
                      read_offset(pg, lock, service, topic, pg->sink[2], next, err) < 0))
        goto undo;
    return WEIR_OK;
undo:
    weir_pg_rollback(pg);
    return weir_wrap(err, "stored offset");
}

int weir_pg_sink_commit(weir_pg *pg, int64_t next, struct weir_err *err)
{
    char number[24];
    snprintf(number, sizeof(number), "%" PRId64, next);
    const char *const params[] = { pg->sink[0], pg->sink[1], pg->sink[2], number };
    PGresult *result = NULL;

    if (weir_pg_query(pg,
                      "update weir_offsets set next_offset = greatest(next_offset, $4::bigint),"
                      " updated_at = now()"
                      " where service = $1 and topic = $2 and partition = $3",
                      4, params, NULL, err) < 0)
        goto undo;
    if (!PQsendQuery(pg->conn, "commit"))
        return lost(pg, "commit", err);
    if (await(pg, &result, err) < 0)
        return weir_wrap(err, "commit, outcome unknown");
    bool committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    PQclear(result);
    if (!committed)
        return weir_fail(err, WEIR_RETRY, "pg: commit: the transaction had failed");
    return WEIR_OK;
undo:
    weir_pg_rollback(pg);
    return weir_wrap(err, "store offset");
}

void weir_pg_rollback(weir_pg *pg)
{
    PGresult *result = NULL;
    struct weir_err ignored;

    if (!pg->conn || PQtransactionStatus(pg->conn) == PQTRANS_IDLE)
        return;
    char kept[sizeof(pg->sqlstate)];
    memcpy(kept, pg->sqlstate, sizeof(kept));
    if (PQsendQuery(pg->conn, "rollback") && await(pg, &result, &ignored) == WEIR_OK)
        PQclear(result);
    memcpy(pg->sqlstate, kept, sizeof(kept));
}
