// Configurations of the networks, as in the config.json files of diffusers and transformers, every number checked.
#ifndef SDG_FORMATS_CONFIG_H
#define SDG_FORMATS_CONFIG_H

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

enum { SDG_MAX_LEVELS = 8 };

enum { SDG_QUANTIZATION_FORMAT = 1, SDG_BASE_PATH_BYTES = 1024 };

// "quantization_config" of a UNet that sdquant wrote. All zero when there is none.
struct sdg_quantization_config {
    bool present;
    char scheme[24];                     // "w8a8-tdq", "w4a16", ..: always what bits and rule below say
    int weight_bits;                     // 4 or 8
    int activation_bits;                 // 2..8, or 16: activations stay floating point
    char rule[12];                       // static, table, tdq, dynamic; "none" for 16 activation bits
    int group;                           // inputs per weight scale; 0: all of an output channel
    char weight_rounding[8];             // mse, gptq
    int64_t seed;                        // 0..2^53
    char statistics[17];                 // 16 hexadecimal digits, or "" where a rule needs none
    char base[17];                       // fingerprint of the full-precision UNet
    char fingerprint[17];                // of the tensors in this folder's UNet file
    char base_path[SDG_BASE_PATH_BYTES]; // the base's folder, from this one; "" when everything is here
    int static_sites;                    // sites whose interval is a constant
    bool corrected;                      // the file has tables for the sampler's correction
};

struct sdg_unet_config { // UNet2DConditionModel
    int in_channels, out_channels;
    int sample_height, sample_width;     // latent pixels of a picture of the size it was trained for
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
    int norm_groups;
    float norm_eps;
    bool linear_projection; // use_linear_projection
    bool flip_sin_to_cos;
    float freq_shift;
    int time_cond_proj_dim;      // LCM's guidance embedding; 0 = none
    int addition_time_embed_dim; // SDXL text_time; 0 = none
    int addition_embed_dim;      // projection_class_embeddings_input_dim
    struct sdg_quantization_config quantization;
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

enum { SDG_OBJECTION_BYTES = 160 };

enum sdg_beta_schedule { SDG_BETA_SCALED_LINEAR, SDG_BETA_LINEAR, SDG_BETA_SQUARED_COSINE };
enum sdg_prediction { SDG_PREDICT_EPSILON, SDG_PREDICT_V, SDG_PREDICT_SAMPLE };
enum sdg_spacing { SDG_SPACING_LEADING, SDG_SPACING_LINSPACE, SDG_SPACING_TRAILING };

struct sdg_scheduler_config { // scheduler_config.json
    char class_name[64];      // "DDIMScheduler", ...; "" when unknown (single file)
    char file_class_name[64]; // the same, but as scheduler_config.json itself says it
    int train_timesteps;      // 1000
    float beta_start, beta_end;
    enum sdg_beta_schedule beta_schedule;
    enum sdg_prediction prediction;
    enum sdg_spacing spacing;
    int steps_offset;
    bool set_alpha_to_one;
    bool clip_sample;
    float clip_sample_range;
    bool rescale_betas_zero_snr;
    bool use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas;
    int original_inference_steps; // LCM, 50
    float timestep_scaling;       // LCM, 10
    int solver_order;             // 2
    bool final_sigmas_zero;       // final_sigmas_type "zero" (default) rather than "sigma_min"
    bool runge_kutta_start;       // PNDM without skip_prk_steps, which is not implemented
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
// A scheduler's class may be named by the pipeline, which goes before what the file says; "" when it does not say.
// Unimplemented values of what the model was trained with are refused, those of its sampler become objections.
enum sdg_result sdg_scheduler_config_parse(const struct sdg_log *log, const char *path, const char *text,
                                           const char *class_name, struct sdg_scheduler_config *out);
void sdg_scheduler_config_default(struct sdg_scheduler_config *out); // Stable Diffusion 1.x's

#endif
