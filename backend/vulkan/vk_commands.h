// A program's work as data: steps, the places they read and write, where barriers are due, and recording it all into
// command buffers.
#ifndef SDG_BACKEND_VULKAN_COMMANDS_H
#define SDG_BACKEND_VULKAN_COMMANDS_H

#include "backend/vulkan/vk_memory.h"
#include "backend/vulkan/vk_pipeline.h"

// The memories of a program. From SPACE_WEIGHTS on, one per block of weights.
enum sdg_vk_space {
    SDG_VK_SPACE_NONE,
    SDG_VK_SPACE_ARENA,
    SDG_VK_SPACE_INPUTS,
    SDG_VK_SPACE_ROW,
    SDG_VK_SPACE_WEIGHTS
};

struct sdg_vk_place {
    unsigned space; // enum sdg_vk_space; NONE where a value has no storage
    size_t offset, bytes;
};

struct sdg_vk_binding {
    struct sdg_vk_place place;
    bool written;
};

// One dispatch.
struct sdg_vk_step {
    struct sdg_vk_pipeline_key key;
    struct sdg_vk_binding bindings[SDG_VK_MAX_BINDINGS];
    uint32_t groups[3];
    uint32_t push_bytes;
    unsigned char push[SDG_VK_MAX_PUSH];
    size_t op;        // index of the operation it belongs to
    const char *name; // of that operation, the graph's
    bool barrier;     // it has to wait for steps before it
    VkPipeline pipeline;
    VkDescriptorSet set;
};

// What was read and written since the last barrier. Two values that share a range of the arena at different times
// conflict like one value does: only the bytes count.
struct sdg_vk_hazards {
    struct sdg_vk_binding *pending;
    size_t count, capacity;
};
// Adds the step's accesses; sets step->barrier if one of them conflicts with what is pending, which a barrier then
// settles.
enum sdg_result sdg_vk_hazards_add(const struct sdg_log *log, struct sdg_vk_hazards *hazards, struct sdg_vk_step *step);
void sdg_vk_hazards_free(struct sdg_vk_hazards *hazards);

// Recorded command buffers, submitted as often as one likes.
struct sdg_vk_recording {
    VkCommandPool pool;
    VkCommandBuffer *buffers;
    size_t count;
    VkFence fence;
    VkQueryPool times; // a time stamp before the first and after each operation
    uint64_t *stamps;  // room for them
    // The row's number: the host writes the first, each run begins with a copy to the second, which shaders read. Set
    // by the owner.
    const struct sdg_vk_buffer *row_from, *row_to;
};

// Makes room for `op_count` operations in as many submissions as `macs` (per operation) ask for.
enum sdg_result sdg_vk_recording_create(struct sdg_vk *vk, const struct sdg_log *log, const int64_t *macs,
                                        size_t op_count, struct sdg_vk_recording *out);
void sdg_vk_recording_destroy(struct sdg_vk *vk, struct sdg_vk_recording *recording);
// Records all steps, ordered by op. With `timed`, operations are kept apart and stamped.
enum sdg_result sdg_vk_record(struct sdg_vk *vk, struct sdg_vk_recording *recording, const struct sdg_vk_step *steps,
                              size_t step_count, const int64_t *macs, size_t op_count, bool timed);
// Submits everything and waits for the end, also of what was submitted before a failure.
enum sdg_result sdg_vk_recording_run(struct sdg_vk *vk, const struct sdg_vk_recording *recording);
// Adds the seconds of each operation of the last run to seconds[op]. The recording was `timed`.
enum sdg_result sdg_vk_recording_times(struct sdg_vk *vk, const struct sdg_vk_recording *recording, size_t op_count,
                                       double *seconds);

#endif
