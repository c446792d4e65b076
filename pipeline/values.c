#include "pipeline/values.h"

#include <math.h>

enum sdg_result sdg_check_finite(const struct sdg_log *log, const float *data, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(data[i]))
            return sdg_fail(log, SDG_ERROR_COMPUTE, "%s is not finite (%g at element %zu of %zu); try --type f32", what,
                            (double)data[i], i, count);
    return SDG_OK;
}

void sdg_planar_to_nhwc(const float *from, float *to, int c, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++)
        for (int k = 0; k < c; k++)
            to[i * (size_t)c + (size_t)k] = from[(size_t)k * pixels + i];
}

void sdg_nhwc_to_planar(const float *from, float *to, int c, size_t pixels)
{
    for (int k = 0; k < c; k++)
        for (size_t i = 0; i < pixels; i++)
            to[(size_t)k * pixels + i] = from[i * (size_t)c + (size_t)k];
}
