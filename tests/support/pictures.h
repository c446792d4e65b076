// Pictures of tests.
#ifndef SDG_TESTS_SUPPORT_PICTURES_H
#define SDG_TESTS_SUPPORT_PICTURES_H

#include "sdgen/sdgen.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// dB of two pictures of the same size; 99 where they are equal.
static inline double psnr(const struct sdg_image *a, const struct sdg_image *b)
{
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    size_t count = (size_t)a->width * (size_t)a->height * 3;
    double error = 0;
    for (size_t i = 0; i < count; i++)
        error += ((double)a->pixels[i] - b->pixels[i]) * ((double)a->pixels[i] - b->pixels[i]);
    return error == 0 ? 99 : 10 * log10(255.0 * 255.0 * (double)count / error);
}

#endif
