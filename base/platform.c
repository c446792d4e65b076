// Linux and Android tell in /proc and /sys; elsewhere everything is unknown.
#define _GNU_SOURCE // sched_getaffinity
#include "base/platform.h"

#include "base/control_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

// Copies what follows "key ... :" in the first matching line of `path`; false if there is none.
static bool read_field(const char *path, const char *key, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    char line[256];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    fclose(file);
    return found;
}

// "MemTotal:  16384 kB"
static size_t read_kib(const char *path, const char *key)
{
    char text[64];
    return read_field(path, key, text, sizeof text) ? (size_t)strtoull(text, NULL, 10) * 1024 : 0;
}

void sdg_platform_cpu(char *name, size_t size)
{
    if (!read_field("/proc/cpuinfo", "model name", name, size) && !read_field("/proc/cpuinfo", "Hardware", name, size))
        snprintf(name, size, "CPU");
}

// ---- threads ----

#if defined(__linux__)
enum { MOST_CPUS = 1 << 14, WORD = 8 * sizeof(unsigned long) };

// CPUs that this process may run on, a bit each, as the system fills them.
struct cpus { unsigned long bits[MOST_CPUS / WORD]; };

static bool has_cpu(const struct cpus *cpus, int cpu)
{
    return cpu >= 0 && cpu < MOST_CPUS && cpus->bits[cpu / WORD] >> cpu % WORD & 1;
}

// Counts each core at the first of its CPUs that may be used: CPUs of a core share a list such as "0,8" or "2-3".
static bool is_first_of_core(const struct cpus *cpus, int cpu)
{
    char path[96];
    int begin, end, first = -1;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "r");
    while (file && first < 0 && fscanf(file, "%d", &begin) == 1) {
        end = begin;
        int separator = fgetc(file);
        if (separator == '-' && fscanf(file, "%d", &end) == 1)
            separator = fgetc(file);
        for (int c = begin; c <= end && first < 0; c++)
            first = has_cpu(cpus, c) ? c : -1;
        if (separator != ',')
            break;
    }
    if (file)
        fclose(file);
    return first < 0 || first == cpu;
}

static int usable_cores(void)
{
    struct cpus cpus = {0};
    int cores = 0;
    if (sched_getaffinity(0, sizeof cpus, (cpu_set_t *)&cpus) != 0)
        return 0;
    for (int cpu = 0; cpu < MOST_CPUS; cpu++)
        cores += has_cpu(&cpus, cpu) && is_first_of_core(&cpus, cpu);
    return cores;
}
#else
static int usable_cores(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}
#endif

int sdg_platform_threads(void)
{
    int threads = usable_cores(), quota = sdg_control_group_cpus("");
    if (quota > 0 && quota < threads)
        threads = quota;
    return threads > 0 ? threads : 1;
}

// ---- memory ----

size_t sdg_platform_memory(void)
{
    return read_kib("/proc/meminfo", "MemTotal");
}

size_t sdg_platform_memory_free(void)
{
    return read_kib("/proc/meminfo", "MemAvailable");
}

size_t sdg_resident_peak(void)
{
    return read_kib("/proc/self/status", "VmHWM");
}

size_t sdg_resident_now(void)
{
    return read_kib("/proc/self/status", "VmRSS");
}

void sdg_resident_reset_peak(void)
{
#if defined(__linux__)
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file); // proc(5): resets the peak resident set size
        fclose(file);
    }
#endif
}

void sdg_memory_trim(void)
{
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

bool sdg_platform_program(char *path, size_t size)
{
#if defined(__linux__)
    ssize_t length = readlink("/proc/self/exe", path, size);
    if (length > 0 && (size_t)length < size) {
        path[length] = 0;
        return true;
    }
#else
    (void)size;
#endif
    path[0] = 0;
    return false;
}
