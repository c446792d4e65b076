// formats/: what is given as a model and is none, or another place than its own: named for what it is.
#include "formats/kinds.h"
#include "tests/model_files.h"

#include <unistd.h>

static void expect_model(const char *path)
{
    struct sdg_model *model = open_model(path);
    sdg_model_close(&model);
}

// ---- weights files ----

// Names of one tensor each, or of several, as the programs that write such files call them.
static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *names[3];
        const char *words;
    } rows[] = {
        {{"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"}, "is a LoRA, which changes a model"},
        {{"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"}, "is a LoRA, which changes a model"},
        {{"unet.down_blocks.0.attentions.0.to_q.lora_A.weight"}, "is a LoRA, which changes a model"},
        {{"unet.conv_in.weight", "unet.down_blocks.0.resnets.0.conv1.weight", "vae.decoder.conv_in.weight"},
         "parts of a diffusers model"},
        {{"base_model.model.down_blocks.0.attn1.to_k.lora_A.default.weight"}, "is a LoRA, which changes a model"},
        {{"diffusion_model.blocks.0.self_attn.q.lora_A.weight"}, "is a LoRA, which changes a model"},
        {{"text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_linear_layer.down.weight"}, "is a LoRA"},
        {{"down_blocks.0.attentions.0.attn1.processor.to_q_lora.down.weight"}, "is a LoRA"},
        {{"lora_unet_mid_block.hada_w1_a"}, "LyCORIS (LoHa)"},
        {{"lora_unet_mid_block.lokr_w1"}, "LyCORIS (LoKr)"},
        {{"lora_unet_mid_block.oft_blocks"}, "LyCORIS (OFT)"},
        {{"lora_controlnet", "input_hint_block.0.weight"}, "Control-LoRA"},
        {{"control_model.zero_convs.0.0.weight"}, "is a ControlNet"},
        {{"controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"}, "is a ControlNet"},
        {{"adapter.body.0.resnets.0.block1.weight"}, "is a T2I-Adapter"},
        {{"body.0.block1.weight", "conv_in.weight"}, "is a T2I-Adapter"},
        {{"ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"}, "is an IP-Adapter"},
        {{"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"}, "AnimateDiff"},
        {{"emb_params"}, "is an embedding"},
        {{"<cat-toy>"}, "is an embedding"},
        {{"clip_g", "clip_l"}, "is an embedding"},
        {{"body.0.rdb1.conv1.weight", "conv_first.weight"}, "is an upscaler"},
        {{"model.1.sub.0.RDB1.conv1.0.weight"}, "is an upscaler"},
        {{"layers.0.residual_group.blocks.0.attn.qkv.weight"}, "is an upscaler"},
        {{"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"}, "Stable Diffusion 3"},
        {{"model.diffusion_model.double_blocks.0.img_attn.qkv.weight"}, "Flux"},
        {{"double_blocks.0.img_attn.qkv.weight"}, "Flux"},
        {{"model.diffusion_model.cap_embedder.0.weight", "model.diffusion_model.cap_pad_token"}, "Z-Image"},
        {{"transformer_blocks.0.img_mod.1.weight"}, "Qwen-Image"},
        {{"blocks.0.cross_attn.k.weight", "patch_embedding.weight"}, "Wan"},
        {{"model.diffusion_model.patchify_proj.weight"}, "LTX-Video"},
        {{"model.diffusion_model.blocks.0.attn.weight"}, "another build"},
        {{"encoder.block.0.layer.0.SelfAttention.q.weight"}, "T5"},
        {{"model.layers.0.self_attn.q_proj.weight", "model.norm.weight"}, "language model"},
        // with a UNet of the right build
        {{"model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.0.model.ln_final.weight"}, "refiner"},
        {{"model.diffusion_model.input_blocks.0.0.weight", "noise_augmentor.data_mean"}, "unCLIP"},
        {{"model.diffusion_model.input_blocks.0.0.weight",
          "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight"},
         "Stable Video Diffusion"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sdg_tensor tensors[3];
        size_t count = 0;
        for (; count < 3 && rows[i].names[count]; count++)
            tensors[count] = tensor(rows[i].names[count], 1, 1, 0, 0, 0);
        write_weights("k/x.safetensors", tensors, count);
        expect_refused(temp_path("k/x.safetensors"), SDG_ERROR_UNSUPPORTED, rows[i].words);
    }
    const struct sdg_tensor other = tensor("surprise.weight", 1, 1, 0, 0, 0);
    write_weights("k/x.safetensors", &other, 1);
    expect_refused(temp_path("k/x.safetensors"), SDG_ERROR_INPUT, "no Stable Diffusion checkpoint");
    write_weights("k/x.safetensors", &other, 0);
    expect_refused(temp_path("k/x.safetensors"), SDG_ERROR_INPUT, "no Stable Diffusion checkpoint");
}

// Parts of models that could be read: what is there, and what to give instead.
static void test_parts(void **state)
{
    (void)state;
    static const struct {
        const char *names[2];
        const char *words;
    } rows[] = {
        {{"model_ema.diffusion_modelinput_blocks00weight"}, "EMA"},
        {{"first_stage_model.decoder.conv_in.weight"}, "--vae"},
        {{"first_stage_model.decoder.conv_in.weight", "input_blocks.0.0.weight"}, "lost the beginning"},
        {{"first_stage_model.decoder.conv_in.weight", "cond_stage_model.model.ln_final.weight"}, "without a UNet"},
        {{"first_stage_model.decoder.conv_in.weight", "conditioner.embedders.1.model.ln_final.weight"},
         "without a UNet"},
        {{"decoder.conv_in.weight", "encoder.conv_in.weight"}, "--vae"},
        {{"decoder.layers.0.weight"}, "--taesd"},
        {{"1.weight", "3.conv.0.weight"}, "--taesd"},
        {{"down_blocks.0.resnets.0.conv1.weight"}, "model_index.json"},
        {{"text_model.encoder.layers.0.mlp.fc1.weight"}, "model_index.json"},
        {{"input_blocks.0.0.weight", "out.2.weight"}, "only a UNet"},
        {{"cond_stage_model.transformer.text_model.final_layer_norm.weight"}, "only a text encoder"},
        {{"text_model.final_layer_norm.weight", "vision_model.post_layernorm.weight"}, "whole CLIP model"},
        {{"vision_model.post_layernorm.weight"}, "CLIP vision"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sdg_tensor tensors[2];
        size_t count = 0;
        for (; count < 2 && rows[i].names[count]; count++)
            tensors[count] = tensor(rows[i].names[count], 1, 1, 0, 0, 0);
        write_weights("k/x.safetensors", tensors, count);
        expect_refused(temp_path("k/x.safetensors"), SDG_ERROR_INPUT, rows[i].words);
    }
}

static void test_channels(void **state)
{
    (void)state;
    assert_non_null(strstr(sdg_kinds_of_channels(8, 4), "pix2pix"));
    assert_non_null(strstr(sdg_kinds_of_channels(5, 4), "depth"));
    assert_non_null(strstr(sdg_kinds_of_channels(7, 4), "upscaling"));
    assert_null(sdg_kinds_of_channels(4, 4));
    assert_null(sdg_kinds_of_channels(9, 4));
    assert_null(sdg_kinds_of_channels(13, 4));
}

static void test_other_files(void **state)
{
    (void)state;
    static const char zeros[128];
    static const struct {
        const char *text;
        size_t bytes;
        int result;
        const char *words;
    } rows[] = {
        {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16, SDG_ERROR_UNSUPPORTED, "GGUF"},
        {"PK\3\4\0\0\0\0\0\0\0\0", 12, SDG_ERROR_UNSUPPORTED, "zip archive"},
        {"\x80\2}q\0", 5, SDG_ERROR_UNSUPPORTED, "pickle"},
        {"\x80\4\x95\0\0", 5, SDG_ERROR_UNSUPPORTED, "pickle"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, SDG_ERROR_INPUT, "git-lfs"},
        {"<!DOCTYPE html>\n<html>", 22, SDG_ERROR_INPUT, "HTML"},
        {"{\"error\":\"Invalid credentials\"}", 31, SDG_ERROR_INPUT, "JSON error message"},
        {"# A model\n\nIt draws.\n", 21, SDG_ERROR_INPUT, "text file"},
        {"\xef\xbb\xbf{\"_class_name\": 1}", 21, SDG_ERROR_INPUT, "JSON"},
        {"  {\n}", 5, SDG_ERROR_INPUT, "JSON"},
        {"\x89PNG\r\n\x1a\n", 8, SDG_ERROR_INPUT, "picture"},
        {"\x1f\x8b\x08\0", 4, SDG_ERROR_INPUT, "gzip"},
        {zeros, sizeof zeros, SDG_ERROR_INPUT, "zeros"},
        {"", 0, SDG_ERROR_INPUT, "empty"},
        {"\1\2\3", 3, SDG_ERROR_INPUT, "too short"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refused(temp_write("k/other", rows[i].text, rows[i].bytes), (enum sdg_result)rows[i].result,
                       rows[i].words);
    // A header of 640 bytes begins as a pickle does.
    char file[8 + 640];
    memset(file, ' ', sizeof file);
    memcpy(file, "\x80\2\0\0\0\0\0\0{}", 10);
    expect_refused(temp_write("k/other", file, sizeof file), SDG_ERROR_INPUT, "no Stable Diffusion checkpoint");
    expect_refused(temp_path("k/absent"), SDG_ERROR_INPUT, "no such model");
    expect_refused("https://example.org/owner/name", SDG_ERROR_INPUT, "download it first");
    expect_refused("owner/name-v1", SDG_ERROR_INPUT, "hf download owner/name-v1");
    expect_refused("./owner/name", SDG_ERROR_INPUT, "no such model file or folder");
}

// ---- folders ----

static void test_places(void **state)
{
    (void)state;
    make_folder("m");
    expect_refused(temp_path("m/model_index.json"), SDG_ERROR_INPUT, "give its folder, ");
    expect_refused(temp_path("m/unet/config.json"), SDG_ERROR_INPUT, "the folder of the model");
    expect_refused(temp_path("m/unet"), SDG_ERROR_INPUT, "the folder above");
    expect_refused(temp_path("m/text_encoder"), SDG_ERROR_INPUT, "CLIPTextModel");
    put("up", "m/model_index.json", index_json);
    expect_refused(temp_path("up"), SDG_ERROR_INPUT, "up/m");
    put("up", "n/model_index.json", index_json);
    expect_refused(temp_path("up"), SDG_ERROR_INPUT, "holds 2 models");
    put("control", "config.json", "{\"_class_name\":\"ControlNetModel\"}");
    expect_refused(temp_path("control"), SDG_ERROR_UNSUPPORTED, "ControlNet");
    put("flux", "config.json", "{\"_class_name\":\"FluxTransformer2DModel\"}");
    expect_refused(temp_path("flux"), SDG_ERROR_UNSUPPORTED, "FluxTransformer2DModel");
    put("vim", "config.json", "{\"model_type\":\"vim\"}");
    expect_refused(temp_path("vim"), SDG_ERROR_INPUT, "is a Vision Mamba classifier, which sdvim runs");
    put("lora", "pytorch_lora_weights.safetensors", "");
    expect_refused(temp_path("lora"), SDG_ERROR_UNSUPPORTED, "LoRA");
    put("files", "some.safetensors", "");
    expect_refused(temp_path("files"), SDG_ERROR_INPUT, "files/some.safetensors");
    put("files", "more.safetensors", "");
    expect_refused(temp_path("files"), SDG_ERROR_INPUT, "one of the 2 safetensors files");
    put("notes", "a.txt", "");
    expect_refused(temp_path("notes"), SDG_ERROR_INPUT, "no diffusers model folder");
    put("m", "model_index.json",
        "{\"_class_name\":\"StableDiffusionXLImg2ImgPipeline\",\"text_encoder\":[null,null],"
        "\"text_encoder_2\":[\"transformers\",\"CLIPTextModelWithProjection\"]}");
    expect_refused(temp_path("m"), SDG_ERROR_UNSUPPORTED, "refiner");
}

// Hugging Face's cache: the snapshot that refs/main names, or the only one.
static void test_hub_cache(void **state)
{
    (void)state;
    temp_remove_tree(temp_path("models--a--b"));
    make_folder("models--a--b/snapshots/0123");
    expect_model(temp_path("models--a--b"));
    put("models--a--b", "snapshots/4567/model_index.json", index_json);
    expect_refused(temp_path("models--a--b"), SDG_ERROR_INPUT, "2 snapshots");
    put("models--a--b", "refs/main", "0123\n");
    expect_model(temp_path("models--a--b"));
    put("models--a--b", "refs/main", "4567");
    expect_refused(temp_path("models--a--b"), SDG_ERROR_INPUT, "4567/unet");
    put("empty-cache", "snapshots/.keep", "");
    expect_refused(temp_path("empty-cache"), SDG_ERROR_INPUT, "not finished");
    put("hub", "models--a--b/snapshots/.keep", "");
    expect_refused(temp_path("hub"), SDG_ERROR_INPUT, "hub/models--a--b");
}

static void rename_in(const char *from, const char *to)
{
    assert_int_equal(rename(temp_path(from), temp_path(to)), 0);
}

static void test_variants(void **state)
{
    (void)state;
    make_folder("m");
    rename_in("m/unet/diffusion_pytorch_model.safetensors", "m/unet/diffusion_pytorch_model.non_ema.safetensors");
    rename_in("m/text_encoder/model.safetensors", "m/text_encoder/model.bf16.safetensors");
    expect_model(temp_path("m")); // the only ones there are
    put("m", "unet/diffusion_pytorch_model.bf16.safetensors", "");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "several variants: ");
    unlink(temp_path("m/unet/diffusion_pytorch_model.bf16.safetensors"));
    unlink(temp_path("m/unet/diffusion_pytorch_model.non_ema.safetensors"));
    put("m", "unet/diffusion_pytorch_model.fp16.bin", "");
    expect_refused(temp_path("m"), SDG_ERROR_UNSUPPORTED, "diffusion_pytorch_model.fp16.bin");
    put("m", "unet/unet.safetensors", "");
    unlink(temp_path("m/unet/diffusion_pytorch_model.fp16.bin"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "only unet.safetensors");
    unlink(temp_path("m/unet/unet.safetensors"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "has no weights");
    temp_remove_tree(temp_path("m/unet"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "m/unet: there is no such folder");
}

static void test_dangling_links(void **state)
{
    (void)state;
    static const char *const files[] = {"unet/diffusion_pytorch_model.safetensors", "unet/config.json",
                                        "text_encoder/model.safetensors", "vae/config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[200];
        make_folder("m");
        snprintf(path, sizeof path, "m/%s", files[i]);
        unlink(temp_path(path));
        assert_int_equal(symlink("../../blobs/0123abcd", temp_path(path)), 0);
        expect_refused(temp_path("m"), SDG_ERROR_INPUT, "is a link to ../../blobs/0123abcd");
    }
    assert_int_equal(symlink("nowhere", temp_path("k/link.safetensors")), 0);
    expect_refused(temp_path("k/link.safetensors"), SDG_ERROR_INPUT, "is a link to nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_parts),          cmocka_unit_test(test_channels),
        cmocka_unit_test(test_other_files), cmocka_unit_test(test_places),         cmocka_unit_test(test_hub_cache),
        cmocka_unit_test(test_variants),    cmocka_unit_test(test_dangling_links),
    };
    return run_model_tests(tests);
}
