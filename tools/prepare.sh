# Sourced by run.sh and test.sh, with $root set: finds or installs what a build needs, then configures. Talks to stderr only.
#   prepare_packages [test]            everything there, or installed, or the script ends with the list of what is missing
#   prepare_build FOLDER OPTION...     a configured build folder
#   prepare_tests                      build/ configured with the tests
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
zlib1g-dev             library zlib                   smaller shaders
glslang-tools          command glslangValidator       shaders
spirv-tools            command spirv-val              shaders
python3                command python3                fetches oneDNN and glslang
python3-pip            pip -                          fetches oneDNN and glslang
libdnnl-dev            onednn -                       fast kernels for the CPU
'
prepare_list_test='
libcmocka-dev          library cmocka                 tests
'
prepare_list_test_optional='
mesa-vulkan-drivers    file vulkan/icd.d/lvp_icd.*json               tests: a Vulkan device without a GPU
aapt                   command aapt                                  tests: the app for Android
android-framework-res  file android-framework-res/framework-res.apk  tests: the app for Android
vulkan-validationlayers file vulkan/explicit_layer.d/VkLayer_khronos_validation.json  tests of the Vulkan backend
default-jdk-headless   command javac                 tests of the Java classes
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
    pip) # only for what is fetched, which is done once
        { { prepare_has_onednn || prepare_packaged_onednn || [ "$(uname -m)" != x86_64 ]; } && "$root/tools/get-glslang" --have; } ||
            python3 -c 'import pip' 2>/dev/null || python3 -c 'import ensurepip' 2>/dev/null ;;
    onednn) prepare_has_onednn || ! prepare_packaged_onednn ;;
    esac
}

prepare_has_onednn() { "$root/tools/get-onednn" --have; }
# Whether the system has a package of it that is new enough: Debian 13 does, Debian 12 does not.
prepare_packaged_onednn() {
    command -v apt-cache >/dev/null 2>&1 || return 1
    candidate=$(LC_ALL=C apt-cache policy libdnnl-dev 2>/dev/null | sed -n 's/^ *Candidate: *//p')
    [ -n "$candidate" ] && [ "$candidate" != "(none)" ] && dpkg --compare-versions "$candidate" ge 3.2
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
    needed=$(prepare_missing "$required")
    as_root=
    if ! command -v apt-get >/dev/null 2>&1 || [ ! -e /etc/debian_version ]; then # Fedora has an apt-get, too
        [ -n "$needed" ] || { prepare_say "going on without: $packages(Debian's names)"; return 0; }
        prepare_say "this is not a Debian system; please install what these packages of Debian contain:"
        printf '%s\n' "$needed" | sed 's/^/    /' >&2
        exit 1
    elif [ "$(id -u)" != 0 ] && command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    elif [ "$(id -u)" != 0 ]; then
        [ -n "$needed" ] || { prepare_say "going on without, as installing needs root: $packages"; return 0; }
        prepare_say "packages are missing, and installing them needs root (there is no sudo). As root, run:"
        echo "    apt-get install --no-install-recommends $packages" >&2
        exit 1
    fi
    [ -z "$as_root" ] || sudo -v # asks for the password before a line moves
    prepare_install $packages
    missing=$(prepare_missing "$list")
    # What there is may be known only now that apt-get has fetched its lists.
    case $missing in
    *libdnnl-dev*) prepare_install libdnnl-dev; missing=$(prepare_missing "$list") ;;
    esac
    [ -z "$missing" ] || prepare_say "still not found after the installation: $(printf '%s\n' "$missing" | cut -f1 | tr '\n' ' ')"
}

prepare_apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }
prepare_apt_install() {
    prepare_apt install -y --no-install-recommends "$@" || { prepare_apt update && prepare_apt install -y --no-install-recommends "$@"; }
}
prepare_install() {
    prepare_say "installing${as_root:+ with sudo}: $*"
    log=$(mktemp)
    prepare_quietly installing "$log" prepare_apt_install "$@" || { prepare_say "the packages that are needed: $*"; rm -f "$log"; exit 1; }
    rm -f "$log"
}

# prepare_fetched NAME TITLE WITHOUT: what tools/get-NAME fetches. A failure is remembered for a day, so that a machine without a network
# does not wait for it each time.
prepare_fetched() {
    failed=$root/build/deps/$1.failed
    ! "$root/tools/get-$1" --have || return 0
    mkdir -p "$root/build/deps"
    if [ -e "$failed" ] && [ -z "$(find "$failed" -mmin +1440)" ]; then
        prepare_say "without $2 $3; fetching it failed at $(cat "$failed"), tools/get-$1 tries again"
    elif prepare_quietly "fetching $2" "$root/build/deps/$1.log" "$root/tools/get-$1"; then
        rm -f "$failed"
    else
        date '+%Y-%m-%d %H:%M' >"$failed"
        prepare_say "warning: going on without $2, $3; it is tried again tomorrow, or by tools/get-$1"
    fi
}
# The engine's own kernels run without it.
prepare_onednn() { prepare_fetched onednn oneDNN "the cpu backend is slow"; }
# Debian 12's compiler does not know cooperative matrices.
prepare_glslang() {
    command -v glslangValidator >/dev/null 2>&1 || return 0 # no Vulkan backend at all
    prepare_fetched glslang "a newer glslang" "the Vulkan backend does not use the matrix units of GPUs"
}

# Only a test compiles Java for Android.
prepare_android() { prepare_fetched android-jar "Android's API" "whose test of examples/android is left out"; }

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

# Runs a command that may take minutes, its output in a file that is shown only if it fails. Meanwhile something moves: on a
# terminal a line with the time and the end of the output, else a message every minute.
#   prepare_quietly WHAT LOG COMMAND...
prepare_quietly() {
    what=$1 log=$2 status=0
    shift 2
    : >"$log"
    prepare_tick "$what" "$log" </dev/null >/dev/null 9>&- &
    ticker=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$ticker" 2>/dev/null || :
    wait "$ticker" 2>/dev/null || :
    ! prepare_moves || printf '\r\033[K' >&2
    [ "$status" != 0 ] || return 0
    cat "$log" >&2
    prepare_say "failed: $* (output above)"
    return 1
}
prepare_moves() { [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; }
prepare_tick() {
    begin=$(date +%s)
    while sleep 1 2>/dev/null && kill -0 $$ 2>/dev/null; do # ends with the script, however that ends
        seconds=$(($(date +%s) - begin))
        time=$(printf '%d:%02d' $((seconds / 60)) $((seconds % 60)))
        last=$(tail -c 400 "$2" 2>/dev/null | tr '\r' '\n' | grep . | tail -n 1 | LC_ALL=C tr -cd ' -~')
        columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2)
        if prepare_moves; then
            printf '\r%.*s\033[K' $((${columns:-80} - 1)) "$prepare_name: $1, $time  $last" >&2
        elif [ $seconds -gt 0 ] && [ $((seconds % 60)) = 0 ]; then
            prepare_say "still $1 after $time: $(printf '%.60s' "$last")"
        fi
    done
}

# Configures where that was not done yet, or where the options or what was fetched are newer.
prepare_build() {
    folder=$1
    shift
    mkdir -p "$folder"
    # The cache of a folder that was moved names the old place.
    grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$folder/CMakeCache.txt" || rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles" "$folder/build.ninja"
    wanted="$*"
    if [ ! -e "$folder/build.ninja" ] || [ "$(cat "$folder/prepared" 2>/dev/null)" != "$wanted" ] ||
        [ "$root/build/deps/onednn/version" -nt "$folder/prepared" ] || [ "$root/build/deps/glslang/version" -nt "$folder/prepared" ]; then
        prepare_say "configuring $folder"
        rm -f "$folder/prepared"
        prepare_quietly configuring "$folder/configure.log" cmake -S "$root" -B "$folder" -G Ninja "$@" || {
            # A cache left by another cmake is not worth keeping.
            prepare_say "once more, from nothing"
            rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles"
            prepare_quietly configuring "$folder/configure.log" cmake -S "$root" -B "$folder" -G Ninja "$@" || exit 1
        }
        printf '%s\n' "$wanted" >"$folder/prepared"
    fi
}

# build/ with tests. Sets `reference`: the folder of reference data beyond the checkout's, where it lies beside it, else "".
prepare_tests() {
    reference=
    [ ! -d "$root/../shared/goldens" ] || reference=$(cd "$root/../shared" && pwd -P)
    prepare_build "$root/build" -DCMAKE_BUILD_TYPE=Release -DSDG_BUILD_APPS=ON -DSDG_BUILD_TESTS=ON "-DSDG_REFERENCE_DATA=$reference"
}

# One script builds at a time in a checkout.
prepare_lock() {
    mkdir -p "$root/build"
    command -v flock >/dev/null 2>&1 || return 0
    exec 9>"$root/build/.lock"
    flock -n 9 || { prepare_say "waiting for another build"; flock 9; }
}
prepare_unlock() { exec 9>&-; }
