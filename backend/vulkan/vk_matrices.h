// Cooperative matrices (VK_KHR_cooperative_matrix): what of them a device has, and turning it on.
#ifndef SDG_BACKEND_VULKAN_MATRICES_H
#define SDG_BACKEND_VULKAN_MATRICES_H

#include "backend/vulkan/vk_common.h"

// Headers older than the extension (1.3.255) lack its part of the registry that is used here.
#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506002)
typedef enum VkComponentTypeKHR {
    VK_COMPONENT_TYPE_FLOAT16_KHR = 0,
    VK_COMPONENT_TYPE_FLOAT32_KHR = 1,
    VK_COMPONENT_TYPE_SINT8_KHR = 3,
    VK_COMPONENT_TYPE_SINT32_KHR = 5,
    VK_COMPONENT_TYPE_MAX_ENUM_KHR = 0x7fffffff
} VkComponentTypeKHR;
typedef enum VkScopeKHR { VK_SCOPE_SUBGROUP_KHR = 3, VK_SCOPE_MAX_ENUM_KHR = 0x7fffffff } VkScopeKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    VkComponentTypeKHR AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct VkPhysicalDeviceCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    VkShaderStageFlags cooperativeMatrixSupportedStages;
} VkPhysicalDeviceCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(VkPhysicalDevice, uint32_t *,
                                                                                   VkCooperativeMatrixPropertiesKHR *);
#endif

// Reads the sizes and the subgroup of them into caps->matrices, whose counts stay 0 where the device lacks something
// that the shaders need. What caps says of subgroups and invocations is known already. The instance is loaded.
void sdg_vk_read_matrices(VkInstance instance, VkPhysicalDevice device, struct sdg_vk_caps *caps);

static inline bool sdg_vk_has_matrices(const struct sdg_vk_caps *caps)
{
    return caps->matrices.halves.count || caps->matrices.bytes.count;
}

// For vkCreateDevice: the features, in front of `next`, and the names of the extensions that go with them. Those of the
// types, of VK_KHR_shader_float16_int8, and of subgroups' sizes are the caller's.
enum { SDG_VK_MATRIX_EXTENSIONS = 2 };
struct sdg_vk_matrix_features {
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceVulkanMemoryModelFeaturesKHR memory_model;
    const char *extensions[SDG_VK_MATRIX_EXTENSIONS];
};
void *sdg_vk_matrix_features(void *next, struct sdg_vk_matrix_features *out);

#endif
