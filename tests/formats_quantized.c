// formats/: folders that sdquant wrote: the configuration of the quantization, fingerprints, and what is taken from the
// base model.
#include "formats/quantized_folder.h"
#include "tests/model_files.h"

static const char weights_file[] = "unet/diffusion_pytorch_model.safetensors";

static void fingerprint_of(const char *root, char text[17])
{
    char path[200];
    struct sdg_tensors *tensors = NULL;
    snprintf(path, sizeof path, "%s/%s", root, weights_file);
    assert_int_equal(sdg_tensors_open(NULL, temp_path(path), &tensors), SDG_OK);
    sdg_tensors_fingerprint(tensors, text);
    sdg_tensors_destroy(&tensors);
}

// The sound configuration with one member replaced (by NULL: left out), or added.
static void put_config(const char *root, const char *key, const char *value)
{
    static const char *const members[][2] = {
        {"quant_method", "\"sdgen\""},
        {"format", "1"},
        {"scheme", "\"w8a8-tdq\""},
        {"weight_bits", "8"},
        {"activation_bits", "8"},
        {"rule", "\"tdq\""},
        {"group", "0"},
        {"weight_rounding", "\"gptq\""},
        {"seed", "9007199254740992"},
        {"statistics", "\"0123456789abcdef\""},
        {"base", NULL},
        {"fingerprint", NULL},
        {"base_path", "\"../base\""},
        {"static_sites", "3"},
        {"corrected", "true"},
    };
    char text[8192], base[17], own[17], unet[600];
    bool found = false;
    fingerprint_of("base", base);
    fingerprint_of(root, own);
    snprintf(unet, sizeof unet, "%.*s", (int)strlen(unet_json) - 1, unet_json);
    int n = snprintf(text, sizeof text, "%s,\"quantization_config\":{\"made_by\":0", unet);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const char *name = members[i][0];
        bool replaced = key && strcmp(key, name) == 0;
        found |= replaced;
        if (replaced && !value)
            continue;
        if (replaced || members[i][1])
            n += snprintf(text + n, sizeof text - (size_t)n, ",\"%s\":%s", name, replaced ? value : members[i][1]);
        else
            n += snprintf(text + n, sizeof text - (size_t)n, ",\"%s\":\"%s\"", name,
                          strcmp(name, "base") == 0 ? base : own);
    }
    if (key && value && !found)
        n += snprintf(text + n, sizeof text - (size_t)n, ",\"%s\":%s", key, value);
    assert_true(n < (int)sizeof text - 4);
    strcat(text, "}}");
    put(root, "unet/config.json", text);
}

// "base", a whole model, and "q", which has a UNet of one quantized layer and nothing else.
static const char *make_quantized(void)
{
    make_folder("base");
    const struct sdg_tensor base[] = {tensor("conv_in.weight", 4, 32, 4, 3, 3), tensor("conv_out.bias", 1, 3, 0, 0, 0),
                                      tensor("m.weight", 2, 8, 4, 0, 0)};
    write_weights("base/unet/diffusion_pytorch_model.safetensors", base, 3);
    temp_remove_tree(temp_path("q"));
    struct sdg_tensor q[] = {tensor("m.input_scale", 1, 1, 0, 0, 0), tensor("m.weight", 2, 8, 4, 0, 0),
                             tensor("m.weight_scale", 1, 8, 0, 0, 0)};
    q[1].dtype = SDG_S8;
    q[1].bytes = 32;
    write_weights("q/unet/diffusion_pytorch_model.safetensors", q, 3);
    put_config("q", NULL, NULL);
    return temp_path("q");
}

static void test_rest_comes_from_base(void **state)
{
    (void)state;
    struct sdg_model *model = open_model(make_quantized());
    const struct sdg_quantization_config *c = &model->unet_config.quantization;
    assert_true(c->present && c->weight_bits == 8 && c->activation_bits == 8 && c->group == 0 &&
                c->seed == 9007199254740992 && c->static_sites == 3 && c->corrected);
    assert_string_equal(c->scheme, "w8a8-tdq");
    assert_string_equal(c->rule, "tdq");
    assert_string_equal(c->weight_rounding, "gptq");
    assert_string_equal(c->statistics, "0123456789abcdef");
    assert_string_equal(c->base_path, "../base");
    assert_non_null(strstr(model->bases[0], "q/../base"));
    assert_int_equal(sdg_tensors_count(model->unet), 5);
    for (size_t i = 1; i < 5; i++)
        assert_true(strcmp(sdg_tensors_at(model->unet, i - 1)->name, sdg_tensors_at(model->unet, i)->name) < 0);
    assert_int_equal(sdg_tensors_find(model->unet, "m.weight")->dtype, SDG_S8);
    assert_non_null(strstr(sdg_tensors_path(model->unet), "q/unet/diffusion_pytorch_model.safetensors"));
    const struct sdg_tensor *conv = sdg_tensors_find(model->unet, "conv_in.weight");
    sdg_tensors_release(model->unet, conv);
    assert_memory_equal(conv->data, values, conv->bytes);
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"a\":0}");
    assert_string_equal(model->scheduler.class_name, "DDIMScheduler");
    sdg_model_close(&model);

    // How the base wants to be drawn, where the folder does not say.
    put("base", "model_index.json", "{\"_class_name\":\"StableDiffusionPipeline\",\"_sdgen\":{\"steps\":9}}");
    model = open_model(temp_path("q"));
    assert_int_equal(model->preferences.steps, 9);
    sdg_model_close(&model);
    put("q", "model_index.json", index_json);
    model = open_model(temp_path("q"));
    assert_int_equal(model->preferences.steps, 9);
    sdg_model_close(&model);
    put("q", "model_index.json", "{\"_class_name\":\"StableDiffusionPipeline\",\"_sdgen\":{\"cfg_scale\":2}}");
    model = open_model(temp_path("q"));
    assert_true(model->preferences.steps == 0 && model->preferences.cfg_scale.value == 2);
    sdg_model_close(&model);

    put("q", "model_index.json", index_json); // components of its own come first
    put("q", "tokenizer/vocab.json", "{\"b\":0}");
    put("q", "tokenizer/merges.txt", "");
    put("q", "scheduler/scheduler_config.json", "{\"_class_name\":\"PNDMScheduler\"}");
    write_text_encoder("q", "text_encoder");
    remove(temp_path("base/model_index.json"));
    model = open_model(temp_path("q"));
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"b\":0}");
    assert_string_equal(model->scheduler.class_name, "PNDMScheduler");
    assert_non_null(strstr(sdg_tensors_path(model->text[0]), "q/text_encoder"));
    assert_non_null(strstr(sdg_tensors_path(model->vae), "base/vae"));
    sdg_model_close(&model);
    remove(temp_path("q/model_index.json")); // neither has an index: guessed from what both have together
    model = open_model(temp_path("q"));
    assert_int_equal(model->text_encoders, 1);
    sdg_model_close(&model);
}

static void test_whole_folder(void **state)
{
    (void)state;
    make_quantized();
    make_folder("whole");
    put_config("whole", "base_path", NULL);
    struct sdg_model *model = open_model(temp_path("whole"));
    assert_true(model->unet_config.quantization.present && model->base_count == 0 &&
                !*model->unet_config.quantization.base_path);
    sdg_model_close(&model);
    model = open_model(temp_path("base"));
    const struct sdg_quantization_config none = {0};
    assert_memory_equal(&model->unet_config.quantization, &none, sizeof none);
    sdg_model_close(&model);
}

static void test_schemes(void **state)
{
    (void)state;
    make_quantized();
    char text[8192], *config;
    assert_int_equal(sdg_file_read_text(NULL, temp_path("q/unet/config.json"), 8000, &config), SDG_OK);
    static const char from[] =
        "\"scheme\":\"w8a8-tdq\",\"weight_bits\":8,\"activation_bits\":8,\"rule\":\"tdq\",\"group\":0";
    char *at = strstr(config, from);
    assert_non_null(at);
    static const struct {
        const char *name;
        int weight, activation;
        const char *rule;
        int group;
        bool good;
    } cases[] = {
        {"w4a8-static", 4, 8, "static", 0, true}, {"w8a5-dynamic", 8, 5, "dynamic", 0, true},
        {"w8a8-table", 8, 8, "table", 0, true},   {"w8a16", 8, 16, "none", 0, true},
        {"w4a16", 4, 16, "none", 64, true},       {"w4a8-tdq", 4, 8, "tdq", 64, false},
        {"w8a16-tdq", 8, 16, "tdq", 0, false},    {"w8a8", 8, 8, "none", 0, false},
        {"w8a8-static", 8, 8, "tdq", 0, false},   {"w16a8-tdq", 16, 8, "tdq", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text,
                 "%.*s\"scheme\":\"%s\",\"weight_bits\":%d,\"activation_bits\":%d,\"rule\":\"%s\",\"group\":%d%s",
                 (int)(at - config), config, cases[i].name, cases[i].weight, cases[i].activation, cases[i].rule,
                 cases[i].group, at + sizeof from - 1);
        put("q", "unet/config.json", text);
        if (!cases[i].good) {
            expect_refused(temp_path("q"), SDG_ERROR_INPUT, "unet/config.json: quantization_config: ");
            continue;
        }
        struct sdg_model *model = open_model(temp_path("q"));
        assert_string_equal(model->unet_config.quantization.scheme, cases[i].name);
        assert_int_equal(model->unet_config.quantization.group, cases[i].group);
        sdg_model_close(&model);
    }
    sdg_free(config);
}

static void test_broken_configurations(void **state)
{
    (void)state;
    enum { IN = SDG_ERROR_INPUT, UN = SDG_ERROR_UNSUPPORTED };
    static const struct {
        const char *key, *value;
        int result;
        const char *words;
    } cases[] = {
        {"quant_method", "\"bitsandbytes\"", UN, "quant_method is \"bitsandbytes\""},
        {"quant_method", "\"gptq\"", UN, "quant_method is \"gptq\""},
        {"quant_method", NULL, UN, "quant_method is missing"},
        {"quant_method", "8", IN, "quant_method is 8"},
        {"format", "2", UN, "format is 2"},
        {"format", NULL, UN, "format is 0"},
        {"format", "\"1\"", IN, "format is \"1\""},
        {"weight_bits", "9", IN, "weight_bits is 9"},
        {"weight_bits", "16", IN, "weight_bits is 16"},
        {"weight_bits", "-8", IN, "weight_bits is -8"},
        {"weight_bits", "7.5", IN, "weight_bits is 7.5"},
        {"weight_bits", "1e300", IN, "weight_bits is 1e+300"},
        {"weight_bits", NULL, IN, "weight_bits is 0"},
        {"activation_bits", "9", IN, "activation_bits is 9"},
        {"activation_bits", "1", IN, "activation_bits is 1"},
        {"activation_bits", "true", IN, "activation_bits is true"},
        {"activation_bits", NULL, IN, "activation_bits is 0"},
        {"rule", "\"magic\"", UN, "rule is \"magic\""},
        {"rule", "[]", IN, "rule is an array"},
        {"scheme", "\"w8a8-static\"", IN, "scheme is \"w8a8-static\""},
        {"scan_order", "\"columns\"", UN,
         "scan_order is \"columns\", but the tokens of this model are scanned by rows"},
        {"scheme", "\"\"", IN, "scheme is \"\""},
        {"group", "64", IN, "group is 64"},
        {"group", "-1", IN, "group is -1"},
        {"weight_rounding", "\"up\"", UN, "weight_rounding is \"up\""},
        {"seed", "-1", IN, "seed is -1"},
        {"seed", "0.5", IN, "seed is 0.5"},
        {"seed", "1e30", IN, "seed is 1e+30"},
        {"statistics", "\"xyz\"", IN, "statistics is \"xyz\""},
        {"statistics", NULL, IN, "statistics is missing"},
        {"base", "\"0123456789ABCDEF\"", IN, "base is \"0123456789ABCDEF\""},
        {"base", NULL, IN, "base is missing"},
        {"base", "\"0123456789abcdef\"", IN, "is 0123456789abcdef: this is not the model that was quantized"},
        {"fingerprint", "\"0123456789abcdef0\"", IN, "fingerprint is \"0123456789abcdef0\""},
        {"fingerprint", "\"0123456789abcdef\"", IN,
         "is 0123456789abcdef: one of the two files was replaced or changed"},
        {"base_path", "\"\"", IN, "base_path is empty"},
        {"base_path", "3", IN, "base_path is 3"},
        {"base_path", "\".\"", IN, "quantized itself (w8a8-tdq)"},
        {"base_path", "\"../q\"", IN, "quantized itself"},
        {"base_path", "\"..\"", IN, "is no model folder"},
        {"base_path", "\"../nowhere\"", IN, "q/../nowhere is no model folder"},
        {"base_path", "\"/nowhere/at/all\"", IN, "but /nowhere/at/all is no model folder"},
        {"base_path", "\"../base/model_index.json\"", IN, "is no model folder"},
        {"base_path", "\"../base\\u0000\"", IN, NULL}, // ends there; may open
        {"static_sites", "-1", IN, "static_sites is -1"},
        {"corrected", "1", IN, "corrected is 1"},
        {"learned", "\"jlss\"", IN, "learned is"},
    };
    size_t count = sizeof cases / sizeof *cases;
    make_quantized();
    for (size_t i = 0; i < count; i++) {
        put_config("q", cases[i].key, cases[i].value);
        if (cases[i].words) {
            expect_refused(temp_path("q"), (enum sdg_result)cases[i].result, cases[i].words);
        } else {
            struct temp_log t;
            struct sdg_model *model = NULL;
            assert_true(sdg_model_open(temp_log(&t), temp_path("q"), &model) == SDG_OK || t.errors == 1);
            sdg_model_close(&model);
        }
    }
    char absurd[4000];
    snprintf(absurd, sizeof absurd, "\"%0*d\"", 3000, 0);
    put_config("q", "base_path", absurd);
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "base_path has 3000 bytes");
    snprintf(absurd, sizeof absurd, "\"%0*d\"", 1000, 0);
    put_config("q", "base_path", absurd);
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "stores only what differs from the model \"000");
    static const char *const objects[] = {"3", "[]", "\"w8a8\"", "true"};
    for (size_t i = 0; i < 4; i++) {
        char text[1000];
        snprintf(text, sizeof text, "%.*s,\"quantization_config\":%s}", (int)strlen(unet_json) - 1, unet_json,
                 objects[i]);
        put("q", "unet/config.json", text);
        expect_refused(temp_path("q"), SDG_ERROR_INPUT, "config.json: quantization_config is ");
    }
    print_message("%zu broken configurations\n", count + 6);
}

static void test_broken_files(void **state)
{
    (void)state;
    make_quantized();
    const struct sdg_tensor other[] = {tensor("m.weight", 2, 8, 4, 0, 0)};
    write_weights("q/unet/diffusion_pytorch_model.safetensors", other, 1); // the configuration is still the old one
    expect_refused(temp_path("q"), SDG_ERROR_INPUT,
                   "q/unet/diffusion_pytorch_model.safetensors: its tensors have the fingerprint");
    make_quantized();
    write_weights("base/unet/diffusion_pytorch_model.safetensors", other, 1);
    expect_refused(temp_path("q"), SDG_ERROR_INPUT,
                   "base/unet/diffusion_pytorch_model.safetensors: its tensors have the fingerprint");
    make_quantized();
    put("base", "unet/config.json", "{");
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "base/unet/config.json");
    make_quantized();
    remove(temp_path("base/unet/diffusion_pytorch_model.safetensors"));
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "base/unet: has no weights");
    make_quantized();
    remove(temp_path("q/unet/diffusion_pytorch_model.safetensors"));
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "q/unet: has no weights");
    make_quantized();
    temp_remove_tree(temp_path("base/vae"));
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "base/vae: there is no such folder");
    make_quantized();
    put("q", "vae/config.json", "[]"); // a folder of its own is taken, whatever is in it
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "q/vae/config.json");
}

static void test_short_tensors_count(void **state)
{
    (void)state;
    char before[17], after[17];
    make_quantized();
    fingerprint_of("q", before);
    struct sdg_tensor q[] = {tensor("m.input_scale", 1, 1, 0, 0, 0), tensor("m.weight", 2, 8, 4, 0, 0),
                             tensor("m.weight_scale", 1, 8, 0, 0, 0)};
    const float scale = 0.5f; // four bytes, less than a word
    q[0].data = &scale;
    q[1].dtype = SDG_S8;
    q[1].bytes = 32;
    write_weights("q/unet/diffusion_pytorch_model.safetensors", q, 3);
    fingerprint_of("q", after);
    assert_string_not_equal(before, after);
}

// ---- written by whoever has codes, scales and intervals ----

static const int8_t codes8[32] = {-128, 127, 5, -6};
static const uint8_t codes4[8 * 3] = {0x87, 0x10, 0x0f}; // [8, 5], rows of three bytes
static const float layer_scales[16] = {0.5f, 1, 2, 4, 0.25f, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.125f},
                   site_scales[1] = {3};
static const int32_t site_zeros[1] = {7}, token_zeros[16] = {255, 3};
static const float times[2] = {1, 501}, factors[1000] = {0.5f, 3};

static char base_fingerprint[17];

static const char *export_order = "rows"; // of the tokens

static enum sdg_result export(const struct sdg_log *log, const char *root, int group, bool rounded)
{
    const struct sdg_tensor m = tensor("m.weight", 2, 8, 4, 0, 0), n = tensor("n.weight", 2, 8, 5, 0, 0),
                            kept = tensor("conv_in.weight", 4, 32, 4, 3, 3);
    struct sdg_quantization_config config = {.weight_bits = 8,
                                             .activation_bits = group ? 16 : 8,
                                             .group = group,
                                             .seed = 9007199254740992,
                                             .static_sites = 1,
                                             .scheme = "w8a8-static",
                                             .rule = "static",
                                             .weight_rounding = "mse",
                                             .statistics = "0123456789abcdef",
                                             .base_path = "../base"};
    if (group)
        strcpy(config.scheme, "w8a16"), strcpy(config.rule, "none");
    else
        strcpy(config.scan_order, export_order);
    memcpy(config.base, base_fingerprint, sizeof config.base);
    struct sdg_quantized_writer *w = NULL;
    enum sdg_result result = sdg_quantized_writer_create(log, &w);
    if (result == SDG_OK && !rounded)
        result = sdg_quantized_add_codes(w, "m", &m, 8, codes8);
    if (result == SDG_OK)
        result = sdg_quantized_add_codes(w, "n", &n, 4, codes4);
    if (result == SDG_OK)
        result = sdg_quantized_add_scales(w, "m", 8, group ? 2 : 1, layer_scales);
    if (result == SDG_OK)
        result = sdg_quantized_add_scales(w, "n[0:5]", 8, 1, layer_scales);
    if (result == SDG_OK && !group)
        result = sdg_quantized_add_interval(w, "s", 1, site_scales, site_zeros);
    if (result == SDG_OK && !group)
        result = sdg_quantized_add_token_intervals(w, "tokens", 2, 2, 4, layer_scales, token_zeros, NULL);
    if (result == SDG_OK && !group)
        result = sdg_quantized_add_token_intervals(w, "products", 1, 4, 4, layer_scales, token_zeros, factors);
    if (result == SDG_OK && !group)
        result = sdg_quantized_add_timesteps(w, times, 2);
    if (result == SDG_OK && !group)
        result = sdg_quantized_add_smoothing(w, "tokens", false, 5, layer_scales);
    if (result == SDG_OK)
        result = sdg_quantized_add_tensor(w, &kept);
    if (result == SDG_OK)
        result = sdg_quantized_write(w, temp_path(root), &sdg_quantized_unet_files, temp_path("base/unet/config.json"),
                                     &config, rounded);
    sdg_quantized_writer_destroy(&w);
    return result;
}

static void prepare_export(const char *root)
{
    make_quantized(); // for its base
    fingerprint_of("base", base_fingerprint);
    temp_remove_tree(temp_path(root));
    put(root, "unet/none", "");
}

static void expect_tensor(const struct sdg_model *model, const char *name, enum sdg_dtype dtype, int rank,
                          const void *data, size_t bytes)
{
    const struct sdg_tensor *t = sdg_tensors_find(model->unet, name);
    if (!t)
        fail_msg("%s is missing", name);
    assert_true(t->dtype == dtype && t->rank == rank && t->bytes == bytes);
    assert_memory_equal(t->data, data, bytes);
}

static int64_t group_of(const struct sdg_tensors *tensors)
{
    int64_t group = -1;
    assert_int_equal(sdg_quantized_group(NULL, tensors, &group), SDG_OK);
    return group;
}

static void test_broken_group(void **state)
{
    (void)state;
    static const char *const texts[] = {"-2", "0", "", "16 ", " 16", "+16", "16x", "99999999999999999999"};
    const struct sdg_tensor t = tensor("m.weight", 2, 8, 4, 0, 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct sdg_metadata metadata = {"group", texts[i]};
        struct sdg_tensors *tensors = NULL;
        struct temp_log log;
        int64_t group;
        char quoted[64];
        snprintf(quoted, sizeof quoted, "group is '%s'", texts[i]);
        assert_int_equal(sdg_tensors_write(NULL, temp_path("group.safetensors"), &t, 1, &metadata, 1), SDG_OK);
        assert_int_equal(sdg_tensors_open(NULL, temp_path("group.safetensors"), &tensors), SDG_OK);
        assert_int_equal(sdg_quantized_group(temp_log(&log), tensors, &group), SDG_ERROR_INPUT);
        if (!strstr(log.last, quoted) || !strstr(log.last, "group.safetensors"))
            fail_msg("%s", log.last);
        sdg_tensors_destroy(&tensors);
    }
}

static void test_writing(void **state)
{
    (void)state;
    prepare_export("e");
    assert_false(sdg_quantized_folder_is(temp_path("e")));
    assert_false(sdg_quantized_folder_is(temp_path("base")));
    assert_int_equal(export(NULL, "e", 0, false), SDG_OK);
    assert_true(sdg_quantized_folder_is(temp_path("e")));
    struct sdg_model *model = open_model(temp_path("e"));
    expect_tensor(model, "m.weight", SDG_S8, 2, codes8, 32);
    expect_tensor(model, "n.weight", SDG_U8, 2, codes4, 24);
    expect_tensor(model, "m.weight_scale", SDG_F32, 1, layer_scales, 32);
    expect_tensor(model, "n[0:5].weight_scale", SDG_F32, 1, layer_scales, 32);
    expect_tensor(model, "s.input_scale", SDG_F32, 1, site_scales, 4);
    expect_tensor(model, "tokens.input_scale", SDG_F32, 3, layer_scales, 64);
    expect_tensor(model, "tokens.input_zero_point", SDG_S32, 3, token_zeros, 64);
    expect_tensor(model, "tokens.input_smoothing", SDG_F32, 1, layer_scales, 20);
    assert_null(sdg_tensors_find(model->unet, "tokens.input_scale_time"));
    expect_tensor(model, "products.input_scale_time", SDG_F32, 1, factors, 4000);
    expect_tensor(model, "interval_timesteps", SDG_F32, 1, times, 8);
    expect_tensor(model, "s.input_zero_point", SDG_S32, 1, site_zeros, 4);
    expect_tensor(model, "conv_in.weight", SDG_F32, 4, values, 32 * 36 * 4);
    assert_non_null(sdg_tensors_find(model->unet, "conv_out.bias")); // the base's
    const struct sdg_quantization_config *c = &model->unet_config.quantization;
    assert_true(c->present && !c->corrected && c->weight_bits == 8 && c->activation_bits == 8 && c->group == 0 &&
                c->seed == 9007199254740992 && c->static_sites == 1);
    assert_string_equal(c->scheme, "w8a8-static");
    assert_string_equal(c->weight_rounding, "mse");
    assert_string_equal(c->statistics, "0123456789abcdef");
    assert_string_equal(c->base_path, "../base");
    assert_true(group_of(model->unet) == 0 && !sdg_quantized_rounds_codes(model->unet));
    struct temp_log t;
    assert_int_equal(sdg_quantized_check_layers(temp_log(&t), model->unet, 2), SDG_OK);
    assert_int_equal(sdg_quantized_check_layers(temp_log(&t), model->unet, 3), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, "2 layers") && strstr(t.last, "3 have"));
    sdg_model_close(&model);

    prepare_export("e"); // intervals by token of nobody knows which order
    export_order = "";
    assert_int_equal(export(NULL, "e", 0, false), SDG_OK);
    export_order = "rows";
    expect_refused(temp_path("e"), SDG_ERROR_UNSUPPORTED, "scan_order is missing");

    prepare_export("e");
    assert_int_equal(export(NULL, "e", 2, true), SDG_OK);
    model = open_model(temp_path("e"));
    expect_tensor(model, "m.weight", SDG_F32, 2, values, 128); // the base's, to be rounded
    expect_tensor(model, "m.weight_scale", SDG_F32, 2, layer_scales, 64);
    assert_true(group_of(model->unet) == 2 && sdg_quantized_rounds_codes(model->unet));
    sdg_model_close(&model);

    // A quantized model is no base.
    struct temp_log u;
    put("base", "unet/config.json", "{\"quantization_config\":{}}");
    assert_int_equal(export(temp_log(&u), "e", 0, false), SDG_ERROR_INPUT);
    assert_true(u.errors == 1 && strstr(u.last, "quantization_config"));
}

static bool is_offset(const char *name)
{
    return strncmp(name, "fix.", 4) == 0;
}

static void test_correcting(void **state)
{
    (void)state;
    prepare_export("e");
    assert_int_equal(export(NULL, "e", 0, false), SDG_OK);
    for (int turn = 1; turn < 3; turn++) { // the second time in place of the first
        const struct sdg_tensor fix[] = {tensor("fix.a", 1, turn, 0, 0, 0), tensor("fix.b", 1, 2, 0, 0, 0)};
        assert_int_equal(sdg_quantized_amend(NULL, temp_path("e"), &sdg_quantized_unet_files, "corrected", is_offset,
                                             fix, turn == 1 ? 2 : 1),
                         SDG_OK);
        struct sdg_model *model = open_model(temp_path("e"));
        assert_true(model->unet_config.quantization.corrected);
        assert_int_equal(model->unet_config.quantization.seed, 9007199254740992);
        assert_int_equal(sdg_tensors_find(model->unet, "fix.a")->dims[0], turn);
        assert_true((sdg_tensors_find(model->unet, "fix.b") != NULL) == (turn == 1));
        expect_tensor(model, "m.weight", SDG_S8, 2, codes8, 32);
        assert_int_equal(sdg_quantized_check_layers(NULL, model->unet, 2), SDG_OK);
        sdg_model_close(&model);
    }
    put("e", "unet/config.json", unet_json); // nothing to amend
    struct temp_log t;
    const struct sdg_tensor fix = tensor("fix.a", 1, 1, 0, 0, 0);
    assert_true(sdg_quantized_amend(temp_log(&t), temp_path("e"), &sdg_quantized_unet_files, "corrected", is_offset,
                                    &fix, 1) != SDG_OK &&
                t.errors == 1);
}

static void test_failing_export(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct temp_log t;
        prepare_export("e");
        const struct sdg_log *log = temp_log(&t);
        sdg_test_fail_allocation(n);
        enum sdg_result result = export(log, "e", 0, false);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK) {
            assert_true(n > 20);
            print_message("%zu failing allocations\n", n - 1);
            break;
        }
        assert_true(result == SDG_ERROR_MEMORY && t.errors == 1);
    }
}

static void test_allocations(void **state)
{
    (void)state;
    make_quantized();
    size_t count = fail_allocations(temp_path("q"));
    assert_true(count > 50);
    print_message("%zu failing allocations\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rest_comes_from_base),
        cmocka_unit_test(test_whole_folder),
        cmocka_unit_test(test_schemes),
        cmocka_unit_test(test_broken_configurations),
        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_short_tensors_count),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_broken_group),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_correcting),
        cmocka_unit_test(test_failing_export),
    };
    return run_model_tests(tests);
}
