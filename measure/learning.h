// One call of sdg_learn as it runs: what its files share.
#ifndef SDG_MEASURE_LEARNING_H
#define SDG_MEASURE_LEARNING_H

#include "learn/block_learner.h"
#include "measure/learn_state.h"
#include "measure/trajectory.h"
#include "sdgen/learn.h"

struct sdg_learning {
    const struct sdg_learn_params *params;
    struct sdg_log log;
    struct sdg_learn_options options;
    struct sdg_pipeline_params opening; // of both models, without their paths
    char *full_path, *state_path;
    struct sdg_pipeline *full, *quantized; // quantized: with what has been learned so far
    struct sdg_backend *backend;           // that blocks are learned on
    struct sdg_trajectory *trajectories;   // [prompt_count]
    struct sdg_learn_state *state;
    char **blocks; // [block_count] their names, in order of execution
    size_t block_count, block_capacity;
    size_t samples;      // of each block
    double began;        // clock before the first block
    int64_t done, total; // updates of blocks that had not been learned before
};

// How a prompt's picture is drawn, and replayed.
struct sdg_generate_params sdg_learning_prompt(const struct sdg_learning *learning, size_t prompt);
// Learns one block of `network`, the step's graph with the samples of a batch, and writes the state.
enum sdg_result sdg_learning_block(struct sdg_learning *learning, const char *name, const struct sdg_graph *network);
// Tells the caller of a block that is done. marker[3] is the state's; seconds 0: in an earlier call.
void sdg_learning_tell(const struct sdg_learning *learning, const char *name, const float *marker, size_t layers,
                       double seconds);

#endif
