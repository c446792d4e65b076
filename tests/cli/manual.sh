#!/bin/bash
# manual.sh BIN: the manual pages and completions that the programs in BIN write of themselves are what man and the shells take,
# and name every option; bash completes options, names and files.
set -eu
bin=$(cd "$1" && pwd)
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
fail() { echo "manual: $*"; exit 1; }
checked="bash"
for program in sdgen sdcalib sdquant sdeval sdbench; do
    for format in man bash zsh fish; do
        "$bin/$program" --help-as $format >"$home/$program.$format"
    done
    options=$("$bin/$program" --help-all | grep -o '^  \(-., \|    \)--[a-z0-9-]*' | sed 's/.*--//')
    [ "$(echo "$options" | wc -l)" -ge 8 ] || fail "$program --help-all could not be read"
    for option in $options; do
        grep -qF "\\-\\-$(echo "$option" | sed 's/-/\\-/g')" "$home/$program.man" || fail "$program: --$option is not in the manual page"
        grep -q -e "--$option[ \"]" "$home/$program.bash" || fail "$program: bash does not know --$option"
        grep -q -e "--$option[^a-z-]" "$home/$program.zsh" || fail "$program: zsh does not know --$option"
        grep -q -e " -l $option " "$home/$program.fish" || fail "$program: fish does not know --$option"
    done
    bash -n "$home/$program.bash"
    for shell in zsh fish; do
        ! command -v $shell >/dev/null || { $shell -n "$home/$program.$shell"; checked="$checked $shell"; }
    done
    if command -v groff >/dev/null; then
        groff -man -Tascii -ww -z "$home/$program.man" 2>"$home/log" && [ ! -s "$home/log" ] || { cat "$home/log"; fail "$program's page"; }
        checked="$checked groff"
    fi
done

# What bash offers for the last of these words.
complete_words() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    "_$1" 2>/dev/null
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
}
expect() {
    local wanted=$1
    shift
    local got
    got=$(complete_words "$@")
    [ "$got" = "$wanted" ] || fail "'$*' completes to '$got', not to '$wanted'"
}
. "$home/sdgen.bash"
. "$home/sdcalib.bash"
cd "$home"
mkdir folder
: >"folder/two words"
expect "--strength " sdgen --stre
expect "dpm++2m dpm++2m_sde dpm++2mv2 dpm++2s_a dpm2 " sdgen x --sampling-method dpm
expect "dpm++2m dpm++2m_sde dpm++2mv2 dpm++2s_a " sdgen --sampling-method dpm++
expect "folder/two words " sdgen -o folder/t
expect " " sdgen --steps 1
expect "collect " sdcalib co
if "$bin/sdgen" --help-as csh >"$home/out" 2>&1 || ! grep -q "'csh' is unknown" "$home/out"; then
    fail "a format that there is not is not refused"
fi
echo "manual: five programs; read by $(echo "$checked" | tr ' ' '\n' | sort -u | tr '\n' ' ')"
