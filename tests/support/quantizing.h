// For tests of sdg_quantize: a tiny model in a temporary folder, statistics of it and the numbers that they were made
// of; running, reading the written folder back, and checking its weights. A test program begins with
// prepare_model_tests (model_files.h) and has set_up and tear_down around its group.
#ifndef SDG_TESTS_SUPPORT_QUANTIZING_H
#define SDG_TESTS_SUPPORT_QUANTIZING_H

#include "base/json.h"
#include "base/memory.h"
#include "quant/rounding.h"
#include "quant/sites.h"
#include "quant/statistics.h"
#include "sdgen/quantize.h"
#include "tests/model_files.h"
#include "unet/unet.h"

#include <math.h>

enum { ROWS = 6, SAMPLES = 40, MAX_SITES = 64 };
static const double timesteps[ROWS] = {981, 801, 601, 401, 201, 1};

// ---- the model and its statistics ----

static uint64_t random_state = 1;

static inline double gauss(void) // near enough: the sum of twelve uniform numbers
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(random_state >> 11) * 0x1p-53;
    }
    return sum;
}

struct network {
    struct sdg_graph *graph; // the fused step graph
    struct sdg_sites sites;
    float *data[MAX_SITES]; // [ROWS][SAMPLES][channels]: what the statistics were made of
    size_t channels[MAX_SITES];
};
static struct network network;
static char base[300], statistics_path[300]; // the model's folder, its statistics

// The weights of a graph as tensors with random data, those of the names known already left out.
static inline void add_weights(const struct sdg_graph *g, struct sdg_tensor *tensors, size_t *count)
{
    for (size_t v = 1; v < g->value_count; v++) {
        const struct sdg_value_info *info = &g->values[v];
        bool known = info->kind != SDG_VALUE_WEIGHT;
        for (size_t i = 0; i < *count && !known; i++)
            known = !strcmp(tensors[i].name, info->name);
        if (known)
            continue;
        size_t elements = 1;
        struct sdg_tensor t = {.name = strdup(info->name), .dtype = SDG_F32, .rank = info->rank};
        for (int d = 0; d < info->rank; d++)
            elements *= (size_t)(t.dims[d] = info->dims[d]);
        float *data = malloc(elements * sizeof *data);
        for (size_t i = 0; i < elements; i++)
            data[i] = (float)(0.1 * gauss());
        t.data = data;
        t.bytes = elements * sizeof *data;
        tensors[(*count)++] = t;
    }
}

static inline struct sdg_unet_config read_config(void)
{
    struct sdg_unet_config config;
    assert_int_equal(sdg_unet_config_parse(NULL, "unet", unet_json, &config), SDG_OK);
    return config;
}

static inline void write_unet(const char *name)
{
    static struct sdg_tensor tensors[512];
    size_t count = 0;
    struct sdg_graph *g[3];
    const struct sdg_unet_config config = read_config();
    const struct sdg_unet_shape shape = {
        .batch = 1, .height = 8, .width = 8, .tokens = 77, .rows = 1, .table_batch = 1};
    assert_int_equal(sdg_unet_time_graph(NULL, &config, 1, &g[0]), SDG_OK);
    assert_int_equal(sdg_unet_context_graph(NULL, &config, 1, 77, &g[1]), SDG_OK);
    assert_int_equal(sdg_unet_step_graph(NULL, &config, &shape, &g[2]), SDG_OK);
    for (int i = 0; i < 3; i++) {
        add_weights(g[i], tensors, &count);
        sdg_graph_destroy(&g[i]);
    }
    assert_int_equal(sdg_tensors_write(NULL, temp_path(name), tensors, count, NULL, 0), SDG_OK);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)tensors[i].name);
        free((void *)(uintptr_t)tensors[i].data);
    }
}

static inline void make_network(void)
{
    const struct sdg_unet_config config = read_config();
    // not the size sdquant takes
    const struct sdg_unet_shape shape = {
        .batch = 2, .height = 16, .width = 16, .tokens = 77, .rows = 3, .table_batch = 1};
    assert_int_equal(sdg_unet_step_graph(NULL, &config, &shape, &network.graph), SDG_OK);
    assert_int_equal(sdg_graph_fuse(network.graph), SDG_OK);
    assert_int_equal(sdg_sites_find(network.graph, &network.sites), SDG_OK);
    assert_in_range(network.sites.count, 20, MAX_SITES);
    for (size_t s = 0; s < network.sites.count; s++) {
        const struct sdg_site *site = &network.sites.sites[s];
        size_t c = (size_t)network.graph->values[site->value].dims[3], row = SAMPLES * c;
        network.channels[s] = c;
        network.data[s] = malloc(ROWS * row * sizeof(float));
        for (size_t i = 0; i < ROWS * row; i++) {
            double x = gauss() * (0.3 + 3 * timesteps[i / row] / 1000);
            network.data[s][i] = (float)(site->kind == SDG_SITE_SILU ? x / (1 + exp(-x)) : x);
        }
        for (size_t r = 1; r < ROWS && s % 3 == 0; r++) // every third site does not care about the step
            memcpy(network.data[s] + r * row, network.data[s], row * sizeof(float));
    }
}

// What every file about the network's activations begins with.
static inline struct sdg_statistics_info statistics_info(const char *model)
{
    return (struct sdg_statistics_info){.model = model,
                                        .sampler = "ddim/model",
                                        .settings = "test",
                                        .steps = ROWS,
                                        .rows = ROWS,
                                        .timesteps = timesteps,
                                        .prompts = 1,
                                        .shard = 1,
                                        .shards = 1};
}

enum { GRID_HEIGHT = 4, GRID_WIDTH = 2 }; // of tokens, where statistics keep them: SAMPLES are whole pictures

// Statistics with what may be wrong about them. smoothing: sites with tokens are also smoothed, each channel by another
// factor.
static inline void write_statistics_with(const char *path, const char *model, const char *missing, const char *changed,
                                         bool tokens, bool smoothing)
{
    struct sdg_statistics *s;
    const struct sdg_statistics_info info = statistics_info(model);
    assert_int_equal(sdg_statistics_create(NULL, &info, &s), SDG_OK);
    for (size_t i = 0; i < network.sites.count; i++) {
        const struct sdg_site *site = &network.sites.sites[i];
        size_t index, channels = network.channels[i], row = SAMPLES * channels;
        if (missing && !strcmp(missing, site->name))
            continue;
        channels = changed && !strcmp(changed, site->name) ? channels / 2 : channels;
        assert_int_equal(sdg_statistics_site(NULL, s, site->name, site->kind, channels, &index), SDG_OK);
        float factors[512];
        for (size_t c = 0; c < channels; c++)
            factors[c] = 0.5f + 0.125f * (float)(c % 9);
        const bool keeps = tokens && sdg_site_is_by_token(network.graph, site->value);
        if (keeps)
            assert_int_equal(sdg_statistics_keep_tokens(NULL, s, index, GRID_HEIGHT, GRID_WIDTH), SDG_OK);
        if (keeps && smoothing)
            assert_int_equal(sdg_statistics_smooth(NULL, s, index, factors), SDG_OK);
        for (size_t r = 0; r < ROWS; r++)
            assert_int_equal(sdg_statistics_observe(NULL, s, index, r, network.data[i] + r * row, row / channels),
                             SDG_OK);
    }
    sdg_statistics_mark_done(s, 0);
    assert_int_equal(sdg_statistics_write(NULL, s, path), SDG_OK);
    sdg_statistics_destroy(&s);
}

static inline void write_statistics(const char *path, const char *model, const char *missing, const char *changed)
{
    write_statistics_with(path, model, missing, changed, false, false);
}

static inline void fingerprint_of(const char *folder, char text[17])
{
    char path[400];
    struct sdg_tensors *t;
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    assert_int_equal(sdg_tensors_open(NULL, path, &t), SDG_OK);
    sdg_tensors_fingerprint(t, text);
    sdg_tensors_destroy(&t);
}

static inline int set_up(void **state)
{
    (void)state;
    char fingerprint[17];
    snprintf(base, sizeof base, "%s", make_folder("base"));
    write_unet("base/unet/diffusion_pytorch_model.safetensors");
    make_network();
    fingerprint_of(base, fingerprint);
    snprintf(statistics_path, sizeof statistics_path, "%s", temp_path("stats.safetensors"));
    write_statistics(statistics_path, fingerprint, NULL, NULL);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    for (size_t s = 0; s < network.sites.count; s++)
        free(network.data[s]);
    sdg_sites_clear(&network.sites);
    sdg_graph_destroy(&network.graph);
    return 0;
}

// ---- running and reading back ----

struct outcome {
    struct temp_log log;
    size_t sites, temporal, modules, float_modules, reports;
    double before, after, stored, worst_site, worst_module;
};

static inline void see_report(void *user, const struct sdg_quantize_report *r)
{
    struct outcome *o = user;
    o->reports++;
    o->sites = r->site_count;
    o->modules = r->module_count;
    o->float_modules = r->float_modules;
    o->before = r->bytes_before;
    o->after = r->bytes_after;
    o->stored = r->bytes_stored;
    for (size_t i = 0; i < r->site_count; i++) {
        o->temporal += strcmp(r->sites[i].rule, "static") != 0;
        assert_true(i == 0 || r->sites[i].sqnr >= r->sites[i - 1].sqnr);
        assert_true(r->sites[i].worst_sqnr <= r->sites[i].sqnr + 1e-9 && r->sites[i].correlation >= -1 &&
                    r->sites[i].correlation <= 1);
    }
    for (size_t i = 1; i < r->module_count; i++)
        assert_true(r->modules[i].sqnr >= r->modules[i - 1].sqnr);
    o->worst_site = r->site_count ? r->sites[0].sqnr : 0;
    o->worst_module = r->modules[0].sqnr;
}

static inline struct sdg_quantize_params params_for(const char *output, const char *scheme, struct outcome *o)
{
    *o = (struct outcome){0};
    temp_log(&o->log);
    return (struct sdg_quantize_params){.model = base,
                                        .statistics = statistics_path,
                                        .output = output,
                                        .scheme = scheme,
                                        .threads = 2,
                                        .report = see_report,
                                        .report_user = o,
                                        .log = {o->log.log.fn, &o->log, SDG_LOG_DEBUG}};
}

static inline void quantize(const struct sdg_quantize_params *params, const struct outcome *o)
{
    if (sdg_quantize(params) != SDG_OK)
        fail_msg("%s", o->log.last);
    assert_int_equal(o->log.errors, 0);
    assert_int_equal(o->reports, 1);
}

static inline char *output_path(const char *name) // the caller frees
{
    return strdup(temp_path(name));
}

static inline struct sdg_tensors *open_unet(const char *folder)
{
    char path[400];
    struct sdg_tensors *t;
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    assert_int_equal(sdg_tensors_open(NULL, path, &t), SDG_OK);
    return t;
}

static inline const struct sdg_tensor *get(const struct sdg_tensors *tensors, const char *name, const char *suffix)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return sdg_tensors_find(tensors, full);
}

static inline float float_at(const struct sdg_tensor *t, size_t i)
{
    float x;
    memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
    return x;
}

static inline struct sdg_json read_quantization(const char *folder, cJSON **root)
{
    char *text, path[400];
    snprintf(path, sizeof path, "%s/unet/config.json", folder);
    assert_int_equal(sdg_file_read_text(NULL, path, 1 << 20, &text), SDG_OK);
    *root = cJSON_Parse(text);
    sdg_free(text);
    const cJSON *q = cJSON_GetObjectItemCaseSensitive(*root, "quantization_config");
    assert_true(cJSON_IsObject(q));
    return (struct sdg_json){NULL, "config", q};
}

static inline const char *text_of(const struct sdg_json *json, const char *key)
{
    const cJSON *item = sdg_json_get(json, key);
    assert_true(cJSON_IsString(item));
    return item->valuestring;
}

static inline double number_of(const struct sdg_json *json, const char *key)
{
    const cJSON *item = sdg_json_get(json, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

// ---- checking the weights ----

// One operation's columns of a module: codes from the file, scales, and the base's weights.
static inline void check_part(const struct sdg_tensors *file, const struct sdg_tensors *original,
                              const struct sdg_op *op, int bits, size_t group)
{
    const struct sdg_value_info *v = &network.graph->values[op->in[1]];
    const struct sdg_tensor *was = sdg_tensors_find(original, v->name), *is = sdg_tensors_find(file, v->name),
                            *scales = get(file, op->name, ".weight_scale");
    assert_true(was && is && scales && scales->dtype == SDG_F32);
    const size_t outputs = (size_t)was->dims[0], taps = was->bytes / sizeof(float) / outputs / (size_t)was->dims[1],
                 all = (size_t)was->dims[1] * taps;
    const size_t columns = (size_t)v->dims[1] * taps, start = (size_t)v->slice_start * taps,
                 groups = group ? (columns + group - 1) / group : 1;
    assert_int_equal(scales->bytes, outputs * groups * sizeof(float));
    assert_int_equal(scales->rank, groups > 1 ? 2 : 1);
    if (bits == 4) {
        assert_true(is->dtype == SDG_U8 && is->rank == 2 && is->dims[0] == was->dims[0] &&
                    is->dims[1] == (int64_t)((all + 1) / 2));
    } else {
        assert_true(is->dtype == SDG_S8 && is->rank == was->rank && !memcmp(is->dims, was->dims, sizeof was->dims));
    }
    float *matrix = malloc(outputs * columns * sizeof *matrix);
    int8_t *codes = malloc(outputs * columns);
    const unsigned char *bytes = is->data;
    for (size_t o = 0; o < outputs; o++)
        for (size_t i = 0; i < columns; i++) {
            size_t at = start + i;
            int nibble = bits == 4 ? bytes[o * ((all + 1) / 2) + at / 2] >> (at % 2 ? 4 : 0) & 15 : 0;
            int code = bits == 4 ? (nibble < 8 ? nibble : nibble - 16) : (int8_t)bytes[o * all + at];
            float weight = float_at(was, o * all + at), scale = float_at(scales, o * groups + (group ? i / group : 0));
            matrix[o * columns + i] = weight;
            codes[o * columns + i] = (int8_t)code;
            double error = fabs(weight - (double)code * scale);
            bool clipped = (code == (1 << (bits - 1)) - 1 && weight > code * scale) ||
                (code == -(1 << (bits - 1)) && weight < code * scale);
            assert_true(scale > 0 && (clipped || error <= 0.5000001 * scale));
        }
    struct sdg_codes direct;
    const struct sdg_weight_options options = {.bits = bits, .group = group};
    assert_int_equal(sdg_weights_round(NULL, op->name, matrix, outputs, columns, &options, &direct), SDG_OK);
    assert_memory_equal(direct.codes, codes, outputs * columns);
    for (size_t i = 0; i < outputs * groups; i++)
        assert_true(direct.scales[i] == float_at(scales, i));
    sdg_codes_free(&direct);
    free(matrix);
    free(codes);
}

// All quantizable operations, and that every other tensor is the base's. Returns how many operations were halves of a
// split input.
static inline size_t check_weights(const char *folder, int bits, size_t group)
{
    struct sdg_tensors *file = open_unet(folder), *original = open_unet(base);
    size_t quantized = 0, halves = 0;
    for (size_t i = 0; i < network.graph->op_count; i++)
        if (sdg_op_is_quantizable(network.graph, &network.graph->ops[i])) {
            check_part(file, original, &network.graph->ops[i], bits, group);
            halves += strchr(network.graph->ops[i].name, '[') != NULL;
            quantized++;
        }
    assert_true(quantized > 40 && halves > 0);
    size_t kept = 0;
    for (size_t i = 0; i < sdg_tensors_count(original); i++) {
        const struct sdg_tensor *was = sdg_tensors_at(original, i), *is = sdg_tensors_find(file, was->name);
        assert_non_null(is);
        if (is->dtype == SDG_F32) {
            assert_int_equal(is->bytes, was->bytes);
            assert_memory_equal(is->data, was->data, was->bytes);
            kept++;
        }
    }
    assert_true(kept > 20 && sdg_tensors_find(file, "conv_in.weight")->dtype == SDG_F32 &&
                sdg_tensors_find(file, "conv_out.weight")->dtype == SDG_F32);
    sdg_tensors_destroy(&file);
    sdg_tensors_destroy(&original);
    return halves;
}

#endif
