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

// An operation's work is its multiply-adds and so many for each byte it moves: a guess of how long it takes, compared
// with others, by which runs are cut into submissions.
enum { SDG_VK_WORK_PER_BYTE = 8 };

// A copy of bytes between two places of buffers.
struct sdg_vk_copy {
    const struct sdg_vk_buffer *from, *to;
    VkBufferCopy part;
};

// What is recorded, all of the owner's, who keeps it as long as the recording.
struct sdg_vk_script {
    const struct sdg_vk_step *steps; // ordered by op
    size_t step_count;
    const double *work; // [op_count]
    size_t op_count;
    struct sdg_vk_copy row;            // the first thing of a run: the row's number, from where the host writes it
    const struct sdg_vk_copy *results; // the last: to where the host reads
    size_t result_count;
    bool timed; // operations are kept apart and stamped
};

// Recorded command buffers, submitted as often as one likes, one behind the other.
struct sdg_vk_recording {
    VkCommandPool pool;
    VkCommandBuffer *buffers; // [op_count + 1], of which `made` exist
    size_t made, count;       // count: submissions of a run; 0: nothing is recorded, or what was is of no use
    double total, limit;      // work of a run, and of a submission unless a single operation has more
    VkFence fence;
    VkQueryPool times; // a time stamp before the first and after each operation
    uint64_t *stamps;  // room for them
    double wall;       // seconds of the last run, by the host's clock
};

// Makes room for `op_count` operations.
enum sdg_result sdg_vk_recording_create(struct sdg_vk *vk, const struct sdg_log *log, size_t op_count,
                                        struct sdg_vk_recording *out);
void sdg_vk_recording_destroy(struct sdg_vk *vk, struct sdg_vk_recording *recording);
// Records all steps, in as many submissions as caps.submit_seconds asks for at the rate of work of the last run.
enum sdg_result sdg_vk_record(struct sdg_vk *vk, struct sdg_vk_recording *recording,
                              const struct sdg_vk_script *script);
// Nothing is recorded, or by what is known now of the device's speed it should be cut up in another way.
bool sdg_vk_recording_is_stale(const struct sdg_vk *vk, const struct sdg_vk_recording *recording);
// Submits everything and waits for the end, also of what was submitted before a failure.
enum sdg_result sdg_vk_recording_run(struct sdg_vk *vk, struct sdg_vk_recording *recording);
// Adds the seconds of each operation of the last run to seconds[op]. The recording was `timed`. A driver whose stamps
// cannot be true adds nothing.
enum sdg_result sdg_vk_recording_times(struct sdg_vk *vk, struct sdg_vk_recording *recording, size_t op_count,
                                       double *seconds);

#endif
