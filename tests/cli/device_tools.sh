#!/bin/sh
# device_tools.sh TOOLS: tools/gpu-check and tools/test-drivers with programs that only pretend: which passes are made, that a part that
# fails, is killed or takes too long is said in the report while the others go on, and what the exit status is.
set -eu
tools=$1
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$home/bin"
cd "$home"
export HOME_OF_TEST="$home" # the programs are called from other folders
fail() { echo "device_tools: $*"; cat report out 2>/dev/null; exit 1; }
program() { cat >"bin/$1"; chmod +x "bin/$1"; }

# ---- test-drivers: every rung, without each, without all ----
program test_ops <<'C'
#!/bin/sh
[ "$*" != --list ] || { echo linear; echo slice; exit 0; }
echo "$*" >>"$HOME_OF_TEST/calls"
rungs="${RUNGS:-f16 subgroup dot}"
echo "backend vulkan: A device, Vulkan 1.3, f32 $rungs, subgroups of 8, 32 KiB shared memory"
echo "vulkan linear: 30 cases, 0 failures, 10 of a type it does not have, 7 left out; worst"
case "$*" in
*"--disable=dot "*) echo "FAILED  ops vulkan 'linear(type=f32': row 0"; echo "vulkan conv2d: 5 cases, 2 failures, 0 of"; exit 1 ;;
*--disable=f16*--only=slice*) [ ! -e "$HOME_OF_TEST/hang" ] || sleep 100 ;;
esac
C
for test in vulkan vulkan_kernels vulkan_integers vulkan_tiles vulkan_faults default_pictures; do
    program test_$test <<'C'
#!/bin/sh
echo "$(basename "$0") $*" >>"$HOME_OF_TEST/calls"
echo "[  PASSED  ] 8 test(s)."
echo "[  SKIPPED ] 2 test(s), listed below:"
C
done
status=0
"$tools/test-drivers" -b bin -d 3 -f linear here >out 2>&1 || status=$?
[ "$status" = 1 ] || fail "a pass failed, but the status is $status"
cat >want <<'C'
vulkan --device=3 --only=slice (type=f32,n=1
vulkan --device=3 linear
vulkan --device=3 --changed --disable=f16 linear
vulkan --device=3 --changed --disable=subgroup linear
vulkan --device=3 --changed --disable=dot linear
vulkan --device=3 --changed --disable=f16,subgroup,dot linear
vulkan --device=3 --changed --disable=lanes --least-part=16 --buffers=2 --weight-slices=1 --only=conv2d,linear,integers linear
vulkan --device=3 --changed --disable=lanes,coopmat --enable=pairs --weight-slices=1 --only=conv2d,linear linear
C
diff want calls >diff || { cat diff; fail "other passes than these"; }
grep -q 'every *20 cases, 0 failures, 7 as before$' out || fail "no line on the first pass"
grep -q 'without-dot *25 cases, 2 failures, 7 as before' out || fail "no line on the pass that failed"
grep -q "FAILED  ops vulkan 'linear" out || fail "not said what failed"
sed -i 's/"--disable=dot "\*)/never)/' bin/test_ops
"$tools/test-drivers" -b bin here >out 2>&1 || fail "all passed, but the status is not 0"
RUNGS="lanes coopmat" "$tools/test-drivers" -b bin here >out 2>&1 || fail "all passed, but the status is not 0"
grep -q '^  without-lanes-coopmat ' out || fail "what comes after lanes and matrices was not tested"
! "$tools/test-drivers" -b bin nonsense >out 2>&1 || fail "an unknown driver was taken"
SDG_DEBIAN13=$home/absent "$tools/test-drivers" -b bin debian13 >out 2>&1 || fail "what is not there is no failure"
grep -q '^skipped: debian13' out || fail "not said that it was left out"

# ... in parts: one that hangs is said and the others go on; what ended well is not run again
rm calls
touch hang
status=0
"$tools/test-drivers" -b bin -o kept -l 1 -p "every without-f16" here >out 2>&1 || status=$?
[ "$status" = 1 ] || fail "a part hung, but the status is $status"
cat >want <<'C'
vulkan --device=-1 --only=slice (type=f32,n=1
vulkan --device=-1 --only=linear --part=1/4
vulkan --device=-1 --only=slice --part=1/1
vulkan --device=-1 --only=linear --part=2/4
vulkan --device=-1 --only=linear --part=3/4
vulkan --device=-1 --only=linear --part=4/4
test_vulkan --device=-1
test_vulkan_kernels --device=-1
test_vulkan_integers --device=-1
test_vulkan_tiles --device=-1
test_vulkan_faults --device=-1
test_default_pictures vulkan
vulkan --device=-1 --changed --disable=f16 --only=linear --part=1/4
vulkan --device=-1 --changed --disable=f16 --only=slice --part=1/1
vulkan --device=-1 --changed --disable=f16 --only=linear --part=2/4
vulkan --device=-1 --changed --disable=f16 --only=linear --part=3/4
vulkan --device=-1 --changed --disable=f16 --only=linear --part=4/4
test_vulkan --device=-1 --disable=f16
test_vulkan_kernels --device=-1 --disable=f16
test_default_pictures vulkan f16
C
diff want calls >diff || { cat diff; fail "other parts than these"; }
grep -q 'every vulkan_tiles *8 tests, 0 failures, 2 skipped, [0-9]* s$' out || fail "no line on a test of the backend"
grep -q 'without-f16 slice-1 .*TOO LONG, [0-9]* s$' out || fail "not said that a part took too long"
rm calls hang
"$tools/test-drivers" -b bin -o kept -p "every without-f16" here >out 2>&1 || fail "all passed, but the status is not 0"
[ "$(cat calls)" = "$(sed -n '1p;/f16 --only=slice/p' want)" ] || { cat calls; fail "not only the part that took too long is run again"; }
[ "$(grep -c ' s$' out)" = 19 ] || fail "what was kept is not shown"

# ---- gpu-check ----
program sdgen <<'C'
#!/bin/sh
case "$*" in
--version) echo "sdgen 9" ;;
*) echo "cpu        A processor, cpu"
    echo "vulkan     A driver, software, Mesa [Vulkan 1.3]"
    echo "vulkan     A card, discrete gpu, driver [Vulkan 1.3]" ;;
esac
C
program sdbench <<'C'
#!/bin/sh
echo "$*" >>calls
case "$1" in
peaks) echo "f32 multiply-add 1.0 Gop/s" ;;
make) kill -9 $$ ;;
unet) sleep 100 ;;
vae) echo "vae done" ;;
esac
C
rm -f calls
status=0
"$tools/gpu-check" -b bin -o report -p "device peaks model vae" -w scratch >out 2>&1 || status=$?
[ "$status" = 1 ] || fail "a part failed, but the status is $status"
grep -q '^measured: vulkan:1 *A card, discrete gpu' report || fail "not the GPU was chosen"
grep -q '^peaks .* ok ' report && grep -q '^model .* FAILED ' report && grep -q '^vae .* ok ' report || fail "the summary is another"
grep -q '^(ended with status 137)' report || fail "not said that a part was killed"
grep -q 'vae done' report || fail "parts after the failed one were not run"
grep -q -- '--backend vulkan:1' calls || fail "another device was measured"
rm -f calls
status=0
"$tools/gpu-check" -b bin -o report -m 0 -p "device peaks" >out 2>&1 || status=$?
[ "$status" = 1 ] && grep -q '^peaks .*left out: no time' report || fail "no time, but it was not said"
"$tools/gpu-check" -b bin -o report -d 0 -p "device peaks" >out 2>&1 || fail "all is well, but the status is not 0"
grep -q '^measured: vulkan:0 *A driver' report || fail "not the device that was named"
for wrong in "-p nonsense" "-m x" "-d x" "-x y" "extra"; do
    ! "$tools/gpu-check" -b bin -o report $wrong >out 2>&1 || fail "'$wrong' was taken"
done
sed -i 's/sleep 100/sleep 100 \& exec sleep 100/' bin/sdbench
begin=$(date +%s)
"$tools/gpu-check" -l 6 -b bin -o report -p "f16 vae" >out 2>&1 && fail "a part took too long, but the status is 0"
[ $(($(date +%s) - begin)) -lt 60 ] || fail "a part that takes too long is not ended"
grep -q 'status 124: longer than 6 s' report && grep -q '^f16 .* FAILED ' report && grep -q '^vae .* ok ' report || fail "not said that a part took too long"
"$tools/gpu-check" -x 3 -l 2 -b bin -o report -p "f16 vae" >out 2>&1 && fail "-l does not hold with -x"
grep -q 'status 124: longer than 2 s' report || fail "-l is not what holds with -x"
"$tools/gpu-check" -m 0 -x 9 -b bin -o report -p vae >out 2>&1 && fail "no time is some with -x"
echo "device_tools: passed"
