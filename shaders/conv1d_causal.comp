#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#define OUT_BINDING 3
#define ROW_BINDING 4
#define SMOOTHED_CODES
#include "codes.glsl"

// Each channel's convolution with the tokens before, or after, its own. One element an invocation, or four where they become codes.
// C twin: struct sdg_push_conv1d_causal in backend/vulkan/ops/conv1d_causal.c.
layout(push_constant) uniform Push {
    uint total, c;         // of the result
    uint tokens;           // of a sample
    uint pitch, start;     // channels of a token in x, and the first that is read
} p;
layout(constant_id = SDG_SPEC_FUNCTION) const uint ACTIVATION = 0;
layout(constant_id = SDG_SPEC_BACKWARD) const uint BACKWARD = 0;
layout(constant_id = SDG_SPEC_TAPS) const uint TAPS = 4;
layout(constant_id = SDG_SPEC_SHIFTED) const uint SHIFTED = 0; // there is a bias

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; }; // [C][TAPS]
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Out { SCALAR result[]; };

// Of token `token`, counted through all samples.
float at(uint token, uint c)
{
    uint place = token % p.tokens, reach = BACKWARD != 0 ? p.tokens - 1 - place : place; // tokens of the sample on that side
    float sum = SHIFTED != 0 ? bias[c] : 0.0;
    [[unroll]] for (uint k = 0; k < TAPS; k++) {
        uint distance = TAPS - 1 - k;
        if (distance <= reach)
            sum += weight[c * TAPS + k] * float(x[(BACKWARD != 0 ? token + distance : token - distance) * p.pitch + p.start + c]);
    }
    return apply_unary(ACTIVATION, sum, 0.0, 0.0);
}

void main()
{
    uint i = folded_invocation(), first = CODES ? 4 * i : i;
    if (first >= p.total)
        return;
    uint token = first / p.c, c = first % p.c;
    if (CODES) {
        vec4 y = vec4(0.0);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            if (first + j < p.total)
                y[j] = at(token, c);
            if (++c == p.c) {
                c = 0;
                token++;
            }
        }
        words[i] = pack_elements(y, first, p.c);
    } else {
        result[i] = SCALAR(at(token, c));
    }
}
