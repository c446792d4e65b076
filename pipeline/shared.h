// The engine inside: what pipelines and other handles share.
#ifndef SDG_PIPELINE_SHARED_H
#define SDG_PIPELINE_SHARED_H

#include "backend/backend.h"
#include "backend/open_devices.h"
#include "base/platform.h"
#include "base/threads.h"
#include "sdgen/engine.h"

#include <stdatomic.h>

struct sdg_engine {
    struct sdg_log log;
    atomic_int holders;
    // fixed from creation on
    int threads;           // as asked for
    struct sdg_cpus *cpus; // that threads may run on; NULL = any
    unsigned disable;      // enum sdg_feature
    bool validation, no_environment;
    double submit_seconds; // as in struct sdg_backend_params
    double max_memory;
    char *cpu_mask, *cache_dir; // NULL = none
    struct sdg_device_limits limits;
    struct sdg_devices devices;
    pthread_mutex_t lock;  // of what follows
    struct sdg_pool *pool; // NULL until it is needed
    size_t planned;        // bytes, the sum of all shares
    size_t bare;           // bytes of the process without anything that a picture left behind, as measured last
    bool planned_before;   // kernels of an earlier picture are part of the process already
};

// A holder more. To be ended by sdg_engine_destroy.
struct sdg_engine *sdg_engine_hold(struct sdg_engine *engine);

// The threads that all of an engine compute with, started on first use; a warning about them goes to `log`.
enum sdg_result sdg_engine_pool(struct sdg_engine *engine, const struct sdg_log *log, struct sdg_pool **pool);
// A backend on the engine's threads and devices, whose messages go to `log`. The engine outlives it.
enum sdg_result sdg_engine_backend(struct sdg_engine *engine, const struct sdg_log *log, const char *name, int device,
                                   struct sdg_backend **out);
// Holds the calling thread to the engine's processors, if it has such; *before gets what it was held to. True if there
// is something to take back with sdg_platform_run_on(before, NULL).
bool sdg_engine_bind(const struct sdg_engine *engine, struct sdg_cpus *before);

// ---- memory ----
// A handle's share is what its networks take now, or will take while the call that runs draws. What all shares and the
// process itself come to has to stay within the limit.

// Bytes of the process without anything that a picture left behind, as a pipeline with this share is to count them:
// measured, from `resident` bytes that it has now and `code` that it will have besides once kernels have run, when no
// handle holds anything; else what was measured before. `known`: what the pipeline had before, 0 = nothing; `keeps`: it
// holds networks, or will, and sticks to that.
size_t sdg_engine_bare(struct sdg_engine *engine, const size_t *share, size_t known, size_t resident, size_t code,
                       bool keeps);
// Bytes of all shares but this one.
size_t sdg_engine_others(struct sdg_engine *engine, const size_t *share);
// Makes the share `bytes`, unless all together were more than `most` then: false, and nothing has changed.
bool sdg_engine_reserve(struct sdg_engine *engine, size_t *share, size_t bytes, size_t most);

#endif
