// The engine: threads, devices, caches and memory, for any number of pipelines and other handles to share.
//
//     struct sdg_engine *engine = NULL;
//     struct sdg_pipeline *emoji = NULL, *photos = NULL;
//     const struct sdg_engine_params what = {.cache_dir = my_folder, .max_memory = 1.5e9, .no_environment = true};
//     if (sdg_engine_create(&what, &engine) == SDG_OK) {
//         sdg_pipeline_create(&(struct sdg_pipeline_params){.engine = engine, .model = "emoji"}, &emoji);
//         sdg_pipeline_create(&(struct sdg_pipeline_params){.engine = engine, .model = "photos"}, &photos);
//     }
//     ...                                     // draw with both, from two threads if you like
//     sdg_pipeline_destroy(&emoji);
//     sdg_pipeline_destroy(&photos);
//     sdg_engine_destroy(&engine);            // before the pipelines would be as well
//
// A program with one pipeline needs none: what is created without an engine makes one of its own from its parameters,
// and nobody else uses that. With one engine
//
// - two pipelines compute with the same threads, instead of twice as many as there are cores,
// - a device is opened once, whatever number of stages and pipelines use it, and a shader is compiled once,
// - the memory limit is for all of them together: what one holds, or has planned for the picture that it draws now, is
//   missing to the others.
//
// Pipelines of one engine may run at the same time, each from a thread of its own: they draw the pictures that they
// draw one after the other, byte by byte, as long as memory does not force one of them to save (SDG_LOG_INFO says so).
// Each takes its turn on the threads and in the device's queue, operation by operation; two at once finish about when
// they would in turns.
//
// When a device is lost (a driver that was reset), every call that uses it ends with SDG_ERROR_COMPUTE, in every
// pipeline, and the first one of each pipeline says why. They cannot draw any more, but pipelines created from then on
// with the same engine open the device anew.
#ifndef SDGEN_ENGINE_H
#define SDGEN_ENGINE_H

#include "sdgen/sdgen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define sdg_engine_create SDG_LINK_NAME(sdg_engine_create_, SDG_API_VERSION)

// What Vulkan devices are to be taken for, where they could do more: programs are split, tiled or refused as on a
// device that has these limits. For tests, and to see on a desktop what a phone will do (sdgen --plan). 0 = the
// device's own; a number above that changes nothing. Results are those of the device without limits, but for rounding,
// and for tiles where the decoder needs them.
struct sdg_device_limits {
    uint64_t storage_range; // bytes that a shader sees of one buffer (maxStorageBufferRange); at least 64 KiB
    uint64_t allocation;    // bytes of one allocation (maxMemoryAllocationSize); at least 8 MiB
    uint64_t memory;        // bytes of all allocations on one device together; at least 64 MiB
    uint32_t invocations;   // of a workgroup (maxComputeWorkGroupInvocations); at least 128, as everywhere
    uint32_t shared_memory; // bytes of a workgroup (maxComputeSharedMemorySize); at least 16 KiB, as everywhere
    uint32_t workgroups;    // of a dispatch along a dimension (maxComputeWorkGroupCount); at least 65535, as everywhere
    uint32_t buffers;       // of a shader (maxPerStageDescriptorStorageBuffers); at least 8
};

struct sdg_engine_params {
    // Threads of the processor, the caller's included, at most 1024; 0 = one a fast core, of those that the process may
    // run on and that its control groups' quotas pay for. If the system starts fewer, there are fewer, with a warning.
    int threads;
    // The processors that threads may run on, "4-7" or "0,2,6-7", by the system's numbers; at least one must be there
    // and allowed to the process. A calling thread is held to them too, until its call returns. NULL = any; but with
    // `threads` 0 the fast ones, where a machine has cores of several kinds, as phones do. With it `threads` 0 counts
    // the cores among them alone. Where the system has no such calls: SDG_ERROR_UNSUPPORTED.
    const char *cores;
    const char *cpu_mask; // instruction sets at most, as in sdg_pipeline_params; NULL = all there are
    const char *disable;  // features of devices not to use, as in sdg_pipeline_params; NULL = none
    bool validation;      // Vulkan validation layers; any message is an error, of whichever call notices it
    // Folder for what is worth keeping between runs (Vulkan pipelines and measured tiles), the only place that the
    // library writes to unasked; made when there is something to keep. "" = none; NULL = the user's cache folder, or
    // none with no_environment
    const char *cache_dir;
    struct sdg_number submit_time; // of a device, as in sdg_pipeline_params
    // Bytes that the process may use in all while pipelines of this engine draw; 0 = what the system has free
    double max_memory;
    struct sdg_device_limits limits;
    // No environment variable is read for handles of this engine. Those that the library reads otherwise, and what
    // takes their place: SDGEN_MODEL (sdg_pipeline_params.model; NULL is the installed model then), SDGEN_TOKENIZER and
    // XDG_DATA_HOME (.tokenizer), XDG_CACHE_HOME (cache_dir), HOME (as of both), TMPDIR (only sdg_bench_tune, for a
    // file that it removes at once). The Vulkan loader and drivers read theirs whatever is said here.
    bool no_environment;
    struct sdg_log log; // of what concerns no single pipeline
};

struct sdg_engine_info {
    int threads;           // those that there are; before the first pipeline those that are asked for
    int devices;           // that were opened so far, those that were lost and opened anew included
    double planned;        // bytes of the pictures that are drawn now, and of networks that pipelines keep
    const char *cache_dir; // NULL = none; valid as long as the engine
};

// What handles share. Counted: every handle made with it holds it, so that sdg_engine_destroy only ends the caller's
// share, in any order; threads and devices are given back when the last holder is gone. The log must stay valid until
// then. Any function but _destroy may be called from any thread at any time, and any number of handles used at the same
// time.
struct sdg_engine;

// Checks the parameters; threads start and devices are opened when the first pipeline needs them. *out is the caller's.
// SDG_ERROR_USAGE for what is out of range or unknown.
SDG_API enum sdg_result sdg_engine_create(const struct sdg_engine_params *params, struct sdg_engine **out);
SDG_API void sdg_engine_destroy(struct sdg_engine **engine);
SDG_API void sdg_engine_info(struct sdg_engine *engine, struct sdg_engine_info *out);

#ifdef __cplusplus
}
#endif
#endif
