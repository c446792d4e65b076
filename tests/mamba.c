// The block of Mamba and the model that has it, against values from torch and diffusers in float64
// (tests/goldens/networks/make.py, and the shared goldens where they are there), on every backend; models that are
// refused because of their blocks.
#include "backend/backend.h"
#include "backend/transfer.h"
#include "base/file.h"
#include "base/memory.h"
#include "mamba/mamba.h"
#include "sdgen/picture.h"
#include "sdgen/calibrate.h"
#include "sdgen/quantize.h"
#include "sdgen/sdgen.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GOLDENS SDG_SOURCE_DIR "/tests/goldens/networks/"

static const char *const backends[] = {"reference", "cpu", "vulkan"};

static struct sdg_backend *open_backend(const struct sdg_log *log, const char *name)
{
    const struct sdg_backend_params params = {.threads = 2, .device = -1, .validation = true};
    struct sdg_backend *backend = NULL;
    const enum sdg_result result = sdg_backend_create(log, name, &params, &backend);
    if (strcmp(name, "vulkan") == 0 && (result == SDG_ERROR_UNSUPPORTED || result == SDG_ERROR_DEVICE)) {
        print_message("skipped: no Vulkan device or not built in\n");
        return NULL;
    }
    assert_int_equal(result, SDG_OK);
    return backend;
}

static float *floats(const struct sdg_tensors *file, const char *name, size_t *count)
{
    const struct sdg_tensor *t = sdg_tensors_find(file, name);
    if (!t)
        fail_msg("%s has no tensor %s", sdg_tensors_path(file), name);
    *count = t->bytes / sdg_dtype_size(t->dtype);
    float *data = sdg_alloc_raw(NULL, *count, sizeof *data, "a golden");
    assert_non_null(data);
    sdg_convert(data, SDG_F32, t->data, t->dtype, *count);
    return data;
}

static double nmse(const float *got, const float *want, size_t count)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(got[i]));
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    return error / power;
}

// ---- one block ----

struct variant {
    const char *output;
    bool bidirectional, halve, biases;
};
static const struct variant variants[] = {{"output.mamba1", false, false, false},
                                          {"output.bidirectional", true, false, false},
                                          {"output.bidirectional_divided", true, true, false},
                                          {"output.biases", true, true, true}};

// The sizes that a file's weights have.
static struct sdg_mamba_config config_of(const struct sdg_tensors *file, const struct variant *v)
{
    const int64_t *a_log = sdg_tensors_find(file, "A_log")->dims;
    return (struct sdg_mamba_config){.d_state = (int)a_log[1],
                                     .d_conv = (int)sdg_tensors_find(file, "conv1d.weight")->dims[2],
                                     .expand = (int)(a_log[0] / sdg_tensors_find(file, "input")->dims[2]),
                                     .bidirectional = v->bidirectional,
                                     .halve = v->halve,
                                     .in_proj_bias = v->biases,
                                     .out_proj_bias = v->biases};
}

// The weights stand under "m." in the graph, so that the block has a path; in the file they have none.
static struct sdg_tensors *with_path(const struct sdg_tensors *file)
{
    static char names[64][64];
    struct sdg_tensor tensors[64];
    struct sdg_tensors *out;
    const size_t count = sdg_tensors_count(file);
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *sdg_tensors_at(file, i);
        snprintf(names[i], sizeof names[i], "m.%s", tensors[i].name);
        tensors[i].name = names[i];
    }
    assert_int_equal(sdg_tensors_write(NULL, temp_path("m.safetensors"), tensors, count, NULL, 0), SDG_OK);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("m.safetensors"), &out), SDG_OK);
    return out;
}

static double run_block(struct sdg_backend *backend, const struct sdg_log *log, const struct sdg_tensors *file,
                        const struct variant *v, enum sdg_dtype type)
{
    const int64_t *d = sdg_tensors_find(file, "input")->dims;
    const struct sdg_mamba_config config = config_of(file, v);
    struct sdg_tensors *weights = with_path(file);
    struct sdg_graph *g;
    struct sdg_program *program;
    size_t count;
    float *in = floats(file, "input", &count), *want = floats(file, v->output, &count), *got;
    assert_int_equal(sdg_graph_create(log, &g), SDG_OK);
    const sdg_value x = sdg_graph_input(g, "x", d[0], 1, d[1], d[2]);
    sdg_graph_output(g, "y", sdg_mamba_block(g, "m", x, 0, &config));
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    assert_int_equal(sdg_graph_set_type(g, type), SDG_OK);
    assert_int_equal(sdg_program_create(backend, g, &(struct sdg_program_params){.weights = weights}, &program),
                     SDG_OK);
    sdg_graph_destroy(&g);
    assert_int_equal(sdg_program_write(program, "x", in, count), SDG_OK);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    got = sdg_alloc_raw(NULL, count, sizeof *got, "an output");
    assert_int_equal(sdg_program_read(program, "y", got, count), SDG_OK);
    const double error = nmse(got, want, count);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_free(got);
    sdg_free(want);
    sdg_free(in);
    return error;
}

static double bound_of(const char *backend, enum sdg_dtype type)
{
    return type != SDG_F32 ? 1e-4 : strcmp(backend, "reference") == 0 ? 1e-9 : 1e-7;
}

static void check_blocks(const char *path)
{
    static const enum sdg_dtype types[] = {SDG_F32, SDG_F16, SDG_BF16};
    struct temp_log t;
    struct sdg_tensors *file;
    assert_int_equal(sdg_tensors_open(NULL, path, &file), SDG_OK);
    for (size_t b = 0; b < 3; b++) {
        struct sdg_backend *backend = open_backend(temp_log(&t), backends[b]);
        for (size_t v = 0; backend && v < sizeof variants / sizeof *variants; v++)
            for (size_t i = 0; i < 3 && sdg_tensors_find(file, variants[v].output); i++) {
                if (b == 2 && !sdg_backend_has_type(backend, types[i]))
                    continue; // devices differ in what they store
                const double error = run_block(backend, &t.log, file, &variants[v], types[i]);
                print_message("%-9s %-4s %-30s NMSE %.1e\n", backends[b], sdg_dtype_name(types[i]), variants[v].output,
                              error);
                if (!(error <= bound_of(backends[b], types[i])))
                    fail_msg("%s on %s in %s: NMSE %.3e is above %.0e", path, backends[b], sdg_dtype_name(types[i]),
                             error, bound_of(backends[b], types[i]));
            }
        if (backend)
            sdg_backend_destroy(&backend);
    }
    sdg_tensors_destroy(&file);
}

static void test_blocks(void **state)
{
    (void)state;
    static const char *const shared[] = {"d16-L7-b1", "d24-L16-b2", "d32-L33-b1", "d48-L64-b1"};
    check_blocks(GOLDENS "mamba/block.safetensors");
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/goldens/mamba/%s.safetensors", SDG_SHARED_DIR, shared[i]);
        if (access(path, R_OK) == 0)
            check_blocks(path);
        else
            print_message("skipped: %s is only in the shared goldens, which are not here\n", shared[i]);
    }
}

// What the block adds to: a residual goes into out_proj's epilogue, and the names are those of the weights' modules.
static void test_operations(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum sdg_op_kind kind;
    } expected[] = {
        {"m.in_proj", SDG_OP_LINEAR},
        {"m.conv1d", SDG_OP_CONV1D_CAUSAL},
        {"m.x_proj", SDG_OP_LINEAR},
        {"m.dt", SDG_OP_SLICE},
        {"m.dt_proj", SDG_OP_LINEAR},
        {"m.scan", SDG_OP_SELECTIVE_SCAN},
        {"m.conv1d_b", SDG_OP_CONV1D_CAUSAL},
        {"m.x_proj_b", SDG_OP_LINEAR},
        {"m.dt_b", SDG_OP_SLICE},
        {"m.dt_proj_b", SDG_OP_LINEAR},
        {"m.scan_b", SDG_OP_SELECTIVE_SCAN},
        {"m.out_proj", SDG_OP_LINEAR},
    };
    const struct sdg_mamba_config config = {
        .d_state = 3, .d_conv = 4, .expand = 2, .bidirectional = true, .halve = true};
    struct temp_log t;
    struct sdg_graph *g;
    assert_int_equal(sdg_graph_create(temp_log(&t), &g), SDG_OK);
    const sdg_value x = sdg_graph_input(g, "x", 2, 3, 5, 33), r = sdg_graph_input(g, "r", 2, 3, 5, 33);
    sdg_graph_output(g, "y", sdg_mamba_block(g, "m", x, r, &config));
    assert_int_equal(sdg_graph_fuse(g), SDG_OK);
    assert_int_equal(g->op_count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < g->op_count; i++) {
        assert_string_equal(g->ops[i].name, expected[i].name);
        assert_int_equal(g->ops[i].kind, expected[i].kind);
    }
    assert_int_equal(g->ops[11].epilogue.residual, r);
    assert_int_equal(g->values[g->ops[3].out].dims[3], 3); // 33 channels / 16, rounded up
    sdg_graph_destroy(&g);
}

// ---- a model ----

struct drawn {
    struct temp_log log;
    struct sdg_image *image;
    enum sdg_result result;
};

static void draw(const char *model, const char *backend, const float *noise, size_t count, struct drawn *out)
{
    struct sdg_pipeline *p = NULL;
    *out = (struct drawn){0};
    const struct sdg_pipeline_params params = {
        .model = model, .backend = backend, .type = "f32", .threads = 2, .cache_dir = "", .log = *temp_log(&out->log)};
    const struct sdg_generate_params g = {.prompt = "a",
                                          .width = 40,
                                          .height = 24,
                                          .steps = 3,
                                          .cfg_scale = sdg_number(4),
                                          .sampler = "ddim",
                                          .schedule = "model",
                                          .noise = noise,
                                          .noise_count = count};
    out->result = sdg_pipeline_create(&params, &p);
    if (out->result == SDG_OK)
        out->result = sdg_generate(p, &g, &out->image, NULL);
    sdg_pipeline_destroy(&p);
}

// Of 8 bits against the numbers that they stand for, as diffusers rounds them.
static double psnr(const struct sdg_image *image, const float *want, size_t count)
{
    double error = 0;
    assert_int_equal(count, (size_t)image->width * (size_t)image->height * 3);
    for (size_t i = 0; i < count; i++) {
        const double difference = image->pixels[i] - rint((double)want[i] * 255);
        error += difference * difference;
    }
    return error == 0 ? 99 : 10 * log10(255.0 * 255.0 * (double)count / error);
}

static void test_picture(void **state)
{
    (void)state;
    struct sdg_tensors *file;
    size_t noise_count, count;
    assert_int_equal(sdg_tensors_open(NULL, GOLDENS "mamba/picture.safetensors", &file), SDG_OK);
    float *noise = floats(file, "noise", &noise_count), *want = floats(file, "image", &count);
    for (size_t b = 0; b < 3; b++) {
        struct drawn drawn;
        draw(GOLDENS "pipelines/mamba-small", backends[b], noise, noise_count, &drawn);
        if (b == 2 && (drawn.result == SDG_ERROR_UNSUPPORTED || drawn.result == SDG_ERROR_DEVICE)) {
            print_message("skipped: no Vulkan device or not built in\n");
            continue;
        }
        if (drawn.result != SDG_OK)
            fail_msg("%s: %s", backends[b], drawn.log.last);
        assert_int_equal(drawn.log.warnings, 0); // self-attention of the base is not missed, nor left over
        const double quality = psnr(drawn.image, want, count), least = b == 2 ? 55 : 60;
        print_message("%-9s picture %.2f dB\n", backends[b], quality);
        if (!(quality >= least))
            fail_msg("%s: %.2f dB, should be %.0f", backends[b], quality, least);
        sdg_image_destroy(&drawn.image);
    }
    sdg_free(noise);
    sdg_free(want);
    sdg_tensors_destroy(&file);
}

// A trained model: the blocks of the shared goldens on the base that they were trained for, as the folder stands there
// but for the name of its base. The picture was drawn by diffusers with torch's blocks (tools/make-model-goldens.py).
static void test_trained(void **state)
{
    (void)state;
    static const char base[] = SDG_SHARED_DIR "/models/emoji-128", folder[] = SDG_SHARED_DIR "/models/emoji-128-mamba";
    static const char blocks[] = SDG_SHARED_DIR "/models/emoji-128-mamba/unet/mamba_blocks.safetensors";
    char config[600], *text;
    if (access(blocks, R_OK)) {
        print_message("skipped: the trained blocks are only in the shared models, which are not here\n");
        skip();
    }
    snprintf(config, sizeof config, "%s/unet/config.json", folder);
    assert_int_equal(sdg_file_read_text(NULL, config, 1 << 20, &text), SDG_OK);
    temp_text("trained/unet/config.json", "");
    FILE *file = fopen(temp_path("trained/unet/config.json"), "w");
    assert_non_null(file);
    fprintf(file, "%.*s, \"_sdgen\": {\"base_path\": \"%s\", \"base\": \"1ff36913b3e2fce3\"}}",
            (int)(strrchr(text, '}') - text), text, base);
    fclose(file);
    sdg_free(text);
    assert_int_equal(symlink(blocks, temp_path("trained/unet/mamba_blocks.safetensors")), 0);

    struct temp_log t;
    struct sdg_pipeline *p = NULL;
    struct sdg_image *got = NULL, *want = NULL;
    const struct sdg_pipeline_params params = {
        .model = temp_path("trained"), .backend = "cpu", .type = "f32", .cache_dir = "", .log = *temp_log(&t)};
    const struct sdg_generate_params g = {.prompt = "a red apple, 3d",
                                          .steps = 8,
                                          .seed = 42,
                                          .cfg_scale = sdg_number(2.5),
                                          .sampler = "ddim",
                                          .schedule = "model",
                                          .rng = "cpu"};
    if (sdg_pipeline_create(&params, &p) != SDG_OK || sdg_generate(p, &g, &got, NULL) != SDG_OK)
        fail_msg("%s", t.last);
    assert_int_equal(t.warnings, 0);
    assert_int_equal(sdg_picture_read(&t.log, GOLDENS "mamba/shared-apple.png", &want), SDG_OK);
    double error = 0;
    const size_t count = (size_t)want->width * (size_t)want->height * 3;
    assert_true(got->width == want->width && got->height == want->height);
    for (size_t i = 0; i < count; i++)
        error += ((double)got->pixels[i] - want->pixels[i]) * ((double)got->pixels[i] - want->pixels[i]);
    print_message("trained: mean squared error of 8 bits %.5f\n", error / (double)count);
    assert_true(error / (double)count <= 255.0 * 255.0 * 1e-6); // 60 dB
    sdg_image_destroy(&got);
    sdg_image_destroy(&want);
    sdg_pipeline_destroy(&p);
}

// ---- what sdquant makes of it ----

// Of mamba-small, whose UNet and text encoder, autoencoder and tokenizer lie in two folders.
static double quantized_picture(struct sdg_quantize_params params)
{
    struct temp_log t;
    struct sdg_tensors *file;
    struct drawn drawn;
    size_t noise_count, count;
    const char *out = params.output;
    params.model = GOLDENS "pipelines/mamba-small";
    params.threads = 2;
    params.log = *temp_log(&t);
    if (sdg_quantize(&params) != SDG_OK)
        fail_msg("%s", t.last);
    assert_int_equal(sdg_tensors_open(NULL, GOLDENS "mamba/picture.safetensors", &file), SDG_OK);
    float *noise = floats(file, "noise", &noise_count), *want = floats(file, "image", &count);
    draw(out, "cpu", noise, noise_count, &drawn);
    if (drawn.result != SDG_OK)
        fail_msg("%s: %s", out, drawn.log.last);
    assert_int_equal(drawn.log.warnings, 0);
    const double quality = psnr(drawn.image, want, count);
    print_message("%s: %.1f dB\n", out, quality);
    sdg_image_destroy(&drawn.image);
    sdg_free(noise);
    sdg_free(want);
    sdg_tensors_destroy(&file);
    return quality;
}

static void test_quantized(void **state)
{
    (void)state;
    static const char *const whole[] = {"model_index.json",
                                        "scheduler/scheduler_config.json",
                                        "tokenizer/tokenizer.json",
                                        "text_encoder/config.json",
                                        "text_encoder/model.safetensors",
                                        "vae/config.json",
                                        "vae/diffusion_pytorch_model.safetensors",
                                        "unet/config.json",
                                        "unet/diffusion_pytorch_model.safetensors"};
    char *text;
    const char *path = temp_path("whole");
    assert_true(quantized_picture((struct sdg_quantize_params){.scheme = "w8a16", .output = path}) > 30);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        char file[800];
        snprintf(file, sizeof file, "%s/%s", path, whole[i]);
        if (access(file, R_OK) != 0)
            fail_msg("%s is missing", file);
    }
    assert_int_equal(sdg_file_read_text(NULL, temp_path("whole/unet/config.json"), 1 << 20, &text), SDG_OK);
    assert_true(strstr(text, "self_mixer") && !strstr(text, "_sdgen") && !strstr(text, "base_path"));
    sdg_free(text);

    assert_true(quantized_picture((struct sdg_quantize_params){
                    .scheme = "w8a8-dynamic", .delta = true, .output = temp_path("delta")}) >
                25); // its base has a base
    assert_int_equal(sdg_file_read_text(NULL, temp_path("delta/unet/config.json"), 1 << 20, &text), SDG_OK);
    assert_true(strstr(text, "mamba-small\"") && !strstr(text, "_sdgen"));
    sdg_free(text);
    assert_int_equal(access(temp_path("delta/vae"), F_OK), -1);
}

static void test_scan_operands(void **state)
{
    (void)state;
    static const char *const prompts[] = {"a red apple", "a house"};
    struct temp_log t;
    struct sdg_pipeline *p = NULL;
    struct sdg_tensors *file;
    const struct sdg_pipeline_params params = {
        .model = GOLDENS "pipelines/mamba-small", .backend = "cpu", .type = "f32", .log = *temp_log(&t)};
    const struct sdg_collect_params how = {.prompts = prompts,
                                           .prompt_count = 2,
                                           .output = temp_path("operands.safetensors"),
                                           .scan_operands = true,
                                           .generate = {.steps = 4}};
    if (sdg_pipeline_create(&params, &p) != SDG_OK || sdg_collect(p, &how) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_pipeline_destroy(&p);
    temp_text("operands.json",
              "{\"scheme\": \"w8a8-static\", \"scan_codes\": true, \"scan_operands\": [\"conv1d\", \"scan\"]}");
    assert_true(quantized_picture((struct sdg_quantize_params){.statistics = temp_path("operands.safetensors"),
                                                               .scheme_file = temp_path("operands.json"),
                                                               .output = temp_path("operands")}) > 20);
    assert_int_equal(sdg_tensors_open(NULL, temp_path("operands/unet/diffusion_pytorch_model.safetensors"), &file),
                     SDG_OK);
    size_t operands = 0;
    for (size_t i = 0; i < sdg_tensors_count(file); i++) {
        const char *name = sdg_tensors_at(file, i)->name;
        operands += strstr(name, ".conv1d.input_scale") || strstr(name, ".scan.input_scale");
    }
    assert_true(operands > 1);
    sdg_tensors_destroy(&file);
}

// ---- models that are refused ----

// The UNet's folder of a copy: `from` in its configuration becomes `to`, and tensor `name` of its blocks `with`.
struct change {
    const char *from, *to;
    const char *name;
    const struct sdg_tensor *with; // NULL: it is left out
    const char *words;             // of the one line of error
};

static void write_changed(const struct change *c)
{
    char *text, root[600];
    struct sdg_tensors *blocks;
    struct sdg_tensor tensors[256];
    size_t count = 0;
    const size_t length = c->from ? strlen(c->from) : 0;
    temp_text("m/unet/config.json", ""); // makes the folders
    assert_int_equal(sdg_file_read_text(NULL, GOLDENS "pipelines/mamba-small/unet/config.json", 1 << 20, &text),
                     SDG_OK);
    FILE *file = fopen(temp_path("m/unet/config.json"), "w");
    assert_non_null(file);
    snprintf(root, sizeof root, "%s", GOLDENS "pipelines/sd2-small");
    for (const char *at = text; *at;) {
        static const char base[] = "../sd2-small";
        if (strncmp(at, base, strlen(base)) == 0)
            fputs(root, file), at += strlen(base);
        else if (length && strncmp(at, c->from, length) == 0)
            fputs(c->to, file), at += length;
        else
            fputc(*at++, file);
    }
    fclose(file);
    sdg_free(text);
    assert_int_equal(sdg_tensors_open(NULL, GOLDENS "pipelines/mamba-small/unet/blocks.safetensors", &blocks), SDG_OK);
    for (size_t i = 0; i < sdg_tensors_count(blocks); i++) {
        const struct sdg_tensor *t = sdg_tensors_at(blocks, i);
        const bool changed = c->name && strcmp(t->name, c->name) == 0;
        assert_true(count < 256);
        if (!changed)
            tensors[count++] = *t;
        else if (c->with)
            tensors[count] = *c->with, tensors[count++].name = t->name;
    }
    assert_int_equal(sdg_tensors_write(NULL, temp_path("m/unet/blocks.safetensors"), tensors, count, NULL, 0), SDG_OK);
    sdg_tensors_destroy(&blocks);
}

// One more in that file.
static void add_block_tensor(const char *name)
{
    static const float numbers[4];
    struct sdg_tensors *blocks;
    struct sdg_tensor tensors[257];
    char copy[600];
    assert_int_equal(sdg_tensors_open(NULL, temp_path("m/unet/blocks.safetensors"), &blocks), SDG_OK);
    const size_t count = sdg_tensors_count(blocks);
    assert_true(count < 257);
    for (size_t i = 0; i < count; i++)
        tensors[i] = *sdg_tensors_at(blocks, i);
    tensors[count] = (struct sdg_tensor){
        .name = name, .dtype = SDG_F32, .rank = 1, .dims = {4}, .data = numbers, .bytes = sizeof numbers};
    snprintf(copy, sizeof copy, "%s", temp_path("m/unet/more.safetensors"));
    assert_int_equal(sdg_tensors_write(NULL, copy, tensors, count + 1, NULL, 0), SDG_OK);
    sdg_tensors_destroy(&blocks);
    assert_int_equal(rename(copy, temp_path("m/unet/blocks.safetensors")), 0);
}

#define BLOCK "mid_block.attentions.0.transformer_blocks.0.mamba."

static void test_refused(void **state)
{
    (void)state;
    enum { E = 24, S = 5 }; // of the middle block
    static float logs[E * S], d[E], large[E * S], not[E], kernel[E * 4];
    large[E * S - 1] = 88.8f;
    logs[7] = -INFINITY;
    not[E - 1] = NAN;
    const struct sdg_tensor
        huge = {.dtype = SDG_F32, .rank = 2, .dims = {E, S}, .data = large, .bytes = sizeof large},
        infinite = {.dtype = SDG_F32, .rank = 2, .dims = {E, S}, .data = logs, .bytes = sizeof logs},
        wide = {.dtype = SDG_F32, .rank = 2, .dims = {S, E}, .data = large, .bytes = sizeof large},
        nan = {.dtype = SDG_F32, .rank = 1, .dims = {E}, .data = not, .bytes = sizeof not},
        longer = {.dtype = SDG_F32, .rank = 3, .dims = {E, 1, 4}, .data = kernel, .bytes = sizeof kernel},
        flat = {.dtype = SDG_F32, .rank = 1, .dims = {E}, .data = d, .bytes = sizeof d};
    const struct change changes[] = {
        {"\"mamba_d_state\": 5", "\"mamba_d_state\": 0", NULL, NULL, "mamba_d_state is 0"},
        {"\"mamba_d_state\": 5", "\"mamba_d_state\": 257", NULL, NULL, "mamba_d_state is 257"},
        {"\"mamba_d_state\": 5", "\"mamba_d_state\": -1", NULL, NULL, "mamba_d_state is -1"},
        {"\"mamba_d_state\": 5", "\"mamba_d_state\": \"5\"", NULL, NULL, "mamba_d_state is \"5\""},
        {"\"mamba_d_state\": 5", "\"mamba_d_state\": 4", NULL, NULL, "expected [9,"},
        {"\"mamba_d_state\": 5,", "", NULL, NULL, "mamba_d_state is missing"},
        {"mamba_d_state", "mamba_states", NULL, NULL, "config.json: mamba_states is 5, which is not supported"},
        {"\"mamba_d_conv\"", "\"mamba_dt_rank\": 1, \"mamba_d_conv\"", NULL, NULL, "mamba_dt_rank is 1, which is not"},
        {"\"mamba_d_conv\": 3", "\"mamba_d_conv\": 1", NULL, NULL, "mamba_d_conv is 1"},
        {"\"mamba_d_conv\": 3", "\"mamba_d_conv\": 9", NULL, NULL, "mamba_d_conv is 9"},
        {"\"mamba_d_conv\": 3", "\"mamba_d_conv\": 4", NULL, NULL, "conv1d.weight has shape [16,1,3], expected"},
        {"\"mamba_d_conv\": 3,", "", NULL, NULL, "mamba_d_conv is missing"},
        {"\"mamba_expand\": 2", "\"mamba_expand\": 0", NULL, NULL, "mamba_expand is 0"},
        {"\"mamba_expand\": 2", "\"mamba_expand\": 1.5", NULL, NULL, "mamba_expand is 1.5"},
        {"\"mamba_expand\": 2", "\"mamba_expand\": 4294967298", NULL, NULL, "mamba_expand is 4294967298"},
        {"\"mamba_expand\": 2", "\"mamba_expand\": 2000", NULL, NULL, "2000 times the 8 of block_out_channels"},
        {"\"mamba_expand\": 2", "\"mamba_expand\": 3", NULL, NULL, "expected [48,8]"},
        {"\"self_mixer\": \"mamba\"", "\"self_mixer\": \"hyena\"", NULL, NULL, "self_mixer is \"hyena\""},
        {"\"self_mixer\": \"mamba\"", "\"self_mixer\": 3", NULL, NULL, "self_mixer is 3"},
        {NULL, NULL, BLOCK "A_log", NULL, "A_log is missing"},
        {NULL, NULL, BLOCK "D_b", NULL, "D_b is missing"},
        {NULL, NULL, BLOCK "conv1d_b.bias", NULL, "conv1d_b.bias is missing"},
        {NULL, NULL, BLOCK "dt_proj.bias", NULL, "dt_proj.bias is missing"},
        {NULL, NULL, BLOCK "A_log", &huge, "mamba.A_log has the logarithm 88.8"},
        {NULL, NULL, BLOCK "A_b_log", &infinite, "mamba.A_b_log has a number that is not finite (-inf)"},
        {NULL, NULL, BLOCK "A_log", &wide, "A_log has shape [5,24], expected [24,5]"},
        {NULL, NULL, BLOCK "A_log", &flat, "A_log has shape [24], expected [24,5]"},
        {NULL, NULL, BLOCK "D_b", &nan, "mamba.D_b has a number that is not finite (nan)"},
        {NULL, NULL, BLOCK "dt_proj_b.bias", &nan, "dt_proj_b.bias has a number that is not finite (nan)"},
        {NULL, NULL, BLOCK "conv1d.weight", &longer, "conv1d.weight has shape [24,1,4], expected [24,1,3]"},
    };
    struct drawn drawn;
    write_changed(&(struct change){0});
    draw(temp_path("m"), "cpu", NULL, 0, &drawn);
    if (drawn.result != SDG_OK)
        fail_msg("unchanged: %s", drawn.log.last);
    sdg_image_destroy(&drawn.image);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        write_changed(&changes[i]);
        draw(temp_path("m"), "cpu", NULL, 0, &drawn);
        if (drawn.result == SDG_OK || drawn.image || drawn.log.errors != 1 || strchr(drawn.log.last, '\n') ||
            !strstr(drawn.log.last, changes[i].words))
            fail_msg("result %d, %d errors, '%s' should have '%s'", (int)drawn.result, drawn.log.errors, drawn.log.last,
                     changes[i].words);
    }
    print_message("%zu broken models\n", sizeof changes / sizeof *changes);
    temp_remove_tree(temp_path("m"));
}

static void expect_refusal(const char *what, const char *words)
{
    struct drawn drawn;
    draw(temp_path("m"), "cpu", NULL, 0, &drawn);
    if (drawn.result != SDG_ERROR_INPUT || drawn.image || drawn.log.errors != 1 || drawn.log.warnings ||
        strchr(drawn.log.last, '\n') || !strstr(drawn.log.last, words))
        fail_msg("%s: result %d, %d errors, '%s' should have '%s'", what, (int)drawn.result, drawn.log.errors,
                 drawn.log.last, words);
}

// All that a folder of differences has is there because it differs: none of it may go unused.
static void test_unused_differences(void **state)
{
    (void)state;
#define SIZES "\"mamba_d_state\": 5,\n \"mamba_d_conv\": 3,\n \"mamba_expand\": 2,"
    static const char *const mixers[] = {"", "\"self_mixer\": null,", "\"self_mixer\": \"attention\","},
                             *const added[] = {"extra.weight", "conv_in.extra.weight",
                                               "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight",
                                               "mid_block.attentions.0.transformer_blocks.0.mamba.E"};
    for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++) {
        write_changed(&(struct change){.from = "\"self_mixer\": \"mamba\",\n " SIZES, .to = mixers[i]});
        expect_refusal(mixers[i],
                       "m/unet/blocks.safetensors: tensor down_blocks.0.attentions.0.transformer_blocks.0."
                       "mamba.A_b_log would not be used: self_mixer in config.json is \"attention\"");
    }
    write_changed(&(struct change){.from = "\"self_mixer\": \"mamba\"", .to = "\"self_mixer\": null"});
    expect_refusal("sizes alone", "config.json: mamba_d_state is 5, but self_mixer is not \"mamba\"");
    for (size_t i = 0; i < sizeof added / sizeof *added; i++) {
        char words[300];
        snprintf(words, sizeof words, "m/unet/blocks.safetensors: tensor %s would not be used: %s", added[i],
                 i == 2 ? "self_mixer in config.json is \"mamba\"" : "it is one of the differences");
        write_changed(&(struct change){0});
        add_block_tensor(added[i]);
        expect_refusal(added[i], words);
    }
    temp_remove_tree(temp_path("m"));
}

// The base cannot help it that blocks are missing.
static void test_no_differences(void **state)
{
    (void)state;
    write_changed(&(struct change){0});
    assert_int_equal(remove(temp_path("m/unet/blocks.safetensors")), 0);
    expect_refusal("no blocks", "m/unet: this folder of differences has no .safetensors file, and its base, ");
    expect_refusal("no blocks", "sd2-small/unet/diffusion_pytorch_model.safetensors, lacks the tensor down_blocks.0.");
    temp_remove_tree(temp_path("m"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),         cmocka_unit_test(test_operations),
        cmocka_unit_test(test_picture),        cmocka_unit_test(test_trained),
        cmocka_unit_test(test_quantized),      cmocka_unit_test(test_scan_operands),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_unused_differences),
        cmocka_unit_test(test_no_differences),
    };
    temp_make();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
