// base/threads.h: every index once, whoever calls, however few threads there are.
#include "base/threads.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { MOST = 20000, THREADS = 7 };

static struct sdg_pool *pool_of(int threads)
{
    struct sdg_pool *pool = NULL;
    assert_int_equal(sdg_pool_create(NULL, threads, &pool), SDG_OK);
    assert_int_equal(sdg_pool_threads(pool), threads);
    return pool;
}

// What a call did: how often each index was done, and whether two works had one thread at a time.
struct record {
    atomic_int times[MOST];
    atomic_int busy[THREADS];
    atomic_int clashes;
    int threads;
};

static void note(void *context, int64_t index, int thread)
{
    struct record *r = context;
    if (thread < 0 || thread >= r->threads || atomic_exchange(&r->busy[thread], 1))
        atomic_fetch_add(&r->clashes, 1);
    atomic_fetch_add(&r->times[index], 1);
    atomic_store(&r->busy[thread], 0);
}

static void check_record(const struct record *r, int64_t count)
{
    assert_int_equal(r->clashes, 0);
    for (int64_t i = 0; i < MOST; i++)
        if (r->times[i] != (i < count))
            fail_msg("index %lld of %lld was done %d times", (long long)i, (long long)count, r->times[i]);
}

static void test_each_index_once(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 6, 7, 8, 55, 56, 57, 1000, MOST};
    static struct record r;
    for (int threads = 1; threads <= THREADS; threads++) {
        struct sdg_pool *pool = pool_of(threads);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            memset(&r, 0, sizeof r);
            r.threads = threads;
            sdg_pool_run(pool, counts[i], note, &r);
            check_record(&r, counts[i]);
        }
        sdg_pool_destroy(&pool);
        assert_null(pool);
    }
    memset(&r, 0, sizeof r);
    r.threads = 1;
    sdg_pool_run(NULL, MOST, note, &r);
    check_record(&r, MOST);
}

static void count_up(void *context, int64_t index, int thread)
{
    (void)thread;
    int64_t *sums = context;
    sums[index] += index; // plain: only what a call orders after another's work sees it
}

// Short calls one after the other: threads wake up in the middle of one, or after it.
static void test_many_short_calls(void **state)
{
    (void)state;
    struct sdg_pool *pool = pool_of(4);
    int64_t sums[16] = {0};
    for (int i = 0; i < 20000; i++) {
        sdg_pool_run(pool, i % 16 + 1, count_up, sums);
        if (i % 4096 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); // until they sleep
    }
    for (int64_t k = 0; k < 16; k++)
        assert_int_equal(sums[k], k * 1250 * (16 - k));
    sdg_pool_destroy(&pool);
}

struct nested {
    struct sdg_pool *pool, *other;
    atomic_int inner, wrong, elsewhere;
    int outer_thread;
};

static void note_inner(void *context, int64_t index, int thread)
{
    struct nested *n = context;
    (void)index;
    if (thread != n->outer_thread)
        atomic_fetch_add(&n->wrong, 1);
    atomic_fetch_add(&n->inner, 1);
}

static void note_elsewhere(void *context, int64_t index, int thread)
{
    struct nested *n = context;
    (void)index, (void)thread;
    atomic_fetch_add(&n->elsewhere, 1);
}

static void call_inner(void *context, int64_t index, int thread)
{
    struct nested *n = context;
    struct nested mine = {.outer_thread = thread};
    (void)index;
    sdg_pool_run(n->other, 5, note_elsewhere, n); // leaves us inside of our own pool
    sdg_pool_run(n->pool, 10, note_inner, &mine);
    atomic_fetch_add(&n->inner, mine.inner);
    atomic_fetch_add(&n->wrong, mine.wrong);
}

static void test_nested_calls_run_in_place(void **state)
{
    (void)state;
    struct nested n = {.pool = pool_of(3), .other = pool_of(2)};
    sdg_pool_run(n.pool, 100, call_inner, &n);
    assert_int_equal(n.inner, 1000);
    assert_int_equal(n.elsewhere, 500);
    assert_int_equal(n.wrong, 0);
    sdg_pool_destroy(&n.pool);
    sdg_pool_destroy(&n.other);
}

struct caller {
    struct sdg_pool *pool;
    int64_t sums[64];
    struct record *all; // of all callers
};

static void *call_often(void *context)
{
    struct caller *c = context;
    for (int i = 0; i < 3000; i++)
        sdg_pool_run(c->pool, 64, count_up, c->sums), sdg_pool_run(c->pool, 64, note, c->all);
    return NULL;
}

static void test_callers_share_a_pool(void **state)
{
    (void)state;
    struct sdg_pool *pool = pool_of(3);
    static struct record all;
    all.threads = 3;
    struct caller callers[3] = {{pool, .all = &all}, {pool, .all = &all}, {pool, .all = &all}};
    pthread_t ids[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, call_often, &callers[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(ids[i], NULL);
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < 64; k++)
            assert_int_equal(callers[i].sums[k], 3000 * k);
    assert_int_equal(all.clashes, 0); // one call at a time
    for (int64_t k = 0; k < 64; k++)
        assert_int_equal(all.times[k], 9000);
    sdg_pool_destroy(&pool);
}

static void keep_message(void *user, enum sdg_log_level level, const char *message)
{
    char *kept = user;
    snprintf(kept + strlen(kept), 500 - strlen(kept), "%d:%s\n", (int)level, message);
}

static void test_threads_that_do_not_start(void **state)
{
    (void)state;
    static struct record r;
    for (int n = 1; n <= 6; n++) {
        char text[500] = "", expected[500];
        const struct sdg_log log = {keep_message, text, SDG_LOG_WARNING};
        struct sdg_pool *pool = NULL;
        sdg_test_fail_threads(n);
        assert_int_equal(sdg_pool_create(&log, THREADS, &pool), SDG_OK);
        sdg_test_fail_threads(0);
        assert_int_equal(sdg_pool_threads(pool), n);
        snprintf(expected, sizeof expected, "%d:%d of 7 threads: the system starts no more (%s)\n",
                 (int)SDG_LOG_WARNING, n, "Resource temporarily unavailable");
        assert_string_equal(text, expected);
        memset(&r, 0, sizeof r);
        r.threads = n;
        sdg_pool_run(pool, 999, note, &r);
        check_record(&r, 999);
        sdg_pool_destroy(&pool);
    }
}

static void look_at_signals(void *context, int64_t index, int thread)
{
    (void)index;
    atomic_int *wrong = context;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (thread > 0 &&
        (!sigismember(&blocked, SIGINT) || !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGALRM) ||
         sigismember(&blocked, SIGSEGV)))
        atomic_fetch_add(wrong, 1);
    if (thread == 0 && sigismember(&blocked, SIGINT))
        atomic_fetch_add(wrong, 1);
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL); // so that every thread gets some
}

static void test_signals_are_for_the_caller(void **state)
{
    (void)state;
    atomic_int wrong = 0;
    struct sdg_pool *pool = pool_of(3);
    sdg_pool_run(pool, 60, look_at_signals, &wrong);
    assert_int_equal(wrong, 0);
    sdg_pool_destroy(&pool);
}

// A child has none of the threads: it does all itself, and can free the pool.
static void test_child_made_by_fork(void **state)
{
    (void)state;
    struct sdg_pool *pool = pool_of(3);
    int64_t sums[64] = {0};
    sdg_pool_run(pool, 64, count_up, sums);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(20); // instead of waiting for ever
        for (int i = 0; i < 100; i++)
            sdg_pool_run(pool, 64, count_up, sums);
        sdg_pool_destroy(&pool);
        _exit(sums[63] == 101 * 63 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    sdg_pool_run(pool, 64, count_up, sums);
    assert_int_equal(sums[63], 2 * 63);
    sdg_pool_destroy(&pool);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void sleep_once(void *context, int64_t index, int thread)
{
    (void)context, (void)index, (void)thread;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

// Waiting threads, those with nothing to do and a caller whose threads are still at it, do not use the processor.
static void test_waiting_is_asleep(void **state)
{
    (void)state;
    struct sdg_pool *pool = pool_of(4);
    double before = cpu_seconds();
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    for (int i = 0; i < 10; i++)
        sdg_pool_run(pool, 3, sleep_once, NULL); // of four threads, one has nothing
    double used = cpu_seconds() - before;
    if (used > 0.05)
        fail_msg("0.4 seconds of waiting used the processor for %g", used);
    sdg_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_index_once),           cmocka_unit_test(test_many_short_calls),
        cmocka_unit_test(test_nested_calls_run_in_place), cmocka_unit_test(test_callers_share_a_pool),
        cmocka_unit_test(test_threads_that_do_not_start), cmocka_unit_test(test_signals_are_for_the_caller),
        cmocka_unit_test(test_child_made_by_fork),        cmocka_unit_test(test_waiting_is_asleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
