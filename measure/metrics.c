// Measures of difference: signal to noise of arrays, PSNR and SSIM of pictures.
#include "measure/metrics.h"

#include "base/decibel.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

struct sdg_power sdg_power_of_difference(const float *reference, const float *other, size_t count)
{
    struct sdg_power power = {0};
    for (size_t i = 0; i < count; i++) {
        double difference = (double)reference[i] - (double)other[i];
        power.signal += (double)reference[i] * (double)reference[i];
        power.noise += difference * difference;
    }
    return power;
}

double sdg_sqnr(const float *reference, const float *other, size_t count)
{
    struct sdg_power power = sdg_power_of_difference(reference, other, count);
    return sdg_decibel(power.signal, power.noise);
}

static bool same_size(const struct sdg_image *a, const struct sdg_image *b)
{
    return a && b && a->pixels && b->pixels && a->width > 0 && a->height > 0 && a->width == b->width &&
        a->height == b->height;
}

double sdg_image_mse(const struct sdg_image *a, const struct sdg_image *b)
{
    if (!same_size(a, b))
        return NAN;
    uint64_t sum = 0;
    size_t count = (size_t)a->width * (size_t)a->height * 3;
    for (size_t i = 0; i < count; i++) {
        int difference = a->pixels[i] - b->pixels[i];
        sum += (uint64_t)(difference * difference);
    }
    return (double)sum / (double)count;
}

double sdg_psnr(const struct sdg_image *a, const struct sdg_image *b)
{
    return sdg_decibel(255.0 * 255.0, sdg_image_mse(a, b));
}

// ---- structural similarity ----

enum { WINDOW = 11, MOMENTS = 5 };

// Weights of the window along one side; the whole window is their outer product.
static void make_window(double weights[WINDOW])
{
    const double sigma = 1.5;
    double sum = 0;
    for (int i = 0; i < WINDOW; i++) {
        double x = i - WINDOW / 2;
        weights[i] = exp(-x * x / (2 * sigma * sigma));
        sum += weights[i];
    }
    for (int i = 0; i < WINDOW; i++)
        weights[i] /= sum;
}

// Sums of a, b, a^2, b^2, a b under a vertical window that begins in row y, for every column of one channel: out
// [width][MOMENTS].
static void sum_columns(const struct sdg_image *a, const struct sdg_image *b, int channel, int y,
                        const double weights[WINDOW], double *out)
{
    size_t width = (size_t)a->width;
    memset(out, 0, width * MOMENTS * sizeof *out);
    for (int i = 0; i < WINDOW; i++) {
        size_t row = (size_t)(y + i) * width * 3 + (size_t)channel;
        for (size_t x = 0; x < width; x++) {
            double va = a->pixels[row + 3 * x], vb = b->pixels[row + 3 * x], w = weights[i];
            double *m = out + x * MOMENTS;
            m[0] += w * va;
            m[1] += w * vb;
            m[2] += w * va * va;
            m[3] += w * vb * vb;
            m[4] += w * va * vb;
        }
    }
}

static double similarity(const double m[MOMENTS])
{
    const double c1 = 0.01 * 255 * 0.01 * 255, c2 = 0.03 * 255 * 0.03 * 255;
    double product = m[0] * m[1], squares = m[0] * m[0] + m[1] * m[1];
    double covariance = m[4] - product, variances = m[2] + m[3] - squares;
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2));
}

// Sum over the windows that begin in one row, given its column sums.
static double sum_row(const double *columns, int width, const double weights[WINDOW])
{
    double sum = 0;
    for (int x = 0; x + WINDOW <= width; x++) {
        double m[MOMENTS] = {0};
        for (int i = 0; i < WINDOW; i++)
            for (int k = 0; k < MOMENTS; k++)
                m[k] += weights[i] * columns[(size_t)(x + i) * MOMENTS + (size_t)k];
        sum += similarity(m);
    }
    return sum;
}

double sdg_ssim(const struct sdg_image *a, const struct sdg_image *b)
{
    double weights[WINDOW], sum = 0;
    if (!same_size(a, b) || a->width < WINDOW || a->height < WINDOW)
        return NAN;
    double *columns = sdg_alloc_raw(NULL, (size_t)a->width, MOMENTS * sizeof *columns, "column sums");
    if (!columns)
        return NAN;
    make_window(weights);
    int rows = a->height - WINDOW + 1;
    for (int channel = 0; channel < 3; channel++)
        for (int y = 0; y < rows; y++) {
            sum_columns(a, b, channel, y, weights, columns);
            sum += sum_row(columns, a->width, weights);
        }
    sdg_free(columns);
    return sum / (3.0 * rows * (a->width - WINDOW + 1));
}
