#include "formats/tensors.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLES = 64 };

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = sdg_hash_word(hash, (unsigned char)*text);
    return sdg_hash_word(hash, 0x100);
}

static uint64_t mix_tensor(uint64_t hash, const struct sdg_tensor *t)
{
    hash = mix_text(hash, t->name);
    hash = mix_text(hash, sdg_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        hash = sdg_hash_word(hash, (uint64_t)t->dims[i]);
    size_t words = t->bytes / sizeof(uint64_t), step = words / SAMPLES + 1;
    for (size_t i = 0; i < words; i += step) {
        uint64_t word;
        memcpy(&word, (const char *)t->data + i * sizeof word, sizeof word);
        hash = sdg_hash_word(hash, word);
    }
    if (t->bytes % sizeof(uint64_t)) {
        uint64_t rest = 0;
        memcpy(&rest, (const char *)t->data + words * sizeof rest, t->bytes % sizeof rest);
        hash = sdg_hash_word(hash, rest);
    }
    return hash;
}

void sdg_tensors_fingerprint(const struct sdg_tensors *tensors, char text[17])
{
    uint64_t hash = SDG_HASH_START;
    for (size_t i = 0; i < sdg_tensors_count(tensors); i++) {
        hash = mix_tensor(hash, sdg_tensors_at(tensors, i));
        // each word looked at brought its neighbourhood into memory
        sdg_tensors_release(tensors, sdg_tensors_at(tensors, i));
    }
    hash ^= hash >> 32; // FNV's low digits are its good ones
    snprintf(text, 17, "%016" PRIx64, hash);
}
