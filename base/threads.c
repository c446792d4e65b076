// All that threads agree upon is one number, the state: which call it is (its upper half), whether more threads may
// join, and how many have. A thread joins a call once, works until no index is left, and leaves; the caller closes the
// call when it finds none left itself, and waits for those inside. A thread that wakes up late finds the call closed.
#include "base/threads.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/platform.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const uint64_t one_call = UINT64_C(1) << 32, is_open = UINT64_C(1) << 31, is_ending = UINT64_C(1) << 30,
                      joined_mask = (UINT64_C(1) << 30) - 1;

enum { STACK_BYTES = 1 << 20, CACHE_LINE = 64, RUNS_PER_PART = 8, PAUSES_PER_LOOK = 16 };

// Seconds of spinning: sleeping and being woken takes some ten microseconds, so waits of about as much are worth it.
static const double most_spin = 50e-6, least_spin = 1e-6;

// Where threads sleep until the state is one they wait for.
struct gate {
    pthread_cond_t woken;
    atomic_int sleepers; // changed under the pool's lock
};

// How long a thread spins at a gate.
struct patience { double seconds; };

// The indices that a thread takes first, and others when theirs are done.
struct part {
    alignas(CACHE_LINE) atomic_int_least64_t next;
    int64_t end;
};

struct worker {
    pthread_t id;
    struct sdg_pool *pool;
    int thread;
};

struct sdg_pool {
    alignas(CACHE_LINE) atomic_uint_least64_t state;
    // of the call: written by the caller while nobody has joined
    alignas(CACHE_LINE) sdg_work *work;
    void *context;
    int part_count;
    _Atomic double called;                   // clock
    alignas(CACHE_LINE) _Atomic double left; // clock: when a thread left last
    alignas(CACHE_LINE) pthread_mutex_t lock;
    struct gate calls, ends;  // threads wait for calls, the caller for the end
    struct patience patience; // the caller's
    pthread_mutex_t callers;  // held through a call
    int threads;
    pid_t process;
    const struct sdg_cpus *cpus; // that the threads run on; NULL = any
    struct part *parts;          // [threads]
    struct worker *workers;      // [threads - 1]
};

// The pool that this thread works for at the moment, and as which thread.
struct place {
    const struct sdg_pool *pool;
    int thread;
};
static _Thread_local struct place inside;

static int threads_until_failure;

void sdg_test_fail_threads(int n)
{
    threads_until_failure = n;
}

// ---- waiting ----

static void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

// Is the state one to wait for? `call`: the last that the waiting thread has seen.
typedef bool condition(uint64_t state, uint64_t call);

static bool has_new_call(uint64_t state, uint64_t call)
{
    return state / one_call != call;
}

static bool is_left_by_all(uint64_t state, uint64_t call)
{
    (void)call;
    return (state & joined_mask) == 0;
}

static bool spin(struct sdg_pool *pool, condition *over, uint64_t call, double until)
{
    do
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (over(atomic_load(&pool->state), call))
                return true;
            pause_a_moment();
        }
    while (sdg_clock() < until);
    return false;
}

static void sleep_at(struct sdg_pool *pool, struct gate *gate, condition *over, uint64_t call)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&gate->sleepers, 1); // before the look at the state: who changes that looks here afterwards
    while (!over(atomic_load(&pool->state), call))
        pthread_cond_wait(&gate->woken, &pool->lock);
    atomic_fetch_sub(&gate->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

// Spinning is judged by when what was waited for happened, `event`, not by when this thread got to know: a wait that
// was short gives patience, one that was long takes it.
static void wait_at(struct sdg_pool *pool, struct gate *gate, struct patience *patience, condition *over, uint64_t call,
                    const _Atomic double *event)
{
    if (over(atomic_load(&pool->state), call))
        return;
    const double start = sdg_clock();
    if (!spin(pool, over, call, start + patience->seconds))
        sleep_at(pool, gate, over, call);
    if (atomic_load_explicit(event, memory_order_relaxed) - start <= most_spin)
        patience->seconds = most_spin;
    else if (patience->seconds > least_spin)
        patience->seconds /= 2;
}

// In a child made by fork() those that slept are not there, and the lock may be held by one of them for ever.
static void wake(struct sdg_pool *pool, struct gate *gate, int64_t count)
{
    int64_t sleepers = atomic_load(&gate->sleepers);
    if (sleepers == 0 || getpid() != pool->process)
        return;
    pthread_mutex_lock(&pool->lock);
    if (count >= sleepers)
        pthread_cond_broadcast(&gate->woken);
    else
        for (int64_t i = 0; i < count; i++)
            pthread_cond_signal(&gate->woken);
    pthread_mutex_unlock(&pool->lock);
}

// ---- work ----

// Runs are long at first and end with single indices.
static void take_part(struct sdg_pool *pool, struct part *part, int thread)
{
    int64_t first = atomic_load_explicit(&part->next, memory_order_relaxed);
    while (first < part->end) {
        const int64_t run = (part->end - first) / RUNS_PER_PART, end = first + (run > 1 ? run : 1);
        if (!atomic_compare_exchange_weak_explicit(&part->next, &first, end, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        for (int64_t i = first; i < end; i++)
            pool->work(pool->context, i, thread);
        first = atomic_load_explicit(&part->next, memory_order_relaxed);
    }
}

static void take_parts(struct sdg_pool *pool, int thread)
{
    const struct place outside = inside; // the caller may be inside of another pool's work
    inside = (struct place){pool, thread};
    for (int i = 0; i < pool->part_count; i++)
        take_part(pool, &pool->parts[(thread + i) % pool->part_count], thread);
    inside = outside;
}

static void run_in_place(int64_t count, sdg_work *work, void *context, int thread)
{
    for (int64_t i = 0; i < count; i++)
        work(context, i, thread);
}

// Joins the call that is going on, if it is open and not `call`; the state then.
static uint64_t join(struct sdg_pool *pool, uint64_t call, bool *joined)
{
    uint64_t state = atomic_load(&pool->state);
    do
        *joined = (state & is_open) && has_new_call(state, call);
    while (*joined && !atomic_compare_exchange_weak(&pool->state, &state, state + 1));
    return state;
}

static void leave(struct sdg_pool *pool)
{
    atomic_store_explicit(&pool->left, sdg_clock(), memory_order_relaxed);
    const uint64_t state = atomic_fetch_sub(&pool->state, 1) - 1;
    if ((state & (is_open | joined_mask)) == 0)
        wake(pool, &pool->ends, 1);
}

static void *run_worker(void *context)
{
    const struct worker *worker = context;
    struct sdg_pool *pool = worker->pool;
    struct patience patience = {most_spin};
    uint64_t state = 0;
    if (pool->cpus)
        (void)sdg_platform_run_on(pool->cpus, NULL); // one that went away meanwhile
    for (;;) {
        bool joined = false;
        wait_at(pool, &pool->calls, &patience, has_new_call, state / one_call, &pool->called);
        state = join(pool, state / one_call, &joined);
        if (state & is_ending)
            return NULL;
        if (!joined)
            continue;
        take_parts(pool, worker->thread);
        leave(pool);
    }
}

// Nobody is inside, so nobody reads what changes.
static void open_call(struct sdg_pool *pool, int64_t count, sdg_work *work, void *context)
{
    pool->work = work;
    pool->context = context;
    pool->part_count = count < pool->threads ? (int)count : pool->threads;
    const int64_t each = count / pool->part_count, more = count % pool->part_count;
    for (int i = 0; i < pool->part_count; i++) {
        const int64_t first = i * each + (i < more ? i : more);
        atomic_store_explicit(&pool->parts[i].next, first, memory_order_relaxed);
        pool->parts[i].end = first + each + (i < more);
    }
    atomic_store_explicit(&pool->called, sdg_clock(), memory_order_relaxed);
    const uint64_t call = atomic_load(&pool->state) / one_call + 1;
    atomic_store(&pool->state, call * one_call | is_open); // may wrap around: only whether it is another matters
    wake(pool, &pool->calls, pool->part_count - 1);
}

static void close_call(struct sdg_pool *pool)
{
    atomic_fetch_and(&pool->state, ~is_open);
    wait_at(pool, &pool->ends, &pool->patience, is_left_by_all, 0, &pool->left);
}

void sdg_pool_run(struct sdg_pool *pool, int64_t count, sdg_work *work, void *context)
{
    if (pool && inside.pool == pool) {
        run_in_place(count, work, context, inside.thread);
    } else if (count <= 1 || sdg_pool_threads(pool) == 1) {
        run_in_place(count, work, context, 0);
    } else {
        pthread_mutex_lock(&pool->callers);
        open_call(pool, count, work, context);
        take_parts(pool, 0);
        close_call(pool);
        pthread_mutex_unlock(&pool->callers);
    }
}

struct parts {
    sdg_part_work *work;
    void *context;
    int64_t count, part;
};

static void do_part(void *context, int64_t index, int thread)
{
    const struct parts *p = context;
    const int64_t first = index * p->part, left = p->count - first;
    p->work(p->context, first, first + (left < p->part ? left : p->part), thread);
}

void sdg_pool_run_parts(struct sdg_pool *pool, int64_t count, int64_t part, sdg_part_work *work, void *context)
{
    struct parts parts = {work, context, count, part};
    sdg_pool_run(pool, count / part + (count % part != 0), do_part, &parts);
}

// ---- creation ----

// Signals meant for the process are for the host's threads; those that a thread's own fault raises must not be blocked.
static void block_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, before);
}

static int start_thread(struct worker *worker, const pthread_attr_t *attributes)
{
    if (threads_until_failure == 1)
        return EAGAIN;
    if (threads_until_failure > 1)
        threads_until_failure--;
    return pthread_create(&worker->id, attributes, run_worker, worker);
}

// Starts what can be started; pool->threads says how many there are.
static void start_threads(const struct sdg_log *log, struct sdg_pool *pool, int wanted)
{
    sigset_t before;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    pool->threads = 1;
    if (error == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES); // the system's default is as well
        block_signals(&before);
        for (; pool->threads < wanted && error == 0; pool->threads += error == 0) {
            struct worker *worker = &pool->workers[pool->threads - 1];
            *worker = (struct worker){.pool = pool, .thread = pool->threads};
            error = start_thread(worker, &attributes);
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (error)
        sdg_say(log, SDG_LOG_WARNING, "%d of %d threads: the system starts no more (%s)", pool->threads, wanted,
                strerror(error));
}

static enum sdg_result fill_pool(const struct sdg_log *log, int threads, const struct sdg_cpus *cpus,
                                 struct sdg_pool *pool)
{
    pool->cpus = cpus;
    pool->parts = sdg_alloc(log, (size_t)threads, sizeof *pool->parts, "threads");
    pool->workers = sdg_alloc(log, (size_t)threads, sizeof *pool->workers, "threads");
    if (!pool->parts || !pool->workers)
        return SDG_ERROR_MEMORY;
    pthread_mutex_init(&pool->callers, NULL);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->calls.woken, NULL);
    pthread_cond_init(&pool->ends.woken, NULL);
    pool->process = getpid();
    pool->patience.seconds = most_spin;
    start_threads(log, pool, threads);
    return SDG_OK;
}

static void free_pool(struct sdg_pool *pool)
{
    sdg_free(pool->parts);
    sdg_free(pool->workers);
    sdg_free(pool);
}

enum sdg_result sdg_pool_create(const struct sdg_log *log, int threads, struct sdg_pool **out)
{
    return sdg_pool_create_on(log, threads, NULL, out);
}

enum sdg_result sdg_pool_create_on(const struct sdg_log *log, int threads, const struct sdg_cpus *cpus,
                                   struct sdg_pool **out)
{
    *out = NULL;
    if (threads == 0)
        threads = cpus ? sdg_platform_threads_on(cpus) : sdg_platform_threads();
    struct sdg_pool *pool = sdg_alloc(log, 1, sizeof *pool, "threads");
    if (!pool)
        return SDG_ERROR_MEMORY;
    if (fill_pool(log, threads, cpus, pool) != SDG_OK) {
        free_pool(pool);
        return SDG_ERROR_MEMORY;
    }
    *out = pool;
    return SDG_OK;
}

static void end_threads(struct sdg_pool *pool)
{
    atomic_fetch_add(&pool->state, one_call | is_ending);
    wake(pool, &pool->calls, pool->threads);
    for (int i = 0; i < pool->threads - 1; i++)
        pthread_join(pool->workers[i].id, NULL);
    pthread_cond_destroy(&pool->calls.woken);
    pthread_cond_destroy(&pool->ends.woken);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->callers);
}

void sdg_pool_destroy(struct sdg_pool **handle)
{
    struct sdg_pool *pool = *handle;
    *handle = NULL;
    if (!pool)
        return;
    if (getpid() == pool->process)
        end_threads(pool);
    free_pool(pool);
}

int sdg_pool_threads(const struct sdg_pool *pool)
{
    return pool ? pool->threads : 1;
}
