#include "picture/layers.h"

#include "base/memory.h"

#include <string.h>

void sdg_layers_clear(struct sdg_layers *layers)
{
    sdg_image_destroy(&layers->image);
    sdg_free(layers->alpha);
    *layers = (struct sdg_layers){0};
}

bool sdg_layers_split(const uint8_t *rgba, int width, int height, struct sdg_layers *out)
{
    size_t pixels = (size_t)width * (size_t)height;
    bool opaque = true;
    *out = (struct sdg_layers){0};
    if (sdg_image_create(width, height, &out->image) != SDG_OK ||
        !(out->alpha = sdg_alloc_raw(NULL, pixels, 1, "transparency"))) {
        sdg_layers_clear(out);
        return false;
    }
    for (size_t i = 0; i < pixels; i++) {
        memcpy(out->image->pixels + 3 * i, rgba + 4 * i, 3);
        out->alpha[i] = rgba[4 * i + 3];
        opaque = opaque && out->alpha[i] == 255;
    }
    if (opaque) {
        sdg_free(out->alpha);
        out->alpha = NULL;
    }
    return true;
}

// ---- turning ----

// How an orientation is undone: first rows and columns change places, then both sides are mirrored as it says.
struct turn { bool transpose, mirror_x, mirror_y; };
static const struct turn turns[9] = {
    [2] = {.mirror_x = true},
    [3] = {.mirror_x = true, .mirror_y = true},
    [4] = {.mirror_y = true},
    [5] = {.transpose = true},
    [6] = {.transpose = true, .mirror_x = true},
    [7] = {.transpose = true, .mirror_x = true, .mirror_y = true},
    [8] = {.transpose = true, .mirror_y = true},
};

// `from` [height][width][bytes]; `to` is as large, with the sides exchanged where the turn transposes.
static void turn_pixels(struct turn turn, const uint8_t *from, int width, int height, size_t bytes, uint8_t *to)
{
    const int out_w = turn.transpose ? height : width, out_h = turn.transpose ? width : height;
    for (int y = 0; y < out_h; y++)
        for (int x = 0; x < out_w; x++, to += bytes) {
            int sx = turn.mirror_x ? out_w - 1 - x : x, sy = turn.mirror_y ? out_h - 1 - y : y;
            size_t row = (size_t)(turn.transpose ? sx : sy), column = (size_t)(turn.transpose ? sy : sx);
            memcpy(to, from + (row * (size_t)width + column) * bytes, bytes);
        }
}

bool sdg_layers_turn(struct sdg_layers *layers)
{
    const struct sdg_image *image = layers->image;
    if (layers->orientation < 2 || layers->orientation > 8) {
        layers->orientation = 1;
        return true;
    }
    const struct turn turn = turns[layers->orientation];
    struct sdg_layers out = {.orientation = 1};
    size_t pixels = (size_t)image->width * (size_t)image->height;
    bool good = sdg_image_create(turn.transpose ? image->height : image->width,
                                 turn.transpose ? image->width : image->height, &out.image) == SDG_OK;
    if (good && layers->alpha)
        good = (out.alpha = sdg_alloc_raw(NULL, pixels, 1, "transparency")) != NULL;
    if (!good) {
        sdg_layers_clear(&out);
        return false;
    }
    turn_pixels(turn, image->pixels, image->width, image->height, 3, out.image->pixels);
    if (out.alpha)
        turn_pixels(turn, layers->alpha, image->width, image->height, 1, out.alpha);
    sdg_layers_clear(layers);
    *layers = out;
    return true;
}
