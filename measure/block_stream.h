// What a block of the UNet sees while latents of a trajectory go through the network: samples to learn the block from.
#ifndef SDG_MEASURE_BLOCK_STREAM_H
#define SDG_MEASURE_BLOCK_STREAM_H

#include "graph/extract.h"
#include "measure/trajectory.h"

struct sdg_block_stream { // owned; free with sdg_block_stream_clear. Zeroed = empty
    size_t count, input_count;
    size_t elements[SDG_BLOCK_INPUTS]; // of one sample
    float *inputs[SDG_BLOCK_INPUTS];   // [count][elements]
    size_t *rows;                      // [count] the call in which it was seen
    size_t capacities[SDG_BLOCK_INPUTS + 1];
};

// Runs p's UNet, whatever it computes in, on every point of a trajectory of the same parameters and appends what the
// operations "BLOCK.*" read (graph/extract.h): of a quantized network the values before they become codes. p->hooks are
// replaced meanwhile, and its UNet is compiled anew.
enum sdg_result sdg_block_stream_record(struct sdg_pipeline *p, const struct sdg_generate_params *generate,
                                        const struct sdg_trajectory *trajectory, const char *block,
                                        struct sdg_block_stream *stream);
// The same for whoever runs a network: the rewrite that lets a block's inputs be read, of a fused graph before it is
// quantized, and what is to be called after each run of `row`, for the first `samples` of the batch.
enum { SDG_RECORDER_NAME_BYTES = 256 };
struct sdg_block_recorder {
    const struct sdg_log *log;
    const char *block;
    struct sdg_block_stream *stream;
    char names[SDG_BLOCK_INPUTS][SDG_RECORDER_NAME_BYTES]; // what each input is read as
    size_t batch;
};
enum sdg_result sdg_block_recorder_mark(struct sdg_block_recorder *recorder, struct sdg_graph *graph);
enum sdg_result sdg_block_recorder_read(struct sdg_block_recorder *recorder, struct sdg_program *program, size_t row,
                                        size_t samples);
void sdg_block_stream_clear(struct sdg_block_stream *stream);

#endif
