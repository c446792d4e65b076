#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#define OUT_BINDING 1
#define ROW_BINDING 2
#define SMOOTHED_CODES
#include "codes.glsl"

// Value first, gate second: [.., 2 C] -> [.., C]. One element an invocation, or four where they become codes. C twin: struct
// sdg_push_geglu in backend/vulkan/ops/geglu.c.
layout(push_constant) uniform Push {
    uint total, c; // of the result
} p;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) writeonly buffer Out { SCALAR result[]; };

float at(uint pixel, uint c)
{
    uint i = pixel * 2 * p.c + c;
    return float(x[i]) * gelu_erf(float(x[i + p.c]));
}

void main()
{
    uint i = folded_invocation(), first = CODES ? 4 * i : i;
    if (first >= p.total)
        return;
    uint pixel = first / p.c, c = first % p.c;
    if (CODES) {
        vec4 y = vec4(0.0);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            if (first + j < p.total)
                y[j] = at(pixel, c);
            if (++c == p.c) {
                c = 0;
                pixel++;
            }
        }
        words[i] = pack_elements(y, first, p.c);
    } else {
        result[i] = SCALAR(at(pixel, c));
    }
}
