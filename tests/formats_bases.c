// Model folders that hold what differs from a base, and bases that do so in turn: where each file and each tensor comes
// from, and which bases are refused.
#include "tests/model_files.h"

#include "formats/quantized_folder.h"

// Tells tensors of the same name apart: all of one number.
static struct sdg_tensor filled(const char *name, int64_t length, float number)
{
    static float room[16][64];
    static int turn;
    float *data = room[turn++ % 16];
    assert_true(length <= 64);
    for (int64_t i = 0; i < length; i++)
        data[i] = number;
    return (struct sdg_tensor){.name = name,
                               .dtype = SDG_F32,
                               .rank = 1,
                               .dims = {length},
                               .data = data,
                               .bytes = (size_t)length * sizeof *data};
}

static float first_of(const struct sdg_tensors *tensors, const char *name)
{
    const struct sdg_tensor *t = sdg_tensors_find(tensors, name);
    float number;
    if (!t)
        fail_msg("there is no %s", name);
    memcpy(&number, t->data, sizeof number);
    return number;
}

// unet/config.json of `root`, with `more` members.
static void put_unet_config(const char *root, const char *more)
{
    char text[8000];
    assert_true(snprintf(text, sizeof text, "%.*s,%s}", (int)strlen(unet_json) - 1, unet_json, more) <
                (int)sizeof text);
    put(root, "unet/config.json", text);
}

static void name_base(const char *root, const char *path, const char *fingerprint)
{
    char more[3000];
    snprintf(more, sizeof more, "\"_sdgen\":{\"base_path\":\"%s\",\"base\":\"%s\"}", path, fingerprint);
    put_unet_config(root, more);
}

static const char *fingerprint_of_model(const char *root)
{
    static char text[4][17];
    static int turn;
    char *found = text[turn++ % 4];
    struct sdg_model *model = open_model(temp_path(root));
    sdg_tensors_fingerprint(model->unet, found);
    sdg_model_close(&model);
    return found;
}

// "whole"; "one", with a tensor of its own in each part; "two" on it, with only a name and one more in the UNet.
static void make_models(void)
{
    const struct sdg_tensor whole[] = {filled("conv_in.bias", 32, 1), filled("conv_out.bias", 4, 1),
                                       filled("a.attn1.to_q.weight", 8, 1), filled("attn1.lone.weight", 8, 1)},
                            one[] = {filled("conv_out.bias", 4, 2), filled("mine.bias", 5, 2)},
                            text[] = {filled("text_model.final_layer_norm.weight", 24, 2)},
                            vae[] = {filled("decoder.mid_block.attentions.0.proj_attn.bias", 16, 2)},
                            two[] = {filled("mine.bias", 5, 3)};
    make_folder("whole");
    write_weights("whole/unet/diffusion_pytorch_model.safetensors", whole, 4);
    temp_remove_tree(temp_path("one"));
    write_weights("one/unet/some_name.safetensors", one, 2);
    write_weights("one/text_encoder/some_name.safetensors", text, 1);
    write_weights("one/vae/diffusion_pytorch_model.safetensors", vae, 1);
    put("one", "scheduler/scheduler_config.json", "{\"_class_name\":\"PNDMScheduler\"}");
    name_base("one", "../whole", fingerprint_of_model("whole"));
    temp_remove_tree(temp_path("two"));
    write_weights("two/unet/model.safetensors", two, 1);
    name_base("two", "../one/", fingerprint_of_model("one"));
}

// An autoencoder that is taken from a folder of differences.
static void test_autoencoder_of_differences(void **state)
{
    (void)state;
    make_models();
    for (int i = 0; i < 2; i++) {
        struct sdg_model *model = NULL;
        const struct sdg_model_params params = {.vae = temp_path(i ? "two" : "one")};
        assert_int_equal(sdg_model_open_params(NULL, temp_path("whole"), &params, &model), SDG_OK);
        assert_true(first_of(model->vae, "decoder.mid_block.attentions.0.to_out.0.bias") == 2 &&
                    sdg_tensors_find(model->vae, "quant_conv.weight"));
        assert_false(model->vae_config.decoder_only);
        assert_int_equal(first_of(model->unet, "conv_out.bias"), 1);
        sdg_model_close(&model);
    }
    struct temp_log t;
    struct sdg_model *model = NULL;
    name_base("two", "../gone", fingerprint_of_model("one"));
    const struct sdg_model_params params = {.vae = temp_path("two")};
    assert_int_equal(sdg_model_open_params(temp_log(&t), temp_path("whole"), &params, &model), SDG_ERROR_INPUT);
    assert_true(!model && t.errors == 1 && strstr(t.last, "../gone"));
}

static void test_one_base(void **state)
{
    (void)state;
    make_models();
    struct sdg_model *model = open_model(temp_path("one"));
    assert_int_equal(model->base_count, 1);
    assert_non_null(strstr(model->bases[0], "one/../whole"));
    assert_int_equal(sdg_tensors_count(model->unet), 5);
    assert_true(first_of(model->unet, "conv_in.bias") == 1 && first_of(model->unet, "conv_out.bias") == 2 &&
                first_of(model->unet, "mine.bias") == 2 && first_of(model->unet, "a.attn1.to_q.weight") == 1);
    assert_non_null(strstr(sdg_tensors_path(model->unet), "one/unet/some_name.safetensors"));
    // The names inside of both files are those of their kind: "text_model." may be missing in one of them.
    assert_true(first_of(model->text[0], "text_model.final_layer_norm.weight") == 2 &&
                first_of(model->text[0], "text_model.embeddings.token_embedding.weight") == values[0]);
    assert_true(first_of(model->vae, "decoder.mid_block.attentions.0.to_out.0.bias") == 2 &&
                sdg_tensors_find(model->vae, "quant_conv.weight"));
    assert_false(model->vae_config.decoder_only);
    assert_string_equal(model->scheduler.class_name, "PNDMScheduler");
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"a\":0}");
    sdg_model_close(&model);

    put("one", "tokenizer/vocab.json", "{\"b\":0}"); // another whole component
    put("one", "tokenizer/merges.txt", "#version: 0.2\n");
    model = open_model(temp_path("one"));
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"b\":0}");
    sdg_model_close(&model);

    remove(temp_path("one/unet/some_name.safetensors")); // nothing differs in the UNet
    model = open_model(temp_path("one"));
    assert_int_equal(sdg_tensors_count(model->unet), 4);
    sdg_model_close(&model);

    name_base("one", temp_path("whole"), fingerprint_of_model("whole")); // by an absolute path
    model = open_model(temp_path("one"));
    assert_string_equal(model->bases[0], temp_path("whole"));
    sdg_model_close(&model);
}

static void test_two_bases(void **state)
{
    (void)state;
    make_models();
    struct sdg_model *model = open_model(temp_path("two"));
    assert_int_equal(model->base_count, 2);
    assert_true(first_of(model->unet, "conv_in.bias") == 1 && first_of(model->unet, "conv_out.bias") == 2 &&
                first_of(model->unet, "mine.bias") == 3);
    assert_true(first_of(model->text[0], "text_model.final_layer_norm.weight") == 2);
    assert_string_equal(model->scheduler.class_name, "PNDMScheduler");
    // The way to draw is that of the nearest that says one.
    sdg_model_close(&model);
    put("whole", "model_index.json", "{\"_class_name\":\"StableDiffusionPipeline\",\"_sdgen\":{\"steps\":9}}");
    model = open_model(temp_path("two"));
    assert_int_equal(model->preferences.steps, 9);
    sdg_model_close(&model);
    put("one", "model_index.json", "{\"_class_name\":\"StableDiffusionPipeline\",\"_sdgen\":{\"steps\":8}}");
    model = open_model(temp_path("two"));
    assert_int_equal(model->preferences.steps, 8);
    sdg_model_close(&model);
    print_message("%zu failing allocations\n", fail_allocations(temp_path("two")));
}

// Self-attention that a Mamba block takes the place of is not part of the UNet, wherever it comes from.
static void test_replaced_attention(void **state)
{
    (void)state;
    char more[500];
    make_models();
    snprintf(more, sizeof more,
             "\"self_mixer\":\"mamba\",\"mamba_d_state\":4,\"mamba_d_conv\":4,\"mamba_expand\":2,"
             "\"_sdgen\":{\"base_path\":\"../whole\",\"base\":\"%s\"}",
             fingerprint_of_model("whole"));
    put_unet_config("one", more);
    struct sdg_model *model = open_model(temp_path("one"));
    assert_int_equal(model->unet_config.mamba.d_state, 4);
    assert_int_equal(sdg_tensors_count(model->unet), 4);
    assert_null(sdg_tensors_find(model->unet, "a.attn1.to_q.weight"));
    assert_non_null(sdg_tensors_find(model->unet, "attn1.lone.weight"));
    sdg_model_close(&model);
}

// Which file a tensor comes from, and whether it lies over a base.
static void expect_origin(const struct sdg_model *model, const char *name, const char *file, bool wanted)
{
    bool differs = !wanted;
    const char *path = sdg_tensors_origin(model->unet, sdg_tensors_find(model->unet, name), &differs);
    if (differs != wanted || !strstr(path, file))
        fail_msg("%s: from %s, %d", name, path, (int)differs);
}

static void test_origins(void **state)
{
    (void)state;
    make_models();
    struct sdg_model *model = open_model(temp_path("two"));
    expect_origin(model, "mine.bias", "two/unet/model.safetensors", true);
    expect_origin(model, "conv_out.bias", "one/unet/some_name.safetensors", true);
    expect_origin(model, "conv_in.bias", "whole/unet/diffusion_pytorch_model.safetensors", false);
    assert_null(sdg_tensors_bare_folder(model->unet));
    sdg_model_close(&model);
    remove(temp_path("two/unet/model.safetensors"));
    model = open_model(temp_path("two"));
    expect_origin(model, "conv_out.bias", "one/unet/some_name.safetensors", true);
    assert_string_equal(sdg_tensors_bare_folder(model->unet), temp_path("two/unet"));
    sdg_model_close(&model);
}

static void test_refused(void **state)
{
    (void)state;
    static const char good[] = "0123456789abcdef";
    static const struct {
        const char *more, *words;
    } cases[] = {
        {"\"_sdgen\":3", "config.json: _sdgen is 3, should be an object"},
        {"\"_sdgen\":[]", "config.json: _sdgen is an array, should be an object"},
        {"\"_sdgen\":{}", "config.json: _sdgen: base_path is missing"},
        {"\"_sdgen\":{\"base_path\":\"\"}", "_sdgen: base_path is empty"},
        {"\"_sdgen\":{\"base_path\":7}", "_sdgen: base_path is 7"},
        {"\"_sdgen\":{\"base_path\":\"../whole\\u0000/x\",\"base\":\"0123456789abcdef\"}",
         "config.json: has \\u0000 in a string"},
        {"\"_sdgen\":{\"base_path\":\"../whole\"}", "_sdgen: base is missing"},
        {"\"_sdgen\":{\"base_path\":\"../whole\",\"base\":\"0123456789ABCDEF\"}",
         "_sdgen: base is \"0123456789ABCDEF\""},
        {"\"_sdgen\":{\"base_path\":\"../whole\",\"base\":\"0123456789abcdef\",\"steps\":3}",
         "_sdgen: steps is no key of it, known: base_path, base"},
        {"\"_sdgen\":{\"base_path\":\"../whole\",\"base\":\"0123456789abcdef\"}",
         "is 0123456789abcdef: this is not the model that the differences were made for"},
        {"\"_sdgen\":{\"base_path\":\"../nowhere\",\"base\":\"0123456789abcdef\"}",
         "one/../nowhere is no model folder"},
        {"\"_sdgen\":{\"base_path\":\"..\",\"base\":\"0123456789abcdef\"}", "is no model folder"},
        {"\"_sdgen\":{\"base_path\":\"../whole/model_index.json\",\"base\":\"0123456789abcdef\"}",
         "is no model folder"},
        {"\"_sdgen\":{\"base_path\":\".\",\"base\":\"0123456789abcdef\"}", "do they lead back to themselves?"},
        {"\"_sdgen\":{\"base_path\":\"../two\",\"base\":\"0123456789abcdef\"}", "do they lead back to themselves?"},
    };
    make_models();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_unet_config("one", cases[i].more);
        expect_refused(temp_path("one"), SDG_ERROR_INPUT, cases[i].words);
    }
    make_models();
    name_base("whole", "../two", good); // a ring of three
    expect_refused(temp_path("two"), SDG_ERROR_INPUT, "two: its base has a base, and so on, more than 4 times");

    make_models();
    const struct sdg_tensor other = filled("conv_in.bias", 32, 5);
    write_weights("whole/unet/diffusion_pytorch_model.safetensors", &other, 1); // trained on
    expect_refused(temp_path("one"), SDG_ERROR_INPUT,
                   "whole/unet/diffusion_pytorch_model.safetensors: its tensors have the fingerprint");
    expect_refused(temp_path("two"), SDG_ERROR_INPUT, "this is not the model that the differences were made for");
    make_models();
    write_weights("one/unet/another.safetensors", &other, 1);
    expect_refused(temp_path("one"), SDG_ERROR_INPUT,
                   "one/unet: one safetensors file should hold the differences, but there are ");
    make_models();
    remove(temp_path("one/unet/some_name.safetensors"));
    put("one", "unet/diffusion_pytorch_model.bin", "");
    expect_refused(temp_path("one"), SDG_ERROR_UNSUPPORTED, "Python pickles can run code and are not read");
    make_models();
    remove(temp_path("whole/unet/diffusion_pytorch_model.safetensors"));
    expect_refused(temp_path("one"), SDG_ERROR_INPUT, "whole/unet: has no weights");
    make_models();
    temp_remove_tree(temp_path("whole/vae"));
    temp_remove_tree(temp_path("one/vae"));
    expect_refused(temp_path("two"), SDG_ERROR_INPUT, "whole/vae: there is no such folder");
}

// A folder that is quantized has one base, full precision; that one may have its own.
static void test_quantized(void **state)
{
    (void)state;
    char more[2000], own[17];
    make_models();
    const struct sdg_tensor q = filled("q.weight_scale", 8, 7);
    temp_remove_tree(temp_path("q"));
    write_weights("q/" SDG_QUANTIZED_WEIGHTS_FILE, &q, 1);
    struct sdg_tensors *file;
    assert_int_equal(sdg_tensors_open(NULL, temp_path("q/" SDG_QUANTIZED_WEIGHTS_FILE), &file), SDG_OK);
    sdg_tensors_fingerprint(file, own);
    sdg_tensors_destroy(&file);
    snprintf(
        more, sizeof more,
        "\"quantization_config\":{\"quant_method\":\"sdgen\",\"format\":1,\"scheme\":\"w8a16\",\"weight_bits\":8,"
        "\"activation_bits\":16,\"rule\":\"none\",\"group\":0,\"weight_rounding\":\"mse\",\"seed\":0,\"base\":\"%s\","
        "\"fingerprint\":\"%s\",\"base_path\":\"../two\"}",
        fingerprint_of_model("two"), own);
    put_unet_config("q", more);
    struct sdg_model *model = open_model(temp_path("q"));
    assert_int_equal(model->base_count, 3);
    assert_true(first_of(model->unet, "q.weight_scale") == 7 && first_of(model->unet, "mine.bias") == 3 &&
                first_of(model->unet, "conv_out.bias") == 2 && first_of(model->unet, "conv_in.bias") == 1);
    sdg_model_close(&model);
    snprintf(more + strlen(more), sizeof more - strlen(more),
             ",\"_sdgen\":{\"base_path\":\"../two\",\"base\":\"0123456789abcdef\"}");
    put_unet_config("q", more);
    expect_refused(temp_path("q"), SDG_ERROR_INPUT, "_sdgen: names a base, but so does quantization_config");
    name_base("two", "../q", "0123456789abcdef");
    *strstr(more, ",\"_sdgen\"") = 0;
    put_unet_config("q", more);
    expect_refused(temp_path("two"), SDG_ERROR_INPUT, "which is quantized itself (w8a16)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_one_base),
        cmocka_unit_test(test_autoencoder_of_differences),
        cmocka_unit_test(test_two_bases),
        cmocka_unit_test(test_replaced_attention),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_quantized),
    };
    return run_model_tests(tests);
}
