// What a model's files hold beside the weights that its networks read: nothing is said, a warning, or an error. The
// default model with something added or taken away, as a folder and as an original checkpoint; and names of real files.
#include "formats/names.h"
#include "formats/tensors.h"
#include "graph/leftovers.h"
#include "sdgen/sdgen.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define QUANTIZED SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq"

// ---- names of real files ----

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum sdg_leftover kind;
    } names[] = {
        {"text_model.embeddings.position_ids", SDG_LEFTOVER_USELESS},
        {"embeddings.position_ids", SDG_LEFTOVER_USELESS},
        {"text_projection.weight", SDG_LEFTOVER_USELESS},
        {"logit_scale", SDG_LEFTOVER_USELESS},
        {"attn_mask", SDG_LEFTOVER_USELESS},
        {"vision_model.encoder.layers.0.self_attn.q_proj.weight", SDG_LEFTOVER_USELESS},
        {"visual_projection.weight", SDG_LEFTOVER_USELESS},
        {"loss.logvar", SDG_LEFTOVER_USELESS},
        {"loss.discriminator.main.3.num_batches_tracked", SDG_LEFTOVER_USELESS},
        {"loss.perceptual_loss.lin0.model.1.weight", SDG_LEFTOVER_USELESS},
        {"model_ema.decay", SDG_LEFTOVER_USELESS},
        {"model_ema.decoderconv_inweight", SDG_LEFTOVER_USELESS},
        {"scaled_fp8", SDG_LEFTOVER_USELESS},
        {"input_blocks.1.1.transformer_blocks.0.attn1.to_q.scale_weight", SDG_LEFTOVER_SCALE},
        {"input_blocks.1.1.transformer_blocks.0.attn1.to_q.scale_input", SDG_LEFTOVER_SCALE},
        {"down_blocks.0.resnets.0.conv1.weight_scale_inv", SDG_LEFTOVER_SCALE},
        {"down_blocks.0.resnets.0.conv1.weight_scale", SDG_LEFTOVER_SCALE},
        {"mid_block.attentions.0.proj_in.weight.absmax", SDG_LEFTOVER_SCALE},
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight", SDG_LEFTOVER_ADDED},
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", SDG_LEFTOVER_ADDED},
        {"text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight", SDG_LEFTOVER_ADDED},
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k_ip.weight", SDG_LEFTOVER_ADDED},
        {"down_blocks.0.attentions.0.proj_in.hada_w1_a", SDG_LEFTOVER_ADDED},
        {"down_blocks.0.attentions.0.proj_in.dora_scale", SDG_LEFTOVER_ADDED},
        {"down_blocks.0.attentions.0.proj_in.oft_blocks", SDG_LEFTOVER_ADDED},
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight", SDG_LEFTOVER_UNKNOWN},
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.bias", SDG_LEFTOVER_UNKNOWN},
        {"text_model.encoder.layers.11.layer_norm1.weight", SDG_LEFTOVER_UNKNOWN},
        {"quant_conv.weight", SDG_LEFTOVER_UNKNOWN},
        {"schema.weight", SDG_LEFTOVER_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sdg_leftover_kind(names[i].name) != names[i].kind)
            fail_msg("%s: kind %d instead of %d", names[i].name, (int)sdg_leftover_kind(names[i].name),
                     (int)names[i].kind);
}

// ---- models ----

enum { PARTS = 3, TENSORS_MAX = 1000 };

static const struct {
    enum sdg_part part;
    const char *folder, *file;
} parts[PARTS] = {
    {SDG_PART_UNET, "unet", "diffusion_pytorch_model.safetensors"},
    {SDG_PART_VAE, "vae", "diffusion_pytorch_model.safetensors"},
    {SDG_PART_TEXT, "text_encoder", "model.safetensors"},
};
static struct sdg_tensors *weights[PARTS];

static int open_weights(void **state)
{
    (void)state;
    temp_make();
    for (int i = 0; i < PARTS; i++) {
        char path[600];
        snprintf(path, sizeof path, MODEL "/%s/%s", parts[i].folder, parts[i].file);
        if (sdg_tensors_open(NULL, path, &weights[i]) != SDG_OK)
            return 1;
    }
    return 0;
}

static int close_weights(void **state)
{
    (void)state;
    for (int i = 0; i < PARTS; i++)
        sdg_tensors_destroy(&weights[i]);
    temp_remove();
    return 0;
}

static float numbers[16];

// "?NAME": of integers.
static struct sdg_tensor small_tensor(const char *name)
{
    const bool integers = *name == '?';
    return (struct sdg_tensor){.name = name + integers,
                               .dtype = integers ? SDG_S32 : SDG_F32,
                               .rank = 1,
                               .dims = {4},
                               .data = numbers,
                               .bytes = sizeof(float) * 4};
}

// Makes the link ROOT/NAME.
static void link_to_model(const char *root, const char *name)
{
    char link[300], target[600];
    snprintf(link, sizeof link, "%s/%s", root, name);
    snprintf(target, sizeof target, MODEL "/%s", name);
    assert_int_equal(symlink(target, temp_path(link)), 0);
}

// A folder whose component `which` holds `add` (NULL: nothing) and lacks all that begins with `drop`.
static const char *make_folder(int which, const char *add, const char *drop)
{
    static const char *const others[] = {"model_index.json", "scheduler", "tokenizer", "words.txt"};
    static struct sdg_tensor all[TENSORS_MAX];
    char name[200];
    size_t count = 0;
    for (size_t i = 0; i < sdg_tensors_count(weights[which]); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(weights[which], i);
        if (!drop || strncmp(t->name, drop, strlen(drop)) != 0)
            all[count++] = *t;
    }
    if (add)
        all[count++] = small_tensor(add);
    temp_remove_tree(temp_path("folder"));
    snprintf(name, sizeof name, "folder/%s/%s", parts[which].folder, parts[which].file);
    temp_text(name, ""); // makes the folders
    assert_int_equal(sdg_tensors_write(NULL, temp_path(name), all, count, NULL, 0), SDG_OK);
    snprintf(name, sizeof name, "%s/config.json", parts[which].folder);
    link_to_model("folder", name);
    for (int i = 0; i < PARTS; i++)
        if (i != which)
            link_to_model("folder", parts[i].folder);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        link_to_model("folder", others[i]);
    return temp_path("folder");
}

// The same model in one file under LDM's names, which `add` and `drop` are as well.
static const char *make_file(const char *add, const char *drop)
{
    static const struct sdg_ldm_layout layout = {
        .unet_layers = 1, .unet_levels = 3, .up_attention = {true, true, false}, .vae_levels = 4};
    static struct sdg_tensor all[TENSORS_MAX];
    static char names[TENSORS_MAX][SDG_NAME_ROOM + 40];
    size_t count = 0;
    for (int p = 0; p < PARTS; p++)
        for (size_t i = 0; i < sdg_tensors_count(weights[p]); i++) {
            char canonical[SDG_NAME_ROOM], ldm[SDG_NAME_ROOM];
            const struct sdg_tensor *t = sdg_tensors_at(weights[p], i);
            assert_true(sdg_name_canonical(parts[p].part, t->name, canonical) &&
                        sdg_name_to_ldm(parts[p].part, &layout, canonical, ldm));
            snprintf(names[count], sizeof names[count], "%s%s", sdg_ldm_prefix(parts[p].part), ldm);
            if (drop && strncmp(names[count], drop, strlen(drop)) == 0)
                continue;
            all[count] = *t;
            all[count].name = names[count];
            count++;
        }
    if (add)
        all[count++] = small_tensor(add);
    assert_int_equal(sdg_tensors_write(NULL, temp_path("model.safetensors"), all, count, NULL, 0), SDG_OK);
    return temp_path("model.safetensors");
}

// The only I32 of the file becomes `type`, of as many letters.
static void make_foreign(const char *path, const char *foreign)
{
    char header[1 << 17], *type;
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    const size_t length = fread(header, 1, sizeof header - 1, file);
    for (size_t i = 0; i < length; i++)
        if (!header[i])
            header[i] = ' '; // of the length before the header
    header[length] = 0;
    assert_non_null(type = strstr(header, "\"I32\""));
    assert_int_equal(fseek(file, type + 1 - header, SEEK_SET), 0);
    assert_true(fwrite(foreign, strlen(foreign), 1, file) == 1 && fclose(file) == 0);
}

struct said {
    int errors, warnings;
    char error[600], warning[600];
};

static void listen(void *user, enum sdg_log_level level, const char *message)
{
    struct said *said = user;
    said->errors += level == SDG_LOG_ERROR;
    said->warnings += level == SDG_LOG_WARNING;
    if (level == SDG_LOG_ERROR)
        snprintf(said->error, sizeof said->error, "%s", message);
    if (level == SDG_LOG_WARNING)
        snprintf(said->warning, sizeof said->warning, "%s", message);
}

static enum sdg_result open_pipeline(const char *model, const char *vae, struct said *said)
{
    struct sdg_pipeline *p = NULL;
    *said = (struct said){0};
    const struct sdg_pipeline_params params = {.model = model,
                                               .vae = vae,
                                               .backend = "reference",
                                               .type = "f32",
                                               .cache_dir = "",
                                               .log = {.fn = listen, .user = said, .level = SDG_LOG_WARNING}};
    const enum sdg_result result = sdg_pipeline_create(&params, &p);
    sdg_pipeline_destroy(&p);
    return result;
}

enum outcome { SILENT, WARNED, REFUSED };

static void expect(const char *what, enum sdg_result result, const struct said *said, enum outcome outcome,
                   const char *words)
{
    const enum outcome got = result != SDG_OK ? REFUSED : said->warnings ? WARNED : SILENT;
    const char *text = result != SDG_OK ? said->error : said->warning;
    if (got != outcome || said->errors > 1 || said->warnings > 1)
        fail_msg("%s: outcome %d instead of %d, %d errors, %d warnings: %s", what, (int)got, (int)outcome, said->errors,
                 said->warnings, text);
    if (result != SDG_OK && result != SDG_ERROR_INPUT)
        fail_msg("%s: result %d", what, (int)result);
    if (words && !strstr(text, words))
        fail_msg("%s: '%s' should have '%s'", what, text, words);
}

static void test_folders(void **state)
{
    (void)state;
    enum { UNET, VAE, TEXT };
    static const struct {
        int part;
        const char *add;
        enum outcome outcome;
        const char *words;
    } rows[] = {
        {UNET, NULL, SILENT, NULL},
        {UNET, "scaled_fp8", SILENT, NULL},
        {UNET, "ema.num_updates", SILENT, NULL},
        {UNET, "something.new.weight", WARNED, "a tensor is not used: something.new.weight"},
        {UNET, "down_blocks.7.resnets.0.conv1.weight", WARNED, "down_blocks.7"},
        {UNET, "conv_in.scale_weight", REFUSED, "conv_in.scale_weight scales"},
        {UNET, "conv_in.weight_scale", REFUSED, "conv_in.weight_scale scales"},
        {UNET, "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.bias", REFUSED, "attn1.to_q.bias would not"},
        {UNET, "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", REFUSED, "LoRA"},
        {UNET, "down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight", REFUSED, "LoRA"},
        {UNET, "time_embedding.linear_1.extra.weight", REFUSED, "time_embedding.linear_1.extra.weight would not"},
        {VAE, NULL, SILENT, NULL},
        {VAE, "loss.logvar", SILENT, NULL},
        {VAE, "decoder.mid_block.attentions.1.to_q.weight", WARNED, "attentions.1"},
        {VAE, "post_quant_conv.weight_scale", REFUSED, "post_quant_conv.weight_scale scales"},
        {VAE, "decoder.conv_out.gamma", REFUSED, "decoder.conv_out.gamma would not"},
        {TEXT, "text_model.embeddings.position_ids", SILENT, NULL},
        {TEXT, "text_projection.weight", SILENT, NULL},
        {TEXT, "logit_scale", SILENT, NULL},
        {TEXT, "text_model.encoder.layers.3.layer_norm1.weight", WARNED, "layers.3.layer_norm1"},
        {TEXT, "text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight", REFUSED, "LoRA"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct said said;
        const enum sdg_result result = open_pipeline(make_folder(rows[i].part, rows[i].add, NULL), NULL, &said);
        expect(rows[i].add ? rows[i].add : "nothing added", result, &said, rows[i].outcome, rows[i].words);
    }
}

#define UNET_LDM "model.diffusion_model."
#define VAE_LDM "first_stage_model."
#define TEXT_LDM "cond_stage_model.transformer."

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *add, *drop;
        enum outcome outcome;
        const char *words;
    } rows[] = {
        {NULL, NULL, SILENT, NULL},
        {TEXT_LDM "text_model.embeddings.position_ids", NULL, SILENT, NULL},
        {TEXT_LDM "vision_model.post_layernorm.weight", NULL, SILENT, NULL},
        {TEXT_LDM "text_projection.weight", NULL, SILENT, NULL},
        {"cond_stage_model.logit_scale", NULL, SILENT, NULL},
        {"model_ema.num_updates", NULL, SILENT, NULL},
        {VAE_LDM "loss.logvar", NULL, SILENT, NULL},
        {UNET_LDM "scaled_fp8", NULL, SILENT, NULL},
        {UNET_LDM "something.new", NULL, WARNED, UNET_LDM "something.new"},
        {UNET_LDM "input_blocks.0.0.scale_weight", NULL, REFUSED, "scales"},
        {UNET_LDM "input_blocks.3.1.transformer_blocks.0.attn1.to_q.lora_A.weight", NULL, REFUSED, "LoRA"},
        {UNET_LDM "input_blocks.3.1.gate", NULL, REFUSED, UNET_LDM "input_blocks.3.1.gate has an unknown name"},
        {VAE_LDM "decoder.mid.attn_1.gate.weight", NULL, REFUSED, "attn_1.gate.weight has an unknown name"},
        {VAE_LDM "decoder.mid.attn_1.to_q.weight", NULL, REFUSED,
         "two tensors named decoder.mid_block.attentions.0.to_q"},
        // holes, which make the network look smaller than it is
        {NULL, TEXT_LDM "text_model.encoder.layers.2.mlp.fc1", REFUSED, "layers.2"},
        {NULL, VAE_LDM "decoder.mid.attn_1.q.", REFUSED, "attentions.0.to_q"},
        {NULL, VAE_LDM "decoder.mid.attn_1.", REFUSED, "attentions.0"}, // the encoder has its own
        {NULL, VAE_LDM "decoder.up.3", REFUSED, "up_blocks.0"},
        {NULL, VAE_LDM "decoder.up.0", REFUSED, "up_blocks.3"},
        {NULL, UNET_LDM "input_blocks.3.1.", REFUSED, "down_blocks.1.attentions.0"},
        {NULL, UNET_LDM "output_blocks.2.1.transformer_blocks.", REFUSED, "up_blocks.1.attentions.0"},
        {NULL, UNET_LDM "output_blocks.5.", REFUSED, "output_blocks.5"},
        {NULL, UNET_LDM "input_blocks.5.", REFUSED, "input_blocks.5"},
        {NULL, UNET_LDM "middle_block.1.", REFUSED, "middle_block.1"},
        {NULL, UNET_LDM "middle_block.2.", REFUSED, "mid_block.resnets.1"},
        {NULL, UNET_LDM "time_embed.0.", REFUSED, "time_embedding.linear_1"},
        {NULL, TEXT_LDM "text_model.final_layer_norm.", REFUSED, "final_layer_norm"},
        {NULL, TEXT_LDM "text_model.encoder.layers.0.", REFUSED, "layers.0"},
        {NULL, UNET_LDM "middle_block.1.proj_in", REFUSED, "mid_block.attentions.0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct said said;
        const enum sdg_result result = open_pipeline(make_file(rows[i].add, rows[i].drop), NULL, &said);
        expect(rows[i].add        ? rows[i].add
                   : rows[i].drop ? rows[i].drop
                                  : "as it is",
               result, &said, rows[i].outcome, rows[i].words);
    }
}

// An autoencoder that replaces the model's is looked at in the same way.
static void test_replaced_vae(void **state)
{
    (void)state;
    struct said said;
    char vae[700];
    snprintf(vae, sizeof vae, "%s/vae", make_folder(1, "decoder.conv_in.lora_A.weight", NULL));
    expect("--vae FOLDER", open_pipeline(MODEL, vae, &said), &said, REFUSED, "LoRA");
    snprintf(vae, sizeof vae, "%s", make_file(NULL, VAE_LDM "decoder.mid.attn_1.q."));
    expect("--vae FILE", open_pipeline(MODEL, vae, &said), &said, REFUSED, NULL);
    snprintf(vae, sizeof vae, "%s", make_file(NULL, NULL));
    expect("--vae FILE, whole", open_pipeline(MODEL, vae, &said), &said, SILENT, NULL);
}

// What cannot be read is refused where it is needed, and only there.
static void test_foreign(void **state)
{
    (void)state;
    struct said said;
    char path[700];
    const char *folder = make_folder(0, "?tool.counter", NULL);
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    make_foreign(path, "U32");
    expect("folder", open_pipeline(folder, NULL, &said), &said, WARNED, "a tensor is not used: tool.counter");
    snprintf(path, sizeof path, "%s", make_file("?tool.counter", NULL));
    make_foreign(path, "U32");
    expect("file", open_pipeline(path, NULL, &said), &said, SILENT, NULL);
    snprintf(path, sizeof path, "%s", make_file("?" UNET_LDM "tool.counter", NULL));
    make_foreign(path, "Q16");
    expect("unknown type", open_pipeline(path, NULL, &said), &said, WARNED, "tool.counter");
    snprintf(path, sizeof path, "%s", make_file("?" UNET_LDM "input_blocks.0.0.weight", UNET_LDM "input_blocks.0.0.w"));
    make_foreign(path, "Q16");
    expect("unknown type of a weight", open_pipeline(path, NULL, &said), &said, REFUSED,
           "input_blocks.0.0.weight has the unknown dtype 'Q16'");
    snprintf(path, sizeof path, "%s", make_file("?" UNET_LDM "input_blocks.0.0.weight", UNET_LDM "input_blocks.0.0.w"));
    make_foreign(path, "U32");
    assert_int_equal(open_pipeline(path, NULL, &said), SDG_ERROR_UNSUPPORTED);
    assert_non_null(strstr(said.error, "input_blocks.0.0.weight is stored as U32"));
}

// The first three are named, all are counted.
static void test_many(void **state)
{
    (void)state;
    struct said said;
    struct sdg_tensor all[TENSORS_MAX];
    char names[5][40];
    size_t count = 0;
    make_folder(0, NULL, NULL);
    for (; count < sdg_tensors_count(weights[0]); count++)
        all[count] = *sdg_tensors_at(weights[0], count);
    for (int i = 0; i < 5; i++) {
        snprintf(names[i], sizeof names[i], "another.%d.weight", i);
        all[count++] = small_tensor(names[i]);
    }
    assert_int_equal(
        sdg_tensors_write(NULL, temp_path("folder/unet/diffusion_pytorch_model.safetensors"), all, count, NULL, 0),
        SDG_OK);
    const enum sdg_result result = open_pipeline(temp_path("folder"), NULL, &said);
    expect("five tensors", result, &said, WARNED,
           "5 tensors are not used: another.0.weight, another.1.weight, another.2.weight, ...");
}

static void test_models(void **state)
{
    (void)state;
    static const char *const models[] = {
        MODEL,
        QUANTIZED,
        SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/sd2-small",
        SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/taesd-small",
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct said said;
        expect(models[i], open_pipeline(models[i], NULL, &said), &said, SILENT, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),        cmocka_unit_test(test_folders), cmocka_unit_test(test_files),
        cmocka_unit_test(test_replaced_vae), cmocka_unit_test(test_many),    cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_models),
    };
    setenv("SDGEN_TOKENIZER", MODEL "/tokenizer", 1);
    return cmocka_run_group_tests(tests, open_weights, close_weights);
}
