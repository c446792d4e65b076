#include "waiting.h"

#include "base/platform.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <unistd.h>
#endif

#if defined(__linux__) && !defined(__ANDROID__)
static bool user_has_chosen(void)
{
    static const char *const settings[] = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES",
                                           "GOMP_CPU_AFFINITY"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (getenv(settings[i]))
            return true;
    return false;
}

// Threads bound to cores must not be fewer than the cores: two such programs would share some and leave others idle. A
// count of 0 or below means all cores.
static bool names_threads(char **argv)
{
    for (char **a = argv + 1; *argv && *a; a++) {
        size_t name = !strncmp(*a, "--threads", 9) ? 9 : !strncmp(*a, "-t", 2) ? 2 : 0;
        const char *value = !name ? NULL : (*a)[name] ? *a + name + ((*a)[name] == '=') : a[1];
        if (value && atoi(value) > 0)
            return true;
    }
    return false;
}

static bool choose(char **argv)
{
    if (names_threads(argv))
        return setenv("GOMP_SPINCOUNT", "0", 1) == 0;
    return setenv("GOMP_SPINCOUNT", "10000", 1) == 0 && setenv("OMP_PROC_BIND", "spread", 1) == 0 &&
        setenv("OMP_PLACES", "cores", 1) == 0;
}
#endif

void app_wait_politely(char **argv)
{
#if defined(__linux__) && !defined(__ANDROID__)
    char path[4096];
    if (!sdg_platform_program(path, sizeof path) || user_has_chosen() || !choose(argv))
        return;
    execv(path, argv);
#else
    (void)argv;
#endif
}
