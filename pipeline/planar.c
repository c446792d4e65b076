#include "pipeline/planar.h"

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
