#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"

// C twin: struct sdg_push_fake_quantize in backend/vulkan/ops/fake_quantize.c.
layout(push_constant) uniform Push {
    uint total;
    float lowest, highest; // codes
} p;
layout(constant_id = 0) const uint HAS_ZERO = 0;

layout(binding = 0) readonly buffer X { SCALAR x[]; };
layout(binding = 1) writeonly buffer Out { SCALAR result[]; };
layout(binding = 2) readonly buffer Scale { float scales[]; };
layout(binding = 3) readonly buffer Zero { float zeros[]; };
layout(binding = 4) readonly buffer Row { uint row; };

void main()
{
    uint i = folded_invocation();
    if (i >= p.total)
        return;
    float scale = scales[row], zero = HAS_ZERO != 0 ? zeros[row] : 0.0;
    float code = clamp(roundEven(float(x[i]) / scale) + zero, p.lowest, p.highest);
    result[i] = SCALAR((code - zero) * scale);
}
