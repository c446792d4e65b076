#ifndef SDG_BACKEND_VULKAN_TUNE_H
#define SDG_BACKEND_VULKAN_TUNE_H

#include "backend/vulkan/vk_common.h"

// sdg_backend_tune of this backend: shaders and tiles of products (vk_tiles.h).
enum sdg_result sdg_vk_tune(struct sdg_backend *backend, double seconds,
                            void (*fn)(void *user, const struct sdg_tuning *tuning), void *user);

#endif
