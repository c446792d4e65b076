// The pipeline object: a model that is open, its backends, and what is kept from one picture to the next. What is done
// with it stands in the headers of the stages.
#ifndef SDG_PIPELINE_PIPELINE_H
#define SDG_PIPELINE_PIPELINE_H

#include "backend/backend.h"
#include "base/threads.h"
#include "formats/model.h"
#include "pipeline/correction.h"
#include "pipeline/shared.h"
#include "quant/quantized.h"
#include "sdgen/sdgen.h"

#include <pthread.h>
#include <stdatomic.h>

enum sdg_stage { SDG_STAGE_TEXT, SDG_STAGE_UNET, SDG_STAGE_VAE, SDG_STAGE_COUNT };

enum sdg_network_kind { // in the order in which a picture needs them, but for the encoder
    SDG_NETWORK_NONE,
    SDG_NETWORK_TEXT,
    SDG_NETWORK_TEXT_2,
    SDG_NETWORK_UNET_TIME,    // timesteps -> tables of the step
    SDG_NETWORK_UNET_CONTEXT, // prompt -> keys and values of the step
    SDG_NETWORK_UNET_STEP,
    SDG_NETWORK_DECODER,
    SDG_NETWORK_ENCODER,
    SDG_NETWORK_COUNT,
};

// What a network is made for; what it does not have is 0.
struct sdg_network_shape {
    int64_t batch;         // samples, prompts in pieces of 77 tokens (sdg_tokenizer_length)
    int64_t height, width; // of its input: latent pixels, for the encoder pixels
    int64_t tokens;        // of each sample's prompt
    int64_t rows;          // of its tables, or that it fills
    int64_t skip;          // clip skip, as sdg_text_params.skip
};

// A program and what it was made for, so that the next picture can use it again.
struct sdg_network {
    struct sdg_program *program;
    struct sdg_network_shape shape;
};

// Prompt embeddings as the UNet takes them; kept for the next picture.
struct sdg_context {
    char **texts; // [count] what they were made from, as sdg_branches.texts; NULL = nothing kept
    int count;
    int clip_skip;
    int chunks; // that were asked for at least
    bool plain;
    int zeroed; // the first so many are zeros whatever their texts are
    int tokens; // the tokenizer's length (77) * chunks
    int dim;
    float *embedding; // [count][tokens][dim]
    int pooled_dim;   // SDXL, else 0
    float *pooled;    // [count][pooled_dim]
};

struct sdg_stage_backend {
    char name[16]; // "cpu", "vulkan", "reference"
    int device;
    enum sdg_dtype dtype;
    struct sdg_backend *backend;
};

// Lets calibration and evaluation change the UNet's step graph (after fusion, before its type is set) and look at every
// run of it. What is NULL is not called.
struct sdg_hooks {
    enum sdg_result (*rewrite)(void *user, struct sdg_graph *graph);
    enum sdg_result (*after_run)(void *user, struct sdg_program *program, int call);
    // After all runs of a call: the scaled latent [elements], planar, and the answers [branches][pixels][channels].
    enum sdg_result (*after_call)(void *user, int call, const float *input, const float *answers);
    void *user;
};

struct sdg_tokenizer;

// The call that runs now (pipeline/call.h). Only `cancelled` is touched by other threads.
struct sdg_call {
    atomic_bool busy, cancelled;
    pthread_t caller;
    sdg_progress_fn fn; // the caller's; NULL before the first report, or where there is none
    void *user;
    struct sdg_cpus before; // what the caller's thread was held to, if it is bound
    bool bound;
    struct sdg_progress last; // what was reported last
    double told, asked;       // clock at that report; and when the caller was asked last
};

// What the last call failed with, for sdg_pipeline_error. Threads of the call may report at the same time.
struct sdg_last_error {
    pthread_mutex_t lock;
    char text[512]; // the first line; "" = none
};

struct sdg_pipeline {
    struct sdg_log log; // keeps errors, and hands all that `caller` wants to it
    struct sdg_log caller;
    struct sdg_last_error error;
    struct sdg_hooks hooks;
    struct sdg_call call;
    struct sdg_pipeline_params params; // numbers only are used after creation; strings are resolved
    struct sdg_engine *engine;         // held
    char *model_name;
    struct sdg_model *model;
    struct sdg_quantized *quantized;   // NULL: a floating-point model
    struct sdg_correction *correction; // of its outputs; NULL = none
    struct sdg_tokenizer *tokenizer[2];
    struct sdg_stage_backend stage[SDG_STAGE_COUNT];
    char backend_text[96], type_text[48]; // of all stages, for sdg_generate_info
    struct sdg_context context;
    struct sdg_network kept[SDG_NETWORK_COUNT]; // of those that their row says to keep; else empty
    int64_t context_serial;                     // raised when the context changes
    int64_t unet_context;                       // serial of the context whose keys and values are in the kept UNet
    size_t bare;                                // bytes of the process without anything that a picture left behind
    size_t share;                               // of the engine's memory (pipeline/shared.h)
};

#endif
