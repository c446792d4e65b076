#!/bin/sh
# layers.sh CHECK: tools/check-layers finds each kind of violation in a tree made for it, and nothing in one without.
set -eu
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cd "$tree"
mkdir -p base formats scheduler quant quantize pipeline measure unet vae backend/cpu/ref backend/vulkan/ops apps/common include/sdgen
touch base/log.h pipeline/pipeline.h measure/measure.h formats/config.h scheduler/rng.h unet/unet.h backend/backend.h backend/vulkan/device.h include/sdgen/sdgen.h apps/common/ui.h
plant() { printf '%s\n' "$2" >"$1"; }
plant base/numbers.c '#include "base/log.h"'
plant quant/words.c '// a VkDevice in a comment, "VK_ERROR" in none'
plant measure/run.c '#include "pipeline/pipeline.h"'
plant apps/talk.c '#include "common/ui.h"
#include "sdgen/sdgen.h"'
plant backend/vulkan/calls.c '#include <volk.h>
#include "device.h"
VkDevice device;'
plant backend/cpu/ref/concat.c ''
plant backend/vulkan/ops/concat.c ''
"$1" "$tree" >out || { cat out; echo "layers: a correct tree was refused"; exit 1; }

expect() { # FILE TEXT: with this file the check fails and names it
    plant "$1" "$2"
    if "$check" "$tree" >out; then
        echo "layers: not found: $1: $2"
        exit 1
    fi
    grep -q "^$1:1:" out || { cat out; echo "layers: $1 was not named"; exit 1; }
    rm "$1"
}
check=$1
expect base/up.c '#include "formats/config.h"'
expect quant/side.c '#include "scheduler/rng.h"'
expect quantize/side.c '#include "pipeline/pipeline.h"'
expect pipeline/up.c '#include "measure/measure.h"'
expect vae/side.c '#include "../unet/unet.h"'
expect unet/up.c '#include "backend/backend.h"'
expect backend/cpu/side.c '#include "backend/vulkan/device.h"'
expect apps/inside.c '#include "scheduler/rng.h"'
expect apps/common/inside.c '#include "formats/config.h"'
expect include/sdgen/down.h '#include "base/log.h"'
expect unet/vulkan.c 'static VkDevice device;'
expect formats/volk.c '#include <volk.h>'
expect unet/log.h ''
mkdir -p bindings/java/jni
expect bindings/java/jni/inside.c '#include "base/log.h"'
echo "layers: 13 violations found"
