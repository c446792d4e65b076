#!/bin/sh
# install.sh CMAKE BUILD SOURCE: installs into a temporary folder; a C and a C++ program and examples/embed.c use the library through
# pkg-config and find_package, the archive leaves a program's own Vulkan alone, README's example draws, a program of another API version does not link, each header compiles alone,
# and the installed sdgen draws without the build folder's libraries.
set -eu
cmake=$1 build=$2 source=$3
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
    params.vae_tile_overlap = sdg_number(0);
    puts(sdg_version());
    return sdg_pipeline_create(&params, &pipeline) == SDG_ERROR_INPUT && pipeline == NULL ? 0 : 1;
}
C
cp use.c use.cpp
library=$(dirname "$(find usr -name libsdgen.so)")
pc=$(find usr -name sdgen.pc)
# Moved, and with blanks in its name: everything is found from where it is.
mv usr "moved here"
ln -s "moved here" usr
grep -q '^prefix=.*pcfiledir' "$pc"
export PKG_CONFIG_PATH="$home/$(dirname "$pc")"
flags=$(pkg-config --cflags --libs sdgen | sed 's/moved\\ here/usr/g') # the link, so that the commands below need no quotes
for compiler in cc c++; do
    file=use.c
    [ $compiler = cc ] || file=use.cpp
    command -v $compiler >/dev/null || continue
    $compiler -Wall -Wextra -Werror -Wno-missing-field-initializers $file -o use $flags -Wl,-rpath,"$home/$library"
    ./use >out
    grep -q '^[0-9]*\.[0-9]*\.[0-9]*$' out
done

# The archive, with what the .pc file says that it needs.
cc -DSDG_STATIC use.c -o use $(pkg-config --static --cflags sdgen) $(pkg-config --static --libs sdgen | sed 's/-lsdgen/-l:libsdgen.a/') -Wl,-rpath,"$home/$library"
./use >out

# A program may use Vulkan itself beside the archive, whose variables of volk have the names of libvulkan's functions.
cat >vulkan.c <<'C'
#include <sdgen/sdgen.h>
#include <stdio.h>
int vkEnumerateInstanceVersion(unsigned *version);
static void count(void *user, const struct sdg_device *device)
{
    *(int *)user += device->name[0] != 0;
}
int main(void)
{
    unsigned version = 0;
    int devices = 0;
    sdg_list_devices(NULL, count, &devices);
    return vkEnumerateInstanceVersion(&version) || version >> 22 != 1 || devices < 2;
}
C
if printf '#include <vulkan/vulkan.h>\nint main(void) { return 0; }\n' >probe.c && cc probe.c -o probe -lvulkan 2>/dev/null; then
    cc -DSDG_STATIC vulkan.c -o use $(pkg-config --static --cflags sdgen) $(pkg-config --static --libs sdgen | sed 's/-lsdgen/-l:libsdgen.a/') -lvulkan
    ./use
else
    echo "skipped: a program with libsdgen.a and libvulkan, which is not here"
fi
! nm "$library/libsdgen.a" | grep -E ' [A-TV-Z] ' | grep -vE ' sdg_' || { echo "install: the archive defines names that are not its own (above)"; exit 1; }

# The example of README and docs, by pkg-config and by find_package, draws what sdgen draws.
cc -Wall -Wextra -Werror "$source/examples/embed.c" -o embed $flags -Wl,-rpath,"$home/$library"
mkdir embedding
cat >embedding/CMakeLists.txt <<C
cmake_minimum_required(VERSION 3.22)
project(embed C)
find_package(sdgen 0.1 REQUIRED)
add_executable(embed $source/examples/embed.c)
target_link_libraries(embed PRIVATE sdgen::sdgen)
C
{ "$cmake" -S embedding -B embedding/build -DCMAKE_PREFIX_PATH="$home/usr" && "$cmake" --build embedding/build; } >log 2>&1 || { cat log; exit 1; }
env -u LD_LIBRARY_PATH -u SDGEN_MODEL usr/bin/sdgen -q "a red apple, 3d" --disable-image-metadata -o wanted.png
for program in ./embed embedding/build/embed; do
    env -u LD_LIBRARY_PATH -u SDGEN_MODEL $program "a red apple, 3d" embedded.png 2>log || { cat log; exit 1; }
    cmp wanted.png embedded.png
    rm embedded.png
done

# Each header by itself, in the oldest languages that the library is for.
for header in usr/include/sdgen/*.h; do
    name=sdgen/$(basename "$header")
    printf '#include <%s>\n#include <%s>\nint main(void) { return SDG_OK; }\n' $name $name >alone.c
    cp alone.c alone.cpp
    cc -std=c99 -Wall -Wextra -pedantic -Werror -Iusr/include -c alone.c -o alone.o
    ! command -v c++ >/dev/null || c++ -std=c++11 -Wall -Wextra -pedantic -Werror -Iusr/include -c alone.cpp -o alone.o
done

# README's example is the text between ```c and ```, with what it leaves out put around it.
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/README.md" >readme
{
    cat <<'C'
#include <stdio.h>
static void use(const unsigned char *pixels, int width, int height)
{
    printf("%d x %d, %d\n", width, height, pixels[3 * width * height - 1] > 0);
}
C
    grep '^#include' readme
    echo 'int main(void) {'
    grep -v '^#include' readme
    echo 'return 0; }'
} >example.c
cc -std=c99 -Wall -Wextra -Werror -Wno-missing-field-initializers example.c -o example $flags -Wl,-rpath,"$home/$library"
(cd "$source" && "$home/example") >out
[ "$(cat out)" = "128 x 128, 1" ]

# And its Java, with nothing said of where the native library is.
jar=usr/share/java/sdgen.jar
if [ -f $jar ] && command -v javac >/dev/null; then
    {
        echo 'public class Example { static void show(Object... what) { if (what[0] instanceof int[]) System.out.println(what[1] + " x " + what[2]); }'
        echo 'public static void main(String[] arguments) throws Exception {'
        awk '/^```java$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/README.md"
        echo '} }'
    } >Example.java
    sed -i '1i import org.sdgen.*;' Example.java
    javac -cp $jar -d . Example.java
    (cd "$source" && env -u LD_LIBRARY_PATH java -cp "$home/moved here/share/java/sdgen.jar:$home" Example) >out
    [ "$(cat out)" = "128 x 128" ]
else
    echo "skipped: Java, there is no jar or no JDK"
fi

# A program built against another version of the structs is refused by the linker, with a name that says why.
mkdir other
cp -r usr/include/sdgen other/
sed -i 's/^#define SDG_API_VERSION .*/#define SDG_API_VERSION 999/' other/sdgen/sdgen.h
if cc -Iother use.c -o use $flags 2>log; then
    echo "install: a program of API version 999 was linked"
    exit 1
fi
grep -q sdg_pipeline_create_999 log

mkdir package
cat >package/CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.22)
project(use C)
find_package(sdgen 0.1 REQUIRED)
add_executable(use ../use.c)
target_link_libraries(use PRIVATE sdgen::sdgen)
C
{ "$cmake" -S package -B package/build -DCMAKE_PREFIX_PATH="$home/usr" && "$cmake" --build package/build && package/build/use; } >log 2>&1 || { cat log; exit 1; }

(cd "moved here" && env -u LD_LIBRARY_PATH -u SDGEN_MODEL bin/sdgen --plan -W 64 -H 64 --backend cpu) | grep -qxF "model: $(pwd -P)/moved here/share/sdgen/models/emoji-128"
[ -s "usr/share/doc/sdgen/README.md" ] && [ -s "usr/share/doc/sdgen/docs/prompts.md" ]
! grep -qF "$source/" "usr/lib/libsdgen.so" "$library/libsdgen.so" 2>/dev/null || { echo "install: the library has the source folder's name inside"; exit 1; }
env -u LD_LIBRARY_PATH -u SDGEN_MODEL usr/bin/sdgen -q --backend cpu -W 64 -H 64 --steps 1 -o picture.png "a red apple"
[ -s picture.png ]
echo "install: pkg-config, find_package, C++, the example and the installed sdgen work"
