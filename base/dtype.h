// Element types of tensors in files and in memory, and conversions between them.
#ifndef SDG_BASE_DTYPE_H
#define SDG_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum sdg_dtype {
    SDG_F32,
    SDG_F16,
    SDG_BF16,
    SDG_F64,
    SDG_S8,
    SDG_U8,
    SDG_S16,
    SDG_S32,
    SDG_S64,
    SDG_BOOL,
    SDG_F8_E4M3, // 4 bits of exponent, 3 of mantissa, "fn": no infinity, one NaN, up to 448
    SDG_F8_E5M2, // the upper half of an f16
    SDG_DTYPE_COUNT
};

size_t sdg_dtype_size(enum sdg_dtype dtype);
// Lower-case names: f32 f16 bf16 f64 s8 u8 s16 s32 s64 bool f8_e4m3 f8_e5m2.
const char *sdg_dtype_name(enum sdg_dtype dtype);
bool sdg_dtype_is_float(enum sdg_dtype dtype); // f32, f16, bf16, f64, f8_e4m3, f8_e5m2

// Round to nearest even; overflow gives infinity; NaN stays NaN.
uint16_t sdg_f16_from_f32(float value);
float sdg_f32_from_f16(uint16_t bits);
uint16_t sdg_bf16_from_f32(float value);
static inline float sdg_f32_from_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// The 8-bit floats, exactly; NaN of either sign becomes the quiet NaN of that sign.
float sdg_f32_from_f8_e4m3(uint8_t bits);
float sdg_f32_from_f8_e5m2(uint8_t bits);

// `count` elements between any two float types (f32, f16, bf16; f64, the 8-bit floats, s8 and u8 only as a source).
// Elements of both are aligned. May not overlap unless equal in type.
void sdg_convert(void *to, enum sdg_dtype to_type, const void *from, enum sdg_dtype from_type, size_t count);

#endif
