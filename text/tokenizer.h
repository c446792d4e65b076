// CLIP's byte-pair tokenizer, equal to transformers' CLIPTokenizer (fast): NFC, whitespace runs to one space, lower
// case, the pattern of CLIP, byte-level BPE with "</w>".
//
// Special tokens in the text are recognised as there, which follows from how tokenizer_config.json names the padding
// token:
// - <|startoftext|>: in the normalised text, so in any case;
// - <|endoftext|>: in the text as it is, so in lower case only, when it is the padding token; in any case otherwise;
// - another padding token ("!" of Stable Diffusion 2 and of SDXL's second encoder): in the text as it is. "wow!" then
// ends with
//   the id of "!" (0), not with that of "!</w>".
//
// Character data is utf8proc's. Characters that its Unicode version does not assign are neither letters nor numbers and
// have no lower case. transformers mixes several Unicode versions; ids differ only for characters that one of them does
// not know yet: letters and numbers newer than utf8proc's data, and the order of about a hundred rare combining marks
// newer than Unicode 9.
#ifndef SDG_TEXT_TOKENIZER_H
#define SDG_TEXT_TOKENIZER_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SDG_TEXT_TOKENS = 77 };
enum { SDG_TEXT_MAX_BYTES = 16 << 20 }; // of one text

// Immutable after creation: any number of threads may use one at a time.
struct sdg_tokenizer;

// From the texts of vocab.json and merges.txt (NUL-terminated, hostile); `path` is for messages. The two special tokens
// are the ones named <|startoftext|> and <|endoftext|>; `pad_token` as in tokenizer_config.json ("<|endoftext|>" or
// "!"; NULL is
// <|endoftext|>). SDG_ERROR_INPUT: broken JSON, an id that is not an integer from 0 to 2^31 - 2, a special token
// missing, a merge line that is not two tokens, a merge of or to a token that the vocabulary lacks. Of duplicates the
// last one counts. Bytes without a token become <|endoftext|>. The texts are not kept. On failure *out is NULL.
enum sdg_result sdg_tokenizer_create(const struct sdg_log *log, const char *path, const char *vocab_json,
                                     const char *merges_txt, const char *pad_token, struct sdg_tokenizer **out);
void sdg_tokenizer_destroy(struct sdg_tokenizer **tokenizer);
int32_t sdg_tokenizer_begin(const struct sdg_tokenizer *t);
int32_t sdg_tokenizer_end(const struct sdg_tokenizer *t);
int32_t sdg_tokenizer_pad(const struct sdg_tokenizer *t);
size_t sdg_tokenizer_vocabulary(const struct sdg_tokenizer *t); // largest id + 1

// Token ids of `text` (UTF-8; invalid bytes become U+FFFD) without begin and end. *ids is freed with sdg_free; it is a
// valid pointer even where *count is 0, and NULL on failure: SDG_ERROR_USAGE for a text of more than
// SDG_TEXT_MAX_BYTES, or memory. Time is n log n in the length of the longest word and linear otherwise.
enum sdg_result sdg_tokenize(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text, int32_t **ids,
                             size_t *count);

#endif
