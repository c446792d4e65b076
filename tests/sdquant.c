// Quantized folders of a tiny model: what is in them, against direct calls and against the raw data.
#include "quant/fit.h"
#include "quant/quantized.h"
#include "tests/support/quantizing.h"
#include "tests/support/weights.h"

#include <math.h>

// ---- intervals ----

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

// ---- whole folders ----

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
    assert_true(model->vae && model->text[0] && model->tokenizer[0].folder && model->has_scheduler);
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

// ---- intervals by token ----

// The file's tables are those that quant/ fits to the statistics; sites without tokens follow the time alone.
static void check_tokens(const char *folder, const char *statistics_file, enum sdg_interval_rule rule, int bits)
{
    struct sdg_tensors *file = open_unet(folder);
    struct sdg_statistics *statistics;
    struct sdg_tdq_times *times;
    size_t by_token = 0, with_factors = 0;
    assert_int_equal(sdg_statistics_read(NULL, statistics_file, &statistics), SDG_OK);
    assert_int_equal(sdg_tdq_times_create(NULL, 32, &times), SDG_OK);
    for (size_t s = 0; s < network.sites.count; s++) {
        const struct sdg_site *site = &network.sites.sites[s];
        const struct sdg_site_statistics *seen = sdg_statistics_find(statistics, site->name);
        const struct sdg_tensor *scales = get(file, site->name, ".input_scale"),
                                *zeros = get(file, site->name, ".input_zero_point"),
                                *factors = get(file, site->name, ".input_scale_time");
        assert_non_null(scales);
        if (!seen->tokens) {
            assert_true(scales->rank == 1 && !factors);
            continue;
        }
        const int64_t rows = rule == SDG_INTERVAL_TABLE_TOKEN ? ROWS : 1;
        assert_true(scales->rank == 3 && scales->dims[0] == rows && scales->dims[1] == GRID_HEIGHT &&
                    scales->dims[2] == GRID_WIDTH && zeros && zeros->rank == 3 && zeros->dtype == SDG_S32);
        assert_true(rule == SDG_INTERVAL_TDQ_TOKEN || !factors);
        by_token++;
        with_factors += factors != NULL;
        if (s % 12) // fits take their time
            continue;
        struct sdg_site_fit fit;
        const struct sdg_fit_options options = {
            .rule = rule, .bits = bits, .static_gain = sdg_tdq_default_gain, .times = times};
        assert_int_equal(sdg_site_fit(NULL, seen, timesteps, ROWS, &options, &fit), SDG_OK);
        assert_memory_equal(scales->data, fit.tokens.scales, scales->bytes);
        assert_memory_equal(zeros->data, fit.tokens.zero_points, zeros->bytes);
        assert_true(!factors == !fit.tokens.factors);
        if (factors)
            assert_memory_equal(factors->data, fit.tokens.factors, factors->bytes);
        sdg_site_fit_clear(&fit);
    }
    const struct sdg_tensor *steps = sdg_tensors_find(file, "interval_timesteps");
    assert_true(!steps == (rule != SDG_INTERVAL_TABLE_TOKEN));
    for (size_t r = 0; steps && r < ROWS; r++)
        assert_true(float_at(steps, r) == (float)timesteps[ROWS - 1 - r]);
    assert_true(by_token > 10 && (with_factors > 0) == (rule == SDG_INTERVAL_TDQ_TOKEN));
    sdg_tdq_times_destroy(&times);
    sdg_statistics_destroy(&statistics);
    sdg_tensors_destroy(&file);
}

static void rules_by_token(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        int weight_bits, bits;
        enum sdg_interval_rule rule;
    } cases[] = {{"w8a8-token", 8, 8, SDG_INTERVAL_TOKEN},
                 {"w6a6-tdq-token", 6, 6, SDG_INTERVAL_TDQ_TOKEN},
                 {"w4a4-table-token", 4, 4, SDG_INTERVAL_TABLE_TOKEN}};
    char fingerprint[17], *path = output_path("tokens.safetensors");
    fingerprint_of(base, fingerprint);
    write_statistics_with(path, fingerprint, NULL, NULL, true, false);
    for (size_t i = 0; i < 3; i++) {
        struct outcome o;
        char *out = output_path(cases[i].scheme);
        struct sdg_quantize_params params = params_for(out, cases[i].scheme, &o);
        params.statistics = path;
        quantize(&params, &o);
        check_weights(out, cases[i].weight_bits, 0);
        check_tokens(out, path, cases[i].rule, cases[i].bits);
        cJSON *root;
        struct sdg_json q = read_quantization(out, &root);
        assert_string_equal(text_of(&q, "scan_order"), "rows");
        cJSON_Delete(root);
        struct sdg_model *model = open_model(out);
        sdg_model_close(&model);
        free(out);
    }
    // only of the sites that a scheme file names
    struct outcome o;
    char *out = output_path("some-tokens");
    struct sdg_quantize_params params = params_for(out, NULL, &o);
    params.statistics = path;
    params.scheme_file = temp_text("tokens.json", "{\"scheme\": \"w8a8-token\", \"tokens\": [\"attn1.to_q$\"]}");
    quantize(&params, &o);
    struct sdg_tensors *file = open_unet(out);
    size_t by_token = 0, others = 0;
    for (size_t s = 0; s < network.sites.count; s++) {
        const char *name = network.sites.sites[s].name;
        const bool named = strlen(name) > 10 && !strcmp(name + strlen(name) - 10, "attn1.to_q");
        assert_int_equal(get(file, name, ".input_scale")->rank, named ? 3 : 1);
        by_token += named;
        others += !named;
    }
    assert_true(by_token > 1 && others > 1);
    sdg_tensors_destroy(&file);
    params = params_for(out, NULL, &o);
    params.statistics = path;
    params.scheme_file = temp_text("tokens.json", "{\"scheme\": \"w8a8-token\", \"tokens\": [3]}");
    params.force = true;
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_INPUT);
    assert_non_null(strstr(o.log.last, "tokens should be an array of regular expressions"));
    params.skip_count = 1;
    params.scheme_file = NULL;
    params.scheme = "w8a8-token";
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_USAGE);
    assert_non_null(strstr(o.log.last, "'skip' is NULL"));
    params.skip = &(const char *){NULL};
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_USAGE);
    params.skip_count = 0;
    params.scheme = NULL;
    params.scheme_file =
        temp_text("tokens.json", "{\"scheme\": \"w8a8-token\", \"tokens\": [\"attn1.to_q$\", \"attn9\"]}");
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_INPUT);
    assert_non_null(strstr(o.log.last, "tokens: 'attn9' matches no site"));
    params.scheme_file = temp_text("tokens.json", "{\"scheme\": \"w8a8-tdq\", \"tokens\": [\"attn1.to_q$\"]}");
    assert_int_equal(sdg_quantize(&params), SDG_ERROR_USAGE);
    assert_non_null(strstr(o.log.last, "\"tokens\" goes with intervals by token"));
    free(out);
    free(path);
}

// ---- smoothing ----

static float *floats_of(const struct sdg_tensor *t)
{
    float *numbers = malloc(t->bytes);
    assert_true(t->dtype == SDG_F32);
    return memcpy(numbers, t->data, t->bytes);
}

// Codes times scales of a layer whose input is smoothed are the base's weights times sigma, up to rounding.
static void check_smoothed_layer(const struct sdg_tensors *file, const struct sdg_tensors *original,
                                 const struct sdg_op *op)
{
    const char *name = network.graph->values[op->in[1]].name;
    const struct sdg_tensor *was = sdg_tensors_find(original, name), *is = sdg_tensors_find(file, name),
                            *scales = get(file, op->name, ".weight_scale");
    const size_t inputs = (size_t)was->dims[1];
    assert_true(is->dtype == SDG_S8);
    for (size_t i = 0; i < (size_t)was->dims[0] * inputs; i++) {
        const double code = ((const int8_t *)is->data)[i], scale = float_at(scales, i / inputs),
                     wanted = (double)float_at(was, i) / (0.5 + 0.125 * (double)(i % inputs % 9));
        assert_true(fabs(code * scale - wanted) <= 0.5001 * scale || fabs(code) >= 127);
    }
}

// Without tokens, smoothed sites have one asymmetric interval for all; measured at run time, there is none, nor a
// multiplier of its own. The folder reads as it was written.
static void smoothed_otherwise(const char *statistics, const char *out, const char *scheme)
{
    struct outcome o;
    struct sdg_quantized *q;
    const bool dynamic = strstr(scheme, "dynamic") != NULL;
    struct sdg_quantize_params params = params_for(out, scheme, &o);
    params.statistics = statistics;
    params.force = true;
    quantize(&params, &o);
    struct sdg_tensors *file = open_unet(out);
    size_t folded = 0, kept = 0, shifted = 0;
    for (size_t i = 0; i < sdg_tensors_count(file); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(file, i);
        folded += strstr(t->name, ".folded_smoothing") != NULL;
        kept += strstr(t->name, ".input_smoothing") != NULL;
        if (strstr(t->name, ".input_scale") && t->rank == 3) {
            assert_true(t->dims[0] == 1 && t->dims[1] == 1 && t->dims[2] == 1);
            shifted++;
        }
    }
    assert_true(folded > 2 && !kept == dynamic && shifted == (dynamic ? 0 : folded + kept));
    assert_int_equal(sdg_quantized_create(NULL, scheme, file, network.graph, &q), SDG_OK);
    sdg_quantized_destroy(&q);
    sdg_tensors_destroy(&file);
}

// What multiplies a smoothed site is in the norm before it, or a tensor of its own: one of both.
static void smoothing(void **state)
{
    (void)state;
    struct outcome o;
    char fingerprint[17], *path = output_path("smooth.safetensors"), *out = output_path("smoothed");
    fingerprint_of(base, fingerprint);
    write_statistics_with(path, fingerprint, NULL, NULL, true, true);
    struct sdg_quantize_params params = params_for(out, "w8a8-token", &o);
    params.statistics = path;
    quantize(&params, &o);
    struct sdg_tensors *file = open_unet(out), *original = open_unet(base);
    size_t folded = 0, kept = 0;
    for (size_t i = 0; i < network.graph->op_count; i++) {
        const struct sdg_op *op = &network.graph->ops[i];
        if (op->kind != SDG_OP_LINEAR || !sdg_op_is_quantizable(network.graph, op) || strchr(op->name, '['))
            continue;
        check_smoothed_layer(file, original, op);
        const struct sdg_tensor *multiplier = get(file, op->name, ".input_smoothing");
        const struct sdg_op *norm = NULL;
        for (size_t k = 0; k < i; k++)
            if (network.graph->ops[k].out == op->in[0] && network.graph->ops[k].kind == SDG_OP_LAYER_NORM)
                norm = &network.graph->ops[k];
        if (multiplier) {
            assert_true(!norm && multiplier->dtype == SDG_F32 && multiplier->rank == 1);
            for (size_t c = 0; c < (size_t)multiplier->dims[0]; c++)
                assert_true(float_at(multiplier, c) == 0.5f + 0.125f * (float)(c % 9));
            kept++;
        }
        for (int which = 1; norm && which < 3; which++) { // gamma and beta
            const char *name = network.graph->values[norm->in[which]].name;
            float *was = floats_of(sdg_tensors_find(original, name)), *is = floats_of(sdg_tensors_find(file, name));
            for (size_t c = 0; c < (size_t)sdg_tensors_find(file, name)->dims[0]; c++)
                assert_true(is[c] == was[c] * (0.5f + 0.125f * (float)(c % 9)));
            free(was), free(is);
            folded++;
        }
    }
    print_message("%zu norms read, %zu sites keep their multipliers\n", folded / 2, kept);
    assert_true(folded > 2 && kept > 2);
    sdg_tensors_destroy(&file);
    sdg_tensors_destroy(&original);
    smoothed_otherwise(path, out, "w8a8-static");
    smoothed_otherwise(path, out, "w8a8-dynamic");
    free(out);
    free(path);
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

// How the model wants to be drawn, and the words that it knows, which a folder with a base leaves there.
static void preferences_are_kept(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("kept"), *delta_out = output_path("kept-delta");
    put("base", "model_index.json",
        "{\"_class_name\":\"StableDiffusionPipeline\",\"_sdgen\":{\"cfg_scale\":2.5,\"known_words\":\"words.txt\"}}");
    put("base", "words.txt", "apple\n");
    struct sdg_quantize_params params = params_for(out, "w8a16", &o);
    quantize(&params, &o);
    params = params_for(delta_out, "w8a16", &o);
    params.delta = true;
    quantize(&params, &o);
    struct sdg_model *whole = open_model(out), *part = open_model(delta_out);
    assert_true(whole->preferences.cfg_scale.value == 2.5 && part->preferences.cfg_scale.value == 2.5);
    assert_string_equal(whole->known_words, "apple\n");
    assert_string_equal(part->known_words, "apple\n");
    char own[600];
    snprintf(own, sizeof own, "%s/words.txt", out);
    assert_int_equal(sdg_path_kind(own), SDG_PATH_FILE);
    assert_int_equal(temp_count(delta_out), 2); // model_index.json, unet
    sdg_model_close(&whole);
    sdg_model_close(&part);
    put("base", "model_index.json", index_json);
    remove(temp_path("base/words.txt"));
    free(delta_out);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complete_folder),     cmocka_unit_test(all_rules),      cmocka_unit_test(rules_by_token),
        cmocka_unit_test(smoothing),           cmocka_unit_test(rule_by_itself), cmocka_unit_test(weights_only),
        cmocka_unit_test(threads_do_not_show), cmocka_unit_test(delta),          cmocka_unit_test(preferences_are_kept),
    };
    prepare_model_tests();
    return finish_model_tests(cmocka_run_group_tests(tests, set_up, tear_down));
}
