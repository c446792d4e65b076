# Vulkan headers, volk and a GLSL compiler. Sets SDG_HAVE_VULKAN, SDG_VULKAN_LIBRARIES, SDG_VULKAN_SUMMARY and the target sdg_shaders:
# a library with the SPIR-V of every shader of shaders/variants.txt that the compiler can build. The Vulkan loader itself is opened at
# run time (volk), so a build with the backend starts on machines without it.
set(SDG_HAVE_VULKAN OFF)
set(SDG_VULKAN_LIBRARIES "")
set(SDG_VULKAN_SUMMARY "off")

# Does the compiler know this GLSL extension, with these flags? Sets `result`.
function(sdg_probe_glsl extension flags result)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/glsl-probe)
    file(WRITE ${folder}/${extension}.comp "#version 450\n#extension ${extension} : require\nlayout(local_size_x = 1) in;\nvoid main() {}\n")
    execute_process(COMMAND ${SDG_GLSLANG} -V --target-env vulkan1.1 ${flags} ${folder}/${extension}.comp -o ${folder}/${extension}.spv
        RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
    if(status EQUAL 0)
        set(${result} ON PARENT_SCOPE)
    else()
        set(${result} OFF PARENT_SCOPE)
    endif()
endfunction()

# Sets SDG_GLSLANG: the system's compiler, or where that is older than cooperative matrices the one that tools/get-glslang has fetched.
function(sdg_find_glslang)
    if(SDG_GLSLANG AND NOT EXISTS ${SDG_GLSLANG}) # a fetched one that was deleted
        unset(SDG_GLSLANG CACHE)
    endif()
    find_program(SDG_GLSLANG NAMES glslangValidator glslang DOC "GLSL to SPIR-V compiler")
    set(fetched ${PROJECT_SOURCE_DIR}/build/deps/glslang/bin/glslangValidator)
    if(EXISTS ${fetched})
        sdg_probe_glsl(GL_KHR_cooperative_matrix "" knows_matrices)
        if(NOT knows_matrices)
            set(SDG_GLSLANG ${fetched} CACHE FILEPATH "GLSL to SPIR-V compiler" FORCE)
        endif()
    endif()
endfunction()

# Compiles one variant to a header `<name>.h` holding the array `<name>`, packed where zlib can unpack it.
function(sdg_compile_shader source name flags)
    set(output ${CMAKE_CURRENT_BINARY_DIR}/shaders/${name})
    add_custom_command(OUTPUT ${output}.h
        COMMAND ${SDG_GLSLANG} --quiet -V --target-env vulkan1.1 -g0 ${flags} --depfile ${output}.d -o ${output}.spv ${source}
        COMMAND ${CMAKE_COMMAND} -DINPUT=${output}.spv -DOUTPUT=${output}.h -DNAME=${name} -DPACK=${SDG_HAVE_ZLIB} -P ${PROJECT_SOURCE_DIR}/cmake/PackShader.cmake
        DEPENDS ${source} ${PROJECT_SOURCE_DIR}/cmake/PackShader.cmake DEPFILE ${output}.d COMMENT "Shader ${name}" VERBATIM COMMAND_EXPAND_LISTS)
endfunction()

# The rows below read and extend the lists of sdg_build_shaders(), in whose scope they run.

# rung NAME EXTENSION FLAG...: the feature of that name
macro(sdg_rung_row name extension)
    set(flags_${name} ${ARGN})
    sdg_probe_glsl(${extension} "${flags_${name}}" built_${name})
    if(built_${name})
        string(APPEND built " ${name}")
        string(APPEND rungs "    {\"${name}\", feature_${name}, true},\n")
    else()
        string(APPEND left_out " ${name}")
        string(APPEND rungs "    {\"${name}\", feature_${name}, false},\n")
    endif()
endmacro()

# tile SET M N K THREADS TM TN
macro(sdg_tile_row set m n k threads tm tn)
    math(EXPR outputs "${m} * ${n} - ${threads} * ${tm} * ${tn}")
    if(NOT outputs EQUAL 0)
        message(FATAL_ERROR "${table}: ${threads} invocations with ${tm} x ${tn} outputs each do not make ${m} x ${n}")
    endif()
    if(NOT DEFINED slice_${set})
        set(slice_${set} ${k})
    elseif(NOT slice_${set} EQUAL ${k})
        message(FATAL_ERROR "${table}: tiles '${set}' have slices of ${slice_${set}} and of ${k}; shaders are compiled for one length")
    endif()
    list(APPEND tile_sets ${set})
    string(APPEND tiles_${set} "    {${m}, ${n}, ${k}, ${threads}, ${tm}, ${tn}},\n")
endmacro()

# shader FAMILY.comp TYPE WIDTH RUNG,... SET: "-" for no rungs, and for no tiles
macro(sdg_shader_row source type width needed set)
    string(REGEX REPLACE "[.]comp$" "" family ${source})
    set(name ${family}_${type})
    if(${width} GREATER 1)
        string(APPEND name _v${width})
    endif()
    set(flags -DWIDTH=${width})
    set(needs 0)
    set(possible ON)
    string(REGEX MATCHALL "[a-z0-9_]+" needed_rungs ${needed})
    foreach(rung ${needed_rungs})
        if(NOT DEFINED built_${rung})
            message(FATAL_ERROR "${table}: ${source} needs '${rung}', which is no rung above it")
        endif()
        list(APPEND flags ${flags_${rung}})
        string(APPEND needs " | feature_${rung}")
        if(NOT rung STREQUAL "${type}")
            string(APPEND name _${rung})
        endif()
        if(NOT built_${rung})
            set(possible OFF)
        endif()
    endforeach()
    set(tiles "NULL, 0")
    if(NOT "${set}" STREQUAL "-")
        if(NOT "${set}" IN_LIST tile_sets)
            message(FATAL_ERROR "${table}: ${source} has the tiles '${set}', which is no set above it")
        endif()
        set(tiles "tiles_${set}, sizeof tiles_${set} / sizeof *tiles_${set}")
        list(APPEND flags -DBK=${slice_${set}})
    endif()
    if(possible)
        sdg_compile_shader(${PROJECT_SOURCE_DIR}/shaders/${source} ${name} "${flags}")
        list(APPEND headers ${CMAKE_CURRENT_BINARY_DIR}/shaders/${name}.h)
        string(APPEND includes "#include \"${name}.h\"\n")
        string(TOUPPER ${type} upper)
        string(APPEND shaders "    {\"${name}\", \"${family}\", SDG_${upper}, ${width}, ${needs}, ${tiles}, ${name}, sizeof ${name}, ${name}_bytes},\n")
    endif()
endmacro()

# Reads shaders/variants.txt, adds a command per shader and writes the C tables. Sets `built_rungs`: those of this build, and what the
# compiler is too old for.
function(sdg_build_shaders built_rungs)
    set(table ${PROJECT_SOURCE_DIR}/shaders/variants.txt)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table})
    file(STRINGS ${table} lines REGEX "^[a-z]")
    foreach(line ${lines})
        string(REGEX MATCHALL "[^ \t]+" columns ${line})
        list(POP_FRONT columns kind)
        list(LENGTH columns count)
        if(kind STREQUAL "rung" AND count GREATER_EQUAL 2)
            sdg_rung_row(${columns})
        elseif(kind STREQUAL "tile" AND count EQUAL 7)
            sdg_tile_row(${columns})
        elseif(kind STREQUAL "shader" AND count EQUAL 5)
            sdg_shader_row(${columns})
        else()
            message(FATAL_ERROR "${table}: cannot read the row '${line}'")
        endif()
    endforeach()
    set(tile_tables "")
    list(REMOVE_DUPLICATES tile_sets)
    foreach(set ${tile_sets})
        string(APPEND tile_tables "static const struct sdg_tile tiles_${set}[] = {\n${tiles_${set}}};\n")
    endforeach()
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/shaders/shaders.c @ONLY CONTENT [[
// Generated from shaders/variants.txt.
#include "shaders/shaders.h"

#include "backend/backend.h"

enum { // a rung is named after its feature
#define SDG_FEATURE(upper, name) feature_##name = SDG_FEATURE_##upper,
#include "backend/features.def"
};

@includes@
const struct sdg_rung sdg_rungs[] = {
@rungs@};
const size_t sdg_rung_count = sizeof sdg_rungs / sizeof sdg_rungs[0];

@tile_tables@
const struct sdg_shader sdg_shaders[] = {
@shaders@};
const size_t sdg_shader_count = sizeof sdg_shaders / sizeof sdg_shaders[0];
]])
    # Named as sources, so that the table is compiled after the headers it includes.
    add_library(sdg_shaders STATIC ${CMAKE_CURRENT_BINARY_DIR}/shaders/shaders.c ${headers})
    target_include_directories(sdg_shaders PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_BINARY_DIR}/shaders)
    if(left_out)
        string(APPEND built " (without${left_out}: ${SDG_GLSLANG} does not know them, tools/get-glslang fetches one that does)")
    endif()
    set(${built_rungs} "${built}" PARENT_SCOPE)
endfunction()

if(NOT SDG_VULKAN STREQUAL "off")
    find_path(SDG_VULKAN_HEADERS vulkan/vulkan.h DOC "Folder that has vulkan/vulkan.h")
    find_path(SDG_VOLK_HEADER volk.h PATH_SUFFIXES volk Volk DOC "Folder that has volk.h")
    sdg_find_glslang()
    set(missing "")
    foreach(pair "SDG_VULKAN_HEADERS:the Vulkan headers (libvulkan-dev)" "SDG_VOLK_HEADER:volk (libvulkan-volk-dev)" "SDG_GLSLANG:glslangValidator (glslang-tools)")
        string(REGEX MATCH "^([A-Z_]+):(.*)$" unused ${pair})
        if(NOT ${CMAKE_MATCH_1})
            list(APPEND missing "${CMAKE_MATCH_2}")
        endif()
    endforeach()
    list(JOIN missing ", " missing)
    if(missing STREQUAL "")
        sdg_build_shaders(rungs)
        add_library(sdg_volk INTERFACE)
        target_include_directories(sdg_volk SYSTEM INTERFACE ${SDG_VULKAN_HEADERS} ${SDG_VOLK_HEADER})
        set(SDG_HAVE_VULKAN ON)
        set(SDG_VULKAN_LIBRARIES sdg_volk ${CMAKE_DL_LIBS})
        if(SDG_HAVE_ZLIB)
            list(APPEND SDG_VULKAN_LIBRARIES PkgConfig::ZLIB)
        endif()
        set(SDG_VULKAN_SUMMARY "shaders f32${rungs}")
    elseif(SDG_VULKAN STREQUAL "on")
        message(FATAL_ERROR "SDG_VULKAN=on, but missing: ${missing}")
    else()
        set(SDG_VULKAN_SUMMARY "off (missing: ${missing})")
    endif()
endif()
