# libsdgen from the objects of all layers, shared (target sdgen, alias sdgen::sdgen) and static (sdgen_static), and what an
# installation contains. Programs are linked with the shared one: what they use is what the header exports.
set(sdg_objects "")
set(sdg_libraries "")
foreach(layer ${SDG_LAYERS})
    list(APPEND sdg_objects $<TARGET_OBJECTS:${layer}>)
    get_target_property(libraries ${layer} LINK_LIBRARIES)
    foreach(library ${libraries})
        if(library IN_LIST SDG_LAYERS OR library MATCHES "TARGET_NAME_IF_EXISTS:sdg_")
            continue()
        endif()
        set(type "")
        if(TARGET ${library})
            get_target_property(real ${library} ALIASED_TARGET)
            if(real)
                set(library ${real})
            endif()
            get_target_property(type ${library} TYPE)
            get_target_property(imported ${library} IMPORTED)
        endif()
        if(type MATCHES "^(STATIC|OBJECT)_LIBRARY$" AND NOT imported) # a part of a layer, such as the shaders
            list(APPEND sdg_objects $<TARGET_OBJECTS:${library}>)
        else()
            list(APPEND sdg_libraries ${library})
        endif()
    endforeach()
endforeach()
list(REMOVE_DUPLICATES sdg_objects)
list(REMOVE_DUPLICATES sdg_libraries)

# What comes with the library (default model, tokenizer of single files and the program that fetches it) is found from where
# the library is: an installation can be moved, and nothing has this folder's name inside. A build folder looks like one.
file(RELATIVE_PATH sdg_data_from_library "${CMAKE_INSTALL_FULL_LIBDIR}" "${CMAKE_INSTALL_FULL_DATADIR}/sdgen")
target_compile_definitions(sdg_base PRIVATE
    SDG_DATA_FROM_LIBRARY="${sdg_data_from_library}" SDG_INSTALL_DATA_DIR="${CMAKE_INSTALL_FULL_DATADIR}/sdgen")
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/sdgen)
foreach(data models "${PROJECT_SOURCE_DIR}/models" get-clip-tokenizer "${PROJECT_SOURCE_DIR}/tools/get-clip-tokenizer"
        clip-tokenizer "${SDG_CLIP_TOKENIZER}")
    if(NOT sdg_link)
        set(sdg_link ${data})
    else()
        file(CREATE_LINK ${data} ${PROJECT_BINARY_DIR}/share/sdgen/${sdg_link} SYMBOLIC)
        set(sdg_link "")
    endif()
endforeach()

# What sdg_build_info() says.
set(sdg_commit "")
find_package(Git QUIET)
if(GIT_FOUND AND EXISTS ${PROJECT_SOURCE_DIR}/.git)
    execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse --short HEAD WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
        OUTPUT_VARIABLE sdg_commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse --git-path logs/HEAD WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
        OUTPUT_VARIABLE sdg_git_log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    get_filename_component(sdg_git_log "${sdg_git_log}" ABSOLUTE BASE_DIR ${PROJECT_SOURCE_DIR})
    if(EXISTS "${sdg_git_log}") # grows with every commit
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${sdg_git_log}")
    endif()
    if(sdg_commit)
        set(sdg_commit ", commit ${sdg_commit}")
    endif()
endif()
set_property(SOURCE pipeline/parameter_names.c TARGET_DIRECTORY sdg_pipeline APPEND PROPERTY COMPILE_DEFINITIONS
    SDG_BUILD_INFO="oneDNN ${SDG_ONEDNN_SUMMARY}, Vulkan ${SDG_VULKAN_SUMMARY}, ${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}${sdg_commit}")

# One number says what fits what: in the header, in link names and in the library's.
file(STRINGS include/sdgen/sdgen.h sdg_api_version REGEX "^#define SDG_API_VERSION [0-9]+$")
string(REGEX MATCH "[0-9]+$" sdg_api_version "${sdg_api_version}")

add_library(sdgen SHARED ${sdg_objects})
add_library(sdgen_static STATIC ${sdg_objects})
add_library(sdgen::sdgen ALIAS sdgen)
set_target_properties(sdgen sdgen_static PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME sdgen)
set_target_properties(sdgen PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${sdg_api_version} EXPORT_NAME sdgen)
if(SDG_ONEDNN_RUNTIME)
    set_target_properties(sdgen PROPERTIES INSTALL_RPATH "$ORIGIN/sdgen")
endif()
foreach(library sdgen sdgen_static)
    target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
target_compile_definitions(sdgen_static INTERFACE SDG_STATIC)
target_link_libraries(sdgen PRIVATE ${sdg_libraries})
# What a list names and no file defines, such as an operation without a kernel, fails here and not when it is loaded. The
# sanitizers' own functions come from the program.
if(NOT SDG_SANITIZE AND NOT SDG_SANITIZE_THREADS)
    include(CheckLinkerFlag)
    check_linker_flag(C -Wl,--no-undefined SDG_LINKER_HAS_NO_UNDEFINED)
    if(SDG_LINKER_HAS_NO_UNDEFINED)
        target_link_options(sdgen PRIVATE -Wl,--no-undefined)
    endif()
endif()
target_link_libraries(sdgen_static PUBLIC ${sdg_libraries})

# The archive is one object whose hidden names - volk's variables, cJSON's and utf8proc's functions where they are bundled - are local to
# it: they neither replace nor meet those of a program that uses Vulkan, or another cJSON, itself.
if(CMAKE_OBJCOPY AND UNIX AND NOT APPLE)
    set(sdg_whole ${PROJECT_BINARY_DIR}/libsdgen_whole.o)
    separate_arguments(sdg_flags NATIVE_COMMAND "${CMAKE_C_FLAGS}")
    if(CMAKE_C_COMPILER_TARGET) # one clang for all processors, as the NDK's
        list(APPEND sdg_flags --target=${CMAKE_C_COMPILER_TARGET})
    endif()
    if(CMAKE_SYSROOT)
        list(APPEND sdg_flags --sysroot=${CMAKE_SYSROOT})
    endif()
    add_custom_command(TARGET sdgen_static POST_BUILD
        COMMAND ${CMAKE_C_COMPILER} ${sdg_flags} -nostdlib -r -o ${sdg_whole} -Wl,--whole-archive $<TARGET_FILE:sdgen_static> -Wl,--no-whole-archive
        COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${sdg_whole}
        COMMAND ${CMAKE_COMMAND} -E rm $<TARGET_FILE:sdgen_static>
        COMMAND ${CMAKE_AR} qcs $<TARGET_FILE:sdgen_static> ${sdg_whole}
        COMMAND ${CMAKE_COMMAND} -E rm ${sdg_whole}
        VERBATIM COMMENT "Hiding what libsdgen.a does not export")
endif()

# Android's newer devices have pages of 16 KiB, as some other systems of 64-bit ARM do.
if(SDG_ARM64 AND NOT APPLE)
    target_link_options(sdgen PRIVATE -Wl,-z,max-page-size=16384)
endif()

install(TARGETS sdgen EXPORT sdgenTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT development
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT library)
install(TARGETS sdgen_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(DIRECTORY include/sdgen DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h")
install(DIRECTORY models/emoji-128 models/emoji-128-w8a8-tdq models/emoji-128-mamba DESTINATION ${CMAKE_INSTALL_DATADIR}/sdgen/models
    COMPONENT programs)
install(PROGRAMS tools/get-clip-tokenizer DESTINATION ${CMAKE_INSTALL_DATADIR}/sdgen COMPONENT programs)
install(DIRECTORY ${SDG_CLIP_TOKENIZER}/ DESTINATION ${CMAKE_INSTALL_DATADIR}/sdgen/clip-tokenizer COMPONENT tokenizer OPTIONAL
    FILES_MATCHING PATTERN "*.json" PATTERN "*.txt") # if it was fetched; in no package
file(GLOB sdg_documents ${PROJECT_SOURCE_DIR}/docs/*.md ${PROJECT_SOURCE_DIR}/docs/*.jpg ${PROJECT_SOURCE_DIR}/docs/*.svg
    ${PROJECT_SOURCE_DIR}/docs/*.txt)
list(FILTER sdg_documents EXCLUDE REGEX "/(architecture|decisions)[.]md$") # for who changes the program
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT programs)
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT development FILES_MATCHING PATTERN "embed.c")
if(NOT SDG_DEBIAN) # whose packages say it in a form of their own
    install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT programs)
endif()
install(FILES ${sdg_documents} DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs COMPONENT programs)
if(SDG_ONEDNN_RUNTIME) # not from the system: it travels with the library, in a folder of its own
    get_filename_component(sdg_onednn_file ${SDG_ONEDNN_RUNTIME} REALPATH)
    if(SDG_DEBIAN)
        execute_process(COMMAND ${CMAKE_STRIP} --strip-unneeded -o ${PROJECT_BINARY_DIR}/libdnnl.so.3 ${sdg_onednn_file} COMMAND_ERROR_IS_FATAL ANY)
        set(sdg_onednn_file ${PROJECT_BINARY_DIR}/libdnnl.so.3)
    endif()
    install(FILES ${sdg_onednn_file} DESTINATION ${CMAKE_INSTALL_LIBDIR}/sdgen RENAME libdnnl.so.3 COMPONENT library)
endif()

# pkg-config: --static adds what the archive needs.
# Paths from the folder of the .pc file, which lies in LIBDIR/pkgconfig.
file(RELATIVE_PATH sdg_pc_up "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
set(sdg_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
set(sdg_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
set(sdg_pc_private "-lm -pthread")
if(TARGET OpenMP::OpenMP_C)
    string(APPEND sdg_pc_private " ${OpenMP_C_FLAGS}")
endif()
if(SDG_ONEDNN_RUNTIME) # installed beside libsdgen, without a name to develop with
    string(APPEND sdg_pc_private " -L\${libdir}/sdgen -Wl,-rpath,\${libdir}/sdgen -l:libdnnl.so.3")
elseif(SDG_HAVE_ONEDNN)
    string(APPEND sdg_pc_private " -ldnnl")
endif()
if(SDG_HAVE_VULKAN)
    string(APPEND sdg_pc_private " -ldl")
endif()
if(SDG_HAVE_ZLIB AND NOT SDG_BUNDLED)
    string(APPEND sdg_pc_private " -lz")
endif()
# Not as Requires.private, whose folders of headers pkg-config gives to everybody: no header of ours includes theirs.
if(NOT SDG_BUNDLED)
    string(APPEND sdg_pc_private " -lcjson -lutf8proc")
endif()
if(SDG_HAVE_PICTURES)
    string(APPEND sdg_pc_private " -lpng")
endif()
if(SDG_HAVE_WEBP)
    string(APPEND sdg_pc_private " -lwebp")
endif()
configure_file(cmake/sdgen.pc.in ${PROJECT_BINARY_DIR}/sdgen.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/sdgen.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

# find_package(sdgen)
include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/sdgenConfig.cmake.in ${PROJECT_BINARY_DIR}/sdgenConfig.cmake INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sdgen)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sdgenConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/sdgenConfig.cmake ${PROJECT_BINARY_DIR}/sdgenConfigVersion.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sdgen
    COMPONENT development)
install(EXPORT sdgenTargets NAMESPACE sdgen:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/sdgen COMPONENT development)

# Removes what the last `cmake --install` of this folder wrote; folders that became empty stay.
if(PROJECT_IS_TOP_LEVEL)
    add_custom_target(uninstall
        COMMAND ${CMAKE_COMMAND} -DMANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt -P ${PROJECT_SOURCE_DIR}/cmake/Uninstall.cmake)
endif()
