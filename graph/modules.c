#include "graph/modules.h"

#include <stdio.h>

const char *sdg_module_path(char path[SDG_MODULE_PATH_BYTES], const char *prefix, const char *name)
{
    if (snprintf(path, SDG_MODULE_PATH_BYTES, "%s.%s", prefix, name) >= SDG_MODULE_PATH_BYTES)
        path[0] = 0; // an empty name is refused by the graph
    return path;
}

static int64_t channels_of(const struct sdg_graph *g, sdg_value x)
{
    return g->values[x].dims[3];
}

static sdg_value vector(struct sdg_graph *g, const char *path, const char *name, int64_t n)
{
    return sdg_graph_vector_weight(g, n, "%s.%s", path, name);
}

sdg_value sdg_module_linear(struct sdg_graph *g, const char *path, sdg_value x, int64_t out, bool bias,
                            struct sdg_epilogue epilogue)
{
    if (!x)
        return 0;
    sdg_value weight = sdg_graph_linear_weight(g, out, channels_of(g, x), "%s.weight", path);
    if (bias)
        epilogue.bias = vector(g, path, "bias", out);
    return sdg_graph_linear(g, path, x, weight, epilogue);
}

sdg_value sdg_module_conv3x3(struct sdg_graph *g, const char *path, sdg_value x, int64_t out,
                             struct sdg_conv_params params, bool bias, struct sdg_epilogue epilogue)
{
    if (!x)
        return 0;
    sdg_value weight = sdg_graph_conv_weight(g, out, channels_of(g, x), 3, 3, "%s.weight", path);
    if (bias)
        epilogue.bias = vector(g, path, "bias", out);
    return sdg_graph_conv2d(g, path, x, weight, params, epilogue);
}

sdg_value sdg_module_group_norm(struct sdg_graph *g, const char *path, sdg_value x, int groups, float eps,
                                enum sdg_unary activation)
{
    if (!x)
        return 0;
    int64_t n = channels_of(g, x);
    sdg_value gamma = vector(g, path, "weight", n), beta = vector(g, path, "bias", n);
    return sdg_graph_group_norm(g, path, x, gamma, beta, groups, eps, activation);
}

sdg_value sdg_module_layer_norm(struct sdg_graph *g, const char *path, sdg_value x, float eps)
{
    if (!x)
        return 0;
    int64_t n = channels_of(g, x);
    sdg_value gamma = vector(g, path, "weight", n), beta = vector(g, path, "bias", n);
    return sdg_graph_layer_norm(g, path, x, gamma, beta, eps);
}
