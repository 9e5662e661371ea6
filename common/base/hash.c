/* Digests by libcrypto, encodings by hand; see hash.h. */
#include <weir/hash.h>

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/mem.h>

struct weir_sha256 {
    EVP_MD_CTX *ctx;
};

/* Fetched once: EVP_sha256() looks the implementation up, under a lock, at every use. Kept until
 * exit. */
static EVP_MD *algorithm;

/* libcrypto fails only without memory or without its default provider: nothing can go on then. */
static void check(int ok)
{
    if (!ok) {
        fprintf(stderr, "libcrypto: SHA-256 failed\n");
        abort();
    }
}

static void fetch(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    check(algorithm != NULL);
}

static const EVP_MD *sha256(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fetch);
    return algorithm;
}

weir_sha256 *weir_sha256_new(void)
{
    weir_sha256 *hash = weir_xmalloc(sizeof(*hash));
    hash->ctx = EVP_MD_CTX_new();
    check(hash->ctx != NULL && EVP_DigestInit_ex(hash->ctx, sha256(), NULL));
    return hash;
}

void weir_sha256_add(weir_sha256 *hash, const void *data, size_t length)
{
    check(EVP_DigestUpdate(hash->ctx, data, length));
}

void weir_sha256_peek(const weir_sha256 *hash, uint8_t out[32])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    check(copy != NULL && EVP_MD_CTX_copy_ex(copy, hash->ctx) &&
          EVP_DigestFinal_ex(copy, out, NULL));
    EVP_MD_CTX_free(copy);
}

void weir_sha256_free(weir_sha256 **hash)
{
    if (hash == NULL || *hash == NULL)
        return;
    EVP_MD_CTX_free((*hash)->ctx);
    free(*hash);
    *hash = NULL;
}

void weir_sha256_digest(const void *data, size_t length, uint8_t out[32])
{
    check(EVP_Digest(data, length, out, NULL, sha256(), NULL));
}

void weir_sha256_hex(const void *data, size_t length, char out[WEIR_SHA256_HEX_SIZE])
{
    uint8_t digest[32];
    weir_sha256_digest(data, length, digest);
    weir_hex(digest, sizeof(digest), out);
}

void weir_hex(const uint8_t *data, size_t length, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        *out++ = digits[data[i] >> 4];
        *out++ = digits[data[i] & 15];
    }
    *out = '\0';
}

void weir_base64(const uint8_t *data, size_t length, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < length; i += 3) {
        size_t have = length - i;
        uint32_t bits = (uint32_t)data[i] << 16;
        if (have > 1)
            bits |= (uint32_t)data[i + 1] << 8;
        if (have > 2)
            bits |= data[i + 2];
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        *out++ = have > 1 ? digits[bits >> 6 & 63] : '=';
        *out++ = have > 2 ? digits[bits & 63] : '=';
    }
    *out = '\0';
}
