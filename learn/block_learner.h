// Learning how a block is quantized, by gradients of what its result loses (the joint learning of PTQ4VM, Cho et al.,
// arXiv 2412.20386): weight steps, activation scales and smoothing vectors of all its quantized linear layers together.
// Weights themselves, zero points and everything that stays float are constant.
//
// Everything learned is a factor of what it began as, in the logarithm:
//     scale[row][l] = start[row][l] exp(a[l]),  step[n] = start[n] exp(w[n]),  sigma[k] = start[k] exp(s[k])
// with a = w = s = 0 at first and 1 / sigma the smoothing. So nothing gets a sign, decay pulls back to the start, and a
// scale that depends on the denoising step keeps its course over the steps: one a[l] for all rows. An update of AdamW
// moves a parameter by about its rate; those of scales and steps are counted in codes, by how many of them the
// outermost one's value moves, so that one rate fits any number of bits: at 8 bits a step that changes by a percent
// moves most weights to another code, at 4 bits a few of them.
//
// The loss compares the block's result with the float block's. PTQ4VM's is the cosine of each token, which does not see
// its length and counts a token that adds little to the network's stream as much as one that adds much; the relative
// error does neither, and is the default (docs/ptq4vm.md has what each is worth). An update sums the gradients of
// `runs` batches, each of samples of one row, because a run has one interval per token. Rates fall to zero along half a
// cosine.
#ifndef SDG_LEARN_BLOCK_LEARNER_H
#define SDG_LEARN_BLOCK_LEARNER_H

#include "backend/backend.h"
#include "graph/extract.h"
#include "quant/learnable.h"

struct sdg_learn_options {
    enum sdg_learn_loss loss;
    int updates;
    int runs;                            // batches of an update
    double weight_rate, activation_rate; // codes, see above
    double smoothing_rate;               // relative change
    double decay, clip;                  // learn/adamw.h
    uint64_t seed;                       // of the order of samples
};
enum { SDG_LEARN_MAX_BATCH = 256 };

// 50 updates of 4 batches, rates 0.04, 0.01 and 0.005, decay 1e-5, gradients clipped to 2.
struct sdg_learn_options sdg_learn_defaults(void);

// What the block saw and what it should answer. Arrays are the caller's.
struct sdg_learn_samples {
    size_t count;
    const size_t *rows;                    // [count] the row of each sample, below the problem's `rows`
    const float *inputs[SDG_BLOCK_INPUTS]; // [count][elements of one sample]
    const float *targets;                  // [count][elements of one sample]
};

struct sdg_learn_problem {
    struct sdg_backend *backend;
    const struct sdg_log *log;
    const struct sdg_graph *block;     // of sdg_block_extract; the batch of its values is the samples of a run
    const struct sdg_tensors *weights; // float
    const struct sdg_learnable *what;
    size_t rows;
    // the start
    const float *const *scales, *const *zeros; // [sites] of [rows][tokens]; zeros NULL: 0
    const float *const *smoothing;             // [sites] of [channels]; a NULL: stays 1
    const float *const *steps;                 // [layers] of [outputs]
    struct sdg_learn_samples learned, held;    // held: held back, to see whether something was learned; may be empty
};

struct sdg_learned {   // owned; free with sdg_learned_clear
    float **factors;   // [sites] of [tokens]: scales of all rows times these
    float **smoothing; // [sites] of [channels]; NULL where there is none
    float **steps;     // [layers] of [outputs]
    // on the samples held back (on those learned from if there are none), at first and with what is returned
    double loss_before, loss_after;
    bool better; // false: nothing was gained on them, and everything is as it was
    size_t site_count, layer_count;
};

// Called after each update; false cancels (SDG_ERROR_CANCELLED, with no message).
typedef bool (*sdg_learn_progress_fn)(void *user, int update, int updates, double loss);

// Same problem, options and backend: same bytes, with any number of threads. SDG_ERROR_COMPUTE if loss or gradients are
// not finite; SDG_ERROR_UNSUPPORTED for blocks that read tables or have operations without a rule.
enum sdg_result sdg_learn_block(const struct sdg_learn_problem *problem, const struct sdg_learn_options *options,
                                sdg_learn_progress_fn progress, void *user, struct sdg_learned *out);
void sdg_learned_clear(struct sdg_learned *learned);

// Results of the float block: results[count][elements of one sample].
enum sdg_result sdg_learn_targets(struct sdg_backend *backend, const struct sdg_graph *block,
                                  const struct sdg_tensors *weights, const float *const inputs[], size_t count,
                                  float *results);

#endif
