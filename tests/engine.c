// Several pipelines of one engine: what they share, that they draw at the same time what they draw alone, and what is
// refused. Built with ThreadSanitizer too (preset tsan).
#define _GNU_SOURCE // sched_getaffinity
#include "sdgen/engine.h"

#include "backend/vulkan/vk_device.h"
#include "base/file.h"
#include "pipeline/pipeline.h"
#include "support/pictures.h"
#include "temp.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define MODEL SDG_SOURCE_DIR "/models/emoji-128"
#define OTHER SDG_SOURCE_DIR "/models/emoji-128-w8a8-tdq"

// ---- parts ----

static struct sdg_engine *new_engine(const struct sdg_engine_params *changes, struct temp_log *log)
{
    struct sdg_engine_params params = *changes;
    struct sdg_engine *engine;
    params.log = *temp_log(log);
    params.cache_dir = params.cache_dir ? params.cache_dir : "";
    if (sdg_engine_create(&params, &engine) != SDG_OK)
        fail_msg("%s", log->last);
    return engine;
}

static struct sdg_pipeline *new_pipeline(struct sdg_engine *engine, const char *model, const char *backend,
                                         struct temp_log *log)
{
    const struct sdg_pipeline_params params = {
        .engine = engine, .model = model, .backend = backend, .type = "f32", .log = *temp_log(log)};
    struct sdg_pipeline *pipeline;
    if (sdg_pipeline_create(&params, &pipeline) != SDG_OK)
        fail_msg("%s", log->last);
    return pipeline;
}

struct drawing {
    struct sdg_pipeline *pipeline;
    int pictures, size, steps;
    enum sdg_result result;
    struct sdg_image *images[4]; // seeds 1, 2, ..
    pthread_t thread;
};

static void *draw(void *user)
{
    struct drawing *d = user;
    for (int i = 0; i < d->pictures && d->result == SDG_OK; i++) {
        const struct sdg_generate_params g = {.prompt = "a red apple, 3d",
                                              .width = d->size,
                                              .height = d->size,
                                              .steps = d->steps,
                                              .seed = (uint64_t)i + 1};
        d->result = sdg_generate(d->pipeline, &g, &d->images[i], NULL);
    }
    return NULL;
}

static void check_same(const struct sdg_image *a, const struct sdg_image *b)
{
    assert_true(a && b && a->width == b->width && a->height == b->height);
    assert_memory_equal(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3);
}

static void clear(struct drawing *d)
{
    for (int i = 0; i < d->pictures; i++)
        sdg_image_destroy(&d->images[i]);
}

static bool has_vulkan(void)
{
    struct sdg_backend *backend;
    if (sdg_backend_create(NULL, "vulkan", &(struct sdg_backend_params){.device = -1, .threads = 1}, &backend) !=
        SDG_OK) {
        print_message("there is no Vulkan device: skipped\n");
        return false;
    }
    sdg_backend_destroy(&backend);
    return true;
}

static int devices_of(struct sdg_engine *engine)
{
    struct sdg_engine_info info;
    sdg_engine_info(engine, &info);
    return info.devices;
}

// ---- at the same time ----

// Both pipelines made and drawn with by two threads, which are the process's first to compute anything; then each made
// and drawn with alone, one after the other.
static void check_together(const char *backend, int size)
{
    struct temp_log logs[3];
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &logs[0]);
    static const char *const models[] = {MODEL, OTHER};
    struct drawing alone[2], together[2];
    for (int i = 0; i < 2; i++)
        together[i] = (struct drawing){.pipeline = new_pipeline(engine, models[i], backend, &logs[i + 1]),
                                       .pictures = 2,
                                       .size = size,
                                       .steps = 2};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&together[i].thread, NULL, draw, &together[i]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(together[i].thread, NULL), 0);
        if (together[i].result != SDG_OK)
            fail_msg("%s", logs[i + 1].last);
        sdg_pipeline_destroy(&together[i].pipeline);
    }
    for (int i = 0; i < 2; i++) {
        alone[i] = (struct drawing){.pipeline = new_pipeline(engine, models[i], backend, &logs[i + 1]),
                                    .pictures = 2,
                                    .size = size,
                                    .steps = 2};
        draw(&alone[i]);
        assert_int_equal(alone[i].result, SDG_OK);
        sdg_pipeline_destroy(&alone[i].pipeline);
        for (int k = 0; k < 2; k++)
            check_same(alone[i].images[k], together[i].images[k]);
    }
    assert_int_equal(devices_of(engine), strcmp(backend, "vulkan") == 0);
    for (int i = 0; i < 2; i++) {
        clear(&alone[i]);
        clear(&together[i]);
    }
    sdg_engine_destroy(&engine);
}

static void together_cpu(void **state)
{
    (void)state;
    check_together("cpu", 64);
}

static void together_vulkan(void **state)
{
    (void)state;
    if (has_vulkan())
        check_together("vulkan", 64);
}

// ---- life ----

// Whoever goes last takes the engine along; pipelines draw on when the program has let go of it.
static void any_order(void **state)
{
    (void)state;
    struct temp_log log, other;
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &log);
    struct drawing d = {.pipeline = new_pipeline(engine, MODEL, "cpu", &other), .pictures = 1, .size = 64, .steps = 1};
    sdg_engine_destroy(&engine);
    assert_null(engine);
    draw(&d);
    assert_int_equal(d.result, SDG_OK);
    clear(&d);
    sdg_pipeline_destroy(&d.pipeline);
    sdg_engine_destroy(&engine);
    sdg_engine_destroy(NULL);
}

// ---- memory ----

// A pipeline's kept networks count for the other, and are free again when it is gone.
static void shared_memory(void **state)
{
    (void)state;
    struct temp_log log, logs[2];
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &log);
    struct sdg_engine_info info;
    const struct sdg_pipeline_params params = {
        .engine = engine, .model = MODEL, .backend = "cpu", .keep = SDG_KEEP_NETWORKS, .log = *temp_log(&logs[0])};
    struct drawing first = {.pictures = 1, .size = 64, .steps = 1}, second = first;
    assert_int_equal(sdg_pipeline_create(&params, &first.pipeline), SDG_OK);
    second.pipeline = new_pipeline(engine, MODEL, "cpu", &logs[1]);
    sdg_engine_info(engine, &info);
    assert_true(info.planned == 0);
    draw(&first);
    assert_int_equal(first.result, SDG_OK);
    sdg_engine_info(engine, &info);
    assert_true(info.planned > 10e6); // the UNet's weights alone are more
    const double kept = info.planned;

    // Room for what one needs, but not beside what the other keeps. The limit is that of the process, so it is looked
    // for from the plan of the second pipeline.
    struct sdg_generate_info used;
    const struct sdg_generate_params g = {.prompt = "a dog", .width = 64, .height = 64, .steps = 1, .seed = 3};
    struct sdg_image *image = NULL;
    assert_int_equal(sdg_generate(second.pipeline, &g, &image, &used), SDG_OK);
    sdg_image_destroy(&image);
    assert_true((double)used.peak_planned > kept);
    engine->max_memory = (double)used.peak_planned - kept / 2;
    assert_int_equal(sdg_generate(second.pipeline, &g, &image, NULL), SDG_ERROR_MEMORY);
    assert_int_equal(logs[1].errors, 1);
    assert_non_null(strstr(logs[1].last, " of other pipelines"));
    sdg_pipeline_destroy(&first.pipeline);
    sdg_engine_info(engine, &info);
    assert_true(info.planned == 0);
    engine->max_memory = 0;
    assert_int_equal(sdg_generate(second.pipeline, &g, &image, NULL), SDG_OK);
    sdg_image_destroy(&image);
    clear(&first);
    sdg_pipeline_destroy(&second.pipeline);
    sdg_engine_destroy(&engine);
}

// ---- devices ----

// The device by its number is the one that is taken where nobody says, and not opened again.
static void one_device(void **state)
{
    (void)state;
    struct temp_log log, logs[3];
    if (!has_vulkan())
        return;
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &log);
    static const char *const names[] = {"vulkan:0", "vulkan", "te=cpu,unet=vulkan:0,vae=vulkan"};
    struct sdg_pipeline *pipelines[3];
    for (int i = 0; i < 3; i++)
        pipelines[i] = new_pipeline(engine, MODEL, names[i], &logs[i]);
    assert_int_equal(devices_of(engine), 1);
    for (int i = 0; i < 3; i++)
        sdg_pipeline_destroy(&pipelines[i]);
    pipelines[0] = new_pipeline(engine, MODEL, "vulkan", &logs[0]); // it has stayed open
    assert_int_equal(devices_of(engine), 1);
    sdg_pipeline_destroy(&pipelines[0]);
    sdg_engine_destroy(&engine);
}

static VKAPI_ATTR VkResult VKAPI_CALL lose(VkQueue queue, uint32_t count, const VkSubmitInfo *submits, VkFence fence)
{
    (void)queue, (void)count, (void)submits, (void)fence;
    return VK_ERROR_DEVICE_LOST;
}

// What one pipeline lost is lost to the other, and each says so once; the next one has a new device.
static void lost_device(void **state)
{
    (void)state;
    struct temp_log log, logs[3];
    if (!has_vulkan())
        return;
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &log);
    struct drawing d[3];
    for (int i = 0; i < 2; i++)
        d[i] = (struct drawing){
            .pipeline = new_pipeline(engine, MODEL, "vulkan", &logs[i]), .pictures = 1, .size = 64, .steps = 1};
    draw(&d[1]);
    assert_int_equal(d[1].result, SDG_OK);
    struct sdg_vk *vk = (struct sdg_vk *)d[0].pipeline->stage[SDG_STAGE_UNET].backend;
    vk->fn.vkQueueSubmit = lose;
    draw(&d[0]);
    assert_int_equal(d[0].result, SDG_ERROR_COMPUTE);
    assert_int_equal(logs[0].errors, 1);
    assert_non_null(strstr(logs[0].last, "VK_ERROR_DEVICE_LOST"));
    struct drawing again = {.pipeline = d[1].pipeline, .pictures = 1, .size = 64, .steps = 1};
    draw(&again);
    assert_int_equal(again.result, SDG_ERROR_COMPUTE);
    assert_int_equal(logs[1].errors, 1);
    assert_non_null(strstr(logs[1].last, "the device was lost before, in other work"));
    assert_int_equal(devices_of(engine), 1);
    d[2] = (struct drawing){
        .pipeline = new_pipeline(engine, MODEL, "vulkan", &logs[2]), .pictures = 1, .size = 64, .steps = 1};
    draw(&d[2]);
    assert_int_equal(d[2].result, SDG_OK);
    check_same(d[1].images[0], d[2].images[0]);
    assert_int_equal(devices_of(engine), 2);
    for (int i = 0; i < 3; i++) {
        clear(&d[i]);
        sdg_pipeline_destroy(&d[i].pipeline);
    }
    sdg_engine_destroy(&engine);
}

// ---- limits ----

static struct sdg_image *draw_limited(const struct sdg_device_limits *limits, const char *tiling, bool *tiled)
{
    struct temp_log log, more;
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2, .limits = *limits}, &log);
    const struct sdg_pipeline_params params = {.engine = engine,
                                               .model = MODEL,
                                               .backend = "vulkan",
                                               .type = "f32",
                                               .vae_tile_size = 8,
                                               .vae_tiling = tiling,
                                               .log = *temp_log(&more)};
    struct sdg_pipeline *pipeline;
    struct sdg_image *image = NULL;
    struct sdg_generate_info info;
    assert_int_equal(sdg_pipeline_create(&params, &pipeline), SDG_OK);
    if (sdg_generate(pipeline, &(struct sdg_generate_params){.prompt = "a red apple, 3d", .steps = 1, .seed = 1},
                     &image, &info) != SDG_OK)
        fail_msg("%s", more.last);
    *tiled = info.tiled;
    const struct sdg_vk *vk = (const struct sdg_vk *)pipeline->stage[SDG_STAGE_UNET].backend;
    const struct sdg_vk_caps *caps = &vk->caps;
    assert_true(!limits->storage_range || caps->max_range <= limits->storage_range);
    assert_true(!limits->allocation || caps->max_allocation <= limits->allocation);
    sdg_pipeline_destroy(&pipeline);
    sdg_engine_destroy(&engine);
    return image;
}

// A device with small buffers, small workgroups and little shared memory: the decoder takes tiles, all else is cut up,
// and the picture is the same.
static void limited_device(void **state)
{
    (void)state;
    if (!has_vulkan())
        return;
    const struct sdg_device_limits small = {.storage_range = 3 << 19, // less than the longest weights
                                            .allocation = 8 << 20,
                                            .memory = 256 << 20,
                                            .invocations = 128,
                                            .shared_memory = 16384,
                                            .workgroups = 65535,
                                            .buffers = 8};
    bool tiled[3];
    struct sdg_image *whole = draw_limited(&(struct sdg_device_limits){.buffers = 0}, "auto", &tiled[0]),
                     *tiles = draw_limited(&(struct sdg_device_limits){.buffers = 0}, "on", &tiled[1]),
                     *limited = draw_limited(&small, "auto", &tiled[2]);
    assert_true(!tiled[0] && tiled[1] && tiled[2]);
    const double quality = psnr(tiles, limited);
    print_message("with limits against without: %.1f dB\n", quality);
    assert_true(quality > 60); // rounding
    sdg_image_destroy(&whole);
    sdg_image_destroy(&tiles);
    sdg_image_destroy(&limited);
}

// What does not fit is refused by name, as on a device of that size.
static void too_small(void **state)
{
    (void)state;
    static const struct {
        struct sdg_device_limits limits;
        enum sdg_result result;
        const char *word;
    } cases[] = {
        {{.storage_range = 1 << 17}, SDG_ERROR_UNSUPPORTED, "needs a buffer of 1 MiB"},
        {{.memory = 64 << 20}, SDG_ERROR_MEMORY, "limited by the engine"},
    };
    if (!has_vulkan())
        return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_log log, more;
        struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.limits = cases[i].limits}, &log);
        struct drawing d = {
            .pipeline = new_pipeline(engine, MODEL, "vulkan", &more), .pictures = 1, .size = 64, .steps = 1};
        draw(&d);
        if (d.result != cases[i].result || more.errors != 1 || !strstr(more.last, cases[i].word))
            fail_msg("case %zu: '%s' should have '%s'", i, more.last, cases[i].word);
        sdg_pipeline_destroy(&d.pipeline);
        sdg_engine_destroy(&engine);
    }
}

// ---- the environment ----

static void no_environment(void **state)
{
    (void)state;
    struct temp_log log;
    struct sdg_engine_info info;
    char *before = getenv("XDG_CACHE_HOME") ? strdup(getenv("XDG_CACHE_HOME")) : NULL;
    setenv("XDG_CACHE_HOME", "/nowhere", 1);
    setenv("SDGEN_MODEL", "/nowhere", 1);
    for (int ignored = 0; ignored < 2; ignored++) {
        const struct sdg_engine_params params = {.no_environment = ignored, .log = *temp_log(&log)};
        struct sdg_engine *engine;
        struct sdg_pipeline *pipeline;
        assert_int_equal(sdg_engine_create(&params, &engine), SDG_OK);
        sdg_engine_info(engine, &info);
        if (ignored)
            assert_null(info.cache_dir);
        else
            assert_string_equal(info.cache_dir, "/nowhere/sdgen");
        // the default model: one is always found in the source tree
        const enum sdg_result result = sdg_pipeline_create(
            &(struct sdg_pipeline_params){.engine = engine, .backend = "cpu", .log = log.log}, &pipeline);
        assert_int_equal(result, ignored ? SDG_OK : SDG_ERROR_INPUT);
        assert_true(ignored || strstr(log.last, "/nowhere"));
        sdg_pipeline_destroy(&pipeline);
        sdg_engine_destroy(&engine);
    }
    unsetenv("SDGEN_MODEL");
    if (before)
        setenv("XDG_CACHE_HOME", before, 1);
    else
        unsetenv("XDG_CACHE_HOME");
    free(before);
}

// ---- processors ----

// Threads run where they are told to, the caller too, until the call returns.
static bool see_cpus(void *user, const struct sdg_progress *progress)
{
    (void)progress;
    cpu_set_t *seen = user;
    assert_int_equal(sched_getaffinity(0, sizeof *seen, seen), 0);
    return true;
}

static void cores(void **state)
{
    (void)state;
    struct temp_log log, more;
    cpu_set_t usable, seen, after;
    char text[16];
    int cpu = 0;
    assert_int_equal(sched_getaffinity(0, sizeof usable, &usable), 0);
    while (!CPU_ISSET(cpu, &usable))
        cpu++;
    snprintf(text, sizeof text, "%d", cpu);
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.cores = text}, &log);
    struct sdg_engine_info info;
    sdg_engine_info(engine, &info);
    assert_int_equal(info.threads, 1);
    struct sdg_pipeline *pipeline = new_pipeline(engine, MODEL, "cpu", &more);
    struct sdg_image *image;
    const struct sdg_generate_params g = {
        .width = 64, .height = 64, .steps = 1, .progress = see_cpus, .progress_user = &seen};
    assert_int_equal(sdg_generate(pipeline, &g, &image, NULL), SDG_OK);
    assert_true(CPU_COUNT(&seen) == 1 && CPU_ISSET(cpu, &seen));
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&after, &usable));
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&pipeline);
    sdg_engine_destroy(&engine);
}

// ---- refusals ----

static void bad_engines(void **state)
{
    (void)state;
    const struct {
        const char *word;
        struct sdg_engine_params params;
    } cases[] = {
        {"threads is -1", {.threads = -1}},
        {"threads is 1025", {.threads = 1025}},
        {"memory limit is -1", {.max_memory = -1}},
        {"submit time is -1", {.submit_time = {true, -1}}},
        {"cores is ''", {.cores = ""}},
        {"cores is '1-'", {.cores = "1-"}},
        {"cores is '3-1'", {.cores = "3-1"}},
        {"cores is 'big'", {.cores = "big"}},
        {"cores is '0,'", {.cores = "0,"}},
        {"cores is '99999'", {.cores = "99999"}},
        {"may run on none of them", {.cores = "16383"}},
        {"'warp', should be one of", {.disable = "warp"}},
        {"no instruction set 'bogus'", {.cpu_mask = "bogus"}},
        {"limits.storage_range is 1000, should be at least 65536", {.limits = {.storage_range = 1000}}},
        {"limits.allocation is 1", {.limits = {.allocation = 1}}},
        {"limits.memory is 1", {.limits = {.memory = 1}}},
        {"limits.invocations is 64", {.limits = {.invocations = 64}}},
        {"limits.shared_memory is 1024", {.limits = {.shared_memory = 1024}}},
        {"limits.workgroups is 1", {.limits = {.workgroups = 1}}},
        {"limits.buffers is 4", {.limits = {.buffers = 4}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_log log;
        struct sdg_engine_params params = cases[i].params;
        struct sdg_engine *engine = (void *)1;
        params.log = *temp_log(&log);
        if (sdg_engine_create(&params, &engine) != SDG_ERROR_USAGE || engine || log.errors != 1 ||
            !strstr(log.last, cases[i].word))
            fail_msg("case %zu: '%s' should have '%s'", i, log.last, cases[i].word);
    }
    assert_int_equal(sdg_engine_create(NULL, &(struct sdg_engine *){NULL}), SDG_ERROR_USAGE);
    assert_int_equal(sdg_engine_create(&(struct sdg_engine_params){.threads = 1}, NULL), SDG_ERROR_USAGE);
    struct sdg_engine_info info = {.threads = 7};
    sdg_engine_info(NULL, &info);
    assert_int_equal(info.threads, 0);
}

static void fields_of_the_engine(void **state)
{
    (void)state;
    struct temp_log log;
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &log);
    const struct {
        const char *name;
        struct sdg_pipeline_params params;
    } cases[] = {
        {"threads", {.threads = 2}},
        {"max_memory", {.max_memory = 1e9}},
        {"validation", {.validation = true}},
        {"disable", {.disable = "f16"}},
        {"cpu_mask", {.cpu_mask = "generic"}},
        {"cache_dir", {.cache_dir = ""}},
        {"submit_time", {.submit_time = {true, 1}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_pipeline_params params = cases[i].params;
        struct sdg_pipeline *pipeline = (void *)1;
        char want[64];
        snprintf(want, sizeof want, "%s is set", cases[i].name);
        params.engine = engine;
        params.model = MODEL;
        params.log = *temp_log(&log);
        if (sdg_pipeline_create(&params, &pipeline) != SDG_ERROR_USAGE || pipeline || log.errors != 1 ||
            strncmp(log.last, want, strlen(want)))
            fail_msg("'%s' should begin with '%s'", log.last, want);
    }
    sdg_engine_destroy(&engine);
}

// With an argument: the tests that it matches, such as 'together_*'.
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(together_cpu),   cmocka_unit_test(together_vulkan), cmocka_unit_test(any_order),
        cmocka_unit_test(shared_memory),  cmocka_unit_test(one_device),      cmocka_unit_test(lost_device),
        cmocka_unit_test(limited_device), cmocka_unit_test(too_small),       cmocka_unit_test(no_environment),
        cmocka_unit_test(cores),          cmocka_unit_test(bad_engines),     cmocka_unit_test(fields_of_the_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
