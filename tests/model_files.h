// For tests: small models written to temporary files, opened, and expected to be refused.
#ifndef SDG_TESTS_MODEL_FILES_H
#define SDG_TESTS_MODEL_FILES_H

#include "base/file.h"
#include "base/memory.h"
#include "formats/model.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char unet_json[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"block_out_channels\":[32,64],\"down_block_types\":["
    "\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"],\"cross_attention_dim\":24,\"layers_per_block\":1}";
static const char vae_json[] =
    "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[32,64],\"down_block_types\":[\"DownEncoderBlock2D\","
    "\"DownEncoderBlock2D\"],\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"]}";
static const char text_json[] =
    "{\"architectures\":[\"CLIPTextModel\"],\"hidden_size\":24,\"intermediate_size\":32,\"num_attention_heads\":12,"
    "\"num_hidden_layers\":1,\"vocab_size\":10,\"eos_token_id\":9,\"model_type\":\"clip_text_model\"}";
static const char index_json[] =
    "{\"_class_name\":\"StableDiffusionPipeline\",\"text_encoder\":[\"transformers\",\"CLIPTextModel\"],"
    "\"safety_checker\":[null,null]}";

static float values[8192];

// Data that differs from place to place.
static inline struct sdg_tensor tensor(const char *name, int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct sdg_tensor t = {
        .name = name, .dtype = SDG_F32, .rank = rank, .dims = {a, b, c, d}, .data = values, .bytes = 4};
    for (int i = 0; i < rank; i++)
        t.bytes *= (size_t)t.dims[i];
    for (int i = rank; i < 4; i++)
        t.dims[i] = 0;
    assert_true(t.bytes <= sizeof values);
    return t;
}

static inline void write_weights(const char *name, const struct sdg_tensor *tensors, size_t count)
{
    temp_text(name, ""); // makes the folders
    assert_int_equal(sdg_tensors_write(NULL, temp_path(name), tensors, count, NULL, 0), SDG_OK);
}

static inline void put(const char *root, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, name);
    temp_text(path, text);
}

static inline void write_text_encoder(const char *root, const char *folder)
{
    char weights[200], config[200];
    const struct sdg_tensor text[] = {tensor("embeddings.token_embedding.weight", 2, 10, 24, 0, 0),
                                      tensor("text_model.final_layer_norm.weight", 1, 24, 0, 0, 0),
                                      tensor("text_model.embeddings.position_ids", 2, 1, 77, 0, 0),
                                      tensor("text_projection.weight", 2, 8, 24, 0, 0)};
    snprintf(weights, sizeof weights, "%s/%s/model.safetensors", root, folder);
    snprintf(config, sizeof config, "%s/%s/config.json", root, folder);
    write_weights(weights, text, 4);
    temp_text(config, text_json);
}

// A folder with everything but most of the weights: those are asked for when a graph is built, not on opening.
static inline const char *make_folder(const char *root)
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

static inline struct sdg_model *open_model(const char *path)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    if (sdg_model_open(temp_log(&t), path, &model) != SDG_OK)
        fail_msg("%s", t.last);
    assert_int_equal(t.errors, 0);
    return model;
}

static inline void expect_refused(const char *path, enum sdg_result want, const char *words)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    enum sdg_result result = sdg_model_open(temp_log(&t), path, &model);
    if (result != want || model)
        fail_msg("%s: result %d instead of %d: %s", path, (int)result, (int)want, t.last);
    if (t.errors != 1 || !strstr(t.last, words))
        fail_msg("%d errors, '%s' should have '%s'", t.errors, t.last, words);
}

static inline size_t fail_allocations(const char *path)
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

// Runs the tests in a temporary folder that is removed afterwards.
#define run_model_tests(tests) (prepare_model_tests(), finish_model_tests(cmocka_run_group_tests(tests, NULL, NULL)))

static inline void prepare_model_tests(void)
{
    unsetenv("SDGEN_TOKENIZER");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        values[i] = (float)i * 0.25f - 100;
    temp_make();
    setenv("XDG_DATA_HOME", temp_path("data"), 1); // not this user's
}

static inline int finish_model_tests(int failed)
{
    temp_remove();
    return failed;
}

#endif
