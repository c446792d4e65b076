// sdg_learn on a small model with Mamba blocks: what it gains on samples that it has not learned from, the same bytes
// from the same seed and after an interruption, and what it refuses.
#include "base/file.h"
#include "formats/model.h"
#include "formats/stored.h"
#include "sdgen/calibrate.h"
#include "sdgen/learn.h"
#include "sdgen/quantize.h"
#include "tests/temp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/tests/goldens/networks/pipelines/mamba-small"
#define WEIGHTS "unet/diffusion_pytorch_model.safetensors"

static const char *const prompts[] = {"a red apple, 3d", "a cat face, flat", "blue heart", "rocket, noto style",
                                      "a green tree",    "two dogs",         "the moon",   "a house"};
enum { PROMPTS = 8, STEPS = 2, MANY_STEPS = 8, BLOCKS = 10, UPDATES = 20, FEW = 2 };

// ---- preparation: statistics, and folders quantized with them ----

static void collect(const char *output, const char *smooth)
{
    struct sdg_pipeline *p;
    struct temp_log t;
    temp_log(&t);
    const struct sdg_pipeline_params params = {
        .model = MODEL, .backend = "cpu", .type = "f32", .threads = 1, .log = {temp_log_say, &t, SDG_LOG_INFO}};
    const struct sdg_collect_params how = {.prompts = prompts,
                                           .prompt_count = PROMPTS,
                                           .output = temp_path(output),
                                           .smooth = smooth ? temp_path(smooth) : NULL,
                                           .generate = {.steps = STEPS}};
    assert_int_equal(sdg_pipeline_create(&params, &p), SDG_OK);
    if (sdg_collect(p, &how) != SDG_OK)
        fail_msg("%s", t.last);
    sdg_pipeline_destroy(&p);
}

static const char *quantize(const char *name, const char *scheme, bool keep_smoothing)
{
    static char path[600];
    struct temp_log t;
    temp_log(&t);
    snprintf(path, sizeof path, "%s", temp_path(name));
    const struct sdg_quantize_params params = {.model = MODEL,
                                               .statistics = temp_path("smooth.safetensors"),
                                               .output = path,
                                               .scheme = scheme,
                                               .keep_smoothing = keep_smoothing,
                                               .threads = 1,
                                               .log = {temp_log_say, &t, SDG_LOG_INFO}};
    if (sdg_quantize(&params) != SDG_OK)
        fail_msg("%s", t.last);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    temp_make();
    collect("plain.safetensors", NULL);
    collect("smooth.safetensors", "plain.safetensors");
    quantize("start", "w4a8-token", true); // which no test changes
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_remove_tree(temp_root);
    return 0;
}

// ---- learning ----

struct run {
    int blocks, kept, resumed, updates, stop_at; // stop_at: update after which the caller wants no more; 0: never
    double before[BLOCKS], after[BLOCKS];
    bool reported;
    struct temp_log log;
};

static void see_block(void *user, const struct sdg_learned_block *b)
{
    struct run *r = user;
    assert_true(r->blocks < BLOCKS && strstr(b->name, ".mamba"));
    assert_true(b->kept ? b->loss_after < b->loss_before : b->loss_after == b->loss_before);
    r->before[r->blocks] = b->loss_before;
    r->after[r->blocks++] = b->loss_after;
    r->kept += b->kept;
    r->resumed += b->resumed;
}

static void see_report(void *user, const struct sdg_learn_report *r)
{
    struct run *run = user;
    run->reported = r->blocks == BLOCKS && r->samples == (size_t)PROMPTS * STEPS * 2;
}

static bool on_progress(void *user, const struct sdg_progress *progress)
{
    struct run *r = user;
    if (strcmp(progress->stage, "learn") != 0)
        return true;
    r->updates++;
    assert_true(progress->step <= progress->steps && progress->seconds_left >= 0);
    return !r->stop_at || r->updates < r->stop_at;
}

static struct sdg_learn_params learning(struct run *r, const char *folder, uint64_t seed, int updates)
{
    *r = (struct run){0};
    temp_log(&r->log);
    return (struct sdg_learn_params){
        .quantized = folder,
        .prompts = prompts,
        .prompt_count = PROMPTS,
        .updates = updates,
        .order_seed = seed,
        .generate = {.steps = STEPS, .progress = on_progress, .progress_user = r},
        .pipeline = {.backend = "cpu", .threads = 1, .log = {temp_log_say, &r->log, SDG_LOG_INFO}},
        .model = MODEL,
        .block = see_block,
        .report = see_report,
        .user = r,
    };
}

static void learn(struct run *r, const char *folder, uint64_t seed, int updates)
{
    const struct sdg_learn_params params = learning(r, folder, seed, updates);
    if (sdg_learn(&params) != SDG_OK)
        fail_msg("%s", r->log.last);
    assert_true(r->reported && r->blocks == BLOCKS);
}

static char *file_of(const char *folder, size_t *size)
{
    char path[700];
    snprintf(path, sizeof path, "%s/" WEIGHTS, folder);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*size);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static bool same_weights(const char *a, const char *b)
{
    size_t size[2];
    char *data[2] = {file_of(a, &size[0]), file_of(b, &size[1])};
    const bool same = size[0] == size[1] && memcmp(data[0], data[1], size[0]) == 0;
    free(data[0]), free(data[1]);
    return same;
}

static bool is_there(const char *folder, const char *suffix)
{
    char path[700];
    snprintf(path, sizeof path, "%s%s", folder, suffix);
    return sdg_path_kind(path) != SDG_PATH_MISSING;
}

// ---- tests ----

// The first block on the samples held back; whatever the seed, it begins with the same loss.
static void loss_falls(void **state)
{
    (void)state;
    enum { SEEDS = 3 };
    struct run r[SEEDS];
    double mean = 0, square = 0;
    const char *folder = quantize("seeds", "w4a4-tdq-token", true);
    char state_path[700];
    snprintf(state_path, sizeof state_path, "%s.learning", folder);
    for (uint64_t s = 0; s < SEEDS; s++) {
        struct sdg_learn_params params = learning(&r[s], folder, s, UPDATES);
        params.generate.steps = MANY_STEPS; // of few samples nothing is learned that holds for others
        r[s].stop_at = UPDATES + 1;         // the first of the second block
        assert_int_equal(sdg_learn(&params), SDG_ERROR_CANCELLED);
        assert_true(r[s].blocks == 1 && r[s].before[0] == r[0].before[0]);
        mean += log(r[s].before[0] / r[s].after[0]) / SEEDS;
        assert_int_equal(remove(state_path), 0); // and the folder is as it was
    }
    for (int s = 0; s < SEEDS; s++) {
        const double off = log(r[s].before[0] / r[s].after[0]) - mean;
        square += off * off / (SEEDS - 1);
    }
    print_message("ln(loss before / after) on samples held back: %.3f, standard deviation of the seeds %.3f\n", mean,
                  sqrt(square));
    assert_true(mean > sqrt(square));
}

static void same_bytes(void **state)
{
    (void)state;
    char a[600], b[600], start[600];
    struct run r;
    snprintf(start, sizeof start, "%s", temp_path("start"));
    snprintf(a, sizeof a, "%s", quantize("a", "w4a8-token", true));
    learn(&r, a, 5, FEW);
    assert_int_equal(r.resumed, 0);
    assert_true(r.kept > 0 && !same_weights(a, start) && !is_there(a, ".learning"));
    // Interrupted within the fourth block: three are done.
    snprintf(b, sizeof b, "%s", quantize("b", "w4a8-token", true));
    struct sdg_learn_params params = learning(&r, b, 5, FEW);
    r.stop_at = 3 * FEW + 1;
    assert_int_equal(sdg_learn(&params), SDG_ERROR_CANCELLED);
    assert_true(r.blocks == 3 && same_weights(b, start) && is_there(b, ".learning"));
    // Without saying that it goes on, and with other settings, it does not.
    params = learning(&r, b, 5, FEW);
    assert_int_equal(sdg_learn(&params), SDG_ERROR_OUTPUT);
    assert_int_equal(r.log.errors, 1);
    params = learning(&r, b, 6, FEW);
    params.resume = true;
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    assert_non_null(strstr(r.log.last, "other settings"));
    params = learning(&r, b, 5, FEW);
    params.resume = true;
    params.pipeline.threads = 2; // any number
    assert_int_equal(sdg_learn(&params), SDG_OK);
    assert_true(r.resumed == 3 && r.blocks == BLOCKS && r.updates == (BLOCKS - 3) * FEW);
    assert_true(same_weights(a, b) && !is_there(b, ".learning"));
    // A learned folder is a model like any other, but not learned twice.
    struct sdg_model *model;
    assert_int_equal(sdg_model_open(&r.log.log, b, &model), SDG_OK);
    assert_true(model->unet_config.quantization.learned && !model->unet_config.quantization.corrected);
    sdg_model_close(&model);
    params = learning(&r, b, 5, FEW);
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    assert_non_null(strstr(r.log.last, "learned already"));
}

// ---- smoothing in norms and rows ----

static struct sdg_tensors *open_file(const char *folder)
{
    char path[700];
    struct sdg_tensors *file;
    snprintf(path, sizeof path, "%s/" WEIGHTS, folder);
    assert_int_equal(sdg_tensors_open(NULL, path, &file), SDG_OK);
    return file;
}

static const struct sdg_tensor *part_of(const struct sdg_tensors *file, const char *owner, size_t length,
                                        const char *suffix)
{
    char name[300];
    snprintf(name, sizeof name, "%.*s%s", (int)length, owner, suffix);
    return sdg_tensors_find(file, name);
}

// numbers[first + i] of the folded folder are those of the other times m[i], the rest equal.
static void check_multiplied(const struct sdg_tensor *kept, const struct sdg_tensor *folded, size_t first,
                             const struct sdg_tensor *m)
{
    const size_t count = folded->bytes / sizeof(float);
    const float *b = folded->data, *by = m->data;
    const struct sdg_stored stored = sdg_stored_numbers(kept);
    assert_true(folded->dtype == SDG_F32 && kept->bytes == count * sdg_dtype_size(kept->dtype));
    float *a = malloc(count * sizeof *a);
    sdg_stored_expand(&stored, 0, count, SDG_F32, a);
    for (size_t i = 0; i < count; i++)
        assert_true(b[i] == (i >= first && i < first + m->bytes / sizeof *by ? a[i] * by[i - first] : a[i]));
    free(a);
}

static struct sdg_image *draw(const char *folder, struct sdg_pipeline **p)
{
    const struct sdg_pipeline_params params = {.model = folder, .backend = "cpu", .type = "f32", .threads = 1};
    const struct sdg_generate_params how = {.prompt = prompts[0], .steps = STEPS};
    struct sdg_image *image;
    assert_int_equal(sdg_pipeline_create(&params, p), SDG_OK);
    assert_int_equal(sdg_generate(*p, &how, &image, NULL), SDG_OK);
    return image;
}

// Both draw the same picture, but for codes of values that lay between two.
static void check_pictures(const char *a, const char *b)
{
    struct sdg_pipeline *p[2];
    struct sdg_image *image[2] = {draw(a, &p[0]), draw(b, &p[1])};
    const size_t count = (size_t)image[0]->width * (size_t)image[0]->height * 3;
    double error = 0, spread = 0, mean = 0;
    for (size_t i = 0; i < count; i++)
        mean += image[0]->pixels[i] / (double)count;
    for (size_t i = 0; i < count; i++) {
        error += pow((double)image[0]->pixels[i] - image[1]->pixels[i], 2);
        spread += pow(image[0]->pixels[i] - mean, 2);
    }
    print_message("folded, the picture differs by %.2g of its variance\n", error / spread);
    assert_true(spread > 0 && error < 1e-3 * spread);
    for (int i = 0; i < 2; i++) {
        sdg_image_destroy(&image[i]);
        sdg_pipeline_destroy(&p[i]);
    }
}

// What is learned of smoothing becomes part of the norm before in_proj and of the rows of x_proj that dt_proj reads.
static void folds(void **state)
{
    (void)state;
    char a[600], b[600];
    struct run r;
    snprintf(a, sizeof a, "%s", quantize("kept", "w8a8-token", true));
    snprintf(b, sizeof b, "%s", quantize("put", "w8a8-token", true));
    struct sdg_learn_params params = learning(&r, a, 5, FEW);
    params.keep_smoothing = true;
    assert_int_equal(sdg_learn(&params), SDG_OK);
    learn(&r, b, 5, FEW);
    struct sdg_tensors *kept = open_file(a), *folded = open_file(b);
    size_t norms = 0, rows = 0, stay = 0;
    for (size_t i = 0; i < sdg_tensors_count(kept); i++) {
        const struct sdg_tensor *m = sdg_tensors_at(kept, i);
        assert_null(strstr(m->name, ".folded_smoothing"));
        const char *suffix = strstr(m->name, ".input_smoothing"), *mamba = strstr(m->name, "mamba.");
        if (!suffix)
            continue;
        const size_t site = (size_t)(suffix - m->name);
        const bool in_proj = strncmp(mamba, "mamba.in_proj.", 14) == 0,
                   dt_proj = strncmp(mamba, "mamba.dt_proj", 13) == 0,
                   backward = strncmp(mamba, "mamba.dt_proj_b", 15) == 0;
        const struct sdg_tensor *now =
            part_of(folded, m->name, site, in_proj || dt_proj ? ".folded_smoothing" : ".input_smoothing");
        assert_null(part_of(folded, m->name, site, in_proj || dt_proj ? ".input_smoothing" : ".folded_smoothing"));
        assert_true(now && now->bytes == m->bytes && memcmp(now->data, m->data, m->bytes) == 0);
        const size_t block = (size_t)(mamba - m->name);
        if (in_proj) {
            check_multiplied(part_of(kept, m->name, block, "norm1.weight"),
                             part_of(folded, m->name, block, "norm1.weight"), 0, m);
            check_multiplied(part_of(kept, m->name, block, "norm1.bias"), part_of(folded, m->name, block, "norm1.bias"),
                             0, m);
        }
        if (dt_proj) {
            const char *layer = backward ? "mamba.x_proj_b.weight_scale" : "mamba.x_proj.weight_scale";
            check_multiplied(part_of(kept, m->name, block, layer), part_of(folded, m->name, block, layer), 0, m);
        }
        norms += in_proj, rows += dt_proj, stay += !in_proj && !dt_proj;
    }
    print_message("folded into %zu norms and the rows of %zu layers; %zu multipliers stay\n", norms, rows, stay);
    assert_true(norms == BLOCKS && rows >= BLOCKS && stay >= 2 * BLOCKS);
    sdg_tensors_destroy(&kept);
    sdg_tensors_destroy(&folded);
    check_pictures(a, b);
}

static void refusals(void **state)
{
    (void)state;
    struct run r;
    char folder[600];
    // Smoothing that became part of norms and other layers' rows.
    snprintf(folder, sizeof folder, "%s", quantize("folded", "w4a8-token", false));
    struct sdg_learn_params params = learning(&r, folder, 0, FEW);
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    assert_non_null(strstr(r.log.last, "smoothing"));
    snprintf(folder, sizeof folder, "%s", temp_path("start"));
    params = learning(&r, folder, 0, FEW);
    params.module = "nothing";
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    params = learning(&r, folder, 0, FEW);
    params.prompt_count = 0;
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    params = learning(&r, folder, 0, FEW);
    params.weight_rate = sdg_number(NAN);
    assert_int_equal(sdg_learn(&params), SDG_ERROR_USAGE);
    params = learning(&r, folder, 0, FEW);
    params.updates = -1;
    assert_int_equal(sdg_learn(&params), SDG_ERROR_USAGE);
    params = learning(&r, folder, 0, FEW);
    params.quantized = MODEL;
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    params = learning(&r, folder, 0, FEW);
    params.model = folder;
    assert_int_equal(sdg_learn(&params), SDG_ERROR_INPUT);
    assert_false(is_there(folder, ".learning"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_falls),
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(folds),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
