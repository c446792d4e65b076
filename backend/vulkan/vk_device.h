// Instance, choice of the physical device, its capabilities, the logical device and its one queue.
#ifndef SDG_BACKEND_VULKAN_DEVICE_H
#define SDG_BACKEND_VULKAN_DEVICE_H

#include "backend/vulkan/vk_common.h"

// Fills instance, device, queue, caps and info of vk->shared, which is zeroed, and of the context, whose base.log is
// set; where params->devices has the device already, *known is that one and nothing is opened. In both cases, and on
// failure, sdg_vk_device_close is to be called for what was made. Inside of sdg_devices_hold.
enum sdg_result sdg_vk_device_open(struct sdg_vk *vk, const struct sdg_backend_params *params,
                                   struct sdg_open_device **known);
void sdg_vk_device_close(struct sdg_vk *vk); // vk->shared; the caller frees that
// Makes the context one on this device.
void sdg_vk_adopt(struct sdg_vk *vk, struct sdg_vk_shared *shared);
// One call per physical device; none, and no message above debug level, where there is no Vulkan.
void sdg_vk_device_list(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device_info *info),
                        void *user);

bool sdg_vk_has_extension(VkPhysicalDevice device, const char *name);

// Tests: where all entry points come from instead of the loader's library, for drivers that fail; NULL again after it.
extern PFN_vkGetInstanceProcAddr sdg_test_vk_loader;

#endif
