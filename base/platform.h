// What the machine and its system say about themselves: with control_group.h the only place that reads /proc and /sys,
// and the one to extend for another system. Where a system does not say, sizes are 0, limits none, texts empty, and
// nothing fails. Thread-safety: all functions may be called from any thread.
#ifndef SDG_BASE_PLATFORM_H
#define SDG_BASE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>

// The processor's name ("AMD EPYC ..."), cut to fit; "CPU" where it has none.
void sdg_platform_cpu(char *name, size_t size);
// Threads that computing pays on: as many as there are fast cores - each counted once however many threads it runs -
// that this process may run on and that its control groups' quotas pay for; at least 1.
int sdg_platform_threads(void);

// Processors, a bit each, by the system's numbers.
enum { SDG_MOST_CPUS = 1 << 14, SDG_CPUS_WORD = 8 * sizeof(unsigned long) };
struct sdg_cpus { unsigned long bits[SDG_MOST_CPUS / SDG_CPUS_WORD]; };
// "4-7", "0,2,6-7" -> a set; false if it is nothing of that kind.
bool sdg_cpus_parse(const char *text, struct sdg_cpus *out);
// Leaves those that this process may run on. False where there are none, or the system does not say.
bool sdg_platform_narrow_cpus(struct sdg_cpus *cpus);
// Leaves the fast ones where a machine has cores of several kinds, as phones do: a loop whose parts are shared out
// waits for the slowest. By the kernel's measure of what a core can do (cpu_capacity, 1024 for the fastest), half of
// the greatest; where it has none by the highest clock, 75 % of the greatest, as cores that differ by less are of one
// kind. The files are looked for under `root`, "" but in tests; where they do not say, all stay.
void sdg_platform_keep_fast(const char *root, struct sdg_cpus *cpus);
// The fast ones of those that this process may run on; false if there are no others, or the system does not say.
bool sdg_platform_fast_cpus(struct sdg_cpus *cpus);
// As many as there are cores among these, slow ones too, and as quotas pay for.
int sdg_platform_threads_on(const struct sdg_cpus *cpus);
// Holds the calling thread to them; *before (may be NULL) gets what it was held to. False, and nothing changed, where
// that is not possible.
bool sdg_platform_run_on(const struct sdg_cpus *cpus, struct sdg_cpus *before);

// Bytes of memory that the machine has; 0 = unknown.
size_t sdg_platform_memory(void);
// Bytes that this process can still touch without swapping or being killed: of the machine, of its control groups (v1
// and v2, up to the root) and of its own limit the narrowest. SIZE_MAX = no limit is known. *limit gets words that
// end "150 MiB ...": "are free in the control group (...)", a static string; NULL is fine.
size_t sdg_platform_memory_free(const char **limit);

// How many bytes the stack of the first thread, and of threads that ask for none, may take (ulimit -s); SIZE_MAX: any.
size_t sdg_platform_stack(void);
// The part of it that control groups say; their files are looked for under `root`, "" but in tests.
size_t sdg_platform_groups_free(const char *root);
// Bytes that it can still allocate, touched or not, under the limits of address space and data, less a margin for what
// stacks, heap and code take beside.
size_t sdg_platform_address_space_free(const char **limit);
// For programs, before their first thread: where the address space is limited, threads share one arena of malloc
// instead of reserving 64 MiB each, which the plan could not foresee.
void sdg_platform_share_arena(void);
// Bytes of a page, which maps begin at multiples of: 4096 mostly, 16384 on newer phones, 65536 on some servers; asked
// of the system when the program runs.
size_t sdg_platform_page(void);
// Tests: as if pages had so many bytes, a power of two and not less than they have; 0 = as many as they have.
void sdg_test_page(size_t bytes);
// Peak and current resident bytes of the process.
size_t sdg_resident_peak(void);
size_t sdg_resident_now(void);
// From here on the peak is that of what follows; nothing happens where the system cannot do that.
void sdg_resident_reset_peak(void);
// Asks the C library to give freed memory back to the system (after a stage has ended).
void sdg_memory_trim(void);

// The path of `name` among the data that came with the library: in share/sdgen beside the folder that the library (of a
// static one: the program) was loaded from, wherever an installation was moved, else where it was built to be
// installed. Links are followed. *out is the caller's, to be freed with free(); NULL where there is no such thing.
char *sdg_platform_data(const char *name);

// Removes a file, or a folder with all that is in it; links are removed, not followed. Async-signal-safe, for programs
// that end in a signal handler: no memory, no locks. What cannot be removed stays.
void sdg_platform_remove(const char *path);

// The file of the running program; false if it is unknown or longer than `size`.
bool sdg_platform_program(char *path, size_t size);

#endif
