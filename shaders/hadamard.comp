#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#define OUT_BINDING 1
#define ROW_BINDING 2
#define SMOOTHED_CODES
#include "codes.glsl"

// A workgroup transforms SPAN elements, one block or several, in shared memory: log2(BLOCK) steps of sums and differences. C twin: struct
// sdg_push_hadamard in backend/vulkan/ops/hadamard.c.
layout(push_constant) uniform Push {
    uint total, c;
    float scale; // BLOCK^-1/2
} p;

layout(constant_id = SDG_SPEC_BLOCK) const uint BLOCK = 2;
layout(constant_id = SDG_SPEC_SPAN) const uint SPAN = 256; // a multiple of BLOCK and of 4

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) writeonly buffer Out { SCALAR result[]; };

shared float y[SPAN];

void main()
{
    uint first = folded_group() * SPAN, lane = gl_LocalInvocationID.x, length = gl_WorkGroupSize.x;
    if (first >= p.total) // the whole workgroup leaves
        return;
    uint count = min(SPAN, p.total - first);
    for (uint i = lane; i < SPAN; i += length)
        y[i] = i < count ? float(x[first + i]) : 0.0;
    for (uint apart = 1; apart < BLOCK; apart *= 2) {
        barrier();
        for (uint pair = lane; pair < SPAN / 2; pair += length) {
            uint i = pair / apart * 2 * apart + pair % apart;
            float a = y[i], b = y[i + apart];
            y[i] = a + b;
            y[i + apart] = a - b;
        }
    }
    barrier();
    if (CODES) {
        for (uint i = 4 * lane; i < count; i += 4 * length)
            words[(first + i) / 4] = pack_elements(vec4(y[i], y[i + 1], y[i + 2], y[i + 3]) * p.scale, first + i, p.c);
    } else {
        for (uint i = lane; i < count; i += length)
            result[first + i] = SCALAR(y[i] * p.scale);
    }
}
