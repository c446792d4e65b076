// A backend compiles graphs to programs and runs them. The three are `reference`, `cpu` and `vulkan`; backend/backend.c
// lists them.
//
// Thread-safety: one call at a time per backend and its programs; different backends may be used at the same time.
#ifndef SDG_BACKEND_BACKEND_H
#define SDG_BACKEND_BACKEND_H

#include "formats/tensors.h"
#include "graph/graph.h"

struct sdg_backend;
struct sdg_program;

struct sdg_backend_params {
    int threads;      // CPU threads, 0 = physical cores
    int device;       // vulkan: index as listed, -1 = first real GPU, else (if named explicitly) any
    bool validation;  // vulkan: validation layers on; any message is an error
    unsigned disable; // mask of ladder rungs turned off, for tests (enum sdg_feature)
    // cpu: the instruction sets that may be used at most, by name ("avx2"; backend/cpu/fast/sets.h), for tests and
    // reports of faults; NULL = all there are. oneDNN can be held to them only before its first use in the process, and
    // stays held; where it cannot, it is left out.
    const char *cpu_mask;
    const char *cache_dir; // vulkan: pipeline cache folder; NULL = none
};

enum sdg_feature { // rungs of the ladders
    SDG_FEATURE_ONEDNN = 1,
    SDG_FEATURE_BF16 = 2,
    SDG_FEATURE_SUBGROUP = 4,
    SDG_FEATURE_F16 = 8,
    SDG_FEATURE_DOT = 16,
    SDG_FEATURE_COOPMAT = 32,
};

struct sdg_device_info {
    char name[128], driver[128];
    const char *backend; // "cpu", "vulkan", "reference"
    const char *type;    // "cpu", "discrete gpu", "integrated gpu", "software"
    uint64_t memory;     // bytes
    unsigned features;   // enum sdg_feature bits it has
    char note[256];      // e.g. "oneDNN 3.2.0, avx512_core_bf16"
};

struct sdg_program_params {
    const struct sdg_tensors *weights; // source of weights, used during create only; NULL with weight_fn
    bool release_weights;              // mapped pages are given back as they are reordered
    // `plan_only`: memory and kernels are determined, nothing large is allocated, weights are not read; only
    // sdg_program_describe works.
    bool plan_only;
};

struct sdg_memory {
    size_t weights, arena, inputs, scratch; // bytes, host or device, whichever the backend computes in
    size_t total;
};

// name: "reference", "cpu", "vulkan". SDG_ERROR_DEVICE if there is none, SDG_ERROR_UNSUPPORTED if not built in.
enum sdg_result sdg_backend_create(const struct sdg_log *log, const char *name, const struct sdg_backend_params *params,
                                   struct sdg_backend **out);
void sdg_backend_destroy(struct sdg_backend **backend);
const struct sdg_device_info *sdg_backend_info(const struct sdg_backend *backend);
// True if it can store activations in this type at full speed (bf16 on a CPU without bf16 instructions: false).
bool sdg_backend_has_type(const struct sdg_backend *backend, enum sdg_dtype dtype);
// Calls `fn` per device of the backend `name`, or if NULL of all that are built in, in the order --backend vulkan:N
// counts them. Listing `cpu` is a use of oneDNN (cpu_mask above).
void sdg_backend_list(const struct sdg_log *log, const char *name,
                      void (*fn)(void *user, const struct sdg_device_info *info), void *user);

// Compiles `graph` (kept only during the call; apply rewrites before). A weight that is missing, misshapen or of the
// wrong type is SDG_ERROR_INPUT naming file and tensor. An operation it cannot run is SDG_ERROR_UNSUPPORTED naming the
// operation, never a silent detour.
enum sdg_result sdg_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                   const struct sdg_program_params *params, struct sdg_program **out);
void sdg_program_destroy(struct sdg_program **program);

// Host data of an input or table, by name, as f32 (token ids as s32), `count` elements (must match). Converted to the
// value's type.
enum sdg_result sdg_program_write(struct sdg_program *program, const char *name, const void *data, size_t count);
// Reads an output as f32 (integer codes as the numbers they are). Valid after run, until the next run.
enum sdg_result sdg_program_read(struct sdg_program *program, const char *name, float *data, size_t count);
// Runs all operations with tables at `row` (0 if there are none). Returns when the result can be read. No allocation
// inside.
enum sdg_result sdg_program_run(struct sdg_program *program, int64_t row);

void sdg_program_memory(const struct sdg_program *program, struct sdg_memory *out);
// The kernel chosen per operation ("brg:avx512_core_bf16", "ref", "conv2d_f16_64x64"), one call per operation in order.
void sdg_program_describe(const struct sdg_program *program, void (*fn)(void *user, const char *op, const char *kernel),
                          void *user);
// Seconds spent per operation over all runs since the last call with reset; only after sdg_program_profile(program,
// true).
void sdg_program_profile(struct sdg_program *program, bool on);
void sdg_program_times(const struct sdg_program *program,
                       void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                       void *user);

// ---- for backends ----
struct sdg_backend_ops {
    const char *name;
    enum sdg_result (*create)(const struct sdg_log *log, const struct sdg_backend_params *params,
                              struct sdg_backend **out);
    void (*destroy)(struct sdg_backend *backend);
    bool (*has_type)(const struct sdg_backend *backend, enum sdg_dtype dtype);
    void (*list)(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device_info *info), void *user);
    enum sdg_result (*program_create)(struct sdg_backend *backend, const struct sdg_graph *graph,
                                      const struct sdg_program_params *params, struct sdg_program **out);
    void (*program_destroy)(struct sdg_program *program);
    enum sdg_result (*write)(struct sdg_program *program, const char *name, const void *data, size_t count);
    enum sdg_result (*read)(struct sdg_program *program, const char *name, float *data, size_t count);
    enum sdg_result (*run)(struct sdg_program *program, int64_t row);
    void (*memory)(const struct sdg_program *program, struct sdg_memory *out);
    void (*describe)(const struct sdg_program *program, void (*fn)(void *user, const char *op, const char *kernel),
                     void *user);
    void (*profile)(struct sdg_program *program, bool on);
    void (*times)(const struct sdg_program *program,
                  void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                  void *user);
};
// First members of every backend's and program's own struct.
struct sdg_backend {
    const struct sdg_backend_ops *ops;
    const struct sdg_log *log;
    struct sdg_device_info info;
};
struct sdg_program { struct sdg_backend *backend; };

extern const struct sdg_backend_ops sdg_backend_reference, sdg_backend_cpu, sdg_backend_vulkan;

// Fetches weight value `v` of `graph` as contiguous elements of `dtype` (slices applied) into `to`; checks name, shape
// and type. Shared by all backends (backend/weights.c). What the file may hold:
//   v is a float     any float type; or for a weight MODULE.weight of rank 2 or 4 integers, s8 [O,I,..] or u8 [O,
//   packed row] of 4 bits
//                    (base/nibbles.h), times MODULE.weight_scale, f32 [O] or, with a group size in the file's metadata
//                    ("group"), [O, groups of inputs]. A slice uses MODULE[a:b].weight_scale if there is one, with
//                    groups counted from a
//   v is SDG_S8      v->bits 8: s8; 4: the packed u8, which becomes one code -8..7 per s8. `dtype` must be SDG_S8.
//   Scales are a weight of their own
// Scales (all vectors named *.weight_scale) must be positive and finite.
enum sdg_result sdg_weight_load(const struct sdg_log *log, const struct sdg_tensors *weights,
                                const struct sdg_value_info *v, enum sdg_dtype dtype, void *to, bool release);
// Float weights whose integers need not be expanded: with one scale per output, a product with the codes can be scaled
// afterwards. Bits of such codes, 8 or 4; 0 where there are none, or where something is wrong with the tensor
// (sdg_weight_load will tell).
int sdg_weight_code_bits(const struct sdg_tensors *weights, const struct sdg_value_info *v);
// These codes, one per s8, and their scales [O].
enum sdg_result sdg_weight_load_codes(const struct sdg_log *log, const struct sdg_tensors *weights,
                                      const struct sdg_value_info *v, int8_t *codes, float *scales, bool release);
// The checks alone (plan_only).
enum sdg_result sdg_weight_check(const struct sdg_log *log, const struct sdg_tensors *weights,
                                 const struct sdg_value_info *v);

#endif
