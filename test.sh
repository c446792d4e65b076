#!/bin/sh
# Builds build/ (release) and build/asan (AddressSanitizer, UndefinedBehaviorSanitizer) and runs all tests in both.
#   ./test.sh [-R PATTERN]      arguments go to ctest
# The first time it installs what is missing (Debian). The last line is the total; the exit status is 0 only if nothing failed.
set -eu
root=$(cd "$(dirname "$0")" && pwd -P)
prepare_name=test.sh
. "$root/tools/prepare.sh"

# Lines of a ctest log -> "PASSED FAILED SKIPPED": every CMocka test counts, other test programs count as one.
count() {
    awk '
        /^[0-9]+\/[0-9]+ Testing: / { cases = bad = skips = 0 }
        /\[  PASSED  \] [0-9]+ test\(s\)/ { sub(/.*PASSED  \] /, ""); cases += $1 }
        /\[  FAILED  \] [0-9]+ test\(s\)/ { sub(/.*FAILED  \] /, ""); bad += $1 }
        /\[  SKIPPED \] [0-9]+ test\(s\)/ { sub(/.*SKIPPED \] /, ""); skips += $1 }
        /^Test Passed\.|^Test Pass/ { passed += cases ? cases : 1; skipped += skips }
        /^Test Failed\./ { passed += cases; failed += bad ? bad : 1; skipped += skips }
        END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# What the tests of a ctest log said they left out, each once.
skips() {
    awk '
        /^[0-9]+\/[0-9]+ Testing: / { test = $3 }
        sub(/^.*[Ss]kipped: /, "") && !seen[test, $0]++ { print "    skipped in " test ": " $0 }' "$1"
}

prepare_packages test
prepare_lock
prepare_onednn
prepare_glslang
prepare_android
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
passed=0 failed=0 skipped=0

if clang-format --version 2>/dev/null | grep -q 'version 23\.'; then
    (cd "$root" && git ls-files '*.c' '*.h' 2>/dev/null | xargs -r clang-format --dry-run --Werror --style=file) ||
        { failed=$((failed + 1)); prepare_say "clang-format would change files (above)"; }
else
    prepare_say "skipped: the check of the formatting, clang-format 23 is not here (pip install clang-format==23.1.5)"
fi
"$root/tools/check-layers" || { failed=1; prepare_say "tools/check-layers failed"; }

# run NAME FOLDER CTEST-ARGUMENT...
run() {
    name=$1 folder=$2
    shift 2
    prepare_say "building $name"
    if ! prepare_quietly building "$folder/build.log" ninja -C "$folder"; then
        failed=$((failed + 1))
        return 0
    fi
    prepare_say "testing $name"
    status=0
    (cd "$folder" && ctest --output-on-failure -j "$jobs" "$@") || status=$?
    skips "$folder/Testing/Temporary/LastTest.log"
    set -- $(count "$folder/Testing/Temporary/LastTest.log")
    echo "$name: $1 passed, $2 failed, $3 skipped"
    [ "$status" = 0 ] || [ "$2" != 0 ] || set -- "$1" 1 "$3"
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

prepare_tests
run release "$root/build" "$@"

# Instrumented code is slow: the heavy tests do less there.
export SDG_TEST_QUICK=1
prepare_build "$root/build/asan" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSDG_SANITIZE=ON -DSDG_BUILD_APPS=ON -DSDG_BUILD_TESTS=ON "-DSDG_REFERENCE_DATA=$reference" \
    "-DSDG_TEST_SHADERS=$root/build/mesa-shaders"
run sanitizers "$root/build/asan" "$@"

prepare_say "checking the library for phones"
if phone=$("$root/tools/check-phone"); then
    echo "$phone"
    case $phone in
    skipped:*) skipped=$((skipped + 1)) ;;
    *) passed=$((passed + 1)) ;;
    esac
else
    failed=$((failed + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
