// Networks against the outputs of diffusers and transformers: text encoders, UNets and autoencoders of the tiny random
// models, on every backend. Bound: normalised mean squared error 1e-8 in f32, where float rounding alone gives about
// 1e-12 to 1e-10.
//
//     networks [BACKEND]      only that backend
//
// tests/goldens/networks holds small models and what make.py there got for them; others are read from the shared
// goldens where they are there.
#include "backend/backend.h"
#include "backend/transfer.h"
#include "base/memory.h"
#include "formats/model.h"
#include "text/text_encoder.h"
#include "unet/unet.h"
#include "vae/vae.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const double BOUND = 1e-8;

static void print_line(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    print_message("%s%s\n", level == SDG_LOG_ERROR ? "error: " : "", message);
}
static const struct sdg_log test_log = {print_line, NULL, SDG_LOG_WARNING};

struct fixture {
    const char *model, *backend_name;
    char folder[512]; // holds pipelines/MODEL and modules/MODEL
    struct sdg_model *opened;
    struct sdg_backend *backend;
    int compared;
};

static float *floats(const struct sdg_tensors *file, const char *index_name, int64_t expected)
{
    const struct sdg_tensor *t = sdg_tensors_find(file, index_name);
    if (!t)
        fail_msg("golden %s has no tensor %s", sdg_tensors_path(file), index_name);
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->dims[i];
    if (expected)
        assert_int_equal(count, expected);
    float *data = sdg_alloc_raw(&test_log, (size_t)count, sizeof *data, "golden");
    assert_non_null(data);
    assert_true(sdg_dtype_is_float(t->dtype));
    sdg_convert(data, SDG_F32, t->data, t->dtype, (size_t)count);
    return data;
}

// [N][C][pixels] -> [N][pixels][C]
static float *channels_last(float *planar, int64_t n, int64_t c, int64_t pixels)
{
    float *out = sdg_alloc_raw(&test_log, (size_t)(n * c * pixels), sizeof *out, "golden");
    assert_non_null(out);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t j = 0; j < pixels; j++)
                out[(i * pixels + j) * c + k] = planar[(i * c + k) * pixels + j];
    sdg_free(planar);
    return out;
}

static const struct sdg_tensor *image(const struct sdg_tensors *file, const char *name, float **out)
{
    const struct sdg_tensor *t = sdg_tensors_find(file, name);
    if (!t)
        fail_msg("golden %s has no tensor %s", sdg_tensors_path(file), name);
    assert_int_equal(t->rank, 4);
    *out = channels_last(floats(file, name, 0), t->dims[0], t->dims[1], t->dims[2] * t->dims[3]);
    return t;
}

static void compare(struct fixture *f, const char *what, const float *got, const float *want, size_t count)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(got[i]));
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        power += (double)want[i] * want[i];
    }
    double nmse = error / power;
    print_message("%-12s %-10s %-36s NMSE %.1e\n", f->model, f->backend_name, what, nmse);
    if (!(nmse <= BOUND))
        fail_msg("%s of %s on %s: NMSE %.3e is above %.0e", what, f->model, f->backend_name, nmse, BOUND);
    f->compared++;
}

static void read_and_compare(struct fixture *f, struct sdg_program *program, const char *output, const char *what,
                             const float *want, size_t count)
{
    float *got = sdg_alloc_raw(&test_log, count, sizeof *got, "output");
    assert_non_null(got);
    assert_int_equal(sdg_program_read(program, output, got, count), SDG_OK);
    compare(f, what, got, want, count);
    sdg_free(got);
}

static struct sdg_program *compile(struct fixture *f, struct sdg_graph *graph, const struct sdg_tensors *weights)
{
    struct sdg_program *program;
    assert_int_equal(sdg_graph_fuse(graph), SDG_OK);
    struct sdg_program_params params = {.weights = weights};
    assert_int_equal(sdg_program_create(f->backend, graph, &params, &program), SDG_OK);
    sdg_graph_destroy(&graph);
    return program;
}

static struct sdg_tensors *goldens_of(struct fixture *f, const char *network)
{
    char path[700];
    struct sdg_tensors *file;
    snprintf(path, sizeof path, "%s/modules/%s/%s.safetensors", f->folder, f->model, network);
    assert_int_equal(sdg_tensors_open(&test_log, path, &file), SDG_OK);
    return file;
}

// ---- text encoders ----

static void check_pooled(struct fixture *f, struct sdg_program *program, const struct sdg_text_config *c,
                         const int32_t *ids, const struct sdg_tensors *file, const char *name)
{
    size_t dim = (size_t)c->projection_dim, end = (size_t)sdg_text_end_position(c, ids, 77);
    float *want = floats(file, name, c->projection_dim),
          *all = sdg_alloc_raw(&test_log, 77 * dim, sizeof *all, "output");
    assert_int_equal(sdg_program_read(program, "projected", all, 77 * dim), SDG_OK);
    compare(f, name, all + end * dim, want, dim);
    sdg_free(all);
    sdg_free(want);
}

static void text_case(struct fixture *f, int encoder, const struct sdg_tensors *file, const char *index)
{
    const struct sdg_text_config *c = &f->opened->text_config[encoder];
    char name[64];
    snprintf(name, sizeof name, "%s.ids", index);
    const struct sdg_tensor *ids = sdg_tensors_find(file, name);
    assert_non_null(ids);
    int32_t tokens[77];
    assert_int_equal(ids->dtype, SDG_S32);
    memcpy(tokens, ids->data, sizeof tokens);
    size_t count = 77 * (size_t)c->hidden;
    for (int penultimate = 0; penultimate < 2; penultimate++) {
        struct sdg_graph *graph;
        struct sdg_text_params params = {.batch = 1,
                                         .tokens = 77,
                                         .skip = 1 + penultimate,
                                         .final_norm = !penultimate,
                                         .pooled = c->projection_dim > 0 && encoder == 1};
        assert_int_equal(sdg_text_graph(&test_log, c, &params, &graph), SDG_OK);
        struct sdg_program *program = compile(f, graph, f->opened->text[encoder]);
        assert_int_equal(sdg_program_write(program, "ids", tokens, 77), SDG_OK);
        assert_int_equal(sdg_program_run(program, 0), SDG_OK);
        snprintf(name, sizeof name, "%s.%s", index, penultimate ? "penultimate" : "last_hidden_state");
        float *want = floats(file, name, (int64_t)count);
        read_and_compare(f, program, "hidden", name, want, count);
        sdg_free(want);
        snprintf(name, sizeof name, "%s.pooled", index);
        if (params.pooled)
            check_pooled(f, program, c, tokens, file, name);
        sdg_program_destroy(&program);
    }
}

static void text_encoders(void **state)
{
    struct fixture *f = *state;
    for (int encoder = 0; encoder < f->opened->text_encoders; encoder++) {
        struct sdg_tensors *file = goldens_of(f, encoder ? "text_encoder_2" : "text_encoder");
        int count = 0;
        for (char index[12], ids[20];; count++) {
            snprintf(index, sizeof index, "%d", count);
            snprintf(ids, sizeof ids, "%s.ids", index);
            if (!sdg_tensors_find(file, ids))
                break;
            text_case(f, encoder, file, index);
        }
        assert_true(count >= 3);
        sdg_tensors_destroy(&file);
    }
}

// ---- UNet ----

static void write_time_inputs(struct fixture *f, struct sdg_program *program, const struct sdg_tensors *file,
                              const char *index, int64_t samples)
{
    const struct sdg_unet_config *c = &f->opened->unet_config;
    char name[64];
    float data[2 * 4096];
    int dim = c->channels[0];
    snprintf(name, sizeof name, "%s.timestep", index);
    float *t = floats(file, name, 1);
    for (int64_t i = 0; i < samples; i++)
        sdg_timestep_embedding(t[0], dim, c->flip_sin_to_cos, c->freq_shift, data + i * dim);
    assert_int_equal(sdg_program_write(program, "timestep", data, (size_t)(samples * dim)), SDG_OK);
    sdg_free(t);
    if (c->time_cond_proj_dim) {
        snprintf(name, sizeof name, "%s.timestep_cond", index);
        float *cond = floats(file, name, samples * c->time_cond_proj_dim);
        assert_int_equal(sdg_program_write(program, "guidance", cond, (size_t)(samples * c->time_cond_proj_dim)),
                         SDG_OK);
        sdg_free(cond);
    }
    if (c->addition_time_embed_dim) {
        int each = c->addition_time_embed_dim, pooled = c->addition_embed_dim - 6 * each;
        snprintf(name, sizeof name, "%s.text_embeds", index);
        float *text = floats(file, name, samples * pooled);
        snprintf(name, sizeof name, "%s.time_ids", index);
        float *ids = floats(file, name, samples * 6);
        for (int64_t i = 0; i < samples; i++) {
            float *row = data + i * c->addition_embed_dim;
            memcpy(row, text + i * pooled, (size_t)pooled * sizeof *row);
            for (int j = 0; j < 6; j++)
                sdg_timestep_embedding(ids[i * 6 + j], each, c->flip_sin_to_cos, c->freq_shift,
                                       row + pooled + j * each);
        }
        assert_int_equal(sdg_program_write(program, "added", data, (size_t)(samples * c->addition_embed_dim)), SDG_OK);
        sdg_free(text);
        sdg_free(ids);
    }
}

static void unet_case(struct fixture *f, const struct sdg_tensors *file, const char *index)
{
    const struct sdg_unet_config *c = &f->opened->unet_config;
    char name[64];
    float *sample, *want;
    snprintf(name, sizeof name, "%s.sample", index);
    const struct sdg_tensor *in = image(file, name, &sample);
    int64_t samples = in->dims[0], h = in->dims[2], w = in->dims[3];
    snprintf(name, sizeof name, "%s.output", index);
    image(file, name, &want);
    // Models whose time embedding may differ between samples get a table per sample, the others one for all.
    int64_t table_batch = c->time_cond_proj_dim || c->addition_time_embed_dim ? samples : 1;
    struct sdg_graph *graph;
    struct sdg_unet_shape shape = {samples, h, w, 77, 1, table_batch};
    assert_int_equal(sdg_unet_step_graph(&test_log, c, &shape, &graph), SDG_OK);
    struct sdg_program *step = compile(f, graph, f->opened->unet);

    assert_int_equal(sdg_unet_time_graph(&test_log, c, table_batch, &graph), SDG_OK);
    struct sdg_program *time = compile(f, graph, f->opened->unet);
    write_time_inputs(f, time, file, index, table_batch);
    assert_int_equal(sdg_program_run(time, 0), SDG_OK);
    assert_int_equal(sdg_program_copy(time, step), SDG_OK);

    assert_int_equal(sdg_unet_context_graph(&test_log, c, samples, 77, &graph), SDG_OK);
    struct sdg_program *context = compile(f, graph, f->opened->unet);
    snprintf(name, sizeof name, "%s.context", index);
    float *embedding = floats(file, name, samples * 77 * c->cross_attention_dim);
    assert_int_equal(sdg_program_write(context, "context", embedding, (size_t)(samples * 77 * c->cross_attention_dim)),
                     SDG_OK);
    assert_int_equal(sdg_program_run(context, 0), SDG_OK);
    assert_int_equal(sdg_program_copy(context, step), SDG_OK);

    assert_int_equal(sdg_program_write(step, "sample", sample, (size_t)(samples * h * w * c->in_channels)), SDG_OK);
    assert_int_equal(sdg_program_run(step, 0), SDG_OK);
    snprintf(name, sizeof name, "unet %s (%dx%d)", index, (int)w, (int)h);
    read_and_compare(f, step, "noise", name, want, (size_t)(samples * h * w * c->out_channels));

    sdg_program_destroy(&step);
    sdg_program_destroy(&time);
    sdg_program_destroy(&context);
    sdg_free(sample);
    sdg_free(want);
    sdg_free(embedding);
}

static void unet(void **state)
{
    struct fixture *f = *state;
    struct sdg_tensors *file = goldens_of(f, "unet");
    static const char *const indices[] = {"0", "1", "2"};
    for (int i = 0; i < 3; i++)
        unet_case(f, file, indices[i]);
    sdg_tensors_destroy(&file);
}

// ---- autoencoder ----

static void decode_case(struct fixture *f, const struct sdg_tensors *file, const char *index)
{
    const struct sdg_vae_config *c = &f->opened->vae_config;
    char name[64];
    float *latent, *want;
    struct sdg_graph *graph;
    snprintf(name, sizeof name, "%s.latent", index);
    const struct sdg_tensor *in = image(file, name, &latent);
    assert_int_equal(sdg_vae_decoder_graph(&test_log, c, 1, in->dims[2], in->dims[3], &graph), SDG_OK);
    struct sdg_program *program = compile(f, graph, f->opened->vae);
    assert_int_equal(sdg_program_write(program, "latent", latent, (size_t)(in->dims[1] * in->dims[2] * in->dims[3])),
                     SDG_OK);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    snprintf(name, sizeof name, "%s.decoded", index);
    const struct sdg_tensor *out = image(file, name, &want);
    read_and_compare(f, program, "image", name, want, (size_t)(out->dims[1] * out->dims[2] * out->dims[3]));
    sdg_program_destroy(&program);
    sdg_free(latent);
    sdg_free(want);
}

static void encode_case(struct fixture *f, const struct sdg_tensors *file, const char *index)
{
    const struct sdg_vae_config *c = &f->opened->vae_config;
    char name[64];
    float *picture, *want;
    struct sdg_graph *graph;
    snprintf(name, sizeof name, "%s.image", index);
    const struct sdg_tensor *in = image(file, name, &picture);
    assert_int_equal(sdg_vae_encoder_graph(&test_log, c, 1, in->dims[2], in->dims[3], &graph), SDG_OK);
    struct sdg_program *program = compile(f, graph, f->opened->vae);
    assert_int_equal(sdg_program_write(program, "image", picture, (size_t)(in->dims[1] * in->dims[2] * in->dims[3])),
                     SDG_OK);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    snprintf(name, sizeof name, "%s.%s", index, c->tiny ? "encoded" : "mean");
    const struct sdg_tensor *out = image(file, name, &want);
    size_t pixels = (size_t)(out->dims[2] * out->dims[3]), channels = (size_t)out->dims[1];
    if (c->tiny) {
        read_and_compare(f, program, "latent", name, want, pixels * channels);
    } else {
        float *moments = sdg_alloc_raw(&test_log, 2 * pixels * channels, sizeof *moments, "moments"), *variance;
        float *mean = sdg_alloc_raw(&test_log, 2 * pixels * channels, sizeof *mean, "moments"),
              *logvar = mean + pixels * channels;
        assert_int_equal(sdg_program_read(program, "moments", moments, 2 * pixels * channels), SDG_OK);
        for (size_t i = 0; i < pixels; i++)
            for (size_t k = 0; k < channels; k++) {
                mean[i * channels + k] = moments[i * 2 * channels + k];
                logvar[i * channels + k] = fminf(fmaxf(moments[i * 2 * channels + channels + k], -30), 20);
            }
        compare(f, name, mean, want, pixels * channels);
        snprintf(name, sizeof name, "%s.logvar", index);
        image(file, name, &variance);
        compare(f, name, logvar, variance, pixels * channels);
        sdg_free(variance);
        sdg_free(moments);
        sdg_free(mean);
    }
    sdg_program_destroy(&program);
    sdg_free(picture);
    sdg_free(want);
}

static void autoencoder(void **state)
{
    struct fixture *f = *state;
    struct sdg_tensors *file = goldens_of(f, "vae");
    decode_case(f, file, "0");
    decode_case(f, file, "1");
    encode_case(f, file, "0");
    encode_case(f, file, "1");
    sdg_tensors_destroy(&file);
}

// ---- which models, which backends ----

static bool find_model(struct fixture *f)
{
    static const char *const folders[] = {SDG_SOURCE_DIR "/tests/goldens/networks", SDG_SHARED_DIR "/goldens"};
    for (int i = 0; i < 2; i++) {
        char path[700];
        struct stat info;
        snprintf(path, sizeof path, "%s/pipelines/%s/unet/config.json", folders[i], f->model);
        if (stat(path, &info) == 0) {
            snprintf(f->folder, sizeof f->folder, "%s", folders[i]);
            return true;
        }
    }
    print_message("skipped: model %s is only in the shared goldens, which are not here\n", f->model);
    return false;
}

static int run_model(const char *model, const char *backend_name, struct sdg_backend *backend)
{
    struct fixture f = {.model = model, .backend_name = backend_name, .backend = backend};
    char path[700], name[128];
    if (!find_model(&f))
        return 0;
    snprintf(path, sizeof path, "%s/pipelines/%s", f.folder, model);
    if (sdg_model_open(&test_log, path, &f.opened) != SDG_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(unet, &f),
        cmocka_unit_test_prestate(text_encoders, &f),
        cmocka_unit_test_prestate(autoencoder, &f),
    };
    const size_t count = f.opened->base_count ? 1 : 3; // the rest is the base's
    snprintf(name, sizeof name, "%s on %s", model, backend_name);
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    sdg_model_close(&f.opened);
    return failed;
}

int main(int argc, char **argv)
{
    static const char *const models[] = {"sd2-small", "taesd-small", "mamba-small", "sd2-tiny",    "taesd-tiny",
                                         "sd15-tiny", "lcm-tiny",    "sdxl-tiny",   "inpaint-tiny"};
    static const char *const backends[] = {"reference", "cpu", "vulkan"};
    int failed = 0;
    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) {
        if (argc > 1 && strcmp(argv[1], backends[b]))
            continue;
        struct sdg_backend *backend;
        struct sdg_backend_params params = {.threads = 2, .device = -1, .validation = true};
        enum sdg_result result = sdg_backend_create(&test_log, backends[b], &params, &backend);
        if (strcmp(backends[b], "vulkan") == 0 && (result == SDG_ERROR_UNSUPPORTED || result == SDG_ERROR_DEVICE)) {
            print_message("skipped: no Vulkan device or not built in\n");
            continue;
        }
        if (result != SDG_OK)
            return 1;
        for (size_t m = 0; m < sizeof models / sizeof *models; m++)
            failed += run_model(models[m], backends[b], backend);
        sdg_backend_destroy(&backend);
    }
    return failed ? 1 : 0;
}
