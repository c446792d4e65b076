// A program: the steps of a graph with their memory, recorded once, replayed per row.
#ifndef SDG_BACKEND_VULKAN_PROGRAM_H
#define SDG_BACKEND_VULKAN_PROGRAM_H

#include "backend/program.h"

extern const struct sdg_program_ops sdg_vk_program_ops;

// Of the shaders, constants, arguments and sizes of its dispatches: where two devices of one driver plan the same, they
// compute the same.
uint64_t sdg_vk_program_identity(const struct sdg_program *program);

#endif
