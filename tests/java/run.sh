#!/bin/sh
# run.sh JAVA JAR CLASSES LIBRARY SOURCE SDGEN: SdgenTest on a virtual machine that checks each use of JNI. Nothing that it complains
# of is passed over: its warnings fail the test as errors do.
set -eu
java=$1 jar=$2 classes=$3 library=$4 source=$5 sdgen=$6
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
options=-Xcheck:jni
# Versions from 24 on warn of native code that was not asked for.
! "$java" --enable-native-access=ALL-UNNAMED -version >/dev/null 2>&1 || ! "$java" -version 2>&1 | grep -q 'version "\(2[2-9]\|[3-9][0-9]\)' ||
    options="$options --enable-native-access=ALL-UNNAMED"
status=0
"$java" $options -Xmx256m -Dorg.sdgen.library="$library" -cp "$jar:$classes" SdgenTest "$source" "$sdgen" "$home" >"$home/log" 2>&1 || status=$?
cat "$home/log"
! grep -E 'WARNING|FATAL' "$home/log" || { echo "java: the virtual machine complains (above)"; exit 1; }
grep -qx 'all passed' "$home/log"
exit $status
