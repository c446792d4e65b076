// What a prompt asks the text encoder, without a picture.
#ifndef SDG_PIPELINE_PROMPT_TEXTS_H
#define SDG_PIPELINE_PROMPT_TEXTS_H

#include "pipeline/job.h"
#include "sdgen/parts.h"

// The texts of a prompt or a negative prompt as branches of a picture of params->steps, refused as sdg_generate would.
// The branches are the caller's also after a failure.
enum sdg_result sdg_prompt_texts(struct sdg_pipeline *p, const struct sdg_prompt_params *params,
                                 struct sdg_branches *out);

#endif
