// Arrays on their way from one network to the next.
#ifndef SDG_PIPELINE_VALUES_H
#define SDG_PIPELINE_VALUES_H

#include "base/log.h"

#include <stddef.h>

// SDG_ERROR_COMPUTE naming `what` if a value is not finite.
enum sdg_result sdg_check_finite(const struct sdg_log *log, const float *data, size_t count, const char *what);

// [C][H][W] (files, generators, samplers) <-> [H][W][C] (networks).
void sdg_planar_to_nhwc(const float *from, float *to, int c, size_t pixels);
void sdg_nhwc_to_planar(const float *from, float *to, int c, size_t pixels);

#endif
