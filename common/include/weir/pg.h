/* PostgreSQL for handlers: one connection a worker, faults from SQLSTATEs, and the offset-storing
 * sink.
 *
 * A lost connection is opened again by the next call. Sessions run in UTC with client encoding
 * UTF8. SQLSTATE classes: 22, 23, 54000: BAD_INPUT; 08, 40001, 40P01, 53, 55P03, 57P01-57P03 and no
 * answer: TRY_LATER; 28, 3D, 42 and 25006 (read-only): TRY_LATER too, as an operator must mend them
 * and nothing may be lost meanwhile, and logged as errors. The reason holds the SQLSTATE and the
 * server's primary message, without DETAIL, which may quote values. */
#ifndef WEIR_PG_H
#define WEIR_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/err.h>
#include <weir/mem.h>

typedef struct weir_pg weir_pg;
typedef struct weir_rows weir_rows;

/* url: any libpq connection string. Connects at once; TRY_LATER when it can't; FATAL: malformed
 * url. timeout_ms bounds connecting and each statement (statement_timeout is set to it). */
WEIR_MUST_CHECK int weir_pg_open(const char *url, int64_t timeout_ms, weir_pg **out,
                                 struct weir_err *err);
void weir_pg_close(weir_pg **pg);

/* Runs one statement with text parameters (NULL: SQL NULL). Statements are prepared on first use by
 * their text's address, so sql must be a string constant. rows may be NULL when no result is
 * wanted. */
WEIR_MUST_CHECK int weir_pg_query(weir_pg *pg, const char *sql, size_t param_count,
                                  const char *const *params, weir_rows **rows,
                                  struct weir_err *err);
/* Runs SQL text, possibly several statements, without parameters; results are dropped. */
WEIR_MUST_CHECK int weir_pg_exec(weir_pg *pg, const char *sql, struct weir_err *err);

size_t weir_rows_count(const weir_rows *rows);
/* NULL: SQL NULL. Borrowed from rows. */
const char *weir_rows_text(const weir_rows *rows, size_t row, size_t column);
/* 0 for SQL NULL. */
int64_t weir_rows_int(const weir_rows *rows, size_t row, size_t column);
void weir_rows_free(weir_rows **rows);

/* SQLSTATE of the last failed call on pg, "" when there was none. */
const char *weir_pg_sqlstate(const weir_pg *pg);

/* ---- text arrays: "{...}" literals for unnest($1::text[]) and friends ---- */

void weir_pg_array_open(struct weir_buf *buf);
/* Quoted and escaped; NULL: SQL NULL. */
void weir_pg_array_text(struct weir_buf *buf, const char *text);
void weir_pg_array_int(struct weir_buf *buf, int64_t value);
void weir_pg_array_bool(struct weir_buf *buf, bool value);
void weir_pg_array_null(struct weir_buf *buf);
void weir_pg_array_close(struct weir_buf *buf);

/* ---- the sink: offsets in the rows' transaction ----
 * Table weir_offsets (service, topic, partition, next_offset, updated_at); the service's migrations
 * create it. */

/* The stored next offset of a partition; -1 when none. */
WEIR_MUST_CHECK int weir_pg_offset(weir_pg *pg, const char *service, const char *topic,
                                   int32_t partition, int64_t *next, struct weir_err *err);

/* Begins the transaction of a batch: locks the partition's stored offset until the end, so that of
 * two writers one waits, and gives it. Records below *next were stored before (a redelivery, a
 * rebalance race, or a COMMIT whose answer was lost): leave them out. */
WEIR_MUST_CHECK int weir_pg_sink_begin(weir_pg *pg, const char *service, const char *topic,
                                       int32_t partition, int64_t *next, struct weir_err *err);
/* Stores next as the partition's offset and commits. TRY_LATER also when the outcome is unknown:
 * the next begin tells. */
WEIR_MUST_CHECK int weir_pg_sink_commit(weir_pg *pg, int64_t next, struct weir_err *err);
/* Ends an open transaction without effect; harmless when there is none. Keeps *err of the failure
 * before. */
void weir_pg_rollback(weir_pg *pg);

WEIR_AUTO_DEFINE(weir_rows, weir_rows_free)
WEIR_AUTO_DEFINE(weir_pg, weir_pg_close)

#endif
