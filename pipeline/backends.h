// Which backend runs which stage, and in which type.
#ifndef SDG_PIPELINE_BACKENDS_H
#define SDG_PIPELINE_BACKENDS_H

#include "pipeline/pipeline.h"

// "auto", "cpu", "vulkan", "vulkan:N" or "reference": the name of a backend and its device, nothing else of *out.
// `also`: what else the caller takes, for the end of the message.
enum sdg_result sdg_backend_parse(const struct sdg_log *log, const char *name, const char *also,
                                  struct sdg_stage_backend *out);
// The folder for what is kept between runs: the one given, else that of the XDG specification. A new string, to be
// freed with sdg_free; NULL where there is none, or "" is given, or none and the environment is not to be asked.
enum sdg_result sdg_cache_dir_find(const struct sdg_log *log, const char *given, bool environment, char **out);
// sdg_default_model, with or without asking the environment.
const char *sdg_default_model_from(bool environment);
// A backend's name for all stages, or "te=..,unet=..,vae=.." (stages left out: auto). Fills p->stage[].
enum sdg_result sdg_backends_parse(struct sdg_pipeline *p, const char *text);
struct sdg_device_types {
    bool f16, bf16; // that the device computes in at full speed
};
// What a network computes in when nobody says, of a `file` of f32, f16 or bf16: the file's type where the device has
// it. bf16 takes the place of f16 in `large` models alone (a UNet of 100 million parameters and more): it drops three
// bits of every value, so that pictures stay as good but are no longer the same (31 to 48 dB from f32 on the default
// model). Worth it where it halves the time of a large network, not where a picture takes half a second anyway. It
// takes the place of f32 in large networks whose layers read `integers`: eight bits are their error whatever the rest
// does. f16 does not, whose range is not f32's.
enum sdg_dtype sdg_default_type(enum sdg_dtype file, struct sdg_device_types has, bool large, bool integers);
// Opens the stages' backends and chooses their types: `type` NULL = sdg_default_type.
enum sdg_result sdg_backends_choose_types(struct sdg_pipeline *p, const char *type);

#endif
