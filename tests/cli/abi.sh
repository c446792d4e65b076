#!/bin/sh
# abi.sh LIBRARY SOURCE: the library's interface is the recorded one, and tools/check-abi finds a field, a value and a function more.
set -eu
library=$1 source=$2
"$source/tools/check-abi" "$library"
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/docs" "$home/tools"
cp "$source/tools/check-abi" "$home/tools"
cp "$source/docs/abi.txt" "$home/docs"

# expect WHAT PATTERN SED-EXPRESSION FILE: with FILE edited, the difference shows PATTERN.
expect() {
    rm -rf "$home/include"
    cp -r "$source/include" "$home/include"
    sed "$3" "$source/include/sdgen/$4" >"$home/include/sdgen/$4"
    ! cmp -s "$source/include/sdgen/$4" "$home/include/sdgen/$4" || { echo "abi: nothing to edit for $1"; exit 1; }
    if "$home/tools/check-abi" "$library" >"$home/log" 2>&1 || ! grep -qE "$2" "$home/log"; then
        cat "$home/log"
        echo "abi: $1 was not found"
        exit 1
    fi
}
expect "a field more" "^[+] +0 int depth" "s/^struct sdg_image {/&\n    int depth;/" sdgen.h
expect "another value" '^\+ +2 SDG_ERROR_USAGE' 's/SDG_ERROR_USAGE,/SDG_ERROR_USAGE = 2,/' result.h
expect "a function more" '^\+function void sdg_more\(void\)' 's/^SDG_API const char \*sdg_version/SDG_API void sdg_more(void);\n&/' sdgen.h
