// Runs a network of fixed size over a larger image in overlapping tiles and blends the seams.
#ifndef SDG_PIPELINE_TILES_H
#define SDG_PIPELINE_TILES_H

#include "backend/backend.h"

struct sdg_tiling {
    int height, width;       // the whole, in latent pixels
    int tile_h, tile_w;      // one run; equal to height and width: no tiling
    int step;                // distance of tile origins; tile - step is the overlap
    int in_scale, out_scale; // pixels per latent pixel of input and output
    int in_channels, out_channels;
};

// `in` [height*in_scale][width*in_scale][in_channels] -> `out` [height*out_scale][width*out_scale][out_channels].
// Overlaps are blended with linear ramps, whose weights sum to 1 everywhere. `done` (may be NULL) is called after each
// tile.
enum sdg_result sdg_tiles_run(const struct sdg_log *log, struct sdg_program *program, const char *input,
                              const char *output, const struct sdg_tiling *tiling, const float *in, float *out,
                              enum sdg_result (*done)(void *user, int done, int tiles), void *user);
// Number of tiles along a side of `length` with tiles of `tile` every `step`.
int sdg_tiles_along(int length, int tile, int step);

#endif
