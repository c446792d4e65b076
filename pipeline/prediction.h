// What a model's network predicts, where its files leave that open.
#ifndef SDG_PIPELINE_PREDICTION_H
#define SDG_PIPELINE_PREDICTION_H

#include "pipeline/pipeline.h"

// Takes what the user gave, else what the file says. Where it says nothing and both are possible (Stable Diffusion 2.x
// in one file) the UNet is run once, on a small latent, and one line says what was found. To be called when stages have
// their types.
enum sdg_result sdg_prediction_settle(struct sdg_pipeline *p);

#endif
