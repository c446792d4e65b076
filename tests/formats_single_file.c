// formats/: checkpoints in one file and autoencoders that replace a model's; names in both layouts.
#include "formats/names.h"
#include "tests/model_files.h"
#include "tests/mutate.h"
#include "tests/support/packed.h"

static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

// Original names of a network with two levels of one layer and attention in the first, written down by hand, with
// shapes.
static const struct {
    const char *ldm, *diffusers;
    int rank;
    int dims[4];
} small_names[] = {
    {"model.diffusion_model.input_blocks.0.0.weight", "conv_in.weight", 4, {32, 4, 3, 3}},
    {"model.diffusion_model.time_embed.0.bias", "time_embedding.linear_1.bias", 1, {128}},
    {"model.diffusion_model.time_embed.2.bias", "time_embedding.linear_2.bias", 1, {128}},
    {"model.diffusion_model.input_blocks.1.0.in_layers.0.weight", "down_blocks.0.resnets.0.norm1.weight", 1, {32}},
    {"model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
     "down_blocks.0.resnets.0.conv1.weight",
     4,
     {32, 1, 3, 3}},
    {"model.diffusion_model.input_blocks.1.0.emb_layers.1.bias", "down_blocks.0.resnets.0.time_emb_proj.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.1.0.out_layers.0.bias", "down_blocks.0.resnets.0.norm2.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.1.0.out_layers.3.bias", "down_blocks.0.resnets.0.conv2.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.1.1.proj_in.weight",
     "down_blocks.0.attentions.0.proj_in.weight",
     4,
     {32, 32, 1, 1}},
    {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
     "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
     2,
     {32, 24}},
    {"model.diffusion_model.input_blocks.2.0.op.bias", "down_blocks.0.downsamplers.0.conv.bias", 1, {32}},
    {"model.diffusion_model.input_blocks.2.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight", 4, {32, 2, 3, 3}},
    {"model.diffusion_model.input_blocks.3.0.in_layers.2.weight",
     "down_blocks.1.resnets.0.conv1.weight",
     4,
     {64, 1, 3, 3}},
    {"model.diffusion_model.input_blocks.3.0.skip_connection.bias",
     "down_blocks.1.resnets.0.conv_shortcut.bias",
     1,
     {64}},
    {"model.diffusion_model.middle_block.0.in_layers.0.bias", "mid_block.resnets.0.norm1.bias", 1, {64}},
    {"model.diffusion_model.middle_block.1.proj_in.weight", "mid_block.attentions.0.proj_in.weight", 4, {64, 16, 1, 1}},
    {"model.diffusion_model.middle_block.2.out_layers.3.bias", "mid_block.resnets.1.conv2.bias", 1, {64}},
    {"model.diffusion_model.output_blocks.0.0.in_layers.0.bias", "up_blocks.0.resnets.0.norm1.bias", 1, {128}},
    {"model.diffusion_model.output_blocks.1.0.in_layers.0.bias", "up_blocks.0.resnets.1.norm1.bias", 1, {96}},
    {"model.diffusion_model.output_blocks.1.1.conv.bias", "up_blocks.0.upsamplers.0.conv.bias", 1, {64}},
    {"model.diffusion_model.output_blocks.2.0.in_layers.0.bias", "up_blocks.1.resnets.0.norm1.bias", 1, {96}},
    {"model.diffusion_model.output_blocks.2.1.proj_in.weight",
     "up_blocks.1.attentions.0.proj_in.weight",
     4,
     {32, 32, 1, 1}},
    {"model.diffusion_model.output_blocks.3.1.norm.bias", "up_blocks.1.attentions.1.norm.bias", 1, {32}},
    {"model.diffusion_model.out.0.bias", "conv_norm_out.bias", 1, {32}},
    {"model.diffusion_model.out.2.weight", "conv_out.weight", 4, {4, 32, 3, 3}},
    {"first_stage_model.encoder.conv_in.weight", "encoder.conv_in.weight", 4, {32, 3, 3, 3}},
    {"first_stage_model.encoder.down.0.block.0.conv1.weight",
     "encoder.down_blocks.0.resnets.0.conv1.weight",
     4,
     {32, 2, 3, 3}},
    {"first_stage_model.encoder.down.0.downsample.conv.bias",
     "encoder.down_blocks.0.downsamplers.0.conv.bias",
     1,
     {32}},
    {"first_stage_model.encoder.down.1.block.0.conv1.weight",
     "encoder.down_blocks.1.resnets.0.conv1.weight",
     4,
     {64, 2, 3, 3}},
    {"first_stage_model.encoder.down.1.block.0.nin_shortcut.bias",
     "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
     1,
     {64}},
    {"first_stage_model.encoder.mid.block_2.norm1.bias", "encoder.mid_block.resnets.1.norm1.bias", 1, {64}},
    {"first_stage_model.encoder.norm_out.bias", "encoder.conv_norm_out.bias", 1, {64}},
    {"first_stage_model.quant_conv.weight", "quant_conv.weight", 4, {8, 8, 1, 1}},
    {"first_stage_model.post_quant_conv.weight", "post_quant_conv.weight", 4, {4, 4, 1, 1}},
    {"first_stage_model.decoder.conv_in.weight", "decoder.conv_in.weight", 4, {64, 4, 3, 3}},
    {"first_stage_model.decoder.mid.block_1.conv2.bias", "decoder.mid_block.resnets.0.conv2.bias", 1, {64}},
    {"first_stage_model.decoder.mid.attn_1.norm.bias", "decoder.mid_block.attentions.0.group_norm.bias", 1, {64}},
    {"first_stage_model.decoder.mid.attn_1.q.weight", "decoder.mid_block.attentions.0.to_q.weight", 4, {64, 64, 1, 1}},
    {"first_stage_model.decoder.mid.attn_1.proj_out.weight",
     "decoder.mid_block.attentions.0.to_out.0.weight",
     4,
     {64, 64, 1, 1}},
    {"first_stage_model.decoder.up.1.block.1.norm2.bias", "decoder.up_blocks.0.resnets.1.norm2.bias", 1, {64}},
    {"first_stage_model.decoder.up.1.upsample.conv.bias", "decoder.up_blocks.0.upsamplers.0.conv.bias", 1, {64}},
    {"first_stage_model.decoder.up.0.block.0.nin_shortcut.bias",
     "decoder.up_blocks.1.resnets.0.conv_shortcut.bias",
     1,
     {32}},
    {"first_stage_model.decoder.conv_out.weight", "decoder.conv_out.weight", 4, {3, 32, 3, 3}},
    {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
     "text_model.embeddings.token_embedding.weight",
     2,
     {100, 24}},
    {"cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
     "text_model.embeddings.position_embedding.weight",
     2,
     {77, 24}},
    {"cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
     "text_model.encoder.layers.0.mlp.fc1.weight",
     2,
     {96, 24}},
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

static void expect_vocabulary(const char *want)
{
    struct sdg_model *model = open_model(temp_path("s/model.safetensors"));
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], want);
    assert_string_equal(model->tokenizer[0].pad, "<|endoftext|>"); // CLIP's, whatever the file says
    sdg_model_close(&model);
}

// Without a tokenizer beside the file: the fetched one, before it the environment's. (One that this source tree has may
// be found, too.)
static void test_search(void)
{
    struct sdg_model *model = open_model(temp_path("s/model.safetensors"));
    struct temp_log t;
    if (!model->tokenizer[0].folder) {
        assert_int_equal(sdg_model_check_tokenizers(temp_log(&t), model), SDG_ERROR_INPUT);
        assert_non_null(strstr(t.last, "tools/get-clip-tokenizer' once"));
    }
    sdg_model_close(&model);
    put("data/sdgen/clip-tokenizer", "vocab.json", "{\"fetched\":0}");
    put("data/sdgen/clip-tokenizer", "merges.txt", "");
    put("data/sdgen/clip-tokenizer", "special_tokens_map.json", "{\"pad_token\":\"!\"}");
    expect_vocabulary("{\"fetched\":0}");
    put("named", "vocab.json", "{\"named\":0}");
    put("named", "merges.txt", "");
    setenv("SDGEN_TOKENIZER", temp_path("named"), 1);
    expect_vocabulary("{\"named\":0}");
    put("s", "tokenizer/vocab.json", "{\"beside\":0}");
    put("s", "tokenizer/merges.txt", "");
    expect_vocabulary("{\"beside\":0}");
    unsetenv("SDGEN_TOKENIZER");
}

static void test_single_file(void **state)
{
    (void)state;
    struct sdg_tensor position_ids =
        tensor("cond_stage_model.transformer.text_model.embeddings.position_ids", 2, 1, 77, 0, 0);
    write_small("s/model.safetensors", NULL, &position_ids);
    struct sdg_model *model = open_model(temp_path("s/model.safetensors"));
    assert_true(model->single_file && model->kind == SDG_MODEL_SD && !model->has_scheduler &&
                model->text_encoders == 1);
    const struct sdg_unet_config *u = &model->unet_config;
    assert_true(u->levels == 2 && u->channels[0] == 32 && u->channels[1] == 64 && u->in_channels == 4 &&
                u->out_channels == 4);
    assert_true(u->layers_per_block[0] == 1 && u->down_attention[0] && !u->down_attention[1] && !u->up_attention[0] &&
                u->up_attention[1]);
    assert_true(u->mid_attention && u->heads[1] == 8 && u->norm_groups == 32 && u->cross_attention_dim == 24 &&
                !u->linear_projection);
    const struct sdg_vae_config *v = &model->vae_config;
    assert_true(!v->tiny && v->levels == 2 && v->channels[1] == 64 && v->layers_per_block == 1 &&
                v->latent_channels == 4);
    assert_true(v->mid_attention && v->quant_conv && v->post_quant_conv && v->scaling_factor == 0.18215f &&
                v->out_channels == 3);
    const struct sdg_text_config *t = &model->text_config[0];
    assert_true(t->vocab_size == 100 && t->hidden == 24 && t->heads == 12 && t->layers == 1 && t->intermediate == 96 &&
                t->positions == 77);
    assert_true(t->activation == SDG_TEXT_QUICK_GELU && t->eos_token_id == 2);
    assert_int_equal(sdg_tensors_count(model->unet) + sdg_tensors_count(model->vae) + sdg_tensors_count(model->text[0]),
                     SMALL_COUNT);
    for (int i = 0; i < SMALL_COUNT; i++) {
        struct sdg_tensors *part = part_of(model, small_names[i].ldm);
        const struct sdg_tensor *found = sdg_tensors_find(part, small_names[i].diffusers), want = small_tensor(i);
        if (!found)
            fail_msg("%s not found as %s", small_names[i].ldm, small_names[i].diffusers);
        assert_int_equal(found->bytes, want.bytes);
        assert_int_equal(found->rank, strstr(want.name, "attn_1") && want.rank == 4 ? 2 : want.rank);
    }
    sdg_model_close(&model);
    test_search();
    put("s", "tokenizer/vocab.json", "{\"inner\":0}");
    put("s", "tokenizer/merges.txt", "");
    model = open_model(temp_path("s/model.safetensors"));
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"inner\":0}");
    sdg_model_close(&model);
    put("s", "vocab.json", "{\"beside\":0}");
    put("s", "merges.txt", "");
    model = open_model(temp_path("s/model.safetensors"));
    assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"beside\":0}");
    sdg_model_close(&model);
    size_t count = fail_allocations(temp_path("s/model.safetensors"));
    assert_true(count > 15);
    print_message("%zu failing allocations\n", count);
}

// A checkpoint and its tokenizer out of a list, wherever their bytes are; the files beside it are those of the list,
// also where it is at the top.
static void test_listed(void **state)
{
    (void)state;
    static struct packed packed = {.fd = -1};
    temp_remove_tree(temp_path("s"));
    write_small("s/model.safetensors", NULL, NULL);
    put("s", "tokenizer/vocab.json", "{\"listed\":0}");
    put("s", "tokenizer/merges.txt", "#version: 0.2\n");
    struct sdg_model *disk = open_model(temp_path("s/model.safetensors"));
    for (int i = 0; i < 2 * PACKED_WAYS; i++) {
        struct temp_log t;
        struct sdg_model *model;
        packed_add(&packed, temp_path("s"), i % 2 ? "deep/s" : "");
        packed_make(&packed, (enum packed_way)(i / 2));
        const struct sdg_model_params params = {.files = packed.files, .file_count = packed.count};
        if (sdg_model_open_params(temp_log(&t), i % 2 ? "deep/s/model.safetensors" : "model.safetensors", &params,
                                  &model) != SDG_OK)
            fail_msg("%s", t.last);
        packed_let_go(&packed);
        assert_true(model->single_file && t.errors == 0);
        assert_string_equal(model->tokenizer[0].text[SDG_TOKENIZER_VOCAB], "{\"listed\":0}");
        for (int k = 0; k < SMALL_COUNT; k++) {
            const struct sdg_tensor *got =
                                        sdg_tensors_find(part_of(model, small_names[k].ldm), small_names[k].diffusers),
                                    *want =
                                        sdg_tensors_find(part_of(disk, small_names[k].ldm), small_names[k].diffusers);
            assert_true(got && got->bytes == want->bytes);
            assert_memory_equal(got->data, want->data, got->bytes);
        }
        sdg_model_close(&model);
        packed_free(&packed);
    }
    sdg_model_close(&disk);
}

// Both or neither: a checkpoint that has lost one of the two is found when that one is asked for.
static void test_quant_conv(void **state)
{
    (void)state;
    static const struct {
        const char *without;
        bool both;
    } rows[] = {{"model.quant_conv", true}, {"post_quant_conv", true}, {"quant_conv", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_small("s/quant.safetensors", rows[i].without, NULL);
        struct sdg_model *model = open_model(temp_path("s/quant.safetensors"));
        assert_true(model->vae_config.quant_conv == rows[i].both && model->vae_config.post_quant_conv == rows[i].both);
        sdg_model_close(&model);
    }
}

// The same of 8-bit floats: nothing but the type differs.
static void test_float8(void **state)
{
    (void)state;
    struct sdg_tensor tensors[SMALL_COUNT];
    for (int i = 0; i < SMALL_COUNT; i++) {
        tensors[i] = small_tensor(i);
        tensors[i].dtype = i % 2 ? SDG_F8_E4M3 : SDG_F8_E5M2;
        tensors[i].bytes /= 4;
    }
    write_weights("s/float8.safetensors", tensors, SMALL_COUNT);
    struct sdg_model *model = open_model(temp_path("s/float8.safetensors"));
    assert_true(model->single_file && model->unet_config.levels == 2 && model->vae_config.levels == 2);
    for (int i = 0; i < SMALL_COUNT; i++) {
        const struct sdg_tensor *found = sdg_tensors_find(part_of(model, small_names[i].ldm), small_names[i].diffusers);
        assert_true(found && found->dtype == tensors[i].dtype && found->bytes == tensors[i].bytes);
        assert_memory_equal(found->data, values, found->bytes);
    }
    sdg_model_close(&model);
}

// An OpenCLIP text encoder: names by hand; two layers of width 64.
static size_t add_openclip(struct sdg_tensor *to, char (*names)[100], const char *prefix)
{
    static const struct {
        const char *name;
        int rank, a, b;
    } parts[] = {
        {"token_embedding.weight", 2, 60, 64},
        {"positional_embedding", 2, 77, 64},
        {"ln_final.bias", 1, 64, 0},
        {"text_projection", 2, 64, 8},
        {"logit_scale", 0, 0, 0},
        {"transformer.resblocks.0.ln_9.bias", 1, 64, 0},
        {"transformer.resblocks.0.attn.in_proj_weight", 2, 6, 64},
        {"transformer.resblocks.0.attn.in_proj_bias", 1, 6, 0},
        {"transformer.resblocks.0.attn.out_proj.bias", 1, 64, 0},
        {"transformer.resblocks.0.ln_1.bias", 1, 64, 0},
        {"transformer.resblocks.0.ln_2.bias", 1, 64, 0},
        {"transformer.resblocks.0.mlp.c_fc.weight", 2, 100, 64},
        {"transformer.resblocks.0.mlp.c_proj.bias", 1, 64, 0},
        {"transformer.resblocks.1.mlp.c_fc.weight", 2, 100, 64},
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
        snprintf(names[count], sizeof names[count], "%s%s", clip ? "conditioner.embedders.0." : "",
                 clip ? clip : t.name);
        t.name = names[count];
        if (strstr(t.name, "attn2.to_k"))
            t = tensor(t.name, 2, 32, xl ? 24 + 64 : 64, 0, 0);
        tensors[count++] = t;
    }
    if (xl)
        tensors[count++] = tensor("model.diffusion_model.label_emb.0.0.weight", 2, 4, 6 * 256 + 8, 0, 0);
    count +=
        add_openclip(tensors + count, names + count, xl ? "conditioner.embedders.1.model." : "cond_stage_model.model.");
    write_weights("s/openclip.safetensors", tensors, count);
    return temp_path("s/openclip.safetensors");
}

static void check_openclip(const struct sdg_tensors *view)
{
    static const char *const same[] = {
        "embeddings.token_embedding.weight",
        "embeddings.position_embedding.weight",
        "final_layer_norm.bias",
        "encoder.layers.0.self_attn.out_proj.bias",
        "encoder.layers.0.layer_norm1.bias",
        "encoder.layers.0.layer_norm2.bias",
        "encoder.layers.0.mlp.fc1.weight",
        "encoder.layers.0.mlp.fc2.bias",
    };
    char name[100];
    size_t count;
    const struct sdg_unplaced *unplaced = sdg_tensors_unplaced(view, &count);
    assert_int_equal(count, 2);
    assert_true(strstr(unplaced[0].name, ".logit_scale") && !unplaced[0].in_module);
    assert_string_equal(unplaced[0].plain, "logit_scale");
    assert_true(strstr(unplaced[1].name, ".transformer.resblocks.0.ln_9.bias") && unplaced[1].in_module);
    assert_true(sdg_tensors_are_inferred_from(view));
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
    assert_true(model->kind == SDG_MODEL_SD && model->prediction_open && !model->has_scheduler);
    assert_true(c->layers == 1 && c->hidden == 64 && c->heads == 1 && c->vocab_size == 60 && c->positions == 77 &&
                c->intermediate == 100);
    assert_true(c->activation == SDG_TEXT_GELU && c->projection_dim == 0);
    assert_string_equal(model->tokenizer[0].pad, "!");
    assert_int_equal(sdg_tensors_count(model->text[0]), 14); // without the last layer and the projection
    check_openclip(model->text[0]);
    sdg_model_close(&model);

    model = open_model(write_openclip(true));
    assert_true(model->kind == SDG_MODEL_SDXL && model->text_encoders == 2 &&
                model->scheduler.prediction == SDG_PREDICT_EPSILON && !model->prediction_open);
    assert_true(model->vae_config.scaling_factor == 0.13025f && model->unet_config.addition_time_embed_dim == 256);
    assert_true(model->text_config[0].hidden == 24 && model->text_config[1].layers == 2 &&
                model->text_config[1].projection_dim == 8);
    assert_string_equal(model->tokenizer[0].pad, "<|endoftext|>");
    assert_string_equal(model->tokenizer[1].pad, "!");
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

// The text encoder of Stable Diffusion 2.x, 1024 wide, under either family of names, with so many of its layers.
static struct sdg_model *open_sd2(bool openclip, int layers)
{
    static const struct {
        const char *clip, *openclip;
        int rows, columns;
    } parts[] = {
        {"transformer.text_model.embeddings.token_embedding.weight", "model.token_embedding.weight", 4, 1024},
        {"transformer.text_model.embeddings.position_embedding.weight", "model.positional_embedding", 8, 1024},
        {"transformer.text_model.final_layer_norm.weight", "model.ln_final.weight", 1024, 0},
    };
    static char names[SMALL_COUNT + 30][120];
    struct sdg_tensor tensors[SMALL_COUNT + 30];
    size_t count = 0;
    for (int i = 0; i < SMALL_COUNT; i++) {
        struct sdg_tensor t = small_tensor(i);
        if (after(t.name, "cond_stage_model."))
            continue;
        if (strstr(t.name, "attn2.to_k"))
            t = tensor(t.name, 2, 8, 1024, 0, 0);
        if (strstr(t.name, "input_blocks.1.0.in_layers.2.weight"))
            t.dims[0] = 64, t.bytes *= 2;
        tensors[count++] = t;
    }
    for (int i = 0; i < 3; i++) {
        snprintf(names[count], sizeof names[0], "cond_stage_model.%s", openclip ? parts[i].openclip : parts[i].clip);
        tensors[count] = tensor(names[count], parts[i].columns ? 2 : 1, parts[i].rows, parts[i].columns, 0, 0);
        count++;
    }
    for (int i = 0; i < layers; i++) {
        snprintf(names[count], sizeof names[0],
                 openclip ? "cond_stage_model.model.transformer.resblocks.%d.mlp.c_fc.weight"
                          : "cond_stage_model.transformer.text_model.encoder.layers.%d.mlp.fc1.weight",
                 i);
        tensors[count] = tensor(names[count], 2, 2, 1024, 0, 0);
        count++;
    }
    write_weights("s/sd2.safetensors", tensors, count);
    struct temp_log t;
    struct sdg_model *model = NULL;
    sdg_model_open(temp_log(&t), temp_path("s/sd2.safetensors"), &model);
    assert_true((model == NULL) == (t.errors == 1) &&
                (model || strstr(t.last, "layers.") || strstr(t.last, "resblocks.")));
    return model;
}

// Of 24 layers the first 23 are used; files that hold no more of them lack nothing.
static void test_sd2_encoders(void **state)
{
    (void)state;
    for (int openclip = 0; openclip < 2; openclip++) {
        for (int layers = 23; layers <= 24; layers++) {
            struct sdg_model *model = open_sd2(openclip, layers);
            assert_non_null(model);
            const struct sdg_text_config *c = &model->text_config[0];
            assert_true(c->layers == 23 && c->activation == SDG_TEXT_GELU && c->hidden == 1024 && c->heads == 16 &&
                        c->intermediate == 2 && c->projection_dim == 0);
            assert_true(model->prediction_open && model->unet_config.linear_projection &&
                        model->unet_config.heads[0] == 1);
            assert_string_equal(model->tokenizer[0].pad, "!");
            assert_non_null(sdg_tensors_find(model->text[0], "text_model.encoder.layers.22.mlp.fc1.weight"));
            assert_null(sdg_tensors_find(model->text[0], "text_model.encoder.layers.23.mlp.fc1.weight"));
            sdg_model_set_prediction(model, SDG_PREDICT_V);
            assert_int_equal(model->unet_config.sample_width, 96);
            sdg_model_set_prediction(model, SDG_PREDICT_EPSILON);
            assert_int_equal(model->unet_config.sample_width, 64);
            sdg_model_close(&model);
        }
        assert_null(open_sd2(openclip, 22));
    }
}

// The small checkpoint with other names: `from` becomes `to` wherever a name has it.
static struct sdg_model *open_renamed(const char *part, const char *from, const char *to, int projection_rank)
{
    static char names[SMALL_COUNT][200];
    struct sdg_tensor tensors[SMALL_COUNT];
    for (int i = 0; i < SMALL_COUNT; i++) {
        const char *name = small_names[i].ldm, *at = strstr(name, part) ? strstr(name, from) : NULL;
        tensors[i] = small_tensor(i);
        if (at)
            snprintf(names[i], sizeof names[i], "%.*s%s%s", (int)(at - name), name, to, at + strlen(from));
        else
            snprintf(names[i], sizeof names[i], "%s", name);
        if (strstr(name, "attn_1.") && tensors[i].rank == 4)
            tensors[i].rank = projection_rank;
        tensors[i].name = names[i];
    }
    write_weights("s/renamed.safetensors", tensors, SMALL_COUNT);
    return open_model(temp_path("s/renamed.safetensors"));
}

static void expect_all_found(struct sdg_model *model)
{
    size_t unplaced;
    for (int i = 0; i < SMALL_COUNT; i++) {
        const struct sdg_tensor *t = sdg_tensors_find(part_of(model, small_names[i].ldm), small_names[i].diffusers);
        if (!t)
            fail_msg("%s is missing", small_names[i].diffusers);
        if (strstr(t->name, ".to_q.weight") && strstr(small_names[i].ldm, "attn_1"))
            assert_int_equal(t->rank, 2);
    }
    assert_null(sdg_tensors_unplaced(model->vae, &unplaced));
    sdg_model_close(&model);
}

// What converters leave in, and what trainers put before all names.
static void test_other_names(void **state)
{
    (void)state;
    for (int rank = 2; rank <= 4; rank++) {
        expect_all_found(open_renamed("attn_1.q", "attn_1.q", "attn_1.to_q", rank));
        expect_all_found(open_renamed("attn_1.q", "attn_1.q", "attn_1.query", rank));
        expect_all_found(open_renamed("attn_1.proj_out", "proj_out", "to_out.0", rank));
        expect_all_found(open_renamed("attn_1.proj_out", "proj_out", "proj_attn", rank));
        expect_all_found(open_renamed("attn_1.norm", "norm", "group_norm", rank));
    }
    static const char *const wrappers[] = {"module.",          "state_dict.",        "model.",
                                           "module.model.",    "state_dict.module.", "_orig_mod.",
                                           "_forward_module.", "module._orig_mod."};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        expect_all_found(open_renamed("", "", wrappers[i], 4));
    expect_all_found(open_renamed("diffusion_model", "diffusion_model.", "diffusion_model._orig_mod.", 4));
    expect_all_found(
        open_renamed("model.diffusion", "model.diffusion_model.", "model.diffusion_model.model.diffusion_model.", 4));
    expect_all_found(open_renamed("first_stage", "first_stage_model.", "first_stage_model.first_stage_model.", 4));
    expect_all_found(open_renamed("text_model.", "text_model.", "", 4));
}

// ---- what the file says about itself ----

static struct sdg_model *open_declaring(const struct sdg_tensor *keys, size_t key_count,
                                        const struct sdg_metadata *metadata)
{
    struct sdg_tensor tensors[SMALL_COUNT + 2];
    for (int i = 0; i < SMALL_COUNT; i++)
        tensors[i] = small_tensor(i);
    for (size_t i = 0; i < key_count; i++)
        tensors[SMALL_COUNT + i] = keys[i];
    assert_int_equal(sdg_tensors_write(NULL, temp_path("s/declaring.safetensors"), tensors, SMALL_COUNT + key_count,
                                       metadata, metadata ? 1 : 0),
                     SDG_OK);
    struct temp_log t;
    struct sdg_model *model = NULL;
    const enum sdg_result result = sdg_model_open(temp_log(&t), temp_path("s/declaring.safetensors"), &model);
    assert_true((result == SDG_OK) == (model != NULL) && t.errors == !model);
    return model;
}

static void test_declared_metadata(void **state)
{
    (void)state;
    static const struct {
        struct sdg_metadata metadata;
        int prediction; // -1: refused
    } rows[] = {
        {{"format", "pt"}, SDG_PREDICT_EPSILON},
        {{"modelspec.prediction_type", "v"}, SDG_PREDICT_V},
        {{"modelspec.prediction_type", "V-Prediction"}, SDG_PREDICT_V},
        {{"modelspec.prediction_type", "v_prediction"}, SDG_PREDICT_V},
        {{"modelspec.prediction_type", "velocity"}, SDG_PREDICT_V},
        {{"modelspec.prediction_type", "epsilon"}, SDG_PREDICT_EPSILON},
        {{"modelspec.prediction_type", "sample"}, SDG_PREDICT_SAMPLE},
        {{"modelspec.prediction_type", ""}, SDG_PREDICT_EPSILON},
        {{"modelspec.prediction_type", "rectified_flow"}, -1},
        {{"modelspec.predict_key", "v"}, SDG_PREDICT_V},
        {{"modelspec.predict_key", "epsilon"}, SDG_PREDICT_EPSILON},
        {{"modelspec.architecture", "stable-diffusion-v2-768-v"}, SDG_PREDICT_V},
        {{"modelspec.architecture", "stable-diffusion-v1"}, SDG_PREDICT_EPSILON},
        {{"ss_v_parameterization", "True"}, SDG_PREDICT_V},
        {{"ss_v_parameterization", "False"}, SDG_PREDICT_EPSILON},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sdg_model *model = open_declaring(NULL, 0, &rows[i].metadata);
        if ((model ? (int)model->scheduler.prediction : -1) != rows[i].prediction)
            fail_msg("%s %s: %d", rows[i].metadata.key, rows[i].metadata.value,
                     model ? (int)model->scheduler.prediction : -1);
        sdg_model_close(&model);
    }
}

static void test_declared_keys(void **state)
{
    (void)state;
    const struct sdg_metadata epsilon = {"modelspec.prediction_type", "epsilon"};
    struct sdg_tensor keys[2] = {tensor("v_pred", 1, 0, 0, 0, 0), tensor("ztsnr", 1, 0, 0, 0, 0)};
    struct sdg_model *model = open_declaring(keys, 1, &epsilon); // the key is what a merge keeps
    assert_true(model && model->scheduler.prediction == SDG_PREDICT_V && !model->scheduler.rescale_betas_zero_snr &&
                model->scheduler.spacing == SDG_SPACING_LEADING);
    sdg_model_close(&model);
    model = open_declaring(keys, 2, NULL);
    assert_true(model && model->scheduler.prediction == SDG_PREDICT_V && model->scheduler.rescale_betas_zero_snr &&
                model->scheduler.spacing == SDG_SPACING_TRAILING);
    sdg_model_set_prediction(model, SDG_PREDICT_EPSILON); // by the user
    assert_true(!model->scheduler.rescale_betas_zero_snr && model->scheduler.spacing == SDG_SPACING_LEADING);
    sdg_model_set_prediction(model, SDG_PREDICT_V);
    assert_true(model->scheduler.rescale_betas_zero_snr);
    sdg_model_close(&model);
    model =
        open_declaring(keys + 1, 1, NULL); // nothing is left of the picture for a prediction of noise to be taken from
    assert_true(model && model->scheduler.prediction == SDG_PREDICT_EPSILON &&
                !model->scheduler.rescale_betas_zero_snr);
    sdg_model_close(&model);
    const float sigmas[] = {90, 0.01f};
    keys[0] = tensor("edm_vpred.sigma_max", 0, 0, 0, 0, 0);
    keys[1] = tensor("edm_vpred.sigma_min", 1, 1, 0, 0, 0);
    keys[0].data = &sigmas[0];
    keys[1].data = &sigmas[1];
    model = open_declaring(keys, 2, NULL);
    assert_true(model && model->scheduler.prediction == SDG_PREDICT_V && model->scheduler.edm.used &&
                model->scheduler.edm.sigma_max == 90 && model->scheduler.edm.sigma_min == 0.01f &&
                model->scheduler.edm.sigma_data == 1);
    sdg_model_close(&model);
    keys[0].data = &sigmas[1];
    assert_null(open_declaring(keys, 2, NULL)); // no range
    keys[0] = tensor("edm_mean", 1, 4, 0, 0, 0);
    assert_null(open_declaring(keys, 1, NULL));
}

// More input channels than a latent has are named for what they are.
static void test_named_inputs(void **state)
{
    (void)state;
    static const struct {
        int channels;
        const char *words;
    } rows[] = {{5, "depth model"}, {7, "upscaling model"}, {8, "instruct-pix2pix"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sdg_tensor tensors[SMALL_COUNT];
        for (int j = 0; j < SMALL_COUNT; j++) {
            tensors[j] = small_tensor(j);
            if (strstr(tensors[j].name, "input_blocks.0.0.weight"))
                tensors[j] = tensor(tensors[j].name, 4, 8, rows[i].channels, 3, 3);
        }
        write_weights("s/inputs.safetensors", tensors, SMALL_COUNT);
        expect_refused(temp_path("s/inputs.safetensors"), SDG_ERROR_UNSUPPORTED, rows[i].words);
    }
}

static void test_broken_single_files(void **state)
{
    (void)state;
    static const char *const needed[] = {
        "diffusion_model.input_blocks.0.0",
        "out.2.weight",
        "input_blocks.1.0.in_layers.2",
        "first_stage_model.encoder.conv_in",
        "first_stage_model.decoder.conv_out",
        "token_embedding",
        "position_embedding",
        "mlp.fc1",
        "transformer_blocks.0.attn2.to_k",
        // whole blocks, from which others could be taken for a smaller network
        "model.diffusion_model.input_blocks.1.",
        "model.diffusion_model.input_blocks.2.",
        "model.diffusion_model.input_blocks.3.",
        "model.diffusion_model.output_blocks.0.",
        "model.diffusion_model.output_blocks.3.",
        "model.diffusion_model.middle_block.1.",
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        write_small("s/broken.safetensors", needed[i], NULL);
        expect_refused(temp_path("s/broken.safetensors"), SDG_ERROR_INPUT, "broken.safetensors: tensor ");
    }
    write_small("s/broken.safetensors", "first_stage_model", NULL);
    expect_refused(temp_path("s/broken.safetensors"), SDG_ERROR_INPUT, "has no autoencoder");
    write_small("s/broken.safetensors", "cond_stage_model", NULL);
    expect_refused(temp_path("s/broken.safetensors"), SDG_ERROR_INPUT, "has no text encoder");
    expect_refused(temp_text("s/page.safetensors", "<html>404</html>"), SDG_ERROR_INPUT, "HTML");
    expect_refused(temp_write("s/zeros.safetensors", (char[64]){0}, 64), SDG_ERROR_INPUT, "zeros.safetensors");
    struct temp_log t;
    struct sdg_model *model = NULL;
    struct sdg_tensor strange = tensor("model.diffusion_model.surprise.weight", 1, 1, 0, 0, 0);
    write_small("s/strange.safetensors", NULL, &strange);
    assert_int_equal(sdg_model_open(temp_log(&t), temp_path("s/strange.safetensors"), &model), SDG_OK);
    assert_true(t.warnings == 0 && t.errors == 0);
    size_t count;
    const struct sdg_unplaced *unplaced = sdg_tensors_unplaced(model->unet, &count);
    assert_true(count == 1 && !unplaced->in_module);
    assert_string_equal(unplaced->name, strange.name);
    sdg_model_close(&model);
}

// Damaged headers of a whole checkpoint: what is inferred from shapes must stay within bounds.
static void test_mutated_single_files(void **state)
{
    (void)state;
    char *original;
    static unsigned char file[1 << 20];
    size_t size, header = 0;
    int accepted = 0, refused = 0;
    write_small("s/model.safetensors", NULL, NULL);
    assert_int_equal(sdg_file_read(NULL, temp_path("s/model.safetensors"), sizeof file - 1024, &original, &size),
                     SDG_OK);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | (unsigned char)original[i];
    size_t data_bytes = size - 8 - header;
    fuzz_state = 1442695040888963407u;
    for (int round = 0; round < 10000; round++) {
        struct temp_log t;
        struct sdg_model *model = NULL;
        memcpy(file, original, 8 + header);
        size_t mutated = mutate_file(file, 8 + header, sizeof file - data_bytes, 0);
        memcpy(file + mutated, original + 8 + header, data_bytes);
        const char *path = temp_write("s/fuzz.safetensors", file, mutated + data_bytes);
        enum sdg_result result = sdg_model_open(temp_log(&t), path, &model);
        assert_true((result == SDG_OK) == (model != NULL) && t.errors == (result != SDG_OK));
        accepted += result == SDG_OK;
        refused += result != SDG_OK;
        sdg_model_close(&model);
    }
    sdg_free(original);
    assert_true(accepted > 100 && refused > 1000);
    print_message("%d mutated checkpoints refused, %d accepted\n", refused, accepted);
}

// All names of Stable Diffusion 1.x, listed by another program, in both directions.
static void test_names(void **state)
{
    (void)state;
    const struct sdg_ldm_layout layout = {
        .unet_layers = 2, .unet_levels = 4, .up_attention = {false, true, true, true}, .vae_levels = 4};
    static const char *const parts[] = {[SDG_PART_UNET] = "unet", [SDG_PART_VAE] = "vae", [SDG_PART_TEXT] = "text"};
    FILE *file = fopen(SDG_SOURCE_DIR "/tests/goldens/formats/sd1_names.txt", "r");
    char part_name[8], diffusers[300] = "", ldm[300] = "", ends[64], got[SDG_NAME_ROOM];
    size_t same, same_ldm, diffusers_length = 0, ldm_length = 0;
    int count = 0;
    assert_non_null(file);
    // A module a line: part, its name in folders, in single files - each as the number of characters that are those of
    // the line before, and the rest - and what its tensors' names end in.
    while (fscanf(file, "%7s %zu:", part_name, &same) == 2 && same <= diffusers_length &&
           fscanf(file, "%200s %zu:", diffusers + same, &same_ldm) == 2 && same_ldm <= ldm_length &&
           fscanf(file, "%200s%63[^\n]", ldm + same_ldm, ends) == 2) {
        diffusers_length = strlen(diffusers);
        ldm_length = strlen(ldm);
        enum sdg_part part = SDG_PART_UNET;
        while (strcmp(parts[part], part_name) != 0)
            part++;
        char *rest = ends, *module_end = diffusers + strlen(diffusers), *ldm_end = ldm + strlen(ldm);
        for (const char *end = strtok_r(ends, " ", &rest); end; end = strtok_r(NULL, " ", &rest), count++) {
            snprintf(module_end, 32, ".%s", end);
            snprintf(ldm_end, 32, ".%s", end);
            const char *plain = after(ldm, sdg_ldm_prefix(part));
            assert_non_null(plain);
            assert_true(sdg_name_to_ldm(part, &layout, diffusers, got));
            assert_string_equal(got, plain);
            assert_true(sdg_name_from_ldm(part, &layout, plain, got));
            assert_string_equal(got, diffusers);
        }
        diffusers[diffusers_length] = ldm[ldm_length] = 0;
    }
    fclose(file);
    assert_int_equal(count, 976);
    static const char *const none[] = {
        "",
        "conv_in",
        "input_blocks.0.0",
        "input_blocks.99.0.in_layers.0.bias",
        "input_blocks.01.0.in_layers.0.bias",
        "input_blocks.1.0.op.bias",
        "input_blocks.3.0.in_layers.0.bias",
        "input_blocks.1.0.surprise.bias",
        "input_blocks.99999999999.1.norm.bias",
        "output_blocks.2.2.conv.bias",
        "output_blocks.5.1.conv.bias",
        "output_blocks.12.0.in_layers.0.bias",
        "input_blocks.-1.0.in_layers.0.bias",
        "middle_block.3.norm.bias",
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
    snprintf(command, sizeof command, "python3 -B %s/goldens/gen/to_single_file.py %s %s 2>/dev/null", SDG_SHARED_DIR,
             folder, file);
    if (system(command) != 0) {
        print_message("skipped: needs Python and numpy\n");
        skip();
    }
    struct sdg_model *a = open_model(folder), *b = open_model(file);
    size_t count =
        compare_views(a->unet, b->unet) + compare_views(a->vae, b->vae) + compare_views(a->text[0], b->text[0]);
    a->unet_config.sample_height = b->unet_config.sample_height; // not in the file
    a->unet_config.sample_width = b->unet_config.sample_width;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_file),
        cmocka_unit_test(test_listed),
        cmocka_unit_test(test_quant_conv),
        cmocka_unit_test(test_float8),
        cmocka_unit_test(test_openclip),
        cmocka_unit_test(test_broken_single_files),
        cmocka_unit_test(test_sd2_encoders),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_declared_metadata),
        cmocka_unit_test(test_declared_keys),
        cmocka_unit_test(test_named_inputs),
        cmocka_unit_test(test_mutated_single_files),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_both_layouts),
    };
    return run_model_tests(tests);
}
