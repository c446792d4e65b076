# Sourced by run.sh and test.sh, with $root set: finds or installs what a build needs, then configures. Talks to stderr only.
#   prepare_packages [test]            everything there, or installed, or the script ends with the list of what is missing
#   prepare_build FOLDER OPTION...     a configured build folder
# When nothing is missing it runs no package manager and takes a fraction of a second.

# What is needed: Debian's package, how to see that it is there, its purpose. Other systems satisfy the same checks. Without
# the optional ones the engine is built without that part; on Debian they are installed all the same.
prepare_list='
build-essential        command cc                     C compiler
cmake                  command cmake                  build system, 3.22 or later
ninja-build            command ninja                  build system
pkg-config             command pkg-config             finds libraries
libpng-dev             library libpng                 pictures
libcjson-dev           library libcjson               configuration files
libutf8proc-dev        library libutf8proc            Unicode normalisation
libstb-dev             header stb/stb_image.h         pictures
'
prepare_list_optional='
libvulkan-dev          header vulkan/vulkan.h         Vulkan backend
libvulkan-volk-dev     header volk.h                  Vulkan backend
libwebp-dev            library libwebp                WebP pictures
glslang-tools          command glslangValidator       shaders
spirv-tools            command spirv-val              shaders
python3                command python3                fetches oneDNN
python3-pip            pip -                          fetches oneDNN
'
prepare_list_test='
libcmocka-dev          library cmocka                 tests
'
prepare_list_test_optional='
mesa-vulkan-drivers    file vulkan/icd.d/lvp_icd.*json               tests: a Vulkan device without a GPU
vulkan-validationlayers file vulkan/explicit_layer.d/VkLayer_khronos_validation.json  tests of the Vulkan backend
'

prepare_say() { echo "$prepare_name: $*" >&2; }

# Headers are looked for where the compiler looks.
prepare_include_path() {
    cc -xc -E -v /dev/null 2>&1 >/dev/null | sed -n '/^#include </,/^End/{s/^ \(\/[^ ]*\).*/\1/p;}'
}

prepare_has() {
    case $1 in
    command) command -v "$2" >/dev/null 2>&1 ;;
    library) command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "$2" ;;
    header)
        for folder in $prepare_includes; do
            [ -e "$folder/$2" ] && return 0
        done
        return 1 ;;
    file)
        for found in /usr/share/$2 /usr/local/share/$2 /etc/$2; do
            [ -e "$found" ] && return 0
        done
        return 1 ;;
    pip) # only for fetching oneDNN, which is done once
        [ -e "$root/build/deps/onednn/version" ] || [ "$(uname -m)" != x86_64 ] || python3 -c 'import pip' 2>/dev/null || python3 -c 'import ensurepip' 2>/dev/null ;;
    esac
}

# Prints the lines of the list whose check fails.
prepare_missing() {
    prepare_includes=
    if command -v cc >/dev/null 2>&1; then
        prepare_includes=$(prepare_include_path)
    fi
    printf '%s\n' "$1" | while read -r package how what purpose; do
        [ -z "$package" ] || prepare_has "$how" "$what" || printf '%s\t%s\n' "$package" "$purpose"
    done
}

prepare_packages() {
    required=$prepare_list optional=$prepare_list_optional
    if [ "${1:-}" = test ]; then
        required=$required$prepare_list_test optional=$optional$prepare_list_test_optional
    fi
    list=$required$optional
    missing=$(prepare_missing "$list")
    [ -n "$missing" ] || return 0
    packages=$(printf '%s\n' "$missing" | cut -f1 | tr '\n' ' ')
    if ! command -v apt-get >/dev/null 2>&1 || [ ! -e /etc/debian_version ]; then # Fedora has an apt-get, too
        missing=$(prepare_missing "$required")
        if [ -z "$missing" ]; then
            prepare_say "going on without: $packages(Debian's names)"
            return 0
        fi
        prepare_say "this is not a Debian system; please install what these packages of Debian contain:"
        printf '%s\n' "$missing" | sed 's/^/    /' >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        prepare_say "packages are missing, and installing them needs root (there is no sudo). As root, run:"
        echo "    apt-get install --no-install-recommends $packages" >&2
        exit 1
    fi
    prepare_say "installing${as_root:+ with sudo}: $packages"
    log=$(mktemp)
    if ! { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages ||
        { $as_root apt-get -q update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages; }; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        prepare_say "apt-get failed (above); the packages that are needed: $packages"
        exit 1
    fi
    rm -f "$log"
    missing=$(prepare_missing "$list")
    [ -z "$missing" ] || prepare_say "still not found after the installation: $(printf '%s\n' "$missing" | cut -f1 | tr '\n' ' ')"
}

# oneDNN makes the cpu backend fast; without it the engine's own kernels run.
prepare_onednn() {
    [ -e "$root/build/deps/onednn/version" ] || "$root/tools/get-onednn" >&2 ||
        prepare_say "warning: going on without oneDNN, the cpu backend will be slow"
}

# A single-file checkpoint as model needs CLIP's tokenizer, unless there is one beside it or named. Takes the arguments of sdgen.
# After a failure it is tried again only by hand: sdgen says how.
prepare_tokenizer() {
    before=
    for argument in "$@"; do
        case $argument in
        --model=*) prepare_tokenizer_of "${argument#*=}" ;;
        -m?*) prepare_tokenizer_of "${argument#-m}" ;;
        *) [ "$before" != -m ] && [ "$before" != --model ] || prepare_tokenizer_of "$argument" ;;
        esac
        before=$argument
    done
}
prepare_tokenizer_of() {
    home=$root/build/deps/clip-tokenizer
    [ -f "$1" ] && [ -z "${SDGEN_TOKENIZER:-}" ] && [ ! -e "$home" ] && [ ! -e "$home.failed" ] || return 0
    for beside in vocab.json tokenizer.json tokenizer; do
        [ ! -e "$(dirname "$1")/$beside" ] || return 0
    done
    mkdir -p "$root/build/deps"
    "$root/tools/get-clip-tokenizer" >&2 || : >"$home.failed"
}

# Runs a command, showing what it printed only if it fails.
prepare_quietly() {
    log=$1
    shift
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        prepare_say "failed: $* (output above, kept in $log)"
        return 1
    fi
}

# Configures where that was not done yet, or where the options or oneDNN are newer.
prepare_build() {
    folder=$1
    shift
    mkdir -p "$folder"
    # The cache of a folder that was moved names the old place.
    grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$folder/CMakeCache.txt" || rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles" "$folder/build.ninja"
    wanted="$*"
    if [ ! -e "$folder/build.ninja" ] || [ "$(cat "$folder/prepared" 2>/dev/null)" != "$wanted" ] ||
        [ "$root/build/deps/onednn/version" -nt "$folder/prepared" ]; then
        prepare_say "configuring $folder"
        rm -f "$folder/prepared"
        prepare_quietly "$folder/configure.log" cmake -S "$root" -B "$folder" -G Ninja "$@" || {
            # A cache left by another cmake is not worth keeping.
            prepare_say "once more, from nothing"
            rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles"
            prepare_quietly "$folder/configure.log" cmake -S "$root" -B "$folder" -G Ninja "$@" || exit 1
        }
        printf '%s\n' "$wanted" >"$folder/prepared"
    fi
}

# One script builds at a time in a checkout.
prepare_lock() {
    mkdir -p "$root/build"
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>"$root/build/.lock"
    flock -n 9 || { prepare_say "waiting for another build"; flock 9; }
}
prepare_unlock() { exec 9>&-; }
