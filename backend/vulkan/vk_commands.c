#include "backend/vulkan/vk_commands.h"

#include "base/clock.h"

// ---- barriers ----

static bool overlap(const struct sdg_vk_place *a, const struct sdg_vk_place *b)
{
    return a->space == b->space && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

enum sdg_result sdg_vk_hazards_add(const struct sdg_log *log, struct sdg_vk_hazards *hazards, struct sdg_vk_step *step)
{
    for (uint32_t i = 0; i < step->key.bindings; i++)
        for (size_t k = 0; k < hazards->count; k++)
            if ((step->bindings[i].written || hazards->pending[k].written) &&
                overlap(&step->bindings[i].place, &hazards->pending[k].place))
                step->barrier = true;
    if (step->barrier)
        hazards->count = 0;
    for (uint32_t i = 0; i < step->key.bindings; i++) {
        if (step->bindings[i].place.space != SDG_VK_SPACE_ARENA) // all else is only read
            continue;
        if (!sdg_grow(log, &hazards->pending, &hazards->capacity, hazards->count + 1, sizeof *hazards->pending,
                      "accesses"))
            return SDG_ERROR_MEMORY;
        hazards->pending[hazards->count++] = step->bindings[i];
    }
    return SDG_OK;
}

void sdg_vk_hazards_free(struct sdg_vk_hazards *hazards)
{
    sdg_free(hazards->pending);
    *hazards = (struct sdg_vk_hazards){0};
}

enum { // stages
    SHADERS = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
    COPIES = VK_PIPELINE_STAGE_TRANSFER_BIT,
    HOST = VK_PIPELINE_STAGE_HOST_BIT
};

// Between the stages named, for all memory.
static void full_barrier(struct sdg_vk *vk, VkCommandBuffer commands, VkPipelineStageFlags from,
                         VkPipelineStageFlags to)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask =
            (from & SHADERS ? VK_ACCESS_SHADER_WRITE_BIT : 0) | (from & COPIES ? VK_ACCESS_TRANSFER_WRITE_BIT : 0),
        .dstAccessMask = (to & SHADERS ? VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT : 0) |
            (to & COPIES ? VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT : 0) |
            (to & HOST ? VK_ACCESS_HOST_READ_BIT : 0),
    };
    vk->fn.vkCmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

// ---- recording ----

enum sdg_result sdg_vk_recording_create(struct sdg_vk *vk, const struct sdg_log *log, size_t op_count,
                                        struct sdg_vk_recording *out)
{
    out->buffers = sdg_alloc(log, op_count + 1, sizeof *out->buffers, "command buffers");
    out->stamps = sdg_alloc(log, op_count + 1, sizeof *out->stamps, "time stamps");
    if (!out->buffers || !out->stamps)
        return SDG_ERROR_MEMORY;
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = vk->queue_family};
    SDG_VK_TRY(vk, "a program", vkCreateCommandPool, vk->device, &pool, NULL, &out->pool);
    SDG_VK_NAME(vk, COMMAND_POOL, out->pool, "a program");
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    SDG_VK_TRY(vk, "a program", vkCreateFence, vk->device, &fence, NULL, &out->fence);
    SDG_VK_NAME(vk, FENCE, out->fence, "a program");
    if (vk->caps.timestamp_bits == 0)
        return SDG_OK;
    const VkQueryPoolCreateInfo times = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = (uint32_t)op_count + 1,
    };
    SDG_VK_TRY(vk, "time stamps", vkCreateQueryPool, vk->device, &times, NULL, &out->times);
    SDG_VK_NAME(vk, QUERY_POOL, out->times, "times of operations");
    return SDG_OK;
}

void sdg_vk_recording_destroy(struct sdg_vk *vk, struct sdg_vk_recording *recording)
{
    if (recording->times)
        vk->fn.vkDestroyQueryPool(vk->device, recording->times, NULL);
    if (recording->fence)
        vk->fn.vkDestroyFence(vk->device, recording->fence, NULL);
    if (recording->pool)
        vk->fn.vkDestroyCommandPool(vk->device, recording->pool, NULL);
    sdg_free(recording->buffers);
    sdg_free(recording->stamps);
    *recording = (struct sdg_vk_recording){0};
}

// Begins the next submission's commands. What is made for it stays, as the pool does.
static enum sdg_result begin(struct sdg_vk *vk, struct sdg_vk_recording *recording, size_t at)
{
    if (at == recording->made) {
        const VkCommandBufferAllocateInfo one = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = recording->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        SDG_VK_TRY(vk, "a program", vkAllocateCommandBuffers, vk->device, &one, &recording->buffers[at]);
        recording->made++;
        SDG_VK_NAME(vk, COMMAND_BUFFER, recording->buffers[at], "a program, submission %zu", at + 1);
    }
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    SDG_VK_TRY(vk, "a program", vkBeginCommandBuffer, recording->buffers[at], &info);
    // What ran before, the last run of this program and uploads included, is finished and seen by what follows.
    full_barrier(vk, recording->buffers[at], SHADERS | COPIES, SHADERS | COPIES);
    return SDG_OK;
}

static void copy(struct sdg_vk *vk, VkCommandBuffer commands, const struct sdg_vk_copy *c)
{
    vk->fn.vkCmdCopyBuffer(commands, c->from->handle, c->to->handle, 1, &c->part);
}

static void copy_results(struct sdg_vk *vk, VkCommandBuffer commands, const struct sdg_vk_script *script)
{
    if (script->result_count == 0)
        return;
    full_barrier(vk, commands, SHADERS, COPIES);
    for (size_t i = 0; i < script->result_count; i++)
        copy(vk, commands, &script->results[i]);
    full_barrier(vk, commands, COPIES, HOST);
}

static void record_step(struct sdg_vk *vk, VkCommandBuffer commands, const struct sdg_vk_step *step,
                        const struct sdg_vk_step *before)
{
    VkPipelineLayout layout = sdg_vk_pipeline_layout(vk, step->key.bindings);
    if (!before || before->pipeline != step->pipeline)
        vk->fn.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, step->pipeline);
    vk->fn.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &step->set, 0, NULL);
    vk->fn.vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, step->push_bytes, step->push);
    vk->fn.vkCmdDispatch(commands, step->groups[0], step->groups[1], step->groups[2]);
}

// The steps of one operation, from *at on.
static void record_op(struct sdg_vk *vk, const struct sdg_vk_recording *recording, VkCommandBuffer commands,
                      const struct sdg_vk_script *script, size_t op, size_t *at, const struct sdg_vk_step **before)
{
    const struct sdg_vk_step *steps = script->steps;
    const bool labelled = *at < script->step_count && steps[*at].op == op;
    if (labelled)
        sdg_vk_label_begin(vk, commands, steps[*at].name);
    for (bool first = true; *at < script->step_count && steps[*at].op == op; ++*at, first = false) {
        if (steps[*at].barrier || (script->timed && first))
            full_barrier(vk, commands, SHADERS, SHADERS);
        record_step(vk, commands, &steps[*at], *before);
        *before = &steps[*at];
    }
    if (labelled)
        sdg_vk_label_end(vk, commands);
    if (script->timed && recording->times)
        vk->fn.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, recording->times, (uint32_t)op + 1);
}

// Work that fits into the time of a submission.
static double submission_limit(const struct sdg_vk *vk)
{
    return vk->caps.submit_seconds * vk->work_rate;
}

enum sdg_result sdg_vk_record(struct sdg_vk *vk, struct sdg_vk_recording *recording, const struct sdg_vk_script *script)
{
    recording->count = 0;
    SDG_VK_TRY(vk, "a program", vkResetCommandPool, vk->device, recording->pool, 0);
    const double limit = submission_limit(vk);
    size_t submission = 0, at = 0;
    double sum = 0, total = 0;
    const struct sdg_vk_step *before = NULL; // in this command buffer
    SDG_TRY(begin(vk, recording, 0));
    copy(vk, recording->buffers[0], &script->row);
    full_barrier(vk, recording->buffers[0], COPIES, SHADERS);
    if (script->timed && recording->times) {
        vk->fn.vkCmdResetQueryPool(recording->buffers[0], recording->times, 0, (uint32_t)script->op_count + 1);
        vk->fn.vkCmdWriteTimestamp(recording->buffers[0], VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, recording->times, 0);
    }
    for (size_t op = 0; op < script->op_count; op++) {
        if (sum > 0 && sum + script->work[op] > limit) {
            SDG_VK_TRY(vk, "a program", vkEndCommandBuffer, recording->buffers[submission]);
            SDG_TRY(begin(vk, recording, ++submission));
            before = NULL;
            sum = 0;
        }
        record_op(vk, recording, recording->buffers[submission], script, op, &at, &before);
        sum += script->work[op];
        total += script->work[op];
    }
    copy_results(vk, recording->buffers[submission], script);
    SDG_VK_TRY(vk, "a program", vkEndCommandBuffer, recording->buffers[submission]);
    recording->count = submission + 1;
    recording->total = total;
    recording->limit = limit;
    return SDG_OK;
}

bool sdg_vk_recording_is_stale(const struct sdg_vk *vk, const struct sdg_vk_recording *recording)
{
    const double limit = submission_limit(vk);
    const bool was_whole = recording->total <= recording->limit, is_whole = recording->total <= limit;
    if (recording->count == 0 || was_whole != is_whole)
        return true;
    return !is_whole && (limit > 1.5 * recording->limit || recording->limit > 1.5 * limit); // else it is chance
}

// What has been submitted cannot be taken back: that the caller wants no more is noted, and said at the end.
static enum sdg_result wait(struct sdg_vk *vk, VkFence fence)
{
    const uint64_t nanoseconds = 100000000;
    enum sdg_result goes_on = SDG_OK;
    for (;;) {
        const VkResult result = vk->fn.vkWaitForFences(vk->device, 1, &fence, VK_TRUE, nanoseconds);
        if (result != VK_SUCCESS && result != VK_TIMEOUT)
            return sdg_vk_error(vk, result, "vkWaitForFences", "a run");
        if (goes_on == SDG_OK)
            goes_on = sdg_backend_goes_on(&vk->base);
        if (result == VK_SUCCESS)
            break;
    }
    return goes_on;
}

// On a processor nothing is lost by waiting for each submission, so there a run can end between them.
static enum sdg_result submit_and_wait(struct sdg_vk *vk, const struct sdg_vk_recording *recording)
{
    for (size_t i = 0; i < recording->count; i++) { // separately: a watchdog counts from submission to submission
        const VkSubmitInfo submit = {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
            .commandBufferCount = 1,
            .pCommandBuffers = &recording->buffers[i],
        };
        const bool waits = i + 1 == recording->count || vk->caps.software;
        if (waits)
            SDG_VK_TRY(vk, "a run", vkResetFences, vk->device, 1, &recording->fence);
        const VkResult result = sdg_vk_submit(vk, &submit, waits ? recording->fence : VK_NULL_HANDLE);
        if (result != VK_SUCCESS)
            return sdg_vk_error(vk, result, "vkQueueSubmit", "a run");
        if (waits)
            SDG_TRY(wait(vk, recording->fence));
    }
    return SDG_OK;
}

// The next recording is cut up by what this run reached; runs differ, so one alone moves it half the way.
static void note_speed(struct sdg_vk *vk, struct sdg_vk_recording *recording)
{
    if (recording->wall <= 0 || recording->total <= 0)
        return;
    const double rate = recording->total / recording->wall;
    vk->work_rate = vk->work_rate == vk->caps.work_rate ? rate : (vk->work_rate + rate) / 2;
}

enum sdg_result sdg_vk_recording_run(struct sdg_vk *vk, struct sdg_vk_recording *recording)
{
    SDG_TRY(sdg_vk_alive(vk));
    const double start = sdg_clock();
    enum sdg_result result = submit_and_wait(vk, recording);
    recording->wall = sdg_clock() - start;
    if (result == SDG_OK)
        note_speed(vk, recording);
    else
        sdg_vk_wait_idle(vk); // the caller may destroy what is in use
    return result;
}

enum sdg_result sdg_vk_recording_times(struct sdg_vk *vk, struct sdg_vk_recording *recording, size_t op_count,
                                       double *seconds)
{
    if (!recording->times)
        return SDG_OK;
    uint64_t *stamps = recording->stamps;
    SDG_VK_TRY(vk, "time stamps", vkGetQueryPoolResults, vk->device, recording->times, 0, (uint32_t)op_count + 1,
               (op_count + 1) * sizeof *stamps, stamps, sizeof *stamps,
               VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    const uint64_t mask = vk->caps.timestamp_bits >= 64 ? UINT64_MAX : (UINT64_C(1) << vk->caps.timestamp_bits) - 1;
    double sum = 0;
    for (size_t i = 0; i < op_count; i++)
        sum += (double)((stamps[i + 1] - stamps[i]) & mask) * vk->caps.timestamp_seconds;
    if (sum > 1.1 * recording->wall + 0.001) { // the device did not work longer than the host waited for it
        if (!vk->distrusted)
            sdg_say(vk->base.log, SDG_LOG_WARNING,
                    "vulkan (%s): the driver's time stamps cannot be true (%g s in a run of %g s); operations are not "
                    "timed",
                    vk->base.info.name, sum, recording->wall);
        vk->distrusted = true;
        return SDG_OK;
    }
    for (size_t i = 0; i < op_count; i++)
        seconds[i] += (double)((stamps[i + 1] - stamps[i]) & mask) * vk->caps.timestamp_seconds;
    return SDG_OK;
}
