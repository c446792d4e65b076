// The Vulkan backend beside its operations (tests/ops.c has those), the choice of kernels (tests/vulkan_kernels.c) and
// its integers (tests/vulkan_integers.c): devices, validation, uploads, barriers, submissions, memory, the pipeline
// cache, failing allocations. Everything runs under the validation layers where they are installed.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include "backend/vulkan/vk_program.h"
#include "tests/support/vulkan.h"

#if SDG_HAVE_VULKAN
// ---- devices ----

struct listing {
    int count, vulkan;
    struct sdg_device_info info[16];
};

static void on_device(void *user, const struct sdg_device_info *info)
{
    struct listing *l = user;
    if (strcmp(info->backend, "vulkan") == 0 && l->vulkan < 16)
        l->info[l->vulkan++] = *info;
    l->count++;
}

static void test_list(void **state)
{
    (void)state;
    struct listing l = {0};
    sdg_backend_list(&test_log, NULL, on_device, &l);
    assert_true(l.vulkan >= 1);
    for (int i = 0; i < l.vulkan; i++) {
        const struct sdg_device_info *info = &l.info[i];
        printf("vulkan:%d %s, %s, %s, %llu MiB, features %u, %s\n", i, info->name, info->type, info->driver,
               (unsigned long long)(info->memory >> 20), info->features, info->note);
        assert_true(info->name[0] && info->driver[0] && info->note[0] && info->memory > 0);
        if (strstr(info->name, "llvmpipe"))
            assert_string_equal(info->type, "software");
        if (strncmp(info->note, "cannot", 6) == 0)
            continue;
        struct sdg_vk *vk = new_vk(&(struct sdg_backend_params){.device = i});
        assert_string_equal(sdg_backend_info(&vk->base)->name, info->name);
        close_vk(vk);
    }
    struct sdg_backend *backend = (void *)1;
    memset(&messages, 0, sizeof messages);
    assert_int_equal(open_backend(&(struct sdg_backend_params){.device = l.vulkan}, &backend), SDG_ERROR_DEVICE);
    assert_null(backend);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, "no such device"));
}

// Two contexts live side by side, and the older one still works when the younger is gone.
static void test_two_contexts(void **state)
{
    (void)state;
    struct sdg_vk *a = new_vk(NULL), *b = new_vk(NULL);
    assert_true(compare(b, random_graph(3, 12)) < 1e-7);
    close_vk(b);
    assert_true(compare(a, random_graph(4, 12)) < 1e-7);
    close_vk(a);
}

// ---- validation ----

static VkCommandBuffer begin_commands(struct sdg_vk *vk, VkCommandPool *pool)
{
    const VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .queueFamilyIndex = vk->queue_family};
    assert_int_equal(vk->fn.vkCreateCommandPool(vk->device, &pool_info, NULL, pool), VK_SUCCESS);
    const VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = *pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
    VkCommandBuffer commands;
    assert_int_equal(vk->fn.vkAllocateCommandBuffers(vk->device, &info, &commands), VK_SUCCESS);
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    assert_int_equal(vk->fn.vkBeginCommandBuffer(commands, &begin), VK_SUCCESS);
    return commands;
}

// That no message comes means something only if messages do come: of wrong calls and of missing barriers.
static void test_validation_is_heard(void **state)
{
    (void)state;
    if (!validation) {
        printf("skipped: no validation layers\n");
        skip();
    }
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_vk_buffer buffer;
    assert_int_equal(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, 4096, "the test's buffer", &buffer), SDG_OK);
    assert_int_equal(sdg_vk_validated(vk, vk->base.log, SDG_OK), SDG_OK);
    VkCommandPool pool;
    VkCommandBuffer commands = begin_commands(vk, &pool);
    vk->fn.vkCmdFillBuffer(commands, buffer.handle, 0, 4096, 1);
    assert_int_equal(sdg_vk_validated(vk, vk->base.log, SDG_OK), SDG_OK);
    vk->fn.vkCmdFillBuffer(commands, buffer.handle, 1024, 1024, 2); // no barrier: write after write
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_vk_validated(vk, vk->base.log, SDG_OK), SDG_ERROR_DEVICE);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, "SYNC-HAZARD-WRITE"));
    assert_non_null(strstr(messages.last, "the test's buffer")); // objects have names
    vk->fn.vkCmdFillBuffer(commands, buffer.handle, 1, 3, 2);    // not a multiple of 4
    assert_int_equal(sdg_vk_validated(vk, vk->base.log, SDG_OK), SDG_ERROR_DEVICE);
    assert_non_null(strstr(messages.last, "VUID-vkCmdFillBuffer"));
    assert_int_equal(sdg_vk_validated(vk, vk->base.log, SDG_OK), SDG_OK); // said once
    vk->fn.vkDestroyCommandPool(vk->device, pool, NULL);
    sdg_vk_buffer_destroy(vk, &buffer);
    close_vk(vk);
}

// ---- names and labels ----

static struct {
    unsigned named[64], begun, ended; // by VkObjectType
    char labels[512], sets[512];
} heard;

static void append(char (*text)[512], const char *word)
{
    size_t used = strlen(*text);
    snprintf(*text + used, sizeof *text - used, "%s ", word);
}

static VKAPI_ATTR VkResult VKAPI_CALL hear_name(VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info)
{
    (void)device;
    assert_true(info->objectHandle && info->pObjectName[0]);
    if (info->objectType < 64)
        heard.named[info->objectType]++;
    if (info->objectType == VK_OBJECT_TYPE_DESCRIPTOR_SET)
        append(&heard.sets, info->pObjectName);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL hear_begin(VkCommandBuffer commands, const VkDebugUtilsLabelEXT *label)
{
    (void)commands;
    assert_int_equal(heard.begun++, heard.ended);
    append(&heard.labels, label->pLabelName);
}

static VKAPI_ATTR void VKAPI_CALL hear_end(VkCommandBuffer commands)
{
    (void)commands;
    assert_int_equal(++heard.ended, heard.begun);
}

// Every kind of object has a name, every operation a label, once, when commands are recorded.
static void test_names(void **state)
{
    (void)state;
    static const VkObjectType types[] = {VK_OBJECT_TYPE_BUFFER,          VK_OBJECT_TYPE_DEVICE_MEMORY,
                                         VK_OBJECT_TYPE_COMMAND_POOL,    VK_OBJECT_TYPE_COMMAND_BUFFER,
                                         VK_OBJECT_TYPE_FENCE,           VK_OBJECT_TYPE_DESCRIPTOR_POOL,
                                         VK_OBJECT_TYPE_DESCRIPTOR_SET,  VK_OBJECT_TYPE_DESCRIPTOR_SET_LAYOUT,
                                         VK_OBJECT_TYPE_PIPELINE_LAYOUT, VK_OBJECT_TYPE_PIPELINE_CACHE,
                                         VK_OBJECT_TYPE_SHADER_MODULE,   VK_OBJECT_TYPE_PIPELINE};
    struct sdg_vk *vk = new_vk(NULL);
    assert_int_equal(vk->debug.name != NULL, validation);
    memset(&heard, 0, sizeof heard);
    vk->debug = (struct sdg_vk_debug){hear_name, hear_begin, hear_end};
    sdg_vk_pipelines_destroy(vk); // made anew, to be heard of
    assert_int_equal(sdg_vk_pipelines_create(vk, NULL), SDG_OK);
    struct sdg_graph *g = layer_norms();
    struct sdg_tensors *weights = weights_of(g);
    struct sdg_program *program = new_program(&vk->base, g, weights);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        assert_true(heard.named[types[i]] > 0);
    assert_int_equal(heard.named[VK_OBJECT_TYPE_QUERY_POOL] > 0, vk->caps.timestamp_bits > 0);
    assert_string_equal(heard.labels, "norm group ");
    assert_string_equal(heard.sets, "norm group group ");
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    assert_int_equal(heard.begun, 2);
    assert_int_equal(heard.ended, 2);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// ---- uploads ----

// Longer than both staging slots; odd places; memory that is mapped and memory that is not, coherent or flushed.
static void test_upload(void **state)
{
    (void)state;
    enum { BYTES = 10 * 1000 * 1000 };
    struct sdg_vk *vk = new_vk(NULL);
    unsigned char *data = malloc(BYTES), *back = malloc(BYTES);
    random_state = 5;
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (unsigned char)random_bits();
    static const enum sdg_vk_memory_use uses[] = {SDG_VK_MEMORY_DEVICE, SDG_VK_MEMORY_UPLOAD, SDG_VK_MEMORY_UPLOAD};
    for (int i = 0; i < 3; i++) {
        struct sdg_vk_buffer buffer;
        assert_int_equal(sdg_vk_buffer_create(vk, uses[i], BYTES + 7, "a test", &buffer), SDG_OK);
        if (i == 2)
            buffer.coherent = false; // flushes by whole atoms are legal on coherent memory too
        assert_int_equal(sdg_vk_upload(vk, &buffer, 0, data, BYTES), SDG_OK);
        assert_int_equal(sdg_vk_upload(vk, &buffer, 3, data, 1000), SDG_OK);
        assert_int_equal(sdg_vk_upload(vk, &buffer, BYTES - 2, data, 9), SDG_OK);
        assert_int_equal(sdg_vk_upload_finish(vk), SDG_OK);
        assert_int_equal(sdg_vk_download(vk, &buffer, 0, back, BYTES), SDG_OK);
        assert_memory_equal(back, data, 3);
        assert_memory_equal(back + 3, data, 1000);
        assert_memory_equal(back + 1003, data + 1003, BYTES - 1003 - 2);
        assert_int_equal(sdg_vk_download(vk, &buffer, BYTES - 2, back, 9), SDG_OK);
        assert_memory_equal(back, data, 9);
        sdg_vk_buffer_destroy(vk, &buffer);
    }
    assert_int_equal(sdg_vk_validated(vk, vk->base.log, SDG_OK), SDG_OK);
    free(data);
    free(back);
    struct sdg_vk_buffer none;
    memset(&messages, 0, sizeof messages);
    assert_int_equal(
        sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, (size_t)vk->caps.max_allocation + 1, "a test", &none),
        SDG_ERROR_MEMORY);
    assert_int_equal(messages.errors, 1);
    assert_null(none.handle);
    close_vk(vk);
}

// ---- barriers ----

static bool needs_barrier(struct sdg_vk_hazards *hazards, unsigned space, size_t offset, size_t bytes, bool written)
{
    struct sdg_vk_step step = {.key.bindings = 1, .bindings = {{{space, offset, bytes}, written}}};
    assert_int_equal(sdg_vk_hazards_add(&test_log, hazards, &step), SDG_OK);
    return step.barrier;
}

static void test_hazards(void **state)
{
    (void)state;
    const unsigned arena = SDG_VK_SPACE_ARENA;
    struct sdg_vk_hazards h = {0};
    assert_false(needs_barrier(&h, arena, 0, 100, true));
    assert_false(needs_barrier(&h, arena, 100, 100, true)); // neighbours do not touch
    assert_false(needs_barrier(&h, SDG_VK_SPACE_INPUTS, 0, 100, false));
    assert_true(needs_barrier(&h, arena, 99, 1, false));    // read after write, one byte
    assert_false(needs_barrier(&h, arena, 150, 10, false)); // settled by the barrier just before
    assert_false(needs_barrier(&h, arena, 150, 10, false)); // read after read
    assert_true(needs_barrier(&h, arena, 140, 11, true));   // write after read
    assert_true(needs_barrier(&h, arena, 0, 1000, true));   // write after write, over several
    assert_true(needs_barrier(&h, arena, 500, 1, false));
    sdg_vk_hazards_free(&h);
}

// The arena is reused all the time in these; a barrier too few is a message of the validation layers or a wrong result.
static void test_random_graphs(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    double worst = 0;
    int count = 0;
    for (uint64_t seed = 1; seed <= 24; seed++, count++)
        worst = fmax(worst, compare(vk, random_graph(seed, 10 + (int)seed)));
    printf("%d random graphs, worst NMSE %.1e\n", count, worst);
    assert_true(worst < 1e-7);
    close_vk(vk);
}

static void test_unet(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    for (int fused = 0; fused < 2; fused++)
        for (int half = 0; half < 2; half++) {
            random_state = 11;
            struct sdg_graph *g = unet(2, 7, 12, 2, 1, 3);
            if (fused)
                assert_int_equal(sdg_graph_fuse(g), SDG_OK);
            if (half && !sdg_backend_has_type(&vk->base, SDG_F16)) {
                sdg_graph_destroy(&g);
                continue;
            }
            if (half)
                assert_int_equal(sdg_graph_set_type(g, SDG_F16), SDG_OK);
            double error = compare(vk, g);
            printf("unet%s in %s: NMSE %.1e\n", fused ? ", fused" : "", half ? "f16" : "f32", error);
            assert_true(error < (half ? 1e-4 : 1e-9)); // both sides round every value to f16
        }
    close_vk(vk);
}

// ---- submissions ----

static PFN_vkQueueSubmit submit;
static int submissions;

static VKAPI_ATTR VkResult VKAPI_CALL count_submission(VkQueue queue, uint32_t count, const VkSubmitInfo *info,
                                                       VkFence fence)
{
    submissions++;
    return submit(queue, count, info, fence);
}

// What is written, run and read in a step; free().
static float *step(const struct sdg_graph *g, struct sdg_program *program, size_t *count, int *submitted)
{
    submissions = 0;
    assert_int_equal(write_inputs(g, program), SDG_OK);
    float *results = run_program(g, program, 0, count);
    *submitted = submissions;
    return results;
}

// A step is one submission where the host sees the device's memory; it is cut where it would take longer than it may,
// as soon as its speed is known, and the results stay the same bits.
static void test_submissions(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    submit = vk->fn.vkQueueSubmit;
    vk->fn.vkQueueSubmit = count_submission;
    random_state = 11;
    struct sdg_graph *g = unet(2, 7, 12, 2, 1, 3);
    struct sdg_tensors *weights = weights_of(g);
    for (int mapped = 0; mapped < 2; mapped++) {
        size_t count, inputs = 0;
        int whole, cut, again;
        for (size_t i = 1; i < g->value_count; i++)
            inputs += g->values[i].kind == SDG_VALUE_INPUT || g->values[i].kind == SDG_VALUE_TABLE;
        vk->caps.mapped_uploads = mapped;
        vk->caps.submit_seconds = INFINITY;
        struct sdg_program *program = new_program(&vk->base, g, weights);
        float *a = step(g, program, &count, &whole);
        vk->caps.submit_seconds = 1e-9;
        float *b = step(g, program, &count, &cut);
        vk->caps.submit_seconds = 1000;
        float *c = step(g, program, &count, &again);
        printf("%d submissions for a step, %d where each operation is one\n", whole, cut);
        assert_int_equal(whole, mapped ? 1 : 1 + (int)inputs);
        assert_int_equal(again, whole);
        assert_true(cut > whole + 20);
        assert_memory_equal(a, b, count * sizeof *a);
        assert_memory_equal(a, c, count * sizeof *a);
        free(a);
        free(b);
        free(c);
        sdg_program_destroy(&program);
    }
    // A device found to be slow: what was one submission no longer is.
    vk->caps.submit_seconds = 0.5;
    vk->work_rate = 1e15;
    struct sdg_program *program = new_program(&vk->base, g, weights);
    size_t count;
    int first, second;
    free(step(g, program, &count, &first));
    assert_true(vk->work_rate < 1e15);
    vk->work_rate = 1e3;
    free(step(g, program, &count, &second));
    assert_int_equal(first, 1);
    assert_true(second > 20);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// ---- memory ----

// Activations that no single allocation can hold lie in several; one that is larger is refused by name.
static void test_pieces(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    random_state = 11;
    struct sdg_graph *g = unet(2, 24, 12, 2, 1, 3);
    struct sdg_program *program;
    struct sdg_memory memory;
    size_t largest = 0;
    const struct sdg_program_params plan = {.plan_only = true};
    assert_int_equal(sdg_program_create(&vk->base, g, &plan, &program), SDG_OK);
    sdg_program_memory(program, &memory);
    sdg_program_destroy(&program);
    for (size_t i = 1; i < g->value_count; i++)
        if (g->values[i].kind == SDG_VALUE_ACTIVATION && (size_t)sdg_value_elements(&g->values[i]) * 4 > largest)
            largest = (size_t)sdg_value_elements(&g->values[i]) * 4;
    vk->caps.max_allocation = largest / 2;
    program = (void *)1;
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_program_create(&vk->base, g, &plan, &program), SDG_ERROR_UNSUPPORTED);
    assert_null(program);
    assert_int_equal(messages.errors, 1);
    assert_non_null(strstr(messages.last, "in one piece"));
    vk->caps.max_allocation =
        memory.arena / 2 > largest + vk->caps.alignment ? memory.arena / 2 : largest + vk->caps.alignment;
    printf("%zu bytes of activations in pieces of at most %llu\n", memory.arena,
           (unsigned long long)vk->caps.max_allocation);
    assert_true(vk->caps.max_allocation < memory.arena);
    assert_true(compare(vk, g) < 1e-9);
    close_vk(vk);
}

static void test_memory(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    random_state = 11;
    struct sdg_graph *g = unet(1, 8, 12, 2, 1, 3);
    struct sdg_tensors *weights = weights_of(g);
    struct sdg_memory planned, real;
    struct sdg_program *program = plan_of(&vk->base, g);
    sdg_program_memory(program, &planned);
    assert_int_equal(sdg_program_run(program, 0), SDG_ERROR_USAGE);
    sdg_program_destroy(&program);
    program = new_program(&vk->base, g, weights);
    sdg_program_memory(program, &real);
    assert_memory_equal(&planned, &real, sizeof real);
    size_t in_file = 0, inputs = 0;
    for (size_t i = 0; i < sdg_tensors_count(weights); i++)
        in_file += sdg_tensors_at(weights, i)->bytes;
    for (size_t i = 1; i < g->value_count; i++)
        if (g->values[i].kind == SDG_VALUE_INPUT || g->values[i].kind == SDG_VALUE_TABLE)
            inputs += (size_t)sdg_value_elements(&g->values[i]) * 4;
    assert_true(real.weights >= in_file && real.weights <= in_file + sdg_tensors_count(weights) * vk->caps.alignment);
    assert_true(real.inputs >= inputs);
    assert_true(real.arena > 0);
    assert_int_equal(real.total, real.weights + real.arena + real.inputs + real.scratch);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// Every host allocation of making and running a program fails once: an error, one message, nothing left behind.
static void test_failing_allocations(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = random_graph(7, 9);
    struct sdg_tensors *weights = weights_of(g);
    fail_each_allocation(g, weights, vk);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
    sdg_test_fail_allocation(0);
    close_vk(new_vk(NULL));
    size_t count = sdg_test_fail_allocation(0);
    for (size_t i = 1; i <= count; i++) {
        struct sdg_backend *backend = (void *)1;
        sdg_test_fail_allocation(i);
        enum sdg_result result = open_backend(NULL, &backend);
        sdg_test_fail_allocation(0);
        if (result == SDG_OK) { // one that can be done without
            sdg_backend_destroy(&backend);
        } else {
            assert_int_equal(result, SDG_ERROR_MEMORY);
            assert_null(backend);
        }
    }
}

// Runs allocate nothing.
static void test_run_allocates_nothing(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = random_graph(7, 9);
    struct sdg_tensors *weights = weights_of(g);
    struct sdg_program *program = new_program(&vk->base, g, weights);
    sdg_test_fail_allocation(0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write_inputs(g, program), SDG_OK);
        assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    }
    assert_int_equal(sdg_test_fail_allocation(0), 0);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// ---- profile ----

static void on_time(void *user, size_t op_index, const char *op, const char *kernel, double seconds)
{
    (void)op_index;
    assert_true(op[0] && kernel[0]);
    assert_true(seconds >= 0);
    *(double *)user += seconds;
}

static void test_profile(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_graph *g = short_product(600, 500);
    struct sdg_tensors *weights = weights_of(g);
    struct sdg_program *program = new_program(&vk->base, g, weights);
    double before = 0, after = 0;
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    sdg_program_times(program, on_time, &before);
    sdg_program_profile(program, true);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    sdg_program_times(program, on_time, &after);
    assert_true(before == 0);
    assert_true(vk->caps.timestamp_bits == 0 || after > 0);
    sdg_program_profile(program, false);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    sdg_program_destroy(&program);
    sdg_tensors_destroy(&weights);
    sdg_graph_destroy(&g);
    close_vk(vk);
}

// ---- the pipeline cache ----

static struct sdg_vk_pipeline_stats run_with_cache(void)
{
    struct sdg_vk *vk = new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = temp_root});
    struct sdg_vk_pipeline_stats stats;
    assert_true(compare(vk, layer_norms()) < 1e-9);
    sdg_vk_pipelines_stats(vk, &stats);
    close_vk(vk);
    return stats;
}

static void test_pipeline_cache(void **state)
{
    (void)state;
    struct sdg_vk_pipeline_stats stats = run_with_cache();
    assert_true(stats.compiled >= 3);
    assert_false(stats.from_disk);
    assert_true(run_with_cache().from_disk);

    FILE *file = fopen(stats.path, "rb");
    assert_non_null(file);
    static unsigned char good[1 << 20], bad[1 << 20];
    size_t bytes = fread(good, 1, sizeof good, file);
    fclose(file);
    assert_true(bytes > 64 && bytes < sizeof good);
    const size_t damaged[] = {0, 9, 17, 25, 33, 45, 50, 63, 64, bytes - 1}, lengths[] = {0, 1, 63, 64, bytes - 1};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0] + sizeof lengths / sizeof lengths[0]; i++) {
        size_t flips = sizeof damaged / sizeof damaged[0], length = i < flips ? bytes : lengths[i - flips];
        memcpy(bad, good, bytes);
        if (i < flips)
            bad[damaged[i]] ^= 0x10;
        file = fopen(stats.path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(bad, 1, length, file), length);
        fclose(file);
        if (i % 5 == 0) {
            assert_false(run_with_cache().from_disk); // a miss, and the file is made again
            assert_true(run_with_cache().from_disk);
        } else {
            struct sdg_vk *vk = new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = temp_root});
            sdg_vk_pipelines_stats(vk, &stats);
            assert_false(stats.from_disk);
            close_vk(vk);
        }
    }
    // A folder that is not there is made; one that cannot be made is no error.
    struct sdg_vk *vk = new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = temp_path("not/there")});
    assert_true(compare(vk, layer_norms()) < 1e-9);
    sdg_vk_pipelines_stats(vk, &stats);
    assert_int_equal(access(stats.path, R_OK), 0);
    close_vk(vk);
    vk = new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = stats.path}); // a file
    assert_true(compare(vk, layer_norms()) < 1e-9);
    close_vk(vk);
}

static int refusals; // of the next caches

static VKAPI_ATTR VkResult VKAPI_CALL refuse_cache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                                   const VkAllocationCallbacks *allocator, VkPipelineCache *out)
{
    if (refusals > 0) {
        refusals--;
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    return vkCreatePipelineCache(device, info, allocator, out);
}

// A driver that refuses the file's data, or any cache, costs a start without kept pipelines and is no error.
static void test_refused_cache(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = temp_path("refused")});
    assert_true(compare(vk, layer_norms()) < 1e-9);
    volkLoadDevice(vk->device);
    vk->fn.vkCreatePipelineCache = refuse_cache;
    for (int count = 0; count < 3; count++) {
        struct sdg_vk_pipeline_stats stats;
        sdg_vk_pipelines_destroy(vk);
        refusals = count;
        assert_int_equal(sdg_vk_pipelines_create(vk, temp_path("refused")), SDG_OK);
        sdg_vk_pipelines_stats(vk, &stats);
        assert_int_equal(stats.from_disk, count == 0);
        assert_int_equal(refusals, 0);
        assert_true(compare(vk, layer_norms()) < 1e-9);
    }
    close_vk(vk);
}

// ---- main ----

int main(int argc, char **argv)
{
    if (!find_vulkan(argc, argv))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_two_contexts),
        cmocka_unit_test(test_validation_is_heard),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_hazards),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_unet),
        cmocka_unit_test(test_submissions),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_run_allocates_nothing),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_pipeline_cache),
        cmocka_unit_test(test_refused_cache),
    };
    return run_part("vulkan", tests, sizeof tests / sizeof *tests);
}
#else
int main(void)
{
    printf("skipped: this build has no Vulkan backend\n");
    return 0;
}
#endif
