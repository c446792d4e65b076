// A prompt as the text encoder sees it: chunks of token ids, 77 in most models (sdg_tokenizer_length), with a weight
// per token.
#ifndef SDG_TEXT_PROMPT_H
#define SDG_TEXT_PROMPT_H

#include "sdgen/parts.h"
#include "text/tokenizer.h"

// A1111 syntax, as in stable-diffusion-webui:
// - (a) multiplies the weight of a by 1.1, [a] divides it by 1.1, (a:1.2) multiplies by 1.2; nesting multiplies. A
// number may have
//   a sign and white space around it; [a:1.2] is no weight (in webui it schedules), so "a:1.2" is text with weight 1
//   / 1.1.
// - Round and square brackets are paired separately: in "(a [b) c]" b has both. An open bracket that is not closed goes
// on to the
//   end, a closing one that was not opened is text.
// - \( \) \[ \] \\ stand for the character; any other backslash is dropped.
// - BREAK, in capitals and as a word, ends a chunk.
// Text without any of this, up to 75 tokens, gives exactly the ids of the plain syntax. Neighbours of equal weight are
// tokenized as one text; chunks are filled to 75 tokens, without looking for a comma. Differences: BREAK works inside
// of brackets too, a colon before something that is no number ("(a:1.2.3)") is text, and weights stay within
// +-SDG_PROMPT_WEIGHT_MAX.
enum sdg_prompt_syntax {
    SDG_PROMPT_A1111,
    SDG_PROMPT_PLAIN, // text as it is; more than 75 tokens are cut to begin + 75 + end
};

enum { SDG_PROMPT_MAX_CHUNKS = 16, SDG_PROMPT_WEIGHT_MAX = 1000 };

struct sdg_prompt_tokens {
    // >= 1; 1 for plain. With A1111 syntax a longer prompt becomes several chunks of begin + 75 + end, at most 16
    int chunks;
    int length;     // of a chunk, N: the tokenizer's. What is said of 77 and 75 above holds of N and N - 2
    int32_t *ids;   // [chunks][N]: begin, up to N - 2 tokens, end, padding
    float *weights; // [chunks][N], 1 for begin, end, padding
    bool weighted;  // any weight differs from 1
    bool truncated; // something was cut
    char cut[64];   // how it begins, shortened
};

// Fills *out, which sdg_prompt_tokens_clear releases. On failure *out is all zero.
enum sdg_result sdg_prompt_tokenize(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                    enum sdg_prompt_syntax syntax, const char *text, struct sdg_prompt_tokens *out);
void sdg_prompt_tokens_clear(struct sdg_prompt_tokens *tokens);
// The same, and each token with where it comes from, those that were cut off too: *tokens [*count] is freed with
// sdg_free.
enum sdg_result sdg_prompt_trace(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                 enum sdg_prompt_syntax syntax, const char *text, struct sdg_prompt_tokens *out,
                                 struct sdg_prompt_token **tokens, size_t *count);
// Appends empty chunks (begin, end, padding) up to `chunks`, so that prompt and negative prompt have the same length.
// Nothing to do where there are as many already. On failure *tokens is as it was.
enum sdg_result sdg_prompt_pad_chunks(const struct sdg_tokenizer *t, const struct sdg_log *log,
                                      struct sdg_prompt_tokens *tokens, int chunks);
// webui's weighting of an embedding [chunks*N, dim]: multiply each token by its weight, then scale each chunk of N x
// dim, on its own, back to the mean that it had. A chunk where every weight is 1 is left as it is, and one whose new
// mean is 0 is not scaled.
void sdg_prompt_apply_weights(const struct sdg_prompt_tokens *tokens, float *embedding, int dim);

#endif
