// A backend compiles graphs to programs and runs them. The three are `reference`, `cpu` and `vulkan`; backend/backend.c
// lists them. Programs are used through the functions here, which check every call (backend/program.c); what a backend
// implements is in backend/program.h.
//
// Thread-safety: a backend and all its programs are one unit that one thread may use at a time, creation and
// destruction included; the thread may change from call to call. Different backends, also of the same name and on the
// same device (sdg_backend_params.devices), may be used at the same time.
// Messages: what is wrong with a program goes to the program's log. What concerns the device and what programs share on
// it (a Vulkan call that failed, memory the device has not, the pipeline cache) goes to the backend's.
// Lifetime: the log given to sdg_backend_create outlives the backend, the backend outlives its programs. All other
// arguments (graphs, weights, strings, arrays) are used during the call only.
#ifndef SDG_BACKEND_BACKEND_H
#define SDG_BACKEND_BACKEND_H

#include "formats/tensors.h"
#include "graph/graph.h"

struct sdg_backend;       // a device, or the processor, ready to compile for it
struct sdg_devices;       // backend/open_devices.h
struct sdg_device_limits; // sdgen/engine.h
struct sdg_program;       // a compiled graph with its memory

struct sdg_backend_params {
    int threads; // 0 = sdg_platform_threads
    // The threads, which live longer than the backend; NULL = its own, `threads` of them. Vulkan compiles with them.
    struct sdg_pool *pool;
    // Devices that are open: what is there is used again, what is not is opened and kept there. Outlives the backend.
    // All backends that share devices agree on validation, disable, cache_dir and limits. NULL = a device of its own.
    struct sdg_devices *devices;
    int device;       // vulkan: index as listed, -1 = first real GPU, else (if named explicitly) any
    bool validation;  // vulkan: validation layers on; any message is an error
    unsigned disable; // mask of ladder rungs turned off, for tests (enum sdg_feature)
    // cpu: the instruction sets that may be used at most, by name ("avx2"; backend/cpu/fast/sets.h), for tests and
    // reports of faults; NULL = all there are. oneDNN can be held to them only before its first use in the process, and
    // stays held; where it cannot, it is left out.
    const char *cpu_mask;
    const char *cache_dir; // vulkan: pipeline cache folder; NULL = none
    // vulkan: seconds that the device may work on one submission, after which others get their turn; 0 = as usual for
    // devices of its kind, INFINITY = a run is one submission
    double submit_seconds;
    const struct sdg_device_limits *limits; // vulkan: what devices are taken for; NULL = for what they are
};

enum {
#define SDG_FEATURE(upper, name) SDG_FEATURE_INDEX_##upper,
#include "backend/features.def"
};
enum sdg_feature { // bits: SDG_FEATURE_F16, ...
#define SDG_FEATURE(upper, name) SDG_FEATURE_##upper = 1 << SDG_FEATURE_INDEX_##upper,
#include "backend/features.def"
};

struct sdg_device_info {
    char name[128], driver[128];
    const char *backend; // "cpu", "vulkan", "reference"
    const char *type;    // "cpu", "discrete gpu", "integrated gpu", "software"
    uint64_t memory;     // bytes
    uint64_t code_bytes; // by which the process grows once programs run, whatever their size: kernels made at run time
    unsigned features;   // enum sdg_feature bits it has
    char note[256];      // e.g. "oneDNN 3.2.0, avx512_core_bf16"
};

struct sdg_program_params {
    const struct sdg_tensors *weights; // read on creation, and by sdg_program_check_finite; NULL = the graph has none
    const struct sdg_log *log;         // gets the program's messages and outlives it; NULL = the backend's
    bool release_weights;              // mapped pages are given back as they are reordered
    // Memory and kernels are determined, nothing large is allocated, weights are not read. Such a program answers
    // sdg_program_graph, _memory and _describe; it cannot be written, read or run (SDG_ERROR_USAGE).
    bool plan_only;
};

struct sdg_memory {
    size_t weights, arena, inputs, scratch; // bytes, host or device, whichever the backend computes in
    size_t total;                           // their sum
};

// What one run asks of the device.
struct sdg_work {
    size_t dispatches; // kernels started one after the other; on processors, operations
    double bytes;      // that they read and write, were nothing kept in caches: of each dispatch what it is given once
};

// What params say in words, whichever backend they are for: SDG_ERROR_USAGE, with what is legal, for a cpu_mask that
// names what this architecture does not have. For callers that open a backend later, or another than `cpu`.
enum sdg_result sdg_backend_check_params(const struct sdg_log *log, const struct sdg_backend_params *params);
// name: "reference", "cpu", "vulkan". SDG_ERROR_DEVICE if there is none, SDG_ERROR_UNSUPPORTED if not built in.
enum sdg_result sdg_backend_create(const struct sdg_log *log, const char *name, const struct sdg_backend_params *params,
                                   struct sdg_backend **out);
// Long calls (creating and running programs) ask `goes_on` between operations, from the thread that makes the call,
// and end with SDG_ERROR_CANCELLED, without a message, when it says no. A run that was cancelled leaves no result.
// NULL: nobody is asked.
void sdg_backend_watch(struct sdg_backend *backend, bool (*goes_on)(void *user), void *user);
void sdg_backend_destroy(struct sdg_backend **backend); // all its programs are gone; NULL inside is fine
// Lives as long as the backend.
const struct sdg_device_info *sdg_backend_info(const struct sdg_backend *backend);
// True if it can store activations in this type at full speed (bf16 on a CPU without bf16 instructions: false).
bool sdg_backend_has_type(const struct sdg_backend *backend, enum sdg_dtype dtype);
// Whether it can run the graph: its operations, types and sizes on this device, with weights stored like these (NULL:
// any). A question, so nothing is said, and nothing in the backend changes; what else is wrong with graph or weights
// shows when the program is created.
bool sdg_backend_supports(struct sdg_backend *backend, const struct sdg_graph *graph,
                          const struct sdg_tensors *weights);
// Calls `fn` per device of the backend `name`, or if NULL of all that are built in, in the order --backend vulkan:N
// counts them. Listing `cpu` is a use of oneDNN (cpu_mask above).
void sdg_backend_list(const struct sdg_log *log, const char *name,
                      void (*fn)(void *user, const struct sdg_device_info *info), void *user);

// What the device reaches at most in one kind of work, as measured: the scale for what programs reach.
struct sdg_peak {
    const char *name; // "f32 multiply-add", "memory read"; static
    const char *unit; // "op/s" (a multiply-add is two), "B/s"; static
    double rate;
};
// Measures all kinds that the backend knows, in about so many `seconds`, one call of `fn` each.
// SDG_ERROR_UNSUPPORTED where it measures none.
enum sdg_result sdg_backend_peaks(struct sdg_backend *backend, double seconds,
                                  void (*fn)(void *user, const struct sdg_peak *peak), void *user);

// What was chosen for one product, and what would have been without measuring. Strings live during the call.
struct sdg_tuning {
    const char *product; // "conv2d f16, 8192 x 320 outputs"
    const char *kernel;  // the fastest of `candidates`
    const char *rule;    // the kernel that the backend's rule takes
    double seconds;      // of the fastest
    double rule_seconds; // 0: it was not among them
    int candidates;      // that were measured
    bool differs;        // the fastest is taken; else the rule's, which is as good
};
// Measures, in about `seconds`, what kernels of the device are fastest, one call of `fn` for each product. Programs
// made from now on, and those of later backends with the same cache_dir, on the same device with the same driver and
// build, use it: their results are as good, and differ by rounding. SDG_ERROR_UNSUPPORTED where nothing can be chosen.
enum sdg_result sdg_backend_tune(struct sdg_backend *backend, double seconds,
                                 void (*fn)(void *user, const struct sdg_tuning *tuning), void *user);

// Compiles `graph`, of which the program keeps a copy (apply rewrites before). A weight that is missing, misshapen or
// of the wrong type is SDG_ERROR_INPUT naming file and tensor. An operation it cannot run is SDG_ERROR_UNSUPPORTED
// naming the operation, never a silent detour.
enum sdg_result sdg_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                   const struct sdg_program_params *params, struct sdg_program **out);
void sdg_program_destroy(struct sdg_program **program); // NULL inside is fine
// The graph as compiled: names, shapes and types of inputs, tables and outputs, operations in the order in which
// describe and times count them. Lives as long as the program.
const struct sdg_graph *sdg_program_graph(const struct sdg_program *program);

// Host data of an input or table, by name, as f32 (token ids as s32), `count` elements. Converted to the value's type;
// kept until written again. SDG_ERROR_USAGE: no such name, an output, or another number of elements. SDG_ERROR_INPUT: a
// token id that is not a row of every embedding table that reads it; nothing is written then.
enum sdg_result sdg_program_write(struct sdg_program *program, const char *name, const void *data, size_t count);
// Reads an output of the last run as f32 (integer codes as the numbers they are), or what an input or table holds.
// SDG_ERROR_USAGE: no such name, token ids, another number of elements, or an output before the first run.
enum sdg_result sdg_program_read(struct sdg_program *program, const char *name, float *data, size_t count);
// Checks what was read, or what follows from it: SDG_OK if all is finite. Where a weight that the program was made from
// is not, its file is to blame (SDG_ERROR_INPUT with its name), else the computation (SDG_ERROR_COMPUTE naming `what`).
enum sdg_result sdg_program_check_finite(const struct sdg_program *program, const float *data, size_t count,
                                         const char *what);
// Runs all operations with tables at `row`, 0 <= row < the graph's rows (1 if it has no tables). Returns when the
// result can be read. No allocation inside.
enum sdg_result sdg_program_run(struct sdg_program *program, int64_t row);

void sdg_program_memory(const struct sdg_program *program, struct sdg_memory *out);
struct sdg_work sdg_program_work(const struct sdg_program *program);
// The kernel chosen per operation ("brg:avx512_core_bf16", "ref", "conv2d_f16_64x64"), one call per operation in order.
void sdg_program_describe(const struct sdg_program *program, void (*fn)(void *user, const char *op, const char *kernel),
                          void *user);
// Seconds spent per operation over all runs since profiling was last turned on; nothing is measured before that.
void sdg_program_profile(struct sdg_program *program, bool on);
void sdg_program_times(const struct sdg_program *program,
                       void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                       void *user);

// ---- for backends ----
struct sdg_program_ops; // backend/program.h

struct sdg_backend_ops {
    const char *name;
    enum sdg_result (*create)(const struct sdg_log *log, const struct sdg_backend_params *params,
                              struct sdg_backend **out);
    void (*destroy)(struct sdg_backend *backend);
    bool (*has_type)(const struct sdg_backend *backend, enum sdg_dtype dtype);
    void (*list)(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device_info *info), void *user);
    // NULL: it measures nothing
    enum sdg_result (*peaks)(struct sdg_backend *backend, double seconds,
                             void (*fn)(void *user, const struct sdg_peak *peak), void *user);
    // NULL: there is nothing to choose
    enum sdg_result (*tune)(struct sdg_backend *backend, double seconds,
                            void (*fn)(void *user, const struct sdg_tuning *tuning), void *user);
    const struct sdg_program_ops *program;
};
// First member of every backend's own struct.
struct sdg_backend {
    const struct sdg_backend_ops *ops;
    const struct sdg_log *const log;
    struct sdg_device_info info;
    bool (*goes_on)(void *user); // sdg_backend_watch
    void *watcher;
};

// For backends, between operations.
static inline enum sdg_result sdg_backend_goes_on(const struct sdg_backend *backend)
{
    return !backend->goes_on || backend->goes_on(backend->watcher) ? SDG_OK : SDG_ERROR_CANCELLED;
}

// Fills a zeroed one, just allocated; `info` is left to the backend.
void sdg_backend_init(struct sdg_backend *backend, const struct sdg_backend_ops *ops, const struct sdg_log *log);

extern const struct sdg_backend_ops sdg_backend_reference, sdg_backend_cpu, sdg_backend_vulkan;

#endif
