// Modules as torch stores them: an operation whose weights are named PATH.weight and PATH.bias. Networks are built from
// these.
#ifndef SDG_GRAPH_MODULES_H
#define SDG_GRAPH_MODULES_H

#include "graph/graph.h"

enum { SDG_MODULE_PATH_BYTES = 192 };

// "PREFIX.NAME" in `path`, which is returned.
const char *sdg_module_path(char path[SDG_MODULE_PATH_BYTES], const char *prefix, const char *name);

// Input channels are x's. `epilogue` without its bias, which `bias` asks for.
sdg_value sdg_module_linear(struct sdg_graph *g, const char *path, sdg_value x, int64_t out, bool bias,
                            struct sdg_epilogue epilogue);
sdg_value sdg_module_conv3x3(struct sdg_graph *g, const char *path, sdg_value x, int64_t out,
                             struct sdg_conv_params params, bool bias, struct sdg_epilogue epilogue);
sdg_value sdg_module_group_norm(struct sdg_graph *g, const char *path, sdg_value x, int groups, float eps,
                                enum sdg_unary activation);
sdg_value sdg_module_layer_norm(struct sdg_graph *g, const char *path, sdg_value x, float eps);

// stride 1 or 2 with one pixel of padding on every side
static const struct sdg_conv_params SDG_CONV_SAME = {1, 1, 1, 1, 1};
static const struct sdg_conv_params SDG_CONV_HALF = {2, 1, 1, 1, 1};

#endif
