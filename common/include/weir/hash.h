/* Digests and encodings (libcrypto), as lower-case hex or base64 text. */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { WEIR_SHA256_HEX_SIZE = 65, WEIR_SHA256_BASE64_SIZE = 45 };

typedef struct weir_sha256 weir_sha256;
weir_sha256 *weir_sha256_new(void);
void weir_sha256_add(weir_sha256 *hash, const void *data, size_t length);
/* The digest of what was added so far; more can be added after. */
void weir_sha256_peek(const weir_sha256 *hash, uint8_t out[32]);
void weir_sha256_free(weir_sha256 **hash);

void weir_sha256_digest(const void *data, size_t length, uint8_t out[32]);
void weir_sha256_hex(const void *data, size_t length, char out[WEIR_SHA256_HEX_SIZE]);
void weir_hex(const uint8_t *data, size_t length, char *out); /* 2 * length + 1 bytes */
/* Standard base64 with padding; out has 4 * ((length + 2) / 3) + 1 bytes. */
void weir_base64(const uint8_t *data, size_t length, char *out);

#endif
