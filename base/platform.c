// Linux and Android tell in /proc and /sys; elsewhere everything is unknown.
#define _GNU_SOURCE // sched_getaffinity, dladdr
#include "base/platform.h"

#include "base/control_group.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
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

static bool has_cpu(const struct sdg_cpus *cpus, int cpu)
{
    return cpu >= 0 && cpu < SDG_MOST_CPUS && cpus->bits[cpu / SDG_CPUS_WORD] >> cpu % SDG_CPUS_WORD & 1;
}

#if defined(__linux__)

// Counts each core at the first of its CPUs that may be used: CPUs of a core share a list such as "0,8" or "2-3".
static bool is_first_of_core(const struct sdg_cpus *cpus, int cpu)
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

static bool usable_cpus(struct sdg_cpus *out)
{
    *out = (struct sdg_cpus){0};
    return sched_getaffinity(0, sizeof *out, (cpu_set_t *)out) == 0;
}

static int count_cores(const struct sdg_cpus *cpus)
{
    int cores = 0;
    for (int cpu = 0; cpu < SDG_MOST_CPUS; cpu++)
        cores += has_cpu(cpus, cpu) && is_first_of_core(cpus, cpu);
    return cores;
}

bool sdg_platform_run_on(const struct sdg_cpus *cpus, struct sdg_cpus *before)
{
    return (!before || usable_cpus(before)) && sched_setaffinity(0, sizeof *cpus, (const cpu_set_t *)cpus) == 0;
}
#else
static bool usable_cpus(struct sdg_cpus *out)
{
    *out = (struct sdg_cpus){0};
    return false;
}

static int count_cores(const struct sdg_cpus *cpus)
{
    (void)cpus;
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

bool sdg_platform_run_on(const struct sdg_cpus *cpus, struct sdg_cpus *before)
{
    (void)cpus;
    (void)before;
    return false;
}
#endif

// What the file of a processor says, a whole number; 0 where there is none.
static unsigned long cpu_number(const char *root, int cpu, const char *name)
{
    char path[600];
    unsigned long number = 0;
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/%s", root, cpu, name);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lu", &number) != 1)
        number = 0;
    if (file)
        fclose(file);
    return number;
}

// Leaves those whose number is at least `percent` of the greatest. False, and nothing changed, if one of them has none.
static bool keep_greatest(const char *root, struct sdg_cpus *cpus, const char *name, unsigned long percent)
{
    unsigned long most = 0, least = ULONG_MAX;
    for (int cpu = 0; cpu < SDG_MOST_CPUS; cpu++) {
        if (!has_cpu(cpus, cpu))
            continue;
        const unsigned long number = cpu_number(root, cpu, name);
        if (!number)
            return false;
        most = number > most ? number : most;
        least = number < least ? number : least;
    }
    const double needed = most / 100.0 * percent;
    for (int cpu = 0; least < needed && cpu < SDG_MOST_CPUS; cpu++) // mostly all are of one kind
        if (has_cpu(cpus, cpu) && cpu_number(root, cpu, name) < needed)
            cpus->bits[cpu / SDG_CPUS_WORD] &= ~(1ul << cpu % SDG_CPUS_WORD);
    return most > 0;
}

void sdg_platform_keep_fast(const char *root, struct sdg_cpus *cpus)
{
    if (!keep_greatest(root, cpus, "cpu_capacity", 50))
        (void)keep_greatest(root, cpus, "cpufreq/cpuinfo_max_freq", 75);
}

bool sdg_platform_fast_cpus(struct sdg_cpus *cpus)
{
    struct sdg_cpus all;
    if (!usable_cpus(&all))
        return false;
    *cpus = all;
    sdg_platform_keep_fast("", cpus);
    return memcmp(cpus, &all, sizeof all) != 0;
}

int sdg_platform_threads_on(const struct sdg_cpus *cpus)
{
    int threads = count_cores(cpus), quota = sdg_control_group_cpus("");
    if (quota > 0 && quota < threads)
        threads = quota;
    return threads > 0 ? threads : 1;
}

int sdg_platform_threads(void)
{
    struct sdg_cpus cpus;
    (void)usable_cpus(&cpus); // none: one thread, or what the system says otherwise
    sdg_platform_keep_fast("", &cpus);
    return sdg_platform_threads_on(&cpus);
}

bool sdg_platform_narrow_cpus(struct sdg_cpus *cpus)
{
    struct sdg_cpus usable;
    unsigned long any = 0;
    if (!usable_cpus(&usable))
        return false;
    for (size_t i = 0; i < sizeof cpus->bits / sizeof *cpus->bits; i++)
        any |= cpus->bits[i] &= usable.bits[i];
    return any != 0;
}

// A number below SDG_MOST_CPUS at *text, which moves behind it; -1 if there is none.
static int parse_cpu(const char **text)
{
    int cpu = -1;
    for (; **text >= '0' && **text <= '9'; ++*text) {
        cpu = (cpu < 0 ? 0 : cpu * 10) + (**text - '0');
        if (cpu >= SDG_MOST_CPUS)
            return -1;
    }
    return cpu;
}

bool sdg_cpus_parse(const char *text, struct sdg_cpus *out)
{
    *out = (struct sdg_cpus){0};
    for (;; text++) {
        int first = parse_cpu(&text), last = first;
        if (first >= 0 && *text == '-') {
            text++;
            last = parse_cpu(&text);
        }
        if (first < 0 || last < first)
            return false;
        for (int cpu = first; cpu <= last; cpu++)
            out->bits[cpu / SDG_CPUS_WORD] |= 1ul << cpu % SDG_CPUS_WORD;
        if (*text != ',')
            return *text == 0;
    }
}

// ---- memory ----

size_t sdg_platform_memory(void)
{
    return read_kib("/proc/meminfo", "MemTotal");
}

// ---- memory that is left ----

// The file's number, or SIZE_MAX where it has none ("max") or cannot be read.
static size_t read_number(const char *folder, const char *name)
{
    double number;
    return sdg_control_group_numbers(folder, name, 1, &number) && number >= 0 && number < 0x1p64 ? (size_t)number
                                                                                                 : SIZE_MAX;
}

// Sum of the lines of memory.stat that begin with one of two keys.
static size_t read_cached(const char *folder, const char *inactive, const char *active)
{
    char path[4200], line[128];
    size_t sum = 0;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        const size_t length = strcspn(line, " ");
        if ((strlen(inactive) == length && strncmp(line, inactive, length) == 0) ||
            (strlen(active) == length && strncmp(line, active, length) == 0))
            sum += (size_t)strtoull(line + length, NULL, 10);
    }
    if (file)
        fclose(file);
    return sum;
}

// The two versions of control groups: how their files are called (Linux: Documentation/admin-guide/cgroup-v1/memory.rst
// and cgroup-v2.rst).
struct group_files { const char *limits[2], *used, *inactive, *active; };
static const struct group_files group_v1 = {
    {"memory.limit_in_bytes", NULL}, "memory.usage_in_bytes", "total_inactive_file", "total_active_file"};
static const struct group_files group_v2 = {
    {"memory.max", "memory.high"}, "memory.current", "inactive_file", "active_file"};

// What one group leaves: files in the cache give way.
static void narrow_memory(void *user, const char *folder, bool v2)
{
    const struct group_files *files = v2 ? &group_v2 : &group_v1;
    size_t limit = SIZE_MAX, *least = user;
    for (int i = 0; i < 2 && files->limits[i]; i++) {
        const size_t one = read_number(folder, files->limits[i]);
        limit = one < limit ? one : limit;
    }
    const size_t used = limit == SIZE_MAX ? SIZE_MAX : read_number(folder, files->used);
    if (used == SIZE_MAX)
        return;
    const size_t cached = read_cached(folder, files->inactive, files->active), held = used > cached ? used - cached : 0,
                 left = limit > held ? limit - held : 0;
    *least = left < *least ? left : *least;
}

size_t sdg_platform_groups_free(const char *root)
{
    size_t least = SIZE_MAX;
    sdg_control_groups(root, "memory", narrow_memory, &least);
    return least;
}

// `margin`: what the C library and the threads take beside what is planned.
static size_t resource_free(int resource, const char *used, size_t margin)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    const size_t held = read_kib("/proc/self/status", used) + margin;
    return (size_t)limit.rlim_cur > held ? (size_t)limit.rlim_cur - held : 0;
}

size_t sdg_platform_stack(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? (size_t)limit.rlim_cur : SIZE_MAX;
}

struct limit {
    size_t bytes; // SIZE_MAX: none
    const char *name;
};

static size_t narrowest(const struct limit *limits, size_t count, const char **name)
{
    size_t least = 0;
    for (size_t i = 1; i < count; i++)
        least = limits[i].bytes < limits[least].bytes ? i : least;
    if (name)
        *name = limits[least].name;
    return limits[least].bytes;
}

size_t sdg_platform_memory_free(const char **limit)
{
    const size_t machine = read_kib("/proc/meminfo", "MemAvailable");
    const struct limit limits[] = {
        {machine ? machine : SIZE_MAX, "are free"},
        {sdg_platform_groups_free(""), "are free in the control group (the container's memory limit)"},
        {resource_free(RLIMIT_RSS, "VmRSS", 0), "are free under the limit of resident memory (ulimit -m)"},
    };
    return narrowest(limits, sizeof limits / sizeof *limits, limit);
}

void sdg_platform_share_arena(void)
{
#if defined(__GLIBC__)
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        mallopt(M_ARENA_MAX, 1);
#endif
}

// The margins were measured: stacks of threads, holes in the heap.
size_t sdg_platform_address_space_free(const char **limit)
{
    const struct limit limits[] = {
        {resource_free(RLIMIT_AS, "VmSize", (size_t)96 << 20), "are free under the limit of address space (ulimit -v)"},
        {resource_free(RLIMIT_DATA, "VmData", (size_t)80 << 20), "are free under the limit of data (ulimit -d)"},
    };
    return narrowest(limits, sizeof limits / sizeof *limits, limit);
}

static atomic_size_t test_page;

size_t sdg_platform_page(void)
{
    const size_t bytes = atomic_load(&test_page);
    return bytes ? bytes : (size_t)sysconf(_SC_PAGESIZE);
}

void sdg_test_page(size_t bytes)
{
    atomic_store(&test_page, bytes);
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

#if defined(__linux__)
// As getdents64(2) fills it.
struct directory_entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

// Empties the open folder. opendir() would take memory, which a signal handler must not.
static void empty_folder(int folder, int depth)
{
    enum { DEEPEST = 8 };
    _Alignas(struct directory_entry) char buffer[1024];
    long bytes;
    while ((bytes = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0) {
        bool removed = false;
        for (long at = 0; at < bytes;) {
            const struct directory_entry *entry = (const struct directory_entry *)(buffer + at);
            at += entry->length;
            if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
                continue;
            if (unlinkat(folder, entry->name, 0) == 0) {
                removed = true;
                continue;
            }
            const int inner = depth < DEEPEST ? openat(folder, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) : -1;
            if (inner < 0)
                continue;
            empty_folder(inner, depth + 1);
            close(inner);
            removed = unlinkat(folder, entry->name, AT_REMOVEDIR) == 0 || removed;
        }
        if (removed) // what moved up could be missed
            lseek(folder, 0, SEEK_SET);
    }
}
#endif

void sdg_platform_remove(const char *path)
{
    if (unlink(path) == 0)
        return;
#if defined(__linux__)
    const int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (folder >= 0) {
        empty_folder(folder, 0);
        close(folder);
    }
#endif
    rmdir(path);
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

// ---- data that came with the library ----

// The folder of the file that this code was loaded from; a program's may be what it was called by, hence the way out.
// Freed with free().
static char *own_folder(void)
{
    Dl_info info;
    char *path =
        dladdr((const void *)(uintptr_t)&sdg_platform_data, &info) && info.dli_fname && strchr(info.dli_fname, '/')
        ? realpath(info.dli_fname, NULL)
        : NULL;
    if (!path)
        path = realpath("/proc/self/exe", NULL);
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *slash = 0;
    return path;
}

static char *find_data(const char *folder, const char *between, const char *name)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s%s/%s", folder, between, name) >= (int)sizeof path)
        return NULL;
    return realpath(path, NULL);
}

char *sdg_platform_data(const char *name)
{
    char *folder = own_folder();
    char *found = NULL;
#ifdef SDG_DATA_FROM_LIBRARY
    if (folder)
        found = find_data(folder, "/" SDG_DATA_FROM_LIBRARY, name);
#endif
    if (folder && !found) // of a build folder, and of programs
        found = find_data(folder, "/../share/sdgen", name);
    free(folder);
#ifdef SDG_INSTALL_DATA_DIR
    if (!found)
        found = find_data(SDG_INSTALL_DATA_DIR, "", name);
#endif
    return found;
}
