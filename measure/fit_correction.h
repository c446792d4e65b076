// Fitting the sampler's correction to what a quantized model does.
#ifndef SDG_MEASURE_FIT_CORRECTION_H
#define SDG_MEASURE_FIT_CORRECTION_H

#include "pipeline/correction.h"
#include "sdgen/correct.h"

// What a quantized UNet's outputs differ by from a full-precision one's on the trajectories that the latter draws.
// *out and *rows [(*out)->rows] are the caller's (sdg_free).
enum sdg_result sdg_correction_measure(const struct sdg_correct_params *params, const char *full, const char *quantized,
                                       struct sdg_correction **out, struct sdg_corrected_row **rows);

#endif
