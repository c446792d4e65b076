// What a backend implements to run programs, behind the checked calls of backend.h: it is asked for values by index
// that exist, with the right number of bytes in the value's own type, for rows that exist, and never for the data of a
// program that was only planned.
#ifndef SDG_BACKEND_PROGRAM_H
#define SDG_BACKEND_PROGRAM_H

#include "backend/backend.h"

// First member of every backend's own program struct; filled in before create() and read-only for the backend.
struct sdg_program {
    struct sdg_backend *backend;
    const struct sdg_log *log; // of what is said about this program, from its creation on; NULL: silence
    struct sdg_graph *graph;   // the program's own; not changed any more
    bool plan_only;
    // the rest is the front's
    const struct sdg_tensors *weights; // the caller's; NULL if there are none
    bool ran;                          // the outputs are those of a run
    void *converted;        // room for the longest named value that is not f32; NULL if there is none or plan_only
    size_t converted_bytes; // its size, also with plan_only
};

struct sdg_program_ops {
    // enum sdg_fusion: those that its kernels have and the device gains by; NULL: none
    unsigned (*fusions)(struct sdg_backend *backend);
    size_t bytes; // of the backend's program struct; the front allocates it, zeroed
    // Compiles program->graph. After a failure destroy() follows.
    enum sdg_result (*create)(struct sdg_program *program, const struct sdg_program_params *params);
    // Frees what create() made, however far it came; also if it was never called. Not the struct itself.
    void (*destroy)(struct sdg_program *program);
    // Copies a whole input or table from the host, in its own type.
    enum sdg_result (*write)(struct sdg_program *program, sdg_value v, const void *data, size_t bytes);
    // Copies a whole input, table or output to the host, in its own type.
    enum sdg_result (*read)(struct sdg_program *program, sdg_value v, void *data, size_t bytes);
    enum sdg_result (*run)(struct sdg_program *program, int64_t row);
    // Everything but `total`.
    void (*memory)(const struct sdg_program *program, struct sdg_memory *out);
    // NULL: a kernel for each operation, which moves sdg_op_bytes
    struct sdg_work (*work)(const struct sdg_program *program);
    const char *(*kernel)(const struct sdg_program *program, size_t op_index);
    // From here on runs are timed (or no more), beginning at 0.
    void (*profile)(struct sdg_program *program, bool on);
    double (*seconds)(const struct sdg_program *program, size_t op_index);
};

#endif
