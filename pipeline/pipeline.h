// What the files of pipeline/ share: the pipeline object, a job (one picture, all parameters resolved) and the stages.
#ifndef SDG_PIPELINE_PIPELINE_H
#define SDG_PIPELINE_PIPELINE_H

#include "backend/backend.h"
#include "formats/model.h"
#include "pipeline/correction.h"
#include "quant/quantized.h"
#include "scheduler/sampler.h"
#include "sdgen/sdgen.h"
#include "text/prompt.h"

enum sdg_stage { SDG_STAGE_TEXT, SDG_STAGE_UNET, SDG_STAGE_VAE, SDG_STAGE_COUNT };

// A program and what it was made for, so that the next picture can use it again.
struct sdg_network {
    struct sdg_program *program;
    int64_t key[6];
};

// Prompt embeddings as the UNet takes them; kept for the next picture.
struct sdg_context {
    char *prompt, *negative; // what they were made from; NULL = nothing kept
    int clip_skip;
    bool plain, guidance;
    int batch;  // 1, or 2: negative prompt first
    int tokens; // 77 * chunks
    int dim;
    float *embedding; // [batch][tokens][dim]
    int pooled_dim;   // SDXL, else 0
    float *pooled;    // [batch][pooled_dim]
};

struct sdg_stage_backend {
    char name[16]; // "cpu", "vulkan", "reference"
    int device;
    enum sdg_dtype dtype;
    struct sdg_backend *backend;
};

// Lets calibration and evaluation change the UNet's step graph (after fusion, before its type is set) and look at every
// run of it.
struct sdg_hooks {
    enum sdg_result (*rewrite)(void *user, struct sdg_graph *graph);
    enum sdg_result (*after_run)(void *user, struct sdg_program *program, int call);
    void *user;
};

struct sdg_pipeline {
    struct sdg_log log;
    struct sdg_hooks hooks;
    struct sdg_pipeline_params params; // numbers only are used after creation; strings are resolved
    unsigned disable;                  // enum sdg_feature
    char *cache_dir, *model_name;
    struct sdg_model *model;
    struct sdg_quantized *quantized;   // NULL: a floating-point model
    struct sdg_correction *correction; // of its outputs; NULL = none
    struct sdg_tokenizer *tokenizer[2];
    struct sdg_stage_backend stage[SDG_STAGE_COUNT];
    struct sdg_context context;
    struct sdg_network unet, decoder;
    int64_t context_serial; // raised when the context changes
    int64_t unet_context;   // serial of the context whose keys and values are in `unet`
    bool planned_before;    // kernels of an earlier picture are part of the process already
    size_t bare;            // bytes of the process without anything that a picture left behind
};

// One picture, everything resolved and checked.
struct sdg_job {
    const struct sdg_generate_params *params;
    const char *prompt, *negative; // never NULL
    bool negative_absent;
    int width, height; // pixels
    int latent_w, latent_h, latent_c;
    size_t latent_elements;
    double cfg_scale;
    bool guidance;           // two branches
    bool guidance_embedding; // LCM
    bool split_guidance;     // the branches one after the other, when memory is short
    bool keep_networks;      // UNet and decoder stay for the next picture, where memory allows it
    bool tile_vae;
    int tile; // latent pixels
    int tile_step;
    enum sdg_method method;
    enum sdg_schedule schedule;
    struct sdg_sampler *sampler;
    struct sdg_scheduler_config scheduler;
    struct sdg_rng rng, sampler_rng;
    bool one_rng;
    int clip_skip; // 1..layers as sdg_text_params.skip
    int64_t seed;
    int steps;
    double strength, start; // start: clock at the beginning of the call
    bool latent_only;       // no decoder is prepared
    bool full_strength;     // inpainting with strength 1 starts from noise alone
    double planned;         // bytes
    double decode_share;    // estimated decode time in units of one sampling step
};

// ---- job.c ----
enum sdg_result sdg_job_create(struct sdg_pipeline *p, const struct sdg_generate_params *params, struct sdg_job *job);
void sdg_job_clear(struct sdg_job *job);
double sdg_default_cfg_scale(const struct sdg_model *model);
// The model's UNet takes mask and masked picture besides the latent.
bool sdg_inpaints(const struct sdg_model *model);

// ---- stages ----
// text.c: fills p->context for the job (or keeps it). The encoder is gone when this returns.
enum sdg_result sdg_stage_text(struct sdg_pipeline *p, struct sdg_job *job);
void sdg_context_clear(struct sdg_pipeline *p);
// latents.c: what the loop starts from. All planar, [c][h][w].
struct sdg_start {
    float *latent;
    float *noise;   // the first draw
    float *picture; // latent of the init image; NULL where it is not needed
    float *mask;    // [h][w], 1 = painted anew; NULL = no inpainting
    float *masked;  // inpainting models: latent of the init image with the masked part grey; else NULL
};
enum sdg_result sdg_start_create(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *out);
void sdg_start_clear(struct sdg_start *start);
// sample.c: start->latent is denoised in place.
enum sdg_result sdg_stage_sample(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *start);
// Text and sampling stages of one picture for the sake of p->hooks and callbacks; the last latent is dropped, the
// networks stay.
enum sdg_result sdg_sample_latents(struct sdg_pipeline *p, const struct sdg_generate_params *generate);
// Its beginning: the step's program in p->unet with everything that depends on the timesteps or on the prompt alone in
// its tables.
enum sdg_result sdg_sample_prepare(struct sdg_pipeline *p, struct sdg_job *job, int batch);
// decode.c: the decoder is prepared (by another thread during the last step), then latent -> picture.
// Size of one run of the autoencoder in latent pixels: a tile, or the whole.
void sdg_tile_size(const struct sdg_job *job, int64_t *h, int64_t *w);
enum sdg_result sdg_decoder_prepare(struct sdg_pipeline *p, const struct sdg_job *job);
enum sdg_result sdg_stage_decode(struct sdg_pipeline *p, struct sdg_job *job, const float *latent,
                                 struct sdg_image **out);
// Image [height][width][3] in -1..1 -> latent sample (scaled), drawing the posterior's noise from the job's generator.
enum sdg_result sdg_stage_encode(struct sdg_pipeline *p, struct sdg_job *job, const float *image, float *latent);

// ---- networks.c: graphs compiled for a stage ----
enum sdg_result sdg_make_text(struct sdg_pipeline *p, int encoder, int batch, int clip_skip, bool plan_only,
                              struct sdg_program **out);
enum sdg_result sdg_make_unet_time(struct sdg_pipeline *p, int64_t rows, bool plan_only, struct sdg_program **out);
enum sdg_result sdg_make_unet_context(struct sdg_pipeline *p, int64_t batch, int64_t tokens, bool plan_only,
                                      struct sdg_program **out);
enum sdg_result sdg_make_unet_step(struct sdg_pipeline *p, int64_t batch, int64_t h, int64_t w, int64_t tokens,
                                   int64_t rows, bool plan_only, struct sdg_program **out);
enum sdg_result sdg_make_decoder(struct sdg_pipeline *p, int64_t h, int64_t w, bool plan_only,
                                 struct sdg_program **out);
enum sdg_result sdg_make_encoder(struct sdg_pipeline *p, int64_t h, int64_t w, bool plan_only,
                                 struct sdg_program **out);
// Work of decoding in units of one sampling step (multiply-accumulates), for the time left.
enum sdg_result sdg_estimate_decode_share(struct sdg_pipeline *p, const struct sdg_job *job, double *share);
// ---- quantized.c: all do nothing if the model is not quantized ----
enum sdg_result sdg_quantized_open(struct sdg_pipeline *p);
// Of a fused step graph.
enum sdg_result sdg_quantized_rewrite(const struct sdg_pipeline *p, struct sdg_graph *graph);
// Fills a step program's interval tables for the timesteps of its rows.
enum sdg_result sdg_quantized_write_intervals(const struct sdg_pipeline *p, struct sdg_program *program, int64_t rows,
                                              double (*timestep)(const void *user, int64_t row), const void *user);
// The stage's backend, opened on first use.
enum sdg_result sdg_stage_open(struct sdg_pipeline *p, enum sdg_stage stage);
void sdg_network_clear(struct sdg_network *network);

// ---- memory_plan.c: decides split_guidance and tile_vae, fails when the budget does not suffice ----
struct sdg_stage_memory {
    const char *name;
    struct sdg_memory memory; // of the stage's programs
    size_t host;              // buffers of the pipeline itself
    size_t total;             // all that is alive during the stage
    double macs;
};
struct sdg_memory_plan {
    struct sdg_stage_memory stages[8];
    int count;
    size_t base; // the process itself
    size_t peak; // base + largest total
};
enum sdg_result sdg_memory_plan(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_memory_plan *plan);

// ---- progress.c ----
enum sdg_result sdg_progress_report(const struct sdg_pipeline *p, const struct sdg_job *job, const char *stage,
                                    int step, int steps, double seconds_step, double seconds_left);
// SDG_ERROR_COMPUTE naming `what` if a value is not finite.
enum sdg_result sdg_check_finite(const struct sdg_log *log, const float *data, size_t count, const char *what);

// [C][H][W] (files, generators, samplers) <-> [H][W][C] (networks).
void sdg_planar_to_nhwc(const float *from, float *to, int c, size_t pixels);
void sdg_nhwc_to_planar(const float *from, float *to, int c, size_t pixels);

#endif
