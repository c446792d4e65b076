// For tests that use Vulkan: keeps drivers and layers loaded until the process ends. The Vulkan loader unloads them
// with the last instance, after which a leak checker can no longer tell what of their memory is theirs (tests/lsan.supp
// names them).
#ifndef SDG_TESTS_SUPPORT_DRIVERS_H
#define SDG_TESTS_SUPPORT_DRIVERS_H

#include <string.h>

#if defined(__linux__) && defined(_GNU_SOURCE)
#include <dlfcn.h>
#include <link.h>

static int pin_library(struct dl_phdr_info *info, size_t size, void *names)
{
    (void)size;
    char (*list)[512] = names;
    if (!strstr(info->dlpi_name, "libvulkan") && !strstr(info->dlpi_name, "libVkLayer"))
        return 0;
    for (int i = 0; i < 16; i++)
        if (!list[i][0]) {
            strncpy(list[i], info->dlpi_name, sizeof list[i] - 1);
            return 0;
        }
    return 0;
}

// To be called while a Vulkan backend is open.
static inline void keep_drivers_loaded(void)
{
    static char names[16][512];
    dl_iterate_phdr(pin_library, names);
    for (int i = 0; i < 16 && names[i][0]; i++)
        dlopen(names[i], RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}
#else
static inline void keep_drivers_loaded(void)
{
}
#endif

#endif
