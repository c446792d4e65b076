#!/bin/sh
# Draws a picture: ./run.sh "a red apple, 3d" -o apple.png
# The first time it installs what is missing (Debian) and builds into build/; the arguments are those of sdgen (./run.sh -h).
set -eu
root=$(cd "$(dirname "$0")" && pwd -P)
prepare_name=run.sh
. "$root/tools/prepare.sh"

prepare_packages
prepare_lock
prepare_onednn
prepare_glslang
# Tests, once configured by test.sh, stay configured; this builds no tests.
tests=OFF
grep -qs '^SDG_BUILD_TESTS:BOOL=ON' "$root/build/CMakeCache.txt" && tests=ON
prepare_build "$root/build" -DCMAKE_BUILD_TYPE=Release -DSDG_BUILD_APPS=ON -DSDG_BUILD_TESTS=$tests
[ -x "$root/build/bin/sdgen" ] || prepare_say "building (once)"
# The programs and the library, so that everything the README names is there; tests only with test.sh.
prepare_quietly building "$root/build/build.log" ninja -C "$root/build" programs || exit 1
prepare_tokenizer "$@"
prepare_unlock
exec "$root/build/bin/sdgen" "$@"
