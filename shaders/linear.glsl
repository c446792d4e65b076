// Rows m of x as they are; k is in units of one or several channels. C twin: struct sdg_push_linear in backend/vulkan/ops/linear.c.
layout(push_constant) uniform Push {
    uint m, n, k, pitch, table_samples; // as outputs.glsl says; k: units
    uint rows_per_sample;               // H * W
    uint in_c;
} p;

#ifdef NORMALISES
struct XRow {
    uint m;
    vec2 moments; // mean, 1 / deviation
};
#define A_ROW XRow
#define ROW_NUMBER(row) row.m
#else
#define A_ROW uint
#define ROW_NUMBER(row) row
#endif
#include "loading.glsl"
uint cursor;

A_ROW a_row(uint m)
{
#ifdef NORMALISES
    return XRow(m, NORMALISED != 0 ? norm[p.in_c + min(m, p.m - 1)] : vec2(0.0));
#else
    return m;
#endif
}

void cursor_start(uint k)
{
    cursor = k;
}

void cursor_advance()
{
    cursor += BK;
}

uint sample_of(uint m)
{
    return m / p.rows_per_sample;
}

// Elements of a run of k are neighbours in a row of x: here all of them.
uint run_count()
{
    return 1;
}

uint run_length()
{
    return p.k;
}

// The first element of row m's; false for rows past the end.
bool find_run(uint m, uint run, out uint first)
{
    first = m * p.in_c;
    return m < p.m;
}
