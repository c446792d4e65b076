#include "pipeline/correction.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { MOST_ROWS = 2000, PARTS = 3 }; // of a covariance
static const double LAST_TIMESTEP = 1e6, LARGEST = 1e6;
static const char prefix[] = "correction.";

// ---- tables ----

enum sdg_result sdg_correction_create(const struct sdg_log *log, size_t rows, size_t channels,
                                      struct sdg_correction **out)
{
    struct sdg_correction *c = sdg_alloc(log, 1, sizeof *c, "correction tables");
    if (!c)
        return SDG_ERROR_MEMORY;
    size_t numbers;
    if (!sdg_mul_size(rows, channels + 1 + PARTS, &numbers))
        numbers = SIZE_MAX;
    c->rows = rows;
    c->channels = channels;
    c->timesteps = sdg_alloc(log, rows, sizeof *c->timesteps, "correction tables");
    c->slope = c->timesteps ? sdg_alloc(log, numbers, sizeof *c->slope, "correction tables") : NULL;
    if (!c->slope) {
        sdg_correction_destroy(&c);
        return SDG_ERROR_MEMORY;
    }
    c->covariance = c->slope + rows;
    c->bias = c->covariance + PARTS * rows;
    *out = c;
    return SDG_OK;
}

void sdg_correction_destroy(struct sdg_correction **correction)
{
    struct sdg_correction *c = *correction;
    *correction = NULL;
    if (!c)
        return;
    sdg_free(c->timesteps);
    sdg_free(c->slope);
    sdg_free(c);
}

void sdg_correction_tensors(const struct sdg_correction *c, struct sdg_tensor out[SDG_CORRECTION_TENSORS])
{
    const int64_t rows = (int64_t)c->rows, channels = (int64_t)c->channels;
    const size_t number = sizeof(float);
    out[0] = (struct sdg_tensor){.name = "correction.timesteps",
                                 .dtype = SDG_F64,
                                 .rank = 1,
                                 .dims = {rows},
                                 .data = c->timesteps,
                                 .bytes = c->rows * sizeof(double)};
    out[1] = (struct sdg_tensor){.name = "correction.slope",
                                 .dtype = SDG_F32,
                                 .rank = 1,
                                 .dims = {rows},
                                 .data = c->slope,
                                 .bytes = c->rows * number};
    out[2] = (struct sdg_tensor){.name = "correction.bias",
                                 .dtype = SDG_F32,
                                 .rank = 2,
                                 .dims = {rows, channels},
                                 .data = c->bias,
                                 .bytes = c->rows * c->channels * number};
    out[3] = (struct sdg_tensor){.name = "correction.covariance",
                                 .dtype = SDG_F32,
                                 .rank = 2,
                                 .dims = {rows, PARTS},
                                 .data = c->covariance,
                                 .bytes = c->rows * PARTS * number};
}

bool sdg_correction_is_tensor(const char *name)
{
    return strncmp(name, prefix, sizeof prefix - 1) == 0;
}

// ---- reading ----

struct reader {
    const struct sdg_log *log;
    const struct sdg_tensors *tensors;
};

static enum sdg_result find(const struct reader *r, const char *name, const struct sdg_tensor **out)
{
    *out = sdg_tensors_find(r->tensors, name);
    if (*out)
        return SDG_OK;
    return sdg_fail(r->log, SDG_ERROR_INPUT,
                    "%s: tensor %s is missing, but the configuration says that the model is corrected",
                    sdg_tensors_path(r->tensors), name);
}

static enum sdg_result find_rows(const struct reader *r, size_t *rows)
{
    const struct sdg_tensor *t;
    SDG_TRY(find(r, "correction.timesteps", &t));
    if (t->dtype != SDG_F64 || t->rank != 1 || t->dims[0] < 1 || t->dims[0] > MOST_ROWS)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is %s of rank %d, should be f64 with 1 to %d numbers",
                        sdg_tensors_path(r->tensors), t->name, sdg_dtype_name(t->dtype), t->rank, MOST_ROWS);
    *rows = (size_t)t->dims[0];
    return SDG_OK;
}

// Copies a table whose shape has to be that of `want`.
static enum sdg_result read_table(const struct reader *r, const struct sdg_tensor *want)
{
    const struct sdg_tensor *t;
    SDG_TRY(find(r, want->name, &t));
    if (t->dtype != want->dtype || t->rank != want->rank ||
        memcmp(t->dims, want->dims, (size_t)t->rank * sizeof *t->dims) != 0)
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: %s is %s of rank %d with %zu bytes, should be %s of rank %d with %zu bytes",
                        sdg_tensors_path(r->tensors), t->name, sdg_dtype_name(t->dtype), t->rank, t->bytes,
                        sdg_dtype_name(want->dtype), want->rank, want->bytes);
    memcpy((void *)want->data, t->data, t->bytes);
    return SDG_OK;
}

static enum sdg_result bad(const struct reader *r, const char *name, size_t row, double value, const char *should)
{
    return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: correction.%s: row %zu has %g, %s", sdg_tensors_path(r->tensors),
                    name, row, value, should);
}

static enum sdg_result check_row(const struct reader *r, const struct sdg_correction *c, size_t row)
{
    const double t = c->timesteps[row], slope = (double)c->slope[row];
    const float *covariance = c->covariance + row * PARTS;
    const double uncond = (double)covariance[0], both = (double)covariance[1], cond = (double)covariance[2];
    if (!(t >= 0 && t <= LAST_TIMESTEP) || (row && !(t > c->timesteps[row - 1])))
        return bad(r, "timesteps", row, t, "should be a timestep above the one before");
    if (!(fabs(slope) <= LARGEST))
        return bad(r, "slope", row, slope, "should be a finite number");
    for (size_t i = 0; i < c->channels; i++)
        if (!(fabs((double)c->bias[row * c->channels + i]) <= LARGEST))
            return bad(r, "bias", row, (double)c->bias[row * c->channels + i], "should be a finite number");
    if (!(uncond >= 0 && uncond <= LARGEST))
        return bad(r, "covariance", row, uncond, "should be a variance");
    if (!(cond >= 0 && cond <= LARGEST))
        return bad(r, "covariance", row, cond, "should be a variance");
    if (!(both * both <= uncond * cond * (1 + 1e-4) + 1e-30)) // the files' numbers are rounded
        return bad(r, "covariance", row, both, "is more than the variances allow");
    return SDG_OK;
}

static enum sdg_result read_tables(const struct reader *r, struct sdg_correction *c)
{
    struct sdg_tensor want[SDG_CORRECTION_TENSORS];
    sdg_correction_tensors(c, want);
    for (int i = 0; i < SDG_CORRECTION_TENSORS; i++)
        SDG_TRY(read_table(r, &want[i]));
    for (size_t i = 0; i < c->rows; i++)
        SDG_TRY(check_row(r, c, i));
    return SDG_OK;
}

enum sdg_result sdg_correction_read(const struct sdg_log *log, const struct sdg_tensors *tensors, size_t channels,
                                    struct sdg_correction **out)
{
    const struct reader reader = {log, tensors};
    struct sdg_correction *c;
    size_t rows = 0;
    SDG_TRY(find_rows(&reader, &rows));
    SDG_TRY(sdg_correction_create(log, rows, channels, &c));
    enum sdg_result result = read_tables(&reader, c);
    if (result != SDG_OK) {
        sdg_correction_destroy(&c);
        return result;
    }
    *out = c;
    return SDG_OK;
}

// ---- applying ----

struct place { // between two rows
    size_t low, high;
    double part; // of high
};

static struct place find_place(const struct sdg_correction *c, double t)
{
    size_t low = 0, high = c->rows - 1;
    if (!(t > c->timesteps[low]))
        return (struct place){low, low, 0};
    if (t >= c->timesteps[high])
        return (struct place){high, high, 0};
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (c->timesteps[middle] <= t)
            low = middle;
        else
            high = middle;
    }
    return (struct place){low, high, (t - c->timesteps[low]) / (c->timesteps[high] - c->timesteps[low])};
}

static double between(const struct place *at, const float *table, size_t stride)
{
    const double low = (double)table[at->low * stride], high = (double)table[at->high * stride];
    return low + at->part * (high - low);
}

static double gain(const struct sdg_correction *c, const struct place *at)
{
    return 1 + fmax(between(at, c->slope, 1), 0);
}

void sdg_correction_apply(const struct sdg_correction *c, double timestep, float *output, size_t pixels)
{
    const struct place at = find_place(c, timestep);
    const float scale = (float)(1 / gain(c, &at));
    for (size_t k = 0; k < c->channels; k++) {
        const float bias = (float)between(&at, c->bias + k, c->channels);
        for (size_t i = 0; i < pixels; i++)
            output[i * c->channels + k] = (output[i * c->channels + k] - bias) * scale;
    }
}

double sdg_correction_variance(const struct sdg_correction *c, double timestep, double scale)
{
    const struct place at = find_place(c, timestep);
    const double uncond = between(&at, c->covariance, PARTS), both = between(&at, c->covariance + 1, PARTS),
                 cond = between(&at, c->covariance + 2, PARTS);
    const double guided = (1 - scale) * (1 - scale) * uncond + 2 * scale * (1 - scale) * both + scale * scale * cond,
                 g = gain(c, &at);
    return fmax(guided, 0) / (g * g);
}

void sdg_correction_absorb(const struct sdg_correction *c, struct sdg_sampler *sampler, double scale)
{
    for (int call = 0; call < sdg_sampler_calls(sampler); call++)
        sdg_sampler_absorb(sampler, call, sdg_correction_variance(c, sdg_sampler_timestep(sampler, call), scale));
}
