// Quantized folders of a tiny model: what is in them, against direct calls and against the raw data; what is refused;
// that nothing is left behind by a failure.
#include "base/json.h"
#include "base/memory.h"
#include "quant/fit.h"
#include "quant/gptq.h"
#include "quant/layer_hessians.h"
#include "quant/sites.h"
#include "quant/rounding.h"
#include "sdgen/quantize.h"
#include "tests/model_files.h"
#include "tests/support/weights.h"
#include "unet/unet.h"

#include <math.h>

enum { ROWS = 6, SAMPLES = 40, MAX_SITES = 64 };
static const double timesteps[ROWS] = {981, 801, 601, 401, 201, 1};

// -------------------------------------------------------------------------------------------------- a tiny model and
// its statistics

static uint64_t random_state = 1;

static double gauss(void) // near enough: the sum of twelve uniform numbers
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
static void add_weights(const struct sdg_graph *g, struct sdg_tensor *tensors, size_t *count)
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

static struct sdg_unet_config read_config(void)
{
    struct sdg_unet_config config;
    assert_int_equal(sdg_unet_config_parse(NULL, "unet", unet_json, &config), SDG_OK);
    return config;
}

static void write_unet(const char *name)
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

static void make_network(void)
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

// Statistics with what may be wrong about them.
static void write_statistics(const char *path, const char *model, const char *missing, const char *changed)
{
    struct sdg_statistics *s;
    const struct sdg_statistics_info info = {.model = model,
                                             .sampler = "ddim/model",
                                             .settings = "test",
                                             .steps = ROWS,
                                             .rows = ROWS,
                                             .timesteps = timesteps,
                                             .prompts = 1,
                                             .shard = 1,
                                             .shards = 1};
    assert_int_equal(sdg_statistics_create(NULL, &info, &s), SDG_OK);
    for (size_t i = 0; i < network.sites.count; i++) {
        const struct sdg_site *site = &network.sites.sites[i];
        size_t index, channels = network.channels[i], row = SAMPLES * channels;
        if (missing && !strcmp(missing, site->name))
            continue;
        channels = changed && !strcmp(changed, site->name) ? channels / 2 : channels;
        assert_int_equal(sdg_statistics_site(NULL, s, site->name, site->kind, channels, &index), SDG_OK);
        for (size_t r = 0; r < ROWS; r++)
            assert_int_equal(sdg_statistics_observe(NULL, s, index, r, network.data[i] + r * row, row / channels),
                             SDG_OK);
    }
    sdg_statistics_mark_done(s, 0);
    assert_int_equal(sdg_statistics_write(NULL, s, path), SDG_OK);
    sdg_statistics_destroy(&s);
}

static void fingerprint_of(const char *folder, char text[17])
{
    char path[400];
    struct sdg_tensors *t;
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    assert_int_equal(sdg_tensors_open(NULL, path, &t), SDG_OK);
    sdg_tensors_fingerprint(t, text);
    sdg_tensors_destroy(&t);
}

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    for (size_t s = 0; s < network.sites.count; s++)
        free(network.data[s]);
    sdg_sites_clear(&network.sites);
    sdg_graph_destroy(&network.graph);
    return 0;
}

// -------------------------------------------------------------------------------------------------- running and
// reading back

struct outcome {
    struct temp_log log;
    size_t sites, temporal, modules, float_modules, reports;
    double before, after, stored, worst_site, worst_module;
};

static void see_report(void *user, const struct sdg_quantize_report *r)
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

static struct sdg_quantize_params params_for(const char *output, const char *scheme, struct outcome *o)
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

static void quantize(const struct sdg_quantize_params *params, const struct outcome *o)
{
    if (sdg_quantize(params) != SDG_OK)
        fail_msg("%s", o->log.last);
    assert_int_equal(o->log.errors, 0);
    assert_int_equal(o->reports, 1);
}

static char *output_path(const char *name) // the caller frees
{
    return strdup(temp_path(name));
}

static struct sdg_tensors *open_unet(const char *folder)
{
    char path[400];
    struct sdg_tensors *t;
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    assert_int_equal(sdg_tensors_open(NULL, path, &t), SDG_OK);
    return t;
}

static const struct sdg_tensor *get(const struct sdg_tensors *tensors, const char *name, const char *suffix)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return sdg_tensors_find(tensors, full);
}

static float float_at(const struct sdg_tensor *t, size_t i)
{
    float x;
    memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
    return x;
}

static struct sdg_json read_quantization(const char *folder, cJSON **root)
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

static const char *text_of(const struct sdg_json *json, const char *key)
{
    const cJSON *item = sdg_json_get(json, key);
    assert_true(cJSON_IsString(item));
    return item->valuestring;
}

static double number_of(const struct sdg_json *json, const char *key)
{
    const cJSON *item = sdg_json_get(json, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

// -------------------------------------------------------------------------------------------------- weights

// One operation's columns of a module: codes from the file, scales, and the base's weights.
static void check_part(const struct sdg_tensors *file, const struct sdg_tensors *original, const struct sdg_op *op,
                       int bits, size_t group)
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
static size_t check_weights(const char *folder, int bits, size_t group)
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

// -------------------------------------------------------------------------------------------------- intervals

static double raw_error(size_t s, enum sdg_site_kind kind, int bits, float scale)
{
    const int lowest = kind == SDG_SITE_SILU ? 0 : -(1 << (bits - 1)),
              highest = kind == SDG_SITE_SILU ? (1 << bits) - 1 : (1 << (bits - 1)) - 1;
    double zero = kind == SDG_SITE_SILU ? fmin(rint(0.2785 / scale), highest) : 0, sum = 0;
    for (size_t i = 0; i < ROWS * SAMPLES * network.channels[s]; i++) {
        double x = network.data[s][i], q = fmax(lowest, fmin(highest, rint(x / scale) + zero));
        sum += pow(fabs(x - scale * (q - zero)), 2.4);
    }
    return sum;
}

static void check_zero_points(const struct sdg_tensors *file, const struct sdg_site *site,
                              const struct sdg_tensor *scales, int bits)
{
    const struct sdg_tensor *zeros = get(file, site->name, ".input_zero_point");
    if (site->kind != SDG_SITE_SILU) {
        assert_null(zeros);
        return;
    }
    assert_true(zeros && zeros->dtype == SDG_S32 && zeros->rank == 1 && zeros->dims[0] == scales->dims[0]);
    for (size_t i = 0; i < (size_t)zeros->dims[0]; i++) {
        int32_t zero;
        memcpy(&zero, (const char *)zeros->data + i * sizeof zero, sizeof zero);
        assert_true(zero == (int32_t)fmin(rint(0.2785 / float_at(scales, i)), (1 << bits) - 1));
    }
}

// Against the functions of quant/ on the statistics, and against the raw data. Returns the number of tables over all
// times.
static size_t check_intervals(const char *folder, enum sdg_interval_rule rule, int bits, uint64_t seed)
{
    struct sdg_tensors *file = open_unet(folder);
    struct sdg_statistics *statistics;
    struct sdg_tdq_times *times;
    size_t tables = 0;
    assert_int_equal(sdg_statistics_read(NULL, statistics_path, &statistics), SDG_OK);
    assert_int_equal(sdg_tdq_times_create(NULL, 32, &times), SDG_OK); // the model's first channels
    for (size_t s = 0; s < network.sites.count; s++) {
        const struct sdg_site *site = &network.sites.sites[s];
        const struct sdg_tensor *scales = get(file, site->name, ".input_scale");
        const struct sdg_site_statistics *seen = sdg_statistics_find(statistics, site->name);
        struct sdg_curves *curves;
        if (rule == SDG_INTERVAL_DYNAMIC) {
            assert_true(!scales && !get(file, site->name, ".input_zero_point"));
            continue;
        }
        assert_true(scales && scales->dtype == SDG_F32 && scales->rank == 1);
        check_zero_points(file, site, scales, bits);
        const double power = rule == SDG_INTERVAL_STATIC ? 2.4 : 2; // as quant/fit.h says
        assert_int_equal(sdg_curves_create(NULL, site->name, site->kind, bits, power, seen->rows, ROWS, &curves),
                         SDG_OK);
        if (rule == SDG_INTERVAL_STATIC) {
            float scale = float_at(scales, 0);
            assert_true(scales->dims[0] == 1 && scale == sdg_search_static(curves, NULL));
            double error = raw_error(s, site->kind, bits, scale);
            assert_true(error < 1.02 * raw_error(s, site->kind, bits, scale * 1.15f) &&
                        error < 1.02 * raw_error(s, site->kind, bits, scale * 0.87f));
        } else if (rule == SDG_INTERVAL_TABLE) {
            float table[ROWS];
            sdg_search_table(curves, table, NULL);
            assert_int_equal(scales->dims[0], SDG_TDQ_TIMES);
            for (int t = 0; t < SDG_TDQ_TIMES; t += 37)
                assert_true(float_at(scales, (size_t)t) == (float)sdg_interpolate(timesteps, table, ROWS, t));
            assert_true(fabsf(float_at(scales, 401) / table[3] - 1) < 1e-6f);
        } else {
            struct sdg_tdq_fit fit;
            const struct sdg_tdq_options options = {.seed = sdg_tdq_seed(seed, site->name),
                                                    .static_gain = sdg_tdq_default_gain};
            if (s % 5 < 2) { // fits take their time
                assert_int_equal(
                    sdg_tdq_fit(NULL, site->name, curves, seen->rows, timesteps, times, &options, &fit, NULL), SDG_OK);
                assert_int_equal(scales->dims[0], fit.is_static ? 1 : SDG_TDQ_TIMES);
                assert_memory_equal(scales->data, fit.table, scales->bytes);
            }
            assert_true(scales->dims[0] == 1 || scales->dims[0] == SDG_TDQ_TIMES);
            if (s % 3 && site->kind == SDG_SITE_SYMMETRIC) // its spread grows tenfold with t
                assert_true(scales->dims[0] == SDG_TDQ_TIMES && float_at(scales, 981) > 3 * float_at(scales, 1));
        }
        tables += scales->dims[0] > 1;
        sdg_curves_destroy(&curves);
    }
    sdg_tdq_times_destroy(&times);
    sdg_statistics_destroy(&statistics);
    sdg_tensors_destroy(&file);
    return tables;
}

// -------------------------------------------------------------------------------------------------- whole folders

static void complete_folder(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("w8a8-tdq"), fingerprint[17], base_fingerprint[17];
    struct sdg_quantize_params params = params_for(out, "w8a8-tdq", &o);
    params.seed = 7;
    quantize(&params, &o);
    size_t halves = check_weights(out, 8, 0), tables = check_intervals(out, SDG_INTERVAL_TDQ, 8, 7);
    assert_true(tables == o.temporal && tables > 0 && tables < o.sites && o.sites == network.sites.count);
    assert_true(o.after == o.stored && o.after < 0.5 * o.before && o.float_modules == 0);
    assert_in_range(o.worst_module, 35, 60); // 8 bits of normal weights: 40 dB, that of int4 is 20
    print_message("%zu modules (%zu halves), %zu sites, %zu tables, %.0f -> %.0f bytes\n", o.modules, halves, o.sites,
                  tables, o.before, o.after);

    cJSON *root;
    struct sdg_json q = read_quantization(out, &root);
    fingerprint_of(out, fingerprint);
    fingerprint_of(base, base_fingerprint);
    assert_string_equal(text_of(&q, "quant_method"), "sdgen");
    assert_string_equal(text_of(&q, "scheme"), "w8a8-tdq");
    assert_string_equal(text_of(&q, "rule"), "tdq");
    assert_string_equal(text_of(&q, "weight_rounding"), "mse");
    assert_string_equal(text_of(&q, "base"), base_fingerprint);
    assert_string_equal(text_of(&q, "fingerprint"), fingerprint);
    assert_int_equal(strlen(text_of(&q, "statistics")), 16);
    assert_true(number_of(&q, "format") == 1 && number_of(&q, "weight_bits") == 8 &&
                number_of(&q, "activation_bits") == 8 && number_of(&q, "group") == 0 && number_of(&q, "seed") == 7 &&
                number_of(&q, "static_sites") == (double)(o.sites - tables));
    assert_null(sdg_json_get(&q, "base_path"));
    assert_true(cJSON_IsFalse(sdg_json_get(&q, "corrected")));
    // the base's keys are kept
    assert_true(cJSON_GetObjectItemCaseSensitive(root, "cross_attention_dim")->valueint == 24);
    cJSON_Delete(root);

    struct sdg_model *model = open_model(out); // with all its components
    assert_true(model->vae && model->text[0] && model->vocab_json[0] && model->has_scheduler);
    sdg_model_close(&model);
    free(out);
}

static void all_rules(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        int weight_bits, bits;
        enum sdg_interval_rule rule;
    } cases[] = {{"w8a8-static", 8, 8, SDG_INTERVAL_STATIC},
                 {"w4a6-table", 4, 6, SDG_INTERVAL_TABLE},
                 {"w8a8-dynamic", 8, 8, SDG_INTERVAL_DYNAMIC}};
    for (size_t i = 0; i < 3; i++) {
        struct outcome o;
        char *out = output_path(cases[i].scheme);
        struct sdg_quantize_params params = params_for(out, cases[i].scheme, &o);
        quantize(&params, &o);
        check_weights(out, cases[i].weight_bits, 0);
        size_t tables = check_intervals(out, cases[i].rule, cases[i].bits, 0);
        assert_int_equal(tables, cases[i].rule == SDG_INTERVAL_TABLE ? network.sites.count : 0);
        free(out);
    }
}

static void rule_by_itself(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("w8a8-replaced");
    struct sdg_quantize_params params = params_for(out, "w8a8-dynamic", &o);
    params.intervals = "static";
    quantize(&params, &o);
    check_intervals(out, SDG_INTERVAL_STATIC, 8, 0);
    free(out);
}

static void weights_only(void **state)
{
    (void)state;
    struct outcome o;
    char *w8 = output_path("w8a16"), *w4 = output_path("w4a16");
    struct sdg_quantize_params params = params_for(w8, "w8a16", &o);
    params.statistics = NULL;
    quantize(&params, &o);
    check_weights(w8, 8, 0);
    params = params_for(w4, "w4a16", &o);
    params.group = 32;
    quantize(&params, &o);
    check_weights(w4, 4, 32);
    assert_int_equal(o.sites, 0);
    struct sdg_tensors *file = open_unet(w4);
    for (size_t i = 0; i < sdg_tensors_count(file); i++)
        assert_null(strstr(sdg_tensors_at(file, i)->name, ".input_"));
    sdg_tensors_destroy(&file);
    free(w8), free(w4);
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char *x = NULL, *y = NULL, path[400];
    size_t n = 0, m = 0;
    snprintf(path, sizeof path, "%s/%s", a, name);
    assert_int_equal(sdg_file_read(NULL, path, 1 << 28, &x, &n), SDG_OK);
    snprintf(path, sizeof path, "%s/%s", b, name);
    assert_int_equal(sdg_file_read(NULL, path, 1 << 28, &y, &m), SDG_OK);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    sdg_free(x);
    sdg_free(y);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    struct outcome o;
    char *one = output_path("one"), *four = output_path("four"), *seeded = output_path("seeded");
    const char *const skip[] = {"^up_blocks|^down_blocks"}; // the middle is enough
    struct sdg_quantize_params params = params_for(one, "w4a8-tdq", &o);
    params.skip = skip;
    params.skip_count = 1;
    params.threads = 1;
    quantize(&params, &o);
    params.output = four;
    o.reports = 0;
    params.threads = 4;
    quantize(&params, &o);
    assert_same_file(one, four, "unet/diffusion_pytorch_model.safetensors");
    assert_same_file(one, four, "unet/config.json");
    assert_same_file(one, base, "vae/diffusion_pytorch_model.safetensors");
    params.output = seeded;
    o.reports = 0;
    params.seed = 1;
    quantize(&params, &o);
    char a[17], b[17];
    fingerprint_of(one, a);
    fingerprint_of(seeded, b);
    assert_string_not_equal(a, b);
    free(one), free(four), free(seeded);
}

// Asserts that all layers get the same codes from both. Returns how many layers.
static size_t same_codes(const struct sdg_tensors *a, const struct sdg_tensors *b)
{
    size_t layers = 0;
    for (size_t i = 0; i < network.graph->op_count; i++) {
        if (!sdg_op_is_quantizable(network.graph, &network.graph->ops[i]))
            continue;
        struct sdg_value_info weight = network.graph->values[network.graph->ops[i].in[1]];
        weight.dtype = SDG_S8;
        weight.bits = 8;
        const size_t count = (size_t)sdg_value_elements(&weight);
        int8_t *x = malloc(count), *y = malloc(count);
        assert_int_equal(load_weight(NULL, a, &weight, SDG_S8, x), SDG_OK);
        assert_int_equal(load_weight(NULL, b, &weight, SDG_S8, y), SDG_OK);
        assert_memory_equal(x, y, count);
        free(x);
        free(y);
        layers++;
    }
    return layers;
}

static void delta(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("delta");
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.delta = true;
    quantize(&params, &o);
    assert_true(o.stored < o.after);
    struct sdg_tensors *file = open_unet(out);
    for (size_t i = 0; i < sdg_tensors_count(file); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(file, i);
        assert_true(strstr(t->name, "_scale") || strstr(t->name, ".input_zero_point"));
    }
    assert_string_equal(sdg_tensors_metadata(file, "codes"), "rounded");
    sdg_tensors_destroy(&file);
    cJSON *root;
    struct sdg_json q = read_quantization(out, &root);
    char fingerprint[17];
    fingerprint_of(out, fingerprint);
    assert_string_equal(text_of(&q, "base_path"), "../base");
    assert_string_equal(text_of(&q, "fingerprint"), fingerprint);
    cJSON_Delete(root);
    assert_int_equal(temp_count(out), 2);      // model_index.json, unet
    struct sdg_model *model = open_model(out); // the rest comes from the base
    assert_true(model->vae && model->text[0] && sdg_tensors_find(model->unet, "conv_in.weight"));
    char *whole = output_path("delta-whole");
    params = params_for(whole, "w8a8-static", &o);
    quantize(&params, &o);
    struct sdg_model *complete = open_model(whole);
    assert_true(same_codes(model->unet, complete->unet) > 0);
    sdg_model_close(&complete);
    sdg_model_close(&model);
    free(whole);
    free(out);
}

// -------------------------------------------------------------------------------------------------- GPTQ

static const struct sdg_op *consumer_of(const struct sdg_site *site)
{
    size_t i = 0;
    while (network.graph->ops[i].in[0] != site->value || !sdg_op_is_quantizable(network.graph, &network.graph->ops[i]))
        i++;
    return &network.graph->ops[i];
}

// Hessians of inputs that are alike: each is half of one common number. One site is left out.
static void write_hessians(const char *path, const char *model, const char *missing)
{
    enum { N = 300 };
    struct sdg_hessians *h;
    const struct sdg_statistics_info info = {.model = model,
                                             .sampler = "ddim/model",
                                             .settings = "test",
                                             .steps = ROWS,
                                             .rows = ROWS,
                                             .timesteps = timesteps,
                                             .prompts = 1,
                                             .shard = 1,
                                             .shards = 1};
    assert_int_equal(sdg_hessians_create(NULL, &info, &h), SDG_OK);
    for (size_t s = 0; s < network.sites.count; s++) {
        const struct sdg_site *site = &network.sites.sites[s];
        const int64_t *weight = network.graph->values[consumer_of(site)->in[1]].dims;
        size_t index, inputs = (size_t)(weight[1] * weight[2] * weight[3]);
        if (!strcmp(site->name, missing))
            continue;
        assert_int_equal(
            sdg_hessians_site(NULL, h, site->name, (size_t)weight[1], (size_t)weight[2], (size_t)weight[3], &index),
            SDG_OK);
        float *x = malloc(N * inputs * sizeof *x);
        for (size_t n = 0; n < N; n++) {
            double common = gauss();
            for (size_t i = 0; i < inputs; i++)
                x[n * inputs + i] = (float)(common + gauss());
        }
        assert_int_equal(sdg_hessian_add(NULL, site->name, &h->layers[index].hessian, x, N), SDG_OK);
        free(x);
    }
    sdg_statistics_mark_done(h->about, 0);
    assert_int_equal(sdg_hessians_write(NULL, h, path), SDG_OK);
    sdg_hessians_destroy(&h);
}

static void gptq(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("gptq"), *plain = output_path("nearest"), *path = output_path("hessians.safetensors"),
         fingerprint[17];
    const char *missing = "mid_block.resnets.0.conv2";
    struct sdg_hessians *h;
    size_t compared = 0;
    fingerprint_of(base, fingerprint);
    write_hessians(path, fingerprint, missing);
    struct sdg_quantize_params params = params_for(plain, "w4a8-static", &o);
    quantize(&params, &o);
    params = params_for(out, "w4a8-static", &o);
    params.hessians = path;
    quantize(&params, &o);
    assert_int_equal(sdg_hessians_read(NULL, path, &h), SDG_OK);
    struct sdg_tensors *file = open_unet(out), *rounded = open_unet(plain), *original = open_unet(base);
    for (size_t s = 0; s < network.sites.count; s++) {
        const struct sdg_site *site = &network.sites.sites[s];
        const struct sdg_layer_hessian *l = sdg_hessians_find(h, site->name);
        const struct sdg_tensor *was = get(original, site->name, ".weight"), *is = get(file, site->name, ".weight"),
                                *near = get(rounded, site->name, ".weight");
        if (!was || !l) { // half of a split input; or without a Hessian
            assert_true(!was || !memcmp(is->data, near->data, is->bytes));
            continue;
        }
        const size_t outputs = (size_t)was->dims[0], inputs = l->hessian.inputs;
        struct sdg_codes direct,
            nearest = {.bits = 4,
                       .outputs = outputs,
                       .inputs = inputs,
                       .groups = 1,
                       .group = inputs,
                       .codes = malloc(outputs * inputs)};
        const struct sdg_gptq_options options = {.weight = {.bits = 4}, .by_importance = true};
        float *matrix = malloc(outputs * inputs * sizeof *matrix);
        memcpy(matrix, was->data, was->bytes);
        assert_int_equal(sdg_weights_gptq(NULL, site->name, matrix, outputs, inputs, &l->hessian, &options, &direct),
                         SDG_OK);
        uint8_t *packed = malloc(is->bytes);
        sdg_pack4(direct.codes, outputs, inputs, packed);
        assert_memory_equal(packed, is->data, is->bytes);
        assert_memory_equal(direct.scales, get(file, site->name, ".weight_scale")->data, outputs * sizeof(float));
        sdg_unpack4(near->data, outputs, inputs, nearest.codes);
        nearest.scales = direct.scales; // the same search
        assert_true(sdg_codes_output_error(&direct, matrix, &l->hessian) <
                    0.9 * sdg_codes_output_error(&nearest, matrix, &l->hessian));
        compared++;
        free(packed), free(matrix), free(nearest.codes);
        sdg_codes_free(&direct);
    }
    assert_true(compared > 20);
    cJSON *root;
    struct sdg_json q = read_quantization(out, &root);
    assert_string_equal(text_of(&q, "weight_rounding"), "gptq");
    cJSON_Delete(root);
    sdg_tensors_destroy(&file);
    sdg_tensors_destroy(&rounded);
    sdg_tensors_destroy(&original);
    sdg_hessians_destroy(&h);
    write_hessians(path, "0123456789abcdef", missing);
    params = params_for(temp_path("never"), "w4a8-static", &o);
    params.hessians = path;
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_INPUT);
    assert_true(o.log.errors == 1 && strstr(o.log.last, "another model"));
    params = params_for(temp_path("never"), "w4a8-static", &o);
    params.hessians = statistics_path;
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_INPUT);
    assert_true(o.log.errors == 1 && strstr(o.log.last, "sdgen hessians"));
    free(out), free(plain), free(path);
}

// -------------------------------------------------------------------------------------------------- choosing modules

static bool is_integer(const struct sdg_tensors *file, const char *name, enum sdg_dtype dtype)
{
    const struct sdg_tensor *t = get(file, name, ".weight");
    assert_non_null(t);
    return t->dtype == dtype;
}

static void skipping(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("skipped");
    const char *const skip[] = {"^down_blocks\\.0\\.resnets", "to_q$"};
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.skip = skip;
    params.skip_count = 2;
    quantize(&params, &o);
    struct sdg_tensors *file = open_unet(out);
    assert_true(is_integer(file, "down_blocks.0.resnets.0.conv1", SDG_F32) &&
                is_integer(file, "down_blocks.0.resnets.0.conv2", SDG_F32));
    assert_null(get(file, "down_blocks.0.resnets.0.conv1", ".weight_scale"));
    assert_null(get(file, "down_blocks.0.resnets.0.conv1", ".input_scale")); // nobody reads the site as integers
    const char *q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
               *k = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k";
    assert_true(is_integer(file, q, SDG_F32) && is_integer(file, k, SDG_S8));
    assert_non_null(get(file, q, ".input_scale")); // the site of to_k too
    assert_true(o.float_modules > 3);
    sdg_tensors_destroy(&file);
    free(out);
}

static void scheme_file(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("by-file");
    struct sdg_quantize_params params = params_for(out, NULL, &o);
    params.scheme_file = temp_text("scheme.json",
                                   "{\"scheme\":\"w4a8-static\",\"skip\":[\"proj_in\"],\"overrides\":[{\"match\":"
                                   "\"ff\\\\.net\",\"weight_bits\":8},"
                                   "{\"match\":\"^mid_block.*net\\\\.2$\",\"weight_bits\":4},{\"match\":\"conv_"
                                   "shortcut\",\"weight_bits\":16},{\"match\":\"proj_in\",\"weight_bits\":8}]}");
    quantize(&params, &o);
    struct sdg_tensors *file = open_unet(out);
    const char *block = "mid_block.attentions.0.transformer_blocks.0.";
    char name[100];
    snprintf(name, sizeof name, "%sff.net.0.proj", block);
    assert_true(is_integer(file, name, SDG_S8));
    snprintf(name, sizeof name, "%sff.net.2", block);
    assert_true(is_integer(file, name, SDG_U8));                              // the later override
    assert_true(is_integer(file, "mid_block.attentions.0.proj_in", SDG_F32)); // skipping is the last word
    assert_true(is_integer(file, "up_blocks.0.resnets.0.conv_shortcut", SDG_F32));
    assert_true(is_integer(file, "mid_block.resnets.0.conv1", SDG_U8));
    sdg_tensors_destroy(&file);
    free(out);
}

// -------------------------------------------------------------------------------------------------- refusals

static void refused(const struct sdg_quantize_params *params, struct outcome *o, enum sdg_result want,
                    const char *words)
{
    int before = temp_count(temp_root);
    bool existed = sdg_path_kind(params->output) != SDG_PATH_MISSING;
    enum sdg_result result = sdg_quantize(params);
    if (result != want || o->log.errors != 1 || !strstr(o->log.last, words))
        fail_msg("result %d instead of %d, %d errors, '%s' should have '%s'", (int)result, (int)want, o->log.errors,
                 o->log.last, words);
    assert_int_equal(o->reports, 0);
    assert_int_equal(temp_count(temp_root), before);
    assert_true(existed == (sdg_path_kind(params->output) != SDG_PATH_MISSING));
}

static void statistics_that_do_not_fit(void **state)
{
    (void)state;
    struct outcome o;
    char fingerprint[17], *out = output_path("never"), *bad = output_path("bad.safetensors");
    const struct sdg_site *site = &network.sites.sites[5];
    fingerprint_of(base, fingerprint);
    struct sdg_quantize_params params;
    write_statistics(bad, "0123456789abcdef", NULL, NULL);
    params = params_for(out, "w8a8-tdq", &o);
    params.statistics = bad;
    refused(&params, &o, SDG_ERROR_INPUT, "is of another model");
    write_statistics(bad, fingerprint, site->name, NULL);
    params = params_for(out, "w8a8-tdq", &o);
    params.statistics = bad;
    refused(&params, &o, SDG_ERROR_INPUT, site->name);
    write_statistics(bad, fingerprint, NULL, site->name);
    params = params_for(out, "w8a8-tdq", &o);
    params.statistics = bad;
    refused(&params, &o, SDG_ERROR_INPUT, "channels there");
    params = params_for(out, "w8a8-table", &o);
    params.statistics = NULL;
    refused(&params, &o, SDG_ERROR_USAGE, "statistics");
    params = params_for(out, "w8a8-static", &o);
    params.statistics = temp_path("no-such-file");
    refused(&params, &o, SDG_ERROR_INPUT, "no-such-file");
    free(out), free(bad);
}

static void parameters_that_are_wrong(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("never");
    static const struct {
        const char *scheme, *intervals, *skip;
        int group;
        const char *words;
    } cases[] = {
        {"w9a8-tdq", NULL, NULL, 0, "w9a8-tdq"},
        {"w16a8-static", NULL, NULL, 0, "simulated"},
        {NULL, NULL, NULL, 0, "no quantization scheme"},
        {"w8a9-static", NULL, NULL, 0, "w8a9"},
        {"w8a16", "tdq", NULL, 0, "intervals"},
        {"w8a8-tdq", "sometimes", NULL, 0, "sometimes"},
        {"w8a8-tdq", NULL, "a(b", 0, "'a(b' is no regular expression"},
        {"w8a8-tdq", NULL, "", 0, "empty expression"},
        {"w8a8-tdq", NULL, ".", 0, "nothing is left"},
        {"w8a8-tdq", NULL, NULL, 64, "groups"},
        {"w4a16", NULL, NULL, 20, "multiple of 16"},
        {"w4a16", NULL, NULL, -16, "multiple of 16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_quantize_params params = params_for(out, cases[i].scheme, &o);
        params.intervals = cases[i].intervals;
        params.skip = &cases[i].skip;
        params.skip_count = cases[i].skip != NULL;
        params.group = cases[i].group;
        refused(&params, &o, SDG_ERROR_USAGE, cases[i].words);
    }
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.threads = -3;
    refused(&params, &o, SDG_ERROR_USAGE, "threads");
    params = params_for(out, "w8a8-static", &o);
    params.seed = UINT64_MAX;
    refused(&params, &o, SDG_ERROR_USAGE, "seed");
    params = params_for(out, "w8a8-static", &o);
    params.model = statistics_path;
    refused(&params, &o, SDG_ERROR_UNSUPPORTED, "single file");
    free(out);
}

static void scheme_files_that_are_wrong(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("never");
    static const struct {
        const char *text, *words;
        enum sdg_result result;
    } cases[] = {
        {"", "not valid JSON", SDG_ERROR_INPUT},
        {"[]", "no JSON object", SDG_ERROR_INPUT},
        {"{\"scheme\":8}", "scheme", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8\"}", "w8a8", SDG_ERROR_USAGE},
        {"{}", "no quantization scheme", SDG_ERROR_USAGE},
        {"{\"scheme\":\"w8a8-tdq\",\"sikp\":[]}", "sikp", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"skip\":\"a\"}", "array", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"skip\":[1]}", "skip", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"skip\":[\"[\"]}", "regular expression", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w4a16\",\"group\":1.5}", "group", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w4a16\",\"group\":-1}", "group", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[7]}", "overrides", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"match\":\"a\",\"weight_bits\":5}]}", "weight_bits",
         SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"match\":\"a\"}]}", "weight_bits", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"weight_bits\":8}]}", "empty expression", SDG_ERROR_INPUT},
        {"{\"scheme\":\"w8a8-tdq\",\"overrides\":[{\"match\":\"a\",\"weight_bits\":8,\"group\":1}]}", "group",
         SDG_ERROR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_quantize_params params = params_for(out, NULL, &o);
        params.scheme_file = temp_text("wrong.json", cases[i].text);
        refused(&params, &o, cases[i].result, cases[i].words);
    }
    free(out);
}

static void outputs_that_exist(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("existing"), *link = output_path("link");
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    quantize(&params, &o);
    params = params_for(out, "w4a8-static", &o);
    refused(&params, &o, SDG_ERROR_OUTPUT, "exists already");
    check_weights(out, 8, 0); // as it was
    params = params_for(out, "w4a8-static", &o);
    params.force = true;
    quantize(&params, &o);
    check_weights(out, 4, 0);
    temp_text("precious/thesis.txt", "years of work");
    char *foreign = output_path("precious");
    params = params_for(foreign, "w8a8-static", &o);
    params.force = true;
    refused(&params, &o, SDG_ERROR_OUTPUT, "is not replaced");
    params.output = base;
    o.log.errors = 0;
    refused(&params, &o, SDG_ERROR_OUTPUT, "is not replaced");
    assert_int_equal(symlink("nowhere", link), 0); // a name that is taken although there is nothing behind it
    params = params_for(link, "w8a8-static", &o);
    refused(&params, &o, SDG_ERROR_OUTPUT, "exists already");
    remove(link);
    char *deep = output_path("no/such/folder");
    params = params_for(deep, "w8a8-static", &o);
    refused(&params, &o, SDG_ERROR_OUTPUT, "cannot be created");
    params = params_for(temp_path("again"), "w8a8-static", &o);
    params.model = out;
    refused(&params, &o, SDG_ERROR_INPUT, "quantized already");
    free(out), free(link), free(foreign), free(deep);
}

static bool stop_at_third(void *user, const struct sdg_progress *progress)
{
    return ++*(int *)user < 3 || !progress;
}

static bool count_stages(void *user, const struct sdg_progress *progress)
{
    int *last = user;
    int stage = !strcmp(progress->stage, "weights");
    assert_true(stage || !strcmp(progress->stage, "intervals"));
    assert_true(progress->step == last[stage] + 1 && progress->step <= progress->steps && progress->seconds_left >= 0);
    last[stage] = progress->step;
    last[2 + stage] = progress->steps;
    return true;
}

static void cancelling(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("cancelled");
    int calls = 0, last[4] = {0};
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.progress = stop_at_third;
    params.progress_user = &calls;
    refused(&params, &o, SDG_ERROR_CANCELLED, "cancelled");
    assert_int_equal(calls, 3);
    params = params_for(out, "w8a8-static", &o);
    params.progress = count_stages;
    params.progress_user = last;
    quantize(&params, &o);
    assert_true(last[0] == last[2] && last[1] == last[3] && last[1] == (int)o.modules);
    free(out);
}

// Every failed allocation is one message and leaves nothing.
static void out_of_memory(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("no-memory");
    size_t failures = 0;
    int before = temp_count(temp_root);
    for (size_t n = 1;; n += 1 + n / 8) {
        struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
        params.threads = 1;
        sdg_test_fail_allocation(n);
        enum sdg_result result = sdg_quantize(&params);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK)
            break;
        failures++;
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_int_equal(o.log.errors, 1);
        assert_int_equal(temp_count(temp_root), before);
    }
    assert_true(failures > 20);
    print_message("%zu failed allocations\n", failures);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complete_folder),
        cmocka_unit_test(all_rules),
        cmocka_unit_test(rule_by_itself),
        cmocka_unit_test(weights_only),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(delta),
        cmocka_unit_test(gptq),
        cmocka_unit_test(skipping),
        cmocka_unit_test(scheme_file),
        cmocka_unit_test(statistics_that_do_not_fit),
        cmocka_unit_test(parameters_that_are_wrong),
        cmocka_unit_test(scheme_files_that_are_wrong),
        cmocka_unit_test(outputs_that_exist),
        cmocka_unit_test(cancelling),
        cmocka_unit_test(out_of_memory),
    };
    prepare_model_tests();
    return finish_model_tests(cmocka_run_group_tests(tests, set_up, tear_down));
}
