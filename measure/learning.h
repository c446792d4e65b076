// One call of sdg_learn, or of sdg_classifier_learn, as it runs: what their files share.
#ifndef SDG_MEASURE_LEARNING_H
#define SDG_MEASURE_LEARNING_H

#include "formats/quantized_folder.h"
#include "learn/block_learner.h"
#include "measure/block_stream.h"
#include "measure/learn_state.h"
#include "measure/trajectory.h"
#include "sdgen/learn.h"

struct sdg_learning;

// The two networks, the full-precision one and the quantized one with what has been learned so far, whoever runs them.
struct sdg_learning_networks {
    const struct sdg_tensors *weights, *stored; // of both
    const struct sdg_quantized *quantized;
    const double *timesteps; // [rows]
    size_t rows;
    size_t parts; // prompts or pictures, of which the last eighth is held back; each gives equally many samples
    // Appends what the block reads in one of both, over all parts in their order.
    enum sdg_result (*record)(struct sdg_learning *learning, bool quantized, const char *block,
                              struct sdg_block_stream *stream);
    void *user; // of whoever runs them
};

struct sdg_learning {
    const struct sdg_learn_params *params;
    struct sdg_log log;
    struct sdg_learn_options options;
    struct sdg_pipeline_params opening; // of both models, without their paths
    char *full_path, *state_path;
    struct sdg_learning_networks networks;
    struct sdg_pipeline *full, *quantized; // NULL where no pipeline runs them
    struct sdg_backend *backend;           // that blocks are learned on
    struct sdg_trajectory *trajectories;   // [prompt_count]
    struct sdg_learn_state *state;
    char **blocks; // [block_count] their names, in order of execution
    size_t block_count, block_capacity;
    size_t samples;      // of each block
    double started;      // clock when the call began
    double began;        // clock before the first block
    int64_t done, total; // updates of blocks that had not been learned before
};

// Where the time and the memory of the report begin.
void sdg_learning_start(struct sdg_learning *learning);
// Options from params, checked.
enum sdg_result sdg_learning_options(struct sdg_learning *learning);
// QUANTIZED.learning, where the caller names no other file, in state_path; for sdg_free.
enum sdg_result sdg_learning_state_path(struct sdg_learning *learning);
// Finds the blocks: everything in modules of the name that is asked for.
enum sdg_result sdg_learning_list(struct sdg_learning *learning, const struct sdg_graph *network);
// All blocks of `network`, the graph with the samples of a batch, in their order, then sdg_learning_fold; before each,
// `open` opens the quantized network with what has been learned, and fills `networks`.
enum sdg_result sdg_learning_blocks(struct sdg_learning *learning, const struct sdg_graph *network,
                                    enum sdg_result (*open)(struct sdg_learning *learning));
// Puts what was learned into the folder, removes the state's file, and reports.
enum sdg_result sdg_learning_finish(const struct sdg_learning *learning, const struct sdg_quantized_files *files);
// Frees what the fields hold but for the networks.
void sdg_learning_clear(struct sdg_learning *learning);
// How a prompt's picture is drawn, and replayed.
struct sdg_generate_params sdg_learning_prompt(const struct sdg_learning *learning, size_t prompt);
// Learns one block of `network`, the step's graph with the samples of a batch, and writes the state.
enum sdg_result sdg_learning_block(struct sdg_learning *learning, const char *name, const struct sdg_graph *network);
// Smoothing vectors become part of what makes the smoothed values where that can be, in the state (which is not
// written); the others are in it then, learned or not. `networks` are those with everything learned.
enum sdg_result sdg_learning_fold(struct sdg_learning *learning, const struct sdg_graph *network);
// Of SITE.input_smoothing: by its name, and whether it has been folded.
bool sdg_learning_is_multiplier(const char *name);
bool sdg_learning_is_folded(const struct sdg_learning *learning, const struct sdg_tensor *multiplier);
// Tells the caller of a block that is done. marker[3] is the state's; seconds 0: in an earlier call.
void sdg_learning_tell(const struct sdg_learning *learning, const char *name, const float *marker, size_t layers,
                       double seconds);

#endif
