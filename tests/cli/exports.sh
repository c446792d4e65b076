#!/bin/sh
# exports.sh LIBRARY HEADERS: the shared library exports what the headers declare with SDG_API, and nothing else.
set -eu
declared=$(cat "$2"/*.h | tr '\n' ' ' | grep -o 'SDG_API [^;{]*' | sed 's/^SDG_API //; s/(.*//; s/.*[ *]//' | grep '^sdg_' | sort -u)
exported=$(nm -D --defined-only "$1" | awk '$3 !~ /^(_init|_fini|_end|_edata|__bss_start)$/ { print $3 }' | sort -u)
[ "$(printf '%s\n' "$declared" | wc -l)" -ge 10 ] || { echo "exports: the headers could not be read"; exit 1; }
if [ "$declared" != "$exported" ]; then
    printf '%s\n' "$declared" "$exported" "$exported" | sort | uniq -c | awk '$1 == 1 { print "exports: missing: " $2 } $1 == 2 { print "exports: should be hidden: " $2 }'
    exit 1
fi
echo "exports: $(printf '%s\n' "$exported" | wc -l) functions, as declared"
