#version 450
#extension GL_GOOGLE_include_directive : require
#include "types.glsl"
#include "functions.glsl"
#define OUT_BINDING 5
#define ROW_BINDING 6
#define SMOOTHED_CODES
#include "codes.glsl"

// A workgroup has `span` neighbouring groups and a chunk of a sample's pixels. Where the chunk is the whole sample, it finds the statistics
// and normalises at once (STATS and APPLY). Else there are two dispatches on the same grid: the first leaves the statistics of each chunk,
// and each workgroup of the second merges those of its groups, which is little beside the chunk itself.
//
// An invocation has WIDTH neighbouring channels, of pixels that lie `rows` apart: what belongs to channels is loaded once, and nothing is
// divided per element. C twin: struct sdg_push_group_norm in backend/vulkan/ops/group_norm.c.
layout(constant_id = SDG_SPEC_FUNCTION) const uint ACTIVATION = 0;
layout(constant_id = SDG_SPEC_STATS) const uint STATS = 1;
layout(constant_id = SDG_SPEC_APPLY) const uint APPLY = 1;

layout(push_constant) uniform Push {
    uint pixels, c, c1;     // per sample; channels in all, channels of the first input
    uint group, groups;     // channels of a group; groups
    uint span;              // groups of a workgroup
    uint chunk, chunks;     // pixels of a chunk, the last may be shorter; chunks of a sample
    float eps;
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };
layout(binding = 1) readonly buffer X2 { PACK x2[]; };
layout(binding = 2) buffer Parts { vec2 parts[]; }; // [N][chunks][groups]: mean, sum of squared distances from it
layout(binding = 3) readonly buffer Gamma { float gamma[]; };
layout(binding = 4) readonly buffer Beta { float beta[]; };
layout(binding = 5) writeonly buffer Out { PACK result[]; };

const uint MAX_INVOCATIONS = 128;
shared vec3 found[MAX_INVOCATIONS * WIDTH]; // moments, on their way to the groups'
shared vec2 norms[MAX_INVOCATIONS * WIDTH]; // per group: mean, 1 / deviation

// How many elements, their mean, the sum of their squared distances from it: of two sets together (Chan, Golub and LeVeque, "Updating
// formulae and a pairwise algorithm for computing sample variances").
vec3 merged(vec3 a, vec3 b)
{
    if (a.x == 0.0)
        return b;
    if (b.x == 0.0)
        return a;
    float count = a.x + b.x;
    float d = b.y - a.y, part = b.x / count;
    return vec3(count, a.y + d * part, a.z + b.z + d * d * a.x * part);
}

VALUE load(uint pixel, uint c)
{
    return c < p.c1 ? VALUE(x[(pixel * p.c1 + c) / WIDTH]) : VALUE(x2[(pixel * (p.c - p.c1) + c - p.c1) / WIDTH]);
}

float channel(VALUE v, uint i)
{
#if WIDTH == 1
    return v;
#else
    return v[i];
#endif
}

VALUE of_channels(vec4 v)
{
#if WIDTH == 1
    return v.x;
#else
    return v;
#endif
}

// What this invocation works on.
uint lane, length, n;
uint first_group, first_c, width; // of the workgroup: its first group and channel, and how many channels
uint units, rows;                 // invocations side by side along channels; pixels at a time
uint my_unit, my_row;             // my_row = rows where nothing is left to do
uint first_pixel, end_pixel;      // counted through all samples

void divide_work()
{
    lane = gl_LocalInvocationID.x;
    length = gl_WorkGroupSize.x;
    n = gl_WorkGroupID.z;
    first_group = gl_WorkGroupID.x * p.span;
    first_c = first_group * p.group;
    width = min(p.span, p.groups - first_group) * p.group;
    units = min(width / WIDTH, length);
    rows = length / units;
    my_unit = lane % units;
    my_row = lane / units;
    first_pixel = n * p.pixels + gl_WorkGroupID.y * p.chunk;
    end_pixel = min(first_pixel + p.chunk, (n + 1) * p.pixels);
}

// Moments of WIDTH channels over this invocation's pixels. Distances from the first pixel are summed: nothing cancels where the mean is
// large against the spread.
void add_moments(uint c, inout vec3 moments[WIDTH])
{
    uint pixel = first_pixel + my_row;
    if (pixel >= end_pixel)
        return;
    float count = float((end_pixel - 1 - pixel) / rows + 1);
    VALUE origin = load(pixel, c), sum = VALUE(0.0), squares = VALUE(0.0);
    for (pixel += rows; pixel < end_pixel; pixel += rows) {
        VALUE d = load(pixel, c) - origin;
        sum += d;
        squares += d * d;
    }
    VALUE shift = sum / count, mean = origin + shift, around = max(squares - sum * shift, VALUE(0.0));
    [[unroll]] for (uint i = 0; i < WIDTH; i++)
        moments[i] = merged(moments[i], vec3(count, channel(mean, i), channel(around, i)));
}

// Moments of the chunk, of group `lane` of the workgroup's.
vec3 moments_of_chunk()
{
    vec3 moments[WIDTH];
    [[unroll]] for (uint i = 0; i < WIDTH; i++)
        moments[i] = vec3(0.0);
    if (my_row < rows)
        for (uint unit = my_unit; unit < width / WIDTH; unit += units) // more than one only of a single group
            add_moments(first_c + unit * WIDTH, moments);
    uint line = units * WIDTH, each = p.span == 1 ? line : p.group;
    if (my_row < rows)
        [[unroll]] for (uint i = 0; i < WIDTH; i++)
            found[my_row * line + my_unit * WIDTH + i] = moments[i];
    barrier();
    for (uint c = lane; c < line; c += length)
        for (uint row_of = 1; row_of < rows; row_of++)
            found[c] = merged(found[c], found[row_of * line + c]);
    barrier();
    vec3 sum = vec3(0.0);
    if (lane * p.group < width)
        for (uint i = 0; i < each; i++)
            sum = merged(sum, found[lane * each + i]);
    return sum;
}

// The same of the whole sample, from those of its chunks.
vec3 moments_of_parts()
{
    uint at_once = min(length / p.span, p.chunks), my_group = lane % p.span, part = lane / p.span;
    vec3 sum = vec3(0.0);
    if (part < at_once && my_group * p.group < width)
        for (uint chunk = part; chunk < p.chunks; chunk += at_once) {
            float count = float(min(p.chunk, p.pixels - chunk * p.chunk) * p.group);
            sum = merged(sum, vec3(count, parts[(n * p.chunks + chunk) * p.groups + first_group + my_group]));
        }
    found[lane] = sum;
    barrier();
    if (lane < p.span)
        for (uint i = 1; i < at_once; i++)
            sum = merged(sum, found[i * p.span + lane]);
    return sum;
}

void store(uint pixel, uint c, VALUE y)
{
    uint at = pixel * p.c + c;
#if WIDTH == 1
    if (CODES)
        store_codes(at, smoothed(vec4(y, 0.0, 0.0, 0.0), c, 1), 1, coder(pixel));
    else
        result[at] = SCALAR(y);
#else
    if (CODES)
        words[at / 4] = pack_codes(smoothed(y, c, 4), coder(pixel));
    else
        result[at / 4] = VECTOR(y);
#endif
}

void normalise(uint c)
{
    vec4 means = vec4(0.0), scales = vec4(0.0), shifts = vec4(0.0);
    [[unroll]] for (uint i = 0; i < WIDTH; i++) {
        vec2 norm = norms[(c + i) / p.group - first_group];
        means[i] = norm.x;
        scales[i] = gamma[c + i] * norm.y;
        shifts[i] = beta[c + i];
    }
    VALUE mean = of_channels(means), scale = of_channels(scales), shift = of_channels(shifts);
    for (uint pixel = first_pixel + my_row; pixel < end_pixel; pixel += rows) {
        VALUE y = (load(pixel, c) - mean) * scale + shift;
#if WIDTH == 1
        y = apply_unary(ACTIVATION, y, 1.0, 0.0);
#else
        [[unroll]] for (uint i = 0; i < WIDTH; i++)
            y[i] = apply_unary(ACTIVATION, y[i], 1.0, 0.0);
#endif
        store(pixel, c, y);
    }
}

void main()
{
    divide_work();
    vec3 moments;
    if (STATS != 0)
        moments = moments_of_chunk();
    else
        moments = moments_of_parts();
    if (APPLY == 0) {
        if (lane * p.group < width)
            parts[(n * p.chunks + gl_WorkGroupID.y) * p.groups + first_group + lane] = moments.yz;
        return;
    }
    if (lane * p.group < width)
        norms[lane] = vec2(moments.y, 1.0 / sqrt(moments.z / moments.x + p.eps));
    barrier();
    if (my_row < rows)
        for (uint unit = my_unit; unit < width / WIDTH; unit += units)
            normalise(first_c + unit * WIDTH);
}
