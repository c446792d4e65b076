// A program: the steps of a graph with their memory, recorded once, replayed per row. The functions of struct
// sdg_backend_ops.
#ifndef SDG_BACKEND_VULKAN_PROGRAM_H
#define SDG_BACKEND_VULKAN_PROGRAM_H

#include "backend/vulkan/vk_common.h"

enum sdg_result sdg_vk_program_create(struct sdg_backend *backend, const struct sdg_graph *graph,
                                      const struct sdg_program_params *params, struct sdg_program **out);
void sdg_vk_program_destroy(struct sdg_program *program);
enum sdg_result sdg_vk_program_write(struct sdg_program *program, const char *name, const void *data, size_t count);
enum sdg_result sdg_vk_program_read(struct sdg_program *program, const char *name, float *data, size_t count);
enum sdg_result sdg_vk_program_run(struct sdg_program *program, int64_t row);
void sdg_vk_program_memory(const struct sdg_program *program, struct sdg_memory *out);
void sdg_vk_program_describe(const struct sdg_program *program,
                             void (*fn)(void *user, const char *op, const char *kernel), void *user);
void sdg_vk_program_profile(struct sdg_program *program, bool on);
void sdg_vk_program_times(const struct sdg_program *program,
                          void (*fn)(void *user, size_t op_index, const char *op, const char *kernel, double seconds),
                          void *user);

#endif
