// What a picture will need, network by network, before anything is loaded.
#ifndef SDG_PIPELINE_MEMORY_PLAN_H
#define SDG_PIPELINE_MEMORY_PLAN_H

#include "pipeline/networks.h"

struct sdg_planned_network {
    bool planned; // the picture needs it, and it is not one of those that only fill tables
    bool tiled;
    struct sdg_memory memory; // of its program
    struct sdg_work work;     // of one run of it
    size_t host;              // buffers of the pipeline itself
    size_t total;             // all that it brings along
};

struct sdg_memory_plan {
    struct sdg_planned_network networks[SDG_NETWORK_COUNT];
    size_t base;   // the process itself, and what other pipelines of its engine have planned
    size_t others; // the part of it that is theirs
    size_t peak;   // base + sdg_memory_plan_largest
    // the same of address space: what is allocated but not touched yet counts as well
    size_t reserved;
};

// Decides job->pictures, early_decoder, keep_networks, split_guidance and tile_vae; SDG_ERROR_MEMORY when the budget
// does not suffice.
enum sdg_result sdg_memory_plan(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_memory_plan *plan);

// The most that is there at one time, by the networks' residency.
size_t sdg_memory_plan_largest(const struct sdg_memory_plan *plan, bool keep_networks);

#endif
