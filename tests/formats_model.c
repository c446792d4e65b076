// formats/: whole models, as diffusers folders and as single files; names in both layouts; broken models.
#include "base/file.h"
#include "base/memory.h"
#include "formats/model.h"
#include "formats/names.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char unet_json[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"block_out_channels\":[32,64],\"down_block_types\":[\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"],\"cross_attention_dim\":24,\"layers_per_block\":1}";
static const char vae_json[] = "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[32,64],\"down_block_types\":[\"DownEncoderBlock2D\","
                               "\"DownEncoderBlock2D\"],\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}";
static const char text_json[] = "{\"architectures\":[\"CLIPTextModel\"],\"hidden_size\":24,\"intermediate_size\":32,\"num_attention_heads\":12,"
                                "\"num_hidden_layers\":1,\"vocab_size\":10,\"eos_token_id\":9,\"model_type\":\"clip_text_model\"}";
static const char index_json[] = "{\"_class_name\":\"StableDiffusionPipeline\",\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],"
                                 "\"safety_checker\":[null,null]}";

static float values[8192];

// Data that differs from place to place.
static struct sdg_tensor tensor(const char *name, int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct sdg_tensor t = {.name = name, .dtype = SDG_F32, .rank = rank, .dims = {a, b, c, d}, .data = values, .bytes = 4};
    for (int i = 0; i < rank; i++)
        t.bytes *= (size_t)t.dims[i];
    for (int i = rank; i < 4; i++)
        t.dims[i] = 0;
    assert_true(t.bytes <= sizeof values);
    return t;
}

static void write_weights(const char *name, const struct sdg_tensor *tensors, size_t count)
{
    temp_text(name, ""); // makes the folders
    assert_int_equal(sdg_tensors_write(NULL, temp_path(name), tensors, count, NULL, 0), SDG_OK);
}

static void put(const char *root, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, name);
    temp_text(path, text);
}

static void write_text_encoder(const char *root, const char *folder)
{
    char path[200];
    const struct sdg_tensor text[] = {tensor("embeddings.token_embedding.weight", 2, 10, 24, 0, 0),
                                      tensor("text_model.final_layer_norm.weight", 1, 24, 0, 0, 0),
                                      tensor("text_model.embeddings.position_ids", 2, 1, 77, 0, 0),
                                      tensor("text_projection.weight", 2, 8, 24, 0, 0)};
    snprintf(path, sizeof path, "%s/%s/model.safetensors", root, folder);
    write_weights(path, text, 4);
    snprintf(path, sizeof path, "%s/config.json", folder);
    put(root, path, text_json);
}

// A folder with everything but most of the weights: those are asked for when a graph is built, not on opening.
static const char *make_folder(const char *root)
{
    char path[200];
    const struct sdg_tensor unet[] = {tensor("conv_in.weight", 4, 32, 4, 3, 3)};
    const struct sdg_tensor vae[] = {tensor("encoder.mid_block.attentions.0.query.weight", 4, 16, 16, 1, 1),
                                     tensor("decoder.mid_block.attentions.0.proj_attn.bias", 1, 16, 0, 0, 0),
                                     tensor("decoder.mid_block.attentions.0.to_v.weight", 2, 16, 16, 0, 0),
                                     tensor("quant_conv.weight", 4, 8, 8, 1, 1)};
    temp_remove_tree(temp_path(root));
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", root);
    write_weights(path, unet, 1);
    snprintf(path, sizeof path, "%s/vae/diffusion_pytorch_model.safetensors", root);
    write_weights(path, vae, 4);
    write_text_encoder(root, "text_encoder");
    put(root, "unet/config.json", unet_json);
    put(root, "vae/config.json", vae_json);
    put(root, "model_index.json", index_json);
    put(root, "scheduler/scheduler_config.json", "{\"_class_name\":\"DDIMScheduler\"}");
    put(root, "tokenizer/vocab.json", "{\"a\":0}");
    put(root, "tokenizer/merges.txt", "#version: 0.2\n");
    return temp_path(root);
}

static struct sdg_model *open_model(const char *path)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    if (sdg_model_open(temp_log(&t), path, &model) != SDG_OK)
        fail_msg("%s", t.last);
    assert_int_equal(t.errors, 0);
    return model;
}

static void expect_refused(const char *path, enum sdg_result want, const char *words)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    enum sdg_result result = sdg_model_open(temp_log(&t), path, &model);
    if (result != want || model)
        fail_msg("%s: result %d instead of %d: %s", path, (int)result, (int)want, t.last);
    if (t.errors != 1 || !strstr(t.last, words))
        fail_msg("%d errors, '%s' should have '%s'", t.errors, t.last, words);
}

static void test_folder(void **state)
{
    (void)state;
    make_folder("m");
    struct sdg_model *model = open_model(temp_path("m/")); // a slash at the end is fine
    assert_true(!model->single_file && model->kind == SDG_MODEL_SD && model->text_encoders == 1 && !model->text[1]);
    assert_true(model->unet_config.levels == 2 && model->vae_config.levels == 2 && model->text_config[0].layers == 1);
    assert_true(model->has_scheduler && strcmp(model->scheduler.class_name, "DDIMScheduler") == 0);
    assert_string_equal(model->vocab_json[0], "{\"a\":0}");
    assert_string_equal(model->merges_txt[0], "#version: 0.2\n");
    assert_string_equal(model->pad_token[0], "<|endoftext|>");
    assert_int_equal(sdg_tensors_count(model->text[0]), 3);
    static const char *const text[] = {"text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.weight",
                                       "text_projection.weight"};
    for (int i = 0; i < 3; i++)
        assert_non_null(sdg_tensors_find(model->text[0], text[i]));
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

static void expect_pad(const char *config, const char *special, const char *want)
{
    make_folder("m");
    if (config)
        put("m", "tokenizer/tokenizer_config.json", config);
    if (special)
        put("m", "tokenizer/special_tokens_map.json", special);
    struct sdg_model *model = open_model(temp_path("m"));
    assert_string_equal(model->pad_token[0], want);
    sdg_model_close(&model);
}

static void test_tokenizer_files(void **state)
{
    (void)state;
    expect_pad("{\"pad_token\":\"!\"}", NULL, "!");
    expect_pad("{\"pad_token\":{\"content\":\"!\",\"lstrip\":false}}", "{\"pad_token\":\"?\"}", "!");
    expect_pad("{\"model_max_length\":77}", "{\"pad_token\":\"?\"}", "?");
    expect_pad(NULL, "{\"pad_token\":{\"content\":\"?\"}}", "?");
    expect_pad("{}", "{\"pad_token\":null}", "<|endoftext|>");
    put("m", "tokenizer/tokenizer_config.json", "{\"pad_token\":3}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "tokenizer_config.json: pad_token");
    make_folder("m");
    remove(temp_path("m/tokenizer/merges.txt"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "tokenizer/merges.txt");
    make_folder("m");
    put("m", "tokenizer/vocab.json", "{\"\xff\":0}");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "tokenizer/vocab.json");
    temp_remove_tree(temp_path("m/tokenizer"));
    struct sdg_model *model = open_model(temp_path("m")); // whoever needs a tokenizer reports it
    assert_true(!model->vocab_json[0] && !model->merges_txt[0]);
    assert_string_equal(model->pad_token[0], "<|endoftext|>");
    assert_non_null(strstr(sdg_model_tokenizer_hint(), "SDGEN_TOKENIZER"));
    sdg_model_close(&model);
    put("elsewhere", "vocab.json", "{\"b\":0}");
    put("elsewhere", "merges.txt", "");
    setenv("SDGEN_TOKENIZER", temp_path("elsewhere"), 1);
    model = open_model(temp_path("m"));
    assert_string_equal(model->vocab_json[0], "{\"b\":0}");
    sdg_model_close(&model);
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
    edit("model_index.json", "StableDiffusionPipeline\"", "StableDiffusionXLPipeline\",\"text_encoder_2\":[\"transformers\",\"X\"]");
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
    assert_true(model->kind == SDG_MODEL_SDXL && model->text_encoders == 2 && model->text[1] && model->text_config[1].projection_dim == 8);
    assert_string_equal(model->pad_token[0], "<|endoftext|>");
    assert_string_equal(model->pad_token[1], "!");
    sdg_model_close(&model);
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
    temp_text(index, "{\"weight_map\":{\"conv_in.weight\":\"one.safetensors\",\"x\":\"one.safetensors\",\"conv_out.bias\":\"two.safetensors\"}}");
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
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "unet: has no weights, diffusion_pytorch_model.safetensors is missing");
    temp_text("m/unet/diffusion_pytorch_model.bin", "PK");
    expect_refused(temp_path("m"), SDG_ERROR_UNSUPPORTED, "pickled");
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
        {unet, "this is no weights file", IN, "no safetensors file"},
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
        {"scheduler/scheduler_config.json", "{\"num_train_timesteps\":0}", IN, "scheduler_config.json: num_train_timesteps"},
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

static size_t fail_allocations(const char *path)
{
    for (size_t n = 1;; n++) {
        struct temp_log t;
        struct sdg_model *model = NULL;
        sdg_test_fail_allocation(n);
        enum sdg_result result = sdg_model_open(temp_log(&t), path, &model);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK) {
            sdg_model_close(&model);
            return n - 1;
        }
        assert_int_equal(result, SDG_ERROR_MEMORY);
        assert_true(!model && t.errors == 1);
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

static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

// Original names of a network with two levels of one layer and attention in the first, written down by hand, with shapes.
static const struct {
    const char *ldm, *diffusers;
    int rank;
    int dims[4];
} small_names[] = {
    {"model.diffusion_model.input_blocks.0.0.weight", "conv_in.weight", 4, {32, 4, 3, 3}},
    {"model.diffusion_model.time_embed.0.bias", "time_embedding.linear_1.bias", 1, {128}},
    {"model.diffusion_model.time_embed.2.bias", "time_embedding.linear_2.bias", 1, {128}},
    {"model.diffusion_model.input_blocks.1.0.in_layers.0.weight", "down_blocks.0.resnets.0.norm1.weight", 1, {32}},
    {"model.diffusion_model.input_blocks.1.0.in_layers.2.weight", "down_blocks.0.resnets.0.conv1.weight", 4, {32, 1, 3, 3}},
    {"model.diffusion_model.input_blocks.1.0.emb_layers.1.bias", "down_blocks.0.resnets.0.time_emb_proj.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.1.0.out_layers.0.bias", "down_blocks.0.resnets.0.norm2.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.1.0.out_layers.3.bias", "down_blocks.0.resnets.0.conv2.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.1.1.proj_in.weight", "down_blocks.0.attentions.0.proj_in.weight", 4, {32, 32, 1, 1}},
    {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
     "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", 2, {32, 24}},
    {"model.diffusion_model.input_blocks.2.0.op.bias", "down_blocks.0.downsamplers.0.conv.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.2.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight", 4, {32, 2, 3, 3}},
    {"model.diffusion_model.input_blocks.3.0.in_layers.2.weight", "down_blocks.1.resnets.0.conv1.weight", 4, {64, 1, 3, 3}},
    {"model.diffusion_model.input_blocks.3.0.skip_connection.bias", "down_blocks.1.resnets.0.conv_shortcut.bias", 1, {64}},
    {"model.diffusion_model.middle_block.0.in_layers.0.bias", "mid_block.resnets.0.norm1.bias", 1, {64}},
    {"model.diffusion_model.middle_block.1.proj_in.weight", "mid_block.attentions.0.proj_in.weight", 4, {64, 16, 1, 1}},
    {"model.diffusion_model.middle_block.2.out_layers.3.bias", "mid_block.resnets.1.conv2.bias", 1, {64}},
    {"model.diffusion_model.output_blocks.0.0.in_layers.0.bias", "up_blocks.0.resnets.0.norm1.bias", 1, {128}},
    {"model.diffusion_model.output_blocks.1.0.in_layers.0.bias", "up_blocks.0.resnets.1.norm1.bias", 1, {96}},
    {"model.diffusion_model.output_blocks.1.1.conv.bias", "up_blocks.0.upsamplers.0.conv.bias", 1, {64}},
    {"model.diffusion_model.output_blocks.2.0.in_layers.0.bias", "up_blocks.1.resnets.0.norm1.bias", 1, {96}},
    {"model.diffusion_model.output_blocks.2.1.proj_in.weight", "up_blocks.1.attentions.0.proj_in.weight", 4, {32, 32, 1, 1}},
    {"model.diffusion_model.output_blocks.3.1.norm.bias", "up_blocks.1.attentions.1.norm.bias", 1, {32}},
    {"model.diffusion_model.out.0.bias", "conv_norm_out.bias", 1, {32}},
    {"model.diffusion_model.out.2.weight", "conv_out.weight", 4, {4, 32, 3, 3}},
    {"first_stage_model.encoder.conv_in.weight", "encoder.conv_in.weight", 4, {32, 3, 3, 3}},
    {"first_stage_model.encoder.down.0.block.0.conv1.weight", "encoder.down_blocks.0.resnets.0.conv1.weight", 4, {32, 2, 3, 3}},
    {"first_stage_model.encoder.down.0.downsample.conv.bias", "encoder.down_blocks.0.downsamplers.0.conv.bias", 1, {32}},
    {"first_stage_model.encoder.down.1.block.0.conv1.weight", "encoder.down_blocks.1.resnets.0.conv1.weight", 4, {64, 2, 3, 3}},
    {"first_stage_model.encoder.down.1.block.0.nin_shortcut.bias", "encoder.down_blocks.1.resnets.0.conv_shortcut.bias", 1, {64}},
    {"first_stage_model.encoder.mid.block_2.norm1.bias", "encoder.mid_block.resnets.1.norm1.bias", 1, {64}},
    {"first_stage_model.encoder.norm_out.bias", "encoder.conv_norm_out.bias", 1, {64}},
    {"first_stage_model.quant_conv.weight", "quant_conv.weight", 4, {8, 8, 1, 1}},
    {"first_stage_model.post_quant_conv.weight", "post_quant_conv.weight", 4, {4, 4, 1, 1}},
    {"first_stage_model.decoder.conv_in.weight", "decoder.conv_in.weight", 4, {64, 4, 3, 3}},
    {"first_stage_model.decoder.mid.block_1.conv2.bias", "decoder.mid_block.resnets.0.conv2.bias", 1, {64}},
    {"first_stage_model.decoder.mid.attn_1.norm.bias", "decoder.mid_block.attentions.0.group_norm.bias", 1, {64}},
    {"first_stage_model.decoder.mid.attn_1.q.weight", "decoder.mid_block.attentions.0.to_q.weight", 4, {64, 64, 1, 1}},
    {"first_stage_model.decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight", 4, {64, 64, 1, 1}},
    {"first_stage_model.decoder.up.1.block.1.norm2.bias", "decoder.up_blocks.0.resnets.1.norm2.bias", 1, {64}},
    {"first_stage_model.decoder.up.1.upsample.conv.bias", "decoder.up_blocks.0.upsamplers.0.conv.bias", 1, {64}},
    {"first_stage_model.decoder.up.0.block.0.nin_shortcut.bias", "decoder.up_blocks.1.resnets.0.conv_shortcut.bias", 1, {32}},
    {"first_stage_model.decoder.conv_out.weight", "decoder.conv_out.weight", 4, {3, 32, 3, 3}},
    {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", "text_model.embeddings.token_embedding.weight", 2, {100, 24}},
    {"cond_stage_model.transformer.text_model.embeddings.position_embedding.weight", "text_model.embeddings.position_embedding.weight", 2, {77, 24}},
    {"cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight", "text_model.encoder.layers.0.mlp.fc1.weight", 2, {96, 24}},
    {"cond_stage_model.transformer.text_model.final_layer_norm.bias", "text_model.final_layer_norm.bias", 1, {24}},
};
enum { SMALL_COUNT = sizeof small_names / sizeof *small_names };

static struct sdg_tensor small_tensor(int i)
{
    const int *d = small_names[i].dims;
    return tensor(small_names[i].ldm, small_names[i].rank, d[0], d[1], d[2], d[3]);
}

static void write_small(const char *name, const char *without, const struct sdg_tensor *extra)
{
    struct sdg_tensor tensors[SMALL_COUNT + 1];
    size_t count = 0;
    for (int i = 0; i < SMALL_COUNT; i++)
        if (!without || !strstr(small_names[i].ldm, without))
            tensors[count++] = small_tensor(i);
    if (extra)
        tensors[count++] = *extra;
    write_weights(name, tensors, count);
}

static struct sdg_tensors *part_of(const struct sdg_model *model, const char *ldm)
{
    return strncmp(ldm, "model.", 6) == 0 ? model->unet : strncmp(ldm, "first", 5) == 0 ? model->vae : model->text[0];
}

static void test_single_file(void **state)
{
    (void)state;
    struct sdg_tensor position_ids = tensor("cond_stage_model.transformer.text_model.embeddings.position_ids", 2, 1, 77, 0, 0);
    write_small("s/model.safetensors", NULL, &position_ids);
    struct sdg_model *model = open_model(temp_path("s/model.safetensors"));
    assert_true(model->single_file && model->kind == SDG_MODEL_SD && !model->has_scheduler && model->text_encoders == 1);
    const struct sdg_unet_config *u = &model->unet_config;
    assert_true(u->levels == 2 && u->channels[0] == 32 && u->channels[1] == 64 && u->in_channels == 4 && u->out_channels == 4);
    assert_true(u->layers_per_block[0] == 1 && u->down_attention[0] && !u->down_attention[1] && !u->up_attention[0] && u->up_attention[1]);
    assert_true(u->mid_attention && u->heads[1] == 8 && u->norm_groups == 32 && u->cross_attention_dim == 24 && !u->linear_projection);
    const struct sdg_vae_config *v = &model->vae_config;
    assert_true(!v->tiny && v->levels == 2 && v->channels[1] == 64 && v->layers_per_block == 1 && v->latent_channels == 4);
    assert_true(v->mid_attention && v->quant_conv && v->post_quant_conv && v->scaling_factor == 0.18215f && v->out_channels == 3);
    const struct sdg_text_config *t = &model->text_config[0];
    assert_true(t->vocab_size == 100 && t->hidden == 24 && t->heads == 12 && t->layers == 1 && t->intermediate == 96 && t->positions == 77);
    assert_true(t->activation == SDG_TEXT_QUICK_GELU && t->eos_token_id == 2);
    assert_int_equal(sdg_tensors_count(model->unet) + sdg_tensors_count(model->vae) + sdg_tensors_count(model->text[0]), SMALL_COUNT);
    for (int i = 0; i < SMALL_COUNT; i++) {
        struct sdg_tensors *part = part_of(model, small_names[i].ldm);
        const struct sdg_tensor *found = sdg_tensors_find(part, small_names[i].diffusers), want = small_tensor(i);
        if (!found)
            fail_msg("%s not found as %s", small_names[i].ldm, small_names[i].diffusers);
        assert_int_equal(found->bytes, want.bytes);
        assert_int_equal(found->rank, strstr(want.name, "attn_1") && want.rank == 4 ? 2 : want.rank);
    }
    assert_null(model->vocab_json[0]);
    sdg_model_close(&model);
    put("s", "tokenizer/vocab.json", "{\"inner\":0}");
    put("s", "tokenizer/merges.txt", "");
    model = open_model(temp_path("s/model.safetensors"));
    assert_string_equal(model->vocab_json[0], "{\"inner\":0}");
    sdg_model_close(&model);
    put("s", "vocab.json", "{\"beside\":0}");
    put("s", "merges.txt", "");
    model = open_model(temp_path("s/model.safetensors"));
    assert_string_equal(model->vocab_json[0], "{\"beside\":0}");
    sdg_model_close(&model);
    size_t count = fail_allocations(temp_path("s/model.safetensors"));
    assert_true(count > 15);
    print_message("%zu failing allocations\n", count);
}

// An OpenCLIP text encoder: names by hand; two layers of width 64.
static size_t add_openclip(struct sdg_tensor *to, char (*names)[100], const char *prefix)
{
    static const struct {
        const char *name;
        int rank, a, b;
    } parts[] = {
        {"token_embedding.weight", 2, 60, 64}, {"positional_embedding", 2, 77, 64}, {"ln_final.bias", 1, 64, 0}, {"text_projection", 2, 64, 8},
        {"logit_scale", 0, 0, 0}, {"transformer.resblocks.0.attn.in_proj_weight", 2, 6, 64}, {"transformer.resblocks.0.attn.in_proj_bias", 1, 6, 0},
        {"transformer.resblocks.0.attn.out_proj.bias", 1, 64, 0}, {"transformer.resblocks.0.ln_1.bias", 1, 64, 0},
        {"transformer.resblocks.0.ln_2.bias", 1, 64, 0}, {"transformer.resblocks.0.mlp.c_fc.weight", 2, 100, 64},
        {"transformer.resblocks.0.mlp.c_proj.bias", 1, 64, 0}, {"transformer.resblocks.1.mlp.c_fc.weight", 2, 100, 64},
        {"transformer.resblocks.1.attn.in_proj_weight", 2, 6, 64},
    };
    size_t count = sizeof parts / sizeof *parts;
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%s%s", prefix, parts[i].name);
        to[i] = tensor(names[i], parts[i].rank, parts[i].a, parts[i].b, 0, 0);
    }
    return count;
}

// The small network with another text encoder, or with two of them.
static const char *write_openclip(bool xl)
{
    struct sdg_tensor tensors[SMALL_COUNT + 20];
    char names[SMALL_COUNT + 20][100];
    size_t count = 0;
    for (int i = 0; i < SMALL_COUNT; i++) {
        const char *clip = after(small_names[i].ldm, "cond_stage_model.");
        if (clip && !xl)
            continue;
        struct sdg_tensor t = small_tensor(i);
        snprintf(names[count], sizeof names[count], "%s%s", clip ? "conditioner.embedders.0." : "", clip ? clip : t.name);
        t.name = names[count];
        if (strstr(t.name, "attn2.to_k"))
            t = tensor(t.name, 2, 32, xl ? 24 + 64 : 64, 0, 0);
        tensors[count++] = t;
    }
    if (xl)
        tensors[count++] = tensor("model.diffusion_model.label_emb.0.0.weight", 2, 4, 6 * 256 + 8, 0, 0);
    count += add_openclip(tensors + count, names + count, xl ? "conditioner.embedders.1.model." : "cond_stage_model.model.");
    write_weights("s/openclip.safetensors", tensors, count);
    return temp_path("s/openclip.safetensors");
}

static void check_openclip(const struct sdg_tensors *view)
{
    static const char *const same[] = {
        "embeddings.token_embedding.weight", "embeddings.position_embedding.weight", "final_layer_norm.bias", "encoder.layers.0.self_attn.out_proj.bias",
        "encoder.layers.0.layer_norm1.bias", "encoder.layers.0.layer_norm2.bias", "encoder.layers.0.mlp.fc1.weight", "encoder.layers.0.mlp.fc2.bias",
    };
    char name[100];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        snprintf(name, sizeof name, "text_model.%s", same[i]);
        const struct sdg_tensor *t = sdg_tensors_find(view, name);
        assert_non_null(t);
        assert_memory_equal(t->data, values, t->bytes);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "text_model.encoder.layers.0.self_attn.%c_proj.weight", "qkv"[i]);
        const struct sdg_tensor *t = sdg_tensors_find(view, name);
        assert_true(t && t->rank == 2 && t->dims[0] == 2 && t->dims[1] == 64);
        assert_memory_equal(t->data, values + i * 2 * 64, 4 * 2 * 64);
        snprintf(name, sizeof name, "text_model.encoder.layers.0.self_attn.%c_proj.bias", "qkv"[i]);
        t = sdg_tensors_find(view, name);
        assert_true(t && t->rank == 1 && t->dims[0] == 2 && memcmp(t->data, values + i * 2, 8) == 0);
    }
}

static void test_openclip(void **state)
{
    (void)state;
    struct sdg_model *model = open_model(write_openclip(false));
    const struct sdg_text_config *c = &model->text_config[0];
    assert_true(model->kind == SDG_MODEL_SD && model->scheduler.prediction == SDG_PREDICT_V && !model->has_scheduler);
    assert_true(c->layers == 1 && c->hidden == 64 && c->heads == 1 && c->vocab_size == 60 && c->positions == 77 && c->intermediate == 100);
    assert_true(c->activation == SDG_TEXT_GELU && c->projection_dim == 0);
    assert_string_equal(model->pad_token[0], "!");
    assert_int_equal(sdg_tensors_count(model->text[0]), 14); // without the last layer and the projection
    check_openclip(model->text[0]);
    sdg_model_close(&model);

    model = open_model(write_openclip(true));
    assert_true(model->kind == SDG_MODEL_SDXL && model->text_encoders == 2 && model->scheduler.prediction == SDG_PREDICT_EPSILON);
    assert_true(model->vae_config.scaling_factor == 0.13025f && model->unet_config.addition_time_embed_dim == 256);
    assert_true(model->text_config[0].hidden == 24 && model->text_config[1].layers == 2 && model->text_config[1].projection_dim == 8);
    assert_string_equal(model->pad_token[0], "<|endoftext|>");
    assert_string_equal(model->pad_token[1], "!");
    assert_non_null(sdg_tensors_find(model->unet, "add_embedding.linear_1.weight"));
    assert_int_equal(sdg_tensors_count(model->text[1]), 14 + 4 + 1);
    check_openclip(model->text[1]);
    const struct sdg_tensor *projection = sdg_tensors_find(model->text[1], "text_projection.weight");
    assert_true(projection && projection->rank == 2 && projection->dims[0] == 8 && projection->dims[1] == 64);
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < 8; j++)
            assert_memory_equal((const char *)projection->data + 4 * (j * 64 + i), &values[i * 8 + j], 4);
    sdg_tensors_release(model->text[1], projection);
    sdg_model_close(&model);
    size_t count = fail_allocations(temp_path("s/openclip.safetensors"));
    assert_true(count > 20);
    print_message("%zu failing allocations\n", count);
}

static void test_broken_single_files(void **state)
{
    (void)state;
    static const char *const needed[] = {
        "diffusion_model.input_blocks.0.0", "out.2.weight", "input_blocks.1.0.in_layers.2", "first_stage_model.encoder.conv_in",
        "first_stage_model.decoder.conv_out", "encoder.down.0.block.0.conv1", "token_embedding", "position_embedding", "mlp.fc1",
        "transformer_blocks.0.attn2.to_k", "first_stage_model", "cond_stage_model",
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        write_small("s/broken.safetensors", needed[i], NULL);
        expect_refused(temp_path("s/broken.safetensors"), SDG_ERROR_INPUT, "broken.safetensors: tensor ");
    }
    static const struct {
        const char *name;
        int result;
        const char *words;
    } others[] = {
        {"model.diffusion_model.joint_blocks.0.weight", SDG_ERROR_UNSUPPORTED, "Stable Diffusion 3"},
        {"double_blocks.0.weight", SDG_ERROR_UNSUPPORTED, "Flux"},
        {"lora_unet_down.weight", SDG_ERROR_UNSUPPORTED, "LoRA"},
        {"control_model.x", SDG_ERROR_UNSUPPORTED, "ControlNet"},
        {"down_blocks.0.x", SDG_ERROR_INPUT, "model_index.json"},
        {"decoder.conv_in.weight", SDG_ERROR_INPUT, "no UNet"},
        {"something", SDG_ERROR_INPUT, "no Stable Diffusion checkpoint"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct sdg_tensor t = tensor(others[i].name, 1, 1, 0, 0, 0);
        write_weights("s/other.safetensors", &t, 1);
        expect_refused(temp_path("s/other.safetensors"), (enum sdg_result)others[i].result, others[i].words);
    }
    expect_refused(temp_text("s/page.safetensors", "<html>404</html>"), SDG_ERROR_INPUT, "HTML");
    expect_refused(temp_write("s/zeros.safetensors", (char[64]){0}, 64), SDG_ERROR_INPUT, "zeros.safetensors");
    struct temp_log t;
    struct sdg_model *model = NULL;
    struct sdg_tensor strange = tensor("model.diffusion_model.surprise.weight", 1, 1, 0, 0, 0);
    write_small("s/strange.safetensors", NULL, &strange);
    assert_int_equal(sdg_model_open(temp_log(&t), temp_path("s/strange.safetensors"), &model), SDG_OK);
    assert_true(t.warnings == 1 && t.errors == 0);
    sdg_model_close(&model);
}

static void test_replace_vae(void **state)
{
    (void)state;
    struct temp_log t;
    make_folder("m");
    struct sdg_model *model = open_model(temp_path("m"));
    model->vae_config.scaling_factor = 0.13025f;
    write_small("s/model.safetensors", NULL, NULL);
    assert_int_equal(sdg_model_replace_vae(temp_log(&t), model, temp_path("s/model.safetensors")), SDG_OK);
    assert_true(model->vae_config.levels == 2 && model->vae_config.layers_per_block == 1 && model->vae_config.scaling_factor == 0.13025f);
    assert_non_null(sdg_tensors_find(model->vae, "decoder.conv_out.weight"));
    put("v", "config.json", "{\"_class_name\":\"AutoencoderTiny\"}");
    write_weights("v/diffusion_pytorch_model.safetensors", (const struct sdg_tensor[]){tensor("decoder.layers.0.bias", 1, 64, 0, 0, 0)}, 1);
    assert_int_equal(sdg_model_replace_vae(NULL, model, temp_path("v")), SDG_OK);
    assert_true(model->vae_config.tiny && sdg_tensors_count(model->vae) == 1);
    const struct sdg_tensors *kept = model->vae;
    put("v", "config.json", "{\"_class_name\":\"AutoencoderTiny\",\"latent_channels\":16}");
    assert_int_equal(sdg_model_replace_vae(temp_log(&t), model, temp_path("v")), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, "16 latent channels") && model->vae == kept && model->vae_config.latent_channels == 4);
    assert_int_equal(sdg_model_replace_vae(temp_log(&t), model, temp_path("v/diffusion_pytorch_model.safetensors")), SDG_ERROR_INPUT);
    assert_int_equal(sdg_model_replace_vae(temp_log(&t), model, temp_path("absent")), SDG_ERROR_INPUT);
    assert_int_equal(sdg_model_replace_vae(temp_log(&t), model, temp_path("m/unet")), SDG_ERROR_UNSUPPORTED);
    assert_true(model->vae == kept);
    sdg_model_close(&model);
}

// All names of Stable Diffusion 1.x, listed by another program, in both directions.
static void test_names(void **state)
{
    (void)state;
    const struct sdg_ldm_layout layout = {.unet_layers = 2, .unet_levels = 4, .up_attention = {false, true, true, true}, .vae_levels = 4};
    static const char *const parts[] = {[SDG_PART_UNET] = "unet", [SDG_PART_VAE] = "vae", [SDG_PART_TEXT] = "text"};
    FILE *file = fopen(SDG_SOURCE_DIR "/tests/goldens/formats/sd1_names.txt", "r");
    char part_name[8], diffusers[300], ldm[300], got[SDG_NAME_ROOM];
    int count = 0;
    assert_non_null(file);
    while (fscanf(file, "%7s %299s %299s", part_name, diffusers, ldm) == 3) {
        enum sdg_part part = SDG_PART_UNET;
        while (strcmp(parts[part], part_name) != 0)
            part++;
        const char *plain = after(ldm, sdg_ldm_prefix(part));
        assert_non_null(plain);
        assert_true(sdg_name_to_ldm(part, &layout, diffusers, got));
        assert_string_equal(got, plain);
        assert_true(sdg_name_from_ldm(part, &layout, plain, got));
        assert_string_equal(got, diffusers);
        count++;
    }
    fclose(file);
    assert_int_equal(count, 976);
    static const char *const none[] = {
        "", "conv_in", "input_blocks.0.0", "input_blocks.99.0.in_layers.0.bias", "input_blocks.01.0.in_layers.0.bias", "input_blocks.1.0.op.bias",
        "input_blocks.3.0.in_layers.0.bias", "input_blocks.1.0.surprise.bias", "input_blocks.99999999999.1.norm.bias", "output_blocks.2.2.conv.bias",
        "output_blocks.5.1.conv.bias", "output_blocks.12.0.in_layers.0.bias", "input_blocks.-1.0.in_layers.0.bias", "middle_block.3.norm.bias",
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (sdg_name_from_ldm(SDG_PART_UNET, &layout, none[i], got))
            fail_msg("%s became %s", none[i], got);
    assert_false(sdg_name_from_ldm(SDG_PART_VAE, &layout, "decoder.up.4.block.0.norm1.bias", got));
    char lengthy[2000];
    memset(lengthy, 'x', sizeof lengthy - 1);
    memcpy(lengthy, "text_model.", 11);
    lengthy[sizeof lengthy - 1] = 0;
    assert_false(sdg_name_from_ldm(SDG_PART_TEXT, &layout, lengthy, got));
    assert_false(sdg_name_canonical(SDG_PART_TEXT, lengthy, got));
    print_message("%d names in both directions\n", count);
}

static size_t compare_views(const struct sdg_tensors *a, const struct sdg_tensors *b)
{
    assert_int_equal(sdg_tensors_count(a), sdg_tensors_count(b));
    for (size_t i = 0; i < sdg_tensors_count(a); i++) {
        const struct sdg_tensor *x = sdg_tensors_at(a, i), *y = sdg_tensors_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_true(x->dtype == y->dtype && x->rank == y->rank && x->bytes == y->bytes);
        for (int d = 0; d < x->rank; d++)
            assert_int_equal(x->dims[d], y->dims[d]);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
    return sdg_tensors_count(a);
}

// The same model as a folder and as a single file made by another program, tensor by tensor.
static void test_both_layouts(void **state)
{
    (void)state;
    char command[1000];
    const char *folder = SDG_SHARED_DIR "/goldens/pipelines/sd15-tiny", *file = temp_path("sd15-tiny.safetensors");
    if (sdg_path_kind(folder) != SDG_PATH_FOLDER) {
        print_message("skipped: no reference models\n");
        skip();
    }
    snprintf(command, sizeof command, "python3 -B %s/goldens/gen/to_single_file.py %s %s 2>/dev/null", SDG_SHARED_DIR, folder, file);
    if (system(command) != 0) {
        print_message("skipped: needs Python and numpy\n");
        skip();
    }
    struct sdg_model *a = open_model(folder), *b = open_model(file);
    size_t count = compare_views(a->unet, b->unet) + compare_views(a->vae, b->vae) + compare_views(a->text[0], b->text[0]);
    a->unet_config.sample_size = b->unet_config.sample_size; // not in the file
    assert_memory_equal(&a->unet_config, &b->unet_config, sizeof a->unet_config);
    assert_memory_equal(&a->vae_config, &b->vae_config, sizeof a->vae_config);
    assert_memory_equal(&a->text_config[0], &b->text_config[0], sizeof a->text_config[0]);
    sdg_model_close(&a);
    for (size_t i = 0; i < sdg_tensors_count(b->text[0]); i++) // one part goes, the others stay
        sdg_tensors_release(b->text[0], sdg_tensors_at(b->text[0], i));
    sdg_tensors_destroy(&b->text[0]);
    assert_non_null(sdg_tensors_find(b->unet, "conv_in.weight"));
    sdg_model_close(&b);
    print_message("%zu tensors equal\n", count);
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
        assert_string_equal(model->pad_token[0], models[i].pad);
        assert_string_equal(model->scheduler.class_name, models[i].scheduler);
        assert_non_null(model->vocab_json[0]);
        sdg_model_close(&model);
    }
}

static void test_default_model(void **state)
{
    (void)state;
    struct sdg_model *model = open_model(SDG_SOURCE_DIR "/models/emoji-128");
    assert_true(model->kind == SDG_MODEL_SD && model->unet_config.levels == 3 && model->unet_config.channels[1] == 160);
    assert_true(model->unet_config.heads[0] == 4 && model->text_config[0].vocab_size == 3514 && model->vae_config.levels == 4);
    assert_non_null(sdg_tensors_find(model->text[0], "text_model.encoder.layers.2.mlp.fc2.bias"));
    assert_int_equal(sdg_tensors_find(model->unet, "conv_in.weight")->dims[0], 64);
    sdg_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),           cmocka_unit_test(test_tokenizer_files),     cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_weight_files),     cmocka_unit_test(test_broken_folders),      cmocka_unit_test(test_folder_allocations),
        cmocka_unit_test(test_single_file),      cmocka_unit_test(test_broken_single_files), cmocka_unit_test(test_replace_vae),
        cmocka_unit_test(test_names),            cmocka_unit_test(test_both_layouts),        cmocka_unit_test(test_reference_models),
        cmocka_unit_test(test_default_model),    cmocka_unit_test(test_openclip),
    };
    unsetenv("SDGEN_TOKENIZER");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        values[i] = (float)i * 0.25f - 100;
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
