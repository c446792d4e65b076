// Measures of difference. Those of the public header (sdg_sqnr, sdg_psnr, sdg_ssim) are here too.
#ifndef SDG_MEASURE_METRICS_H
#define SDG_MEASURE_METRICS_H

#include "sdgen/evaluate.h"

struct sdg_power { double signal, noise; };
struct sdg_power sdg_power_of_difference(const float *reference, const float *other, size_t count);
double sdg_decibel(double signal, double noise); // INFINITY without noise, NAN without signal
double sdg_image_mse(const struct sdg_image *a, const struct sdg_image *b); // of 8-bit values; NAN if the sizes differ

#endif
