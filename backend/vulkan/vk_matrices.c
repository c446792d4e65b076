#include "backend/vulkan/vk_matrices.h"

#include "backend/vulkan/vk_device.h"

// The larger the matrix, the less often its operands are loaded.
static void add_matrix(struct sdg_vk_matrix_sizes *sizes, const VkCooperativeMatrixPropertiesKHR *p)
{
    const struct sdg_vk_matrix matrix = {p->MSize, p->NSize, p->KSize};
    uint32_t at = 0;
    while (at < sizes->count &&
           sizes->list[at].m * sizes->list[at].n * sizes->list[at].k >= matrix.m * matrix.n * matrix.k)
        at++;
    if (at == SDG_VK_MAX_MATRICES)
        return;
    if (sizes->count < SDG_VK_MAX_MATRICES)
        sizes->count++;
    memmove(&sizes->list[at + 1], &sizes->list[at], (sizes->count - at - 1) * sizeof *sizes->list);
    sizes->list[at] = matrix;
}

// A form of one type into another, that a subgroup computes, with results that wrap rather than saturate.
static bool is_form(const VkCooperativeMatrixPropertiesKHR *p, VkComponentTypeKHR from, VkComponentTypeKHR to)
{
    return p->scope == VK_SCOPE_SUBGROUP_KHR && !p->saturatingAccumulation && p->AType == from && p->BType == from &&
        p->CType == to && p->ResultType == to;
}

static void read_sizes(VkInstance instance, VkPhysicalDevice device, struct sdg_vk_matrices *out)
{
    enum { FORMS = 256 };
    // by name, since volk may be older than the extension
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR enumerate =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(void (*)(void))vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkCooperativeMatrixPropertiesKHR *forms = sdg_alloc(NULL, FORMS, sizeof *forms, "forms of matrices");
    uint32_t count = FORMS;
    for (uint32_t i = 0; forms && i < FORMS; i++)
        forms[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (!forms || !enumerate || enumerate(device, &count, forms) < 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_form(&forms[i], VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR))
            add_matrix(&out->halves, &forms[i]);
        else if (is_form(&forms[i], VK_COMPONENT_TYPE_SINT8_KHR, VK_COMPONENT_TYPE_SINT32_KHR))
            add_matrix(&out->bytes, &forms[i]);
    }
    sdg_free(forms);
}

// The subgroups that the shaders run in. Where a device has several sizes, its matrix instructions are made for the
// smallest (Intel) or for any (AMD).
static void choose_subgroup(struct sdg_vk_caps *caps)
{
    caps->matrices.sized = caps->sized_subgroups && caps->full_subgroups;
    caps->matrices.subgroup = caps->matrices.sized ? caps->least_subgroup : caps->subgroup_size;
    caps->matrices.most_subgroups =
        caps->matrices.sized ? caps->most_subgroups : caps->max_invocations / caps->subgroup_size;
}

void sdg_vk_read_matrices(VkInstance instance, VkPhysicalDevice device, struct sdg_vk_caps *caps)
{
    static const char *const needed[] = {VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
                                         VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME,
                                         VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!sdg_vk_has_extension(device, needed[i]))
            return;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceVulkanMemoryModelFeaturesKHR memory_model = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES_KHR, .pNext = &matrix};
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR types = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR, .pNext = &memory_model};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &types};
    vkGetPhysicalDeviceFeatures2(device, &features);
    VkPhysicalDeviceCooperativeMatrixPropertiesKHR stages = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &stages};
    vkGetPhysicalDeviceProperties2(device, &properties);
    if (!matrix.cooperativeMatrix || !memory_model.vulkanMemoryModel || !memory_model.vulkanMemoryModelDeviceScope ||
        !(stages.cooperativeMatrixSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) || caps->subgroup_size == 0)
        return;
    choose_subgroup(caps);
    read_sizes(instance, device, &caps->matrices);
    if (!types.shaderFloat16)
        caps->matrices.halves.count = 0;
    if (!types.shaderInt8)
        caps->matrices.bytes.count = 0;
}

void *sdg_vk_matrix_features(void *next, struct sdg_vk_matrix_features *out)
{
    *out = (struct sdg_vk_matrix_features){
        .matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                   .pNext = &out->memory_model,
                   .cooperativeMatrix = VK_TRUE},
        .memory_model = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES_KHR,
                         .pNext = next,
                         .vulkanMemoryModel = VK_TRUE,
                         .vulkanMemoryModelDeviceScope = VK_TRUE}, // all shaders' atomics have it then
        .extensions = {VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME},
    };
    return &out->matrix;
}
