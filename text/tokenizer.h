// CLIP's byte-pair tokenizer, equal to transformers' CLIPTokenizer (fast): NFC, whitespace runs to one space, lower
// case, the pattern of CLIP, byte-level BPE with "</w>".
//
// Special and added tokens in the text are found before there are words, the longest that starts first: those that are
// not "normalized" in the text as it is, then the others in the normalised text, so in any case. Which they are, the
// files say: see text/tokenizer_settings.h. Two that everybody meets: <|endoftext|> as the padding token is looked for
// in the text as it is, and so is another padding token ("!" of Stable Diffusion 2 and of SDXL's second encoder), so
// that "wow!" ends with the id of "!" (0), not with that of "!</w>". A token NAME stands for NAME NAME_1 NAME_2 ..
// where these exist, as in diffusers' pipelines.
//
// Character data is utf8proc's. Characters that its Unicode version does not assign are neither letters nor numbers and
// have no lower case. transformers mixes several Unicode versions; ids differ only for characters that one of them does
// not know yet: letters and numbers newer than utf8proc's data, and the order of about a hundred rare combining marks
// newer than Unicode 9.
#ifndef SDG_TEXT_TOKENIZER_H
#define SDG_TEXT_TOKENIZER_H

#include "base/log.h"
#include "formats/tokenizer_files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SDG_TEXT_TOKENS = 77 };          // of most text encoders
enum { SDG_TEXT_MAX_BYTES = 16 << 20 }; // of one text

// Immutable after creation: any number of threads may use one at a time.
struct sdg_tokenizer;

// From the files of a tokenizer (hostile), which are not kept; `positions` of the text encoder bound the length of a
// text, and are it where the files name none. SDG_ERROR_INPUT: broken JSON, an id that is not an integer from 0 to
// 2^31 - 2, a token for begin, end, padding or unknown bytes missing, a merge that is not two tokens, a merge of or to
// a token that the vocabulary lacks, a length above `positions`; SDG_ERROR_UNSUPPORTED: another kind of tokenizer. Of
// duplicates the last one counts. On failure *out is NULL.
enum sdg_result sdg_tokenizer_create(const struct sdg_log *log, const struct sdg_tokenizer_files *files, int positions,
                                     struct sdg_tokenizer **out);
void sdg_tokenizer_destroy(struct sdg_tokenizer **tokenizer);
int32_t sdg_tokenizer_begin(const struct sdg_tokenizer *t);
int32_t sdg_tokenizer_end(const struct sdg_tokenizer *t);
int32_t sdg_tokenizer_pad(const struct sdg_tokenizer *t);
// Tokens of a text as the text encoder gets it: begin, tokens, end, padding; at least 3.
int sdg_tokenizer_length(const struct sdg_tokenizer *t);
// The largest id + 1, without tokens that were added to a vocabulary.
size_t sdg_tokenizer_vocabulary(const struct sdg_tokenizer *t);

// Token ids of `text` (UTF-8; invalid bytes become U+FFFD) without begin and end. *ids is freed with sdg_free; it is a
// valid pointer even where *count is 0, and NULL on failure: SDG_ERROR_USAGE for a text of more than
// SDG_TEXT_MAX_BYTES, or memory. Time is n log n in the length of the longest word and linear otherwise.
enum sdg_result sdg_tokenize(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text, int32_t **ids,
                             size_t *count);

// Bytes of a text: those from which a token was made. Tokens that share a character all have its bytes, and characters
// that compose into one (NFC) count as that one.
struct sdg_token_span { size_t begin, end; };
// The same ids, with the span of each: [count], freed with sdg_free.
enum sdg_result sdg_tokenize_spans(const struct sdg_tokenizer *t, const struct sdg_log *log, const char *text,
                                   int32_t **ids, struct sdg_token_span **spans, size_t *count);

#endif
