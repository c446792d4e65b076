// Loops of one operation for one instruction set, on data that stays in registers or the first-level cache: what the
// processor reaches at most; included by kernels_*.c.

static double multiply_adds(int64_t rounds)
{
    enum { SUMS = SDG_SIMD_REGISTERS * 3 / 4, STEPS = 64 };
    const vf factor = v_set(0.999f), term = v_set(0.001f);
    float sum[LANES];
    vf sums[SUMS];
    for (int i = 0; i < SUMS; i++)
        sums[i] = v_set((float)i);
    for (int64_t r = 0; r < rounds * STEPS; r++)
#pragma GCC unroll 32
        for (int i = 0; i < SUMS; i++)
            sums[i] = v_fma(sums[i], factor, term);
    for (int i = 1; i < SUMS; i++)
        sums[0] += sums[i];
    v_store(sum, sums[0]);
    __asm__ volatile("" : : "r"(sum) : "memory"); // so that the result is needed
    return 2.0 * SUMS * LANES * STEPS * (double)rounds;
}

// Those of the scan's states.
static double exponentials(int64_t rounds)
{
    enum { COUNT = 2048 };
    float x[COUNT], y[COUNT];
    for (int i = 0; i < COUNT; i++)
        x[i] = -0.03f * (float)(i % 67);
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : : "r"(x), "r"(y) : "memory"); // as if others changed x and read y
#pragma GCC unroll 4
        for (int i = 0; i < COUNT; i += LANES)
            v_store(y + i, v_decay(v_load(x + i)));
    }
    __asm__ volatile("" : : "r"(y) : "memory");
    return (double)COUNT * (double)rounds;
}
