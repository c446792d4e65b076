// What has been learned of a model so far, in a file that is itself a part of a quantized UNet: the tensors that take
// the place of the folder's (formats/quantized_folder.h) once all blocks are learned. It is written anew after each
// block, so that learning can go on after an interruption, and put over the folder's tensors to run what is learned
// already. BLOCK.learned, f32 [3], says that a block is done: loss before, loss after, 1 if it was better.
#ifndef SDG_MEASURE_LEARN_STATE_H
#define SDG_MEASURE_LEARN_STATE_H

#include "formats/tensors.h"

#define SDG_LEARNED_SUFFIX ".learned"

struct sdg_learn_state;

// Begins with nothing, or goes on from the file at `path`, which has to be one of the same `settings` (any text): else
// SDG_ERROR_INPUT. A file that is there although `resume` is false: SDG_ERROR_OUTPUT. `quantized`: the folder's
// tensors, whose metadata the file gets as well.
enum sdg_result sdg_learn_state_create(const struct sdg_log *log, const char *path, const char *settings, bool resume,
                                       const struct sdg_tensors *quantized, struct sdg_learn_state **out);
void sdg_learn_state_destroy(struct sdg_learn_state **state);

// Adds a tensor, in place of one of the same name: name and data are copied.
enum sdg_result sdg_learn_state_add(struct sdg_learn_state *state, const struct sdg_tensor *tensor);
enum sdg_result sdg_learn_state_write(const struct sdg_learn_state *state);
// All tensors so far, sorted by nothing.
const struct sdg_tensor *sdg_learn_state_tensors(const struct sdg_learn_state *state, size_t *count);
// The numbers of BLOCK.learned; NULL: it is not done.
const float *sdg_learn_state_block(const struct sdg_learn_state *state, const char *block);
// Puts the tensors so far over `*unet`, which is then the sum of both; nothing happens if there are none. The state
// must have been written.
enum sdg_result sdg_learn_state_overlay(const struct sdg_learn_state *state, struct sdg_tensors **unet);

#endif
