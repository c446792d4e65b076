// How a conv2d or linear is cut into pieces, each of which one thread computes by one call of the library.
//
// The cut depends on nothing but the shape, so the bytes of a result do not depend on the number of threads. A piece is
// a band of output rows of one sample, by a block of output channels: bands share their weights, blocks their input.
#ifndef SDG_BACKEND_CPU_ONEDNN_GRID_H
#define SDG_BACKEND_CPU_ONEDNN_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A layer as the cut sees it. For linear an image is one pixel wide and has a row per token.
struct sdg_grid_layer {
    bool in_blocks;             // blocks of channels may be made
    int64_t samples;            // that are cut apart anyway
    int64_t height, width;      // of the output, of a sample
    int64_t channels;           // of the output
    int64_t depth;              // products in a sum
    int64_t number_bytes;       // of what is multiplied: 4, 2 or 1
    int64_t input_bytes;        // of a sample
    int64_t bytes_out_of_place; // what blocks cost per sample: results written aside, read, and written again
};

struct sdg_grid {
    int64_t samples;
    int64_t rows, bands;   // rows of a band; the last one may have fewer
    int64_t width, blocks; // output channels of a block; all have as many
};

void sdg_grid_cut(const struct sdg_grid_layer *layer, struct sdg_grid *out);
// One piece per sample.
void sdg_grid_whole(const struct sdg_grid_layer *layer, struct sdg_grid *out);

// Tests: layers are cut into about that many pieces, however small they are (0: as many as pay).
void sdg_test_pieces(int64_t wanted);

static inline int64_t sdg_grid_pieces(const struct sdg_grid *grid)
{
    return grid->samples * grid->bands * grid->blocks;
}

// Piece `index` < sdg_grid_pieces. Those of a block are neighbours, as they share its weights.
struct sdg_grid_piece { int64_t sample, band, block; };
static inline struct sdg_grid_piece sdg_grid_piece_at(const struct sdg_grid *grid, int64_t index)
{
    const int64_t bands = grid->bands, images = grid->samples * bands;
    return (struct sdg_grid_piece){index % images / bands, index % bands, index / images};
}

#endif
