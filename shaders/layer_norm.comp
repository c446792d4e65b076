#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "types.glsl"
#ifndef SUBGROUP
#include "reduce.glsl"
#endif
#define OUT_BINDING 3
#define ROW_BINDING 4
#define SMOOTHED_CODES
#include "codes.glsl"

// A subgroup, or where there are none a workgroup, per token: mean, then variance around it, then the result. C twin: struct
// sdg_push_layer_norm in backend/vulkan/ops/layer_norm.c.
layout(push_constant) uniform Push {
    uint tokens, c;
    float eps;
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };
layout(binding = 1) readonly buffer Gamma { float gamma[]; };
layout(binding = 2) readonly buffer Beta { float beta[]; };
layout(binding = 3) writeonly buffer Out { PACK result[]; };
#if WIDTH == 4 && defined STORAGE_F16
// STATISTICS instead, for products that normalise what they load (loading.glsl).
layout(constant_id = SDG_SPEC_STATISTICS) const uint STATISTICS = 0;
layout(binding = 3) writeonly buffer Pairs { vec2 pairs[]; };
#endif

// Of those that share this invocation's token.
uint token, lane, lanes;

#ifdef SUBGROUP
void divide_work()
{
    token = folded_group() * gl_NumSubgroups + gl_SubgroupID;
    lane = gl_SubgroupInvocationID;
    lanes = subgroupAdd(1); // may be fewer than gl_SubgroupSize
}

float sum_of_token(float x)
{
    return subgroupAdd(x);
}
#else
void divide_work()
{
    token = folded_group();
    lane = gl_LocalInvocationID.x;
    lanes = gl_WorkGroupSize.x;
}

float sum_of_token(float x)
{
    return workgroup_sum(x);
}
#endif

float sum_of(VALUE v)
{
#if WIDTH == 1
    return v;
#else
    return v.x + v.y + v.z + v.w;
#endif
}

float first_of(VALUE v)
{
#if WIDTH == 1
    return v;
#else
    return v.x;
#endif
}

VALUE load(uint c)
{
    return VALUE(x[(token * p.c + c) / WIDTH]);
}

VALUE normal(uint c, float mean, float scale)
{
#if WIDTH == 1
    return (load(c) - mean) * scale * gamma[c] + beta[c];
#else
    vec4 g = vec4(gamma[c], gamma[c + 1], gamma[c + 2], gamma[c + 3]), b = vec4(beta[c], beta[c + 1], beta[c + 2], beta[c + 3]);
    return (load(c) - mean) * scale * g + b;
#endif
}

void main()
{
    divide_work();
    if (token >= p.tokens) // all that share it leave
        return;
    uint stride = WIDTH * lanes, first = token * p.c;
    float origin = first_of(load(0)), sum = 0.0;
    for (uint c = WIDTH * lane; c < p.c; c += stride)
        sum += sum_of(load(c) - origin);
    float mean = origin + sum_of_token(sum) / float(p.c), squares = 0.0;
    for (uint c = WIDTH * lane; c < p.c; c += stride) {
        VALUE d = load(c) - mean;
        squares += sum_of(d * d);
    }
    float scale = 1.0 / sqrt(sum_of_token(squares) / float(p.c) + p.eps);
#if WIDTH == 4 && defined STORAGE_F16
    if (STATISTICS != 0) {
        for (uint c = token * lanes + lane; c < p.c; c += p.tokens * lanes)
            pairs[c] = vec2(gamma[c], beta[c]);
        if (lane == 0)
            pairs[p.c + token] = vec2(mean, scale);
        return;
    }
#endif
#if WIDTH == 1
    if (CODES) {
        for (uint c = 4 * lane; c < p.c; c += 4 * lanes) {
            vec4 y = vec4(0.0);
            uint count = min(4, p.c - c);
            for (uint j = 0; j < count; j++)
                y[j] = normal(c + j, mean, scale);
            store_codes(first + c, smoothed(y, c, count), count, coder(token));
        }
        return;
    }
#endif
    for (uint c = WIDTH * lane; c < p.c; c += stride) {
#if WIDTH == 4
        if (CODES) {
            words[(first + c) / 4] = pack_codes(smoothed(normal(c, mean, scale), c, 4), coder(token));
            continue;
        }
#endif
        result[(first + c) / WIDTH] = PACK(normal(c, mean, scale));
    }
}
