// A program: the steps of a graph with their memory, recorded once, replayed per row.
#ifndef SDG_BACKEND_VULKAN_PROGRAM_H
#define SDG_BACKEND_VULKAN_PROGRAM_H

#include "backend/program.h"

extern const struct sdg_program_ops sdg_vk_program_ops;

#endif
