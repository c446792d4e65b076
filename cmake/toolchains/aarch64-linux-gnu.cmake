# Cross-building for 64-bit ARM Linux with the compiler of Debian's gcc-aarch64-linux-gnu. Programs and tests run under qemu-user
# (tools/check-arm does all of it).
# SDG_SYSROOT: a folder with the ARM builds of the libraries (cJSON, utf8proc, libpng, CMocka) laid out as in a Debian root, for
# instance their .deb files unpacked by `dpkg -x`. Without it the system's own multiarch folders are used.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(SDG_SYSROOT "$ENV{SDG_SYSROOT}" CACHE PATH "Folder with the ARM libraries, empty for the system's multiarch folders")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SDG_SYSROOT)

# The host's pkg-config, but never the host's libraries.
set(ENV{PKG_CONFIG_DIR} "")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${SDG_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR} "${SDG_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${SDG_SYSROOT}/usr/share/pkgconfig")

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
if(SDG_SYSROOT)
    list(PREPEND CMAKE_FIND_ROOT_PATH ${SDG_SYSROOT})
    set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${SDG_SYSROOT}/usr/lib/aarch64-linux-gnu:${SDG_SYSROOT}/lib/aarch64-linux-gnu")
    set(CMAKE_SHARED_LINKER_FLAGS_INIT "${CMAKE_EXE_LINKER_FLAGS_INIT}")
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER) # glslang runs here
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH) # headers without code (stb, Vulkan, volk) are the same for every processor

find_program(SDG_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(SDG_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${SDG_QEMU} -L /usr/aarch64-linux-gnu)
    if(SDG_SYSROOT)
        list(APPEND CMAKE_CROSSCOMPILING_EMULATOR -E LD_LIBRARY_PATH=${SDG_SYSROOT}/usr/lib/aarch64-linux-gnu:${SDG_SYSROOT}/lib/aarch64-linux-gnu)
    endif()
endif()
