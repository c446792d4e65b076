// How many threads computing gets: cores, affinity, and the quotas of control groups as Linux's documentation of them
// (admin-guide/cgroup-v2.rst, scheduler/sched-bwc.rst) and of /proc (proc_pid_cgroup(5), proc_pid_mountinfo(5)) has it.
#define _GNU_SOURCE // affinity
#include "base/control_group.h"
#include "base/platform.h"
#include "tests/temp.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int cpus_with(const char *path, const char *text)
{
    temp_text(path, text);
    return sdg_control_group_cpus(temp_root);
}

// A machine whose files lie in the test's folder.
static void start_machine(const char *groups, const char *mounts)
{
    temp_remove_tree(temp_root);
    assert_int_equal(mkdir(temp_root, 0777), 0);
    assert_int_equal(sdg_control_group_cpus(temp_root), 0); // a system that says nothing
    temp_text("proc/self/cgroup", groups);
    temp_text("proc/self/mountinfo", mounts);
    assert_int_equal(sdg_control_group_cpus(temp_root), 0);
}

#define SYSFS "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"

static void test_version_2(void **state)
{
    (void)state;
    start_machine("0::/user.slice/user-1000.slice/app.scope\n",
                  SYSFS "31 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    const char *own = "sys/fs/cgroup/user.slice/user-1000.slice/app.scope/cpu.max";
    assert_int_equal(cpus_with(own, "max 100000\n"), 0);
    assert_int_equal(cpus_with(own, "100000 100000\n"), 1);
    assert_int_equal(cpus_with(own, "150000 100000\n"), 2);
    assert_int_equal(cpus_with(own, "200000 100000\n"), 2);
    assert_int_equal(cpus_with(own, "1000 100000\n"), 1);
    assert_int_equal(cpus_with(own, "20000 5000\n"), 4);
    assert_int_equal(cpus_with(own, "nonsense\n"), 0);
    assert_int_equal(cpus_with(own, ""), 0);
    // The narrowest of those above counts.
    assert_int_equal(cpus_with(own, "800000 100000\n"), 8);
    assert_int_equal(cpus_with("sys/fs/cgroup/user.slice/cpu.max", "300000 100000\n"), 3);
    assert_int_equal(cpus_with("sys/fs/cgroup/user.slice/user-1000.slice/cpu.max", "max 100000\n"), 3);
    assert_int_equal(cpus_with(own, "110000 100000\n"), 2);
    // Another's does not.
    assert_int_equal(cpus_with("sys/fs/cgroup/system.slice/cpu.max", "100000 100000\n"), 2);
}

// In a container: its own group is what is mounted. It may see its path from the host, or as the root, or as outside.
static void test_containers(void **state)
{
    (void)state;
    static const struct {
        const char *groups, *part;
    } views[] = {
        {"0::/\n", "/"},
        {"0::/../other\n", "/"},
        {"0::/docker/abc\n", "/docker/abc"},
        {"0::/docker/abcdef\n", "/docker/abc"},
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        char mounts[300];
        snprintf(mounts, sizeof mounts, SYSFS "700 699 0:26 %s /sys/fs/cgroup ro - cgroup2 cgroup rw\n", views[i].part);
        start_machine(views[i].groups, mounts);
        assert_int_equal(cpus_with("sys/fs/cgroup/cpu.max", "50000 100000\n"), 1);
    }
    start_machine("0::/docker/abc/inner\n", SYSFS "700 699 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    assert_int_equal(cpus_with("sys/fs/cgroup/cpu.max", "500000 100000\n"), 5);
    assert_int_equal(cpus_with("sys/fs/cgroup/inner/cpu.max", "400000 100000\n"), 4);
}

static void test_version_1(void **state)
{
    (void)state;
    start_machine("12:cpuset:/\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n",
                  SYSFS "33 32 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                        "34 32 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                        "35 32 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    assert_int_equal(cpus_with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"), 0);
    assert_int_equal(cpus_with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"), 0);
    assert_int_equal(cpus_with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n"), 3);
    assert_int_equal(cpus_with("sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n"), 3); // not of that controller
    assert_int_equal(cpus_with("sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n"), 3);
    assert_int_equal(cpus_with("sys/fs/cgroup/unified/cpu.max", "200000 100000\n"), 2); // both versions limit
}

static void test_odd_mounts(void **state)
{
    (void)state;
    start_machine("0::/a\n",
                  "nonsense\n\n1 2 3\n" SYSFS
                  "31 24 0:26 / /my\\040groups rw,a:b shared:9 master:1 - cgroup2 none rw\n");
    assert_int_equal(cpus_with("my groups/a/cpu.max", "700000 100000\n"), 7);
}

static void test_affinity(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_true(sdg_platform_threads() >= 1);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_true(sdg_platform_threads() <= CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (int cpu = CPU_SETSIZE - 1; CPU_COUNT(&one) == 0; cpu--)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(sdg_platform_threads(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void put_cpu(int cpu, const char *name, const char *text)
{
    char path[100];
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, name);
    temp_text(path, text);
}

static void expect_fast(const char *cpus, const char *wanted)
{
    struct sdg_cpus got, expected;
    assert_true(sdg_cpus_parse(cpus, &got));
    assert_true(sdg_cpus_parse(wanted, &expected));
    sdg_platform_keep_fast(temp_root, &got);
    assert_memory_equal(&got, &expected, sizeof got);
}

// Phones have two or three kinds of cores (Linux: Documentation/scheduler/sched-capacity.rst). The numbers are those of
// a Snapdragon 8 Gen 1 (one core at 3.0, three at 2.5, four at 1.8 GHz) and of one with two kinds.
static void test_kinds_of_cores(void **state)
{
    (void)state;
    static const char *const capacity[8] = {"325\n", "325\n", "325\n", "325\n", "828\n", "828\n", "828\n", "1024\n"};
    static const char *const clock[8] = {"1785600\n", "1785600\n", "1785600\n", "1785600\n",
                                         "2496000\n", "2496000\n", "2496000\n", "2995200\n"};
    temp_remove_tree(temp_root);
    assert_int_equal(mkdir(temp_root, 0777), 0);
    expect_fast("0-7", "0-7"); // a system that says nothing
    for (int cpu = 0; cpu < 8; cpu++)
        put_cpu(cpu, "cpufreq/cpuinfo_max_freq", clock[cpu]);
    expect_fast("0-7", "4-7");
    expect_fast("0-3", "0-3"); // the process may run on slow ones alone
    expect_fast("0,2,4", "4");
    for (int cpu = 0; cpu < 8; cpu++)
        put_cpu(cpu, "cpu_capacity", capacity[cpu]);
    expect_fast("0-7", "4-7");
    expect_fast("0-3,7", "7");
    put_cpu(6, "cpu_capacity", "nonsense\n"); // then clocks count
    expect_fast("0-7", "4-7");
    put_cpu(5, "cpufreq/cpuinfo_max_freq", "");
    expect_fast("0-7", "0-7");
    // Cores of a desktop that differ by what each was found to bear are of one kind.
    temp_remove_tree(temp_root);
    assert_int_equal(mkdir(temp_root, 0777), 0);
    for (int cpu = 0; cpu < 4; cpu++)
        put_cpu(cpu, "cpufreq/cpuinfo_max_freq", cpu == 2 ? "5200000\n" : "4900000\n");
    expect_fast("0-3", "0-3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_2),  cmocka_unit_test(test_containers), cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_odd_mounts), cmocka_unit_test(test_affinity),   cmocka_unit_test(test_kinds_of_cores),
    };
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
