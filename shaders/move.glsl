// result[i] = x[source(i)]: the body of operations that only move elements. C twin: sdg_vk_emit_move in backend/vulkan/vk_lower.c.
//
// Codes go as words of four where rows allow it, and else byte by byte, an invocation making a word.
layout(constant_id = SDG_SPEC_BYTES) const uint BYTES = 0; // 1: p counts bytes of words

void main()
{
    uint i = folded_invocation();
#ifndef STORAGE_F16
    if (BYTES != 0) {
        uint word = 0;
        for (uint j = 0; j < 4 && 4 * i + j < p.total; j++) {
            uint from = source(4 * i + j);
            word |= (x[from / 4] >> (from % 4 * 8) & 0xffu) << (8 * j);
        }
        if (4 * i < p.total)
            result[i] = word;
        return;
    }
#endif
    if (i < p.total)
        result[i] = x[source(i)];
}
