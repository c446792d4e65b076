#!/bin/sh
# exports.sh LIBRARY HEADERS: the shared library exports what the headers declare with SDG_API, by the names that they
# make the linker see, and nothing else. A function that takes or fills structs without a handle has the version of the
# structs in its name (sdgen.h, SDG_API_VERSION), no other has.
set -eu
functions=$(for header in "$2"/*.h; do echo "#include \"$header\""; done | ${CC:-cc} -E -P -I "$2/.." - | tr '\n' ' ' |
    grep -o 'visibility("default")))[^;{]*' | sed 's/^[^)]*)*//' | grep '[ *]sdg_[a-z0-9_]*(')
declared=$(printf '%s\n' "$functions" | sed 's/(.*//; s/.*[ *]//' | sort -u)
exported=$(nm -D --defined-only "$1" | awk '$3 !~ /^(_init|_fini|_end|_edata|__bss_start)$/ { print $3 }' | sort -u)
[ "$(printf '%s\n' "$declared" | wc -l)" -ge 10 ] || { echo "exports: the headers could not be read"; exit 1; }
if [ "$declared" != "$exported" ]; then
    printf '%s\n' "$declared" "$exported" "$exported" | sort | uniq -c | awk '$1 == 1 { print "exports: missing: " $2 } $1 == 2 { print "exports: should be hidden: " $2 }'
    exit 1
fi
printf '%s\n' "$functions" | awk '{
    name = arguments = $0
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    sub(/^[^(]*\(/, "", arguments)
    handle = arguments ~ /^(const )?struct sdg_(pipeline|bench|classifier|engine) \*/
    wanted = arguments ~ /struct sdg_/ && !handle && name !~ /_destroy$/
    if (wanted == (name ~ /_[0-9]+$/)) next
    print "exports: " name (wanted ? " should have" : " should not have") " the version of the structs in its name"
    bad = 1
} END { exit bad }'
echo "exports: $(printf '%s\n' "$exported" | wc -l) functions, as declared"
