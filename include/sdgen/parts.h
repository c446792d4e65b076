// The stages of a picture one by one: what a prompt becomes, and the autoencoder alone. sdg_generate needs none of
// this; it is for programs that show what was cut from a prompt, keep or mix embeddings, or work on latents.
//
//     struct sdg_embedding *embedding = NULL;
//     const struct sdg_prompt_params what = {.prompt = "a (red:1.2) apple"};
//     if (sdg_encode_prompt(pipeline, &what, &embedding) == SDG_OK)
//         ... sdg_generate with .embedding = embedding, .cfg_scale = sdg_number(1) ...
//     sdg_embedding_destroy(&embedding);
//
// All calls use the pipeline: one at a time, with its log, sdg_pipeline_error and sdg_cancel.
#ifndef SDGEN_PARTS_H
#define SDGEN_PARTS_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- prompts ----

struct sdg_prompt_params {
    const char *prompt; // as sdg_generate_params.prompt; NULL = ""
    bool negative;      // it is a negative prompt: AND is a word
    bool plain;         // as sdg_generate_params.plain_prompt
    int steps;          // of which [from:to:when] tells; 0 = the model's, as in sdg_generate_params
    int clip_skip;      // as sdg_generate_params.clip_skip
    int chunks;         // at least so many, the last ones empty, at most 16: to be as long as another prompt; 0 = 1
    sdg_progress_fn progress; // NULL = none
    void *progress_user;
};

// A token of a text, without those that begin, end and fill a chunk.
struct sdg_prompt_token {
    int32_t id;
    float weight;      // of (a:1.2) and the like, 1 without
    int chunk;         // 0-based; of a token that was cut off: sdg_prompt_text.chunks
    size_t begin, end; // bytes of `text` from which it was made; tokens that share a character all have its bytes
};
// A text that the text encoder is asked: one, or with AND, [from:to:when] and [a|b] one for each of what they say.
struct sdg_prompt_text {
    char *text;                      // as the prompt has it, weights and all
    int chunks;                      // of sdg_pipeline_info.prompt_tokens
    int *chunk_tokens;               // [chunks] how many in each
    int token_count, cut;            // all, and how many of these, the last ones, were cut off for want of room
    struct sdg_prompt_token *tokens; // [token_count]
};
// A word that the model's captions did not have.
struct sdg_unknown_word {
    char *word;    // in lower case
    char *nearest; // one that they had and that differs in few letters; NULL = none
};
// Of a prompt and a model: one object with all that it points to, only to be read.
struct sdg_prompt_report {
    int room; // for tokens in a chunk: 75
    int text_count;
    struct sdg_prompt_text *texts;    // [text_count]
    bool words_known;                 // the model says which words its captions had (words.txt)
    int unknown_count;                // each word once
    struct sdg_unknown_word *unknown; // [unknown_count]
};
// What a prompt is to this model, without computing anything. Refuses what sdg_generate would refuse. *out is the
// caller's (sdg_prompt_report_destroy), NULL on failure, and independent of the pipeline.
SDG_API enum sdg_result sdg_pipeline_check_prompt(struct sdg_pipeline *pipeline, const struct sdg_prompt_params *params,
                                                  struct sdg_prompt_report **out);
SDG_API void sdg_prompt_report_destroy(struct sdg_prompt_report **report);

// Prompt -> what the UNet takes, with its weights and BREAKs in it: one embedding is one text. SDG_ERROR_UNSUPPORTED
// where the prompt is several: AND, [from:to:when], [a|b]. Drawing with embeddings of a prompt and its negative prompt
// gives the picture that drawing with the prompts gives, if both have as many chunks as the longer one of them (see
// `chunks`). For SDXL an absent negative prompt is not "" but, with most models, zeros: `prompt` NULL and `negative`
// make them. *out is the caller's (sdg_embedding_destroy), NULL on failure, and independent of the pipeline.
SDG_API enum sdg_result sdg_encode_prompt(struct sdg_pipeline *pipeline, const struct sdg_prompt_params *params,
                                          struct sdg_embedding **out);
// Of embeddings that the library made; one of the caller's own is the caller's to free.
SDG_API void sdg_embedding_destroy(struct sdg_embedding **embedding);

// ---- the autoencoder ----
// Latents are [latent_channels][height / factor][width / factor] of sdg_pipeline_info, scaled as the UNet sees them.
// Whole or in tiles, as the pipeline's parameters say and memory allows.

struct sdg_encode_params {
    struct sdg_pixels picture; // sides multiples of sdg_pipeline_info.factor
    // false: the mean of what the autoencoder gives; true: drawn from it with seed and rng, as for an init image. Of no
    // meaning for autoencoders that give the latent itself (TAESD)
    bool sample;
    uint64_t seed;            // used as it is
    const char *rng;          // as sdg_generate_params.rng
    sdg_progress_fn progress; // NULL = none
    void *progress_user;
};
// Picture -> latent. `latent` [numbers] is the caller's; `numbers` must be what the picture's size makes. On failure it
// is undefined. SDG_ERROR_USAGE where the autoencoder is only a decoder (sdg_pipeline_info.encodes).
SDG_API enum sdg_result sdg_encode_picture(struct sdg_pipeline *pipeline, const struct sdg_encode_params *params,
                                           float *latent, size_t numbers);

struct sdg_decode_params {
    const float *latent;      // finite
    size_t numbers;           // of latent: must be what the picture's size makes
    sdg_progress_fn progress; // NULL = none
    void *progress_user;
};
// Latent -> picture in the caller's memory, whose size says the latent's: sides are multiples of
// sdg_pipeline_info.factor. On failure what `pixels` points to is undefined.
SDG_API enum sdg_result sdg_decode(struct sdg_pipeline *pipeline, const struct sdg_decode_params *params,
                                   const struct sdg_pixels *pixels);

#ifdef __cplusplus
}
#endif
#endif
