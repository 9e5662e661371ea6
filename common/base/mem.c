/* Memory: arena and buffer; see mem.h. */
#include <weir/mem.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

#if defined(__SANITIZE_ADDRESS__)
#define WEIR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_ASAN 1
#endif
#endif

#ifdef WEIR_ASAN
#include <sanitizer/asan_interface.h>
#define poison(data, size) ASAN_POISON_MEMORY_REGION(data, size)
#define unpoison(data, size) ASAN_UNPOISON_MEMORY_REGION(data, size)
enum { GAP = 16 }; /* between allocations, so that running over one is seen */
#else
#define poison(data, size) ((void)0)
#define unpoison(data, size) ((void)0)
enum { GAP = 0 };
#endif

enum {
    FIRST_BLOCK = 16 * 1024,
    LARGEST_BLOCK = 1024 * 1024, /* growth stops here; what is larger gets a block of its own */
    ALIGNMENT = _Alignof(max_align_t),
};

static void *checked(void *memory, size_t size_bytes)
{
    if (memory == NULL && size_bytes > 0) {
        fprintf(stderr, "out of memory: %zu bytes\n", size_bytes);
        abort();
    }
    return memory;
}

void *weir_xmalloc(size_t size_bytes)
{
    return checked(malloc(size_bytes ? size_bytes : 1), size_bytes);
}

void *weir_xcalloc(size_t count, size_t size_bytes)
{
    return checked(calloc(count ? count : 1, size_bytes ? size_bytes : 1), size_bytes);
}

void *weir_xrealloc(void *old, size_t size_bytes)
{
    return checked(realloc(old, size_bytes ? size_bytes : 1), size_bytes);
}

char *weir_xstrdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(weir_xmalloc(size), text, size);
}

/* ---- arena ---- */

struct block {
    struct block *next;
    size_t size, used;
    _Alignas(max_align_t) unsigned char data[];
};

struct weir_arena {
    struct block *current; /* the rest of the list is full or has one large piece each */
    size_t bytes;
};

static struct block *block_new(size_t size)
{
    struct block *block = weir_xmalloc(sizeof(*block) + size);
    *block = (struct block){ .size = size };
    poison(block->data, size);
    return block;
}

static void blocks_free(struct block *block)
{
    while (block != NULL) {
        struct block *next = block->next;
        unpoison(block->data, block->size);
        free(block);
        block = next;
    }
}

weir_arena *weir_arena_new(void)
{
    return weir_xcalloc(1, sizeof(weir_arena));
}

void weir_arena_free(weir_arena **arena)
{
    if (arena == NULL || *arena == NULL)
        return;
    blocks_free((*arena)->current);
    free(*arena);
    *arena = NULL;
}

void weir_arena_reset(weir_arena *arena)
{
    struct block *keep = arena->current;

    arena->bytes = 0;
    if (keep == NULL)
        return;
    if (keep->size > LARGEST_BLOCK) { /* one large message must not be paid for ever after */
        blocks_free(keep);
        arena->current = NULL;
        return;
    }
    blocks_free(keep->next);
    keep->next = NULL;
    keep->used = 0;
    poison(keep->data, keep->size);
}

size_t weir_arena_bytes(const weir_arena *arena)
{
    return arena->bytes;
}

/* A new block with room for size bytes. */
static struct block *block_for(weir_arena *arena, size_t size)
{
    struct block *current = arena->current;

    if (size > LARGEST_BLOCK / 4) {
        struct block *own = block_new(size);
        if (current == NULL) {
            arena->current = own;
        } else { /* behind the current block, whose free space stays in use */
            own->next = current->next;
            current->next = own;
        }
        return own;
    }

    size_t want = current == NULL ? FIRST_BLOCK : current->size * 2;
    while (want < size)
        want *= 2;
    struct block *block = block_new(want < LARGEST_BLOCK ? want : LARGEST_BLOCK);
    block->next = current;
    arena->current = block;
    return block;
}

static void *take(weir_arena *arena, size_t size_bytes, size_t alignment)
{
    if (size_bytes > SIZE_MAX / 2)
        checked(NULL, size_bytes);

    struct block *block = arena->current;
    size_t start = block ? (block->used + alignment - 1) & ~(alignment - 1) : 0;

    if (block == NULL || start > block->size || block->size - start < size_bytes + GAP) {
        block = block_for(arena, size_bytes + GAP);
        start = 0;
    }
    block->used = start + size_bytes + GAP;
    arena->bytes += size_bytes;
    unpoison(block->data + start, size_bytes);
    return block->data + start;
}

void *weir_alloc(weir_arena *arena, size_t size_bytes)
{
    return take(arena, size_bytes, ALIGNMENT);
}

void *weir_alloc_zero(weir_arena *arena, size_t size_bytes)
{
    return memset(weir_alloc(arena, size_bytes), 0, size_bytes);
}

char *weir_strndup(weir_arena *arena, const char *text, size_t length)
{
    char *copy = take(arena, length + 1, 1);
    if (length > 0)
        memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *weir_strdup(weir_arena *arena, const char *text)
{
    return weir_strndup(arena, text, strlen(text));
}

char *weir_printf(weir_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);

    char *text = take(arena, (size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

/* ---- buffer ---- */

enum { DEFAULT_MAX_BYTES = 64 * 1024 * 1024, FIRST_CAPACITY = 256 };

/* Makes room for extra more bytes and a NUL. */
static bool reserve(struct weir_buf *buf, size_t extra)
{
    size_t max = buf->max_bytes ? buf->max_bytes : DEFAULT_MAX_BYTES;

    if (buf->failed)
        return false;
    if (extra > max || buf->length > max - extra) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->length + extra + 1;
    if (need <= buf->capacity)
        return true;

    size_t capacity = buf->capacity ? buf->capacity : FIRST_CAPACITY;
    while (capacity < need)
        capacity *= 2;
    buf->data = weir_xrealloc(buf->data, capacity);
    buf->capacity = capacity;
    return true;
}

void weir_buf_add(struct weir_buf *buf, const void *data, size_t length)
{
    if (!reserve(buf, length))
        return;
    if (length > 0)
        memcpy(buf->data + buf->length, data, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void weir_buf_text(struct weir_buf *buf, const char *text)
{
    weir_buf_add(buf, text, strlen(text));
}

void weir_buf_char(struct weir_buf *buf, char c)
{
    weir_buf_add(buf, &c, 1);
}

void weir_buf_printf(struct weir_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = buf->capacity - buf->length; /* 0 before the first growth */
    int length = vsnprintf(buf->data ? buf->data + buf->length : NULL, room, format, args);
    va_end(args);
    assert(length >= 0);

    if (reserve(buf, (size_t)length)) {
        if ((size_t)length >= room)
            vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    } else if (room > 0) {
        buf->data[buf->length] = '\0';
    }
    va_end(again);
}

static const char *escape_of(unsigned char c, char out[7])
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    }
    static const char digits[] = "0123456789abcdef";
    memcpy(out, "\\u00", 4);
    out[4] = digits[c >> 4];
    out[5] = digits[c & 15];
    out[6] = '\0';
    return out;
}

/* DEL and the C1 controls need no escape in JSON; they get one because logs are read on terminals.
 */
void weir_buf_json_text(struct weir_buf *buf, const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t plain = 0; /* start of what was not yet copied */
    char code[7];

    weir_buf_char(buf, '"');
    for (size_t i = 0; i < length;) {
        unsigned char c = at[i];
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t size = weir_utf8_length(at + i, length - i);
        bool c1 = size == 2 && c == 0xC2 && at[i + 1] < 0xA0;
        if (size > 1 && !c1) {
            i += size;
            continue;
        }
        weir_buf_add(buf, text + plain, i - plain);
        weir_buf_text(buf, size == 0 ? "\xEF\xBF\xBD" : escape_of(c1 ? at[i + 1] : c, code));
        i += size == 0 ? 1 : size;
        plain = i;
    }
    weir_buf_add(buf, text + plain, length - plain);
    weir_buf_char(buf, '"');
}

void weir_buf_clear(struct weir_buf *buf)
{
    buf->length = 0;
    buf->failed = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

void weir_buf_free(struct weir_buf *buf)
{
    free(buf->data);
    *buf = (struct weir_buf){ .max_bytes = buf->max_bytes };
}
