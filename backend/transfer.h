// Outputs of one program as inputs and tables of another, matched by name: what depends on the prompt or on time alone
// is computed by programs of its own and handed to the one that runs in every step.
#ifndef SDG_BACKEND_TRANSFER_H
#define SDG_BACKEND_TRANSFER_H

#include "backend/backend.h"

// Writes every output of `from`, as its last run left it, to the input or table of the same name and number of elements
// of `to`, which may belong to another backend. A value that is not finite is SDG_ERROR_COMPUTE naming it. Allocates
// room for the largest output during the call.
enum sdg_result sdg_program_copy(struct sdg_program *from, struct sdg_program *to);

// Outputs of programs, copied to the host as f32: they outlive the programs and can be written any number of times.
// Owned by the caller; used by one thread at a time, together with the program it is given to.
struct sdg_snapshot;

// An empty one. `log` outlives it.
enum sdg_result sdg_snapshot_create(const struct sdg_log *log, struct sdg_snapshot **out);
void sdg_snapshot_destroy(struct sdg_snapshot **snapshot); // NULL inside is fine
// Adds every output of the program's last run; not finite is an error as above. After a failure the snapshot holds what
// it held before and maybe some of these.
enum sdg_result sdg_snapshot_add(struct sdg_snapshot *snapshot, struct sdg_program *program);
// Writes all values to the inputs and tables of the same names of `to`. No allocation inside.
enum sdg_result sdg_snapshot_write(const struct sdg_snapshot *snapshot, struct sdg_program *to);
// Bytes that adding a program's outputs takes, for plans; also of a program that is only planned. SIZE_MAX if they
// cannot be counted.
size_t sdg_snapshot_bytes(const struct sdg_program *program);

#endif
