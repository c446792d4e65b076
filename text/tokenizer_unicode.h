// The Unicode part of the tokenizer, on arrays of code points: decoding, NFC with lower case, and the classes of CLIP's
// pattern. Internal to text/.
#ifndef SDG_TEXT_TOKENIZER_UNICODE_H
#define SDG_TEXT_TOKENIZER_UNICODE_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A growing array, zero-initialised; freed with sdg_free(at).
struct sdg_code_points {
    int32_t *at;
    size_t count;
    size_t capacity;
};

enum sdg_char_class { SDG_CHAR_LETTER, SDG_CHAR_NUMBER, SDG_CHAR_SPACE, SDG_CHAR_OTHER };

// \p{L}, \p{N} and \s of CLIP's pattern.
enum sdg_char_class sdg_char_class(int32_t c);

// Bytes of one code point starting at `text` (at least one byte before `end`), which is stored in *c. What is not UTF-8
// becomes U+FFFD, one for each longest prefix of a valid sequence, as Unicode recommends and Python and Rust do.
size_t sdg_utf8_next(const unsigned char *text, const unsigned char *end, int32_t *c);

// Writes one code point, at most 4 bytes; returns how many.
size_t sdg_utf8_put(int32_t c, unsigned char *out);

// Appends all of `text` to `out`.
enum sdg_result sdg_utf8_decode(const struct sdg_log *log, const char *text, size_t bytes, struct sdg_code_points *out);

// Replaces the content of `out` with the canonical composition (NFC) of in[0..count), then its lower case, one
// character at a time: no final sigma; U+0130 becomes two code points. Linear in `count` whatever the text is.
enum sdg_result sdg_normalize(const struct sdg_log *log, const int32_t *in, size_t count, struct sdg_code_points *out);

// Each run of white space becomes one space.
void sdg_collapse_space(struct sdg_code_points *text);

// Its canonical combining class is not 0: it belongs to what is before it.
bool sdg_is_combining(int32_t c);

// Part of a word as \w of regular expressions has it: letters, their marks, digits, connecting punctuation.
bool sdg_is_word_part(int32_t c);

#endif
