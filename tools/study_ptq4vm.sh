#!/bin/sh
# What intervals by token, by denoising step and by both are worth in a UNet with Mamba blocks, and what its scans cost beside attention:
# every rule at several bits, with and without smoothing, 4-bit weights also by GPTQ, in the Mamba blocks alone and in the whole UNet; the attention model on equal
# prompts; codes into the scans, a Hadamard transform, learning over several seeds; time and memory at four sizes. Writes DIR/tables.md (and,
# between its markers, the file of -d, beside it a drawing FILE-tokens.svg), DIR/*.json, DIR/*.html (sdeval's reports) and DIR/*.txt, which
# the tables are made of.
#
#   tools/study_ptq4vm.sh -o DIR [options]
#     -o DIR     scratch folder; what is in it already is not made again (another one for another model or other sizes)
#     -m DIR     the model with Mamba blocks (models/emoji-128-mamba)
#     -a DIR     the attention model that it is compared with (models/emoji-128)
#     -p FILE    prompts to evaluate with (eval_prompts.txt of the attention model); none of them may be among the calibration prompts
#     -c FILE    prompts to calibrate and learn with (calibration_prompts.txt of the attention model)
#     -n N       pictures to evaluate with (4)
#     -k N       prompts to calibrate with (64), at 20 DDIM steps
#     -l N       prompts to learn with (8)
#     -u N       updates of each block (50)
#     -s LIST    seeds of learning ("0 1 2")
#     -w LIST    bits of weights and activations ("w8a8 w6a6 w4a8 w4a4")
#     -x LIST    parts to run ("blocks whole options learned time"); the tables show what is in DIR
#     -t CMD     what comes before a timed command ("")
#     -b DIR     the programs sdcalib, sdquant, sdeval, sdbench (build/bin)
#     -d FILE    document whose part between <!-- study:begin --> and <!-- study:end --> is replaced by the tables
set -eu
LC_ALL=C
export LC_ALL
root=$(cd "$(dirname "$0")/.." && pwd -P)
model=$root/models/emoji-128-mamba attention=$root/models/emoji-128 out= prompts= calibration= count=4 calibrate=64 lessons=8 updates=50 seeds="0 1 2"
bits="w8a8 w6a6 w4a8 w4a4" parts="blocks whole options learned time" timed= bin=$root/build/bin docs=
fail() { echo "study_ptq4vm: $*" >&2; exit 1; }
say() { echo "study_ptq4vm: $(date +%H:%M:%S) $*" >&2; }
while getopts o:m:a:p:c:n:k:l:u:s:w:x:t:b:d:h option; do
    case $option in
    o) out=$OPTARG ;; m) model=$OPTARG ;; a) attention=$OPTARG ;; p) prompts=$OPTARG ;; c) calibration=$OPTARG ;; n) count=$OPTARG ;; k) calibrate=$OPTARG ;;
    l) lessons=$OPTARG ;; u) updates=$OPTARG ;; s) seeds=$OPTARG ;; w) bits=$OPTARG ;; x) parts=$OPTARG ;; t) timed=$OPTARG ;; b) bin=$OPTARG ;; d) docs=$OPTARG ;;
    h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) exit 1 ;;
    esac
done
[ $# -lt $OPTIND ] || fail "unknown argument; -h explains"
[ "$out" ] || fail "needs -o DIR; -h explains"
prompts=${prompts:-$attention/eval_prompts.txt} calibration=${calibration:-$attention/calibration_prompts.txt}
for file in "$prompts" "$calibration" "$model/unet/config.json" "$attention/unet/config.json"; do [ -e "$file" ] || fail "$file is missing"; done
for program in sdcalib sdquant sdeval sdbench; do [ -x "$bin/$program" ] || fail "$bin/$program is missing: build it, or name its folder with -b"; done
[ -z "$docs" ] || { grep -q '^<!-- study:begin -->' "$docs" && grep -q '^<!-- study:end -->' "$docs"; } || fail "$docs has no line <!-- study:begin --> followed by <!-- study:end -->"
same=$(tr -d '\r' <"$calibration" | grep -v '^$' | grep -cxFf - "$prompts" || true)
[ "$same" = 0 ] || fail "$same prompts of $prompts are among the calibration prompts"
mkdir -p "$out/models" || fail "$out cannot be made"
model=$(cd "$model" && pwd -P) attention=$(cd "$attention" && pwd -P) out=$(cd "$out" && pwd -P)

steps=20 guidance=5                        # of the calibration; evaluated are every second of these timesteps
rules="static token tdq tdq-token table table-token dynamic"
others='resnets|attn2|\.ff\.|proj_in|proj_out|samplers' # all that could be quantized outside Mamba blocks
wanted() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# ---- pieces ----

# NAME.st: statistics of a model.
collect() { # NAME MODEL OPTIONS..
    [ -e "$out/$1.st" ] && return
    say "calibrating $1"
    name=$1 of=$2
    shift 2
    rm -f "$out/$name.part.st"
    "$bin/sdcalib" collect -q -m "$of" --backend cpu --prompts "$calibration" --limit "$calibrate" --steps $steps --cfg-scale $guidance "$@" -o "$out/$name.part.st"
    mv "$out/$name.part.st" "$out/$name.st"
}
# Folders appear complete under their names.
quantize() { # NAME MODEL STATISTICS SCHEME OPTIONS..
    [ -d "$out/models/$1" ] && return
    say "quantizing $1"
    name=$1 of=$2 stats=$3 scheme=$4
    shift 4
    "$bin/sdquant" -q -m "$of" --stats "$out/$stats.st" --scheme "$scheme" --delta --force "$@" -o "$out/models/$name.part"
    mv "$out/models/$name.part" "$out/models/$name"
}
# NAME.txt, NAME.json, NAME.html: single steps and pictures of models beside their float model's.
evaluate() { # NAME REFERENCE MODEL..
    [ -s "$out/$1.txt" ] && return
    say "evaluating $1"
    name=$1 of=$2
    shift 2
    for m in "$@"; do
        shift
        set -- "$@" "$out/models/$m,name=$m"
    done
    "$bin/sdeval" -q -m "$of" -M "$@" --backend cpu --prompts "$prompts" --limit "$count" --site-runs "$count" --pictures 0 --cfg-scale $guidance \
        --sampling-method ddim --scheduler model --steps $((steps / 2)) --json "$out/$name.json" --report "$out/$name.html" >"$out/$name.part"
    mv "$out/$name.part" "$out/$name.txt"
}

# ---- what is made and measured ----

statistics() {
    collect plain "$model" --hessians "$out/plain.hessians"
    collect smooth "$model" --smooth "$out/plain.st"
}
# Only the Mamba blocks in integers: the rest would drown what their rules differ by. Names end in +s where sites are smoothed, in +g with GPTQ.
blocks() {
    statistics
    for b in $bits; do
        set --
        for rule in $rules; do
            quantize "blocks-$b-$rule" "$model" plain "$b-$rule" --skip "$others"
            quantize "blocks-$b-$rule+s" "$model" smooth "$b-$rule" --skip "$others"
            set -- "$@" "blocks-$b-$rule" "blocks-$b-$rule+s"
            case $b in w4*) ;; *) continue ;; esac
            quantize "blocks-$b-$rule+g" "$model" plain "$b-$rule" --skip "$others" --gptq --hessians "$out/plain.hessians"
            set -- "$@" "blocks-$b-$rule+g"
        done
        evaluate "blocks-$b" "$model" "$@"
    done
}
# All of the UNet, beside the attention model.
whole() {
    statistics
    collect attention "$attention"
    for b in $bits; do
        for rule in static tdq dynamic; do quantize "attention-$b-$rule" "$attention" attention "$b-$rule"; done
        evaluate "attention-$b" "$attention" "attention-$b-static" "attention-$b-tdq" "attention-$b-dynamic"
        for rule in $rules; do quantize "whole-$b-$rule" "$model" plain "$b-$rule"; done
        for rule in token tdq-token; do quantize "whole-$b-$rule+s" "$model" smooth "$b-$rule"; done
        evaluate "whole-$b" "$model" "whole-$b-static" "whole-$b-token" "whole-$b-token+s" "whole-$b-tdq" "whole-$b-tdq-token" "whole-$b-tdq-token+s" "whole-$b-table" \
            "whole-$b-table-token" "whole-$b-dynamic"
    done
}
# Codes into the scans, and a Hadamard transform before out_proj, folded into its weights: with it the model is another one to calibrate.
options() {
    collect plain "$model" --hessians "$out/plain.hessians"
    [ -d "$out/models/rotated" ] || "$bin/sdquant" -q -m "$model" --hadamard --force -o "$out/models/rotated"
    collect rotated "$out/models/rotated"
    collect rotated-smooth "$out/models/rotated" --smooth "$out/rotated.st"
    for b in $bits; do
        printf '{"scheme": "%s-tdq-token", "skip": ["%s"], "scan_codes": true}\n' "$b" "$(echo "$others" | sed 's/\\/&&/g')" >"$out/scan-$b.json"
        quantize "options-$b-tdq-token" "$model" plain "$b-tdq-token" --skip "$others"
        quantize "options-$b-scan-codes" "$model" plain "$out/scan-$b.json"
        quantize "options-$b-hadamard" "$out/models/rotated" rotated "$b-tdq-token" --skip "$others"
        quantize "options-$b-hadamard+s" "$out/models/rotated" rotated-smooth "$b-tdq-token" --skip "$others"
        evaluate "options-$b" "$model" "options-$b-tdq-token" "options-$b-scan-codes" "options-$b-hadamard" "options-$b-hadamard+s"
    done
}
# Learned from the same start with several seeds. The start is blocks' own model.
learned() {
    statistics
    for b in $bits; do
        case $b in w4*) ;; *) continue ;; esac
        set -- "blocks-$b-tdq-token+s"
        quantize "$1" "$model" smooth "$b-tdq-token" --skip "$others"
        for seed in $seeds; do
            quantize "learned-$b-$seed" "$model" smooth "$b-tdq-token" --skip "$others" --learn jlss --learn-prompts "$calibration" --learn-limit "$lessons" --learn-steps 8 \
                --learn-updates "$updates" --cfg-scale $guidance --seed "$seed"
            set -- "$@" "learned-$b-$seed"
        done
        evaluate "learned-$b" "$model" "$@"
    done
}
# One run of the network (both guidance branches): attention and Mamba in turns, floating point and integers.
time_of() { # SIZE OPTIONS..
    [ -s "$out/time-$1.txt" ] && return
    say "timing $1"
    # shellcheck disable=SC2086 # words of a command
    $timed "$bin/sdbench" unet -m "$attention" "$model" "$out/models/attention-w8a8-tdq" "$out/models/whole-w8a8-tdq" "$out/models/whole-w8a8-tdq-token" --type f32 --backend cpu \
        --intervals resample -W "$1" -H "$1" --repeat "$2" --kernels >"$out/time.part"
    mv "$out/time.part" "$out/time-$1.txt"
}
timing() {
    collect plain "$model" --hessians "$out/plain.hessians"
    collect attention "$attention"
    quantize attention-w8a8-tdq "$attention" attention w8a8-tdq
    quantize whole-w8a8-tdq "$model" plain w8a8-tdq
    quantize whole-w8a8-tdq-token "$model" plain w8a8-tdq-token
    time_of 128 15
    time_of 256 9
    time_of 512 5
    time_of 1024 3
}
! wanted blocks || blocks
! wanted whole || whole
! wanted options || options
! wanted learned || learned
! wanted time || timing

# ---- tables ----

cat >"$out/read.awk" <<'AWK'
# What an evaluation prints: a table of models (name scheme output ...), their outputs by timestep, by step, their sites.
function note(file,    line, field, n, part, i) {
    columns = 0
    while ((getline line < file) > 0) {
        n = split(line, field, " ")
        part = field[1] == "model" ? 1 : field[1] == "SQNR" ? 2 : field[1] == "sites," ? 3 : field[1] == "output" ? 4 : n ? part : 0
        if (part == 4 && field[1] == "output") {
            for (i = 6; i <= n; i++) times[i - 5] = field[i]
            columns = n - 5
        }
        else if (part == 1 && n >= 11) { output[field[1]] = field[3]; psnr[field[1]] = field[7] }
        else if (part == 4) for (i = 2; i <= n; i++) at[field[1], i - 1] = field[i]
        else if (part == 3) site[field[1]] = field[2]
    }
    close(file)
}
# At how many of the printed timesteps a is better than b.
function wins(a, b,    i, n) { for (i = 1; i <= columns; i++) n += at[a, i] > at[b, i]; return n + 0 }
AWK
rules_table() { # KIND WITH-SMOOTHING
    head="| rule |" line="| --- |"
    for b in $bits; do
        [ -s "$out/$1-$b.txt" ] || continue
        head="$head $b |" line="$line ---: |"
        [ "$2" = no ] || { head="$head smoothed |" line="$line ---: |"; }
        case $2$b in yesw4*) head="$head GPTQ |" line="$line ---: |" ;; esac
    done
    printf '%s\n%s\n' "$head" "$line"
    awk -v bits="$bits" -v rules="$rules" -v smoothed="$2" -v kind="$1" -v out="$out" "$(cat "$out/read.awk")"'
    BEGIN {
        n = split(bits, b, " ")
        for (i = 1; i <= n; i++) { note(out "/" kind "-" b[i] ".txt"); there[i] = columns > 0 }
        for (r = split(rules, rule, " "); r > 0; r--) last = r > last ? r : last
        for (r = 1; r <= last; r++) {
            line = "| " rule[r] " |"
            for (i = 1; i <= n; i++) if (there[i]) {
                m = kind "-" b[i] "-" rule[r]
                line = line " " output[m] " |"
                if (smoothed == "yes") line = line " " (m "+s" in output ? output[m "+s"] : "") " |"
                if (smoothed == "yes" && b[i] ~ /^w4/) line = line " " (m "+g" in output ? output[m "+g"] : "") " |"
            }
            print line
        }
    }'
}
# Time x token beside either alone, at how many timesteps it is better.
duel_table() {
    echo "| bits | over token | at timesteps | over tdq | at timesteps | smoothed, over token | at timesteps | GPTQ, over token | at timesteps | GPTQ, over tdq | at timesteps |"
    echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    awk -v bits="$bits" -v out="$out" "$(cat "$out/read.awk")"'
    BEGIN {
        n = split(bits, b, " ")
        for (i = 1; i <= n; i++) {
            note(out "/blocks-" b[i] ".txt")
            if (!columns) continue
            line = "| " b[i] " |"
            for (k = 0; k < 5; k++) {
                how = k == 2 ? "+s" : k > 2 ? "+g" : ""
                x = "blocks-" b[i] "-tdq-token" how; y = "blocks-" b[i] (k % 3 == 1 ? "-tdq" : "-token") how
                line = line (x in output && y in output ? sprintf(" %+.2f | %d of %d |", output[x] - output[y], wins(x, y), columns) : " | |")
            }
            print line
        }
    }'
}
steps_table() { # FILE MODEL..
    file=$1
    shift
    awk -v file="$out/$file.txt" -v models="$*" "$(cat "$out/read.awk")"'
    BEGIN {
        note(file)
        line = "| |"; rule = "| --- |"
        for (k = 1; k <= columns; k++) { line = line " t = " times[k] " |"; rule = rule " ---: |" }
        print line " mean over all t |"; print rule " ---: |"
        n = split(models, m, " ")
        for (i = 1; i <= n; i++) {
            name = m[i]; sub(/^[a-z]*-w[0-9]a[0-9]-/, "", name); line = "| " name " |"
            for (k = 1; k <= columns; k++) line = line " " at[m[i], k] " |"
            print line " " output[m[i]] " |"
        }
    }'
}
list_table() { # KIND, LABELS AND NAMES: "label=name .." for every bits
    kind=$1
    shift
    awk -v bits="$bits" -v list="$*" -v kind="$kind" -v out="$out" "$(cat "$out/read.awk")"'
    BEGIN {
        n = split(bits, b, " ")
        head = "| |"; rule = "| --- |"
        for (i = 1; i <= n; i++) { note(out "/" kind "-" b[i] ".txt"); there[i] = columns > 0; if (there[i]) { head = head " " b[i] " |"; rule = rule " ---: |" } }
        print head; print rule
        for (k = split(list, name, " "); k > 0; k--) last = k > last ? k : last
        for (k = 1; k <= last; k++) {
            line = "| " name[k] " |"
            for (i = 1; i <= n; i++) if (there[i]) line = line " " output[kind "-" b[i] "-" name[k]] " |"
            print line
        }
    }'
}
learned_table() {
    echo "| bits | start | learned, by seed | mean | gain | spread of seeds (s.d.) | pictures, PSNR: start | learned, mean |"
    echo "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    awk -v bits="$bits" -v seeds="$seeds" -v out="$out" "$(cat "$out/read.awk")"'
    BEGIN {
        n = split(bits, b, " "); m = split(seeds, seed, " ")
        for (i = 1; i <= n; i++) {
            note(out "/learned-" b[i] ".txt")
            if (!columns) continue
            start = "blocks-" b[i] "-tdq-token+s"; sum = square = picture = count = 0; list = ""
            for (k = 1; k <= m; k++) {
                name = "learned-" b[i] "-" seed[k]
                if (!(name in output)) continue
                count++; sum += output[name]; square += output[name] ^ 2; picture += psnr[name]; list = list (list ? ", " : "") output[name]
            }
            mean = sum / count; spread = count > 1 ? sqrt((square - count * mean * mean + 1e-12) / (count - 1)) : 0
            printf "| %s | %s | %s | %.2f | %+.2f | %.2f | %s | %.2f |\n", b[i], output[start], list, mean, mean - output[start], spread, psnr[start], picture / count
        }
    }'
}
# The least times of a network, its memory, and its scans' and attention's share.
time_table() {
    echo "| pixels | | attention, s | Mamba, s | ratio | attention, MiB | Mamba, MiB |"
    echo "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for size in 128 256 512 1024; do
        [ -s "$out/time-$size.txt" ] || continue
        awk -v size=$size '
        function row(kind, a, m) { printf "| %s | %s | %.4f | %.4f | %.2f | %.0f | %.0f |\n", size, kind, least[a], least[m], least[m] / least[a], memory[a], memory[m] }
        NF >= 7 && $2 ~ /^[0-9.]+$/ && $3 ~ /^[0-9.]+$/ && !kernels { n++; least[n] = $2; memory[n] = $6 }
        /^kernel / { kernels = 1 }
        END { row("f32", 1, 2); row("w8a8-tdq", 3, 4); row("w8a8-tdq, Mamba: -token", 3, 5) }' "$out/time-$size.txt"
    done
}
share_table() {
    echo "| pixels | | attention model: self- and cross-attention | linear, attention model | Mamba: scans | causal convolutions | cross-attention | linear, Mamba | codes and copies, Mamba |"
    echo "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for size in 128 256 512 1024; do
        [ -s "$out/time-$size.txt" ] || continue
        awk -v size=$size '
        /^kernel / { n++; inside = 1; next }
        /^slowest/ { inside = 0 }
        inside && NF >= 4 {
            k = $1; sub(/:.*/, "", k)
            k = k == "selective_scan" ? "scan" : k == "conv1d_causal" ? "conv1d" : k == "attention" ? k : k == "brg" || k == "linear" ? "linear" : k ~ /quantize|copy/ ? "codes" : "rest"
            for (i = 2; i < NF && !($i ~ /^[0-9]+$/ && $(i + 1) ~ /\./); i++); # a kernel\047s name may have spaces
            s[n, k] += 1000 * $(i + 1)
        }
        function row(kind, a, m) { printf "| %s | %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", size, kind, s[a, "attention"], s[a, "linear"], s[m, "scan"], s[m, "conv1d"], s[m, "attention"], s[m, "linear"], s[m, "codes"] }
        END { row("f32", 1, 2); row("w8a8", 3, 5) }' "$out/time-$size.txt"
    done
}

# Intervals over the tokens of one block, cut out of sdeval's report: FILE MODEL.
draw() {
    awk -v model="$2" '
    function cell(text, x,    shapes) {
        shapes = text
        sub(/^.*class="none" fill="#eee"\/>/, "", shapes); sub(/<\/svg>.*$/, "", shapes)
        sub(/^.*<figcaption>/, "", text); sub(/<\/figcaption>.*$/, "", text)
        sub(/^.*mamba\./, "", text); name = text; sub(/,.*/, "", name); sub(/^.*tokens, /, "", text)
        return "<g transform=\"translate(" x ",0)\">" shapes "<text y=\"142\">" name "</text><text y=\"155\">" text "</text></g>\n"
    }
    /<h2>Intervals over the tokens/ { inside = 1 }
    /<h3>/ { here = inside && index($0, "<h3>" model "</h3>") }
    here && /<figure/ && /up_blocks\.1\.attentions\.1\./ { body = body cell($0, 144 * n++) }
    END {
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"160\" shape-rendering=\"crispEdges\" font-family=\"system-ui,sans-serif\" font-size=\"11\" fill=\"#555\">\n%s</svg>\n", 144 * n - 16, body
    }' "$out/blocks-w8a8.html" >"$1"
}

have() { for b in $bits; do [ ! -s "$out/$1-$b.txt" ] || return 0; done; return 1; }
{
    echo "<!-- made by tools/study_ptq4vm.sh -->"
    echo
    echo "$(basename "$model"), $count pictures of $((steps / 2)) DDIM steps, guidance $guidance; calibrated on $calibrate other prompts at $steps steps. SQNR in dB of the UNet's outputs on full precision's own latents,"
    echo "mean over all timesteps, of which eight are listed and counted."
    if have blocks; then
        printf '\n### Only the Mamba blocks in integers\n\n'
        rules_table blocks yes
        printf '\nTime x token (tdq-token) over either alone, in dB, and at how many of the timesteps it is better:\n\n'
        duel_table
        for b in $bits; do
            [ -s "$out/blocks-$b.txt" ] || continue
            printf '\n### Only the Mamba blocks in integers, %s, by timestep\n\n' "$b"
            set --
            for rule in $rules; do set -- "$@" "blocks-$b-$rule"; done
            steps_table "blocks-$b" "$@" "blocks-$b-tdq-token+s"
        done
    fi
    if have whole; then
        printf '\n### The whole UNet in integers\n\n'
        list_table whole static token token+s tdq tdq-token tdq-token+s table table-token dynamic
        printf '\nThe attention model, on the same prompts, against its own full precision:\n\n'
        list_table attention static tdq dynamic
    fi
    if have options; then
        printf '\n### Options, only the Mamba blocks in integers\n\n'
        list_table options tdq-token scan-codes hadamard hadamard+s
    fi
    if have learned; then
        printf '\n### Learned, only the Mamba blocks in integers (tdq-token, smoothed)\n\n%s prompts, %s updates of each block.\n\n' "$lessons" "$updates"
        learned_table
    fi
    if [ -s "$out/time-128.txt" ]; then
        printf '\n### Time and memory\n\nOne run of the UNet (both guidance branches), seconds, the least of several rounds in turns; %s threads.\n\n' "$(nproc)"
        time_table
        printf '\nWhere it goes, in ms:\n\n'
        share_table
    fi
} >"$out/tables.md.part"
mv "$out/tables.md.part" "$out/tables.md"
if [ "$docs" ]; then
    awk -v tables="$out/tables.md" '
        /^<!-- study:end -->/ { inside = 0 }
        !inside { print }
        /^<!-- study:begin -->/ { inside = 1; while ((getline line < tables) > 0) print line }' "$docs" >"$docs.part"
    mv "$docs.part" "$docs"
    [ ! -s "$out/blocks-w8a8.html" ] || draw "${docs%.md}-tokens.svg" blocks-w8a8-token
    say "$docs is up to date"
fi
say "$out/tables.md"
