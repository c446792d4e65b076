// Inside picture/: what a decoder makes of a file, before it is turned upright and put on a background.
#ifndef SDG_PICTURE_LAYERS_H
#define SDG_PICTURE_LAYERS_H

#include "sdgen/sdgen.h"

struct sdg_layers {
    struct sdg_image *image; // colours as stored, not multiplied by alpha
    uint8_t *alpha;          // [height][width], 255 = opaque; NULL = all opaque
    int orientation;         // as EXIF has it, 1..8; 0 = the file does not say
};

void sdg_layers_clear(struct sdg_layers *layers);
// From `rgba` [height][width][4]. Alpha that is 255 all over is left out. False without memory, layers empty.
bool sdg_layers_split(const uint8_t *rgba, int width, int height, struct sdg_layers *out);
// Mirrors and rotates both so that the picture stands upright, and sets orientation to 1. False without memory.
bool sdg_layers_turn(struct sdg_layers *layers);

#endif
