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

layout(constant_id = SDG_SPEC_READS) const uint READS = 0;       // x is floats; 1: unsigned codes; 2: signed ones
layout(constant_id = SDG_SPEC_IN_PAIRS) const uint IN_PAIRS = 0; // as OUT_PAIRS in codes.glsl, of x

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 0) readonly buffer XWords { uint x_words[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; }; // [C][TAPS]
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Out { SCALAR result[]; };

layout(binding = 7) readonly buffer XInterval { vec2 x_intervals[]; };

// Element `i`, of a token counted through all samples.
float x_at(uint i, uint token)
{
    if (READS == 0)
        return float(x[i]);
    int shift = int(i % 4 * 8);
    vec2 interval = x_intervals[row * IN_PAIRS + (IN_PAIRS > 1 ? token % IN_PAIRS : 0)];
    float code = float(READS == 2 ? bitfieldExtract(int(x_words[i / 4]), shift, 8) : int(bitfieldExtract(x_words[i / 4], shift, 8)));
    return (code - interval.y) * interval.x;
}

// Of token `token`, counted through all samples.
float at(uint token, uint c)
{
    uint place = token % p.tokens, reach = BACKWARD != 0 ? p.tokens - 1 - place : place; // tokens of the sample on that side
    float sum = SHIFTED != 0 ? bias[c] : 0.0;
    [[unroll]] for (uint k = 0; k < TAPS; k++) {
        uint distance = TAPS - 1 - k;
        uint other = BACKWARD != 0 ? token + distance : token - distance;
        if (distance <= reach)
            sum += weight[c * TAPS + k] * x_at(other * p.pitch + p.start + c, other);
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
