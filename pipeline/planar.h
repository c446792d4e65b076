// Arrays on their way between files, generators and samplers, [C][H][W], and networks, [H][W][C].
#ifndef SDG_PIPELINE_PLANAR_H
#define SDG_PIPELINE_PLANAR_H

#include <stddef.h>

void sdg_planar_to_nhwc(const float *from, float *to, int c, size_t pixels);
void sdg_nhwc_to_planar(const float *from, float *to, int c, size_t pixels);

#endif
