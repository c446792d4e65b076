// Integers of weights: rounding to them, and four bits of two in a byte.
#ifndef SDG_BASE_NIBBLES_H
#define SDG_BASE_NIBBLES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

// The code of b bits (2..8), -2^(b-1) .. 2^(b-1)-1, whose value code * scale is nearest to the weight; ties to even.
static inline int8_t sdg_nearest_code(double weight, float scale, int bits)
{
    double lo = -(1 << (bits - 1)), hi = -lo - 1, q = rint(weight / scale);
    return (int8_t)(q > hi ? hi : q >= lo ? q : lo); // NaN as well has to become something
}

// A matrix [rows, inputs] of codes -8..7 as rows of (inputs + 1) / 2 bytes: code 2i in the low half of byte i, two's
// complement; an odd row ends with a high half of 0.
static inline size_t sdg_packed_row(size_t inputs)
{
    return inputs / 2 + inputs % 2;
}
void sdg_pack4(const int8_t *codes, size_t rows, size_t inputs, uint8_t *packed); // codes -8..7
void sdg_unpack4(const uint8_t *packed, size_t rows, size_t inputs, int8_t *codes);
// Codes first .. first + count of one row.
void sdg_unpack4_part(const uint8_t *row, size_t first, size_t count, int8_t *codes);

#endif
