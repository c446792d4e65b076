// Quantization: from a model and the statistics of its activations to a model with integer weights, which sdgen loads
// like any other.
#ifndef SDGEN_QUANTIZE_H
#define SDGEN_QUANTIZE_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_quantize SDG_LINK_NAME(sdg_quantize_, SDG_API_VERSION)
#define sdg_rotate SDG_LINK_NAME(sdg_rotate_, SDG_API_VERSION)

struct sdg_quantize_site {   // a value that integer weights read
    const char *name, *kind; // kind: "symmetric" or "silu"
    const char *rule;        // where its interval comes from: "static", "table", .. as params.intervals
    size_t channels;
    size_t tokens;           // that have an interval of their own, or 1
    double correlation;      // Pearson's r between timestep and range
    double gain;             // share of a static interval's error that this one avoids
    double sqnr, worst_sqnr; // dB, mean and worst over the calibrated steps
    double worst_at;         // timestep of the worst
};
struct sdg_quantize_module { // a tensor of integer weights
    const char *name;
    int bits;
    size_t weights;
    bool gptq;   // rounded with a Hessian; false: each weight to the nearest
    double sqnr; // dB
};
struct sdg_quantize_report {
    const char *network;             // what was quantized: "UNet", or a classifier's "network"
    const char *scheme, *statistics; // statistics: 16 hexadecimal digits, "" when none were needed
    // the worst (by sqnr) first; none when activations stay floating point or there are no statistics
    const struct sdg_quantize_site *sites; // [site_count]
    size_t site_count;
    const struct sdg_quantize_module *modules; // [module_count] the worst first
    size_t module_count;
    size_t float_modules;             // that could have integer weights and were kept as they are, as asked for
    double bytes_before, bytes_after; // of its tensors; after: also those that the base holds for a delta
    double bytes_stored;              // of its tensors that are in this folder
    double seconds;
};

struct sdg_quantize_params {
    const char *model; // diffusers folder
    // of sdg_collect, of this model; may be NULL for rules that need none (w8a16, w4a16, dynamic)
    const char *statistics;
    const char *output; // folder to write: appears complete or not at all
    const char *scheme; // "w8a8-tdq", "w4a16", ...; NULL = from scheme_file
    // JSON: {"scheme", "skip": [regex], "group", "overrides": [{"match": regex, "weight_bits": 4, 6, 8 or 16}],
    // "tokens": [regex of sites that have intervals by token where the rule has them; absent: all that can],
    // "scan_codes": Mamba's scans read x as codes, "scan_operands": [regex of operands of scans and causal convolutions
    // that become codes, too: of statistics with scan_operands]}; NULL = none
    const char *scheme_file;
    // in place of the scheme's rule: "static", "table", "tdq", "dynamic", or with an interval for each token where the
    // statistics keep tokens "token", "table-token", "tdq-token"; NULL = the scheme's
    const char *intervals;
    // [skip_count] POSIX extended regular expressions: modules whose names have a match stay floating point
    const char *const *skip;
    size_t skip_count;
    const char *hessians; // of sdg_collect: round by GPTQ where it has a layer's; NULL = each weight to the nearest
    // inputs per weight scale, weight-only schemes; 0 = a scale per output channel (or what scheme_file says)
    int group;
    uint64_t seed; // of the interval generators' fits
    // p of the |error|^p that intervals make small, 1 to 8; the less, the more of the tails they cut off for finer
    // steps. default 2.4, but 2 for intervals over time of sites that keep no tokens
    struct sdg_number error_power;
    bool keep_smoothing; // smoothing vectors stay by themselves, as sdg_learn wants them, instead of being part of
                         // weights
    bool delta;          // leave out what the base has, and name the base by its relative path
    bool force;          // replace `output` if it is a folder that this function wrote
    int threads;         // 0 = one a core, as in sdgen.h; the result does not depend on it
    // stages "weights", "intervals"; may be called from any thread, one call at a time; false cancels
    sdg_progress_fn progress;
    void *progress_user;
    // after the folder is complete
    void (*report)(void *user, const struct sdg_quantize_report *report);
    void *report_user;
    struct sdg_log log;
};

// Rounds weights, fits intervals and writes the folder. SDG_ERROR_USAGE for schemes, expressions and numbers that are
// not legal, SDG_ERROR_INPUT for statistics of another model, SDG_ERROR_OUTPUT when `output` exists.
SDG_API enum sdg_result sdg_quantize(const struct sdg_quantize_params *params);

struct sdg_rotate_params {
    const char *model;  // diffusers folder, not quantized, with Mamba blocks
    const char *output; // folder to write, which must not exist: appears complete or not at all
    struct sdg_log log;
};
// Writes the same model with a Hadamard transform before the blocks' out_proj and its inverse in their weights (Quamba,
// arXiv 2410.13229): it computes what `model` computes, but its codes lose less, as outliers are spread over channels.
// The folder holds what differs, and names `model` as its base. It is calibrated and quantized like any other.
SDG_API enum sdg_result sdg_rotate(const struct sdg_rotate_params *params);

#ifdef __cplusplus
}
#endif
#endif
