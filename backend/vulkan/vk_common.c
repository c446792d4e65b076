#include "backend/vulkan/vk_common.h"

#include <stdarg.h>
#include <stdio.h>

const char *sdg_vk_result_name(VkResult result)
{
    switch (result) {
#define NAME(x) \
    case x: return #x;
        NAME(VK_SUCCESS)
        NAME(VK_NOT_READY)
        NAME(VK_TIMEOUT)
        NAME(VK_INCOMPLETE)
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY)
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        NAME(VK_ERROR_INITIALIZATION_FAILED)
        NAME(VK_ERROR_DEVICE_LOST)
        NAME(VK_ERROR_MEMORY_MAP_FAILED)
        NAME(VK_ERROR_LAYER_NOT_PRESENT)
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT)
        NAME(VK_ERROR_FEATURE_NOT_PRESENT)
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER)
        NAME(VK_ERROR_TOO_MANY_OBJECTS)
        NAME(VK_ERROR_FRAGMENTED_POOL)
        NAME(VK_ERROR_UNKNOWN)
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY)
        NAME(VK_ERROR_FRAGMENTATION)
        NAME(VK_ERROR_INVALID_SHADER_NV)
        NAME(VK_PIPELINE_COMPILE_REQUIRED)
        NAME(VK_ERROR_VALIDATION_FAILED_EXT)
#undef NAME
    default: return "an unknown VkResult";
    }
}

// How many messages there were since the last look; the first one into `text`, which stays as it is if there was none.
static unsigned take_complaint(struct sdg_vk_validation *validation, char text[static SDG_VK_MESSAGE])
{
    pthread_mutex_lock(&validation->lock);
    const unsigned count = validation->count;
    if (count)
        memcpy(text, validation->first, SDG_VK_MESSAGE);
    validation->count = 0;
    pthread_mutex_unlock(&validation->lock);
    return count;
}

// Whether the context's log knows of the loss of the device; from now on it does.
static bool is_told(struct sdg_vk *vk)
{
    struct sdg_vk_shared *shared = vk->shared;
    bool told = false;
    pthread_mutex_lock(&shared->validation.lock);
    for (size_t i = 0; i < shared->told_count; i++)
        told = told || shared->told[i] == vk->base.log;
    if (!told && shared->told_count < SDG_VK_MAX_TOLD)
        shared->told[shared->told_count++] = vk->base.log;
    pthread_mutex_unlock(&shared->validation.lock);
    return told;
}

enum sdg_result sdg_vk_error(struct sdg_vk *vk, VkResult result, const char *call, const char *what)
{
    enum sdg_result kind = SDG_ERROR_DEVICE;
    const char *advice = "";
    if (result == VK_ERROR_DEVICE_LOST) {
        const bool known = is_told(vk);
        atomic_store(&vk->shared->lost, true);
        sdg_devices_forget(vk->devices, &vk->shared->base);
        kind = SDG_ERROR_COMPUTE;
        advice = "; the driver reset the device: everything on it is gone";
        if (known)
            return kind;
    } else if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY) {
        kind = SDG_ERROR_MEMORY;
        advice = "; try a smaller picture, --type f16 or --backend cpu";
    }
    // the validation layers may know more, and this is the one message there will be
    char complaint[SDG_VK_MESSAGE] = "";
    (void)take_complaint(&vk->shared->validation, complaint);
    return sdg_fail(vk->base.log, kind, "vulkan (%s): %s failed with %s (%d) for %s%s%s%s", vk->base.info.name, call,
                    sdg_vk_result_name(result), (int)result, what, advice, complaint[0] ? ": " : "", complaint);
}

enum sdg_result sdg_vk_report_loss(struct sdg_vk *vk)
{
    if (is_told(vk))
        return SDG_ERROR_COMPUTE;
    return sdg_fail(vk->base.log, SDG_ERROR_COMPUTE,
                    "vulkan (%s): the device was lost before, in other work: everything on it is gone",
                    vk->base.info.name);
}

VkResult sdg_vk_submit(struct sdg_vk *vk, const VkSubmitInfo *submit, VkFence fence)
{
    pthread_mutex_lock(&vk->shared->queue_lock);
    const VkResult result = vk->fn.vkQueueSubmit(vk->queue, 1, submit, fence);
    pthread_mutex_unlock(&vk->shared->queue_lock);
    return result;
}

void sdg_vk_wait_idle(struct sdg_vk *vk)
{
    pthread_mutex_lock(&vk->shared->queue_lock);
    (void)vk->fn.vkDeviceWaitIdle(vk->device);
    pthread_mutex_unlock(&vk->shared->queue_lock);
}

enum sdg_result sdg_vk_validated(struct sdg_vk *vk, const struct sdg_log *log, enum sdg_result result)
{
    char text[SDG_VK_MESSAGE];
    const unsigned count = take_complaint(&vk->shared->validation, text);
    if (count == 0 || result != SDG_OK)
        return result;
    return sdg_fail(log, SDG_ERROR_DEVICE, "vulkan validation (%u message%s): %s", count, count == 1 ? "" : "s", text);
}

void sdg_vk_name(struct sdg_vk *vk, VkObjectType type, uint64_t handle, const char *format, ...)
{
    if (!vk->debug.name)
        return;
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type,
        .objectHandle = handle,
        .pObjectName = text,
    };
    (void)vk->debug.name(vk->device, &info); // a name less is no error
}

void sdg_vk_label_begin(struct sdg_vk *vk, VkCommandBuffer commands, const char *name)
{
    const VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = name};
    if (vk->debug.begin)
        vk->debug.begin(commands, &label);
}

void sdg_vk_label_end(struct sdg_vk *vk, VkCommandBuffer commands)
{
    if (vk->debug.end)
        vk->debug.end(commands);
}
