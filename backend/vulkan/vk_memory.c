#include "backend/vulkan/vk_memory.h"

#include <stdio.h>

// ---- buffers ----

// Memory types a buffer may come from, the best first.
struct types {
    uint32_t list[VK_MAX_MEMORY_TYPES];
    uint32_t count;
    bool too_small; // there are others, but their heaps hold less than the buffer
};

// The last two belong to a feature that is not turned on.
static const VkMemoryPropertyFlags useless = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
    VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD |
    VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;

static bool is_listed(const struct types *types, uint32_t type)
{
    for (uint32_t i = 0; i < types->count; i++)
        if (types->list[i] == type)
            return true;
    return false;
}

// A memory that the host sees and the device has as its own is as large as the device's (shared memory of phones and
// integrated GPUs, a resizable BAR), or a window of 256 MiB, which the driver needs too: small buffers only.
static bool has_room(const struct sdg_vk *vk, const VkMemoryType *type, uint64_t bytes)
{
    const uint64_t heap = vk->memory.memoryHeaps[type->heapIndex].size;
    const VkMemoryPropertyFlags both = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    const bool window = (type->propertyFlags & both) == both && heap < vk->base.info.memory;
    return bytes <= (window ? heap / 16 : heap);
}

// Appends the types of `need` that have all wanted flags and none of the others.
static void add_types(const struct sdg_vk *vk, const VkMemoryRequirements *need, VkMemoryPropertyFlags wanted,
                      VkMemoryPropertyFlags unwanted, struct types *types)
{
    for (uint32_t i = 0; i < vk->memory.memoryTypeCount; i++) {
        const VkMemoryType *type = &vk->memory.memoryTypes[i];
        if (!(need->memoryTypeBits & 1u << i) || (type->propertyFlags & wanted) != wanted ||
            (type->propertyFlags & (unwanted | useless)) || is_listed(types, i))
            continue;
        if (has_room(vk, type, need->size))
            types->list[types->count++] = i;
        else
            types->too_small = true;
    }
}

static struct types choose_types(const struct sdg_vk *vk, const VkMemoryRequirements *need, enum sdg_vk_memory_use use)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                visible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
                                coherent = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    struct types types = {.count = 0};
    if (use == SDG_VK_MEMORY_STAGING) { // read back too: cached first
        const VkMemoryPropertyFlags order[] = {visible | cached | coherent, visible | cached, visible | coherent,
                                               visible};
        for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
            add_types(vk, need, order[i], 0, &types);
        return types;
    }
    if (use == SDG_VK_MEMORY_UPLOAD && vk->caps.mapped_uploads)
        add_types(vk, need, local | visible, 0, &types);
    add_types(vk, need, local, visible, &types);
    add_types(vk, need, local, 0, &types);
    // Where all is the same memory, what the driver counts as the device's may be a small part of it. A card would have
    // to fetch all across the bus: better an error that says what to do.
    if (vk->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU || (types.count == 0 && !types.too_small))
        add_types(vk, need, 0, 0, &types);
    return types;
}

// Counts it among what is allocated on the device; false if that is more than is allowed.
static bool take_memory(struct sdg_vk *vk, uint64_t bytes)
{
    struct sdg_vk_shared *shared = vk->shared;
    if (atomic_fetch_add(&shared->memory_used, bytes) + bytes <= shared->memory_limit)
        return true;
    atomic_fetch_sub(&shared->memory_used, bytes);
    return false;
}

// From the first type that has so much left.
static enum sdg_result allocate(struct sdg_vk *vk, const VkMemoryRequirements *need, const struct types *types,
                                const char *what, struct sdg_vk_buffer *buffer)
{
    char text[128];
    snprintf(text, sizeof text, "%s of %zu MiB", what, (buffer->bytes + (1u << 20) - 1) >> 20);
    if (types->count == 0 && types->too_small)
        return sdg_vk_error(vk, VK_ERROR_OUT_OF_DEVICE_MEMORY, "a memory of that size", text);
    if (types->count == 0)
        return sdg_fail(vk->base.log, SDG_ERROR_DEVICE, "vulkan (%s): no memory type fits %s", vk->base.info.name,
                        what);
    if (!take_memory(vk, need->size))
        return sdg_vk_error(vk, VK_ERROR_OUT_OF_DEVICE_MEMORY, "vkAllocateMemory (limited by the engine)", text);
    VkResult result = VK_SUCCESS;
    for (uint32_t i = 0; i < types->count; i++) {
        const VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
            .allocationSize = need->size,
            .memoryTypeIndex = types->list[i],
        };
        result = vk->fn.vkAllocateMemory(vk->device, &info, NULL, &buffer->memory);
        if (result == VK_SUCCESS) {
            buffer->flags = vk->memory.memoryTypes[types->list[i]].propertyFlags;
            buffer->allocated = need->size;
            SDG_VK_NAME(vk, DEVICE_MEMORY, buffer->memory, "%s", what);
            return SDG_OK;
        }
        buffer->memory = VK_NULL_HANDLE;
        if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY)
            break;
    }
    atomic_fetch_sub(&vk->shared->memory_used, need->size);
    return sdg_vk_error(vk, result, "vkAllocateMemory", text);
}

// What is uploaded can be staged too, should the process have no addresses left.
static enum sdg_result map(struct sdg_vk *vk, enum sdg_vk_memory_use use, const char *what,
                           struct sdg_vk_buffer *buffer)
{
    void *mapped = NULL;
    const VkResult result = vk->fn.vkMapMemory(vk->device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
    if (result == VK_SUCCESS)
        buffer->mapped = mapped;
    else if (use == SDG_VK_MEMORY_STAGING || result != VK_ERROR_MEMORY_MAP_FAILED)
        return sdg_vk_error(vk, result, "vkMapMemory", what);
    return SDG_OK;
}

static enum sdg_result add_memory(struct sdg_vk *vk, enum sdg_vk_memory_use use, const char *what,
                                  struct sdg_vk_buffer *buffer)
{
    VkMemoryRequirements need;
    vk->fn.vkGetBufferMemoryRequirements(vk->device, buffer->handle, &need);
    const struct types types = choose_types(vk, &need, use);
    SDG_TRY(allocate(vk, &need, &types, what, buffer));
    SDG_VK_TRY(vk, what, vkBindBufferMemory, vk->device, buffer->handle, buffer->memory, 0);
    buffer->coherent = buffer->flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const bool mapped = use == SDG_VK_MEMORY_STAGING || (use == SDG_VK_MEMORY_UPLOAD && vk->caps.mapped_uploads);
    return mapped && (buffer->flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) ? map(vk, use, what, buffer) : SDG_OK;
}

enum sdg_result sdg_vk_buffer_create(struct sdg_vk *vk, enum sdg_vk_memory_use use, size_t bytes, const char *what,
                                     struct sdg_vk_buffer *out)
{
    *out = (struct sdg_vk_buffer){0};
    SDG_TRY(sdg_vk_alive(vk));
    if (bytes > vk->caps.max_allocation)
        return sdg_fail(vk->base.log, SDG_ERROR_MEMORY,
                        "vulkan (%s): %s needs %zu MiB, more than the %llu MiB this device gives at once; try a "
                        "smaller picture, VAE tiling or --type f16",
                        vk->base.info.name, what, bytes >> 20, (unsigned long long)(vk->caps.max_allocation >> 20));
    struct sdg_vk_buffer buffer = {.bytes = bytes};
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage =
            VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    SDG_VK_TRY(vk, what, vkCreateBuffer, vk->device, &info, NULL, &buffer.handle);
    SDG_VK_NAME(vk, BUFFER, buffer.handle, "%s", what);
    enum sdg_result result = add_memory(vk, use, what, &buffer);
    if (result == SDG_OK)
        *out = buffer;
    else
        sdg_vk_buffer_destroy(vk, &buffer);
    return result;
}

void sdg_vk_buffer_destroy(struct sdg_vk *vk, struct sdg_vk_buffer *buffer)
{
    if (buffer->handle)
        vk->fn.vkDestroyBuffer(vk->device, buffer->handle, NULL);
    if (buffer->memory)
        vk->fn.vkFreeMemory(vk->device, buffer->memory, NULL); // unmaps
    atomic_fetch_sub(&vk->shared->memory_used, buffer->allocated);
    *buffer = (struct sdg_vk_buffer){0};
}

// Flushes go by whole atoms; the end may be the end of the allocation instead.
static VkMappedMemoryRange atoms(const struct sdg_vk *vk, const struct sdg_vk_buffer *buffer, size_t offset,
                                 size_t bytes)
{
    size_t atom = vk->caps.atom ? vk->caps.atom : 1, first = offset / atom * atom,
           end = (offset + bytes + atom - 1) / atom * atom;
    return (VkMappedMemoryRange){
        .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
        .memory = buffer->memory,
        .offset = first,
        .size = end >= buffer->bytes ? VK_WHOLE_SIZE : end - first,
    };
}

enum sdg_result sdg_vk_buffer_flush(struct sdg_vk *vk, const struct sdg_vk_buffer *buffer, size_t offset, size_t bytes)
{
    if (!buffer->coherent) {
        VkMappedMemoryRange range = atoms(vk, buffer, offset, bytes);
        SDG_VK_TRY(vk, "an upload", vkFlushMappedMemoryRanges, vk->device, 1, &range);
    }
    return SDG_OK;
}

enum sdg_result sdg_vk_buffer_invalidate(struct sdg_vk *vk, const struct sdg_vk_buffer *buffer, size_t offset,
                                         size_t bytes)
{
    if (!buffer->coherent) {
        VkMappedMemoryRange range = atoms(vk, buffer, offset, bytes);
        SDG_VK_TRY(vk, "a download", vkInvalidateMappedMemoryRanges, vk->device, 1, &range);
    }
    return SDG_OK;
}

// ---- the uploader ----

enum { SLOTS = 2, SLOT_BYTES = 4 << 20 };

struct sdg_vk_uploader {
    struct sdg_vk_buffer staging; // SLOTS * SLOT_BYTES
    VkCommandPool pool;
    struct slot {
        VkCommandBuffer commands;
        VkFence fence;
        bool pending; // submitted, not waited for
    } slots[SLOTS];
    unsigned next;
};

enum sdg_result sdg_vk_uploader_create(struct sdg_vk *vk)
{
    struct sdg_vk_uploader *up = sdg_alloc(vk->base.log, 1, sizeof *up, "an uploader");
    if (!up)
        return SDG_ERROR_MEMORY;
    vk->uploader = up;
    SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_STAGING, SLOTS * SLOT_BYTES, "the staging buffer", &up->staging));
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT | VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = vk->queue_family,
    };
    SDG_VK_TRY(vk, "the uploader", vkCreateCommandPool, vk->device, &pool, NULL, &up->pool);
    SDG_VK_NAME(vk, COMMAND_POOL, up->pool, "the uploader");
    for (int i = 0; i < SLOTS; i++) {
        const VkCommandBufferAllocateInfo commands = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = up->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
        SDG_VK_TRY(vk, "the uploader", vkAllocateCommandBuffers, vk->device, &commands, &up->slots[i].commands);
        SDG_VK_TRY(vk, "the uploader", vkCreateFence, vk->device, &fence, NULL, &up->slots[i].fence);
        SDG_VK_NAME(vk, COMMAND_BUFFER, up->slots[i].commands, "the uploader, slot %d", i);
        SDG_VK_NAME(vk, FENCE, up->slots[i].fence, "the uploader, slot %d", i);
    }
    return SDG_OK;
}

void sdg_vk_upload_settle(struct sdg_vk *vk)
{
    bool pending = false;
    for (int i = 0; i < SLOTS; i++)
        pending = pending || vk->uploader->slots[i].pending;
    if (pending)
        sdg_vk_wait_idle(vk);
}

void sdg_vk_uploader_destroy(struct sdg_vk *vk)
{
    struct sdg_vk_uploader *up = vk->uploader;
    if (!up)
        return;
    sdg_vk_upload_settle(vk);
    for (int i = 0; i < SLOTS; i++)
        if (up->slots[i].fence)
            vk->fn.vkDestroyFence(vk->device, up->slots[i].fence, NULL);
    if (up->pool)
        vk->fn.vkDestroyCommandPool(vk->device, up->pool, NULL);
    sdg_vk_buffer_destroy(vk, &up->staging);
    sdg_free(up);
    vk->uploader = NULL;
}

size_t sdg_vk_uploader_bytes(const struct sdg_vk *vk)
{
    return vk->uploader->staging.bytes;
}

static enum sdg_result wait_slot(struct sdg_vk *vk, struct slot *slot)
{
    if (!slot->pending)
        return SDG_OK;
    SDG_VK_TRY(vk, "a copy", vkWaitForFences, vk->device, 1, &slot->fence, VK_TRUE, UINT64_MAX);
    SDG_VK_TRY(vk, "a copy", vkResetFences, vk->device, 1, &slot->fence);
    slot->pending = false;
    return SDG_OK;
}

// Waits until the next slot is free.
static enum sdg_result take_slot(struct sdg_vk *vk, struct slot **out, size_t *offset)
{
    SDG_TRY(sdg_vk_alive(vk));
    struct sdg_vk_uploader *up = vk->uploader;
    struct slot *slot = &up->slots[up->next];
    *offset = (size_t)up->next * SLOT_BYTES;
    up->next = (up->next + 1) % SLOTS;
    *out = slot;
    return wait_slot(vk, slot);
}

// Starts its commands. They begin after all that was submitted before.
static enum sdg_result begin_slot(struct sdg_vk *vk, struct slot *slot)
{
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    SDG_VK_TRY(vk, "a copy", vkBeginCommandBuffer, slot->commands, &begin);
    const VkMemoryBarrier before = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    vk->fn.vkCmdPipelineBarrier(slot->commands, stages, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &before, 0, NULL, 0,
                                NULL);
    return SDG_OK;
}

static enum sdg_result submit_slot(struct sdg_vk *vk, struct slot *slot)
{
    const VkMemoryBarrier after = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT,
    };
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    vk->fn.vkCmdPipelineBarrier(slot->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, stages, 0, 1, &after, 0, NULL, 0, NULL);
    SDG_VK_TRY(vk, "a copy", vkEndCommandBuffer, slot->commands);
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &slot->commands,
    };
    const VkResult result = sdg_vk_submit(vk, &submit, slot->fence);
    if (result != VK_SUCCESS)
        return sdg_vk_error(vk, result, "vkQueueSubmit", "a copy");
    slot->pending = true;
    return SDG_OK;
}

enum sdg_result sdg_vk_upload(struct sdg_vk *vk, const struct sdg_vk_buffer *to, size_t offset, const void *data,
                              size_t bytes)
{
    if (to->mapped) {
        memcpy(to->mapped + offset, data, bytes);
        return sdg_vk_buffer_flush(vk, to, offset, bytes);
    }
    const struct sdg_vk_buffer *staging = &vk->uploader->staging;
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < SLOT_BYTES ? bytes - done : SLOT_BYTES, at;
        struct slot *slot;
        SDG_TRY(take_slot(vk, &slot, &at));
        memcpy(staging->mapped + at, (const unsigned char *)data + done, part);
        SDG_TRY(sdg_vk_buffer_flush(vk, staging, at, part));
        SDG_TRY(begin_slot(vk, slot));
        const VkBufferCopy copy = {.srcOffset = at, .dstOffset = offset + done, .size = part};
        vk->fn.vkCmdCopyBuffer(slot->commands, staging->handle, to->handle, 1, &copy);
        SDG_TRY(submit_slot(vk, slot));
        done += part;
    }
    return SDG_OK;
}

enum sdg_result sdg_vk_upload_zeros(struct sdg_vk *vk, const struct sdg_vk_buffer *to)
{
    if (to->mapped) {
        memset(to->mapped, 0, to->bytes);
        return sdg_vk_buffer_flush(vk, to, 0, to->bytes);
    }
    struct slot *slot;
    size_t at;
    SDG_TRY(take_slot(vk, &slot, &at));
    SDG_TRY(begin_slot(vk, slot));
    vk->fn.vkCmdFillBuffer(slot->commands, to->handle, 0, VK_WHOLE_SIZE, 0);
    return submit_slot(vk, slot);
}

enum sdg_result sdg_vk_upload_finish(struct sdg_vk *vk)
{
    for (int i = 0; i < SLOTS; i++)
        SDG_TRY(wait_slot(vk, &vk->uploader->slots[i]));
    return SDG_OK;
}

enum sdg_result sdg_vk_download(struct sdg_vk *vk, const struct sdg_vk_buffer *from, size_t offset, void *data,
                                size_t bytes)
{
    const struct sdg_vk_buffer *staging = &vk->uploader->staging;
    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < SLOT_BYTES ? bytes - done : SLOT_BYTES, at;
        struct slot *slot;
        SDG_TRY(take_slot(vk, &slot, &at));
        SDG_TRY(begin_slot(vk, slot));
        const VkBufferCopy copy = {.srcOffset = offset + done, .dstOffset = at, .size = part};
        vk->fn.vkCmdCopyBuffer(slot->commands, from->handle, staging->handle, 1, &copy);
        SDG_TRY(submit_slot(vk, slot));
        SDG_TRY(wait_slot(vk, slot));
        SDG_TRY(sdg_vk_buffer_invalidate(vk, staging, at, part));
        memcpy((unsigned char *)data + done, staging->mapped + at, part);
        done += part;
    }
    return SDG_OK;
}
