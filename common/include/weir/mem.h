/* Memory: an arena a unit of work, growing buffers, and owners that release themselves.
 *
 * Sizes that come from input are bounded by the caller first; a small allocation that fails aborts,
 * because a restart replays what was in flight. */
#ifndef WEIR_MEM_H
#define WEIR_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weir/err.h>

void *weir_xmalloc(size_t size_bytes);
void *weir_xcalloc(size_t count, size_t size_bytes);
void *weir_xrealloc(void *old, size_t size_bytes);
char *weir_xstrdup(const char *text);

/* ---- arena: freed as a whole; one thread at a time ---- */

typedef struct weir_arena weir_arena;

weir_arena *weir_arena_new(void);
void weir_arena_free(weir_arena **arena); /* NULL is fine */
void weir_arena_reset(weir_arena *arena); /* forgets everything, keeps a block for the next user */
size_t weir_arena_bytes(const weir_arena *arena); /* handed out since the last reset */

void *weir_alloc(weir_arena *arena, size_t size_bytes); /* aligned for any type, not zeroed */
void *weir_alloc_zero(weir_arena *arena, size_t size_bytes);
char *weir_strndup(weir_arena *arena, const char *text, size_t length); /* NUL-terminated copy */
char *weir_strdup(weir_arena *arena, const char *text);
char *weir_printf(weir_arena *arena, const char *format, ...) WEIR_PRINTF(2, 3);

/* ---- buffer: append freely, check once ----
 * The data is always NUL-terminated once anything was appended. Growing over max_bytes (0: 64 MiB)
 * sets failed, after which appends do nothing. */

struct weir_buf {
    char *data;
    size_t length, capacity, max_bytes;
    bool failed;
};

void weir_buf_add(struct weir_buf *buf, const void *data, size_t length);
void weir_buf_text(struct weir_buf *buf, const char *text);
void weir_buf_char(struct weir_buf *buf, char c);
void weir_buf_printf(struct weir_buf *buf, const char *format, ...) WEIR_PRINTF(2, 3);
/* A JSON string with its quotes; what is not UTF-8 becomes U+FFFD. */
void weir_buf_json_text(struct weir_buf *buf, const char *text, size_t length);
void weir_buf_clear(struct weir_buf *buf); /* empties, keeps the memory, clears failed */
void weir_buf_free(struct weir_buf *buf);

/* ---- owners ----
 * WEIR_AUTO(weir_arena) *arena = weir_arena_new(); releases on every path out of the scope, by
 * TYPE_auto_free, declared by WEIR_AUTO_DEFINE(type, destructor taking type **). */

#define WEIR_AUTO(type) __attribute__((cleanup(type##_auto_free))) type
#define WEIR_AUTO_DEFINE(type, destructor)                                                         \
    static inline void type##_auto_free(type **owner)                                              \
    {                                                                                              \
        destructor(owner);                                                                         \
    }
#define WEIR_AUTO_BUF __attribute__((cleanup(weir_buf_free))) struct weir_buf

/* Moves a pointer out of its owner: *out = weir_take(&rows); */
#define weir_take(owner)                                                                           \
    __extension__({                                                                                \
        __typeof__(*(owner)) taken_ = *(owner);                                                    \
        *(owner) = NULL;                                                                           \
        taken_;                                                                                    \
    })

WEIR_AUTO_DEFINE(weir_arena, weir_arena_free)

#endif
