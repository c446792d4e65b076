// What this processor reaches at most in the operations that kernels are made of, on one thread and on all.
#include "backend/cpu/fast/fast.h"
#include "backend/cpu/fast/tools.h"
#include "base/clock.h"

#include <stddef.h>

enum { BEST_OF = 8 };

static const struct peak {
    const char *name;
    size_t kernel; // where it is in the table
    bool all;      // threads
} peaks[] = {
    {"f32 multiply-add, one thread", offsetof(struct sdg_fast_kernels, multiply_adds), false},
    {"f32 multiply-add", offsetof(struct sdg_fast_kernels, multiply_adds), true},
    {"f32 exponential, one thread", offsetof(struct sdg_fast_kernels, exponentials), false},
    {"f32 exponential", offsetof(struct sdg_fast_kernels, exponentials), true},
};

struct loop {
    double (*kernel)(int64_t rounds);
    int64_t rounds;
};

static void work(void *context, int64_t index, int thread)
{
    const struct loop *l = context;
    (void)index;
    (void)thread;
    l->kernel(l->rounds);
}

// Seconds of one run.
static double run(const struct sdg_cpu_backend *b, const struct peak *p, struct loop *l)
{
    const double start = sdg_clock();
    if (p->all)
        sdg_pool_run(b->pool, b->threads, work, l);
    else
        work(l, 0, 0);
    return sdg_clock() - start;
}

static double measure(const struct sdg_cpu_backend *b, const struct peak *p, double seconds)
{
    struct loop l = {.rounds = 1};
    memcpy(&l.kernel, (const char *)b->kernels + p->kernel, sizeof l.kernel);
    const double operations = l.kernel(1) * (p->all ? b->threads : 1);
    double best = run(b, p, &l);
    while (best < seconds && l.rounds < INT64_C(1) << 40) {
        l.rounds *= 2;
        best = run(b, p, &l);
    }
    for (int i = 1; i < BEST_OF; i++) {
        const double time = run(b, p, &l);
        best = time < best ? time : best;
    }
    return operations * (double)l.rounds / best;
}

enum sdg_result sdg_fast_peaks(struct sdg_backend *backend, double seconds,
                               void (*fn)(void *user, const struct sdg_peak *peak), void *user)
{
    enum { PEAKS = sizeof peaks / sizeof *peaks };
    for (const struct peak *p = peaks; p < peaks + PEAKS; p++) {
        struct sdg_peak out = {.name = p->name, .unit = "op/s"};
        SDG_TRY(sdg_backend_goes_on(backend));
        // a run takes up to twice what is asked for, and finding the rounds as long as one more
        out.rate = measure((const struct sdg_cpu_backend *)backend, p, seconds / PEAKS / (2 * BEST_OF + 2));
        fn(user, &out);
    }
    return SDG_OK;
}
