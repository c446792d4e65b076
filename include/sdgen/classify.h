// Classifying pictures with a Vision Mamba network: the kind that quantization by token positions was made for, small
// enough to study it on. sdvim is the program.
//
//     struct sdg_classifier *classifier;
//     const struct sdg_classifier_params params = {.model = "models/vim-digits"};
//     if (sdg_classifier_create(&params, &classifier) == SDG_OK)
//         sdg_classify(classifier, pictures, count, logits); // the largest logit of a picture is its class
#ifndef SDGEN_CLASSIFY_H
#define SDGEN_CLASSIFY_H

#include "sdgen/learn.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_classifier_create SDG_LINK_NAME(sdg_classifier_create_, SDG_API_VERSION)
#define sdg_classifier_learn SDG_LINK_NAME(sdg_classifier_learn_, SDG_API_VERSION)

struct sdg_classifier_params {
    const char *model;   // folder with config.json (model_type "vim") and model.safetensors
    const char *backend; // "auto", "cpu", "vulkan", "vulkan:1", "reference"; NULL = auto
    const char *type;    // "f32", "f16", "bf16"; NULL = f32
    int threads;         // as in struct sdg_pipeline_params
    int batch;           // pictures that are computed at once, 1..4096; 0 = 64
    bool validation;     // as in struct sdg_pipeline_params, as are the next three
    const char *disable, *cpu_mask, *cache_dir;
    struct sdg_log log;
};

struct sdg_classifier_info {
    int image_size, channels; // of a picture: image_size pixels a side; 1 (brightness) or 3 (red, green, blue)
    int classes;
    int tokens;                 // patches and the class token
    double white;               // what a white pixel is in the arrays of sdg_classify; black is 0
    const char *scheme;         // of a quantized model ("w8a8-static"); NULL = it is none
    const char *backend, *type; // in use
}; // strings are valid as long as the classifier

// An open and compiled network. One thread uses it at a time.
struct sdg_classifier;

// Opens and checks the model and compiles it. *out is the caller's.
SDG_API enum sdg_result sdg_classifier_create(const struct sdg_classifier_params *params, struct sdg_classifier **out);
SDG_API void sdg_classifier_destroy(struct sdg_classifier **classifier);
SDG_API void sdg_classifier_info(const struct sdg_classifier *classifier, struct sdg_classifier_info *out);

// pictures [count][channels][image_size][image_size] -> logits [count][classes]. SDG_ERROR_USAGE for pixels that are
// not finite; SDG_ERROR_COMPUTE for logits that are not.
SDG_API enum sdg_result sdg_classify(struct sdg_classifier *classifier, const float *pictures, size_t count,
                                     float *logits);

// Statistics of the activations, for sdg_quantize: what sdg_collect is for models that draw. Files merge in the same
// way (sdg_collect_merge), each picture being what a prompt is there.
struct sdg_classifier_collect_params {
    const float *pictures; // as for sdg_classify, the same for all shards
    size_t count;
    const char
        *settings;     // where they come from, in the caller's words: files that differ in it do not merge. NULL = ""
    int shard, shards; // 1 <= shard <= shards: this run takes pictures shard-1, shard-1+shards, ..; 0, 0 = all
    bool relative;     // as in struct sdg_collect_params, as are the next four
    const char *smooth;
    struct sdg_number smooth_alpha;
    const char *smooth_scheme;
    bool scan_operands;
    const char *output; // statistics file (safetensors), must not exist
};
// Records every site of a full-precision network, each token by itself. The classifier should compute in f32.
SDG_API enum sdg_result sdg_classifier_collect(struct sdg_classifier *classifier,
                                               const struct sdg_classifier_collect_params *params);

// What sdg_learn is for models that draw: learns the blocks of a quantized classifier from pictures [count][..], as for
// sdg_classify, of which the last eighth is held back. Of `params` quantized, model (which is needed), module (NULL =
// mixer), updates, rates, state, resume, order_seed, generate's progress, pipeline's threads, cpu_mask and log, and the
// callbacks count.
SDG_API enum sdg_result sdg_classifier_learn(const struct sdg_learn_params *params, const float *pictures,
                                             size_t count);

#ifdef __cplusplus
}
#endif
#endif
