#!/bin/sh
# example.sh SOURCE: the app of examples/android, as far as it can be looked at without Google's tools: all Java, bindings/java included,
# compiles against Android's API; the resources and the manifest make a package; the manifest says what the app needs and no more.
set -eu
source=$1
example=$source/examples/android main=$source/examples/android/app/src/main
here=$(cd "$(dirname "$0")" && pwd)

skip() { echo "skipped: the app for Android, $*"; exit 0; }
fail() { echo "android_example: $*" >&2; exit 1; }

command -v javac >/dev/null 2>&1 || skip "javac is not here (apt-get install default-jdk-headless)"
command -v aapt >/dev/null 2>&1 || skip "aapt is not here (apt-get install aapt)"
command -v python3 >/dev/null 2>&1 || skip "python3 is not here"
framework=/usr/share/android-framework-res/framework-res.apk
[ -e "$framework" ] || skip "Android's own resources are not here (apt-get install android-framework-res)"
jar=$("$source/tools/get-android-jar" --print) || skip "Android's API is not here (tools/get-android-jar)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/generated" "$work/classes" "$work/newer" "$work/assets"

# ---- what Gradle's files say ----
number() { sed -n "s/^ *$1 \([0-9][0-9]*\)$/\1/p" "$example/app/build.gradle"; }
minimum=$(number minSdk) target=$(number targetSdk) compiled=$(number compileSdk)
[ "$minimum" = 26 ] || fail "minSdk is $minimum, should be 26"
[ "$target" = 35 ] && [ "$compiled" = 35 ] || fail "targetSdk $target and compileSdk $compiled should be 35"
package=$(sed -n "s/^ *namespace '\(.*\)'$/\1/p" "$example/app/build.gradle")
! grep -rn 'implementation \|api \|androidx' "$example" --include='*.gradle' --include='*.java' --include='*.xml' ||
    fail "the app uses a library (above)"
# Every option that is given to the engine's CMake is one.
for option in $(grep -o -- '-DSDG_[A-Z_]*' "$example/app/build.gradle" | sed 's/-D//' | sort -u); do
    grep -qE "(set|option|find_path)\($option " "$source/CMakeLists.txt" "$source"/cmake/*.cmake || fail "build.gradle sets $option, which CMake does not know"
done
for path in CMakeLists.txt bindings/java/src bindings/java/android bindings/java/proguard.txt models/emoji-128 tools/get-sources; do
    grep -q "'$path'" "$example/app/build.gradle" || fail "build.gradle does not name $path"
    [ -e "$source/$path" ] || fail "build.gradle names $path, which is not there"
done
grep -q 'add_library(sdgen_jni ' "$source/bindings/java/CMakeLists.txt" && grep -q "targets 'sdgen_jni'" "$example/app/build.gradle" ||
    fail "the library sdgen_jni is not built"

# ---- resources and manifest ----
# Gradle puts the package's name in. aapt takes the model as Gradle does: some of it, not compressed.
sed "s/<manifest /<manifest package=\"$package\" /" "$main/AndroidManifest.xml" >"$work/AndroidManifest.xml"
cp -r "$source/models/emoji-128" "$work/assets"
set --
for ending in $(sed -n "s/^ *noCompress //p" "$example/app/build.gradle" | tr -d "',"); do
    set -- "$@" -0 "$ending"
done
aapt package -f -M "$work/AndroidManifest.xml" -S "$main/res" -A "$work/assets" -I "$framework" -J "$work/generated" "$@" \
    --min-sdk-version "$minimum" --target-sdk-version "$target" -F "$work/app.apk" >"$work/log" 2>&1 || { cat "$work/log"; fail "aapt makes no package of it"; }
# Android opens a descriptor on an asset only if it is stored.
python3 - "$work/app.apk" <<'END' || fail "assets are compressed"
import sys, zipfile
files = [file for file in zipfile.ZipFile(sys.argv[1]).infolist() if file.filename.startswith("assets/emoji-128/")]
packed = [file.filename for file in files if file.compress_type and file.filename.endswith((".safetensors", ".json", ".txt"))]
print(*packed, sep="\n", end="\n" if packed else "")
sys.exit(bool(packed) or len(files) < 10)
END
python3 "$here/manifest.py" "$main/AndroidManifest.xml" "$main/java" || fail "AndroidManifest.xml is not what the app needs"
# The check finds what would be wrong.
wrong() {
    sed "$2" "$main/AndroidManifest.xml" >"$work/wrong.xml"
    ! cmp -s "$main/AndroidManifest.xml" "$work/wrong.xml" || fail "nothing to edit for $1"
    ! python3 "$here/manifest.py" "$work/wrong.xml" "$main/java" >"$work/log" || fail "a manifest with $1 passes"
    grep -q "$3" "$work/log" || { cat "$work/log"; fail "a manifest with $1 is refused for another reason"; }
}
wrong "a permission more" 's/permission.WAKE_LOCK/permission.INTERNET/' 'nothing needs android.permission.INTERNET'
wrong "an exported service" '/DrawService/,/>/s/exported="false"/exported="true"/' 'DrawService: exported is true'
wrong "another kind of service" 's/="dataSync"/="location"/' 'foregroundServiceType is location'
wrong "another authority" 's/example.pictures/example.files/' 'know another authority'
aapt dump badging "$work/app.apk" >"$work/badging"
for line in "sdkVersion:'$minimum'" "targetSdkVersion:'$target'" "launchable-activity: name='$package.MainActivity'"; do
    grep -qF "$line" "$work/badging" || fail "the package does not say $line"
done
! grep -iE "permission.*(INTERNET|NETWORK)" "$work/badging" || fail "the app has to do with the network"

# ---- Java ----
sources=$(find "$source/bindings/java/src" "$source/bindings/java/android" "$main/java" "$work/generated" -name '*.java')
python3 "$here/newer_api.py" "$jar" "$here/newer_api.txt" "$work/newer"
javac -Xlint:all,-options -Werror --release 8 -encoding UTF-8 -cp "$work/newer:$jar" -d "$work/classes" $sources || fail "it does not compile"
# Each class that the manifest names is there.
for class in $(python3 "$here/manifest.py" --classes "$main/AndroidManifest.xml" "$package"); do
    [ -e "$work/classes/$(echo "$class" | tr . /).class" ] || fail "the manifest names $class, which is not there"
done
# Texts are in resources; none is there for nothing.
! grep -nE '(setText|setTitle|setHint|setContentDescription|setContentTitle|setContentText|makeText)\([^)]*"[A-Za-z]' -r "$main/java" ||
    fail "texts belong into resources (above)"
for name in $(sed -n 's/.*<string name="\([a-z_]*\)".*/\1/p' "$main/res/values/strings.xml"); do
    grep -rqE "R\.string\.$name\b|@string/$name\"" "$main/java" "$main/res" "$main/AndroidManifest.xml" || fail "nothing uses the text $name"
done
echo "android_example: $(echo "$sources" | wc -l) classes' files compile against $(echo "$jar" | sed "s,^$source/,,"), of newer levels $(grep -c '^[0-9]' "$here/newer_api.txt") members; the package has $(wc -c <"$work/app.apk") bytes without libraries"
