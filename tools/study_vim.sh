#!/bin/sh
# What PTQ4VM's parts are worth on the kind of network that they were made for: top-1 of a Vision Mamba classifier in floating point and with
# static intervals, an interval for each token (PTS), PTS with smoothing, and both learned (JLSS), over several draws of the calibration
# pictures. Beside top-1, the logits' signal over their quantization noise, which does not end where all pictures are right. Writes
# DIR/vim.md (and, between its markers, the file of -d).
#
#   tools/study_vim.sh -o DIR [options]
#     -o DIR     scratch folder
#     -m DIR     the model (models/vim-digits)
#     -c FILE    pictures to calibrate and learn with (calibration.safetensors of the model)
#     -e FILE    pictures with labels to evaluate with (test.safetensors of the model)
#     -n N       how many of -c each seed draws for the statistics (128); learned from are all of them
#     -s N       seeds (5)
#     -b DIR     the programs sdcalib, sdquant, sdvim (build/bin)
#     -d FILE    document whose part between <!-- vim:begin --> and <!-- vim:end --> is replaced by the table
#     -w LIST    bits of weights and activations ("w8a8 w6a6 w4a8 w4a4")
set -eu
LC_ALL=C
export LC_ALL
root=$(cd "$(dirname "$0")/.." && pwd -P)
model=$root/models/vim-digits out= calibration= test= draw=128 seeds=5 bin=$root/build/bin docs= bits="w8a8 w6a6 w4a8 w4a4"
fail() { echo "study_vim: $*" >&2; exit 1; }
say() { echo "study_vim: $(date +%H:%M:%S) $*" >&2; }
while getopts o:m:c:e:n:s:b:d:w:h option; do
    case $option in
    o) out=$OPTARG ;; m) model=$OPTARG ;; c) calibration=$OPTARG ;; e) test=$OPTARG ;; n) draw=$OPTARG ;; s) seeds=$OPTARG ;; b) bin=$OPTARG ;;
    d) docs=$OPTARG ;; w) bits=$OPTARG ;;
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

# Prints "RIGHT ALL", and writes the logits of all pictures, one a line.
classify() { # MODEL NAME
    "$bin/sdvim" -q -m "$1" "$test" --backend cpu --logits "$out/$2.npy" | sed -n 's/^top-1 \([0-9]*\) of \([0-9]*\),.*/\1 \2/p'
    # f32, little-endian, behind a header of a multiple of 64 bytes that ends with a line end
    tail -c +"$(($(head -c 10 "$out/$2.npy" | od -An -tu2 -j8 -N2) + 11))" "$out/$2.npy" | od -An -v -tf4 -w4 >"$out/$2.txt"
}
# Decibels of the second file's numbers over their distance to the first's.
decibels() { paste "$out/$1.txt" "$out/$2.txt" | awk '{ s += $1 * $1; n += ($1 - $2) ^ 2 } END { printf "%.2f", (n > 0 ? 10 * log(s / n) / log(10) : 200) }'; }

float=$(classify "$model" float) all=${float#* } right=${float% *}
say "floating point: $right of $all"
: >"$out/results"
run() { # METHOD BITS SEED OPTIONS..
    method=$1 b=$2 seed=$3
    shift 3
    rm -rf "$out/model"
    "$bin/sdquant" -q -m "$model" "$@" --seed "$seed" -o "$out/model"
    r=$(classify "$out/model" quantized)
    echo "$b $method $seed ${r% *} $(decibels float quantized)" >>"$out/results"
}
for seed in $(seq 1 "$seeds"); do
    say "seed $seed"
    rm -f "$out/plain.safetensors" "$out/smooth.safetensors"
    "$bin/sdcalib" collect -q -m "$model" --pictures "$calibration" --limit "$draw" --seed "$seed" --backend cpu -o "$out/plain.safetensors"
    "$bin/sdcalib" collect -q -m "$model" --pictures "$calibration" --limit "$draw" --seed "$seed" --backend cpu --smooth "$out/plain.safetensors" \
        -o "$out/smooth.safetensors"
    for b in $bits; do
        run static "$b" "$seed" --scheme "$b-static" --stats "$out/plain.safetensors"
        run token "$b" "$seed" --scheme "$b-token" --stats "$out/plain.safetensors"
        run token+jlss "$b" "$seed" --scheme "$b-token" --stats "$out/plain.safetensors" --learn jlss --learn-pictures "$calibration"
        run smooth "$b" "$seed" --scheme "$b-token" --stats "$out/smooth.safetensors"
        run smooth+jlss "$b" "$seed" --scheme "$b-token" --stats "$out/smooth.safetensors" --learn jlss --learn-pictures "$calibration"
    done
done

awk -v all="$all" -v right="$right" -v seeds="$seeds" -v bits="$bits" '
{ key = $1 " " $2; n[key]++; sum[key] += $4; square[key] += $4 * $4; db[key] += $5 }
END {
    split("static token token+jlss smooth smooth+jlss", methods, " ")
    split("static per tensor|PTS|PTS, JLSS|PTS, smoothing|PTS, smoothing, JLSS", names, "|")
    printf "Floating point: %d of %d pictures right, %.2f %%. Mean of %d draws, +- their standard deviation; in brackets the logits'"'"' SQNR in dB.\n\n", right, all, 100 * right / all, seeds
    count = split(bits, b, " ")
    printf "| intervals |"
    for (i = 1; i <= count; i++) printf " %s |", toupper(b[i])
    printf "\n|---|"
    for (i = 1; i <= count; i++) printf "---|"
    for (m = 1; m <= 5; m++) {
        printf "\n| %s |", names[m]
        for (i = 1; i <= count; i++) {
            key = b[i] " " methods[m]
            mean = sum[key] / n[key]
            variance = n[key] > 1 ? (square[key] - n[key] * mean * mean) / (n[key] - 1) : 0
            printf " %.2f +- %.2f %% (%.1f) |", 100 * mean / all, 100 * sqrt(variance > 0 ? variance : 0) / all, db[key] / n[key]
        }
    }
    printf "\n"
}' "$out/results" >"$out/vim.md"
cat "$out/vim.md"
if [ "$docs" ]; then
    awk -v table="$out/vim.md" '
    /^<!-- vim:end -->/ { inside = 0 }
    !inside { print }
    /^<!-- vim:begin -->/ { inside = 1; print ""; while ((getline line < table) > 0) print line; print "" }' "$docs" >"$out/document"
    cat "$out/document" >"$docs"
fi
