/* A directory of migrations in Atlas's format: files VERSION_description.sql, applied in the order
 * of their names, and atlas.sum, which names each file with a hash so that no file changes or slips
 * in unnoticed. https://atlasgo.io/concepts/migration-directory-integrity */
#ifndef WEIR_CLI_ATLAS_H
#define WEIR_CLI_ATLAS_H

#include <weir/err.h>
#include <weir/hash.h>
#include <weir/mem.h>

struct atlas_file {
    const char *name;                  /* 20240902163052_initial_schema.sql */
    const char *version, *description; /* 20240902163052, initial_schema */
    const char *text;
    size_t length;
    char hash[WEIR_SHA256_BASE64_SIZE]; /* of this file and all before it */
};

struct atlas_dir {
    const char *path;
    struct atlas_file *files; /* by name */
    size_t count;
    char sum[WEIR_SHA256_BASE64_SIZE]; /* of all lines of atlas.sum */
};

/* Reads all .sql files; everything lives in arena. BAD_INPUT: a file that can't be read, two files
 * of one version. */
WEIR_MUST_CHECK int atlas_load(const char *path, weir_arena *arena, struct atlas_dir *out,
                               struct weir_err *err);

/* Compares with atlas.sum. BAD_INPUT names the file that changed, is new, or is gone. */
WEIR_MUST_CHECK int atlas_verify(const struct atlas_dir *dir, weir_arena *arena,
                                 struct weir_err *err);

/* Writes atlas.sum, whole or not at all. */
WEIR_MUST_CHECK int atlas_write_sum(const struct atlas_dir *dir, weir_arena *arena,
                                    struct weir_err *err);

/* ---- statements of a file ---- */

struct atlas_statement {
    const char *text; /* NUL-terminated, without the semicolon */
    int line;         /* where it begins in the file */
};

/* Cuts SQL at its semicolons: not at those in quotes, dollar quotes, comments, brackets, or in the
 * body of a function written BEGIN ATOMIC ... END. Comments between statements are dropped.
 * BAD_INPUT: something is not closed; statements that end the transaction a file runs in; Atlas
 * directives that ask for another way to run it. */
WEIR_MUST_CHECK int atlas_split(const struct atlas_file *file, weir_arena *arena,
                                struct atlas_statement **out, size_t *count, struct weir_err *err);

#endif
