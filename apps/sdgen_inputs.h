// What sdgen reads or draws once for all pictures of a batch, at the size at which they are drawn.
#ifndef SDG_APPS_SDGEN_INPUTS_H
#define SDG_APPS_SDGEN_INPUTS_H

#include "sdgen/array.h"
#include "sdgen_options.h"

struct sdgen_inputs {
    int width, height;             // of the picture; 0 = the model's
    int drawn_width, drawn_height; // the next multiples of the model's factor: what is drawn, and cut to the middle
    struct sdg_image *init;        // of the size that is drawn; where it is larger, the edges repeat
    uint8_t *mask;                 // likewise, one byte a pixel
    struct sdg_array *noise;       // [latent channels][height / factor][width / factor]; NULL = drawn
    size_t noise_count;
    uint64_t seed;                                     // of the first picture
    char init_hash[17], mask_hash[17], noise_hash[17]; // of the files
    bool transparent;                                  // the init image was put on a background
};

// Reads and checks the files that a command line names, and says what is done with them. To be freed also after a
// failure.
enum sdg_result sdgen_inputs_read(struct app_ui *ui, const struct sdgen_options *options,
                                  const struct sdg_pipeline_info *model, struct sdgen_inputs *inputs);
void sdgen_inputs_free(struct sdgen_inputs *inputs);

#endif
