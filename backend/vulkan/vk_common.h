// The bottom of the ladder vk_common -> vk_device -> vk_memory -> vk_pipeline -> vk_tiles -> vk_commands -> vk_program
// -> ops: the context all others take, and how errors of Vulkan calls become messages. No header includes one above it.
//
// A context is used by one thread at a time, like the backend that it is. Several contexts may be on one device: what
// they share is struct sdg_vk_shared, and says how it is guarded. All else - buffers, descriptor and command pools,
// fences - is made and used by one context.
#ifndef SDG_BACKEND_VULKAN_COMMON_H
#define SDG_BACKEND_VULKAN_COMMON_H

#include "backend/backend.h"
#include "backend/open_devices.h"
#include "base/memory.h"

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <volk.h>

#include <pthread.h>
#include <stdatomic.h>

enum {
    SDG_VK_MAX_BINDINGS = 10, // storage buffers of a shader
    SDG_VK_MIN_BINDINGS = 8,  // ... of those without products of integers; a device has to have as many
    SDG_VK_MAX_PUSH = 128,    // bytes of push constants every device has
    SDG_VK_MESSAGE = 400,
    SDG_VK_MAX_TOLD = 64,
    SDG_VK_MAX_MATRICES = 8, // sizes of cooperative matrices of one type
};

// Cooperative matrices, as a device multiplies them: m x k times k x n.
struct sdg_vk_matrix { uint32_t m, n, k; };
struct sdg_vk_matrix_sizes {
    struct sdg_vk_matrix list[SDG_VK_MAX_MATRICES]; // the largest first
    uint32_t count;
};

// What the device can do, read once. A number of 0 means that the feature is absent.
struct sdg_vk_caps {
    uint32_t max_invocations; // of a workgroup, all three dimensions
    uint32_t max_groups[3];   // of a dispatch
    uint32_t shared_bytes;    // of a workgroup
    uint64_t max_range;       // bytes of one buffer binding
    uint64_t max_allocation;  // bytes of one allocation, and so of one buffer
    uint64_t alignment;       // of a binding's offset
    uint64_t atom;            // granularity of flushes of non-coherent memory
    uint32_t subgroup_size;
    bool subgroup_arithmetic; // in compute shaders
    bool subgroup_shuffle;    // the same
    bool full_subgroups;      // pipelines can ask that no subgroup misses invocations,
    bool sized_subgroups;     // ... and for another size, the least of which is this, with so many in a workgroup
    uint32_t least_subgroup, most_subgroups;
    uint32_t max_bindings; // storage buffers of a shader, at most SDG_VK_MAX_BINDINGS
    bool storage_16bit;    // 16-bit elements in storage buffers
    bool half_arithmetic;  // 16-bit floats in registers, in use unless pairs were disabled
    bool dot_product;      // of packed bytes, in use unless it was disabled ...
    bool dot_accelerated;  // ... and quicker than its parts, as SDG_FEATURE_DOT wants it
    struct sdg_vk_matrices {
        struct sdg_vk_matrix_sizes halves; // f16, with sums in f32
        struct sdg_vk_matrix_sizes bytes;  // s8, with sums in s32
        uint32_t subgroup;                 // invocations that share a matrix
        uint32_t most_subgroups;           // of a workgroup
        bool sized;                        // pipelines have to ask for that size
    } matrices;
    double timestamp_seconds; // length of a tick of the queue's timestamps
    uint32_t timestamp_bits;
    // the host writes weights and inputs straight into the device's memory where it can see that
    bool mapped_uploads;
    bool software; // runs on the CPU
    // What is assumed of devices of its class (devices.def), not told by the driver.
    const char *class_name;
    uint32_t workgroups;      // a product takes the largest tile that gives it so many
    uint32_t most_outputs;    // that an invocation of a product holds in registers
    uint32_t least_part;      // multiply-adds along k, if k is cut into parts; 0: it is not
    uint32_t buffers;         // slices of each operand in shared memory, 1 or 2
    bool weight_slices;       // weights of products lie in the slices in which a workgroup reads them
    bool half_pairs;          // products of halves are quicker in pairs, as SDG_FEATURE_PAIRS wants it
    double submit_seconds;    // a submission may take; INFINITY: it is a whole run
    double work_rate;         // work (vk_commands.h) done in a second, until it was measured
    uint32_t scan_workgroups; // a long scan is cut into chunks, for twice the work, if it has fewer
    uint32_t norm_workgroups; // a group norm is cut into chunks, for a dispatch more, if it has fewer
    bool loads;               // products normalise and round what they load
};

// What the validation layers said since the last look. Written from any thread that is inside a call.
struct sdg_vk_validation {
    pthread_mutex_t lock;
    unsigned count;
    char first[SDG_VK_MESSAGE];
};

// Names of objects and labels of commands, for validation messages and capture tools. NULL where neither is there.
struct sdg_vk_debug {
    PFN_vkSetDebugUtilsObjectNameEXT name;
    PFN_vkCmdBeginDebugUtilsLabelEXT begin;
    PFN_vkCmdEndDebugUtilsLabelEXT end;
};

struct sdg_vk_pipelines; // vk_pipeline.h
struct sdg_vk_uploader;  // vk_memory.h
struct sdg_vk_tiles;     // vk_tiles.h

// A device that is open. Contexts copy what never changes.
struct sdg_vk_shared {
    struct sdg_open_device base;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    struct VolkDeviceTable fn;
    VkQueue queue; // submissions: sdg_vk_submit
    uint32_t queue_family;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    uint8_t cache_id[VK_UUID_SIZE];
    struct sdg_vk_caps caps;
    struct sdg_device_info info;
    unsigned features;
    struct sdg_vk_debug debug;
    VkDebugUtilsMessengerEXT messenger;
    pthread_mutex_t queue_lock;
    struct sdg_vk_validation validation;
    atomic_bool lost; // sticky: after VK_ERROR_DEVICE_LOST every call fails
    // The logs that know of it: a pipeline's contexts have one together. With the lock of `validation`.
    const struct sdg_log *told[SDG_VK_MAX_TOLD];
    size_t told_count;
    atomic_uint_fast64_t memory_used; // bytes allocated
    uint64_t memory_limit;            // of these; UINT64_MAX: the driver knows
    struct sdg_vk_pipelines *pipelines;
};

struct sdg_vk {
    struct sdg_backend base;
    struct sdg_vk_shared *shared;
    struct sdg_devices *devices; // where it is listed, or NULL
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    struct VolkDeviceTable fn; // entry points of this device
    VkQueue queue;
    uint32_t queue_family;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    uint8_t cache_id[VK_UUID_SIZE];
    struct sdg_vk_caps caps;
    // enum sdg_feature bits in use: what the device and the build have, without what params->disable names
    unsigned features;
    struct sdg_vk_debug debug;
    struct sdg_vk_pipelines *pipelines; // the device's
    struct sdg_vk_uploader *uploader;
    struct sdg_vk_tiles *tiles;
    struct sdg_pool *pool, *own_pool; // own_pool: NULL if the pool is somebody else's
    double work_rate;                 // as the last runs had it
    bool distrusted;                  // its time stamps, which was said
};

static inline struct sdg_vk *sdg_vk_of(struct sdg_backend *backend)
{
    return (struct sdg_vk *)backend;
}

// "VK_ERROR_DEVICE_LOST"
const char *sdg_vk_result_name(VkResult result);
// Reports to the backend's log that `call` failed while doing `what`, and returns the matching result. Device loss is
// remembered, for all contexts on the device, and reported once to each log.
enum sdg_result sdg_vk_error(struct sdg_vk *vk, VkResult result, const char *call, const char *what);
// The device was lost earlier, perhaps in the work of another context: the result for it, reported once to each log.
enum sdg_result sdg_vk_report_loss(struct sdg_vk *vk);
static inline enum sdg_result sdg_vk_alive(struct sdg_vk *vk)
{
    return atomic_load_explicit(&vk->shared->lost, memory_order_relaxed) ? sdg_vk_report_loss(vk) : SDG_OK;
}
// vkQueueSubmit of one submission: the queue takes one call at a time.
VkResult sdg_vk_submit(struct sdg_vk *vk, const VkSubmitInfo *submit, VkFence fence);
// Waits for all that the device has to do, of other contexts too: for what no fence is there for.
void sdg_vk_wait_idle(struct sdg_vk *vk);
// Ends a public call: if validation layers complained since the last look and the call was fine so far, it becomes an
// error, told to `log`. Which of several contexts is to blame is not known: it is the first that looks.
enum sdg_result sdg_vk_validated(struct sdg_vk *vk, const struct sdg_log *log, enum sdg_result result);

// SDG_VK_NAME(vk, FENCE, fence, "of slot %d", 1): names an object just made, for messages of layers and tools.
#define SDG_VK_NAME(vk, type, handle, ...) sdg_vk_name((vk), VK_OBJECT_TYPE_##type, (uint64_t)(handle), __VA_ARGS__)
__attribute__((format(printf, 4, 5))) void sdg_vk_name(struct sdg_vk *vk, VkObjectType type, uint64_t handle,
                                                       const char *format, ...);
// What is recorded between the two is shown under `name`.
void sdg_vk_label_begin(struct sdg_vk *vk, VkCommandBuffer commands, const char *name);
void sdg_vk_label_end(struct sdg_vk *vk, VkCommandBuffer commands);

// SDG_VK_TRY(vk, "a pipeline", vkCreateFence, vk->device, ...): calls the device's entry point, returns on failure.
#define SDG_VK_TRY(vk, what, name, ...)                           \
    do {                                                          \
        VkResult vk_result_ = (vk)->fn.name(__VA_ARGS__);         \
        if (vk_result_ != VK_SUCCESS)                             \
            return sdg_vk_error((vk), vk_result_, #name, (what)); \
    } while (0)

static inline size_t sdg_vk_align(size_t n, size_t alignment) // a power of two
{
    return (n + alignment - 1) & ~(alignment - 1);
}

#endif
