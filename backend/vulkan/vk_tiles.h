// Which shader and which tile a product takes, and how it is cut up, where that was measured on the device (sdbench
// tune): read from a file of the cache folder, or found by vk_tune.c. Without it, or where it has nothing of a product,
// the rule of ops/matmul.c.
#ifndef SDG_BACKEND_VULKAN_TILES_H
#define SDG_BACKEND_VULKAN_TILES_H

#include "backend/vulkan/vk_pipeline.h"

// For products of a family and type, and about m x n outputs, each given as the whole number nearest to its log2.
struct sdg_vk_choice {
    char family[24];
    enum sdg_dtype type;
    int m, n;
    const struct sdg_shader *shader;
    const struct sdg_tile *tile; // one of the shader's
    bool by_columns;             // the order of workgroups (shaders/tile.glsl)
    uint32_t parts;              // of k (shaders/parts.glsl); 1: all in one
    bool sliced;                 // weights lie in slices (shaders/weights.glsl)
    uint32_t buffers;            // slices in shared memory, 1 or 2, of shaders that have a choice (shaders/matmul.glsl)
};

struct sdg_vk_tiles {
    struct sdg_vk_choice *list; // in the order of the file
    size_t count, capacity;
    char *path;                  // of the file; NULL without a cache folder
    bool tuned;                  // the list was read from it
    bool measuring;              // the list does not count meanwhile, and this is taken for every product that it fits:
    struct sdg_vk_choice forced; // shader NULL: nothing
    bool forced_fits;            // it was
    int most_products;           // for tests: so many are measured; 0 = all
};

// Reads the device's file of `cache_dir` (NULL: none). One that is missing counts as empty; so does one that is
// damaged, or of another device, driver or build, which is told at info level.
enum sdg_result sdg_vk_tiles_create(struct sdg_vk *vk, const char *cache_dir);
void sdg_vk_tiles_destroy(struct sdg_vk *vk);
// The nearest choice for the product whose shader can be used: whose rungs the context has and whose width divides
// `columns`. NULL if there is none. Of several that are as near the first.
const struct sdg_vk_choice *sdg_vk_tiles_find(const struct sdg_vk *vk, const char *family, enum sdg_dtype type,
                                              int64_t columns, int64_t m, int64_t n);
enum sdg_result sdg_vk_tiles_add(struct sdg_vk *vk, const struct sdg_vk_choice *choice);
// Writes the list. SDG_ERROR_OUTPUT, reported, if that fails; nothing to do without a cache folder.
enum sdg_result sdg_vk_tiles_save(struct sdg_vk *vk);
// The whole number nearest to log2(x), x >= 1.
int sdg_vk_log2(int64_t x);

#endif
