// Quantized folders module by module: rounding by GPTQ, and which modules keep their floats.
#include "quant/gptq.h"
#include "quant/layer_hessians.h"
#include "tests/support/quantizing.h"

// ---- GPTQ ----

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
    const struct sdg_statistics_info info = statistics_info(model);
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

// A smoothed layer's weights are divided by what its inputs are multiplied with, of which its Hessian does not know.
static void check_smoothed(const struct sdg_tensors *file, const struct sdg_tensors *original, const char *name,
                           const struct sdg_hessian *hessian)
{
    const struct sdg_tensor *was = get(original, name, ".weight"), *is = get(file, name, ".weight");
    const size_t outputs = (size_t)was->dims[0], inputs = hessian->inputs;
    float *matrix = malloc(outputs * inputs * sizeof *matrix), *smoothing = malloc(inputs * sizeof *smoothing);
    struct sdg_codes codes;
    for (size_t i = 0; i < inputs; i++)
        smoothing[i] = 0.5f + 0.125f * (float)(i % 9);
    for (size_t i = 0; i < outputs * inputs; i++)
        matrix[i] = float_at(was, i) / smoothing[i % inputs];
    const struct sdg_gptq_options options = {.weight = {.bits = 8}, .by_importance = true, .smoothing = smoothing};
    assert_int_equal(sdg_weights_gptq(NULL, name, matrix, outputs, inputs, hessian, &options, &codes), SDG_OK);
    assert_memory_equal(codes.codes, is->data, outputs * inputs);
    assert_memory_equal(codes.scales, get(file, name, ".weight_scale")->data, outputs * sizeof(float));
    free(matrix), free(smoothing);
    sdg_codes_free(&codes);
}

static void gptq_smoothed(void **state)
{
    (void)state;
    struct outcome o;
    char *out = output_path("gptq-smoothed"), *path = output_path("h.safetensors"),
         *statistics = output_path("smooth.safetensors"), fingerprint[17];
    struct sdg_hessians *h;
    size_t compared = 0;
    fingerprint_of(base, fingerprint);
    write_hessians(path, fingerprint, "");
    write_statistics_with(statistics, fingerprint, NULL, NULL, true, true);
    struct sdg_quantize_params params = params_for(out, "w8a8-static", &o);
    params.statistics = statistics;
    params.hessians = path;
    quantize(&params, &o);
    assert_int_equal(sdg_hessians_read(NULL, path, &h), SDG_OK);
    struct sdg_tensors *file = open_unet(out), *original = open_unet(base);
    for (size_t s = 0; s < network.sites.count; s++) {
        const struct sdg_site *site = &network.sites.sites[s];
        if (!sdg_site_is_by_token(network.graph, site->value) || strchr(site->name, '['))
            continue;
        check_smoothed(file, original, site->name, &sdg_hessians_find(h, site->name)->hessian);
        compared++;
    }
    assert_true(compared > 5);
    sdg_tensors_destroy(&file);
    sdg_tensors_destroy(&original);
    sdg_hessians_destroy(&h);
    free(out), free(path), free(statistics);
}

// ---- choosing modules ----

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq),
        cmocka_unit_test(gptq_smoothed),
        cmocka_unit_test(skipping),
        cmocka_unit_test(scheme_file),
    };
    prepare_model_tests();
    return finish_model_tests(cmocka_run_group_tests(tests, set_up, tear_down));
}
