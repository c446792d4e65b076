// Which backend runs which stage, and in which type.
#ifndef SDG_PIPELINE_BACKENDS_H
#define SDG_PIPELINE_BACKENDS_H

#include "pipeline/pipeline.h"

// "auto", "cpu", "vulkan", "vulkan:N", "reference", or "te=..,unet=..,vae=.." (stages left out: auto). Fills
// p->stage[].
enum sdg_result sdg_backends_parse(struct sdg_pipeline *p, const char *text);
// Opens the stages' backends and chooses their types: `type` NULL = the file's where the device computes in it at full
// speed.
enum sdg_result sdg_backends_choose_types(struct sdg_pipeline *p, const char *type);

#endif
