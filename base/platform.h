// What the machine and its system say about themselves: with control_group.h the only
// place that reads /proc and /sys, and the one to extend for another system. Where a system does not say, sizes are 0,
// texts empty, and nothing fails. Thread-safety: all functions may be called from any thread.
#ifndef SDG_BASE_PLATFORM_H
#define SDG_BASE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>

// The processor's name ("AMD EPYC ..."), cut to fit; "CPU" where it has none.
void sdg_platform_cpu(char *name, size_t size);
// Threads that computing pays on: as many as there are cores - each counted once however many threads it runs - that
// this process may run on and that its control groups' quotas pay for; at least 1.
int sdg_platform_threads(void);

// Bytes of memory: what the machine has, and what could be used now without swapping.
size_t sdg_platform_memory(void);
size_t sdg_platform_memory_free(void);
// Peak and current resident bytes of the process.
size_t sdg_resident_peak(void);
size_t sdg_resident_now(void);
// From here on the peak is that of what follows; nothing happens where the system cannot do that.
void sdg_resident_reset_peak(void);
// Asks the C library to give freed memory back to the system (after a stage has ended).
void sdg_memory_trim(void);

// The file of the running program; false if it is unknown or longer than `size`.
bool sdg_platform_program(char *path, size_t size);

#endif
