#include "atlas.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 64 << 20 };

static const char sum_name[] = "atlas.sum";

/* ---- the directory ---- */

static int read_file(const char *directory, const char *name, weir_arena *arena, const char **text,
                     size_t *length, struct weir_err *err)
{
    char *path = weir_printf(arena, "%s/%s", directory, name);
    struct weir_buf buf = { .max_bytes = FILE_MAX_BYTES };
    char block[16384];
    size_t got;
    FILE *file = fopen(path, "re");

    if (!file)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: %s", path, strerror(errno));
    while ((got = fread(block, 1, sizeof(block), file)) > 0)
        weir_buf_add(&buf, block, got);
    bool broken = ferror(file) || buf.failed;
    fclose(file);
    *length = buf.length;
    *text = weir_strndup(arena, buf.data ? buf.data : "", buf.length);
    weir_buf_free(&buf);
    if (broken)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: can't be read, or larger than 64 MiB", path);
    return WEIR_OK;
}

static int is_migration(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".sql") == 0;
}

/* By bytes, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void name_parts(struct atlas_file *file, weir_arena *arena)
{
    size_t stem = strlen(file->name) - 4;
    const char *underscore = memchr(file->name, '_', stem);
    size_t version = underscore ? (size_t)(underscore - file->name) : stem;
    file->version = weir_strndup(arena, file->name, version);
    file->description = underscore ? weir_strndup(arena, underscore + 1, stem - version - 1) : "";
}

static void base64_peek(const weir_sha256 *hash, char out[WEIR_SHA256_BASE64_SIZE])
{
    uint8_t digest[32];
    weir_sha256_peek(hash, digest);
    weir_base64(digest, sizeof(digest), out);
}

/* One running digest over names and contents; each line shows it as it then is. */
static void hash_files(struct atlas_dir *dir)
{
    weir_sha256 *files = weir_sha256_new(), *lines = weir_sha256_new();

    for (size_t i = 0; i < dir->count; i++) {
        struct atlas_file *file = &dir->files[i];
        weir_sha256_add(files, file->name, strlen(file->name));
        weir_sha256_add(files, file->text, file->length);
        base64_peek(files, file->hash);
        weir_sha256_add(lines, file->name, strlen(file->name));
        weir_sha256_add(lines, file->hash, strlen(file->hash));
    }
    base64_peek(lines, dir->sum);
    weir_sha256_free(&files);
    weir_sha256_free(&lines);
}

int atlas_load(const char *path, weir_arena *arena, struct atlas_dir *out, struct weir_err *err)
{
    struct dirent **entries;
    int fault = WEIR_OK, count = scandir(path, &entries, is_migration, by_name);

    if (count < 0)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: %s", path, strerror(errno));
    *out = (struct atlas_dir){ .path = path, .count = (size_t)count };
    out->files = weir_alloc_zero(arena, (out->count + 1) * sizeof(*out->files));
    for (int i = 0; i < count; i++) {
        struct atlas_file *file = &out->files[i];
        file->name = weir_strdup(arena, entries[i]->d_name);
        free(entries[i]);
        if (fault < 0)
            continue;
        name_parts(file, arena);
        fault = read_file(path, file->name, arena, &file->text, &file->length, err);
        if (fault == WEIR_OK && i > 0 && strcmp(file[-1].version, file->version) == 0)
            fault = weir_fail(err, WEIR_BAD_INPUT, "%s: the version of %s again", file->name,
                              file[-1].name);
    }
    free(entries);
    if (fault == WEIR_OK)
        hash_files(out);
    return fault;
}

/* ---- atlas.sum ---- */

/* The next line of the sum file: name (empty on the first line) and hash. False at the end. */
static bool next_line(char **at, const char **name, const char **hash, bool *broken)
{
    char *line = *at, *end = strchr(line, '\n');

    if (!*line)
        return false;
    if (end)
        *end = '\0';
    *at = end ? end + 1 : line + strlen(line);
    char *mark = strstr(line, "h1:");
    *broken = !mark || (mark > line && mark[-1] != ' ');
    if (*broken)
        return true;
    *hash = mark + 3;
    if (mark > line)
        mark[-1] = '\0';
    *name = mark > line ? line : "";
    return true;
}

int atlas_verify(const struct atlas_dir *dir, weir_arena *arena, struct weir_err *err)
{
    const char *text = NULL, *name, *hash, *total = NULL;
    size_t length, known = 0;
    bool broken;

    if (access(weir_printf(arena, "%s/%s", dir->path, sum_name), F_OK) != 0)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: no atlas.sum; `weir migrate hash` writes it",
                         dir->path);
    if (read_file(dir->path, sum_name, arena, &text, &length, err) < 0)
        return err->fault;
    char *at = weir_strdup(arena, text);
    while (next_line(&at, &name, &hash, &broken)) {
        if (broken || !*name != !total)
            return weir_fail(err, WEIR_BAD_INPUT, "%s: not a sum file", sum_name);
        if (!total) {
            total = hash;
            continue;
        }
        const struct atlas_file *file = &dir->files[known];
        int order = known < dir->count ? strcmp(file->name, name) : 1;
        if (order < 0)
            return weir_fail(err, WEIR_BAD_INPUT, "%s: not in %s", file->name, sum_name);
        if (order > 0)
            return weir_fail(err, WEIR_BAD_INPUT, "%s: in %s, but gone", name, sum_name);
        if (strcmp(file->hash, hash) != 0)
            return weir_fail(err, WEIR_BAD_INPUT, "%s: changed since %s was written", file->name,
                             sum_name);
        known++;
    }
    if (known < dir->count)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: not in %s", dir->files[known].name, sum_name);
    if (!total || strcmp(total, dir->sum) != 0)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: its first line does not fit the others",
                         sum_name);
    return WEIR_OK;
}

int atlas_write_sum(const struct atlas_dir *dir, weir_arena *arena, struct weir_err *err)
{
    const char *path = weir_printf(arena, "%s/%s", dir->path, sum_name);
    const char *draft = weir_printf(arena, "%s.new", path);
    FILE *file = fopen(draft, "we");

    if (!file)
        return weir_fail(err, WEIR_BAD_INPUT, "%s: %s", draft, strerror(errno));
    fprintf(file, "h1:%s\n", dir->sum);
    for (size_t i = 0; i < dir->count; i++)
        fprintf(file, "%s h1:%s\n", dir->files[i].name, dir->files[i].hash);
    bool broken = ferror(file);
    if (fclose(file) != 0 || broken || rename(draft, path) != 0) {
        weir_fail(err, WEIR_BAD_INPUT, "%s: %s", path, strerror(errno));
        unlink(draft);
        return err->fault;
    }
    return WEIR_OK;
}

/* ---- statements ---- */

struct splitter {
    const struct atlas_file *file;
    const char *at, *end;
    const char *open; /* what was opened last and must be closed, for the reason */
    int line;
};

static bool at_text(const struct splitter *split, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(split->end - split->at) >= length && memcmp(split->at, text, length) == 0;
}

static void step(struct splitter *split, size_t count)
{
    for (; count > 0 && split->at < split->end; count--)
        split->line += *split->at++ == '\n';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80);
}

/* Steps behind the closing quote; a doubled one is part of the text, and so is an escaped one. */
static bool skip_quoted(struct splitter *split, char quote, bool escapes)
{
    split->open = quote == '"' ? "a quoted name" : "a quoted text";
    step(split, 1);
    while (split->at < split->end) {
        if (escapes && *split->at == '\\') {
            step(split, 2);
        } else if (*split->at != quote) {
            step(split, 1);
        } else if (split->at + 1 < split->end && split->at[1] == quote) {
            step(split, 2);
        } else {
            step(split, 1);
            return true;
        }
    }
    return false;
}

/* $$ or $tag$: its length, 0 when it is neither (a parameter, say). */
static size_t dollar_tag(const struct splitter *split)
{
    const char *at = split->at + 1;
    if (at < split->end && *at >= '0' && *at <= '9')
        return 0;
    while (at < split->end && is_word(*at))
        at++;
    return at < split->end && *at == '$' ? (size_t)(at + 1 - split->at) : 0;
}

static bool skip_dollar_quoted(struct splitter *split, size_t tag_length)
{
    const char *tag = split->at;
    split->open = "a dollar-quoted text";
    step(split, tag_length);
    const char *close = memmem(split->at, (size_t)(split->end - split->at), tag, tag_length);
    if (!close)
        return false;
    step(split, (size_t)(close - split->at) + tag_length);
    return true;
}

static bool skip_block_comment(struct splitter *split)
{
    int depth = 0; /* they nest, unlike C's */
    split->open = "a comment";
    do {
        int change = at_text(split, "/*") ? 1 : at_text(split, "*/") ? -1 : 0;
        depth += change;
        step(split, change ? 2 : 1);
    } while (depth > 0 && split->at < split->end);
    return depth == 0;
}

static void skip_line(struct splitter *split)
{
    while (split->at < split->end && *split->at != '\n')
        step(split, 1);
}

/* What is known of the statement so far, to find its end. */
struct statement_state {
    const char *begin, *content_end; /* NULL: only blanks and comments yet */
    int line;
    int words, brackets, blocks;
    bool creates_routine;
};

static bool word_is(const char *word, size_t length, const char *name)
{
    return strlen(name) == length && strncasecmp(word, name, length) == 0;
}

/* psql's rule for function bodies in SQL: within CREATE [OR REPLACE] FUNCTION or PROCEDURE, BEGIN
 * opens a block that END closes, as CASE does inside one. */
static void take_word(struct statement_state *state, const char *word, size_t length)
{
    state->words++;
    bool may_name_routine = (state->words == 2 || state->words == 4);
    if (may_name_routine && word_is(state->begin, 6, "create") &&
        (word_is(word, length, "function") || word_is(word, length, "procedure")))
        state->creates_routine = true;
    if (!state->creates_routine || state->brackets > 0)
        return;
    if (word_is(word, length, "begin") || (state->blocks > 0 && word_is(word, length, "case")))
        state->blocks++;
    else if (state->blocks > 0 && word_is(word, length, "end"))
        state->blocks--;
}

static int not_closed(const struct splitter *split, struct weir_err *err)
{
    return weir_fail(err, WEIR_BAD_INPUT, "%s: %s is not closed", split->file->name, split->open);
}

/* Steps over one token, or one blank. content: whether it belongs to a statement. */
static bool skip_token(struct splitter *split, struct statement_state *state, bool *content)
{
    char c = *split->at;
    const char *start = split->at;
    size_t tag;

    *content = true;
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
        *content = false;
        step(split, 1);
        return true;
    }
    if (at_text(split, "--")) {
        *content = false;
        skip_line(split);
        return true;
    }
    if (at_text(split, "/*")) {
        *content = false;
        return skip_block_comment(split);
    }
    if (!state->begin) {
        state->begin = start;
        state->line = split->line;
    }
    if (c == '\'' || c == '"')
        return skip_quoted(split, c, false);
    if ((c == 'e' || c == 'E') && split->at + 1 < split->end && split->at[1] == '\'') {
        step(split, 1);
        return skip_quoted(split, '\'', true);
    }
    if (c == '$' && (tag = dollar_tag(split)) > 0)
        return skip_dollar_quoted(split, tag);
    if (is_word(c)) {
        while (split->at < split->end && (is_word(*split->at) || *split->at == '$'))
            step(split, 1);
        take_word(state, start, (size_t)(split->at - start));
        return true;
    }
    if (c == '(')
        state->brackets++;
    if (c == ')' && state->brackets > 0)
        state->brackets--;
    step(split, 1);
    return true;
}

/* A file is one transaction, which ours begins and ends. */
static bool controls_transaction(const char *text)
{
    static const char *const words[] = { "begin", "start",    "commit", "end",
                                         "abort", "rollback", NULL };
    size_t length = 0;
    while (is_word(text[length]))
        length++;
    for (const char *const *word = words; *word; word++)
        if (word_is(text, length, *word))
            return true;
    return word_is(text, length, "prepare") &&
           strncasecmp(text + length + strspn(text + length, " \t\n"), "transaction", 11) == 0;
}

static int check_directives(const struct atlas_file *file, struct weir_err *err)
{
    static const char mark[] = "-- atlas:";
    for (const char *at = file->text; (at = strstr(at, mark)); at++) {
        bool line_begins = at == file->text || at[-1] == '\n';
        const char *name = at + strlen(mark);
        if (line_begins && strncmp(name, "nolint", 6) != 0)
            return weir_fail(err, WEIR_BAD_INPUT,
                             "%s: directive atlas:%.*s is not known here; apply this file with "
                             "Atlas",
                             file->name, (int)strcspn(name, " \r\n"), name);
    }
    return WEIR_OK;
}

int atlas_split(const struct atlas_file *file, weir_arena *arena, struct atlas_statement **out,
                size_t *count, struct weir_err *err)
{
    struct splitter split = {
        .file = file, .at = file->text, .end = file->text + file->length, .line = 1
    };
    struct statement_state state = { 0 };
    size_t capacity = 1;

    if (check_directives(file, err) < 0)
        return err->fault;
    if (memchr(file->text, '\0', file->length))
        return weir_fail(err, WEIR_BAD_INPUT, "%s: holds a NUL byte", file->name);
    for (const char *at = file->text; (at = strchr(at, ';')); at++)
        capacity++;
    *out = weir_alloc_zero(arena, capacity * sizeof(**out));
    *count = 0;
    while (split.at <= split.end) {
        bool ends =
            split.at == split.end || (*split.at == ';' && state.brackets == 0 && state.blocks == 0);
        if (ends && state.begin) {
            struct atlas_statement *statement = &(*out)[(*count)++];
            statement->line = state.line;
            statement->text =
                weir_strndup(arena, state.begin, (size_t)(state.content_end - state.begin));
            if (controls_transaction(statement->text))
                return weir_fail(err, WEIR_BAD_INPUT,
                                 "%s:%d: a file runs in one transaction, which it may not control",
                                 file->name, state.line);
        }
        if (split.at == split.end)
            break;
        if (ends) {
            state = (struct statement_state){ 0 };
            step(&split, 1);
            continue;
        }
        bool content;
        if (!skip_token(&split, &state, &content))
            return not_closed(&split, err);
        if (content)
            state.content_end = split.at;
    }
    return WEIR_OK;
}
