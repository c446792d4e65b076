#!/bin/sh
# prepare.sh PREPARE: what run.sh and test.sh do before they build: a failed fetch of oneDNN is remembered for a day, a new enough
# package of it is preferred, and output is shown of what fails only. No network, nothing is installed.
set -eu
prepare=$1
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/tree/tools" "$home/bin"
fail() { echo "prepare: $*"; cat "$home/log" 2>/dev/null; exit 1; }
with() { (root=$home/tree prepare_name=test PATH=$home/bin:$PATH; . "$prepare"; "$@") >"$home/log" 2>&1; }

cat >"$home/tree/tools/get-onednn" <<'C'
#!/bin/sh
[ "${1:-}" != --have ] || exit 1
echo asked
exit 1
C
chmod +x "$home/tree/tools/get-onednn"
with prepare_onednn
grep -q asked "$home/log" || fail "oneDNN was not asked for"
with prepare_onednn
! grep -q asked "$home/log" || fail "oneDNN was asked for again at once"
grep -q 'fetching it failed at 20' "$home/log" || fail "no word on the failure"
touch -d '2 days ago' "$home/tree/build/deps/onednn.failed"
with prepare_onednn
grep -q asked "$home/log" || fail "oneDNN was not asked for after a day"

if command -v dpkg >/dev/null; then
    for version in 2.6.3-1 3.7.2+ds-1 '(none)'; do
        printf '#!/bin/sh\necho "libdnnl-dev:"\necho "  Installed: (none)"\necho "  Candidate: %s"\n' "$version" >"$home/bin/apt-cache"
        chmod +x "$home/bin/apt-cache"
        taken=no
        ! with prepare_has onednn - || taken=not
        [ "$version $taken" = "3.7.2+ds-1 no" ] || [ "$taken" = not ] || fail "libdnnl-dev $version was wanted"
        [ "$version $taken" != "3.7.2+ds-1 not" ] || fail "libdnnl-dev $version was not wanted"
    done
fi

with prepare_quietly working "$home/out" sh -c 'echo progress'
[ ! -s "$home/log" ] || fail "something was said"
! with prepare_quietly working "$home/out" sh -c 'echo the reason; exit 3' || fail "a failure was none"
grep -q 'the reason' "$home/log" || fail "the reason was not shown"
echo "prepare: oneDNN asked for once a day"
