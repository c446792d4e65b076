// The cut of a layer: as many pieces as keep many threads busy, none so small that the call is felt, and among the cuts
// that give so many the one that moves the fewest bytes. All figures were measured (docs/speed.md).
#include "backend/cpu/onednn/grid.h"

enum {
    WORK_PER_MICROSECOND = 200000, // multiply-accumulates of single bytes; half as many of two bytes, and so on
    HALVED = 16,                   // microseconds of a layer from which two pieces are better than one
    SMALL_PIECE = 100,             // microseconds, where there are more: a call takes about 2
    MOST_PIECES = 64,              // of a layer, as long as they are shorter than
    LARGE_PIECE = 2000,            // microseconds
    FEW_PIECES = 16,               // of more, half as many are enough
    WIDTH = 64,                    // output channels of a block are a multiple: the library pads its weights to that
    TEST_WIDTH = 16,
    CACHE = 1024 * 1024, // that many bytes stay where a core has them
    FEW_PIXELS = 32,     // a band of fewer wastes registers
};

static int64_t test_pieces; // 0: as many as pay

void sdg_test_pieces(int64_t wanted)
{
    test_pieces = wanted;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

// Pieces that the layer should have. Few ones are a power of two, so that two or four threads end together.
static int64_t wanted_pieces(const struct sdg_grid_layer *l)
{
    if (test_pieces)
        return test_pieces;
    const double work = (double)l->samples * (double)(l->height * l->width) * (double)(l->channels * l->depth);
    const double time = work * (double)l->number_bytes / WORK_PER_MICROSECOND;
    if (time < 4 * SMALL_PIECE)
        return time < HALVED ? 1 : 2;
    if (time > (double)MOST_PIECES * LARGE_PIECE)
        return (int64_t)(time / LARGE_PIECE);
    int64_t pieces = 4;
    while (pieces < MOST_PIECES && time >= (double)(2 * pieces) * SMALL_PIECE)
        pieces *= 2;
    return pieces;
}

// Rows of a band where there should be `bands`: equal ones, if that takes no more than half as many bands again.
static int64_t rows_of_band(int64_t height, int64_t bands)
{
    const int64_t rows = divide_up(height, bands);
    for (int64_t r = rows; r * 3 >= rows * 2 && r > 0; r--)
        if (height % r == 0)
            return r;
    return rows;
}

// What a byte costs among so many that one piece moves back and forth.
static double distance(double bytes)
{
    return bytes <= CACHE ? 0.25 : 1;
}

// Bytes that are moved: every band reads its block's weights, every block all input, and blocks put their results down
// twice; weights and results of a piece that are few stay near. What keeps fewer threads busy than it should costs as
// much more.
static double cost(const struct sdg_grid_layer *l, const struct sdg_grid *g, int64_t enough)
{
    const double weights = (double)(l->channels * l->depth) * (double)l->number_bytes;
    const double aside = g->blocks > 1 ? (double)(l->samples * l->bytes_out_of_place) : 0;
    double bytes = weights * distance(weights / (double)g->blocks) * (double)g->bands +
        (double)l->input_bytes * (double)g->blocks + aside * distance(aside / (double)sdg_grid_pieces(g));
    if (sdg_grid_pieces(g) < enough)
        bytes *= (double)enough / (double)sdg_grid_pieces(g);
    if (g->rows * l->width < FEW_PIXELS && g->bands > 1)
        bytes *= 2;
    return bytes;
}

void sdg_grid_whole(const struct sdg_grid_layer *l, struct sdg_grid *out)
{
    *out = (struct sdg_grid){l->samples, l->height, 1, l->channels, 1};
}

void sdg_grid_cut(const struct sdg_grid_layer *l, struct sdg_grid *out)
{
    const int64_t wanted = wanted_pieces(l), width = test_pieces ? TEST_WIDTH : WIDTH,
                  most_blocks = l->in_blocks && l->channels > width ? l->channels / width : 1;
    const int64_t enough = wanted > FEW_PIECES && wanted <= MOST_PIECES ? wanted / 2 : wanted;
    double least = 0;
    sdg_grid_whole(l, out);
    for (int64_t blocks = 1; blocks <= most_blocks; blocks++) {
        if (blocks > 1 && l->channels % (blocks * width) != 0)
            continue;
        for (int64_t bands = divide_up(wanted, l->samples * blocks); bands > 0; bands /= 2) {
            struct sdg_grid grid = {.samples = l->samples, .width = l->channels / blocks, .blocks = blocks};
            grid.rows = rows_of_band(l->height, bands < l->height ? bands : l->height);
            grid.bands = divide_up(l->height, grid.rows);
            const double bytes = cost(l, &grid, enough);
            if (least == 0 || bytes < least) {
                least = bytes;
                *out = grid;
            }
        }
    }
}
