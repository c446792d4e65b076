// The machine: its name, memory and physical cores, from what Linux tells in /proc and /sys; elsewhere what OpenMP
// knows.
#include "backend/cpu/cpu_program.h"

#include "base/memory.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void sdg_cpu_host_info(struct sdg_device_info *info)
{
    char text[64];
    if (!read_field("/proc/cpuinfo", "model name", info->name, sizeof info->name) &&
        !read_field("/proc/cpuinfo", "Hardware", info->name, sizeof info->name))
        snprintf(info->name, sizeof info->name, "CPU");
    if (read_field("/proc/meminfo", "MemTotal", text, sizeof text))
        info->memory = strtoull(text, NULL, 10) * 1024;
    info->type = "cpu";
}

// Siblings of a core share one list; counting each core at the first CPU of its list counts every core once.
int sdg_cpu_physical_cores(void)
{
    int logical = omp_get_num_procs(), cores = 0;
    for (int cpu = 0; cpu < 4096; cpu++) {
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
    // A process bound to fewer CPUs than there are cores gets a thread for each of those.
    if (cores < 1 || cores > logical)
        cores = logical;
    return cores < 1 ? 1 : cores;
}

enum sdg_result sdg_cpu_backend_new(const struct sdg_log *log, const struct sdg_backend_params *params,
                                    const struct sdg_backend_ops *ops, const struct sdg_cpu_provider *const *providers,
                                    struct sdg_cpu_backend **out)
{
    enum { MOST_THREADS = 1024 };
    *out = NULL;
    if (params->threads < 0 || params->threads > MOST_THREADS)
        return sdg_fail(log, SDG_ERROR_USAGE, "%d threads, should be 0 (one per core) to %d", params->threads,
                        MOST_THREADS);
    struct sdg_cpu_backend *backend = sdg_alloc(log, 1, sizeof *backend, "a backend");
    if (!backend)
        return SDG_ERROR_MEMORY;
    backend->base.ops = ops;
    backend->base.log = log;
    backend->base.info.backend = ops->name;
    sdg_cpu_host_info(&backend->base.info);
    backend->threads = params->threads ? params->threads : sdg_cpu_physical_cores();
    backend->providers = providers;
    *out = backend;
    return SDG_OK;
}

void sdg_cpu_backend_free(struct sdg_cpu_backend *backend)
{
    sdg_free(backend);
}
