// What a device reaches at most, of what products are made of: multiply-adds, and reading and copying memory.
#include "backend/vulkan/vk_peaks.h"

#include "backend/vulkan/vk_memory.h"
#include "backend/vulkan/vk_pipeline.h"
#include "base/clock.h"

enum {
    INVOCATIONS = 128, // of a workgroup, as many as all devices allow
    // enough for every processor of a large device to have many workgroups
    WORKGROUPS = 8192,
    SOFTWARE_WORKGROUPS = 64,
    OPERATIONS = 2 * 32 * 8, // of an invocation in a round of peak_arithmetic.comp
    MATRICES = 8 * 4,        // products of a subgroup in a round of peak_matrix.comp
    SUBGROUPS = 4,           // of a workgroup of these
    BEST_OF = 3,
};
// What no cache holds; on a processor, where memory is slow, less.
static const size_t memory_bytes = 256 << 20, software_memory_bytes = 64 << 20;
static const uint32_t most_rounds = 1 << 24;

struct push { // GLSL twins: Push in shaders/peak_*.comp
    uint32_t rounds, fours;
};

static const struct peak {
    const char *name, *unit, *family;
    unsigned needs; // enum sdg_feature bits
    enum sdg_dtype type;
    double
        amount; // of an invocation in a round; of memory times the buffer's bytes; of matrices products of a subgroup
    bool memory, copied, matrix;
} peaks[] = {
    {"f32 multiply-add", "op/s", "peak_arithmetic", 0, SDG_F32, OPERATIONS, false, false, false},
    {"s8 packed dot product", "op/s", "peak_arithmetic", SDG_FEATURE_DOT, SDG_F32, 4 * OPERATIONS, false, false, false},
    {"f16 matrix multiply-add", "op/s", "peak_matrix", SDG_FEATURE_F16 | SDG_FEATURE_COOPMAT, SDG_F16, MATRICES, false,
     false, true},
    {"s8 matrix multiply-add", "op/s", "peak_matrix", SDG_FEATURE_COOPMAT, SDG_F32, MATRICES, false, false, true},
    {"memory read", "B/s", "peak_memory", 0, SDG_F32, 1, true, false, false},
    {"memory copy, both ways", "B/s", "peak_memory", 0, SDG_F32, 2, true, true, false},
};

// The matrices that products of this type prefer; NULL where the device has none.
static const struct sdg_vk_matrix *matrix_of(const struct sdg_vk *vk, const struct peak *p)
{
    const struct sdg_vk_matrix_sizes *sizes = p->type == SDG_F16 ? &vk->caps.matrices.halves : &vk->caps.matrices.bytes;
    return p->matrix && sizes->count ? &sizes->list[0] : NULL;
}

struct meter {
    struct sdg_vk *vk;
    struct sdg_vk_buffer from, to;
    uint32_t workgroups;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    VkCommandPool commands_pool;
    VkCommandBuffer commands;
    VkFence fence;
};

static void close_meter(struct meter *m)
{
    struct sdg_vk *vk = m->vk;
    if (m->fence)
        vk->fn.vkDestroyFence(vk->device, m->fence, NULL);
    if (m->commands_pool)
        vk->fn.vkDestroyCommandPool(vk->device, m->commands_pool, NULL);
    if (m->descriptors)
        vk->fn.vkDestroyDescriptorPool(vk->device, m->descriptors, NULL);
    sdg_vk_buffer_destroy(vk, &m->from);
    sdg_vk_buffer_destroy(vk, &m->to);
}

static enum sdg_result open_buffers(struct meter *m)
{
    struct sdg_vk *vk = m->vk;
    const size_t invocations = (size_t)m->workgroups * INVOCATIONS;
    size_t bytes = vk->caps.software ? software_memory_bytes : memory_bytes;
    while (bytes > vk->caps.max_range || bytes > vk->caps.max_allocation || bytes > vk->base.info.memory / 8)
        bytes /= 2;
    if (bytes < invocations * 16)
        return sdg_fail(vk->base.log, SDG_ERROR_UNSUPPORTED, "vulkan: %s has too little memory to be measured",
                        vk->base.info.name);
    SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, bytes, "what is read to measure", &m->from));
    SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_DEVICE, bytes, "what is written to measure", &m->to));
    SDG_TRY(sdg_vk_upload_zeros(vk, &m->from)); // numbers that no arithmetic takes longer for
    return sdg_vk_upload_finish(vk);
}

static enum sdg_result open_set(struct meter *m)
{
    struct sdg_vk *vk = m->vk;
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 2};
    const VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = 1, .poolSizeCount = 1, .pPoolSizes = &size};
    SDG_VK_TRY(vk, "a measurement", vkCreateDescriptorPool, vk->device, &pool, NULL, &m->descriptors);
    const VkDescriptorSetLayout layout = sdg_vk_set_layout(vk, 2);
    const VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                              .descriptorPool = m->descriptors,
                                              .descriptorSetCount = 1,
                                              .pSetLayouts = &layout};
    SDG_VK_TRY(vk, "a measurement", vkAllocateDescriptorSets, vk->device, &info, &m->set);
    const VkDescriptorBufferInfo buffers[] = {{m->from.handle, 0, m->from.bytes}, {m->to.handle, 0, m->to.bytes}};
    const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                        .dstSet = m->set,
                                        .descriptorCount = 2,
                                        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                        .pBufferInfo = buffers};
    vk->fn.vkUpdateDescriptorSets(vk->device, 1, &write, 0, NULL);
    return SDG_OK;
}

static enum sdg_result open_commands(struct meter *m)
{
    struct sdg_vk *vk = m->vk;
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = vk->queue_family};
    SDG_VK_TRY(vk, "a measurement", vkCreateCommandPool, vk->device, &pool, NULL, &m->commands_pool);
    const VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = m->commands_pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
    SDG_VK_TRY(vk, "a measurement", vkAllocateCommandBuffers, vk->device, &info, &m->commands);
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    SDG_VK_TRY(vk, "a measurement", vkCreateFence, vk->device, &fence, NULL, &m->fence);
    return SDG_OK;
}

static enum sdg_result record(struct meter *m, VkPipeline pipeline, uint32_t rounds)
{
    struct sdg_vk *vk = m->vk;
    const struct push push = {rounds, (uint32_t)(m->from.bytes / 16)};
    const VkPipelineLayout layout = sdg_vk_pipeline_layout(vk, 2);
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                     .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                                     .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
    SDG_VK_TRY(vk, "a measurement", vkResetCommandPool, vk->device, m->commands_pool, 0);
    SDG_VK_TRY(vk, "a measurement", vkBeginCommandBuffer, m->commands, &begin);
    vk->fn.vkCmdPipelineBarrier(m->commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                0, 1, &barrier, 0, NULL, 0, NULL);
    vk->fn.vkCmdBindPipeline(m->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vk->fn.vkCmdBindDescriptorSets(m->commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &m->set, 0, NULL);
    vk->fn.vkCmdPushConstants(m->commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
    vk->fn.vkCmdDispatch(m->commands, m->workgroups, 1, 1);
    SDG_VK_TRY(vk, "a measurement", vkEndCommandBuffer, m->commands);
    return SDG_OK;
}

// One submission, by the host's clock: it is made long enough for what that adds.
static enum sdg_result run(struct meter *m, double *seconds)
{
    struct sdg_vk *vk = m->vk;
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &m->commands};
    SDG_TRY(sdg_backend_goes_on(&vk->base));
    SDG_VK_TRY(vk, "a measurement", vkResetFences, vk->device, 1, &m->fence);
    const double start = sdg_clock();
    const VkResult result = sdg_vk_submit(vk, &submit, m->fence);
    if (result != VK_SUCCESS)
        return sdg_vk_error(vk, result, "vkQueueSubmit", "a measurement");
    SDG_VK_TRY(vk, "a measurement", vkWaitForFences, vk->device, 1, &m->fence, VK_TRUE, UINT64_MAX);
    *seconds = sdg_clock() - start;
    return SDG_OK;
}

// What all invocations do in a round.
static double amount_of(const struct meter *m, const struct peak *peak)
{
    const struct sdg_vk_matrix *matrix = matrix_of(m->vk, peak);
    if (matrix)
        return peak->amount * m->workgroups * SUBGROUPS * 2.0 * matrix->m * matrix->n * matrix->k;
    return peak->amount * (peak->memory ? (double)m->from.bytes : (double)m->workgroups * INVOCATIONS);
}

static enum sdg_result make_pipeline(struct meter *m, const struct peak *peak, VkPipeline *out)
{
    const struct sdg_vk_matrix *matrix = matrix_of(m->vk, peak);
    struct sdg_vk_pipeline_key key;
    memset(&key, 0, sizeof key);
    key.shader = sdg_vk_find_shader(peak->needs, peak->family, peak->type, 0, NULL);
    key.spec[SDG_SPEC_LOCAL_SIZE] = matrix ? SUBGROUPS * m->vk->caps.matrices.subgroup : INVOCATIONS;
    if (matrix) {
        key.spec[SDG_SPEC_FRAGMENT_M] = matrix->m;
        key.spec[SDG_SPEC_FRAGMENT_N] = matrix->n;
        key.spec[SDG_SPEC_FRAGMENT_K] = matrix->k;
    }
    if (peak->copied)
        key.spec[SDG_SPEC_COPIED] = 1;
    key.bindings = 2;
    return sdg_vk_pipeline(m->vk, &key, out);
}

// Twice the rounds until a run takes `least` seconds, then the best of some.
static enum sdg_result measure(struct meter *m, const struct peak *peak, double least, double *rate)
{
    VkPipeline pipeline;
    uint32_t rounds = 1;
    double seconds = 0;
    SDG_TRY(make_pipeline(m, peak, &pipeline));
    SDG_TRY(record(m, pipeline, rounds));
    SDG_TRY(run(m, &seconds)); // also what a first run costs
    SDG_TRY(run(m, &seconds));
    while (seconds < least && rounds < most_rounds) {
        rounds *= 2;
        SDG_TRY(record(m, pipeline, rounds));
        SDG_TRY(run(m, &seconds));
    }
    double best = seconds;
    for (int i = 1; i < BEST_OF; i++) {
        SDG_TRY(run(m, &seconds));
        best = seconds < best ? seconds : best;
    }
    *rate = best > 0 ? amount_of(m, peak) * rounds / best : 0;
    return SDG_OK;
}

static bool can_measure(const struct sdg_vk *vk, const struct peak *p)
{
    return !(p->needs & ~vk->features) && sdg_vk_find_shader(p->needs, p->family, p->type, 0, NULL) &&
        (!p->matrix ||
         (matrix_of(vk, p) && vk->caps.matrices.most_subgroups >= SUBGROUPS &&
          SUBGROUPS * vk->caps.matrices.subgroup <= vk->caps.max_invocations));
}

static enum sdg_result measure_all(struct meter *m, double seconds, void (*fn)(void *user, const struct sdg_peak *peak),
                                   void *user)
{
    enum { PEAKS = sizeof peaks / sizeof *peaks };
    SDG_TRY(open_buffers(m));
    SDG_TRY(open_set(m));
    SDG_TRY(open_commands(m));
    for (const struct peak *p = peaks; p < peaks + PEAKS; p++) {
        struct sdg_peak out = {.name = p->name, .unit = p->unit};
        if (!can_measure(m->vk, p))
            continue;
        // the runs that find the rounds take as long as the last one, which is up to twice what was asked for
        SDG_TRY(measure(m, p, seconds / PEAKS / (2 * BEST_OF + 2), &out.rate));
        fn(user, &out);
    }
    return SDG_OK;
}

enum sdg_result sdg_vk_peaks(struct sdg_backend *backend, double seconds,
                             void (*fn)(void *user, const struct sdg_peak *peak), void *user)
{
    struct sdg_vk *vk = sdg_vk_of(backend);
    SDG_TRY(sdg_vk_alive(vk));
    struct meter m = {.vk = vk, .workgroups = vk->caps.software ? SOFTWARE_WORKGROUPS : WORKGROUPS};
    const enum sdg_result result = measure_all(&m, seconds, fn, user);
    if (result != SDG_OK)
        sdg_vk_wait_idle(vk);
    close_meter(&m);
    return sdg_vk_validated(vk, vk->base.log, result);
}
