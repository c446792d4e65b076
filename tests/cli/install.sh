#!/bin/sh
# install.sh CMAKE BUILD: installs into a temporary folder; a C and a C++ program use the library through pkg-config and
# find_package, and the installed sdgen draws without the build folder's libraries.
set -eu
cmake=$1 build=$2
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$cmake" --install "$build" --prefix "$home/usr" >"$home/log" 2>&1 || { cat "$home/log"; exit 1; }
cd "$home"
cat >use.c <<'C'
#include <sdgen/sdgen.h>
#include <stdio.h>
int main(void)
{
    struct sdg_pipeline *pipeline = NULL;
    struct sdg_pipeline_params params = {0};
    params.model = "/nonexistent";
    puts(sdg_version());
    return sdg_pipeline_create(&params, &pipeline) == SDG_ERROR_INPUT && pipeline == NULL ? 0 : 1;
}
C
cp use.c use.cpp
library=$(dirname "$(find usr -name libsdgen.so)")
pc=$(find usr -name sdgen.pc)
sed "s|^prefix=.*|prefix=$home/usr|; s|^libdir=.*|libdir=$home/$library|; s|^includedir=.*|includedir=$home/usr/include|" "$pc" >sdgen.pc
flags=$(PKG_CONFIG_PATH=. pkg-config --cflags --libs sdgen)
for compiler in cc c++; do
    source=use.c
    [ $compiler = cc ] || source=use.cpp
    command -v $compiler >/dev/null || continue
    $compiler -Wall -Wextra -Werror -Wno-missing-field-initializers "$source" -o use $flags -Wl,-rpath,"$home/$library"
    ./use >out
    grep -q '^[0-9]*\.[0-9]*\.[0-9]*$' out
done

mkdir package
cat >package/CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.22)
project(use C)
find_package(sdgen 0.1 REQUIRED)
add_executable(use ../use.c)
target_link_libraries(use PRIVATE sdgen::sdgen)
C
{ "$cmake" -S package -B package/build -DCMAKE_PREFIX_PATH="$home/usr" && "$cmake" --build package/build && package/build/use; } >log 2>&1 || { cat log; exit 1; }

env -u LD_LIBRARY_PATH SDGEN_MODEL="$home/usr/share/sdgen/models/emoji-128" usr/bin/sdgen -q --backend cpu -W 64 -H 64 --steps 1 -o picture.png "a red apple"
[ -s picture.png ]
echo "install: pkg-config, find_package, C++ and the installed sdgen work"
