// A pool of threads that share the work of loops.
//
// The caller is one of the pool's threads; the others start with the pool and sleep between calls. Threads take indices
// in small runs until none is left, each first from a part of its own, and a call waits for those alone that have taken
// something: a thread that the system lets wait holds up no more than the run that it was in. Who waits spins for some
// microseconds, fewer the less often that helps, and then sleeps, so that on a busy machine waiting costs others
// nothing.
//
// Threads that cannot be had (limits of processes, of memory) are done without. A process made by fork() has none but
// its own: calls and sdg_pool_destroy work there, on that one, if no call was running in the fork.
#ifndef SDG_BASE_THREADS_H
#define SDG_BASE_THREADS_H

#include "base/log.h"

#include <stdint.h>

struct sdg_pool;

// Does index `index` of a loop; `thread` in [0, sdg_pool_threads) is another for each that works at the same time.
typedef void sdg_work(void *context, int64_t index, int thread);

// `threads` the caller included; 0: as many as sdg_platform_threads says. If fewer can be started, the pool has those,
// and says so once as a warning. The threads block signals, except those that a fault of their own raises.
enum sdg_result sdg_pool_create(const struct sdg_log *log, int threads, struct sdg_pool **out);
// The same with threads that run on these processors alone; 0 threads: as many as sdg_platform_threads_on says. The
// caller sees to itself (sdg_platform_run_on). `cpus` outlives the pool.
struct sdg_cpus;
enum sdg_result sdg_pool_create_on(const struct sdg_log *log, int threads, const struct sdg_cpus *cpus,
                                   struct sdg_pool **out);
// No call may be running. Sets *pool to NULL; NULL is fine.
void sdg_pool_destroy(struct sdg_pool **pool);
// Those that the pool has; 1 for NULL.
int sdg_pool_threads(const struct sdg_pool *pool);

// Calls work(context, index, thread) once for each index in [0, count), in any order, and returns when all are done.
// What the caller wrote before is seen by the work, what the work wrote is seen after. Allocates nothing.
//
// Any thread may call at any time; one call waits for the other. In place and in order, without the pool, work runs for
// one index or in a pool of one thread, NULL too, as thread 0; and in a call from inside of work of the same pool, as
// the thread that this is in. So memory that is one a thread belongs to a call, not to the pool. Work of two pools must
// not call the other's.
void sdg_pool_run(struct sdg_pool *pool, int64_t count, sdg_work *work, void *context);

// The same for work on ranges: calls work(context, first, end, thread) for parts of `part` >= 1 indices, the last one
// perhaps shorter, which together are [0, count). Parts begin at multiples of `part` whoever does them.
typedef void sdg_part_work(void *context, int64_t first, int64_t end, int thread);
void sdg_pool_run_parts(struct sdg_pool *pool, int64_t count, int64_t part, sdg_part_work *work, void *context);

// Tests: the n-th start of a thread from now on fails, and all after it (0 = none).
void sdg_test_fail_threads(int n);

#endif
