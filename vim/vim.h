// Vision Mamba (Zhu et al. 2024, arXiv 2401.09417), a classifier of pictures, as a graph. Tensors have the names of the
// authors' code.
//
// The picture is cut into T - 1 patches, row by row; the class token stands in the middle of them, as token (T - 1) /
// 2:
//     "patches"    [N, P, T * P, I]   the patches side by side, P pixels a side, zeros at the class token's place
//     "positions"  [1, 1, T, D]       what a token is without its patch's pixels: position embedding + patch_embed's
//                                     bias, or at the class token + the class token
//     -> "logits"  [N, 1, T, O]       of which those of the class token count
// Neither token nor embedding depends on the picture, so the host adds them once (sdg_vim_positions).
#ifndef SDG_VIM_VIM_H
#define SDG_VIM_VIM_H

#include "formats/config.h"
#include "formats/tensors.h"
#include "graph/graph.h"

static inline int64_t sdg_vim_side(const struct sdg_vim_config *c) // in patches
{
    return c->image_size / c->patch_size;
}
static inline int64_t sdg_vim_tokens(const struct sdg_vim_config *c) // T
{
    return sdg_vim_side(c) * sdg_vim_side(c) + 1;
}
static inline int64_t sdg_vim_class_token(const struct sdg_vim_config *c)
{
    return (sdg_vim_tokens(c) - 1) / 2;
}

// The network for `batch` pictures at once, after fusion: what is compiled, observed and quantized.
enum sdg_result sdg_vim_graph(const struct sdg_log *log, const struct sdg_vim_config *config, int64_t batch,
                              struct sdg_graph **out);

// "patches" of one picture [I][image_size][image_size], pixels from 0 to config->white; normalised here.
void sdg_vim_patches(const struct sdg_vim_config *config, const float *picture, float *patches);
// "positions" out of pos_embed, cls_token and patch_embed.proj.bias. SDG_ERROR_INPUT naming file and tensor where one
// is missing, misshapen or not of floats.
enum sdg_result sdg_vim_positions(const struct sdg_log *log, const struct sdg_vim_config *config,
                                  const struct sdg_tensors *tensors, float *positions);
// The weights that no graph reads because sdg_vim_positions does.
bool sdg_vim_is_position(const char *tensor);

#endif
