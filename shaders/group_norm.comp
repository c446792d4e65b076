#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#define OUT_BINDING 4
#define ROW_BINDING 5
#define SMOOTHED_CODES
#include "codes.glsl"

// Third pass: normalise, scale, shift and activate, one element per invocation, or four where they become codes.
#include "group_norm.glsl"
layout(constant_id = SDG_SPEC_FUNCTION) const uint ACTIVATION = 0;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer X2 { SCALAR x2[]; };
layout(binding = 2) readonly buffer Scales { vec2 scales[]; }; // [N][C]: mean, gamma / deviation
layout(binding = 3) readonly buffer Beta { float beta[]; };
layout(binding = 4) writeonly buffer Out { SCALAR result[]; };

float at(uint pixel, uint c)
{
    float value = c < p.c1 ? float(x[pixel * p.c1 + c]) : float(x2[pixel * (p.c - p.c1) + c - p.c1]);
    vec2 scale = scales[pixel / p.pixels * p.c + c];
    return apply_unary(ACTIVATION, (value - scale.x) * scale.y + beta[c], 1.0, 0.0);
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
