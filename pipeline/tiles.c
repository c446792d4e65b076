#include "pipeline/tiles.h"

#include "base/memory.h"

#include <string.h>

int sdg_tiles_along(int length, int tile, int step)
{
    return tile >= length ? 1 : (length - tile + step - 1) / step + 1;
}

// The last tile is moved back so that it ends with the image.
static int origin(int index, int length, int tile, int step)
{
    int at = index * step;
    return at + tile > length ? length - tile : at;
}

// Weight of position i (in output pixels) inside a tile: a ramp over the overlap at sides that have a neighbour.
static float ramp(int i, int size, int overlap, bool before, bool after)
{
    float weight = 1.0f;
    if (before && i < overlap)
        weight = ((float)i + 0.5f) / (float)overlap;
    if (after && size - 1 - i < overlap) {
        float other = ((float)(size - 1 - i) + 0.5f) / (float)overlap;
        weight = other < weight ? other : weight;
    }
    return weight;
}

struct tile {
    int y, x;
    bool above, below, left, right;
};

static void cut(const struct sdg_tiling *t, const struct tile *at, const float *in, float *to)
{
    size_t row = (size_t)t->tile_w * (size_t)t->in_scale * (size_t)t->in_channels,
           stride = (size_t)t->width * (size_t)t->in_scale * (size_t)t->in_channels;
    const float *from = in + (size_t)at->y * (size_t)t->in_scale * stride +
        (size_t)at->x * (size_t)t->in_scale * (size_t)t->in_channels;
    for (int y = 0; y < t->tile_h * t->in_scale; y++)
        memcpy(to + (size_t)y * row, from + (size_t)y * stride, row * sizeof *to);
}

static void blend(const struct sdg_tiling *t, const struct tile *at, const float *from, float *out, float *weights)
{
    int h = t->tile_h * t->out_scale, w = t->tile_w * t->out_scale, c = t->out_channels;
    int over_y = (t->tile_h - t->step) * t->out_scale, over_x = (t->tile_w - t->step) * t->out_scale;
    size_t stride = (size_t)t->width * (size_t)t->out_scale;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float weight = ramp(y, h, over_y, at->above, at->below) * ramp(x, w, over_x, at->left, at->right);
            size_t pixel = ((size_t)at->y * (size_t)t->out_scale + (size_t)y) * stride +
                (size_t)at->x * (size_t)t->out_scale + (size_t)x;
            for (int k = 0; k < c; k++)
                out[pixel * (size_t)c + (size_t)k] +=
                    weight * from[((size_t)y * (size_t)w + (size_t)x) * (size_t)c + (size_t)k];
            weights[pixel] += weight;
        }
}

struct buffers { float *in, *out, *weights; };

static enum sdg_result run_tiles(struct sdg_program *program, const char *input, const char *output,
                                 const struct sdg_tiling *t, const float *in, float *out, struct buffers *b,
                                 enum sdg_result (*done)(void *user, int done, int tiles), void *user)
{
    int rows = sdg_tiles_along(t->height, t->tile_h, t->step), columns = sdg_tiles_along(t->width, t->tile_w, t->step);
    size_t in_count =
        (size_t)t->tile_h * (size_t)t->tile_w * (size_t)t->in_scale * (size_t)t->in_scale * (size_t)t->in_channels;
    size_t out_count =
        (size_t)t->tile_h * (size_t)t->tile_w * (size_t)t->out_scale * (size_t)t->out_scale * (size_t)t->out_channels;
    size_t pixels = (size_t)t->height * (size_t)t->width * (size_t)t->out_scale * (size_t)t->out_scale;
    memset(out, 0, pixels * (size_t)t->out_channels * sizeof *out);
    for (int i = 0; i < rows * columns; i++) {
        int row = i / columns, column = i % columns;
        struct tile at = {origin(row, t->height, t->tile_h, t->step),
                          origin(column, t->width, t->tile_w, t->step),
                          row > 0,
                          row < rows - 1,
                          column > 0,
                          column < columns - 1};
        cut(t, &at, in, b->in);
        SDG_TRY(sdg_program_write(program, input, b->in, in_count));
        SDG_TRY(sdg_program_run(program, 0));
        SDG_TRY(sdg_program_read(program, output, b->out, out_count));
        blend(t, &at, b->out, out, b->weights);
        if (done)
            SDG_TRY(done(user, i + 1, rows * columns));
    }
    for (size_t i = 0; i < pixels; i++)
        for (int k = 0; k < t->out_channels; k++)
            out[i * (size_t)t->out_channels + (size_t)k] /= b->weights[i];
    return SDG_OK;
}

enum sdg_result sdg_tiles_run(const struct sdg_log *log, struct sdg_program *program, const char *input,
                              const char *output, const struct sdg_tiling *t, const float *in, float *out,
                              enum sdg_result (*done)(void *user, int done, int tiles), void *user)
{
    size_t in_pixels = (size_t)t->in_scale * (size_t)t->in_scale,
           out_pixels = (size_t)t->out_scale * (size_t)t->out_scale;
    if (t->tile_h == t->height && t->tile_w == t->width) {
        size_t latent = (size_t)t->height * (size_t)t->width;
        SDG_TRY(sdg_program_write(program, input, in, latent * in_pixels * (size_t)t->in_channels));
        SDG_TRY(sdg_program_run(program, 0));
        SDG_TRY(sdg_program_read(program, output, out, latent * out_pixels * (size_t)t->out_channels));
        return done ? done(user, 1, 1) : SDG_OK;
    }
    size_t tile = (size_t)t->tile_h * (size_t)t->tile_w;
    struct buffers b = {
        .in = sdg_alloc_raw(log, tile * in_pixels * (size_t)t->in_channels, sizeof *b.in, "a tile"),
        .out = sdg_alloc_raw(log, tile * out_pixels * (size_t)t->out_channels, sizeof *b.out, "a tile"),
        .weights =
            sdg_alloc(log, (size_t)t->height * (size_t)t->width * out_pixels, sizeof *b.weights, "blending weights"),
    };
    enum sdg_result result =
        b.in && b.out && b.weights ? run_tiles(program, input, output, t, in, out, &b, done, user) : SDG_ERROR_MEMORY;
    sdg_free(b.in);
    sdg_free(b.out);
    sdg_free(b.weights);
    return result;
}
