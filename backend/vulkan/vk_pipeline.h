// From rows of shaders/variants.txt and specialisation constants to pipelines, kept as long as the context, and on disk
// between runs.
#ifndef SDG_BACKEND_VULKAN_PIPELINE_H
#define SDG_BACKEND_VULKAN_PIPELINE_H

#include "backend/vulkan/vk_common.h"
#include "shaders/shaders.h"
#include "shaders/spec.h"

// What a pipeline is made from. Compared as bytes: zero it before filling.
struct sdg_vk_pipeline_key {
    const struct sdg_shader *shader;
    uint32_t spec[SDG_SPEC_COUNT]; // values of the specialisation constants, by shaders/spec.h
    uint32_t bindings;             // storage buffers 0 .. bindings - 1
};

// The last row of the table that fits, NULL if none does; with `above`, of the rows above that one. `columns` is what
// the width has to divide; `features` what may be used.
const struct sdg_shader *sdg_vk_find_shader(unsigned features, const char *family, enum sdg_dtype type, int64_t columns,
                                            const struct sdg_shader *above);
// The bits of rungs named as in shaders/variants.txt ("f16,dot"), for masks; false if one is unknown.
bool sdg_vk_rungs(const char *names, unsigned *mask);

// Of device, driver and the shaders of this build: what was kept under another one is of no use.
uint64_t sdg_vk_identity(const struct sdg_vk *vk);

// The device's, through a context. `cache_dir` NULL: nothing on disk. A file that is missing, foreign or damaged is a
// miss.
enum sdg_result sdg_vk_pipelines_create(struct sdg_vk *vk, const char *cache_dir);
void sdg_vk_pipelines_destroy(struct sdg_vk *vk); // writes the file if there is something new
// Compiles all that were not made before, as many at a time as the context has threads. Asks now and then whether to go
// on.
enum sdg_result sdg_vk_pipelines_make(struct sdg_vk *vk, const struct sdg_vk_pipeline_key *const *keys, size_t count);
// Compiles the pipeline or finds it among those made before; it stays the context's.
enum sdg_result sdg_vk_pipeline(struct sdg_vk *vk, const struct sdg_vk_pipeline_key *key, VkPipeline *out);
VkDescriptorSetLayout sdg_vk_set_layout(const struct sdg_vk *vk, uint32_t bindings);
VkPipelineLayout sdg_vk_pipeline_layout(const struct sdg_vk *vk, uint32_t bindings);
// Writes the cache file if pipelines were compiled since it was last read or written; a failure is no error.
void sdg_vk_pipelines_save(struct sdg_vk *vk);

struct sdg_vk_pipeline_stats {
    size_t compiled; // pipelines made in this context
    bool from_disk;  // a cache file was read and taken
    char path[512];  // of the cache file, "" without one
};
void sdg_vk_pipelines_stats(const struct sdg_vk *vk, struct sdg_vk_pipeline_stats *out);

#endif
