// Buffers with memory of their own, and the way of data into and out of them.
#ifndef SDG_BACKEND_VULKAN_MEMORY_H
#define SDG_BACKEND_VULKAN_MEMORY_H

#include "backend/vulkan/vk_common.h"

struct sdg_vk_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    size_t bytes;
    unsigned char *mapped;       // where the host can write, NULL if it cannot
    bool coherent;               // writes through `mapped` need no flush
    VkMemoryPropertyFlags flags; // of the memory's type
    uint64_t allocated;          // bytes of `memory`
};

enum sdg_vk_memory_use {
    SDG_VK_MEMORY_DEVICE, // only the device touches it
    // device memory filled by the host: mapped where the host sees all of the device's memory, or enough of it
    SDG_VK_MEMORY_UPLOAD,
    SDG_VK_MEMORY_STAGING, // host memory the device copies from and to
};

// Makes a storage buffer of `bytes` > 0 (at most caps.max_allocation). `what` names it in messages.
enum sdg_result sdg_vk_buffer_create(struct sdg_vk *vk, enum sdg_vk_memory_use use, size_t bytes, const char *what,
                                     struct sdg_vk_buffer *out);
void sdg_vk_buffer_destroy(struct sdg_vk *vk, struct sdg_vk_buffer *buffer); // an empty one is fine
// Makes host writes (flush) or device writes (invalidate) in [offset, offset + bytes) visible to the other side.
enum sdg_result sdg_vk_buffer_flush(struct sdg_vk *vk, const struct sdg_vk_buffer *buffer, size_t offset, size_t bytes);
enum sdg_result sdg_vk_buffer_invalidate(struct sdg_vk *vk, const struct sdg_vk_buffer *buffer, size_t offset,
                                         size_t bytes);

// The uploader: two staging slots that take turns, so that the host fills one while the device empties the other. Made
// by sdg_vk_uploader_create with the context, used by one call at a time.
enum sdg_result sdg_vk_uploader_create(struct sdg_vk *vk);
void sdg_vk_uploader_destroy(struct sdg_vk *vk);
size_t sdg_vk_uploader_bytes(const struct sdg_vk *vk); // of staging memory

// Copies host data into a buffer. The data may be reused at once; the device has it after
// sdg_vk_upload_finish.
enum sdg_result sdg_vk_upload(struct sdg_vk *vk, const struct sdg_vk_buffer *to, size_t offset, const void *data,
                              size_t bytes);
enum sdg_result sdg_vk_upload_zeros(struct sdg_vk *vk, const struct sdg_vk_buffer *to);
enum sdg_result sdg_vk_upload_finish(struct sdg_vk *vk);
// Before what copies may touch is destroyed: waits for them, whatever that says.
void sdg_vk_upload_settle(struct sdg_vk *vk);
// Copies from a buffer and waits for it.
enum sdg_result sdg_vk_download(struct sdg_vk *vk, const struct sdg_vk_buffer *from, size_t offset, void *data,
                                size_t bytes);

#endif
