// FNV-1a (Fowler, Noll, Vo), 64 bits: tells contents apart; no protection against intent. Its low digits are its good
// ones.
#ifndef SDG_BASE_HASH_H
#define SDG_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define SDG_HASH_START UINT64_C(0xcbf29ce484222325)

// One step; `word` is a byte in the original.
static inline uint64_t sdg_hash_word(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * UINT64_C(0x100000001b3);
}

static inline uint64_t sdg_hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++)
        hash = sdg_hash_word(hash, at[i]);
    return hash;
}

#endif
