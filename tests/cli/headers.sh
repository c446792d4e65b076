#!/bin/sh
# headers.sh HEADERS: each header compiles alone and twice, in every language that programs are written in, without a warning, with every
# compiler that is here.
set -eu
headers=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compiled=0
for header in "$headers"/*.h; do
    name=$(basename "$header")
    printf '#include "sdgen/%s"\n#include "sdgen/%s"\nint alone;\n' "$name" "$name" >"$work/alone.c"
    cp "$work/alone.c" "$work/alone.cpp"
    for compiler in "${CC:-cc}" clang; do
        command -v "$compiler" >/dev/null || continue
        for standard in c99 c11 c17; do
            "$compiler" -std=$standard -Wall -Wextra -pedantic -Wstrict-prototypes -Wshadow -Werror -I "$headers/.." -fsyntax-only "$work/alone.c"
            compiled=$((compiled + 1))
        done
    done
    for compiler in "${CXX:-c++}" clang++; do
        command -v "$compiler" >/dev/null || continue
        for standard in c++11 c++17 c++20; do
            "$compiler" -std=$standard -Wall -Wextra -pedantic -Werror -I "$headers/.." -fsyntax-only "$work/alone.cpp"
            compiled=$((compiled + 1))
        done
    done
done
# A warning is found.
printf '#include "sdgen/sdgen.h"\nint sdg_test(void) { int unused; return 0; }\n' >"$work/alone.c"
! "${CC:-cc}" -std=c99 -Wall -Werror -I "$headers/.." -fsyntax-only "$work/alone.c" 2>/dev/null || { echo "headers: a warning was not found"; exit 1; }
echo "headers: $compiled compilations without a warning"
