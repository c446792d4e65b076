#include "base/nibbles.h"

void sdg_pack4(const int8_t *codes, size_t rows, size_t inputs, uint8_t *packed)
{
    for (size_t r = 0; r < rows; r++, codes += inputs)
        for (size_t i = 0; i < inputs; i += 2) {
            int high = i + 1 < inputs ? codes[i + 1] : 0;
            *packed++ = (uint8_t)((codes[i] & 15) | (high & 15) << 4);
        }
}

void sdg_unpack4_part(const uint8_t *row, size_t first, size_t count, int8_t *codes)
{
    for (size_t i = first; i < first + count; i++) {
        int nibble = row[i / 2] >> (i % 2 ? 4 : 0) & 15;
        *codes++ = (int8_t)((nibble ^ 8) - 8);
    }
}

void sdg_unpack4(const uint8_t *packed, size_t rows, size_t inputs, int8_t *codes)
{
    for (size_t r = 0; r < rows; r++)
        sdg_unpack4_part(packed + r * sdg_packed_row(inputs), 0, inputs, codes + r * inputs);
}
