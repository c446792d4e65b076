#include "backend/vulkan/vk_pipeline.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/threads.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#if SDG_HAVE_ZLIB
#include <zlib.h>
#endif

const struct sdg_shader *sdg_vk_find_shader(unsigned features, const char *family, enum sdg_dtype type, int64_t columns,
                                            const struct sdg_shader *above)
{
    for (const struct sdg_shader *s = above ? above : sdg_shaders + sdg_shader_count; s-- > sdg_shaders;)
        if (s->type == type && columns % s->width == 0 && !(s->needs & ~features) && strcmp(s->family, family) == 0)
            return s;
    return NULL;
}

bool sdg_vk_rungs(const char *names, unsigned *mask)
{
    unsigned found = 0;
    for (const char *name = names; *name;) {
        const size_t length = strcspn(name, ",");
        size_t i = 0;
        while (i < sdg_rung_count && (strlen(sdg_rungs[i].name) != length || strncmp(sdg_rungs[i].name, name, length)))
            i++;
        if (i == sdg_rung_count)
            return false;
        found |= sdg_rungs[i].feature;
        name += length + (name[length] == ',');
    }
    *mask = found;
    return true;
}

struct entry {
    struct sdg_vk_pipeline_key key;
    VkPipeline pipeline;
};

// Shared by the contexts on a device. The lock is held while pipelines are looked for, made and written: what two want
// at the same time is compiled once. Layouts and the cache's names never change.
struct sdg_vk_pipelines {
    pthread_mutex_t lock;
    VkDescriptorSetLayout sets[SDG_VK_MAX_BINDINGS + 1]; // [n]: n storage buffers
    VkPipelineLayout layouts[SDG_VK_MAX_BINDINGS + 1];   // ... and SDG_VK_MAX_PUSH bytes of push constants
    struct entry *entries;
    size_t count, capacity;
    VkPipelineCache cache;
    bool from_disk, changed, unwritable;
    char *folder, *path; // of the cache file, NULL without one
};

// ---- the cache file ----
// 1. struct cache_header, host byte order (a file of another machine fails on magic, device or shaders: a miss)
// 2. header.bytes bytes of the driver's own cache

enum { CACHE_LIMIT = 256 << 20 };

struct cache_header {
    char magic[8];                   // "sdgvkpc1"
    uint64_t shaders;                // hash of all SPIR-V in this build
    uint64_t bytes, hash;            // of the data that follows
    uint32_t vendor, device, driver; // of VkPhysicalDeviceProperties
    uint32_t pad;
    uint8_t uuid[VK_UUID_SIZE]; // pipelineCacheUUID
};

// A megabyte or two, and every stage of a pipeline opens a backend, which asks several times.
static uint64_t shaders_hash;

static void hash_shaders(void)
{
    uint64_t hash = SDG_HASH_START;
    for (size_t i = 0; i < sdg_shader_count; i++)
        hash = sdg_hash_bytes(hash, sdg_shaders[i].packed, sdg_shaders[i].packed_bytes);
    shaders_hash = hash;
}

static struct cache_header expected_header(const struct sdg_vk *vk)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hash_shaders);
    struct cache_header h = {
        .magic = {'s', 'd', 'g', 'v', 'k', 'p', 'c', '1'},
        .shaders = shaders_hash,
        .vendor = vk->properties.vendorID,
        .device = vk->properties.deviceID,
        .driver = vk->properties.driverVersion,
    };
    memcpy(h.uuid, vk->cache_id, sizeof h.uuid);
    return h;
}

uint64_t sdg_vk_identity(const struct sdg_vk *vk)
{
    const struct cache_header id = expected_header(vk);
    return sdg_hash_bytes(SDG_HASH_START, &id, sizeof id);
}

// The driver's bytes of the file, or NULL. The driver checks its own header, but is not to be trusted with damaged
// data.
static char *read_cache(const struct sdg_vk *vk, const char *path, size_t *bytes)
{
    struct cache_header want = expected_header(vk), have;
    char *data = NULL;
    size_t size = 0;
    *bytes = 0;
    if (sdg_path_kind(path) != SDG_PATH_FILE || sdg_file_read(NULL, path, CACHE_LIMIT, &data, &size) != SDG_OK)
        return NULL;
    if (size >= sizeof have) {
        memcpy(&have, data, sizeof have);
        want.bytes = size - sizeof have;
        want.hash = sdg_hash_bytes(SDG_HASH_START, data + sizeof have, want.bytes);
        if (memcmp(&want, &have, sizeof have) == 0) {
            memmove(data, data + sizeof have, want.bytes);
            *bytes = want.bytes;
            return data;
        }
    }
    sdg_say(vk->base.log, SDG_LOG_DEBUG, "%s: damaged or made by another driver or build; pipelines are compiled anew",
            path);
    sdg_free(data);
    return NULL;
}

static enum sdg_result open_cache(struct sdg_vk *vk, const char *folder)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    char *data = NULL;
    size_t bytes = 0;
    if (folder) {
        char name[64];
        snprintf(name, sizeof name, "vulkan-%016" PRIx64 ".cache", sdg_vk_identity(vk));
        ps->folder = sdg_strdup(vk->base.log, folder);
        ps->path = sdg_path_join(vk->base.log, folder, name);
        if (!ps->folder || !ps->path)
            return SDG_ERROR_MEMORY;
        data = read_cache(vk, ps->path, &bytes);
    }
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = bytes,
        .pInitialData = data,
    };
    VkResult result = vk->fn.vkCreatePipelineCache(vk->device, &info, NULL, &ps->cache);
    ps->from_disk = data && result == VK_SUCCESS;
    sdg_free(data);
    if (result != VK_SUCCESS && bytes) { // intact, as the hash says, but not to this driver's liking
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        result = vk->fn.vkCreatePipelineCache(vk->device, &info, NULL, &ps->cache);
    }
    if (result == VK_SUCCESS) {
        SDG_VK_NAME(vk, PIPELINE_CACHE, ps->cache, "pipelines");
        return SDG_OK;
    }
    ps->cache = VK_NULL_HANDLE;
    if (result == VK_ERROR_DEVICE_LOST)
        return sdg_vk_error(vk, result, "vkCreatePipelineCache", "the pipeline cache");
    // pipelines can be made without a cache, within this process too
    sdg_say(vk->base.log, SDG_LOG_INFO,
            "vulkan (%s): vkCreatePipelineCache failed with %s (%d); pipelines are not kept", vk->base.info.name,
            sdg_vk_result_name(result), (int)result);
    return SDG_OK;
}

static enum sdg_result write_cache(struct sdg_vk *vk)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    size_t bytes = 0;
    SDG_VK_TRY(vk, "the pipeline cache", vkGetPipelineCacheData, vk->device, ps->cache, &bytes, NULL);
    if (bytes == 0 || bytes > CACHE_LIMIT - sizeof(struct cache_header))
        return SDG_OK;
    char *data = sdg_alloc_raw(NULL, bytes, 1, "the pipeline cache");
    if (!data)
        return SDG_ERROR_MEMORY;
    struct sdg_output *output = NULL;
    enum sdg_result result = SDG_ERROR_OUTPUT;
    if (sdg_folder_create(ps->folder) &&
        vk->fn.vkGetPipelineCacheData(vk->device, ps->cache, &bytes, data) == VK_SUCCESS) {
        struct cache_header header = expected_header(vk);
        header.bytes = bytes;
        header.hash = sdg_hash_bytes(SDG_HASH_START, data, bytes);
        result = sdg_output_open(NULL, ps->path, &output);
        if (result == SDG_OK)
            result = sdg_output_write(output, &header, sizeof header);
        if (result == SDG_OK)
            result = sdg_output_write(output, data, bytes);
        if (result == SDG_OK)
            result = sdg_output_commit(&output);
        sdg_output_discard(&output);
    }
    sdg_free(data);
    return result;
}

static void save_locked(struct sdg_vk *vk)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    if (!ps->path || !ps->cache || !ps->changed || ps->unwritable || atomic_load(&vk->shared->lost))
        return;
    ps->changed = false;
    if (write_cache(vk) != SDG_OK) {
        static atomic_flag said = ATOMIC_FLAG_INIT; // every stage has a backend of its own, and the folder is the same
        if (!atomic_flag_test_and_set(&said))
            sdg_say(vk->base.log, SDG_LOG_INFO,
                    "%s: the pipeline cache cannot be written; the next start compiles again", ps->path);
        ps->unwritable = true;
    }
}

void sdg_vk_pipelines_save(struct sdg_vk *vk)
{
    pthread_mutex_lock(&vk->pipelines->lock);
    save_locked(vk);
    pthread_mutex_unlock(&vk->pipelines->lock);
}

// ---- layouts and pipelines ----

static enum sdg_result create_layouts(struct sdg_vk *vk, uint32_t bindings)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    VkDescriptorSetLayoutBinding list[SDG_VK_MAX_BINDINGS];
    for (uint32_t i = 0; i < bindings; i++)
        list[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = bindings,
        .pBindings = list,
    };
    SDG_VK_TRY(vk, "a set layout", vkCreateDescriptorSetLayout, vk->device, &set, NULL, &ps->sets[bindings]);
    SDG_VK_NAME(vk, DESCRIPTOR_SET_LAYOUT, ps->sets[bindings], "%u buffers", bindings);
    const VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = SDG_VK_MAX_PUSH};
    const VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &ps->sets[bindings],
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };
    SDG_VK_TRY(vk, "a pipeline layout", vkCreatePipelineLayout, vk->device, &layout, NULL, &ps->layouts[bindings]);
    SDG_VK_NAME(vk, PIPELINE_LAYOUT, ps->layouts[bindings], "%u buffers", bindings);
    return SDG_OK;
}

enum sdg_result sdg_vk_pipelines_create(struct sdg_vk *vk, const char *cache_dir)
{
    vk->shared->pipelines = vk->pipelines = sdg_alloc(vk->base.log, 1, sizeof *vk->pipelines, "the pipelines");
    if (!vk->pipelines)
        return SDG_ERROR_MEMORY;
    pthread_mutex_init(&vk->pipelines->lock, NULL);
    for (uint32_t n = 1; n <= vk->caps.max_bindings; n++)
        SDG_TRY(create_layouts(vk, n));
    return open_cache(vk, cache_dir);
}

void sdg_vk_pipelines_destroy(struct sdg_vk *vk)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    if (!ps)
        return;
    sdg_vk_pipelines_save(vk);
    for (size_t i = 0; i < ps->count; i++)
        vk->fn.vkDestroyPipeline(vk->device, ps->entries[i].pipeline, NULL);
    if (ps->cache)
        vk->fn.vkDestroyPipelineCache(vk->device, ps->cache, NULL);
    for (uint32_t n = 1; n <= SDG_VK_MAX_BINDINGS; n++) {
        if (ps->layouts[n])
            vk->fn.vkDestroyPipelineLayout(vk->device, ps->layouts[n], NULL);
        if (ps->sets[n])
            vk->fn.vkDestroyDescriptorSetLayout(vk->device, ps->sets[n], NULL);
    }
    pthread_mutex_destroy(&ps->lock);
    sdg_free(ps->entries);
    sdg_free(ps->folder);
    sdg_free(ps->path);
    sdg_free(ps);
    vk->shared->pipelines = vk->pipelines = NULL;
}

// A pipeline to be made.
struct job {
    const struct sdg_vk_pipeline_key *key;
    VkShaderModule module;
    VkPipeline pipeline;
    VkResult result;
    double seconds; // that compiling it took
};

// The SPIR-V of a shader into code [bytes].
static bool unpack(const struct sdg_shader *shader, void *code)
{
#if SDG_HAVE_ZLIB
    z_stream stream = {
        .next_in = (z_const Bytef *)shader->packed,
        .avail_in = (uInt)shader->packed_bytes,
        .next_out = code,
        .avail_out = (uInt)shader->bytes,
    };
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) // no header, no checksum
        return false;
    const int status = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return status == Z_STREAM_END && stream.total_out == shader->bytes;
#else
    memcpy(code, shader->packed, shader->bytes);
    return true;
#endif
}

static enum sdg_result create_module(struct sdg_vk *vk, struct job *job)
{
    const struct sdg_shader *shader = job->key->shader;
    void *code = sdg_alloc_raw(vk->base.log, shader->bytes, 1, "a shader");
    if (!code)
        return SDG_ERROR_MEMORY;
    if (!unpack(shader, code)) {
        sdg_free(code);
        return sdg_fail(vk->base.log, SDG_ERROR_MEMORY, "not enough memory to unpack the shader %s", shader->name);
    }
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = shader->bytes,
        .pCode = code,
    };
    const VkResult status = vk->fn.vkCreateShaderModule(vk->device, &info, NULL, &job->module);
    sdg_free(code);
    if (status != VK_SUCCESS)
        return sdg_vk_error(vk, status, "vkCreateShaderModule", shader->name);
    SDG_VK_NAME(vk, SHADER_MODULE, job->module, "%s", shader->name);
    return SDG_OK;
}

// What takes time. Runs in any thread: the cache has a lock of its own.
static void compile(struct sdg_vk *vk, struct job *job)
{
    const struct sdg_vk_pipeline_key *key = job->key;
    VkSpecializationMapEntry map[SDG_SPEC_COUNT]; // ids that a shader does not have are ignored
    for (uint32_t i = 0; i < SDG_SPEC_COUNT; i++)
        map[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = i * (uint32_t)sizeof *key->spec, .size = sizeof *key->spec};
    const VkSpecializationInfo spec = {
        .mapEntryCount = SDG_SPEC_COUNT, .pMapEntries = map, .dataSize = sizeof key->spec, .pData = key->spec};
    // matrices are shared by subgroups of a known size, none of which may miss invocations; no other subgroup does
    // either where it can be helped
    const struct sdg_vk_caps *caps = &vk->caps;
    const bool sized = caps->matrices.sized && (key->shader->needs & SDG_FEATURE_COOPMAT),
               full = sized ||
        (caps->full_subgroups && (key->shader->needs & SDG_FEATURE_SUBGROUP) &&
         key->spec[SDG_SPEC_LOCAL_SIZE] % caps->subgroup_size == 0);
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = caps->matrices.subgroup,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = sized ? &subgroup : NULL,
                .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = job->module,
                .pName = "main",
                .pSpecializationInfo = &spec,
            },
        .layout = vk->pipelines->layouts[key->bindings],
    };
    const double begun = sdg_clock();
    job->result = vk->fn.vkCreateComputePipelines(vk->device, vk->pipelines->cache, 1, &info, NULL, &job->pipeline);
    job->seconds = sdg_clock() - begun;
    if (job->result != VK_SUCCESS)
        job->pipeline = VK_NULL_HANDLE;
}

struct batch {
    struct sdg_vk *vk;
    struct job *jobs;
};

static void compile_one(void *context, int64_t index, int thread)
{
    (void)thread;
    const struct batch *batch = context;
    compile(batch->vk, &batch->jobs[index]);
}

static const struct entry *find(const struct sdg_vk_pipelines *ps, const struct sdg_vk_pipeline_key *key)
{
    for (size_t i = 0; i < ps->count; i++)
        if (memcmp(&ps->entries[i].key, key, sizeof *key) == 0)
            return &ps->entries[i];
    return NULL;
}

#define LONG_TO_COMPILE 2.0 // seconds that are worth a line

// Keeps what was made; the first failure is told.
static enum sdg_result keep(struct sdg_vk *vk, const struct job *jobs, size_t count)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < count; i++) {
        const char *name = jobs[i].key->shader->name;
        if (jobs[i].seconds > LONG_TO_COMPILE)
            sdg_say(vk->base.log, SDG_LOG_DEBUG, "vulkan: the driver took %.1f s to compile %s", jobs[i].seconds, name);
        if (jobs[i].pipeline) {
            struct entry *entry = &ps->entries[ps->count++];
            memcpy(&entry->key, jobs[i].key, sizeof entry->key); // padding too: keys are compared as bytes
            entry->pipeline = jobs[i].pipeline;
            ps->changed = true;
            SDG_VK_NAME(vk, PIPELINE, entry->pipeline, "%s", name);
        } else if (result == SDG_OK) {
            result = sdg_vk_error(vk, jobs[i].result, "vkCreateComputePipelines", name);
        }
    }
    return result;
}

enum { MOST_JOBS = 64 }; // between two questions whether to go on

static enum sdg_result make(struct sdg_vk *vk, struct job *jobs, size_t count)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    if (!sdg_grow(vk->base.log, &ps->entries, &ps->capacity, ps->count + count, sizeof *ps->entries, "the pipelines"))
        return SDG_ERROR_MEMORY;
    enum sdg_result result = SDG_OK;
    size_t modules = 0;
    for (; modules < count && result == SDG_OK; modules++)
        result = create_module(vk, &jobs[modules]);
    if (result == SDG_OK) {
        sdg_pool_run(vk->pool, (int64_t)count, compile_one, &(struct batch){vk, jobs});
        result = keep(vk, jobs, count);
    }
    for (size_t i = 0; i < modules; i++)
        if (jobs[i].module)
            vk->fn.vkDestroyShaderModule(vk->device, jobs[i].module, NULL);
    return result;
}

static bool is_among(const struct job *jobs, size_t count, const struct sdg_vk_pipeline_key *key)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(jobs[i].key, key, sizeof *key) == 0)
            return true;
    return false;
}

// The first of the keys that are not made yet; *at moves behind those that are dealt with.
static enum sdg_result make_some(struct sdg_vk *vk, const struct sdg_vk_pipeline_key *const *keys, size_t count,
                                 size_t *at)
{
    const size_t some = 4 * (size_t)sdg_pool_threads(vk->pool), most = some < MOST_JOBS ? some : MOST_JOBS;
    struct job jobs[MOST_JOBS];
    size_t chosen = 0;
    for (; *at < count && chosen < most; ++*at)
        if (!find(vk->pipelines, keys[*at]) && !is_among(jobs, chosen, keys[*at]))
            jobs[chosen++] = (struct job){.key = keys[*at]};
    return chosen ? make(vk, jobs, chosen) : SDG_OK;
}

enum sdg_result sdg_vk_pipelines_make(struct sdg_vk *vk, const struct sdg_vk_pipeline_key *const *keys, size_t count)
{
    for (size_t at = 0; at < count;) {
        SDG_TRY(sdg_backend_goes_on(&vk->base)); // the caller's function, so without the lock
        pthread_mutex_lock(&vk->pipelines->lock);
        const enum sdg_result result = make_some(vk, keys, count, &at);
        pthread_mutex_unlock(&vk->pipelines->lock);
        SDG_TRY(result);
    }
    return SDG_OK;
}

enum sdg_result sdg_vk_pipeline(struct sdg_vk *vk, const struct sdg_vk_pipeline_key *key, VkPipeline *out)
{
    SDG_TRY(sdg_vk_pipelines_make(vk, &key, 1));
    pthread_mutex_lock(&vk->pipelines->lock);
    *out = find(vk->pipelines, key)->pipeline;
    pthread_mutex_unlock(&vk->pipelines->lock);
    return SDG_OK;
}

VkDescriptorSetLayout sdg_vk_set_layout(const struct sdg_vk *vk, uint32_t bindings)
{
    return vk->pipelines->sets[bindings];
}

VkPipelineLayout sdg_vk_pipeline_layout(const struct sdg_vk *vk, uint32_t bindings)
{
    return vk->pipelines->layouts[bindings];
}

void sdg_vk_pipelines_stats(const struct sdg_vk *vk, struct sdg_vk_pipeline_stats *out)
{
    struct sdg_vk_pipelines *ps = vk->pipelines;
    pthread_mutex_lock(&ps->lock);
    *out = (struct sdg_vk_pipeline_stats){.compiled = ps->count, .from_disk = ps->from_disk};
    snprintf(out->path, sizeof out->path, "%s", ps->path ? ps->path : "");
    pthread_mutex_unlock(&ps->lock);
}
