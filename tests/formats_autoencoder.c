// formats/: autoencoders in place of a model's own, under all the names that they go by.
#include "tests/model_files.h"

#include <unistd.h>

// ---- files ----

// AutoencoderKL of two levels with one layer: the tensors that tell its shape, under both kinds of names.
static const struct {
    const char *ldm, *diffusers;
    int rank;
    int dims[4];
} kl_names[] = {
    {"encoder.conv_in.weight", "encoder.conv_in.weight", 4, {32, 3, 3, 3}},
    {"encoder.down.0.block.0.conv1.weight", "encoder.down_blocks.0.resnets.0.conv1.weight", 4, {32, 2, 3, 3}},
    {"encoder.down.1.block.0.conv1.weight", "encoder.down_blocks.1.resnets.0.conv1.weight", 4, {64, 2, 3, 3}},
    {"quant_conv.weight", "quant_conv.weight", 4, {8, 8, 1, 1}},
    {"post_quant_conv.weight", "post_quant_conv.weight", 4, {4, 4, 1, 1}},
    {"decoder.conv_in.weight", "decoder.conv_in.weight", 4, {64, 4, 3, 3}},
    {"decoder.mid.attn_1.q.weight", "decoder.mid_block.attentions.0.to_q.weight", 2, {64, 64}},
    {"decoder.up.1.block.1.conv1.weight", "decoder.up_blocks.0.resnets.1.conv1.weight", 4, {64, 2, 3, 3}},
    {"decoder.up.0.block.0.conv1.weight", "decoder.up_blocks.1.resnets.0.conv1.weight", 4, {32, 2, 3, 3}},
    {"decoder.up.0.block.1.conv1.weight", "decoder.up_blocks.1.resnets.1.conv1.weight", 4, {32, 2, 3, 3}},
    {"decoder.conv_out.weight", "decoder.conv_out.weight", 4, {3, 32, 3, 3}},
};
enum { KL_COUNT = sizeof kl_names / sizeof *kl_names };

// A copy that lasts as long as the test.
static const char *lasting(const char *path)
{
    static char paths[4][600];
    static int turn;
    char *copy = paths[turn++ % 4];
    snprintf(copy, sizeof paths[0], "%s", path);
    return copy;
}

// `without`: tensors whose names begin so are left out.
static const char *write_kl(const char *file, bool diffusers, const char *prefix, const char *without)
{
    struct sdg_tensor tensors[KL_COUNT];
    static char names[KL_COUNT][128];
    size_t count = 0;
    for (int i = 0; i < KL_COUNT; i++) {
        const int *d = kl_names[i].dims;
        const char *name = diffusers ? kl_names[i].diffusers : kl_names[i].ldm;
        if (without && strncmp(name, without, strlen(without)) == 0)
            continue;
        snprintf(names[count], sizeof names[count], "%s%s", prefix, name);
        tensors[count] = tensor(names[count], kl_names[i].rank, d[0], d[1], d[2], d[3]);
        count++;
    }
    write_weights(file, tensors, count);
    return temp_path(file);
}

// The convolutions and first block convolutions of AutoencoderTiny, as many as `diffusers` has; TAESD's author counts
// the decoder's clamp, too. `side`: "", or what stands before the numbers.
static void add_tiny(struct sdg_tensor *to, char (*names)[64], size_t *count, bool decoder, bool author,
                     const char *side)
{
    static const int encoder_convs[] = {0, 2, 6, 10, 14}, encoder_blocks[] = {1, 3, 4, 5, 7, 8, 9, 11, 12, 13},
                     decoder_convs[] = {0, 6, 11, 16, 18}, decoder_blocks[] = {2, 3, 4, 7, 8, 9, 12, 13, 14, 17};
    const int *convs = decoder ? decoder_convs : encoder_convs, *blocks = decoder ? decoder_blocks : encoder_blocks,
              shift = author && decoder;
    for (int i = 0; i < 5; i++) {
        snprintf(names[*count], sizeof *names, "%s%d.weight", side, convs[i] + shift);
        const int out = i < 4 ? 12 : decoder ? 3 : 4, in = i > 0 ? 12 : decoder ? 4 : 3;
        to[*count] = tensor(names[*count], 4, out, in, 3, 3);
        ++*count;
    }
    for (int i = 0; i < 10; i++) {
        snprintf(names[*count], sizeof *names, "%s%d.conv.0.weight", side, blocks[i] + shift);
        to[*count] = tensor(names[*count], 4, 12, 12, 3, 3);
        ++*count;
    }
}

static const char *write_tiny(const char *file, const char *encoder, const char *decoder, bool author)
{
    struct sdg_tensor tensors[30];
    char names[30][64];
    size_t count = 0;
    if (encoder)
        add_tiny(tensors, names, &count, false, author, encoder);
    if (decoder)
        add_tiny(tensors, names, &count, true, author, decoder);
    write_weights(file, tensors, count);
    return temp_path(file);
}

// ---- opening ----

static struct sdg_model *open_with(const char *vae)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    const struct sdg_model_params params = {.vae = vae};
    if (sdg_model_open_params(temp_log(&t), temp_path("m"), &params, &model) != SDG_OK)
        fail_msg("%s: %s", vae, t.last);
    assert_string_equal(model->vae_path, vae);
    return model;
}

static void refuse_with(const char *vae, enum sdg_result want, const char *words)
{
    struct temp_log t;
    struct sdg_model *model = NULL;
    const struct sdg_model_params params = {.vae = vae};
    const enum sdg_result result = sdg_model_open_params(temp_log(&t), temp_path("m"), &params, &model);
    if (result != want || model || t.errors != 1 || !strstr(t.last, words))
        fail_msg("%s: result %d, %d errors, '%s' should have '%s'", vae, (int)result, t.errors, t.last, words);
}

static void check_kl(const char *vae, float scaling, bool decoder_only)
{
    struct sdg_model *model = open_with(vae);
    const struct sdg_vae_config *c = &model->vae_config;
    assert_true(!c->tiny && c->levels == 2 && c->channels[0] == 32 && c->channels[1] == 64 && c->layers_per_block == 1);
    assert_true(c->latent_channels == 4 && c->in_channels == 3 && c->out_channels == 3 && c->norm_groups == 32);
    assert_true(c->mid_attention && c->post_quant_conv && c->quant_conv == !decoder_only);
    assert_true(c->scaling_factor == scaling && c->decoder_only == decoder_only);
    const struct sdg_tensor *up = sdg_tensors_find(model->vae, "decoder.up_blocks.0.resnets.1.conv1.weight");
    assert_true(up && up->dims[0] == 64);
    sdg_model_close(&model);
}

static void check_tiny(const char *vae, bool decoder_only)
{
    static const int encoder[] = {1, 3, 3, 3}, decoder[] = {3, 3, 3, 1};
    struct sdg_model *model = open_with(vae);
    const struct sdg_vae_config *c = &model->vae_config;
    assert_true(c->tiny && c->levels == 4 && c->decoder_channels[3] == 12 && c->latent_channels == 4 &&
                c->out_channels == 3 && c->scaling_factor == 1 && c->decoder_only == decoder_only);
    assert_memory_equal(c->decoder_blocks, decoder, sizeof decoder);
    assert_memory_equal(c->encoder_blocks, encoder, sizeof encoder);
    const struct sdg_tensor *first = sdg_tensors_find(model->vae, "decoder.layers.0.weight"),
                            *last = sdg_tensors_find(model->vae, "decoder.layers.18.weight");
    assert_true(first && first->dims[1] == 4 && last && last->dims[0] == 3);
    assert_true((sdg_tensors_find(model->vae, "encoder.layers.14.weight") == NULL) == decoder_only);
    sdg_model_close(&model);
}

// ---- tests ----

static void test_names(void **state)
{
    (void)state;
    make_folder("m");
    check_kl(write_kl("v/ldm.safetensors", false, "", NULL), 0.18215f, false);
    check_kl(write_kl("v/whole.safetensors", false, "first_stage_model.", NULL), 0.18215f, false);
    check_kl(write_kl("v/diffusers.safetensors", true, "", NULL), 0.18215f, false);
    check_kl(write_kl("v/prefixed.safetensors", true, "vae.", NULL), 0.18215f, false);
    check_kl(write_kl("v/ldm.safetensors", false, "", "encoder."), 0.18215f, true);
    check_kl(write_kl("v/diffusers.safetensors", true, "", "encoder."), 0.18215f, true);
    refuse_with(write_kl("v/ldm.safetensors", false, "", "decoder."), SDG_ERROR_INPUT, "only the encoder");
    refuse_with(write_kl("v/ldm.safetensors", false, "", "decoder.conv_out"), SDG_ERROR_INPUT,
                "decoder.conv_out.weight");
}

// A config.json beside the file says what tensors do not; that of another model says nothing.
static void test_config_beside(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_model *model = NULL;
    make_folder("m");
    const char *file = lasting(write_kl("c/diffusion_pytorch_model.safetensors", true, "", NULL));
    char json[600];
    snprintf(json, sizeof json, "%.*s,\"scaling_factor\":0.5}", (int)strlen(vae_json) - 1, vae_json);
    put("c", "config.json", json);
    check_kl(file, 0.5f, false);
    put("c", "config.json", unet_json);
    check_kl(file, 0.18215f, false);
    put("c", "config.json", "{\"_class_name\":\"AutoencoderKL\",\"scaling_factor\":0.5}"); // of one level
    const struct sdg_model_params params = {.vae = file};
    assert_int_equal(sdg_model_open_params(temp_log(&t), temp_path("m"), &params, &model), SDG_OK);
    assert_true(t.warnings == 1 && model->vae_config.scaling_factor == 0.18215f);
    sdg_model_close(&model);
    put("c", "config.json", "{\"_class_name\":\"AutoencoderKL\",\"latents_mean\":[1,1,1,1]}");
    refuse_with(file, SDG_ERROR_UNSUPPORTED, "latents_mean");
    // The replaced autoencoder's own scaling factor is kept where nothing else says one.
    snprintf(json, sizeof json, "%.*s,\"scaling_factor\":0.25}", (int)strlen(vae_json) - 1, vae_json);
    put("m", "vae/config.json", json);
    check_kl(write_kl("v/ldm.safetensors", false, "", NULL), 0.25f, false);
}

static void test_folders(void **state)
{
    (void)state;
    make_folder("m");
    make_folder("other");
    write_kl("other/vae/diffusion_pytorch_model.safetensors", true, "", NULL);
    check_kl(temp_path("other/vae"), 0.18215f, false);
    check_kl(temp_path("other"), 0.18215f, false); // a whole model: its autoencoder
    write_kl("one/any name.safetensors", false, "", NULL);
    check_kl(temp_path("one"), 0.18215f, false);
    write_kl("one/second.safetensors", false, "", NULL);
    refuse_with(temp_path("one"), SDG_ERROR_INPUT, "name one of them");
    write_tiny("halves/taesd_decoder.safetensors", NULL, "", true);
    write_tiny("halves/taesd_encoder.safetensors", "", NULL, true);
    check_tiny(temp_path("halves"), false);
    put("empty", "notes.txt", "");
    refuse_with(temp_path("empty"), SDG_ERROR_INPUT, "no autoencoder is in this folder");
    refuse_with(temp_path("absent"), SDG_ERROR_INPUT, "no such autoencoder");
    refuse_with(temp_path("m/unet"), SDG_ERROR_UNSUPPORTED, "UNet2DConditionModel");
    refuse_with(temp_path("m/vae/config.json"), SDG_ERROR_INPUT, "JSON");
}

static void test_tiny(void **state)
{
    (void)state;
    make_folder("m");
    check_tiny(write_tiny("t/diffusers.safetensors", "encoder.layers.", "decoder.layers.", false), false);
    check_tiny(write_tiny("t/decoders.safetensors", NULL, "decoder.layers.", false), true);
    check_tiny(write_tiny("t/author.safetensors", "encoder.", "decoder.", true), false);
    check_tiny(write_tiny("t/both.safetensors", "taesd_encoder.", "taesd_decoder.", true), false);
    check_tiny(write_tiny("t/taesd_decoder.safetensors", NULL, "", true), true);
    write_tiny("t/taesd_encoder.safetensors", "", NULL, true);
    check_tiny(temp_path("t/taesd_decoder.safetensors"), false);
    check_tiny(temp_path("t/taesd_encoder.safetensors"), false);
    refuse_with(write_tiny("t/taesdxl_encoder.safetensors", "", NULL, true), SDG_ERROR_INPUT, "only the encoder");
}

// The model's own is not opened at all.
static void test_absent_and_broken(void **state)
{
    (void)state;
    const char *file = lasting(write_kl("v/ldm.safetensors", false, "", NULL));
    make_folder("m");
    temp_text("m/vae/diffusion_pytorch_model.safetensors", "version https://git-lfs.github.com/spec/v1\noid x\n");
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "git-lfs");
    check_kl(file, 0.18215f, false);
    temp_text("m/vae/config.json", "{ no JSON");
    check_kl(file, 0.18215f, false);
    temp_remove_tree(temp_path("m/vae"));
    expect_refused(temp_path("m"), SDG_ERROR_INPUT, "--vae");
    check_kl(file, 0.18215f, false);
    unlink(temp_path("m/model_index.json"));
    check_kl(file, 0.18215f, false);
}

static void test_refusals(void **state)
{
    (void)state;
    make_folder("m");
    static const struct {
        const char *name;
        int rank, result;
        const char *words;
    } rows[] = {
        {"lora_unet_down_blocks.lora_down.weight", 2, SDG_ERROR_UNSUPPORTED, "a LoRA"},
        {"text_model.embeddings.token_embedding.weight", 2, SDG_ERROR_INPUT, "text encoder"},
        {"model.diffusion_model.input_blocks.0.0.weight", 4, SDG_ERROR_INPUT, "without an autoencoder"},
        {"something.weight", 1, SDG_ERROR_INPUT, "something.weight"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct sdg_tensor t = tensor(rows[i].name, rows[i].rank, 1, 1, 1, 1);
        write_weights("r/x.safetensors", &t, 1);
        refuse_with(temp_path("r/x.safetensors"), (enum sdg_result)rows[i].result, rows[i].words);
    }
    struct sdg_tensor tensors[KL_COUNT];
    for (int i = 0; i < KL_COUNT; i++) {
        const int *d = kl_names[i].dims;
        const bool latent = strcmp(kl_names[i].ldm, "decoder.conv_in.weight") == 0;
        tensors[i] = tensor(kl_names[i].ldm, kl_names[i].rank, latent ? 8 : d[0], latent ? 16 : d[1], d[2], d[3]);
    }
    write_weights("r/flux.safetensors", tensors, KL_COUNT);
    refuse_with(temp_path("r/flux.safetensors"), SDG_ERROR_INPUT, "16 latent channels");
}

static void test_allocations(void **state)
{
    (void)state;
    static const char *const files[] = {"v/ldm.safetensors", "v/diffusers.safetensors", "v/a_decoder.safetensors"};
    make_folder("m");
    write_kl(files[0], false, "", NULL);
    write_kl(files[1], true, "", NULL);
    write_tiny(files[2], NULL, "", true);
    write_tiny("v/a_encoder.safetensors", "", NULL, true);
    put("v", "config.json", vae_json);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t n = 1;; n++) {
            struct temp_log t;
            struct sdg_model *model = NULL;
            char path[600];
            snprintf(path, sizeof path, "%s", temp_path(files[i]));
            const struct sdg_model_params params = {.vae = path};
            sdg_test_fail_allocation(n);
            const enum sdg_result result = sdg_model_open_params(temp_log(&t), temp_path("m"), &params, &model);
            sdg_test_fail_allocation(0);
            if (result == SDG_OK) {
                sdg_model_close(&model);
                assert_true(n > 10);
                break;
            }
            if (result != SDG_ERROR_MEMORY || model || t.errors != 1)
                fail_msg("%s, allocation %zu: result %d, %d errors, %s", files[i], n, (int)result, t.errors, t.last);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),       cmocka_unit_test(test_config_beside),
        cmocka_unit_test(test_folders),     cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_absent_and_broken),
        cmocka_unit_test(test_allocations),
    };
    return run_model_tests(tests);
}
