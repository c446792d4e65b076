// What a tokenizer is made of. Internal to text/.
#ifndef SDG_TEXT_TOKENIZER_DATA_H
#define SDG_TEXT_TOKENIZER_DATA_H

#include "text/tokenizer.h"

#include <stdbool.h>

#define SDG_TOKENIZER_BEGIN "<|startoftext|>"
#define SDG_TOKENIZER_END "<|endoftext|>"

enum { SDG_NO_TOKEN = -1 };

// A token that is recognised in the text before words are looked for.
struct sdg_special {
    int32_t *at; // its code points
    size_t count;
    int32_t id;
    bool normalized;  // looked for in the normalised text, not in the text as it is
    bool single_word; // not beside a letter, a digit or _
    int32_t *more;    // ids that follow it: those of NAME_1, NAME_2, ..
    size_t more_count;
};

struct sdg_merge {
    int32_t left, right; // left is SDG_NO_TOKEN in an empty slot
    int32_t rank, result;
};

struct sdg_tokenizer {
    struct sdg_special *specials;
    size_t special_count;
    bool special_starts[2][256]; // by `normalized`, then the low byte of a first code point
    int32_t begin, end, pad;
    int length;
    size_t vocabulary;
    int32_t bytes[256];       // id of a byte inside a word
    int32_t last_bytes[256];  // id of a byte that ends a word
    struct sdg_merge *merges; // open addressing
    size_t merge_mask;
};

// The slot of a pair, or the empty one where it would go.
struct sdg_merge *sdg_merge_slot(const struct sdg_tokenizer *t, int32_t left, int32_t right);

#endif
