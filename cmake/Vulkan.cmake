# Vulkan headers, volk and a GLSL compiler. Sets SDG_HAVE_VULKAN, SDG_VULKAN_LIBRARIES, SDG_VULKAN_SUMMARY and the target sdg_shaders:
# a library with the SPIR-V of every row of shaders/variants.txt that the compiler can build. The Vulkan loader itself is opened at
# run time (volk), so a build with the backend starts on machines without it.
set(SDG_HAVE_VULKAN OFF)
set(SDG_VULKAN_LIBRARIES "")
set(SDG_VULKAN_SUMMARY "off")

# Does the compiler know this GLSL extension? Sets `result`.
function(sdg_probe_glsl extension result)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/glsl-probe)
    file(WRITE ${folder}/${extension}.comp "#version 450\n#extension ${extension} : require\nlayout(local_size_x = 1) in;\nvoid main() {}\n")
    execute_process(COMMAND ${SDG_GLSLANG} -V --target-env vulkan1.1 ${folder}/${extension}.comp -o ${folder}/${extension}.spv
        RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
    if(status EQUAL 0)
        set(${result} ON PARENT_SCOPE)
    else()
        set(${result} OFF PARENT_SCOPE)
    endif()
endfunction()

# Compiles one variant to a header `<name>.h` holding the array `<name>`.
function(sdg_compile_shader source name defines)
    set(output ${CMAKE_CURRENT_BINARY_DIR}/shaders/${name}.h)
    add_custom_command(OUTPUT ${output}
        COMMAND ${SDG_GLSLANG} --quiet -V --target-env vulkan1.1 ${defines} --vn ${name} --depfile ${output}.d -o ${output} ${source}
        DEPENDS ${source} DEPFILE ${output}.d COMMENT "Shader ${name}" VERBATIM COMMAND_EXPAND_LISTS)
endfunction()

# Reads the variant table, adds a command per variant and writes the C table.
function(sdg_build_shaders)
    set(table ${PROJECT_SOURCE_DIR}/shaders/variants.txt)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table})
    file(STRINGS ${table} lines REGEX "^[a-z]")
    set(includes "")
    set(rows "")
    set(headers "")
    foreach(line ${lines})
        if(NOT line MATCHES "^([a-z0-9_]+)\\.comp +(f32|f16) +([14]) +([a-z0-9,-]+)$")
            message(FATAL_ERROR "${table}: cannot read the line '${line}'")
        endif()
        set(family ${CMAKE_MATCH_1})
        set(type ${CMAKE_MATCH_2})
        set(width ${CMAKE_MATCH_3})
        set(needed ${CMAKE_MATCH_4}) # the next MATCHES overwrites them
        set(name ${family}_${type})
        set(defines -DWIDTH=${width})
        set(needs 0)
        set(possible ON)
        if(width EQUAL 4)
            string(APPEND name _v4)
        endif()
        if(needed MATCHES "f16")
            list(APPEND defines -DSTORAGE_F16)
            string(APPEND needs " | SDG_FEATURE_F16")
            set(possible ${SDG_GLSL_F16})
        endif()
        if(needed MATCHES "subgroup")
            list(APPEND defines -DSUBGROUP)
            string(APPEND needs " | SDG_FEATURE_SUBGROUP")
            string(APPEND name _subgroup)
            if(NOT SDG_GLSL_SUBGROUP)
                set(possible OFF)
            endif()
        endif()
        if(needed MATCHES "dot")
            list(APPEND defines -DDOT)
            string(APPEND needs " | SDG_FEATURE_DOT")
            string(APPEND name _dot)
            if(NOT SDG_GLSL_DOT)
                set(possible OFF)
            endif()
        endif()
        if(possible)
            sdg_compile_shader(${PROJECT_SOURCE_DIR}/shaders/${family}.comp ${name} "${defines}")
            list(APPEND headers ${CMAKE_CURRENT_BINARY_DIR}/shaders/${name}.h)
            string(APPEND includes "#include \"${name}.h\"\n")
            string(TOUPPER ${type} upper)
            string(APPEND rows "    {\"${name}\", \"${family}\", SDG_${upper}, ${width}, ${needs}, ${name}, sizeof ${name}},\n")
        endif()
    endforeach()
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/shaders/shaders.c @ONLY CONTENT [[
// Generated from shaders/variants.txt.
#include "shaders/shaders.h"

#include "backend/backend.h"

@includes@
const struct sdg_shader sdg_shaders[] = {
@rows@};
const size_t sdg_shader_count = sizeof sdg_shaders / sizeof sdg_shaders[0];
]])
    # Named as sources, so that the table is compiled after the headers it includes.
    add_library(sdg_shaders STATIC ${CMAKE_CURRENT_BINARY_DIR}/shaders/shaders.c ${headers})
    target_include_directories(sdg_shaders PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_BINARY_DIR}/shaders)
endfunction()

if(NOT SDG_VULKAN STREQUAL "off")
    find_path(SDG_VULKAN_HEADERS vulkan/vulkan.h DOC "Folder that has vulkan/vulkan.h")
    find_path(SDG_VOLK_HEADER volk.h PATH_SUFFIXES volk Volk DOC "Folder that has volk.h")
    find_program(SDG_GLSLANG NAMES glslangValidator glslang DOC "GLSL to SPIR-V compiler")
    set(missing "")
    foreach(pair "SDG_VULKAN_HEADERS:the Vulkan headers (libvulkan-dev)" "SDG_VOLK_HEADER:volk (libvulkan-volk-dev)" "SDG_GLSLANG:glslangValidator (glslang-tools)")
        string(REGEX MATCH "^([A-Z_]+):(.*)$" unused ${pair})
        if(NOT ${CMAKE_MATCH_1})
            list(APPEND missing "${CMAKE_MATCH_2}")
        endif()
    endforeach()
    list(JOIN missing ", " missing)
    if(missing STREQUAL "")
        sdg_probe_glsl(GL_EXT_shader_16bit_storage SDG_GLSL_F16)
        sdg_probe_glsl(GL_KHR_shader_subgroup_arithmetic SDG_GLSL_SUBGROUP)
        sdg_probe_glsl(GL_EXT_spirv_intrinsics SDG_GLSL_DOT) # the packed dot product is written as its SPIR-V instruction
        sdg_build_shaders()
        add_library(sdg_volk INTERFACE)
        target_include_directories(sdg_volk SYSTEM INTERFACE ${SDG_VULKAN_HEADERS} ${SDG_VOLK_HEADER})
        set(SDG_HAVE_VULKAN ON)
        set(SDG_VULKAN_LIBRARIES sdg_volk ${CMAKE_DL_LIBS})
        set(SDG_VULKAN_SUMMARY "shaders f32")
        if(SDG_GLSL_F16)
            string(APPEND SDG_VULKAN_SUMMARY " f16")
        endif()
        if(SDG_GLSL_SUBGROUP)
            string(APPEND SDG_VULKAN_SUMMARY " subgroup")
        endif()
        if(SDG_GLSL_DOT)
            string(APPEND SDG_VULKAN_SUMMARY " dot")
        endif()
    elseif(SDG_VULKAN STREQUAL "on")
        message(FATAL_ERROR "SDG_VULKAN=on, but missing: ${missing}")
    else()
        set(SDG_VULKAN_SUMMARY "off (missing: ${missing})")
    endif()
endif()
