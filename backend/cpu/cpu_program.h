// What the backends `reference` and `cpu` share: a program is a list of steps, one per operation, each with a kernel
// that some provider chose. The machinery here owns arena, inputs, tables, plain weights, prepacked weights and the
// step list; a provider only knows kernels.
//
// Order of events in creation:
//   1. per operation: ask the backend's providers in order; the first whose select() takes it fills the step: run,
//   kernel name,
//      scratch_bytes, weight_bytes, and which weights it wants plain (sdg_cpu_want_weight)
//   2. plan the arena, scratch included; with plan_only stop here, nothing large allocated, no weight read
//   3. allocate arena, inputs and tables (zeroed), plain weights (loaded)
//   4. per step: allocate `weights`, then prepare(): load and reorder weights, remember pointers. Pointers never change
//   afterwards.
// Then run(row) calls every step's run in order. No allocation inside.
#ifndef SDG_BACKEND_CPU_CPU_PROGRAM_H
#define SDG_BACKEND_CPU_CPU_PROGRAM_H

#include "backend/program.h"
#include "base/threads.h"
#include "graph/plan.h"
#include "graph/weights.h"

enum { SDG_CPU_ALIGNMENT = 64, SDG_CPU_KERNEL_NAME = 64 };

struct sdg_cpu_program;
struct sdg_cpu_step;
struct sdg_fast_kernels;

struct sdg_cpu_provider {
    const char *name;
    // Sets *taken = true and fills the step if this provider runs step->op; else leaves the step untouched. An error
    // only if something went wrong (memory), never for "cannot". After taking, destroy() is called whatever happens
    // next.
    enum sdg_result (*select)(struct sdg_cpu_program *program, struct sdg_cpu_step *step, bool *taken);
};

struct sdg_cpu_step {
    // set by the machinery
    struct sdg_cpu_program *program;
    const struct sdg_op *op; // in the program's graph
    size_t index;            // of op
    // scratch_bytes in the arena, 64-byte aligned; valid from prepare() on; content lost between runs
    void *scratch;
    void *weights;  // weight_bytes of its own, 64-byte aligned, not initialised; valid from prepare() on
    double seconds; // profile
    // set by select()
    char kernel[SDG_CPU_KERNEL_NAME]; // for describe: "ref", "attention:avx512", "brg:avx512_core_bf16"
    size_t scratch_bytes;
    size_t weight_bytes;
    void *state;                                           // the provider's small things; freed by destroy()
    enum sdg_result (*prepare)(struct sdg_cpu_step *step); // NULL: nothing to do
    // must not allocate; results independent of thread count
    enum sdg_result (*run)(const struct sdg_cpu_step *step, int64_t row);
    // NULL: nothing to do; prepare() may not have happened
    void (*destroy)(struct sdg_cpu_step *step);
};

struct sdg_cpu_backend {
    struct sdg_backend base;
    struct sdg_pool *pool, *own_pool;                // what all its programs compute with; NULL if it is another's
    int threads;                                     // of the pool
    struct sdg_fast_kernels *kernels;                // [2] of fast/, as this processor allows; NULL in `reference`
    const struct sdg_cpu_provider *const *providers; // NULL-terminated, asked in this order
    void *state;                                     // the backend's own (an engine); NULL in `reference`
    // What sdg_weight_read does, faster and with the same results; false: not for this weight. NULL in `reference`.
    bool (*read_weight)(const struct sdg_cpu_backend *backend, const struct sdg_weight *weight, size_t first,
                        size_t count, enum sdg_dtype dtype, void *to);
};

struct sdg_cpu_program {
    struct sdg_program base;
    struct sdg_plan *plan;
    void *arena;
    // per value: its storage; NULL for activations nobody makes and weights not wanted plain
    void **data;
    bool *wanted;               // per value: a weight wanted plain
    struct sdg_cpu_step *steps; // per operation; NULL where creation did not come so far
    // during create only, per value: where a weight is stored; all zero for others, and when no weights were given to
    // plan_only
    struct sdg_weight *weights;
    bool release_weights; // during create only
    bool profiling;
    size_t extra_bytes; // what providers own besides (state that is not small); counted as sdg_memory.scratch
};

// ---- for providers ----
static inline struct sdg_cpu_backend *sdg_cpu_backend_of(const struct sdg_cpu_program *program)
{
    return (struct sdg_cpu_backend *)program->base.backend;
}
static inline const struct sdg_graph *sdg_cpu_graph(const struct sdg_cpu_program *program)
{
    return program->base.graph;
}
static inline const struct sdg_value_info *sdg_cpu_value(const struct sdg_cpu_program *program, sdg_value v)
{
    return &sdg_cpu_graph(program)->values[v];
}
// work(context, index, thread) for each index in [0, count), shared among the backend's threads; `thread` in [0,
// backend->threads), so that scratch memory may be one a thread. See sdg_pool_run.
static inline void sdg_cpu_run(const struct sdg_cpu_program *program, int64_t count, sdg_work *work, void *context)
{
    sdg_pool_run(sdg_cpu_backend_of(program)->pool, count, work, context);
}
// work(context, first, end, thread) for parts of [0, count). See sdg_pool_run_parts.
static inline void sdg_cpu_run_parts(const struct sdg_cpu_program *program, int64_t count, int64_t part,
                                     sdg_part_work *work, void *context)
{
    sdg_pool_run_parts(sdg_cpu_backend_of(program)->pool, count, part, work, context);
}
// In select(): the machinery is to keep weight `v` as a contiguous copy in its value's dtype (loaded once, shared by
// all that want it).
void sdg_cpu_want_weight(struct sdg_cpu_program *program, sdg_value v);
// In prepare(): reads weight `v` as contiguous elements of `dtype` - f32, f16 or bf16, s8 for integers -, slices
// applied, into `to`, on all threads. May be called while others want it plain too.
void sdg_cpu_read_weight(struct sdg_cpu_program *program, sdg_value v, enum sdg_dtype dtype, void *to);
// In select(): bits of the codes that a float weight can be kept as, 0 = none; and in prepare() these codes, one per
// s8, with their scales [O].
int sdg_cpu_code_bits(const struct sdg_cpu_program *program, sdg_value v);
void sdg_cpu_read_codes(struct sdg_cpu_program *program, sdg_value v, int8_t *codes, float *scales);
// From prepare() on: storage of an activation, input or plain weight, in its value's dtype, channels-last, no padding,
// 64-byte aligned.
static inline void *sdg_cpu_data(const struct sdg_cpu_program *program, sdg_value v)
{
    return program->data[v];
}
// From prepare() on: row `row` of table `v`: f32 [N or 1][C]. sdg_cpu_table_stride: floats from one sample to the next,
// 0 if shared by all.
static inline const float *sdg_cpu_table(const struct sdg_cpu_program *program, sdg_value v, int64_t row)
{
    const struct sdg_value_info *info = sdg_cpu_value(program, v);
    return (const float *)program->data[v] + row * info->dims[1] * info->dims[3];
}
static inline int64_t sdg_cpu_table_stride(const struct sdg_cpu_program *program, sdg_value v)
{
    const struct sdg_value_info *info = sdg_cpu_value(program, v);
    return info->dims[1] == 1 ? 0 : info->dims[3];
}

// The plain C kernels: take every operation (f32, f16, bf16 storage). Kernel name "ref".
extern const struct sdg_cpu_provider sdg_cpu_reference_provider;

// ---- for backends ----
// Allocates a backend (`ops` and the host's description filled in: name, memory, "cpu"); the caller sets `state` and
// info.note.
enum sdg_result sdg_cpu_backend_new(const struct sdg_log *log, const struct sdg_backend_params *params,
                                    const struct sdg_backend_ops *ops, const struct sdg_cpu_provider *const *providers,
                                    struct sdg_cpu_backend **out);
void sdg_cpu_backend_free(struct sdg_cpu_backend *backend); // does not touch state
void sdg_cpu_host_info(struct sdg_device_info *info);       // name, type, memory of this machine

extern const struct sdg_program_ops sdg_cpu_program_ops;

#endif
