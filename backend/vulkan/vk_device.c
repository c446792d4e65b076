#define VOLK_IMPLEMENTATION
#include "backend/vulkan/vk_device.h"

#include "backend/vulkan/vk_matrices.h"
#include "base/platform.h"
#include "sdgen/engine.h"
#include "shaders/shaders.h"

#include <stdio.h>

// volk keeps the instance's entry points in variables of the process. Whoever calls one holds this lock and has loaded
// the variables for his own instance first; the device's entry points live in each context and need no lock.
static pthread_mutex_t loader_lock = PTHREAD_MUTEX_INITIALIZER;

PFN_vkGetInstanceProcAddr sdg_test_vk_loader;

static VkBool32 VKAPI_PTR on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                     VkDebugUtilsMessageTypeFlagsEXT types,
                                     const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity;
    (void)types;
    struct sdg_vk_validation *validation = user;
    const char *text = data->pMessage ? data->pMessage : "", *bar;
    while ((bar = strstr(text, " | "))) // the part after the identifiers says what is wrong
        text = bar + 3;
    pthread_mutex_lock(&validation->lock);
    if (validation->count++ == 0)
        snprintf(validation->first, sizeof validation->first, "%s: %s",
                 data->pMessageIdName ? data->pMessageIdName : "?", text);
    pthread_mutex_unlock(&validation->lock);
    return VK_FALSE;
}

// ---- instance ----

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

static bool has_layer(const char *name)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    VkResult result = vkEnumerateInstanceLayerProperties(&count, layers);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(layers[i].layerName, name) == 0)
            return true;
    return false;
}

static bool has_instance_extension(const char *name)
{
    VkExtensionProperties list[128];
    uint32_t count = 128;
    VkResult result = vkEnumerateInstanceExtensionProperties(NULL, &count, list);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            return true;
    return false;
}

static enum sdg_result open_loader(const struct sdg_log *log, enum sdg_log_level level)
{
    if (sdg_test_vk_loader)
        volkInitializeCustom(sdg_test_vk_loader);
    else if (volkInitialize() != VK_SUCCESS) {
        sdg_say(log, level,
                "vulkan: no Vulkan loader (libvulkan) on this machine; install a Vulkan driver or use --backend cpu");
        return SDG_ERROR_DEVICE;
    }
    if (volkGetInstanceVersion() < VK_API_VERSION_1_1) {
        sdg_say(log, level, "vulkan: the Vulkan loader is older than version 1.1; update it or use --backend cpu");
        return SDG_ERROR_DEVICE;
    }
    return SDG_OK;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(struct sdg_vk_validation *validation)
{
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        // "general" is the loader talking about other drivers
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = validation,
    };
}

// `validation` may be NULL: no layers then.
static VkResult create_instance(struct sdg_vk_validation *validation, VkInstance *out)
{
    // heard while the instance itself is made and destroyed
    const VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info(validation);
    const VkValidationFeatureEnableEXT enable[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = enable,
    };
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "sdgen",
        .pEngineName = "sdgen",
        .apiVersion = VK_API_VERSION_1_1,
    };
    const char *layer = validation_layer;
    const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = validation                             ? 2
            : has_instance_extension(VK_EXT_DEBUG_UTILS_EXTENSION_NAME) ? 1
                                                                        : 0,
        .ppEnabledExtensionNames = extensions,
    };
    return vkCreateInstance(&info, NULL, out);
}

enum { DRIVER_STACK_KIB = 256 }; // the loader and lavapipe end with a segmentation fault at 64

// With the lock held.
static enum sdg_result open_instance(const struct sdg_log *log, enum sdg_log_level level,
                                     struct sdg_vk_validation *validation, VkInstance *out)
{
    const size_t stack = sdg_platform_stack() >> 10;
    if (stack < DRIVER_STACK_KIB) {
        sdg_say(log, level,
                "vulkan: drivers need a stack of %d KiB, the limit is %zu (ulimit -s); else use --backend cpu",
                DRIVER_STACK_KIB, stack);
        return SDG_ERROR_DEVICE;
    }
    SDG_TRY(open_loader(log, level));
    if (validation && !has_layer(validation_layer)) {
        sdg_say(log, level, "vulkan: validation was asked for, but the layer %s is not installed", validation_layer);
        return SDG_ERROR_DEVICE;
    }
    VkResult result = create_instance(validation, out);
    if (result != VK_SUCCESS) {
        *out = VK_NULL_HANDLE;
        sdg_say(log, level,
                "vulkan: vkCreateInstance failed with %s (%d): is a Vulkan driver installed? Else use --backend cpu",
                sdg_vk_result_name(result), (int)result);
        return SDG_ERROR_DEVICE;
    }
    volkLoadInstanceOnly(*out);
    return SDG_OK;
}

// ---- physical devices ----

struct candidate {
    VkPhysicalDevice device;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    uint8_t cache_id[VK_UUID_SIZE];
    struct sdg_vk_caps caps;
    uint32_t queue_family;
    const char *unusable; // why this backend cannot use it, or NULL
    struct sdg_device_info info;
};

static const char *type_name(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return "discrete gpu";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return "integrated gpu";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return "virtual gpu";
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return "software";
    default: return "other";
    }
}

bool sdg_vk_has_extension(VkPhysicalDevice device, const char *name)
{
    uint32_t count = 0;
    if (vkEnumerateDeviceExtensionProperties(device, NULL, &count, NULL) != VK_SUCCESS)
        return false;
    VkExtensionProperties *list = sdg_alloc(NULL, count, sizeof *list, "extensions");
    bool found = false;
    if (list && vkEnumerateDeviceExtensionProperties(device, NULL, &count, list) >= 0)
        for (uint32_t i = 0; i < count && !found; i++)
            found = strcmp(list[i].extensionName, name) == 0;
    sdg_free(list);
    return found;
}

// A queue that computes, one without graphics if there is: it is not throttled by what the screen does.
static uint32_t find_queue_family(VkPhysicalDevice device, struct sdg_vk_caps *caps, double period)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = 32, best = UINT32_MAX;
    vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families);
    for (uint32_t i = 0; i < count; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)
            if (best == UINT32_MAX ||
                (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) &&
                 (families[best].queueFlags & VK_QUEUE_GRAPHICS_BIT)))
                best = i;
    if (best != UINT32_MAX) {
        caps->timestamp_bits = period > 0 && period < 1e9 ? families[best].timestampValidBits : 0;
        caps->timestamp_seconds = period * 1e-9;
    }
    return best;
}

static void read_dot_product(VkPhysicalDevice device, struct sdg_vk_caps *caps)
{
    if (!sdg_vk_has_extension(device, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))
        return;
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &dot};
    vkGetPhysicalDeviceFeatures2(device, &features);
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR speed = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &speed};
    vkGetPhysicalDeviceProperties2(device, &properties);
    caps->dot_product = dot.shaderIntegerDotProduct;
    caps->dot_accelerated = dot.shaderIntegerDotProduct && speed.integerDotProduct4x8BitPackedSignedAccelerated;
}

static void read_subgroup_sizes(VkPhysicalDevice device, struct sdg_vk_caps *caps)
{
    if (!sdg_vk_has_extension(device, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        return;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &control};
    vkGetPhysicalDeviceFeatures2(device, &features);
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    vkGetPhysicalDeviceProperties2(device, &properties);
    caps->full_subgroups = control.computeFullSubgroups;
    caps->sized_subgroups =
        control.subgroupSizeControl && (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
    caps->least_subgroup = sizes.minSubgroupSize;
    caps->most_subgroups = sizes.maxComputeWorkgroupSubgroups;
}

static bool has_half_arithmetic(VkPhysicalDevice device)
{
    if (!sdg_vk_has_extension(device, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME))
        return false;
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR types = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &types};
    vkGetPhysicalDeviceFeatures2(device, &features);
    return types.shaderFloat16;
}

static void assume_class(const VkPhysicalDeviceProperties *device, struct sdg_vk_caps *caps)
{
    static const struct {
        uint32_t vendor;
        VkPhysicalDeviceType type; // OTHER: any
        const char *name;
        uint32_t workgroups, most_outputs, least_part, buffers;
        bool weight_slices, pairs;
        double submit_seconds, work_rate;
        uint32_t scan_workgroups, norm_workgroups;
        bool loads;
    } rows[] = {
#define SDG_VK_CLASS(vendor, type, ...) {vendor, VK_PHYSICAL_DEVICE_TYPE_##type, __VA_ARGS__},
#include "backend/vulkan/devices.def"
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((rows[i].vendor == 0 || rows[i].vendor == device->vendorID) &&
            (rows[i].type == VK_PHYSICAL_DEVICE_TYPE_OTHER || rows[i].type == device->deviceType)) {
            caps->class_name = rows[i].name;
            caps->workgroups = rows[i].workgroups;
            caps->most_outputs = rows[i].most_outputs;
            caps->least_part = rows[i].least_part;
            caps->buffers = rows[i].buffers;
            caps->weight_slices = rows[i].weight_slices;
            caps->half_pairs = rows[i].pairs;
            caps->submit_seconds = rows[i].submit_seconds;
            caps->work_rate = rows[i].work_rate;
            caps->scan_workgroups = rows[i].scan_workgroups;
            caps->norm_workgroups = rows[i].norm_workgroups;
            caps->loads = rows[i].loads;
        }
}

static void read_caps(VkInstance instance, struct candidate *c)
{
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &subgroup};
    VkPhysicalDeviceMaintenance3Properties sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
                                                    .pNext = &id};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                               .pNext = &sizes};
    VkPhysicalDeviceMaintenance4PropertiesKHR buffers = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES_KHR,
        .pNext = &subgroup,
        .maxBufferSize = UINT64_MAX,
    };
    if (sdg_vk_has_extension(c->device, VK_KHR_MAINTENANCE_4_EXTENSION_NAME))
        id.pNext = &buffers;
    bool names_driver = sdg_vk_has_extension(c->device, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME);
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = names_driver ? (void *)&driver : &sizes};
    vkGetPhysicalDeviceProperties2(c->device, &properties);
    VkPhysicalDevice16BitStorageFeatures storage = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &storage};
    vkGetPhysicalDeviceFeatures2(c->device, &features);

    const VkPhysicalDeviceLimits *limits = &c->properties.limits;
    struct sdg_vk_caps *caps = &c->caps;
    caps->max_invocations = limits->maxComputeWorkGroupInvocations;
    if (caps->max_invocations > limits->maxComputeWorkGroupSize[0]) // all workgroups here are one-dimensional
        caps->max_invocations = limits->maxComputeWorkGroupSize[0];
    memcpy(caps->max_groups, limits->maxComputeWorkGroupCount, sizeof caps->max_groups);
    caps->shared_bytes = limits->maxComputeSharedMemorySize;
    caps->max_range = limits->maxStorageBufferRange;
    caps->max_allocation =
        sizes.maxMemoryAllocationSize < buffers.maxBufferSize ? sizes.maxMemoryAllocationSize : buffers.maxBufferSize;
    caps->alignment = limits->minStorageBufferOffsetAlignment > 64 ? limits->minStorageBufferOffsetAlignment : 64;
    caps->atom = limits->nonCoherentAtomSize;
    caps->subgroup_size = subgroup.subgroupSize;
    caps->subgroup_arithmetic = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
        (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
    caps->subgroup_shuffle = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
        (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
    caps->max_bindings = limits->maxPerStageDescriptorStorageBuffers;
    if (caps->max_bindings > SDG_VK_MAX_BINDINGS)
        caps->max_bindings = SDG_VK_MAX_BINDINGS;
    caps->storage_16bit = storage.storageBuffer16BitAccess;
    read_subgroup_sizes(c->device, caps);
    read_dot_product(c->device, caps);
    caps->half_arithmetic = has_half_arithmetic(c->device);
    sdg_vk_read_matrices(instance, c->device, caps);
    caps->mapped_uploads = true;
    caps->software = c->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    assume_class(&c->properties, caps);
    memcpy(c->cache_id, c->properties.pipelineCacheUUID, sizeof c->cache_id);
    if (names_driver)
        snprintf(c->info.driver, sizeof c->info.driver, "%.60s %.60s", driver.driverName, driver.driverInfo);
    else
        snprintf(c->info.driver, sizeof c->info.driver, "driver %#x", (unsigned)c->properties.driverVersion);
}

static unsigned built_features(void)
{
    unsigned features = 0;
    for (size_t i = 0; i < sdg_rung_count; i++)
        features |= sdg_rungs[i].built ? sdg_rungs[i].feature : 0;
    return features;
}

static void read_candidate(VkInstance instance, VkPhysicalDevice device, struct candidate *c)
{
    *c = (struct candidate){.device = device};
    vkGetPhysicalDeviceProperties(device, &c->properties);
    vkGetPhysicalDeviceMemoryProperties(device, &c->memory);
    struct sdg_device_info *info = &c->info;
    snprintf(info->name, sizeof info->name, "%.127s", c->properties.deviceName);
    info->backend = "vulkan";
    info->type = type_name(c->properties.deviceType);
    for (uint32_t i = 0; i < c->memory.memoryHeapCount; i++)
        if ((c->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            c->memory.memoryHeaps[i].size > info->memory)
            info->memory = c->memory.memoryHeaps[i].size;
    for (uint32_t i = 0; i < c->memory.memoryHeapCount && info->memory == 0; i++) // a driver that calls none its own
        info->memory = c->memory.memoryHeaps[i].size;
    if (c->properties.apiVersion < VK_API_VERSION_1_1) {
        c->unusable = "its driver is older than Vulkan 1.1";
    } else {
        read_caps(instance, c);
        c->queue_family = find_queue_family(device, &c->caps, c->properties.limits.timestampPeriod);
        if (c->queue_family == UINT32_MAX)
            c->unusable = "it has no queue for compute shaders";
        else if (c->caps.max_bindings < SDG_VK_MIN_BINDINGS)
            c->unusable = "it binds fewer than 8 storage buffers to a shader";
        else if (info->memory == 0 || c->caps.max_allocation < 1 << 20)
            c->unusable = "its driver says that it has no memory";
    }
    const struct sdg_vk_caps *caps = &c->caps;
    info->features = built_features() &
        ((caps->storage_16bit ? SDG_FEATURE_F16 : 0) | (caps->subgroup_arithmetic ? SDG_FEATURE_SUBGROUP : 0) |
         (caps->storage_16bit && caps->half_arithmetic && caps->half_pairs ? SDG_FEATURE_PAIRS : 0) |
         (caps->dot_accelerated ? SDG_FEATURE_DOT : 0) | (sdg_vk_has_matrices(caps) ? SDG_FEATURE_COOPMAT : 0) |
         (caps->software && caps->subgroup_shuffle ? SDG_FEATURE_LANES : 0));
    char rungs[80] = "";
    for (size_t i = 0; i < sdg_rung_count; i++)
        if (info->features & sdg_rungs[i].feature)
            snprintf(rungs + strlen(rungs), sizeof rungs - strlen(rungs), " %s", sdg_rungs[i].name);
    if (c->unusable)
        snprintf(info->note, sizeof info->note, "cannot be used: %s", c->unusable);
    else
        snprintf(info->note, sizeof info->note,
                 "Vulkan %u.%u, f32%s, subgroups of %u%s, %u KiB shared memory, %llu MiB per buffer",
                 VK_API_VERSION_MAJOR(c->properties.apiVersion), VK_API_VERSION_MINOR(c->properties.apiVersion), rungs,
                 caps->subgroup_size, caps->subgroup_arithmetic ? "" : " (unused)", caps->shared_bytes / 1024,
                 (unsigned long long)(caps->max_range >> 20));
}

// With the lock held and the instance loaded. *out has *count candidates (sdg_free), in the loader's order.
static enum sdg_result enumerate(const struct sdg_log *log, enum sdg_log_level level, VkInstance instance,
                                 struct candidate **out, uint32_t *count)
{
    *out = NULL;
    *count = 0;
    VkPhysicalDevice devices[64];
    uint32_t found = 64;
    VkResult result = vkEnumeratePhysicalDevices(instance, &found, devices);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || found == 0) {
        sdg_say(log, level, "vulkan: no Vulkan device on this machine (%s); use --backend cpu",
                sdg_vk_result_name(result));
        return SDG_ERROR_DEVICE;
    }
    struct candidate *list = sdg_alloc(log, found, sizeof *list, "the list of devices");
    if (!list)
        return SDG_ERROR_MEMORY;
    for (uint32_t i = 0; i < found; i++)
        read_candidate(instance, devices[i], &list[i]);
    *out = list;
    *count = found;
    return SDG_OK;
}

void sdg_vk_device_list(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device_info *info),
                        void *user)
{
    VkInstance instance = VK_NULL_HANDLE;
    struct candidate *list = NULL;
    uint32_t count = 0;
    pthread_mutex_lock(&loader_lock);
    if (open_instance(log, SDG_LOG_DEBUG, NULL, &instance) == SDG_OK) {
        (void)enumerate(log, SDG_LOG_DEBUG, instance, &list, &count); // an empty list says it all
        vkDestroyInstance(instance, NULL);
    }
    pthread_mutex_unlock(&loader_lock);
    for (uint32_t i = 0; i < count; i++)
        fn(user, &list[i].info);
    sdg_free(list);
}

static bool is_real_gpu(const struct candidate *c)
{
    return c->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_CPU;
}

static enum sdg_result choose(const struct sdg_log *log, int wanted, const struct candidate *list, uint32_t count,
                              const struct candidate **out)
{
    if (wanted >= 0) {
        if ((uint32_t)wanted >= count)
            return sdg_fail(log, SDG_ERROR_DEVICE, "vulkan:%d: there is no such device, the last one is vulkan:%u",
                            wanted, count - 1);
        if (list[wanted].unusable)
            return sdg_fail(log, SDG_ERROR_DEVICE, "vulkan:%d (%s): %s", wanted, list[wanted].info.name,
                            list[wanted].unusable);
        *out = &list[wanted];
        return SDG_OK;
    }
    *out = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (!list[i].unusable && (!*out || (is_real_gpu(&list[i]) && !is_real_gpu(*out))))
            *out = &list[i];
    if (!*out)
        return sdg_fail(log, SDG_ERROR_DEVICE, "vulkan: none of %u devices can be used; the first, %s: %s", count,
                        list[0].info.name, list[0].unusable);
    return SDG_OK;
}

// ---- logical device ----

static enum sdg_result open_logical(struct sdg_vk *vk)
{
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = vk->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .storageBuffer16BitAccess = (vk->features & SDG_FEATURE_F16) != 0,
    };
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
        .pNext = &storage,
        .shaderIntegerDotProduct = VK_TRUE,
    };
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR types = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR,
        .shaderFloat16 = vk->caps.half_arithmetic || vk->caps.matrices.halves.count,
        .shaderInt8 = vk->caps.matrices.bytes.count > 0,
    };
    void *features = &storage;
    const char *extensions[3 + SDG_VK_MATRIX_EXTENSIONS];
    uint32_t extension_count = 0;
    if (vk->caps.dot_product) {
        features = &dot;
        extensions[extension_count++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    }
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroups = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .pNext = features,
        .subgroupSizeControl = vk->caps.sized_subgroups,
        .computeFullSubgroups = vk->caps.full_subgroups,
    };
    if (vk->caps.sized_subgroups || vk->caps.full_subgroups) {
        features = &subgroups;
        extensions[extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    }
    if (types.shaderFloat16 || types.shaderInt8) {
        types.pNext = features;
        features = &types;
        extensions[extension_count++] = VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME;
    }
    struct sdg_vk_matrix_features matrices;
    if (sdg_vk_has_matrices(&vk->caps)) {
        features = sdg_vk_matrix_features(features, &matrices);
        memcpy(&extensions[extension_count], matrices.extensions, sizeof matrices.extensions);
        extension_count += SDG_VK_MATRIX_EXTENSIONS;
    }
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = extension_count,
        .ppEnabledExtensionNames = extensions,
    };
    struct sdg_vk_shared *shared = vk->shared;
    VkResult result = vkCreateDevice(vk->physical, &info, NULL, &shared->device);
    if (result != VK_SUCCESS) {
        shared->device = VK_NULL_HANDLE;
        return sdg_vk_error(vk, result, "vkCreateDevice", "the device");
    }
    volkLoadDeviceTable(&shared->fn, shared->device);
    shared->fn.vkGetDeviceQueue(shared->device, shared->queue_family, 0, &shared->queue);
    sdg_vk_adopt(vk, shared);
    return SDG_OK;
}

// A profiler or a debugger for graphics between this process and the driver, which shows names and labels.
static bool is_observed(VkPhysicalDevice device)
{
    VkPhysicalDeviceToolPropertiesEXT tools[8];
    uint32_t count = 8;
    if (!sdg_vk_has_extension(device, VK_EXT_TOOLING_INFO_EXTENSION_NAME) || !vkGetPhysicalDeviceToolPropertiesEXT)
        return false;
    for (uint32_t i = 0; i < count; i++)
        tools[i] = (VkPhysicalDeviceToolPropertiesEXT){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TOOL_PROPERTIES_EXT};
    if (vkGetPhysicalDeviceToolPropertiesEXT(device, &count, tools) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (tools[i].purposes &
            (VK_TOOL_PURPOSE_PROFILING_BIT_EXT | VK_TOOL_PURPOSE_TRACING_BIT_EXT |
             VK_TOOL_PURPOSE_DEBUG_MARKERS_BIT_EXT))
            return true;
    return false;
}

// Names and labels cost a little, so only somebody who reads them gets them.
static void open_debug(struct sdg_vk *vk, bool validation)
{
    if (!validation && !is_observed(vk->physical))
        return;
    vk->debug = vk->shared->debug =
        (struct sdg_vk_debug){vkSetDebugUtilsObjectNameEXT, vkCmdBeginDebugUtilsLabelEXT, vkCmdEndDebugUtilsLabelEXT};
    SDG_VK_NAME(vk, DEVICE, vk->device, "%s", vk->base.info.name);
    SDG_VK_NAME(vk, QUEUE, vk->queue, "compute");
}

static enum sdg_result open_messenger(struct sdg_vk *vk)
{
    struct sdg_vk_shared *shared = vk->shared;
    const VkDebugUtilsMessengerCreateInfoEXT info = messenger_info(&shared->validation);
    VkResult result = vkCreateDebugUtilsMessengerEXT(shared->instance, &info, NULL, &shared->messenger);
    if (result == VK_SUCCESS)
        return SDG_OK;
    shared->messenger = VK_NULL_HANDLE;
    return sdg_vk_error(vk, result, "vkCreateDebugUtilsMessengerEXT", "the validation messages");
}

static void lower_32(uint32_t *number, uint32_t limit)
{
    *number = limit && limit < *number ? limit : *number;
}

static void lower_64(uint64_t *number, uint64_t limit)
{
    *number = limit && limit < *number ? limit : *number;
}

// As if the driver had said so. What was derived from the larger numbers is derived anew.
static void apply_limits(struct sdg_vk_shared *shared, const struct sdg_device_limits *limits)
{
    struct sdg_vk_caps *caps = &shared->caps;
    shared->memory_limit = limits && limits->memory ? limits->memory : UINT64_MAX;
    if (!limits)
        return;
    lower_64(&caps->max_range, limits->storage_range);
    lower_64(&caps->max_allocation, limits->allocation);
    lower_64(&caps->max_allocation, limits->memory);
    lower_64(&shared->info.memory, limits->memory);
    lower_32(&caps->max_invocations, limits->invocations);
    lower_32(&caps->shared_bytes, limits->shared_memory);
    lower_32(&caps->max_bindings, limits->buffers);
    for (int i = 0; i < 3; i++)
        lower_32(&caps->max_groups[i], limits->workgroups);
    if (caps->matrices.subgroup)
        lower_32(&caps->matrices.most_subgroups, caps->max_invocations / caps->matrices.subgroup);
}

static void take_candidate(struct sdg_vk_shared *shared, const struct candidate *chosen,
                           const struct sdg_backend_params *params)
{
    shared->physical = chosen->device;
    shared->queue_family = chosen->queue_family;
    shared->properties = chosen->properties;
    shared->memory = chosen->memory;
    shared->caps = chosen->caps;
    shared->caps.dot_product = shared->caps.dot_product && !(params->disable & SDG_FEATURE_DOT);
    shared->caps.half_arithmetic = shared->caps.half_arithmetic && !(params->disable & SDG_FEATURE_PAIRS);
    if (params->disable & SDG_FEATURE_COOPMAT)
        shared->caps.matrices = (struct sdg_vk_matrices){0};
    shared->info = chosen->info;
    shared->features = chosen->info.features & ~params->disable;
    shared->info.features = shared->features;
    memcpy(shared->cache_id, chosen->cache_id, sizeof shared->cache_id);
    apply_limits(shared, params->limits);
}

void sdg_vk_adopt(struct sdg_vk *vk, struct sdg_vk_shared *shared)
{
    vk->shared = shared;
    vk->instance = shared->instance;
    vk->physical = shared->physical;
    vk->device = shared->device;
    vk->fn = shared->fn;
    vk->queue = shared->queue;
    vk->queue_family = shared->queue_family;
    vk->properties = shared->properties;
    vk->memory = shared->memory;
    memcpy(vk->cache_id, shared->cache_id, sizeof vk->cache_id);
    vk->caps = shared->caps;
    vk->base.info = shared->info;
    vk->features = shared->features;
    vk->debug = shared->debug;
    vk->pipelines = shared->pipelines;
    vk->work_rate = shared->caps.work_rate;
}

// With the lock held. Opens the one that was chosen, unless it is open already.
static enum sdg_result open_chosen(struct sdg_vk *vk, const struct sdg_backend_params *params,
                                   const struct candidate *chosen, int number, struct sdg_open_device **known)
{
    *known = sdg_devices_find(params->devices, number);
    if (*known) {
        (*known)->preferred = true; // or it would have been found by its number
        return SDG_OK;
    }
    vk->shared->base.number = number;
    vk->shared->base.preferred = params->device < 0;
    take_candidate(vk->shared, chosen, params);
    sdg_vk_adopt(vk, vk->shared); // messages name the device
    SDG_TRY(open_logical(vk));
    open_debug(vk, params->validation);
    return SDG_OK;
}

static enum sdg_result open_locked(struct sdg_vk *vk, const struct sdg_backend_params *params,
                                   struct sdg_open_device **known)
{
    const struct sdg_log *log = vk->base.log;
    struct sdg_vk_shared *shared = vk->shared;
    SDG_TRY(open_instance(log, SDG_LOG_ERROR, params->validation ? &shared->validation : NULL, &shared->instance));
    if (params->validation)
        SDG_TRY(open_messenger(vk));
    struct candidate *list;
    const struct candidate *chosen;
    uint32_t count;
    SDG_TRY(enumerate(log, SDG_LOG_ERROR, shared->instance, &list, &count));
    enum sdg_result result = choose(log, params->device, list, count, &chosen);
    if (result == SDG_OK)
        result = open_chosen(vk, params, chosen, (int)(chosen - list), known);
    sdg_free(list);
    return result;
}

enum sdg_result sdg_vk_device_open(struct sdg_vk *vk, const struct sdg_backend_params *params,
                                   struct sdg_open_device **known)
{
    *known = NULL;
    pthread_mutex_init(&vk->shared->validation.lock, NULL);
    pthread_mutex_init(&vk->shared->queue_lock, NULL);
    pthread_mutex_lock(&loader_lock);
    enum sdg_result result = open_locked(vk, params, known);
    pthread_mutex_unlock(&loader_lock);
    return result;
}

void sdg_vk_device_close(struct sdg_vk *vk)
{
    struct sdg_vk_shared *shared = vk->shared;
    pthread_mutex_lock(&loader_lock);
    if (shared->instance)
        volkLoadInstanceOnly(shared->instance);
    if (shared->device)
        shared->fn.vkDestroyDevice(shared->device, NULL);
    if (shared->messenger)
        vkDestroyDebugUtilsMessengerEXT(shared->instance, shared->messenger, NULL);
    if (shared->instance)
        vkDestroyInstance(shared->instance, NULL);
    pthread_mutex_unlock(&loader_lock);
    // nobody to return it to, but objects that were left over are to be heard of
    (void)sdg_vk_validated(vk, vk->base.log, SDG_OK);
    pthread_mutex_destroy(&shared->validation.lock);
    pthread_mutex_destroy(&shared->queue_lock);
}
