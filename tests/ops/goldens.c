// Layers whose outputs were computed in float64 from float32 inputs, channels first as in the files they came from.
#include "tests/ops/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct golden {
    struct suite *suite;
    const char *file; // conv, norm, ...
    struct sdg_tensors *tensors;
};

// NMSE allowed: f32 sums of double products round once (1e-9 leaves room for inputs near eps); others as in check.c.
static double bound(const struct suite *s)
{
    return strcmp(s->name, "reference") == 0 ? 1e-9 : 1e-7;
}

static const struct sdg_tensor *find(const struct golden *g, const char *key, const char *part)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s%s", key, *key ? "." : "", part);
    const struct sdg_tensor *t = sdg_tensors_find(g->tensors, name);
    return t && t->dtype == SDG_F32 ? t : NULL;
}

static float *content_of(const struct sdg_tensor *t)
{
    float *values = malloc(t->bytes);
    if (!values)
        exit(1);
    return memcpy(values, t->data, t->bytes);
}

// Copy of a tensor; [N,C,H,W] becomes [N,H,W,C].
static float *copy(const struct sdg_tensor *t)
{
    float *to = content_of(t), *from = content_of(t);
    int64_t count = (int64_t)(t->bytes / sizeof *to), c = t->rank == 4 ? t->dims[1] : 1,
            area = t->rank == 4 ? t->dims[2] * t->dims[3] : 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t n = i / (c * area), channel = i / area % c, position = i % area;
        to[t->rank == 4 ? (n * area + position) * c + channel : i] = from[i];
    }
    free(from);
    return to;
}

static sdg_value golden_input(struct fixture *f, const char *name, const struct sdg_tensor *t)
{
    const int64_t *d = t->dims;
    sdg_value v = t->rank == 4 ? input(f, name, d[0], d[2], d[3], d[1], NORMAL_DATA)
        : t->rank == 3         ? input(f, name, d[0], 1, d[1], d[2], NORMAL_DATA)
        : t->rank == 2         ? input(f, name, 1, 1, d[0], d[1], NORMAL_DATA)
                               : input(f, name, 1, 1, d[0], 1, NORMAL_DATA);
    float *values = copy(t);
    set_input(f, values);
    free(values);
    return v;
}

static sdg_value golden_weight(struct fixture *f, const struct sdg_tensor *t)
{
    const int64_t *d = t->dims;
    sdg_value v = t->rank == 4 ? conv_weight(f, d[0], d[1], (int)d[2], (int)d[3])
        : t->rank == 2         ? linear_weight(f, d[0], d[1])
                               : vector_weight(f, d[0], 0, 0);
    float *values = content_of(t); // at any alignment in the file
    set_weight(f, values);
    free(values);
    return v;
}

static bool begin_golden(const struct golden *g, struct fixture *f, const char *key, const char *part)
{
    if (g->suite->type != SDG_F32)
        // rounding the inputs would change the expected values; other types are compared with the reference
        return false;
    return begin(g->suite, f, "goldens(type=%s,%s %s%s%s)", type_name(g->suite), g->file, key, *key ? "." : "", part);
}

static void finish_golden(const struct golden *g, struct fixture *f, sdg_value y, const char *key, const char *part)
{
    char name[128];
    snprintf(name, sizeof name, "%s.output", part);
    float *expected = copy(find(g, key, name));
    finish_expected(f, y, 0, expected, bound(g->suite));
    free(expected);
}

// ---- conv.safetensors ----

static void conv_layer(const struct golden *g, const char *key, const char *part, const char *weight,
                       struct sdg_conv_params params, bool upsample)
{
    struct fixture f;
    if (!begin_golden(g, &f, key, part))
        return;
    const struct sdg_tensor *t = find(g, key, "input");
    sdg_value x = golden_input(&f, "x", t), w = golden_weight(&f, find(g, key, weight));
    if (upsample)
        x = sdg_graph_upsample_nearest(f.graph, "upsample", x, 2 * t->dims[2], 2 * t->dims[3]);
    struct sdg_epilogue end = {.bias = golden_weight(&f, find(g, key, "bias"))};
    finish_golden(g, &f, sdg_graph_conv2d(f.graph, "conv", x, w, params, end), key, part);
}

static void conv_layers(const struct golden *g, const char *key)
{
    struct fixture f;
    conv_layer(g, key, "conv3_s1_p1", "weight3", (struct sdg_conv_params){1, 1, 1, 1, 1}, false);
    conv_layer(g, key, "conv3_s2_p1", "weight3", (struct sdg_conv_params){2, 1, 1, 1, 1}, false);
    conv_layer(g, key, "conv3_s2_pad0101", "weight3", (struct sdg_conv_params){2, 0, 0, 1, 1}, false);
    conv_layer(g, key, "conv1", "weight1", (struct sdg_conv_params){1, 0, 0, 0, 0}, false);
    const struct sdg_tensor *out = find(g, key, "upsample_to.output");
    if (!out) { // not of the larger picture
        g->suite->failures += strcmp(key, "16-12-9x13") != 0;
        return;
    }
    conv_layer(g, key, "upsample2_conv3", "weight3", (struct sdg_conv_params){1, 1, 1, 1, 1}, true);
    if (!begin_golden(g, &f, key, "upsample_to"))
        return;
    sdg_value x = golden_input(&f, "x", find(g, key, "input"));
    finish_golden(g, &f, sdg_graph_upsample_nearest(f.graph, "upsample", x, out->dims[2], out->dims[3]), key,
                  "upsample_to");
}

// ---- norm.safetensors: "32g4-8x9" is channels, groups, height, width ----

static void group_norm_layer(const struct golden *g, const char *key, const char *part, const char *in, float eps,
                             enum sdg_unary activation)
{
    struct fixture f;
    const char *groups = strchr(key, 'g');
    if (!groups || !begin_golden(g, &f, key, part))
        return;
    sdg_value x = golden_input(&f, "x", find(g, key, in)), gamma = golden_weight(&f, find(g, key, "weight"));
    sdg_value y = sdg_graph_group_norm(f.graph, "norm", x, gamma, golden_weight(&f, find(g, key, "bias")),
                                       atoi(groups + 1), eps, activation);
    finish_golden(g, &f, y, key, part);
}

static void norm_layers(const struct golden *g, const char *key)
{
    struct fixture f;
    group_norm_layer(g, key, "group_norm_1e-05", "input", 1e-5f, SDG_UNARY_NONE);
    group_norm_layer(g, key, "group_norm_1e-06", "input", 1e-6f, SDG_UNARY_NONE);
    group_norm_layer(g, key, "group_norm_silu_1e-05", "input", 1e-5f, SDG_UNARY_SILU);
    group_norm_layer(g, key, "tiny_group_norm_1e-05", "tiny_input", 1e-5f, SDG_UNARY_NONE);
    group_norm_layer(g, key, "tiny_group_norm_1e-06", "tiny_input", 1e-6f, SDG_UNARY_NONE);
    if (!begin_golden(g, &f, key, "layer_norm_1e-05"))
        return;
    sdg_value x = golden_input(&f, "x", find(g, key, "tokens")), gamma = golden_weight(&f, find(g, key, "weight"));
    finish_golden(g, &f,
                  sdg_graph_layer_norm(f.graph, "norm", x, gamma, golden_weight(&f, find(g, key, "bias")), 1e-5f), key,
                  "layer_norm_1e-05");
}

// ---- attention.safetensors: "q35-k77-c32-h8"; the group "large" has the heads of its first configuration ----

static void attention_layer(const struct golden *g, const char *key, const char *part, bool causal)
{
    struct fixture f;
    char name[64];
    snprintf(name, sizeof name, "%s.output", part);
    if (!find(g, key, name) || !begin_golden(g, &f, key, part))
        return;
    const char *text = strstr(key, "-h");
    int heads = text ? atoi(text + 2) : 3;
    sdg_value q = golden_input(&f, "q", find(g, key, "q")), k = golden_input(&f, "k", find(g, key, "k")),
              v = golden_input(&f, "v", find(g, key, "v"));
    float depth = (float)(find(g, key, "q")->dims[2] / heads);
    finish_golden(g, &f, sdg_graph_attention(f.graph, "attention", q, k, v, heads, 1 / __builtin_sqrtf(depth), causal),
                  key, part);
}

static void attention_layers(const struct golden *g, const char *key)
{
    attention_layer(g, key, "attention", false);
    attention_layer(g, key, "causal", true);
}

// ---- activation.safetensors ----

static void activation_layers(const struct golden *g, const char *key)
{
    static const struct {
        const char *part;
        enum sdg_unary function;
    } functions[] = {
        {"silu", SDG_UNARY_SILU},
        {"gelu_erf", SDG_UNARY_GELU_ERF},
        {"gelu_tanh", SDG_UNARY_GELU_TANH},
        {"quick_gelu", SDG_UNARY_QUICK_GELU},
    };
    struct fixture f;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (begin_golden(g, &f, key, functions[i].part)) {
            f.pointwise = true;
            sdg_value x = golden_input(&f, "x", find(g, key, "input"));
            finish_golden(g, &f, sdg_graph_unary(f.graph, "unary", x, functions[i].function), key, functions[i].part);
        }
    if (!begin_golden(g, &f, key, "geglu"))
        return;
    sdg_value x = golden_input(&f, "x", find(g, key, "geglu.input")),
              w = golden_weight(&f, find(g, key, "geglu.weight"));
    struct sdg_epilogue end = {.bias = golden_weight(&f, find(g, key, "geglu.bias"))};
    finish_golden(g, &f, sdg_graph_geglu(f.graph, "geglu", sdg_graph_linear(f.graph, "linear", x, w, end)), key,
                  "geglu");
}

// ---- files of mamba: the first operations of a block, weights under Mamba's names; channels before tokens ----

// [N,C,L] becomes [N,L,C].
static float *copy_tokens(const struct sdg_tensor *t)
{
    float *to = content_of(t), *from = content_of(t);
    const int64_t c = t->dims[1], tokens = t->dims[2], count = (int64_t)(t->bytes / sizeof *to);
    for (int64_t i = 0; i < count; i++)
        to[(i / (c * tokens) * tokens + i % tokens) * c + i / tokens % c] = from[i];
    free(from);
    return to;
}

static sdg_value mamba_weight(const struct golden *g, struct fixture *f, const char *key, const char *name)
{
    const struct sdg_tensor *t = find(g, key, name);
    const bool kernel = strncmp(name, "conv1d.w", 8) == 0, plain = strcmp(name, "A_log") == 0;
    if (!kernel && !plain)
        return golden_weight(f, t);
    const sdg_value v = kernel ? conv1d_weight(f, t->dims[0], (int)t->dims[2])
                               : matrix_weight(f, t->dims[0], t->dims[1], (struct data){FLAT, 0, 0});
    float *values = content_of(t);
    set_weight(f, values);
    free(values);
    return v;
}

static void finish_tokens(const struct golden *g, struct fixture *f, sdg_value y, const char *key, const char *name)
{
    float *expected = copy_tokens(find(g, key, name));
    finish_expected(f, y, 0, expected, bound(g->suite));
    free(expected);
}

static void mamba_layers(const struct golden *g, const char *key)
{
    struct fixture f;
    if (begin_golden(g, &f, key, "conv1d_causal")) {
        const sdg_value input = golden_input(&f, "input", find(g, key, "input")),
                        xz = sdg_graph_linear(f.graph, "in_proj", input, mamba_weight(g, &f, key, "in_proj.weight"),
                                              (struct sdg_epilogue){0}),
                        weight = mamba_weight(g, &f, key, "conv1d.weight"),
                        bias = mamba_weight(g, &f, key, "conv1d.bias"),
                        y = sdg_graph_conv1d_causal(f.graph, "conv1d", xz, 0, weight, bias, SDG_UNARY_SILU, false);
        finish_tokens(g, &f, y, key, "forward.x");
    }
    if (!begin_golden(g, &f, key, "selective_scan"))
        return;
    const struct sdg_tensor *t = find(g, key, "forward.x");
    const int64_t states = find(g, key, "A_log")->dims[1], rank = find(g, key, "dt_proj.weight")->dims[1];
    const sdg_value x = input(&f, "x", t->dims[0], 1, t->dims[2], t->dims[1], NORMAL_DATA);
    float *values = copy_tokens(t);
    set_input(&f, values);
    free(values);
    const sdg_value all = sdg_graph_linear(f.graph, "x_proj", x, mamba_weight(g, &f, key, "x_proj.weight"),
                                           (struct sdg_epilogue){0}),
                    dt = sdg_graph_slice(f.graph, "dt", all, 0, rank);
    const struct sdg_scan_operands in = {
        .x = x,
        .delta = sdg_graph_linear(f.graph, "dt_proj", dt, mamba_weight(g, &f, key, "dt_proj.weight"),
                                  (struct sdg_epilogue){0}),
        .bc = all,
        .a_log = mamba_weight(g, &f, key, "A_log"),
        .d = mamba_weight(g, &f, key, "D"),
        .delta_bias = mamba_weight(g, &f, key, "dt_proj.bias"),
    };
    const struct sdg_scan_params params = {.b_start = rank, .c_start = rank + states, .scale = 1};
    finish_tokens(g, &f, sdg_graph_selective_scan(f.graph, "scan", in, params), key, "forward.y");
}

// Calls `layers` for every group of tensors of a file: what stands before the last but one point of KEY.PART.output.
static void for_each_key(const struct golden *g, const char *mark,
                         void (*layers)(const struct golden *g, const char *key))
{
    int groups = 0;
    for (size_t i = 0; i < sdg_tensors_count(g->tensors); i++) {
        const char *name = sdg_tensors_at(g->tensors, i)->name, *end = strstr(name, mark);
        char key[64];
        if (!end || strcmp(end, mark) != 0 || end - name >= (ptrdiff_t)sizeof key)
            continue;
        snprintf(key, sizeof key, "%.*s", (int)(end - name), name);
        layers(g, key);
        groups++;
    }
    if (groups == 0) {
        printf("FAILED  no layers in %s\n", sdg_tensors_path(g->tensors));
        g->suite->failures++;
    }
}

static void no_key(const struct golden *g, const char *mark, void (*layers)(const struct golden *g, const char *key))
{
    (void)mark;
    layers(g, "");
}

static bool open_golden(struct golden *g, struct suite *s, const char *name, const char *path)
{
    *g = (struct golden){.suite = s, .file = name};
    if (s->bench)
        return false;
    const bool good = sdg_tensors_open(s->log, path, &g->tensors) == SDG_OK;
    s->failures += !good;
    return good;
}

void check_goldens(struct suite *s, const char *folder)
{
    static const struct {
        const char *file, *mark;
        void (*each)(const struct golden *g, const char *mark, void (*layers)(const struct golden *g, const char *key));
        void (*layers)(const struct golden *g, const char *key);
    } files[] = {
        {"conv", ".conv1.output", for_each_key, conv_layers},
        {"norm", ".group_norm_1e-05.output", for_each_key, norm_layers},
        {"attention", ".attention.output", for_each_key, attention_layers},
        {"activation", "", no_key, activation_layers},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        struct golden g;
        snprintf(path, sizeof path, "%s/%s.safetensors", folder, files[i].file);
        if (open_golden(&g, s, files[i].file, path)) {
            files[i].each(&g, files[i].mark, files[i].layers);
            sdg_tensors_destroy(&g.tensors);
        }
    }
}

void check_mamba_goldens(struct suite *s, const char *path)
{
    struct golden g;
    if (open_golden(&g, s, strrchr(path, '/') + 1, path)) {
        mamba_layers(&g, "");
        sdg_tensors_destroy(&g.tensors);
    }
}
