#!/bin/sh
# exports.sh LIBRARY HEADERS: the shared library exports what the headers declare with SDG_API, by the names that they
# make the linker see, and nothing else.
set -eu
declared=$(for header in "$2"/*.h; do echo "#include \"$header\""; done | ${CC:-cc} -E -P -I "$2/.." - | tr '\n' ' ' |
    grep -o 'visibility("default")))[^;{]*' | sed 's/^[^)]*)*//; s/(.*//; s/.*[ *]//' | grep '^sdg_' | sort -u)
exported=$(nm -D --defined-only "$1" | awk '$3 !~ /^(_init|_fini|_end|_edata|__bss_start)$/ { print $3 }' | sort -u)
[ "$(printf '%s\n' "$declared" | wc -l)" -ge 10 ] || { echo "exports: the headers could not be read"; exit 1; }
if [ "$declared" != "$exported" ]; then
    printf '%s\n' "$declared" "$exported" "$exported" | sort | uniq -c | awk '$1 == 1 { print "exports: missing: " $2 } $1 == 2 { print "exports: should be hidden: " $2 }'
    exit 1
fi
printf '%s\n' "$exported" | grep -q '^sdg_pipeline_create_[0-9]*$' || { echo "exports: sdg_pipeline_create has no version"; exit 1; }
echo "exports: $(printf '%s\n' "$exported" | wc -l) functions, as declared"
