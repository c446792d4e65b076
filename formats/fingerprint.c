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

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t bytes)
{
    size_t words = bytes / sizeof(uint64_t), step = words / SAMPLES + 1;
    for (size_t i = 0; i < words; i += step) {
        uint64_t word;
        memcpy(&word, (const char *)data + i * sizeof word, sizeof word);
        hash = sdg_hash_word(hash, word);
    }
    if (bytes % sizeof(uint64_t)) {
        uint64_t rest = 0;
        memcpy(&rest, (const char *)data + words * sizeof rest, bytes % sizeof rest);
        hash = sdg_hash_word(hash, rest);
    }
    return hash;
}

static uint64_t mix_part(uint64_t hash, const struct sdg_low_rank_part *part)
{
    uint32_t factor;
    memcpy(&factor, &part->factor, sizeof factor);
    hash = sdg_hash_word(sdg_hash_word(hash, part->rank), factor);
    hash = mix_bytes(hash, part->up, part->outputs * part->rank * sizeof *part->up);
    return mix_bytes(hash, part->down, part->inputs * part->rank * sizeof *part->down);
}

static uint64_t mix_tensor(uint64_t hash, const struct sdg_tensor *t)
{
    hash = mix_text(hash, t->name);
    hash = mix_text(hash, sdg_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        hash = sdg_hash_word(hash, (uint64_t)t->dims[i]);
    hash = mix_bytes(hash, t->data, t->bytes);
    for (const struct sdg_low_rank_part *part = t->added; part; part = part->next)
        hash = mix_part(hash, part);
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
