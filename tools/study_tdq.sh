#!/bin/sh
# What intervals that depend on the denoising step are worth, measured on one model: every scheme W8, W4 x A8, A6, A5, A4 x static, table,
# tdq, dynamic against full precision on equal prompts and noise, with and without the sampler's correction; then other numbers of steps and
# another sampler than the calibrated one. Writes DIR/tables.md (and, between its markers, the file of --docs) and DIR/*.json.
#
#   tools/study_tdq.sh -s STATISTICS -o DIR [options]
#     -s FILE    statistics of the model (sdcalib collect)
#     -o DIR     scratch folder; what is in it already is not made again (another one for another model, statistics or type)
#     -m DIR     the model (models/emoji-128)
#     -p FILE    prompts to evaluate with (eval_prompts.txt of the model); none of them may be among the calibration prompts
#     -c FILE    prompts to measure the correction with (calibration_prompts.txt of the model)
#     -n N       how many to evaluate with (32)
#     -k N       how many to measure the correction with (8)
#     -b DIR     the programs sdquant, sdeval, sdcalib (build/bin)
#     -d FILE    document whose part between <!-- study:begin --> and <!-- study:end --> is replaced by the tables
#     -t TYPE    arithmetic of what is not quantized (f32)
#     -w BITS    of weights ("8 4")
#     -a BITS    of activations ("8 6 5 4")
set -eu
LC_ALL=C
export LC_ALL
root=$(cd "$(dirname "$0")/.." && pwd -P)
model=$root/models/emoji-128 statistics= out= prompts= calibration= count=32 correct=8 bin=$root/build/bin docs= type=f32
weights="8 4" activations="8 6 5 4"
fail() { echo "study_tdq: $*" >&2; exit 1; }
say() { echo "study_tdq: $(date +%H:%M:%S) $*" >&2; }
while getopts s:o:m:p:c:n:k:b:d:t:w:a:h option; do
    case $option in
    s) statistics=$OPTARG ;; o) out=$OPTARG ;; m) model=$OPTARG ;; p) prompts=$OPTARG ;; c) calibration=$OPTARG ;; n) count=$OPTARG ;; k) correct=$OPTARG ;;
    b) bin=$OPTARG ;; d) docs=$OPTARG ;; t) type=$OPTARG ;; w) weights=$OPTARG ;; a) activations=$OPTARG ;;
    h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) exit 1 ;;
    esac
done
[ $# -lt $OPTIND ] || fail "unknown argument; -h explains"
[ "$statistics" ] && [ "$out" ] || fail "needs -s STATISTICS and -o DIR; -h explains"
prompts=${prompts:-$model/eval_prompts.txt} calibration=${calibration:-$model/calibration_prompts.txt}
for file in "$statistics" "$prompts" "$calibration" "$model/unet/config.json"; do [ -e "$file" ] || fail "$file is missing"; done
for program in sdquant sdeval sdcalib; do [ -x "$bin/$program" ] || fail "$bin/$program is missing: build it, or name its folder with -b"; done
[ -z "$docs" ] || { grep -q '^<!-- study:begin -->' "$docs" && grep -q '^<!-- study:end -->' "$docs"; } || fail "$docs has no line <!-- study:begin --> followed by <!-- study:end -->"
same=$(tr -d '\r' <"$calibration" | grep -v '^$' | grep -cxFf - "$prompts" || true)
[ "$same" = 0 ] || fail "$same prompts of $prompts are among the calibration prompts"
mkdir -p "$out/models" || fail "$out cannot be made"
model=$(cd "$model" && pwd -P) out=$(cd "$out" && pwd -P)

rules="static table tdq dynamic" steps=20 guidance=5
fewer=$(echo "$activations" | tr ' ' '\n' | sed -n '/[68]/p' | tr '\n' ' ') # bits that are worth looking at in other settings

# ---- models ----

# Folders appear complete under their names, with their correction.
make_model() { # SCHEME
    [ -d "$out/models/$1" ] && return
    say "quantizing $1"
    "$bin/sdquant" -q -m "$model" --stats "$statistics" --scheme "$1" --delta --force -o "$out/models/$1.part" \
        --correct "$calibration" --correct-prompts "$correct" --correct-steps $steps --cfg-scale $guidance
    mv "$out/models/$1.part" "$out/models/$1"
}
for w in $weights; do
    for a in $activations; do
        for rule in $rules; do make_model "w${w}a$a-$rule"; done
    done
done

# ---- evaluations ----

# Each model twice: NAME without correction, NAME+c with it. NAME has no spaces, so the printed table can be read by column.
evaluated() { # NAME BITS
    [ -s "$out/$1.json" ] && grep -qs "^$count pictures " "$out/$1.txt" || return 1
    for a in $2; do
        for rule in $rules; do grep -q "^w${w}a$a-$rule+c " "$out/$1.txt" || return 1; done
    done
}
evaluate() { # NAME BITS SDEVAL-OPTIONS..
    name=$1 bits=$2
    shift 2
    if evaluated "$name" "$bits"; then return; fi
    say "evaluating $name"
    set -- -m "$model" "$@" --prompts "$prompts" --limit "$count" --cfg-scale $guidance --type "$type" --site-runs 4 --json "$out/$name.json.part"
    first=-M
    for a in $bits; do
        for rule in $rules; do
            scheme=w${w}a$a-$rule
            set -- "$@" $first "$out/models/$scheme,correction=off,name=$scheme"
            first=
            set -- "$@" "$out/models/$scheme,name=$scheme+c"
        done
    done
    "$bin/sdeval" -q "$@" >"$out/$name.txt.part"
    mv "$out/$name.json.part" "$out/$name.json"
    mv "$out/$name.txt.part" "$out/$name.txt"
}
for w in $weights; do
    evaluate "w$w-ddim20" "$activations" --sampling-method ddim --scheduler model --steps 20
    evaluate "w$w-ddim10" "$fewer" --sampling-method ddim --scheduler model --steps 10
    evaluate "w$w-ddim50" "$fewer" --sampling-method ddim --scheduler model --steps 50
    evaluate "w$w-dpmpp2m" "$fewer" --sampling-method dpm++2m --scheduler karras --steps 20
done

# ---- tables ----

# The lines of a printed table of models, and what stands in them by model: name scheme output SQNR mean MSE PSNR SSIM ms ...; below it
# the outputs by timestep.
cat >"$out/read.awk" <<'AWK'
function note(setting, file,    line, field, n, part, i) {
    while ((getline line < file) > 0) {
        n = split(line, field, " ")
        part = field[1] == "model" ? 1 : field[1] == "SQNR" ? 2 : field[1] == "sites," ? 3 : field[1] == "output" ? 4 : n ? part : 0
        if (part == 1 && n >= 11 && field[1] ~ /^w[0-9]/) {
            output[setting, field[1]] = field[3]; sqnr[setting, field[1]] = field[4]; mean[setting, field[1]] = field[5]
            mse[setting, field[1]] = field[6]; psnr[setting, field[1]] = field[7]; ssim[setting, field[1]] = field[8]
        }
        if (part == 4 && field[1] == "output") {
            for (i = 6; i <= n; i++) times[i - 5] = field[i]
            columns = n - 5
        }
        if (part == 4 && field[1] ~ /^w[0-9]/) for (i = 2; i <= n; i++) at[setting, field[1], i - 1] = field[i]
        if (part == 3 && field[1] ~ /^w[0-9]/) site[setting, field[1]] = field[2]
    }
    close(file)
}
function schemes(a) { split("static table tdq dynamic", rules, " "); return split(a, bits, " ") } # fills bits and rules
function ratio(setting, model, base) { return mse[setting, base] > 0 ? sprintf("%.2f", mse[setting, model] / mse[setting, base]) : "-" }
AWK

# One table of all schemes at the calibrated sampler and 20 steps.
main_table() { # WEIGHT-BITS
    printf '\n### W%s, 20 DDIM steps\n\n' "$1"
    awk -v w="$1" -v a="$activations" -v file="$out/w$1-ddim20.txt" "$(cat "$out/read.awk")"'
    BEGIN {
        note(1, file)
        count = schemes(a)
        print "SQNR in dB: of the sites (mean), of the outputs on full precision\047s latents (mean over t), of all final latents together, mean over the pictures; MSE of the latents, also as a share of that of static.\n"
        print "| scheme | sites | outputs | latents | mean | MSE | / static | PSNR | SSIM | corrected: latents | mean | / static | PSNR | SSIM |"
        print "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for (b = 1; b <= count; b++) for (r = 1; r <= 4; r++) {
            a = "w" w "a" bits[b] "-"; m = a rules[r]; c = m "+c"
            printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", m, site[1, m], output[1, m], sqnr[1, m], mean[1, m], mse[1, m], ratio(1, m, a "static"), psnr[1, m], ssim[1, m], sqnr[1, c], mean[1, c], ratio(1, c, a "static+c"), psnr[1, c], ssim[1, c]
        }
    }'
}

# What the networks answer to full precision's latents, by timestep.
output_table() { # WEIGHT-BITS
    printf '\n### W%s, outputs by timestep\n\n' "$1"
    awk -v w="$1" -v a="$activations" -v file="$out/w$1-ddim20.txt" "$(cat "$out/read.awk")"'
    BEGIN {
        note(1, file)
        count = schemes(a)
        print "SQNR in dB of the UNet\047s outputs on full precision\047s latents (errors of single steps), uncorrected; 4 pictures, 20 DDIM steps.\n"
        line = "| scheme |"; rule = "| --- |"
        for (k = 1; k <= columns; k++) { line = line " t = " times[k] " |"; rule = rule " ---: |" }
        print line " mean over all t |"; print rule " ---: |"
        for (b = 1; b <= count; b++) for (r = 1; r <= 4; r++) {
            m = "w" w "a" bits[b] "-" rules[r]; line = "| " m " |"
            for (k = 1; k <= columns; k++) line = line " " at[1, m, k] " |"
            print line " " output[1, m] " |"
        }
    }'
}

# The same schemes at other steps and another sampler.
other_table() { # WEIGHT-BITS
    printf '\n### W%s, other steps, another sampler\n\n' "$1"
    awk -v w="$1" -v a="$fewer" -v out="$out" "$(cat "$out/read.awk")"'
    BEGIN {
        count = split("ddim10 ddim20 ddim50 dpmpp2m", settings, " ")
        for (i = 1; i <= count; i++) note(i, out "/w" w "-" settings[i] ".txt")
        kinds = schemes(a)
        print "SQNR in dB of the outputs on full precision\047s latents; PSNR of the pictures and, in parentheses, their latent SQNR (means), uncorrected and corrected.\n"
        names = " DDIM 10 | DDIM 20 | DDIM 50 | DPM++ 2M Karras 20 |"
        print "| scheme | outputs:" names " pictures:" names " corrected:" names
        print "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for (b = 1; b <= kinds; b++) for (r = 1; r <= 4; r++) {
            a = "w" w "a" bits[b] "-"; line = "| " a rules[r] " |"
            for (i = 1; i <= count; i++) line = line " " output[i, a rules[r]] " |"
            for (k = 0; k < 2; k++) for (i = 1; i <= count; i++) {
                m = a rules[r] (k ? "+c" : "")
                line = line sprintf(" %s (%s) |", psnr[i, m], mean[i, m])
            }
            print line
        }
    }'
}

{
    echo "<!-- made by tools/study_tdq.sh -->"
    echo
    echo "$(basename "$model"), $count prompts, guidance $guidance, $type beside the integers; correction measured on $correct calibration prompts at $steps DDIM steps."
    echo
    echo "Calibrated: $("$bin/sdcalib" show "$statistics" | tail -n 1)."
    for w in $weights; do main_table "$w"; done
    for w in $weights; do output_table "$w"; done
    for w in $weights; do other_table "$w"; done
} >"$out/tables.md.part"
mv "$out/tables.md.part" "$out/tables.md"
rm -f "$out/read.awk"
if [ "$docs" ]; then
    awk -v tables="$out/tables.md" '
        /^<!-- study:end -->/ { inside = 0 }
        !inside { print }
        /^<!-- study:begin -->/ { inside = 1; while ((getline line < tables) > 0) print line }' "$docs" >"$docs.part"
    mv "$docs.part" "$docs"
    say "$docs is up to date"
fi
say "$out/tables.md"
