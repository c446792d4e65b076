#include "mamba/mamba.h"

#include "graph/modules.h"

#include <stdio.h>

enum { CHANNELS_PER_RANK = 16 };

struct block {
    struct sdg_graph *g;
    const char *path;
    const struct sdg_mamba_config *config;
    int64_t inner, rank; // E, R
    sdg_value both;      // x and z, [N,H,W,2E]
};

static int64_t channels_of(const struct sdg_graph *g, sdg_value x)
{
    return g->values[x].dims[3];
}

// "PATH.NAME", with the ending of the backward direction's.
static const char *path_of(const struct block *b, char path[SDG_MODULE_PATH_BYTES], const char *name, bool backward)
{
    char whole[64];
    snprintf(whole, sizeof whole, "%s%s", name, backward ? "_b" : "");
    return sdg_module_path(path, b->path, whole);
}

static sdg_value convolve(const struct block *b, bool backward)
{
    char path[SDG_MODULE_PATH_BYTES];
    path_of(b, path, "conv1d", backward);
    sdg_value weight = sdg_graph_conv1d_weight(b->g, b->inner, b->config->d_conv, "%s.weight", path),
              bias = b->config->no_conv_bias ? 0 : sdg_graph_vector_weight(b->g, b->inner, "%s.bias", path);
    return sdg_graph_conv1d_causal(b->g, path, b->both, 0, weight, bias, SDG_UNARY_SILU, backward);
}

// What one direction says, [N,H,W,E]. The last one adds `other`, what the other says, and gates the sum.
static sdg_value direction(const struct block *b, bool backward, bool last, sdg_value other)
{
    struct sdg_graph *g = b->g;
    const int64_t states = b->config->d_state;
    char path[SDG_MODULE_PATH_BYTES];
    const sdg_value x = convolve(b, backward);
    const sdg_value all = sdg_module_linear(g, path_of(b, path, "x_proj", backward), x, b->rank + 2 * states, false,
                                            (struct sdg_epilogue){0});
    const sdg_value dt = sdg_graph_slice(g, path_of(b, path, "dt", backward), all, 0, b->rank);
    const sdg_value delta =
        sdg_module_linear(g, path_of(b, path, "dt_proj", backward), dt, b->inner, false, (struct sdg_epilogue){0});
    const struct sdg_scan_operands operands = {
        .x = x,
        .delta = delta,
        .bc = all,
        .a_log = sdg_graph_matrix_weight(g, b->inner, states, "%s.%s", b->path, backward ? "A_b_log" : "A_log"),
        .d = sdg_graph_vector_weight(g, b->inner, "%s.%s", b->path, backward ? "D_b" : "D"),
        .delta_bias = sdg_graph_vector_weight(g, b->inner, "%s.bias", path),
        .gate = last ? b->both : 0,
        .add = other,
    };
    const struct sdg_scan_params params = {.b_start = b->rank,
                                           .c_start = b->rank + states,
                                           .gate_start = last ? b->inner : 0,
                                           .scale = other && b->config->halve ? 0.5f : 1,
                                           .backward = backward};
    return sdg_graph_selective_scan(g, path_of(b, path, "scan", backward), operands, params);
}

// Blocks of the largest power of two that divides E.
static sdg_value spread_outliers(const struct block *b, sdg_value y)
{
    char path[SDG_MODULE_PATH_BYTES];
    int64_t size = b->inner & -b->inner;
    if (size > SDG_HADAMARD_MOST)
        size = SDG_HADAMARD_MOST;
    return sdg_graph_hadamard(b->g, path_of(b, path, "hadamard", false), y, size);
}

sdg_value sdg_mamba_block(struct sdg_graph *g, const char *prefix, sdg_value x, sdg_value residual,
                          const struct sdg_mamba_config *config)
{
    char path[SDG_MODULE_PATH_BYTES];
    if (!x)
        return 0;
    const int64_t channels = channels_of(g, x);
    struct block b = {.g = g,
                      .path = prefix,
                      .config = config,
                      .inner = channels * config->expand,
                      .rank = config->dt_rank ? config->dt_rank : (channels - 1) / CHANNELS_PER_RANK + 1};
    b.both = sdg_module_linear(g, path_of(&b, path, "in_proj", false), x, 2 * b.inner, config->in_proj_bias,
                               (struct sdg_epilogue){0});
    sdg_value y = direction(&b, false, !config->bidirectional, 0);
    if (config->bidirectional)
        y = direction(&b, true, true, y);
    if (config->hadamard)
        y = spread_outliers(&b, y);
    return sdg_module_linear(g, path_of(&b, path, "out_proj", false), y, channels, config->out_proj_bias,
                             (struct sdg_epilogue){.residual = residual});
}
