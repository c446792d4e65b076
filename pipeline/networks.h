// The networks of a picture: what each is and needs, as a table, and programs made of it.
#ifndef SDG_PIPELINE_NETWORKS_H
#define SDG_PIPELINE_NETWORKS_H

#include "pipeline/job.h"

enum sdg_residency {   // how long a program is there
    SDG_RESIDENT_ONCE, // while a new prompt is encoded, before anything else of the picture
    SDG_RESIDENT_FILL, // while it fills the tables of its stage's main program, whose activations are not in use yet
    // In p->kept until its stage is over, or for the next picture as well where the job keeps networks. These are where
    // a picture's time goes: a plan lists their kernels.
    SDG_RESIDENT_KEPT,
    SDG_RESIDENT_CALL, // while it runs, in every picture
};

struct sdg_network_row {
    const char *name; // in the memory plan
    struct {
        const char *name; // in sdg_bench_params; NULL: it is not timed by itself
        int samples;      // of one run in a batch of 1; 2 = a guidance pair
    } timed;
    enum sdg_stage stage; // whose backend it runs on, and in whose type
    enum sdg_residency residency;
    bool tiles;                         // may run in tiles when memory is short
    bool exact;                         // f32 whatever the stage's type is: it runs once
    bool rewritten;                     // p->hooks look at it, and quantized models change it
    enum sdg_network_kind loads_during; // another network's last run, by another thread
    bool (*wanted)(const struct sdg_pipeline *p, const struct sdg_job *job); // NULL: by every job
    // `tokens`: of each prompt, a multiple of the tokenizer's length (77).
    struct sdg_network_shape (*shape)(const struct sdg_pipeline *p, const struct sdg_job *job, int64_t tokens);
    enum sdg_result (*build)(const struct sdg_pipeline *p, const struct sdg_network_shape *shape,
                             struct sdg_graph **out); // fused; what is made is the caller's also after a failure
    const struct sdg_tensors *(*weights)(const struct sdg_model *model);
    // Of those that fill: for how many runs what they make is kept on the host, because the runs differ in it.
    int (*kept)(const struct sdg_pipeline *p, const struct sdg_branch_groups *groups);
    // Bytes that the pipeline itself needs beside the program; NULL: none worth counting.
    size_t (*host)(const struct sdg_pipeline *p, const struct sdg_job *job, const struct sdg_network_shape *shape);
};
const struct sdg_network_row *sdg_network_row(enum sdg_network_kind kind);

// Branches of a picture that the UNet runs at once: the prompt and its negative, or one.
int sdg_unet_batch(const struct sdg_job *job);
// Whether the time tables differ between the runs of one call.
bool sdg_keeps_times(const struct sdg_pipeline *p, const struct sdg_branch_groups *groups);
// The shape in which a job needs a network.
struct sdg_network_shape sdg_network_shape(const struct sdg_pipeline *p, const struct sdg_job *job,
                                           enum sdg_network_kind kind, int64_t tokens);
// The graph as the model has it, fused.
enum sdg_result sdg_network_build(const struct sdg_pipeline *p, enum sdg_network_kind kind,
                                  const struct sdg_network_shape *shape, struct sdg_graph **out);
// The graph as it is compiled: rewritten for hooks and quantized models, with its type.
enum sdg_result sdg_network_graph(const struct sdg_pipeline *p, enum sdg_network_kind kind,
                                  const struct sdg_network_shape *shape, struct sdg_graph **out);
// A program that runs, and one that only tells its memory and kernels.
enum sdg_result sdg_network_compile(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                    const struct sdg_network_shape *shape, struct sdg_program **out);
enum sdg_result sdg_network_plan(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                 const struct sdg_network_shape *shape, struct sdg_program **out);
// Whether the stage's device can run it at all; nothing is said if not. A failure of another kind is reported.
enum sdg_result sdg_network_supported(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                      const struct sdg_network_shape *shape, bool *supported);
// Makes p->kept[kind] a program of this shape, unless it is one already. `made` (may be NULL): whether it is a new one.
// Different networks can be prepared by different threads.
enum sdg_result sdg_network_prepare(struct sdg_pipeline *p, enum sdg_network_kind kind,
                                    const struct sdg_network_shape *shape, bool *made);
// Ends what is kept of one network, and of all.
void sdg_network_clear(struct sdg_pipeline *p, enum sdg_network_kind kind);
void sdg_networks_clear(struct sdg_pipeline *p);
// Whether any network is kept.
bool sdg_networks_kept(const struct sdg_pipeline *p);
// Bytes of these.
size_t sdg_networks_kept_bytes(const struct sdg_pipeline *p);

#endif
