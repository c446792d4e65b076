# cJSON and utf8proc, as the targets PkgConfig::CJSON and PkgConfig::UTF8PROC: from SDG_DEPS_DIR when that is given, else from
# pkg-config, else from where the compiler looks. Cross-built for a phone there is no pkg-config for the target, and the build
# machine's would name the build machine's libraries: it is asked only when PKG_CONFIG_LIBDIR says where to look.
set(SDG_DEPS_DIR "" CACHE PATH "Folder with include/ and lib/ of cJSON and utf8proc built for the target, for systems without pkg-config")
find_package(PkgConfig)

function(sdg_dependency name module header library)
    set(only_there "")
    if(SDG_DEPS_DIR)
        set(only_there PATHS ${SDG_DEPS_DIR}/include ${SDG_DEPS_DIR}/lib NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    elseif(PkgConfig_FOUND AND (NOT CMAKE_CROSSCOMPILING OR DEFINED ENV{PKG_CONFIG_LIBDIR}))
        pkg_check_modules(${name} IMPORTED_TARGET GLOBAL ${module})
        if(TARGET PkgConfig::${name})
            return()
        endif()
    endif()
    find_path(SDG_${name}_INCLUDE ${header} ${only_there})
    find_library(SDG_${name}_LIBRARY ${library} ${only_there})
    if(NOT SDG_${name}_INCLUDE OR NOT SDG_${name}_LIBRARY)
        message(FATAL_ERROR "${header} or lib${library} was not found: install ${module}, or build it for the target and pass -DSDG_DEPS_DIR=<folder with include/ and lib/>")
    endif()
    add_library(PkgConfig::${name} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(PkgConfig::${name} PROPERTIES IMPORTED_LOCATION ${SDG_${name}_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${SDG_${name}_INCLUDE})
endfunction()

sdg_dependency(CJSON libcjson cjson/cJSON.h cjson)
sdg_dependency(UTF8PROC libutf8proc utf8proc.h utf8proc)
