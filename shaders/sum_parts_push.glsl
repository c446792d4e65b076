// What sum_parts.comp and sum_parts_s8.comp are told. C twin: struct sdg_push_sum_parts in backend/vulkan/ops/matmul.c.
layout(push_constant) uniform Push {
    uint m, n, k, pitch, table_samples; // as of the product
    uint rows_per_sample;
    uint parts;
} p;

uint sample_of(uint m)
{
    return m / p.rows_per_sample;
}
