// The folder of a quantized model: a diffusers folder whose UNet file has integers and intervals, and whose
// unet/config.json says how they were made. Everything about that format is here: reading, writing, amending.
//
// Tensors of the UNet file, M a module, OP an operation of the fused graph (M, or "M[a:b]" for the part of a layer that
// reads channels a .. b-1 of a split skip connection), SITE a site (quant/sites.h):
//     M.weight               s8 in the float tensor's shape, or four bits a code: u8 [O, (inputs + 1) / 2], rows as
//                            sdg_pack4 makes them; absent from files that say that codes are rounded: the codes of the
//                            base's weights, each the nearest
//     OP.weight_scale        f32 [O]; where activations stay float also [O, G], a scale per group of inputs
//     SITE.input_scale       f32 [1000] over t = 0..999, or [1]. Absent under the dynamic rule. Or with an interval for
//                            each token, where only linear layers and 1x1 convolutions read the site: [1, H, W] of the
//                            H x W grid of tokens, or [T, H, W] at the timesteps of interval_timesteps; such codes are
//                            0 .. 2^bits - 1. The model then is one for pictures of one size
//     SITE.input_zero_point  s32, the same shape. SiLU sites: round(0.2785 / scale), at most the highest code. Of
//                            tokens: any code. Others have none
//     SITE.input_scale_time  f32 [1000]: what scales of [1, H, W] are multiplied with at t = 0..999; absent: 1
//     SITE.input_smoothing   f32 [C]: what each channel is multiplied with before it becomes codes, finite, > 0, its
//                            inverse being in the weights; absent: 1
//     SITE.folded_smoothing  f32 [C]: the same of a site whose maker does it (a norm, rows of a weight); nothing is
//     left to
//                            do, but intervals are of the products
//     interval_timesteps     f32 [T], T >= 2: ascending, of all tables [T, H, W]
// Scales and time factors are finite and 2^-120 or more (sdg_stored_check_scales), and so is the product of both.
// Metadata:
//     "layers"    how many operations are quantized, so that a lost scale cannot pass for a float layer
//     "group"     inputs per weight scale; absent: all
//     "codes"     "rounded": see M.weight
// Configuration: "quantization_config" of unet/config.json, struct sdg_quantization_config in config.h. A folder with a
// base_path holds only what differs from that model.
#ifndef SDG_FORMATS_QUANTIZED_FOLDER_H
#define SDG_FORMATS_QUANTIZED_FOLDER_H

#include "formats/config.h"
#include "formats/tensors.h"

#define SDG_WEIGHT_SUFFIX ".weight"
#define SDG_WEIGHT_SCALE_SUFFIX ".weight_scale"
#define SDG_INPUT_SCALE_SUFFIX ".input_scale"
#define SDG_INPUT_ZERO_POINT_SUFFIX ".input_zero_point"
#define SDG_INPUT_SCALE_TIME_SUFFIX ".input_scale_time"
#define SDG_INPUT_SMOOTHING_SUFFIX ".input_smoothing"
#define SDG_FOLDED_SMOOTHING_SUFFIX ".folded_smoothing"
#define SDG_INTERVAL_TIMESTEPS "interval_timesteps"

enum { SDG_INTERVAL_TIMES = 1000 }; // of tables over t = 0..999

#define SDG_QUANTIZED_WEIGHTS_FILE "unet/diffusion_pytorch_model.safetensors"
#define SDG_QUANTIZED_CONFIG_FILE "unet/config.json"

// Where the two files lie in a model's folder.
struct sdg_quantized_files {
    const char *folder; // that they are in, "" = the model's own
    const char *weights, *config;
};
// Of a diffusers folder; and of a folder that holds a network and nothing else, model.safetensors and config.json.
extern const struct sdg_quantized_files sdg_quantized_unet_files, sdg_quantized_network_files;

// ---- reading ----

// Inputs that share a scale, 0 = all of an output. SDG_ERROR_INPUT if the file says something else than a number.
enum sdg_result sdg_quantized_group(const struct sdg_log *log, const struct sdg_tensors *tensors, int64_t *group);
// True for the names of scales, zero points and whatever else this format puts beside weights.
bool sdg_quantized_is_tensor(const char *name);
// True if codes that the file does not have are those of its base's weights, rounded with its scales.
bool sdg_quantized_rounds_codes(const struct sdg_tensors *tensors);
// SDG_ERROR_INPUT if the file says another number of quantized operations than were found.
enum sdg_result sdg_quantized_check_layers(const struct sdg_log *log, const struct sdg_tensors *tensors, size_t found);
// True if there is a quantized folder of this format's at `path`.
bool sdg_quantized_folder_is(const char *path);
// Compares the UNet's file with the fingerprint in its configuration (`path`) and, if there is a base, puts the file
// over it after the same comparison; then *base is NULL. SDG_ERROR_UNSUPPORTED if there are intervals by token, but the
// configuration does not say for which order of them.
enum sdg_result sdg_quantized_finish(const struct sdg_log *log, const struct sdg_quantization_config *config,
                                     const char *path, struct sdg_tensors *unet, struct sdg_tensors **base);

// ---- writing ----

// Collects the tensors of a UNet file. Names are copied; data is not and has to stay until it is written.
struct sdg_quantized_writer;
enum sdg_result sdg_quantized_writer_create(const struct sdg_log *log, struct sdg_quantized_writer **out);
void sdg_quantized_writer_destroy(struct sdg_quantized_writer **writer);

// M.weight: codes of `bits`, 8 or 4 (packed), of a weight that is `shape` as floats.
enum sdg_result sdg_quantized_add_codes(struct sdg_quantized_writer *writer, const char *module,
                                        const struct sdg_tensor *shape, int bits, const void *codes);
// OP.weight_scale; each call is one quantized layer.
enum sdg_result sdg_quantized_add_scales(struct sdg_quantized_writer *writer, const char *op, size_t outputs,
                                         size_t groups, const float *scales);
// SITE.input_scale and, unless `zero_points` is NULL, SITE.input_zero_point: [rows].
enum sdg_result sdg_quantized_add_interval(struct sdg_quantized_writer *writer, const char *site, size_t rows,
                                           const float *scales, const int32_t *zero_points);
// Of tokens: [rows, height, width]. factors [1000] is SITE.input_scale_time, NULL = none.
enum sdg_result sdg_quantized_add_token_intervals(struct sdg_quantized_writer *writer, const char *site, size_t rows,
                                                  size_t height, size_t width, const float *scales,
                                                  const int32_t *zero_points, const float *factors);
enum sdg_result sdg_quantized_add_timesteps(struct sdg_quantized_writer *writer, const float *timesteps, size_t count);
// SITE.input_smoothing, or with `folded` SITE.folded_smoothing.
enum sdg_result sdg_quantized_add_smoothing(struct sdg_quantized_writer *writer, const char *site, bool folded,
                                            size_t channels, const float *multipliers);
// A tensor that stays as it is; its name is not copied.
enum sdg_result sdg_quantized_add_tensor(struct sdg_quantized_writer *writer, const struct sdg_tensor *tensor);
size_t sdg_quantized_writer_bytes(const struct sdg_quantized_writer *writer); // of the tensors so far

// Writes both files below `folder`; files->folder exists in it. `base_config`: the configuration of the full-precision
// network, which the new one is copied from. Of `config` everything but `present` and `fingerprint` is used;
// `rounds_codes` as above.
enum sdg_result sdg_quantized_write(const struct sdg_quantized_writer *writer, const char *folder,
                                    const struct sdg_quantized_files *files, const char *base_config,
                                    const struct sdg_quantization_config *config, bool rounds_codes);

// ---- amending ----

// Puts what was measured or learned into a folder: `tensors` in place of those of the same names and of those for which
// is_old() holds (NULL: for none). The configuration then has the new fingerprint, and `how` in it is true: "corrected"
// or "learned". It is written last: until then the folder is refused.
enum sdg_result sdg_quantized_amend(const struct sdg_log *log, const char *folder,
                                    const struct sdg_quantized_files *files, const char *how,
                                    bool (*is_old)(const char *name), const struct sdg_tensor *tensors, size_t count);

#endif
