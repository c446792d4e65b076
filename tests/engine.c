// Several pipelines of one engine: what they share, that they draw at the same time what they draw alone, and what is
// refused. Built with ThreadSanitizer too (preset tsan).
#include "sdgen/engine.h"

#include "backend/vulkan/vk_device.h"
#include "base/file.h"
#include "pipeline/pipeline.h"
#include "temp.h"

#include <pthread.h>
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

// Each pipeline alone, made and drawn with one after the other; then both made and drawn with by two threads.
static void check_together(const char *backend, int size)
{
    struct temp_log logs[3];
    struct sdg_engine *engine = new_engine(&(struct sdg_engine_params){.threads = 2}, &logs[0]);
    static const char *const models[] = {MODEL, OTHER};
    struct drawing alone[2], together[2];
    for (int i = 0; i < 2; i++) {
        alone[i] = (struct drawing){.pipeline = new_pipeline(engine, models[i], backend, &logs[i + 1]),
                                    .pictures = 2,
                                    .size = size,
                                    .steps = 2};
        draw(&alone[i]);
        assert_int_equal(alone[i].result, SDG_OK);
        sdg_pipeline_destroy(&alone[i].pipeline);
    }
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
        for (int k = 0; k < 2; k++)
            check_same(alone[i].images[k], together[i].images[k]);
    }
    assert_int_equal(devices_of(engine), strcmp(backend, "vulkan") == 0);
    for (int i = 0; i < 2; i++) {
        clear(&alone[i]);
        clear(&together[i]);
        sdg_pipeline_destroy(&together[i].pipeline);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(together_cpu), cmocka_unit_test(together_vulkan),      cmocka_unit_test(any_order),
        cmocka_unit_test(bad_engines),  cmocka_unit_test(fields_of_the_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
