// formats/: diffusers folders: what is read from them, kinds of models, broken folders.
#include "tests/model_files.h"

static void test_folder(void **state)
{
    (void)state;
    make_folder("m");
    struct sdg_model *model = open_model(temp_path("m/")); // a slash at the end is fine
    assert_true(!model->single_file && model->kind == SDG_MODEL_SD && model->text_encoders == 1 && !model->text[1]);
    assert_true(model->unet_config.levels == 2 && model->vae_config.levels == 2 && model->text_config[0].layers == 1);
    assert_true(model->has_scheduler && strcmp(model->scheduler.class_name, "DDIMScheduler") == 0);
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"a\":0}");
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_MERGES], "#version: 0.2\n");
    assert_true(!model->tokenizer[0].pad && !model->tokenizer[0].text[SDG_TOKENIZER_CONFIG]);
    assert_int_equal(sdg_tensors_count(model->text[0]), 3);
    static const char *const text[] = {"text_model.embeddings.token_embedding.weight",
                                       "text_model.final_layer_norm.weight", "text_projection.weight"};
    for (int i = 0; i < 3; i++)
        assert_non_null(sdg_tensors_find(model->text[0], text[i]));
    assert_non_null(strstr(sdg_tensors_path(model->text[0]), "text_encoder/model.safetensors"));
    const struct sdg_tensor *q = sdg_tensors_find(model->vae, "encoder.mid_block.attentions.0.to_q.weight");
    assert_true(q && q->rank == 2 && q->bytes == 4 * 16 * 16 && memcmp(q->data, values, q->bytes) == 0);
    assert_non_null(sdg_tensors_find(model->vae, "decoder.mid_block.attentions.0.to_out.0.bias"));
    assert_int_equal(sdg_tensors_find(model->vae, "decoder.mid_block.attentions.0.to_v.weight")->rank, 2);
    assert_int_equal(sdg_tensors_find(model->vae, "quant_conv.weight")->rank, 4);
    sdg_model_close(&model);
    assert_null(model);
    sdg_model_close(&model);

    struct sdg_model_params params = {.no_mmap = true};
    assert_int_equal(sdg_model_open_params(NULL, temp_path("m"), &params, &model), SDG_OK);
    const struct sdg_tensor *conv = sdg_tensors_find(model->unet, "conv_in.weight");
    temp_remove_tree(temp_path("m/unet"));
    sdg_tensors_release(model->unet, conv);
    assert_memory_equal(conv->data, values, conv->bytes);
    sdg_model_close(&model);
}

static void expect_tokenizers(const char *path, enum sdg_result want, const char *words)
{
    struct temp_log t;
    struct sdg_model *model = open_model(path);
    assert_int_equal(sdg_model_check_tokenizers(temp_log(&t), model), want);
    if (want != SDG_OK && (t.errors != 1 || !strstr(t.last, words)))
        fail_msg("%d errors, '%s' should have '%s'", t.errors, t.last, words);
    sdg_model_close(&model);
}

static void expect_text(const char *path, enum sdg_tokenizer_file file, const char *want)
{
    struct sdg_model *model = open_model(path);
    assert_string_equal(model->tokenizer[0].text[file], want);
    sdg_model_drop_tokenizers(model);
    assert_null(model->tokenizer[0].folder);
    sdg_model_close(&model);
}

static void test_tokenizer_files(void **state)
{
    (void)state;
    make_folder("m");
    put("m", "tokenizer/tokenizer_config.json", "{\"pad_token\":\"!\"}");
    put("m", "tokenizer/added_tokens.json", "\xef\xbb\xbf{}"); // a byte order mark
    expect_text(temp_path("m"), SDG_TOKENIZER_CONFIG, "{\"pad_token\":\"!\"}");
    expect_text(temp_path("m"), SDG_TOKENIZER_ADDED_TOKENS, "{}");
    put("m", "tokenizer/tokenizer.json", "{\"c\":0}"); // goes before the other two, as in transformers
    struct sdg_model *model = open_model(temp_path("m"));
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_JSON], "{\"c\":0}");
    assert_true(!model->tokenizer[0].text[SDG_TOKENIZER_VOCAB] && !model->tokenizer[0].text[SDG_TOKENIZER_MERGES]);
    sdg_model_close(&model);
    remove(temp_path("m/tokenizer/vocab.json"));
    remove(temp_path("m/tokenizer/merges.txt"));
    expect_tokenizers(temp_path("m"), SDG_OK, NULL);
    make_folder("m");
    remove(temp_path("m/tokenizer/merges.txt"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "tokenizer/merges.txt");
    make_folder("m");
    put("m", "tokenizer/vocab.json", "{\"\xff\":0}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "tokenizer/vocab.json");
    temp_remove_tree(temp_path("m/tokenizer"));
    expect_tokenizers(temp_path("m"), SDG_ERROR_INPUT, "no usable tokenizer in its folder tokenizer ("); // who needs it
}

// A folder that is named, as it is or as a model with folders tokenizer and tokenizer_2.
static void test_named_tokenizer(void **state)
{
    (void)state;
    make_folder("m");
    temp_remove_tree(temp_path("m/tokenizer"));
    put("elsewhere", "vocab.json", "{\"b\":0}");
    put("elsewhere", "merges.txt", "");
    put("model", "tokenizer/tokenizer.json", "{\"d\":0}");
    setenv("SDGEN_TOKENIZER", temp_path("elsewhere"), 1);
    expect_text(temp_path("m"), SDG_TOKENIZER_VOCAB, "{\"b\":0}");
    struct sdg_model *model;
    struct sdg_model_params params = {.tokenizer = temp_path("model")}; // goes before it
    assert_int_equal(sdg_model_open_params(NULL, temp_path("m"), &params, &model), SDG_OK);
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_JSON], "{\"d\":0}");
    assert_string_equal(model->tokenizer[0].pad, "<|endoftext|>");
    sdg_model_close(&model);
    make_folder("m"); // and before the model's own
    params.tokenizer = temp_path("model");
    assert_int_equal(sdg_model_open_params(NULL, temp_path("m"), &params, &model), SDG_OK);
    assert_non_null(model->tokenizer[0].text[SDG_TOKENIZER_JSON]);
    sdg_model_close(&model);
    expect_text(temp_path("m"), SDG_TOKENIZER_VOCAB, "{\"a\":0}"); // which goes before the environment's
    temp_remove_tree(temp_path("m/tokenizer"));
    setenv("SDGEN_TOKENIZER", temp_path("m"), 1);
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "SDGEN_TOKENIZER");
    unsetenv("SDGEN_TOKENIZER");
}

static void edit(const char *name, const char *from, const char *to)
{
    char path[200], *text, result[8192];
    snprintf(path, sizeof path, "m/%s", name);
    assert_int_equal(sdg_file_read_text(NULL, temp_path(path), 4096, &text), SDG_OK);
    char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(result, sizeof result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    sdg_free(text);
    temp_text(path, result);
}

static enum sdg_model_kind kind_of(void)
{
    struct sdg_model *model = open_model(temp_path("m"));
    enum sdg_model_kind kind = model->kind;
    sdg_model_close(&model);
    return kind;
}

static void make_sdxl(void)
{
    make_folder("m");
    write_text_encoder("m", "text_encoder_2");
    edit("text_encoder_2/config.json", "CLIPTextModel", "CLIPTextModelWithProjection");
    edit("text_encoder_2/config.json", "\"hidden_size\"", "\"projection_dim\":8,\"hidden_size\"");
    edit("model_index.json", "StableDiffusionPipeline\"",
         "StableDiffusionXLPipeline\",\"text_encoder_2\":[\"transformers\",\"X\"]");
    edit("unet/config.json", "\"cross_attention_dim\":24",
         "\"cross_attention_dim\":48,\"addition_embed_type\":\"text_time\",\"addition_time_embed_dim\":8,"
         "\"projection_class_embeddings_input_dim\":56");
    put("m", "tokenizer_2/vocab.json", "{}");
    put("m", "tokenizer_2/merges.txt", "");
    put("m", "tokenizer_2/tokenizer_config.json", "{\"pad_token\":\"!\"}");
}

static void test_kinds(void **state)
{
    (void)state;
    make_folder("m");
    assert_int_equal(kind_of(), SDG_MODEL_SD);
    remove(temp_path("m/model_index.json"));
    assert_int_equal(kind_of(), SDG_MODEL_SD);
    edit("unet/config.json", "\"layers_per_block\"", "\"in_channels\":9,\"layers_per_block\"");
    assert_int_equal(kind_of(), SDG_MODEL_INPAINT);
    make_folder("m");
    put("m", "scheduler/scheduler_config.json", "{\"_class_name\":\"LCMScheduler\"}");
    assert_int_equal(kind_of(), SDG_MODEL_LCM);
    make_folder("m");
    edit("unet/config.json", "\"layers_per_block\"", "\"time_cond_proj_dim\":16,\"layers_per_block\"");
    assert_int_equal(kind_of(), SDG_MODEL_LCM);
    make_sdxl();
    struct sdg_model *model = open_model(temp_path("m"));
    assert_true(model->kind == SDG_MODEL_SDXL && model->text_encoders == 2 && model->text[1] &&
                model->text_config[1].projection_dim == 8);
    assert_true(model->zeros_for_no_prompt && model->tokenizer[0].folder && model->tokenizer[1].folder);
    sdg_model_close(&model);
    temp_remove_tree(temp_path("m/tokenizer_2"));
    expect_tokenizers(temp_path("m"), SDG_ERROR_INPUT, "no usable tokenizer in its folder tokenizer_2 (");
    make_sdxl();
    edit("model_index.json", "{", "{\"force_zeros_for_empty_prompt\":false,");
    model = open_model(temp_path("m"));
    assert_false(model->zeros_for_no_prompt);
    sdg_model_close(&model);
    edit("model_index.json", "{", "{\"tokenizer_2\":[\"transformers\",\"T5TokenizerFast\"],");
    expect_refused(temp_path("m"), SDG_ERROR_UNSUPPORTED, "tokenizer_2 is a T5TokenizerFast");
    make_sdxl();
    remove(temp_path("m/model_index.json"));
    assert_int_equal(kind_of(), SDG_MODEL_SDXL);
    edit("unet/config.json", "input_dim\":56", "input_dim\":57");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "projection_class_embeddings_input_dim");
    make_sdxl();
    edit("text_encoder_2/config.json", "\"hidden_size\":24", "\"hidden_size\":48");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "cross_attention_dim");
}

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(temp_path(from), temp_path(to)), 0);
}

static void test_weight_files(void **state)
{
    (void)state;
    make_folder("m");
    move("m/unet/diffusion_pytorch_model.safetensors", "m/unet/diffusion_pytorch_model.fp16.safetensors");
    move("m/text_encoder/model.safetensors", "m/text_encoder/model.fp16.safetensors");
    assert_int_equal(kind_of(), SDG_MODEL_SD);

    const struct sdg_tensor more[] = {tensor("conv_out.bias", 1, 4, 0, 0, 0)};
    move("m/unet/diffusion_pytorch_model.fp16.safetensors", "m/unet/one.safetensors");
    write_weights("m/unet/two.safetensors", more, 1);
    const char *index = "m/unet/diffusion_pytorch_model.safetensors.index.json";
    temp_text(index,
              "{\"weight_map\":{\"conv_in.weight\":\"one.safetensors\",\"x\":\"one.safetensors\",\"conv_out.bias\":"
              "\"two.safetensors\"}}");
    struct sdg_model *model = open_model(temp_path("m"));
    assert_int_equal(sdg_tensors_count(model->unet), 2);
    assert_memory_equal(sdg_tensors_find(model->unet, "conv_in.weight")->data, values, 4 * 32 * 4 * 9);
    assert_memory_equal(sdg_tensors_find(model->unet, "conv_out.bias")->data, values, 16);
    sdg_model_close(&model);
    write_weights("m/unet/two.safetensors", (const struct sdg_tensor[]){tensor("conv_in.weight", 1, 4, 0, 0, 0)}, 1);
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "two tensors named conv_in.weight");
    temp_text(index, "{\"weight_map\":{\"a\":\"../unet/one.safetensors\"}}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "weight_map");
    temp_text(index, "{\"weight_map\":{\"a\":3}}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "weight_map");
    temp_text(index, "{\"weight_map\":[]}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "weight_map");
    temp_text(index, "{\"weight_map\":{\"a\":\"three.safetensors\"}}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "three.safetensors");
    remove(temp_path(index));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "unet: has no diffusion_pytorch_model.safetensors, only ");
    temp_text("m/unet/diffusion_pytorch_model.bin", "PK");
    expect_refused(temp_path("m"), SDG_ERROR_UNSUPPORTED, "pickles");
}

// One change to the sound folder each.
static void test_broken_folders(void **state)
{
    (void)state;
    enum { IN = SDG_ERROR_INPUT, UN = SDG_ERROR_UNSUPPORTED };
    static const char unet[] = "unet/diffusion_pytorch_model.safetensors", text[] = "text_encoder/model.safetensors";
    static const struct {
        const char *file;
        const char *content; // NULL: removed
        int result;
        const char *words;
    } cases[] = {
        {unet, NULL, IN, "unet: has no weights"},
        {unet, "", IN, "diffusion_pytorch_model.safetensors: is empty"},
        {unet, "\1\2\3\4\5\6\7", IN, "too short"},
        {unet, "GGUF\3xxxxxxxxxxxx", UN, "GGUF"},
        {unet, "PK\3\4xxxxxxxxx", UN, "PyTorch"},
        {unet, "\x80\2xxxxxxxxx", UN, "pickle"},
        {unet, "version https://git-lfs.github.com/spec/v1\n", IN, "git lfs pull"},
        {unet, "<!DOCTYPE html><html>", IN, "HTML"},
        {unet, "<html><body>", IN, "HTML"},
        {unet, "{\"error\":\"Repository not found\"}", IN, "download"},
        {unet, "this is no weights file", IN, "is a text file"},
        {text, NULL, IN, "text_encoder: has no weights"},
        {text, "", IN, "text_encoder/model.safetensors: is empty"},
        {"unet/config.json", NULL, IN, "unet/config.json"},
        {"unet/config.json", "", IN, "unet/config.json"},
        {"unet/config.json", "{\"_class_name\":", IN, "unet/config.json"},
        {"unet/config.json", "[]", IN, "unet/config.json"},
        {"vae/config.json", "", IN, "vae/config.json"},
        {"vae/config.json", "{\"block_out_channels\":[32],\"latent_channels\":16}", IN, "latent"},
        {"text_encoder/config.json", "{\"hidden_size\":\"forty\"}", IN, "text_encoder/config.json: hidden_size"},
        {"text_encoder/config.json", "{\"model_type\":\"t5\"}", UN, "t5"},
        {"scheduler/scheduler_config.json", "{\"num_train_timesteps\":0}", IN,
         "scheduler_config.json: num_train_timesteps"},
        {"model_index.json", "{", IN, "model_index.json"},
        {"model_index.json", "{\"_class_name\":\"FluxPipeline\"}", UN, "FluxPipeline"},
        {"model_index.json", "{\"_class_name\":\"StableDiffusion3Pipeline\"}", UN, "StableDiffusion3Pipeline"},
        {"model_index.json", "{\"_class_name\":3}", IN, "model_index.json"},
    };
    size_t count = sizeof cases / sizeof *cases;
    for (size_t i = 0; i < count; i++) {
        char path[200];
        make_folder("m");
        snprintf(path, sizeof path, "m/%s", cases[i].file);
        if (cases[i].content)
            temp_text(path, cases[i].content);
        else
            remove(temp_path(path));
        expect_refused(temp_path("m"), (enum sdg_result)cases[i].result, cases[i].words);
    }
    make_folder("m");
    remove(temp_path("m/model_index.json"));
    remove(temp_path("m/text_encoder/config.json"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "is no diffusers model folder");
    expect_refused(temp_path("absent"), SDG_ERROR_INPUT, "no such model");
    expect_refused("/dev/zero", SDG_ERROR_INPUT, "not a regular file");
    assert_int_equal(mkfifo(temp_path("pipe"), 0666), 0);
    expect_refused(temp_path("pipe"), SDG_ERROR_INPUT, "not a regular file");
    print_message("%zu broken folders\n", count + 4);
}

// How the folder wants to be drawn; every key is checked.
static void test_preferences(void **state)
{
    (void)state;
    make_folder("m");
    struct sdg_model *model = open_model(temp_path("m"));
    assert_false(model->preferences.given);
    sdg_model_close(&model);
    edit("model_index.json", "{",
         "{\"_sdgen\":{\"sampler\":\"dpm++2m\",\"schedule\":\"karras\",\"steps\":12,\"cfg_scale\":2.2,\"eta\":null,"
         "\"width\":96,\"known_words\":\"words.txt\"},");
    put("m", "words.txt", "apple\n");
    model = open_model(temp_path("m"));
    const struct sdg_preferences *p = &model->preferences;
    assert_string_equal(p->sampler, "dpm++2m");
    assert_string_equal(p->schedule, "karras");
    assert_true(p->given && p->steps == 12 && p->width == 96 && p->height == 0 && !p->eta.given);
    assert_true(p->cfg_scale.given && p->cfg_scale.value == 2.2);
    assert_string_equal(model->known_words, "apple\n");
    sdg_model_close(&model);
    remove(temp_path("m/words.txt")); // pictures are the same without
    model = open_model(temp_path("m"));
    assert_null(model->known_words);
    sdg_model_close(&model);
    static const struct {
        const char *value, *words;
    } broken[] = {
        {"3", "model_index.json: _sdgen is 3, should be an object"},
        {"[]", "_sdgen is an array, should be an object"},
        {"{\"cfg\":3}", "model_index.json: _sdgen: cfg is no key of it, known: sampler"},
        {"{\"steps\":0}", "model_index.json: _sdgen: steps is 0"},
        {"{\"steps\":1001}", "steps is 1001"},
        {"{\"steps\":\"20\"}", "steps is \"20\""},
        {"{\"steps\":2.5}", "steps is 2.5"},
        {"{\"cfg_scale\":\"high\"}", "cfg_scale is \"high\", should be a number from -1000 to 1000"},
        {"{\"cfg_scale\":1001}", "cfg_scale is 1001"},
        {"{\"cfg_scale\":NaN}", "cfg_scale is \"NaN\""},
        {"{\"eta\":-0.1}", "eta is -0.1"},
        {"{\"width\":0}", "width is 0"},
        {"{\"height\":true}", "height is true"},
        {"{\"sampler\":7}", "sampler is 7"},
        {"{\"sampler\":\"\"}", "sampler is \"\", should be a name"},
        {"{\"schedule\":\"a name that is longer than any schedule's\"}", "schedule is \"a name that"},
        {"{\"known_words\":\"../words.txt\"}", "known_words is \"../words.txt\""},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char key[200];
        make_folder("m");
        snprintf(key, sizeof key, "{\"_sdgen\":%s,", broken[i].value);
        edit("model_index.json", "{", key);
        expect_refused(temp_path("m"), SDG_ERROR_INPUT, broken[i].words);
    }
}

static void test_folder_allocations(void **state)
{
    (void)state;
    make_sdxl();
    size_t count = fail_allocations(temp_path("m"));
    assert_true(count > 50);
    print_message("%zu failing allocations\n", count);
}

static void test_reference_models(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum sdg_model_kind kind;
        size_t unet, vae, text, text_2;
        const char *pad, *scheduler;
    } models[] = {
        {"sd15-tiny", SDG_MODEL_SD, 684, 240, 52, 0, "<|endoftext|>", "PNDMScheduler"},
        {"sd2-tiny", SDG_MODEL_SD, 440, 184, 68, 0, "!", "DDIMScheduler"},
        {"sdxl-tiny", SDG_MODEL_SDXL, 410, 184, 52, 69, "<|endoftext|>", "EulerDiscreteScheduler"},
        {"inpaint-tiny", SDG_MODEL_INPAINT, 442, 180, 36, 0, "<|endoftext|>", "PNDMScheduler"},
        {"lcm-tiny", SDG_MODEL_LCM, 443, 180, 36, 0, "<|endoftext|>", "LCMScheduler"},
        {"taesd-tiny", SDG_MODEL_SD, 442, 134, 36, 0, "<|endoftext|>", "PNDMScheduler"},
    };
    if (sdg_path_kind(SDG_SHARED_DIR "/goldens/pipelines") != SDG_PATH_FOLDER) {
        print_message("skipped: no reference models\n");
        skip();
    }
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/goldens/pipelines/%s", SDG_SHARED_DIR, models[i].name);
        struct sdg_model *model = open_model(path);
        assert_int_equal(model->kind, models[i].kind);
        assert_int_equal(sdg_tensors_count(model->unet), models[i].unet);
        assert_int_equal(sdg_tensors_count(model->vae), models[i].vae);
        assert_int_equal(sdg_tensors_count(model->text[0]), models[i].text);
        assert_int_equal(model->text[1] ? sdg_tensors_count(model->text[1]) : 0, models[i].text_2);
        assert_string_equal(model->scheduler.class_name, models[i].scheduler);
        assert_non_null(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB]);
        sdg_model_close(&model);
    }
}

static void test_default_model(void **state)
{
    (void)state;
    struct sdg_model *model = open_model(SDG_SOURCE_DIR "/models/emoji-128");
    assert_true(model->kind == SDG_MODEL_SD && model->unet_config.levels == 3 && model->unet_config.channels[1] == 160);
    assert_true(model->unet_config.heads[0] == 4 && model->text_config[0].vocab_size == 3514 &&
                model->vae_config.levels == 4);
    assert_non_null(sdg_tensors_find(model->text[0], "text_model.encoder.layers.2.mlp.fc2.bias"));
    assert_int_equal(sdg_tensors_find(model->unet, "conv_in.weight")->dims[0], 64);
    sdg_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),           cmocka_unit_test(test_tokenizer_files),
        cmocka_unit_test(test_named_tokenizer),  cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_weight_files),     cmocka_unit_test(test_broken_folders),
        cmocka_unit_test(test_preferences),      cmocka_unit_test(test_folder_allocations),
        cmocka_unit_test(test_reference_models), cmocka_unit_test(test_default_model),
    };
    return run_model_tests(tests);
}
