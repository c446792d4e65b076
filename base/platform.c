// Linux and Android tell in /proc and /sys; elsewhere everything is unknown.
#include "base/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <unistd.h>
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

// Siblings of a core share one list; counting each core at the first CPU of its list counts every core once.
int sdg_platform_cores(void)
{
    enum { MOST_CPUS = 4096 };
    int cores = 0;
    for (int cpu = 0; cpu < MOST_CPUS; cpu++) {
        char path[96];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        FILE *file = fopen(path, "r");
        if (!file)
            break;
        int first = -1;
        if (fscanf(file, "%d", &first) == 1 && first == cpu)
            cores++;
        fclose(file);
    }
    return cores;
}

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
