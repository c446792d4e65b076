// What the shaders of a group norm share: how the work is divided, and the statistics.
//
// A workgroup has `span` neighbouring groups and a chunk of a sample's pixels. Where the chunk is the whole sample, it finds the
// statistics and normalises at once (group_norm.comp). Else there are two dispatches on the same grid: the first leaves the statistics
// of each chunk (group_norm_stats.comp), and each workgroup of the second merges those of its groups, which is little beside the chunk
// itself, and normalises (group_norm_apply.comp).
//
// An invocation has WIDTH neighbouring channels, of pixels that lie `rows` apart: what belongs to channels is loaded once, and nothing is
// divided per element. C twin: struct sdg_push_group_norm in backend/vulkan/ops/group_norm.c.
layout(push_constant) uniform Push {
    uint pixels, c, c1;     // per sample; channels in all, channels of the first input
    uint group, groups;     // channels of a group; groups
    uint span;              // groups of a workgroup, at most as many as it has invocations
    uint chunk, chunks;     // pixels of a chunk, the last may be shorter; chunks of a sample
    float eps;
} p;

layout(binding = 0) readonly buffer X { PACK x[]; };
layout(binding = 1) readonly buffer X2 { PACK x2[]; };

// How many elements, their mean, the sum of their squared distances from it. MAX_INVOCATIONS bounds the workgroup.
#define MOMENTS vec3
const uint MAX_INVOCATIONS = 128;
shared MOMENTS found[MAX_INVOCATIONS * WIDTH]; // those of a group side by side
shared MOMENTS merged_of_groups[MAX_INVOCATIONS];

// Of two sets together (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances").
MOMENTS merged(MOMENTS a, MOMENTS b)
{
    if (a.x == 0.0)
        return b;
    if (b.x == 0.0)
        return a;
    float count = a.x + b.x, d = b.y - a.y, part = b.x / count;
    return MOMENTS(count, a.y + d * part, a.z + b.z + d * d * a.x * part);
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

// Whether this invocation is one of those that stand for a group of the workgroup's each.
bool has_group()
{
    return lane * p.group < width;
}

// Moments of group `lane` out of `entries` of `found` for each group; called by all of the workgroup.
MOMENTS merged_entries(uint entries)
{
    barrier();
#ifdef SUBGROUP
    uint lanes = subgroupAdd(1); // may be fewer than gl_SubgroupSize
    for (uint group = gl_SubgroupID; group * p.group < width; group += gl_NumSubgroups) {
        MOMENTS mine = MOMENTS(0.0);
        float origin = found[group * entries].y, sum = 0.0, squares = 0.0; // distances from the first mean: nothing cancels
        for (uint i = gl_SubgroupInvocationID; i < entries; i += lanes) {
            MOMENTS m = found[group * entries + i];
            mine.x += m.x;
            sum += m.x * (m.y - origin);
        }
        float count = subgroupAdd(mine.x), shift = subgroupAdd(sum) / count;
        for (uint i = gl_SubgroupInvocationID; i < entries; i += lanes) {
            MOMENTS m = found[group * entries + i];
            float d = m.y - origin - shift;
            squares += m.z + m.x * d * d;
        }
        squares = subgroupAdd(squares);
        if (subgroupElect())
            merged_of_groups[group] = MOMENTS(count, origin + shift, squares);
    }
#else
    uint at_once = min(length / p.span, entries), group = lane / at_once, part = lane % at_once;
    if (group * p.group < width && group < p.span) {
        MOMENTS sum = found[group * entries + part];
        for (uint i = part + at_once; i < entries; i += at_once)
            sum = merged(sum, found[group * entries + i]);
        found[group * entries + part] = sum;
    }
    barrier();
    if (has_group()) {
        MOMENTS sum = found[lane * entries];
        for (uint i = 1; i < at_once; i++)
            sum = merged(sum, found[lane * entries + i]);
        merged_of_groups[lane] = sum;
    }
#endif
    barrier();
    return has_group() ? merged_of_groups[lane] : MOMENTS(0.0);
}

// Moments of WIDTH channels over this invocation's pixels. Distances from the first pixel are summed: nothing cancels where the mean is
// large against the spread.
void add_moments(uint c, inout MOMENTS moments[WIDTH])
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
        moments[i] = merged(moments[i], MOMENTS(count, channel(mean, i), channel(around, i)));
}

// Moments of the chunk, of group `lane` of the workgroup's.
MOMENTS moments_of_chunk()
{
    MOMENTS moments[WIDTH];
    [[unroll]] for (uint i = 0; i < WIDTH; i++)
        moments[i] = MOMENTS(0.0);
    // of a group that is wider than the workgroup, an invocation has several units
    uint line = units * WIDTH, each = p.span == 1 ? line : p.group, entries = rows * each;
    if (my_row < rows) {
        for (uint unit = my_unit; unit < width / WIDTH; unit += units)
            add_moments(first_c + unit * WIDTH, moments);
        [[unroll]] for (uint i = 0; i < WIDTH; i++) {
            uint c = my_unit * WIDTH + i;
            found[c / each * entries + my_row * each + c % each] = moments[i];
        }
    }
    return merged_entries(entries);
}
