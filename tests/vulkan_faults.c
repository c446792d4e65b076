// Vulkan drivers that fail and lie: every call that may fail does so once, devices are lost, memories are odd, time
// stamps are wrong. What is wanted is one line that says so, the right result, and nothing left over.
//
// Entry points come from here (sdg_test_vk_loader): each counts, may fail, and goes on to the driver.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-function"
#include "tests/support/vulkan.h"

#if SDG_HAVE_VULKAN
#include "backend/vulkan/vk_device.h"
#include "backend/vulkan/vk_tiles.h"
#include "base/threads.h"

#include <stdatomic.h>

// ---- calls that fail ----

enum kind { MEMORY = 1, LOST = 2, UNKNOWN = 4 }; // of failure

static struct {
    atomic_int left; // calls until the one that fails, of those that may fail in this way; 0: none will
    enum kind kind;
    const char *_Atomic fired; // the call that failed, or NULL
    atomic_int live;           // objects that were made and not destroyed
} faults;

static VkResult fault(const char *name, int kinds)
{
    static const VkResult results[] = {
        [MEMORY] = VK_ERROR_OUT_OF_DEVICE_MEMORY, [LOST] = VK_ERROR_DEVICE_LOST, [UNKNOWN] = VK_ERROR_UNKNOWN};
    if (!(faults.kind & kinds) || atomic_load(&faults.left) == 0 || atomic_fetch_sub(&faults.left, 1) != 1)
        return VK_SUCCESS;
    faults.fired = name;
    return results[faults.kind];
}

static void fail_call(int n, enum kind kind)
{
    faults.kind = kind;
    faults.fired = NULL;
    faults.left = n;
    memset(&messages, 0, sizeof messages);
}

// FUNCTION(name, ways to fail, objects that a success makes, parameters, arguments)
#define FUNCTIONS                                                                                                     \
    FUNCTION(CreateInstance, MEMORY | UNKNOWN, 1,                                                                     \
             (const VkInstanceCreateInfo *a, const VkAllocationCallbacks *b, VkInstance *c), (a, b, c))               \
    FUNCTION(EnumerateInstanceExtensionProperties, MEMORY | UNKNOWN, 0,                                               \
             (const char *a, uint32_t *b, VkExtensionProperties *c), (a, b, c))                                       \
    FUNCTION(EnumeratePhysicalDevices, MEMORY | UNKNOWN, 0, (VkInstance a, uint32_t *b, VkPhysicalDevice *c),         \
             (a, b, c))                                                                                               \
    FUNCTION(EnumerateDeviceExtensionProperties, MEMORY | UNKNOWN, 0,                                                 \
             (VkPhysicalDevice a, const char *b, uint32_t *c, VkExtensionProperties *d), (a, b, c, d))                \
    FUNCTION(CreateDevice, MEMORY | LOST | UNKNOWN, 1,                                                                \
             (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c, VkDevice *d),          \
             (a, b, c, d))                                                                                            \
    FUNCTION(CreateBuffer, MEMORY | UNKNOWN, 1,                                                                       \
             (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), (a, b, c, d))    \
    FUNCTION(AllocateMemory, MEMORY | UNKNOWN, 1,                                                                     \
             (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, VkDeviceMemory *d),          \
             (a, b, c, d))                                                                                            \
    FUNCTION(BindBufferMemory, MEMORY | UNKNOWN, 0, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d),       \
             (a, b, c, d))                                                                                            \
    FUNCTION(MapMemory, MEMORY | LOST | UNKNOWN, 0,                                                                   \
             (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f),            \
             (a, b, c, d, e, f))                                                                                      \
    FUNCTION(FlushMappedMemoryRanges, MEMORY | LOST | UNKNOWN, 0,                                                     \
             (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c))                                       \
    FUNCTION(InvalidateMappedMemoryRanges, MEMORY | LOST | UNKNOWN, 0,                                                \
             (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c))                                       \
    FUNCTION(CreateCommandPool, MEMORY | UNKNOWN, 1,                                                                  \
             (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, VkCommandPool *d),        \
             (a, b, c, d))                                                                                            \
    FUNCTION(AllocateCommandBuffers, MEMORY | UNKNOWN, 0,                                                             \
             (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c))                       \
    FUNCTION(ResetCommandPool, MEMORY | UNKNOWN, 0, (VkDevice a, VkCommandPool b, VkCommandPoolResetFlags c),         \
             (a, b, c))                                                                                               \
    FUNCTION(BeginCommandBuffer, MEMORY | UNKNOWN, 0, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b)) \
    FUNCTION(EndCommandBuffer, MEMORY | UNKNOWN, 0, (VkCommandBuffer a), (a))                                         \
    FUNCTION(CreateFence, MEMORY | UNKNOWN, 1,                                                                        \
             (VkDevice a, const VkFenceCreateInfo *b, const VkAllocationCallbacks *c, VkFence *d), (a, b, c, d))      \
    FUNCTION(ResetFences, MEMORY | UNKNOWN, 0, (VkDevice a, uint32_t b, const VkFence *c), (a, b, c))                 \
    FUNCTION(WaitForFences, MEMORY | LOST | UNKNOWN, 0,                                                               \
             (VkDevice a, uint32_t b, const VkFence *c, VkBool32 d, uint64_t e), (a, b, c, d, e))                     \
    FUNCTION(QueueSubmit, MEMORY | LOST | UNKNOWN, 0, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d),      \
             (a, b, c, d))                                                                                            \
    FUNCTION(CreateDescriptorSetLayout, MEMORY | UNKNOWN, 1,                                                          \
             (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c,                   \
              VkDescriptorSetLayout *d),                                                                              \
             (a, b, c, d))                                                                                            \
    FUNCTION(CreatePipelineLayout, MEMORY | UNKNOWN, 1,                                                               \
             (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineLayout *d),  \
             (a, b, c, d))                                                                                            \
    FUNCTION(CreatePipelineCache, MEMORY | LOST | UNKNOWN, 1,                                                         \
             (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineCache *d),    \
             (a, b, c, d))                                                                                            \
    FUNCTION(GetPipelineCacheData, MEMORY | UNKNOWN, 0, (VkDevice a, VkPipelineCache b, size_t *c, void *d),          \
             (a, b, c, d))                                                                                            \
    FUNCTION(CreateShaderModule, MEMORY | UNKNOWN, 1,                                                                 \
             (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, VkShaderModule *d),      \
             (a, b, c, d))                                                                                            \
    FUNCTION(CreateComputePipelines, MEMORY | UNKNOWN, 1,                                                             \
             (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d,                        \
              const VkAllocationCallbacks *e, VkPipeline *f),                                                         \
             (a, b, c, d, e, f))                                                                                      \
    FUNCTION(CreateDescriptorPool, MEMORY | UNKNOWN, 1,                                                               \
             (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorPool *d),  \
             (a, b, c, d))                                                                                            \
    FUNCTION(AllocateDescriptorSets, MEMORY | UNKNOWN, 0,                                                             \
             (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c), (a, b, c))                       \
    FUNCTION(CreateQueryPool, MEMORY | UNKNOWN, 1,                                                                    \
             (VkDevice a, const VkQueryPoolCreateInfo *b, const VkAllocationCallbacks *c, VkQueryPool *d),            \
             (a, b, c, d))                                                                                            \
    FUNCTION(                                                                                                         \
        GetQueryPoolResults, MEMORY | LOST | UNKNOWN, 0,                                                              \
        (VkDevice a, VkQueryPool b, uint32_t c, uint32_t d, size_t e, void *f, VkDeviceSize g, VkQueryResultFlags h), \
        (a, b, c, d, e, f, g, h))

// What destroys an object: DESTROY(name, type of the object)
#define DESTROYERS                                             \
    DESTROY(DestroyBuffer, VkBuffer)                           \
    DESTROY(FreeMemory, VkDeviceMemory)                        \
    DESTROY(DestroyCommandPool, VkCommandPool)                 \
    DESTROY(DestroyFence, VkFence)                             \
    DESTROY(DestroyDescriptorSetLayout, VkDescriptorSetLayout) \
    DESTROY(DestroyPipelineLayout, VkPipelineLayout)           \
    DESTROY(DestroyPipelineCache, VkPipelineCache)             \
    DESTROY(DestroyShaderModule, VkShaderModule)               \
    DESTROY(DestroyPipeline, VkPipeline)                       \
    DESTROY(DestroyDescriptorPool, VkDescriptorPool)           \
    DESTROY(DestroyQueryPool, VkQueryPool)

#define FUNCTION(name, kinds, objects, parameters, arguments)   \
    static PFN_vk##name real_##name;                            \
    static VKAPI_ATTR VkResult VKAPI_CALL try_##name parameters \
    {                                                           \
        VkResult result = fault("vk" #name, kinds);             \
        if (result == VK_SUCCESS)                               \
            result = real_##name arguments;                     \
        if (result == VK_SUCCESS)                               \
            faults.live += (objects);                           \
        return result;                                          \
    }
FUNCTIONS
#undef FUNCTION

#define DESTROY(name, type)                                                                                            \
    static PFN_vk##name real_##name;                                                                                   \
    static VKAPI_ATTR void VKAPI_CALL try_##name(VkDevice device, type object, const VkAllocationCallbacks *allocator) \
    {                                                                                                                  \
        faults.live -= object != VK_NULL_HANDLE;                                                                       \
        real_##name(device, object, allocator);                                                                        \
    }
DESTROYERS
#undef DESTROY

static PFN_vkDestroyInstance real_DestroyInstance;
static VKAPI_ATTR void VKAPI_CALL try_DestroyInstance(VkInstance instance, const VkAllocationCallbacks *allocator)
{
    faults.live -= instance != VK_NULL_HANDLE;
    real_DestroyInstance(instance, allocator);
}

static PFN_vkDestroyDevice real_DestroyDevice;
static VKAPI_ATTR void VKAPI_CALL try_DestroyDevice(VkDevice device, const VkAllocationCallbacks *allocator)
{
    faults.live -= device != VK_NULL_HANDLE;
    real_DestroyDevice(device, allocator);
}

// ---- what a device says of itself ----

static struct {
    void (*queues)(VkQueueFamilyProperties *family);
    void (*properties)(VkPhysicalDeviceProperties *properties);
    void (*memory)(VkPhysicalDeviceMemoryProperties *memory);
} lies;

static PFN_vkGetPhysicalDeviceQueueFamilyProperties real_queues;
static VKAPI_ATTR void VKAPI_CALL try_queues(VkPhysicalDevice device, uint32_t *count, VkQueueFamilyProperties *list)
{
    real_queues(device, count, list);
    for (uint32_t i = 0; list && lies.queues && i < *count; i++)
        lies.queues(&list[i]);
}

static PFN_vkGetPhysicalDeviceProperties real_properties;
static VKAPI_ATTR void VKAPI_CALL try_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *properties)
{
    real_properties(device, properties);
    if (lies.properties)
        lies.properties(properties);
}

static PFN_vkGetPhysicalDeviceMemoryProperties real_memory;
static VKAPI_ATTR void VKAPI_CALL try_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *memory)
{
    real_memory(device, memory);
    if (lies.memory)
        lies.memory(memory);
}

// ---- the loader ----

static PFN_vkGetInstanceProcAddr real_GetInstanceProcAddr;
static PFN_vkGetDeviceProcAddr real_GetDeviceProcAddr;

static PFN_vkVoidFunction replace(const char *name, PFN_vkVoidFunction real)
{
    if (!real)
        return NULL;
#define REPLACE(text, pointer, own)            \
    if (strcmp(name, text) == 0) {             \
        memcpy(&pointer, &real, sizeof real);  \
        PFN_vkVoidFunction function;           \
        __typeof__(pointer) mine = own;        \
        memcpy(&function, &mine, sizeof mine); \
        return function;                       \
    }
#define FUNCTION(function, kinds, objects, parameters, arguments) \
    REPLACE("vk" #function, real_##function, try_##function)
#define DESTROY(function, type) REPLACE("vk" #function, real_##function, try_##function)
    FUNCTIONS
    DESTROYERS
#undef FUNCTION
#undef DESTROY
    REPLACE("vkDestroyInstance", real_DestroyInstance, try_DestroyInstance)
    REPLACE("vkDestroyDevice", real_DestroyDevice, try_DestroyDevice)
    REPLACE("vkGetPhysicalDeviceQueueFamilyProperties", real_queues, try_queues)
    REPLACE("vkGetPhysicalDeviceProperties", real_properties, try_properties)
    REPLACE("vkGetPhysicalDeviceMemoryProperties", real_memory, try_memory)
    return real;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL load_device(VkDevice device, const char *name)
{
    return replace(name, real_GetDeviceProcAddr(device, name));
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL load(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction real = real_GetInstanceProcAddr(instance, name);
    if (real && strcmp(name, "vkGetDeviceProcAddr") == 0) {
        memcpy(&real_GetDeviceProcAddr, &real, sizeof real);
        PFN_vkGetDeviceProcAddr mine = load_device;
        memcpy(&real, &mine, sizeof mine);
        return real;
    }
    return replace(name, real);
}

// ---- lives ----

// A product and a sum.
static struct sdg_graph *small_graph(void)
{
    struct sdg_graph *g = new_graph();
    sdg_value x = sdg_graph_input(g, "x", 1, 1, 5, 20);
    sdg_value y = sdg_graph_linear(g, "to_y", x, sdg_graph_linear_weight(g, 20, 20, "w"), (struct sdg_epilogue){0});
    sdg_graph_output(g, "y", sdg_graph_binary(g, "sum", SDG_BINARY_ADD, x, y));
    return g;
}

static void ignore_time(void *user, size_t op_index, const char *op, const char *kernel, double seconds)
{
    (void)op_index;
    (void)op;
    (void)kernel;
    *(double *)user += seconds;
}

struct life {
    struct sdg_graph *graph;
    struct sdg_tensors *weights;
    float want[100];
    int runs; // 0: the program is only made
};

static enum sdg_result use_program(const struct life *life, struct sdg_program *program)
{
    for (int i = 0; i < life->runs; i++) {
        float got[100];
        double seconds = 0;
        sdg_program_profile(program, i == 1);
        SDG_TRY(write_inputs(life->graph, program));
        SDG_TRY(sdg_program_run(program, 0));
        SDG_TRY(sdg_program_read(program, "y", got, 100));
        SDG_TRY(sdg_program_read(program, "x", got, 100)); // not among what a run copies to the host
        SDG_TRY(sdg_program_read(program, "y", got, 100));
        assert_true(nmse(got, life->want, 100) < 1e-9);
        sdg_program_times(program, ignore_time, &seconds);
        assert_true(seconds >= 0 && seconds < 100);
    }
    return SDG_OK;
}

static enum sdg_result live(const struct life *life, struct sdg_vk *vk)
{
    struct sdg_program *program = NULL;
    SDG_TRY(
        sdg_program_create(&vk->base, life->graph, &(struct sdg_program_params){.weights = life->weights}, &program));
    enum sdg_result result = use_program(life, program);
    sdg_program_destroy(&program);
    return result;
}

static void begin_life(struct life *life, int runs)
{
    *life = (struct life){.graph = small_graph(), .runs = runs};
    life->weights = weights_of(life->graph);
    struct sdg_program *program = new_program(reference, life->graph, life->weights);
    size_t count;
    float *want = run_program(life->graph, program, 0, &count);
    assert_int_equal(count, 100);
    memcpy(life->want, want, sizeof life->want);
    free(want);
    sdg_program_destroy(&program);
}

static void end_life(struct life *life)
{
    sdg_tensors_destroy(&life->weights);
    sdg_graph_destroy(&life->graph);
}

// A context with weights and inputs staged, as on a card, in flushed memory, so that all calls there are happen.
static struct sdg_vk *open_staged(bool staged)
{
    struct sdg_vk *vk = new_vk(NULL);
    vk->caps.mapped_uploads = !staged;
    for (uint32_t i = 0; i < vk->memory.memoryTypeCount; i++)
        vk->memory.memoryTypes[i].propertyFlags &= ~(VkMemoryPropertyFlags)VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    return vk;
}

static bool is_one_of(const char *name, const char *names)
{
    const char *at = strstr(names, name);
    return at && (at[strlen(name)] == ' ' || !at[strlen(name)]);
}

// One line, with what failed in it.
static void check_message(const char *call)
{
    if (messages.errors != 1 || strchr(messages.last, '\n') || !strstr(messages.last, "vulkan"))
        printf("%s: %d errors, '%s'\n", call, messages.errors, messages.last);
    assert_int_equal(messages.errors, 1);
    assert_null(strchr(messages.last, '\n'));
    assert_non_null(strstr(messages.last, "vulkan"));
}

static enum sdg_result result_of(enum kind kind)
{
    return kind == MEMORY ? SDG_ERROR_MEMORY : kind == LOST ? SDG_ERROR_COMPUTE : SDG_ERROR_DEVICE;
}

// ---- every call fails once ----

static void test_opening(void **state)
{
    (void)state;
    static const char *const dispensable =
        "vkEnumerateInstanceExtensionProperties vkEnumerateDeviceExtensionProperties "
        "vkCreatePipelineCache";
    int count = 0;
    for (enum kind kind = MEMORY; kind <= UNKNOWN; kind *= 2)
        for (int n = 1;; n++, count++) {
            struct sdg_backend *backend = (void *)1;
            fail_call(n, kind);
            const enum sdg_result result =
                open_backend(&(struct sdg_backend_params){.device = -1, .threads = 1}, &backend);
            faults.left = 0;
            const char *call = faults.fired;
            if (result == SDG_OK) {
                assert_true(!call || is_one_of(call, dispensable));
                sdg_backend_destroy(&backend);
            } else {
                assert_non_null(call);
                const bool early = is_one_of(call, "vkCreateInstance vkEnumeratePhysicalDevices");
                assert_int_equal(result, early ? SDG_ERROR_DEVICE : result_of(kind));
                assert_null(backend);
                check_message(call);
            }
            assert_int_equal(faults.live, 0);
            if (!call)
                break;
        }
    printf("%d calls of opening failed one by one\n", count);
    assert_true(count > 40);
}

// Programs: those that are made with pipelines that were not made before, and those that run.
static void fail_programs(int runs, bool staged, int least)
{
    static const char *const dispensable = "vkCreatePipelineCache vkGetPipelineCacheData";
    struct life life;
    begin_life(&life, runs);
    struct sdg_vk *vk = open_staged(staged);
    assert_int_equal(live(&life, vk), SDG_OK);
    const int objects = faults.live;
    int count = 0;
    for (enum kind kind = MEMORY; kind <= UNKNOWN; kind *= 4)
        for (int n = 1;; n++, count++) {
            if (runs == 0) {
                sdg_vk_pipelines_destroy(vk);
                assert_int_equal(sdg_vk_pipelines_create(vk, temp_root), SDG_OK);
            }
            fail_call(n, kind);
            const enum sdg_result result = live(&life, vk);
            faults.left = 0;
            const char *call = faults.fired;
            if (result == SDG_OK) {
                const bool another = vk->memory.memoryTypeCount > 1 && call && strcmp(call, "vkAllocateMemory") == 0;
                if (call && !another && !is_one_of(call, dispensable))
                    printf("%s failed, and nobody noticed\n", call);
                assert_true(!call || another || is_one_of(call, dispensable));
            } else {
                assert_non_null(call);
                if (result != result_of(kind))
                    printf("%s: %s\n", call, messages.last);
                assert_int_equal(result, result_of(kind));
                check_message(call);
                assert_non_null(strstr(messages.last, call));
            }
            if (!call)
                break;
        }
    assert_int_equal(live(&life, vk), SDG_OK);
    if (runs)
        assert_int_equal(faults.live, objects);
    close_vk(vk);
    assert_int_equal(faults.live, 0);
    end_life(&life);
    printf("%d calls of programs failed one by one\n", count);
    assert_true(count >= least);
}

static void test_making(void **state)
{
    (void)state;
    fail_programs(0, false, 40);
}

static void test_running(void **state)
{
    (void)state;
    fail_programs(2, false, 60);
}

static void test_running_staged(void **state)
{
    (void)state;
    fail_programs(2, true, 60);
}

// A device that is lost stays so: one message, and every call after it fails.
static void test_lost(void **state)
{
    (void)state;
    struct life life;
    begin_life(&life, 2);
    int count = 0;
    for (int n = 1;; n++, count++) {
        struct sdg_vk *vk = open_staged(true);
        fail_call(n, LOST);
        const enum sdg_result result = live(&life, vk);
        faults.left = 0;
        const char *call = faults.fired;
        if (call) {
            assert_int_equal(result, SDG_ERROR_COMPUTE);
            check_message(call);
            assert_non_null(strstr(messages.last, "VK_ERROR_DEVICE_LOST"));
            assert_int_equal(live(&life, vk), SDG_ERROR_COMPUTE);
            assert_int_equal(messages.errors, 1);
        }
        close_vk(vk);
        assert_int_equal(faults.live, 0);
        if (!call)
            break;
    }
    end_life(&life);
    printf("a device lost in each of %d calls\n", count);
    assert_true(count > 10);
}

// With a program that lives on: written, run and read, it fails, and says nothing more.
static void test_lost_program(void **state)
{
    (void)state;
    struct life life;
    begin_life(&life, 1);
    struct sdg_vk *vk = open_staged(true);
    struct sdg_program *program = new_program(&vk->base, life.graph, life.weights);
    assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    fail_call(1, LOST);
    assert_int_equal(sdg_program_run(program, 0), SDG_ERROR_COMPUTE);
    check_message("vkQueueSubmit");
    float x[100] = {0};
    assert_int_equal(sdg_program_write(program, "x", x, 100), SDG_ERROR_COMPUTE);
    assert_int_equal(sdg_program_run(program, 0), SDG_ERROR_COMPUTE);
    assert_int_equal(sdg_program_read(program, "x", x, 100), SDG_ERROR_COMPUTE);
    sdg_program_profile(program, true);
    assert_int_equal(sdg_program_run(program, 0), SDG_ERROR_COMPUTE);
    sdg_program_destroy(&program);
    assert_int_equal(messages.errors, 1);
    close_vk(vk);
    assert_int_equal(faults.live, 0);
    end_life(&life);
}

// ---- memories ----

enum {
    LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    VISIBLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    CACHED = VISIBLE | VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    AMD = LOCAL | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD
};

// Memories as devices have them, sizes in MiB; and the type that each use gets. All of it is the real device's only
// memory.
static const struct layout {
    const char *name;
    VkPhysicalDeviceType type;
    uint64_t heaps[3];
    struct {
        VkMemoryPropertyFlags flags;
        uint32_t heap;
    } types[5];
    int full; // the heap of which nothing is left, -1: none
    // types: device memory; uploads of 1 KiB, of 9 MiB; staging. -1: an error of memory, -2: of the device
    int device, small, large, staging;
    bool mapped_small, mapped_large;
} layouts[] = {
    {"a card",
     VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     {64, 90},
     {{LOCAL, 0}, {VISIBLE, 1}, {CACHED, 1}},
     -1,
     0,
     0,
     0,
     2,
     false,
     false},
    {"a card with a window",
     VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     {64, 90, 32},
     {{LOCAL, 0}, {VISIBLE, 1}, {CACHED, 1}, {LOCAL | VISIBLE, 2}},
     -1,
     0,
     3,
     0,
     2,
     true,
     false},
    {"a full window",
     VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     {64, 90, 32},
     {{LOCAL, 0}, {VISIBLE, 1}, {CACHED, 1}, {LOCAL | VISIBLE, 2}},
     2,
     0,
     0,
     0,
     2,
     false,
     false},
    {"a card with a resizable window",
     VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     {64, 90},
     {{LOCAL, 0}, {VISIBLE, 1}, {LOCAL | VISIBLE, 0}, {CACHED, 1}},
     -1,
     0,
     2,
     2,
     3,
     true,
     true},
    {"a full card",
     VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     {64, 90},
     {{LOCAL, 0}, {VISIBLE, 1}, {AMD, 1}},
     0,
     -1,
     -1,
     -1,
     1,
     false,
     false},
    {"a phone",
     VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
     {64},
     {{LOCAL | VISIBLE, 0}, {LOCAL | CACHED, 0}},
     -1,
     0,
     0,
     0,
     1,
     true,
     true},
    {"a small part of what is shared",
     VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
     {8, 90},
     {{LOCAL, 0}, {VISIBLE, 1}, {CACHED, 1}},
     -1,
     1,
     0,
     1,
     2,
     false,
     true},
    {"a full part of what is shared",
     VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
     {8, 90},
     {{LOCAL, 0}, {VISIBLE, 1}, {CACHED, 1}},
     0,
     1,
     1,
     1,
     2,
     true,
     true},
    {"a heap of nothing",
     VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     {0, 90},
     {{LOCAL, 0}, {VISIBLE, 1}},
     -1,
     -1,
     -1,
     -1,
     1,
     false,
     false},
    {"nothing of its own", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, {0, 90}, {{VISIBLE, 1}}, -1, 0, 0, 0, 0, true, true},
    {"nothing for the host", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, {64}, {{LOCAL, 0}}, -1, 0, 0, 0, -2, false, false},
    {"no types", VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, {64}, {{0, 0}}, -1, -2, -2, -2, -2, false, false},
};
static const struct layout *layout;
static VkPhysicalDeviceMemoryProperties real_types;
static uint32_t real_type; // that can be mapped
static int taken;          // the type of the last allocation

static VKAPI_ATTR VkResult VKAPI_CALL allocate_fake(VkDevice device, const VkMemoryAllocateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDeviceMemory *out)
{
    if ((int)layout->types[info->memoryTypeIndex].heap == layout->full)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    taken = (int)info->memoryTypeIndex;
    VkMemoryAllocateInfo real = *info;
    real.memoryTypeIndex = real_type;
    const VkResult result = real_AllocateMemory(device, &real, allocator, out);
    faults.live += result == VK_SUCCESS;
    return result;
}

static PFN_vkGetBufferMemoryRequirements real_requirements;
static VKAPI_ATTR void VKAPI_CALL require_any(VkDevice device, VkBuffer buffer, VkMemoryRequirements *need)
{
    real_requirements(device, buffer, need);
    real_type = 0;
    while (!(need->memoryTypeBits & 1u << real_type) ||
           !(real_types.memoryTypes[real_type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT))
        real_type++;
    need->memoryTypeBits = UINT32_MAX;
}

static void pretend(struct sdg_vk *vk)
{
    vk->properties.deviceType = layout->type;
    vk->memory = (VkPhysicalDeviceMemoryProperties){.memoryHeapCount = 3};
    vk->base.info.memory = layout->heaps[0] ? layout->heaps[0] << 20 : layout->heaps[1] << 20;
    for (int i = 0; i < 3; i++)
        vk->memory.memoryHeaps[i].size = layout->heaps[i] << 20;
    for (; layout->types[vk->memory.memoryTypeCount].flags; vk->memory.memoryTypeCount++)
        vk->memory.memoryTypes[vk->memory.memoryTypeCount] = (VkMemoryType){
            layout->types[vk->memory.memoryTypeCount].flags, layout->types[vk->memory.memoryTypeCount].heap};
}

static void check_use(struct sdg_vk *vk, enum sdg_vk_memory_use use, size_t bytes, int type, bool mapped)
{
    struct sdg_vk_buffer buffer;
    memset(&messages, 0, sizeof messages);
    taken = -1;
    const enum sdg_result result = sdg_vk_buffer_create(vk, use, bytes, "a test", &buffer);
    if (taken != (type < 0 ? -1 : type) || (buffer.mapped != NULL) != mapped)
        printf("%s: use %d of %zu bytes: type %d, wanted %d; %s\n", layout->name, (int)use, bytes, taken, type,
               messages.last);
    assert_int_equal(result, type == -1 ? SDG_ERROR_MEMORY : type == -2 ? SDG_ERROR_DEVICE : SDG_OK);
    assert_int_equal(taken, type < 0 ? -1 : type);
    assert_int_equal(buffer.mapped != NULL, mapped);
    if (type < 0)
        check_message(layout->name);
    sdg_vk_buffer_destroy(vk, &buffer);
}

static void test_memories(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    const int objects = faults.live;
    real_types = vk->memory;
    real_requirements = vk->fn.vkGetBufferMemoryRequirements;
    vk->fn.vkGetBufferMemoryRequirements = require_any;
    vk->fn.vkAllocateMemory = allocate_fake;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        layout = &layouts[i];
        pretend(vk);
        check_use(vk, SDG_VK_MEMORY_DEVICE, 9 << 20, layout->device, false);
        check_use(vk, SDG_VK_MEMORY_UPLOAD, 1 << 10, layout->small, layout->mapped_small);
        check_use(vk, SDG_VK_MEMORY_UPLOAD, 9 << 20, layout->large, layout->mapped_large);
        check_use(vk, SDG_VK_MEMORY_STAGING, 1 << 20, layout->staging, layout->staging >= 0);
    }
    assert_int_equal(faults.live, objects);
    vk->fn.vkAllocateMemory = real_AllocateMemory;
    vk->fn.vkGetBufferMemoryRequirements = real_requirements;
    vk->memory = real_types;
    close_vk(vk);
    assert_int_equal(faults.live, 0);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_nothing(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset,
                                                  VkDeviceSize bytes, VkMemoryMapFlags flags, void **out)
{
    (void)device, (void)memory, (void)offset, (void)bytes, (void)flags, (void)out;
    return VK_ERROR_MEMORY_MAP_FAILED;
}

// Without addresses for it, uploads are staged; staging cannot be.
static void test_unmapped(void **state)
{
    (void)state;
    struct sdg_vk *vk = new_vk(NULL);
    struct sdg_vk_buffer buffer;
    vk->fn.vkMapMemory = map_nothing;
    char text[] = "something to upload", back[sizeof text];
    assert_int_equal(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_UPLOAD, 100, "a test", &buffer), SDG_OK);
    assert_null(buffer.mapped);
    assert_int_equal(sdg_vk_upload(vk, &buffer, 5, text, sizeof text), SDG_OK);
    assert_int_equal(sdg_vk_download(vk, &buffer, 5, back, sizeof back), SDG_OK);
    assert_string_equal(back, text);
    sdg_vk_buffer_destroy(vk, &buffer);
    memset(&messages, 0, sizeof messages);
    assert_int_equal(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_STAGING, 100, "a test", &buffer), SDG_ERROR_DEVICE);
    check_message("vkMapMemory");
    close_vk(vk);
    assert_int_equal(faults.live, 0);
}

static void no_heaps(VkPhysicalDeviceMemoryProperties *memory)
{
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++)
        memory->memoryHeaps[i].size = 0;
}

static void no_types(VkPhysicalDeviceMemoryProperties *memory)
{
    memory->memoryTypeCount = 0;
}

static void no_memory(VkPhysicalDeviceMemoryProperties *memory)
{
    *memory = (VkPhysicalDeviceMemoryProperties){.memoryTypeCount = 0};
}

static void nobody_sees(VkPhysicalDeviceMemoryProperties *memory)
{
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++)
        memory->memoryTypes[i].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
}

// Devices that cannot be used, and say so.
static void test_no_memory(void **state)
{
    (void)state;
    static const struct {
        void (*lie)(VkPhysicalDeviceMemoryProperties *memory);
        const char *words;
    } cases[] = {{no_heaps, "no memory"},
                 {no_types, "no memory type fits"},
                 {no_memory, "no memory"},
                 {nobody_sees, "no memory type fits the staging buffer"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_backend *backend = (void *)1;
        lies.memory = cases[i].lie;
        fail_call(0, MEMORY);
        assert_int_equal(open_backend(NULL, &backend), SDG_ERROR_DEVICE);
        lies.memory = NULL;
        assert_null(backend);
        check_message("memory");
        assert_non_null(strstr(messages.last, cases[i].words));
        assert_int_equal(faults.live, 0);
    }
}

// ---- time stamps ----

static double period;
static uint32_t valid_bits;

static void lie_about_period(VkPhysicalDeviceProperties *properties)
{
    properties->limits.timestampPeriod = (float)period;
}

static void lie_about_bits(VkQueueFamilyProperties *family)
{
    family->timestampValidBits = valid_bits;
}

static double profiled(struct sdg_vk *vk, const struct life *life)
{
    double seconds = 0;
    struct sdg_program *program = new_program(&vk->base, life->graph, life->weights);
    sdg_program_profile(program, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sdg_program_run(program, 0), SDG_OK);
    sdg_program_times(program, ignore_time, &seconds);
    sdg_program_destroy(&program);
    return seconds;
}

static uint64_t first_stamp, stamp_step;
static VKAPI_ATTR VkResult VKAPI_CALL stamp(VkDevice a, VkQueryPool b, uint32_t c, uint32_t count, size_t e, void *data,
                                            VkDeviceSize g, VkQueryResultFlags h)
{
    (void)a, (void)b, (void)c, (void)e, (void)g, (void)h;
    uint64_t *stamps = data;
    for (uint32_t i = 0; i < count; i++)
        stamps[i] = first_stamp + i * stamp_step;
    if (valid_bits < 64)
        for (uint32_t i = 0; i < count; i++)
            stamps[i] &= (UINT64_C(1) << valid_bits) - 1;
    return VK_SUCCESS;
}

// Drivers that have none, or none that mean anything: nothing is measured.
static void test_no_stamps(void **state)
{
    (void)state;
    static const struct {
        double period;
        uint32_t bits;
    } cases[] = {{1, 0}, {0, 64}, {-1, 64}, {NAN, 64}, {INFINITY, 36}};
    struct life life;
    begin_life(&life, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        period = cases[i].period;
        valid_bits = cases[i].bits;
        lies.properties = lie_about_period;
        lies.queues = lie_about_bits;
        struct sdg_vk *vk = new_vk(NULL);
        lies.properties = NULL;
        lies.queues = NULL;
        assert_true(profiled(vk, &life) == 0);
        assert_int_equal(live(&life, vk), SDG_OK);
        close_vk(vk);
    }
    end_life(&life);
}

static void test_stamps(void **state)
{
    (void)state;
    struct life life;
    begin_life(&life, 2);
    struct sdg_vk *vk = new_vk(NULL);
    vk->fn.vkGetQueryPoolResults = stamp;
    vk->caps.timestamp_seconds = 1e-9;
    // 2 runs of 2 operations of 50 ns; the counter begins again in the middle
    for (int i = 0; i < 3; i++) {
        valid_bits = vk->caps.timestamp_bits = (const uint32_t[]){64, 36, 20}[i];
        stamp_step = 50;
        first_stamp = (valid_bits == 64 ? UINT64_MAX : (UINT64_C(1) << valid_bits) - 1) - 60;
        assert_true(fabs(profiled(vk, &life) - 200e-9) < 1e-12);
    }
    assert_int_equal(messages.warnings, 0);
    // backwards, which is a leap of years: said once, and not counted
    stamp_step = UINT64_MAX - 10;
    valid_bits = vk->caps.timestamp_bits = 64;
    assert_true(profiled(vk, &life) == 0);
    assert_true(profiled(vk, &life) == 0);
    assert_int_equal(messages.warnings, 1);
    assert_non_null(strstr(messages.last_warning, "time stamps"));
    close_vk(vk);
    end_life(&life);
}

static void ignore_tuning(void *user, const struct sdg_tuning *tuning)
{
    (void)tuning;
    ++*(int *)user;
}

// Nothing is measured by such a clock, and what was kept before stays.
static void test_tune(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        uint64_t step;
        const char *words;
    } cases[] = {{0, 50, "no time stamps"}, {64, 0, "stand still"}, {64, UINT64_MAX - 10, "cannot be true"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sdg_vk *vk = new_vk(&(struct sdg_backend_params){.device = -1, .cache_dir = temp_path("tune")});
        int count = 0;
        valid_bits = cases[i].bits;
        stamp_step = cases[i].step;
        vk->caps.timestamp_bits = valid_bits;
        vk->fn.vkGetQueryPoolResults = stamp;
        vk->tiles->most_products = 1;
        memset(&messages, 0, sizeof messages);
        assert_int_equal(sdg_backend_tune(&vk->base, 600, ignore_tuning, &count), SDG_ERROR_UNSUPPORTED);
        assert_int_equal(messages.errors, 1);
        assert_non_null(strstr(messages.last, "cannot be tuned"));
        assert_non_null(strstr(messages.last, cases[i].words));
        assert_int_equal(count, 0);
        assert_int_equal(vk->tiles->count, 0);
        assert_int_not_equal(access(vk->tiles->path, F_OK), 0);
        close_vk(vk);
    }
}

// ---- main ----

int main(int argc, char **argv)
{
    if (!find_vulkan(argc, argv))
        return 0;
    validation = false; // calls that failed are not what the layers saw
    real_GetInstanceProcAddr = vkGetInstanceProcAddr;
    sdg_test_vk_loader = load;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening),        cmocka_unit_test(test_making),   cmocka_unit_test(test_running),
        cmocka_unit_test(test_running_staged), cmocka_unit_test(test_lost),     cmocka_unit_test(test_lost_program),
        cmocka_unit_test(test_memories),       cmocka_unit_test(test_unmapped), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_stamps),      cmocka_unit_test(test_stamps),   cmocka_unit_test(test_tune),
    };
    return run_part("vulkan_faults", tests, sizeof tests / sizeof *tests);
}
#else
int main(void)
{
    printf("skipped: this build has no Vulkan backend\n");
    return 0;
}
#endif
