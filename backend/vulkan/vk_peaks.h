#ifndef SDG_BACKEND_VULKAN_PEAKS_H
#define SDG_BACKEND_VULKAN_PEAKS_H

#include "backend/vulkan/vk_common.h"

// sdg_backend_peaks of this backend.
enum sdg_result sdg_vk_peaks(struct sdg_backend *backend, double seconds,
                             void (*fn)(void *user, const struct sdg_peak *peak), void *user);

#endif
