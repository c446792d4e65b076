// Weights [k, k + WIDTH) of column n; both are multiples of WIDTH, so they lie in one word if they are codes.
VALUE weights_at(uint n, uint k)
{
    uint at = place_of_weight(row_of_weights(n), k);
    if (WEIGHT_BITS == 0)
        return VALUE(weights[at / WIDTH]);
    const uint per_word = 32 / max(WEIGHT_BITS, 1);
    int word = int(codes[at / per_word] >> (at % per_word * WEIGHT_BITS));
#if WIDTH == 4
    const int bits = int(WEIGHT_BITS);
    vec4 v = vec4(bitfieldExtract(word, 0, bits), bitfieldExtract(word, bits, bits), bitfieldExtract(word, 2 * bits, bits),
                  bitfieldExtract(word, 3 * bits, bits));
#ifdef PAIRS
    v /= CODE_UNIT;
#endif
    return VALUE(v);
#else
    return float(bitfieldExtract(word, 0, int(WEIGHT_BITS)));
#endif
}
