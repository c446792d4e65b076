// Codes as operands: bytes in words of four. C twin: sdg_vk_emit_matmul in backend/vulkan/ops/matmul.c.
layout(binding = 0) readonly buffer X { uint x[]; };

// Codes of `count` elements from `at` on, 0 behind them; at most 4 of them. Whole words where rows are a multiple of 4 long.
uint read_codes(uint at, uint count)
{
    if (at % 4 == 0 && count >= 4)
        return x[at / 4];
    uint word = 0;
    for (uint i = 0; i < min(count, 4); i++)
        word |= (x[(at + i) / 4] >> ((at + i) % 4 * 8) & 0xffu) << (8 * i);
    return word;
}
