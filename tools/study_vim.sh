#!/bin/sh
# What PTQ4VM's parts are worth on the kind of network that they were made for: a Vision Mamba classifier in floating point and with static
# intervals, an interval for each token (PTS), PTS with smoothing, and both learned (JLSS), over several draws of the calibration pictures.
# Test pictures and those to draw from are varied (tools/vary-pictures.py: moved, turned, with noise), so that some are hard and a picture is
# a small step of top-1. Beside top-1, how far the answers are from floating point's: the KL divergence of the probabilities and the logits'
# signal over their quantization noise. Writes DIR/vim.md (and, between its markers, the file of -d). Needs python3, without packages.
#
#   tools/study_vim.sh -o DIR [options]
#     -o DIR     scratch folder
#     -m DIR     the model (models/vim-digits)
#     -c FILE    pictures to vary, and to calibrate and learn with (calibration.safetensors of the model)
#     -e FILE    pictures with labels to evaluate with (test.safetensors of the model)
#     -n N       how many of -c, varied, each seed draws (256)
#     -s N       seeds (5)
#     -b DIR     the programs sdcalib, sdquant, sdvim (build/bin)
#     -d FILE    document whose part between <!-- vim:begin --> and <!-- vim:end --> is replaced by the tables
#     -w LIST    bits of weights and activations ("w8a8 w6a6 w4a8 w4a4")
#     -W N       the value of white, where the pictures are bytes (16)
#     -l OPTIONS of sdquant beside --learn jlss ("")
set -eu
LC_ALL=C
export LC_ALL
root=$(cd "$(dirname "$0")/.." && pwd -P)
model=$root/models/vim-digits out= calibration= test= draw=256 seeds=5 bin=$root/build/bin docs= bits="w8a8 w6a6 w4a8 w4a4" white=16 learning=
fail() { echo "study_vim: $*" >&2; exit 1; }
say() { echo "study_vim: $(date +%H:%M:%S) $*" >&2; }
while getopts o:m:c:e:n:s:b:d:w:W:l:h option; do
    case $option in
    o) out=$OPTARG ;; m) model=$OPTARG ;; c) calibration=$OPTARG ;; e) test=$OPTARG ;; n) draw=$OPTARG ;; s) seeds=$OPTARG ;; b) bin=$OPTARG ;;
    d) docs=$OPTARG ;; w) bits=$OPTARG ;; W) white=$OPTARG ;; l) learning=$OPTARG ;;
    h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) exit 1 ;;
    esac
done
[ $# -lt $OPTIND ] || fail "unknown argument; -h explains"
[ "$out" ] || fail "needs -o DIR; -h explains"
calibration=${calibration:-$model/calibration.safetensors} test=${test:-$model/test.safetensors}
for file in "$calibration" "$test" "$model/config.json"; do [ -e "$file" ] || fail "$file is missing"; done
for program in sdcalib sdquant sdvim; do [ -x "$bin/$program" ] || fail "$bin/$program is missing: build it, or name its folder with -b"; done
[ -z "$docs" ] || { grep -q '^<!-- vim:begin -->' "$docs" && grep -q '^<!-- vim:end -->' "$docs"; } || fail "$docs has no line <!-- vim:begin --> followed by <!-- vim:end -->"
mkdir -p "$out" || fail "$out cannot be made"

# Prints RIGHT CROSS-ENTROPY SQNR KL of a model on NAME's pictures.
classify() { # MODEL NAME
    "$bin/sdvim" -q -m "$1" "$out/$2.safetensors" --backend cpu --against "$out/$2.npy" | tr '\n' ' ' |
        sed -n 's/.*top-1 \([0-9]*\) of [0-9]*,.*cross-entropy \([0-9.]*\).*SQNR \([-0-9.]*\) dB, KL divergence \([0-9.]*\),.*/\1 \2 \3 \4/p'
}
float() { # NAME
    "$bin/sdvim" -q -m "$model" "$out/$1.safetensors" --backend cpu --logits "$out/$1.npy" |
        sed -n 's/^top-1 \([0-9]*\) of \([0-9]*\),.*cross-entropy \([0-9.]*\).*/\1 \2 \3/p'
}
cp "$test" "$out/test.safetensors"
"$root/tools/vary-pictures.py" "$test" "$out/varied.safetensors" "$white"
echo "test $(float test)" >"$out/float"
echo "varied $(float varied)" >>"$out/float"
say "floating point, right of all, cross-entropy: $(tr '\n' ' ' <"$out/float")"
: >"$out/results"
run() { # METHOD BITS SEED OPTIONS..
    method=$1 b=$2 seed=$3
    shift 3
    rm -rf "$out/model"
    "$bin/sdquant" -q -m "$model" "$@" --seed "$seed" -o "$out/model"
    for name in test varied; do echo "$b $method $seed $name $(classify "$out/model" $name)" >>"$out/results"; done
}
collect() { # NAME OPTIONS..
    name=$1
    shift
    rm -f "$out/$name.safetensors"
    "$bin/sdcalib" collect -q -m "$model" --pictures "$out/drawn.safetensors" --backend cpu "$@" -o "$out/$name.safetensors"
}
for seed in $(seq 1 "$seeds"); do
    say "seed $seed"
    "$root/tools/vary-pictures.py" "$calibration" "$out/drawn.safetensors" "$white" "$draw" "$seed"
    collect plain
    collect relative --relative
    collect smooth --relative --smooth "$out/plain.safetensors"
    for b in $bits; do
        run static "$b" "$seed" --scheme "$b-static" --stats "$out/plain.safetensors"
        run squares "$b" "$seed" --scheme "$b-static" --error-power 2 --stats "$out/plain.safetensors"
        run alike "$b" "$seed" --scheme "$b-token" --stats "$out/plain.safetensors"
        run token "$b" "$seed" --scheme "$b-token" --stats "$out/relative.safetensors"
        run token+jlss "$b" "$seed" --scheme "$b-token" --stats "$out/relative.safetensors" --learn jlss --learn-pictures "$out/drawn.safetensors" $learning
        run smooth "$b" "$seed" --scheme "$b-token" --stats "$out/smooth.safetensors"
        run smooth+jlss "$b" "$seed" --scheme "$b-token" --stats "$out/smooth.safetensors" --learn jlss --learn-pictures "$out/drawn.safetensors" $learning
    done
done

awk -v seeds="$seeds" -v bits="$bits" -v draw="$draw" '
# Mean and standard deviation over the seeds of field f, times `by`.
function cell(method, f, by, digits,    k, mean, square) {
    mean = square = 0
    for (k = 1; k <= seeds; k++) mean += value[b[i], method, k, set, f] * by / seeds
    for (k = 1; k <= seeds; k++) square += (value[b[i], method, k, set, f] * by - mean) ^ 2
    return sprintf("%.*f +- %.*f", digits, mean, digits, seeds > 1 ? sqrt(square / (seeds - 1)) : 0)
}
function table(f, by, digits,    m) {
    printf "\n| intervals |"
    for (i = 1; i <= count; i++) printf " %s |", toupper(b[i])
    printf "\n| --- |"
    for (i = 1; i <= count; i++) printf " ---: |"
    for (m = 1; m <= all_methods; m++) {
        printf "\n| %s |", names[m]
        for (i = 1; i <= count; i++) printf " %s |", cell(methods[m], f, by, digits)
    }
    printf "\n"
}
# In how many seeds method x is better than y: in top-1, and nearer to floating point.
function wins(x, y,    k, top, near) {
    top = near = 0
    for (k = 1; k <= seeds; k++) {
        top += value[b[i], x, k, "varied", 5] > value[b[i], y, k, "varied", 5]
        near += value[b[i], x, k, "varied", 8] < value[b[i], y, k, "varied", 8]
    }
    return top ", " near
}
FILENAME ~ /float$/ { right[$1] = $2; all[$1] = $3; entropy[$1] = $4; next }
{ for (f = 5; f <= 8; f++) value[$1, $2, $3, $4, f] = $f }
END {
    all_methods = split("static squares alike token token+jlss smooth smooth+jlss", methods, " ")
    split("static per tensor|static, squares|PTS, all values alike|PTS|PTS, JLSS|PTS, smoothing|PTS, smoothing, JLSS", names, "|")
    count = split(bits, b, " ")
    set = "varied"
    printf "%d draws of %d calibration pictures, mean +- standard deviation. Top-1 of %d varied pictures in %%; floating point %.2f:\n", seeds, draw, all[set], 100 * right[set] / all[set]
    table(5, 100 / all[set], 2)
    printf "\nKL divergence from floating point'"'"'s probabilities on the same, in thousandths:\n"
    table(8, 1000, 2)
    printf "\nThe logits'"'"' SQNR on the same, dB:\n"
    table(7, 1, 1)
    set = "test"
    printf "\nTop-1 of the %d test pictures as they are in %%; floating point %.2f, a picture is %.2f:\n", all[set], 100 * right[set] / all[set], 100 / all[set]
    table(5, 100 / all[set], 2)
    printf "\nIn how many of the %d draws the first is better than the second in top-1, and nearer to floating point (KL), on the varied pictures:\n\n| |", seeds
    for (i = 1; i <= count; i++) printf " %s |", toupper(b[i])
    printf "\n| --- |"
    for (i = 1; i <= count; i++) printf " ---: |"
    pairs = split("token static|token squares|token alike|token+jlss token|smooth+jlss smooth|smooth+jlss token", pair, "|")
    split("PTS over static|PTS over static, squares|PTS over PTS, all values alike|JLSS over PTS|JLSS over PTS, smoothed|smoothing and JLSS over PTS", said, "|")
    for (p = 1; p <= pairs; p++) {
        split(pair[p], one, " ")
        printf "\n| %s |", said[p]
        for (i = 1; i <= count; i++) printf " %s |", wins(one[1], one[2])
    }
    printf "\n"
}' "$out/float" "$out/results" >"$out/vim.md"
cat "$out/vim.md"
if [ "$docs" ]; then
    awk -v table="$out/vim.md" '
    /^<!-- vim:end -->/ { inside = 0 }
    !inside { print }
    /^<!-- vim:begin -->/ { inside = 1; print ""; while ((getline line < table) > 0) print line; print "" }' "$docs" >"$out/document"
    cat "$out/document" >"$docs"
fi
