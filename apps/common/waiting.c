#include "waiting.h"

#include <stdlib.h>
#if defined(__linux__)
#include <unistd.h>
#endif

void app_wait_politely(char **argv)
{
#if defined(__linux__) && !defined(__ANDROID__)
    // About 50 microseconds: longer than the gaps between operations, far shorter than a time slice.
    char path[4096];
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", "10000", 0) != 0)
        return;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = 0;
    execv(path, argv);
#else
    (void)argv;
#endif
}
