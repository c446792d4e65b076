#include "vim/vim.h"

#include "base/memory.h"
#include "formats/stored.h"
#include "graph/modules.h"
#include "mamba/mamba.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char class_name[] = "cls_token", position_name[] = "pos_embed", bias_name[] = "patch_embed.proj.bias";

// ---- the graph ----

static sdg_value embed(struct sdg_graph *g, const struct sdg_vim_config *c, int64_t batch)
{
    const int p = c->patch_size;
    const int64_t tokens = sdg_vim_tokens(c);
    const struct sdg_conv_params params = {.stride = p};
    sdg_value patches = sdg_graph_input(g, "patches", batch, p, tokens * p, c->channels);
    sdg_value positions = sdg_graph_input(g, "positions", 1, 1, tokens, c->hidden);
    sdg_value weight = sdg_graph_conv_weight(g, c->hidden, c->channels, p, p, "patch_embed.proj.weight");
    sdg_value x = sdg_graph_conv2d(g, "patch_embed.proj", patches, weight, params, (struct sdg_epilogue){0});
    return sdg_graph_binary(g, "pos_embed", SDG_BINARY_ADD, x, positions);
}

static sdg_value layer(struct sdg_graph *g, const struct sdg_vim_config *c, int index, sdg_value x)
{
    char prefix[32], path[SDG_MODULE_PATH_BYTES];
    snprintf(prefix, sizeof prefix, "layers.%d", index);
    sdg_value y = sdg_module_layer_norm(g, sdg_module_path(path, prefix, "norm"), x, c->norm_eps);
    const struct sdg_mamba_config mamba = {
        .d_state = c->d_state, .d_conv = c->d_conv, .expand = c->expand, .bidirectional = true, .halve = true};
    return sdg_mamba_block(g, sdg_module_path(path, prefix, "mixer"), y, x, &mamba);
}

enum sdg_result sdg_vim_graph(const struct sdg_log *log, const struct sdg_vim_config *c, int64_t batch,
                              struct sdg_graph **out)
{
    struct sdg_graph *g;
    SDG_TRY(sdg_graph_create(log, &g));
    sdg_value x = embed(g, c, batch);
    for (int i = 0; i < c->layers; i++)
        x = layer(g, c, i, x);
    x = sdg_module_layer_norm(g, "norm_f", x, c->norm_eps);
    x = sdg_module_linear(g, "head", x, c->classes, true, (struct sdg_epilogue){0});
    sdg_graph_output(g, "logits", x);
    enum sdg_result result = sdg_graph_fuse(g);
    if (result == SDG_OK)
        *out = g;
    else
        sdg_graph_destroy(&g);
    return result;
}

// ---- what the host writes ----

void sdg_vim_patches(const struct sdg_vim_config *c, const float *picture, float *patches)
{
    const int64_t p = c->patch_size, n = c->image_size, side = sdg_vim_side(c), tokens = sdg_vim_tokens(c),
                  middle = sdg_vim_class_token(c), channels = c->channels;
    memset(patches, 0, (size_t)(p * tokens * p * channels) * sizeof *patches);
    for (int64_t channel = 0; channel < channels; channel++)
        for (int64_t y = 0; y < n; y++)
            for (int64_t x = 0; x < n; x++) {
                const int64_t patch = y / p * side + x / p, token = patch + (patch >= middle);
                const float pixel = picture[(channel * n + y) * n + x];
                patches[((y % p * tokens + token) * p + x % p) * channels + channel] =
                    (pixel / c->white - c->mean) / c->std;
            }
}

// `count` numbers, whatever axes of 1 the file puts around them.
static enum sdg_result read_numbers(const struct sdg_log *log, const struct sdg_tensors *tensors, const char *name,
                                    int64_t count, float *out)
{
    const struct sdg_tensor *t = sdg_tensors_find(tensors, name);
    const char *path = sdg_tensors_path(tensors);
    if (!t)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is missing", path, name);
    SDG_TRY(sdg_tensor_check_readable(log, path, t));
    int64_t found = 1;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(found, t->dims[i], &found))
            found = 0;
    if (!sdg_dtype_is_float(t->dtype) || t->rank < 1 || found != count)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s is %s with %" PRId64 " numbers, should be %" PRId64 " floats",
                        path, name, sdg_dtype_name(t->dtype), found, count);
    float bad;
    if (sdg_tensor_has_bad_number(t, &bad))
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: %s holds %g, should be finite", path, name, (double)bad);
    const struct sdg_stored stored = sdg_stored_numbers(t);
    sdg_stored_expand(&stored, 0, (size_t)count, SDG_F32, out);
    return SDG_OK;
}

enum sdg_result sdg_vim_positions(const struct sdg_log *log, const struct sdg_vim_config *c,
                                  const struct sdg_tensors *tensors, float *positions)
{
    const int64_t tokens = sdg_vim_tokens(c), hidden = c->hidden;
    float *added = sdg_alloc(log, (size_t)hidden, 2 * sizeof *added, "the class token"), *bias = added + hidden;
    if (!added)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = read_numbers(log, tensors, position_name, tokens * hidden, positions);
    if (result == SDG_OK)
        result = read_numbers(log, tensors, class_name, hidden, added);
    if (result == SDG_OK)
        result = read_numbers(log, tensors, bias_name, hidden, bias);
    for (int64_t t = 0; t < tokens && result == SDG_OK; t++)
        for (int64_t i = 0; i < hidden; i++)
            positions[t * hidden + i] += t == sdg_vim_class_token(c) ? added[i] : bias[i];
    sdg_free(added);
    return result;
}

bool sdg_vim_is_position(const char *tensor)
{
    return strcmp(tensor, class_name) == 0 || strcmp(tensor, position_name) == 0 || strcmp(tensor, bias_name) == 0;
}
