// Configurations of the networks, as in the config.json files of diffusers and transformers, every number checked.
#ifndef SDG_FORMATS_CONFIG_H
#define SDG_FORMATS_CONFIG_H

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

enum { SDG_MAX_LEVELS = 8 };

enum { SDG_QUANTIZATION_FORMAT = 1, SDG_BASE_PATH_BYTES = 1024 };

// The model that a folder is a set of differences from.
struct sdg_base {
    char path[SDG_BASE_PATH_BYTES]; // its folder, from this one; "" when everything is here
    char fingerprint[17];           // of its UNet's tensors, those of its own bases included
};

#define SDG_SCAN_ROWS "rows" // row by row from the upper left, and where scans go both ways back again

// "quantization_config" of a UNet that sdquant wrote. All zero when there is none.
struct sdg_quantization_config {
    bool present;
    char scheme[24];                     // "w8a8-tdq", "w4a16", ..: always what bits and rule below say
    int weight_bits;                     // 4, 6 or 8
    int activation_bits;                 // 2..8, or 16: activations stay floating point
    char rule[12];                       // as sdg_interval_rule_name; "none" for 16 activation bits
    int group;                           // inputs per weight scale; 0: all of an output channel
    char weight_rounding[8];             // mse, gptq
    int64_t seed;                        // 0..2^53
    char statistics[17];                 // 16 hexadecimal digits, or "" where a rule needs none
    char base[17];                       // fingerprint of the full-precision UNet
    char fingerprint[17];                // of the tensors in this folder's UNet file
    char base_path[SDG_BASE_PATH_BYTES]; // the base's folder, from this one; "" when everything is here
    int static_sites;                    // sites whose interval is a constant; -1: not said
    char scan_order[8];                  // of intervals by token, and of the scans: "rows"; "" where there are none
    bool learned;                        // steps, scales and smoothing of some layers were learned by gradients
    bool corrected;                      // the file has tables for the sampler's correction
    bool scan_codes;                     // Mamba's scans read x as the codes that x_proj reads
};

enum { SDG_MAMBA_INNER_MAX = 8192 }; // channels of a Mamba block's scans

// Mamba blocks in place of the self-attentions of a UNet: self_mixer "mamba", which is no key of diffusers'. All zero
// where attention mixes the tokens.
struct sdg_mamba_sizes {
    int d_state;   // mamba_d_state, 1..256
    int d_conv;    // mamba_d_conv, 2..8
    int expand;    // mamba_expand: the scans have so many times the channels, at most SDG_MAMBA_INNER_MAX
    bool hadamard; // mamba_hadamard: out_proj reads a Hadamard transform of the scans' results
};

struct sdg_unet_config { // UNet2DConditionModel
    int in_channels, out_channels;
    int sample_height, sample_width;     // latent pixels of a picture of the size it was trained for
    bool before_0_9;                     // saved by a diffusers older than 0.9
    int levels;                          // number of blocks down (= up)
    int channels[SDG_MAX_LEVELS];        // block_out_channels
    bool down_attention[SDG_MAX_LEVELS]; // CrossAttnDownBlock2D rather than DownBlock2D
    bool up_attention[SDG_MAX_LEVELS];
    bool mid_attention; // UNetMidBlock2DCrossAttn
    int mid_resnets;    // 2 around an attention, 1 of UNetMidBlock2D, 0 where there is no middle block
    int layers_per_block[SDG_MAX_LEVELS];
    // attention_head_dim, which counts heads in SD 1.x and 2.x (num_attention_heads if given)
    int heads[SDG_MAX_LEVELS];
    int transformer_layers[SDG_MAX_LEVELS]; // transformer_layers_per_block
    int cross_attention_dim;
    struct sdg_mamba_sizes mamba;
    int norm_groups;
    float norm_eps;
    bool linear_projection; // use_linear_projection
    bool flip_sin_to_cos;
    float freq_shift;
    int time_cond_proj_dim;      // LCM's guidance embedding; 0 = none
    int addition_time_embed_dim; // SDXL text_time; 0 = none
    int addition_embed_dim;      // projection_class_embeddings_input_dim
    struct sdg_quantization_config quantization;
    // What this folder does not hold comes from there: named by quantization_config, or else by the object "_sdgen",
    //     "_sdgen": {"base_path": "../emoji-128", "base": "0123456789abcdef"}
    // with the fingerprint as `base`. diffusers passes over keys that begin with an underscore
    struct sdg_base base;
};

struct sdg_vae_config { // AutoencoderKL or AutoencoderTiny
    bool tiny;
    int in_channels, out_channels, latent_channels;
    int levels;
    int channels[SDG_MAX_LEVELS];         // block_out_channels (encoder's for tiny)
    int decoder_channels[SDG_MAX_LEVELS]; // tiny only
    int layers_per_block;                 // KL: encoder has this many resnets per level, decoder one more
    int encoder_blocks[SDG_MAX_LEVELS], decoder_blocks[SDG_MAX_LEVELS]; // tiny only
    int norm_groups;
    bool mid_attention, quant_conv, post_quant_conv;
    bool decoder_only; // no file has an encoder: pictures can be made, but none taken in
    bool force_upcast; // f16 does not hold its values (of Stable Diffusion XL's)
    float scaling_factor;
    float latent_magnitude, latent_shift; // tiny only
};

// Of Stable Diffusion's with one text encoder or XL's with two: scaling_factor and force_upcast, else zero.
struct sdg_vae_config sdg_default_vae_config(int text_encoders);

enum sdg_text_activation { SDG_TEXT_QUICK_GELU, SDG_TEXT_GELU };

struct sdg_text_config { // CLIPTextModel, CLIPTextModelWithProjection
    int vocab_size, hidden, intermediate, layers, heads, positions;
    enum sdg_text_activation activation;
    float eps;
    int eos_token_id;   // 2: historical, "position of the largest id"; else "first position of that id"
    bool mask_padding;  // use_attention_mask, which diffusers' pipelines with one encoder heed
    int projection_dim; // 0 unless the model has text_projection (CLIPTextModelWithProjection)
};

struct sdg_vim_config {          // Vision Mamba, a classifier of pictures (arXiv 2401.09417)
    int image_size;              // pixels a side
    int patch_size;              // divides it
    int channels;                // of a picture, 1 or 3
    int classes;                 // 1..65536
    int hidden, layers;          // channels of a token; blocks
    int d_state, d_conv, expand; // of the mixer: 1..256, 2..8, 1..16
    float norm_eps;
    float white;     // what a white pixel is in files of pictures; black is 0
    float mean, std; // the network sees (pixel / white - mean) / std
    struct sdg_quantization_config quantization;
};

enum { SDG_OBJECTION_BYTES = 160, SDG_TRAINED_BETAS_MAX = 1000 };

enum sdg_beta_schedule { SDG_BETA_SCALED_LINEAR, SDG_BETA_LINEAR, SDG_BETA_SQUARED_COSINE };
enum sdg_prediction { SDG_PREDICT_EPSILON, SDG_PREDICT_V, SDG_PREDICT_SAMPLE };
enum sdg_spacing { SDG_SPACING_LEADING, SDG_SPACING_LINSPACE, SDG_SPACING_TRAILING };

enum sdg_algorithm { // of DPM-Solver: "++" integrates the picture, the others the noise; "sde" adds fresh noise
    SDG_ALGORITHM_DPMPP,
    SDG_ALGORITHM_DPM,
    SDG_ALGORITHM_SDE_DPMPP,
    SDG_ALGORITHM_SDE_DPM
};

// How a sampler steps, as far as diffusers' classes have options for it. All zero but the order: as they do by default.
struct sdg_solver {
    int order;                    // DPM-Solver, UniPC: 1, 2 (default) or 3
    enum sdg_algorithm algorithm; // DPM-Solver
    bool heun;                    // DPM-Solver: solver_type "heun" rather than "midpoint"
    bool full_order_final;        // DPM-Solver, UniPC: lower_order_final is false
    bool euler_at_final;          // DPM-Solver
    bool bh1;                     // UniPC: solver_type "bh1" rather than "bh2"
    bool predict_noise;           // UniPC: predict_x0 is false
    uint64_t uncorrected[16];     // UniPC: bit i is set when step i is in disable_corrector
    bool large_variance;          // DDPM: variance_type "fixed_large", the step's own beta
    bool runge_kutta_start;       // PNDM without skip_prk_steps
};

// Karras et al. 2022, table 1, column "EDM": the levels are sigmas from sigma_max down to sigma_min instead of betas,
// the network sees latent / sqrt(sigma^2 + sigma_data^2) at "timestep" log(sigma) / 4, and what it gives is the picture
// beside a share of the latent. `prediction` is the sign of its part: epsilon +, v -. Playground v2.5: 0.002, 80, 0.5,
// epsilon; CosXL: 0.002, 120, 1, v.
struct sdg_edm {
    bool used; // false: all else here is meaningless, the levels come from betas
    float sigma_min, sigma_max, sigma_data;
    float rho;        // bends the sigmas of the model's own schedule; 0 stands for 7
    bool exponential; // that schedule is even in log sigma instead
};

// What a model says about noise and how to draw with it: scheduler_config.json, or what a single file tells. The first
// part describes the network and counts whatever sampler is chosen; the second is the model's own way of drawing and
// counts for the schedule "model".
struct sdg_scheduler_config {
    char class_name[64]; // "DDIMScheduler", ...; "" when unknown (single file)
    int train_timesteps; // 1000
    float beta_start, beta_end;
    enum sdg_beta_schedule beta_schedule;
    int trained_count; // train_timesteps where the file lists the betas one by one, else 0
    float trained_betas[SDG_TRAINED_BETAS_MAX];
    enum sdg_prediction prediction;
    bool rescale_betas_zero_snr;
    bool continuous; // Euler, predicting v: the network gets log(sigma) / 4 in place of a timestep
    struct sdg_edm edm;
    bool clip_sample;
    float clip_sample_range;
    int original_inference_steps; // LCM, 50
    float timestep_scaling;       // LCM, 10

    enum sdg_spacing spacing;
    int steps_offset;
    bool set_alpha_to_one;
    bool use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas;
    bool use_lu_lambdas;        // DPM-Solver: even in log sigma, as Lu et al. 2022
    bool log_linear;            // Euler: interpolation_type
    float sigma_min, sigma_max; // range of karras, exponential and beta sigmas; 0: the betas' own
    double lambda_min_clipped;  // DPM-Solver: noisier levels, by half log SNR, are left out; -INFINITY: none
    bool final_sigmas_zero;     // final_sigmas_type "zero" (default) rather than "sigma_min"
    struct sdg_solver solver;
    // What else the class is asked to do that is not implemented, as "key is value, supported: .."; "" when nothing.
    // How it steps, which another sampling method does in its own way, and which timesteps and sigmas it takes.
    char solver_objection[SDG_OBJECTION_BYTES], schedule_objection[SDG_OBJECTION_BYTES];
};

// Each reads one JSON text (`path` is for messages). Unknown keys are ignored; values that would change the network and
// are not implemented (class embeddings, other block types, dual attention, ...) are SDG_ERROR_UNSUPPORTED naming file,
// key and value. Bounds that keep hostile numbers out: channels 1..16384, layers 1..64, heads dividing channels, groups
// dividing channels, ...
enum sdg_result sdg_unet_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                      struct sdg_unet_config *out);
enum sdg_result sdg_vae_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                     struct sdg_vae_config *out);
enum sdg_result sdg_text_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                      struct sdg_text_config *out);
enum sdg_result sdg_vim_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                     struct sdg_vim_config *out);
// A scheduler's class may be named by the pipeline, which goes before what the file says; "" when it does not say.
// Unimplemented values of what the model was trained with are refused, those of its sampler become objections.
enum sdg_result sdg_scheduler_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                           const char *class_name, struct sdg_scheduler_config *out);
void sdg_scheduler_config_default(struct sdg_scheduler_config *out); // Stable Diffusion 1.x's

#endif
