#include "base/dtype.h"

static const struct {
    const char *name;
    unsigned char size;
    bool is_float;
} types[SDG_DTYPE_COUNT] = {
    [SDG_F32] = {"f32", 4, true},    [SDG_F16] = {"f16", 2, true},         [SDG_BF16] = {"bf16", 2, true},
    [SDG_F64] = {"f64", 8, true},    [SDG_S8] = {"s8", 1, false},          [SDG_U8] = {"u8", 1, false},
    [SDG_S16] = {"s16", 2, false},   [SDG_S32] = {"s32", 4, false},        [SDG_S64] = {"s64", 8, false},
    [SDG_BOOL] = {"bool", 1, false}, [SDG_F8_E4M3] = {"f8_e4m3", 1, true}, [SDG_F8_E5M2] = {"f8_e5m2", 1, true},
};

size_t sdg_dtype_size(enum sdg_dtype dtype)
{
    return types[dtype].size;
}

const char *sdg_dtype_name(enum sdg_dtype dtype)
{
    return types[dtype].name;
}

bool sdg_dtype_is_float(enum sdg_dtype dtype)
{
    return types[dtype].is_float;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t sdg_f16_from_f32(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) // 65520 and above round to infinity
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { // below 2^-14: subnormal; adding 0.5 lets the FPU round at bit 2^-24
        uint32_t rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | rounded);
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((magnitude >> 13) - (112u << 10)));
}

float sdg_f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u)
        return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude < 0x400u) {
        float value = (float)magnitude * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_of(sign | ((magnitude + (112u << 10)) << 13));
}

uint16_t sdg_bf16_from_f32(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// An exponent of bias 7 becomes f32's of bias 127; what is below the smallest normal number counts in 2^-9.
float sdg_f32_from_f8_e4m3(uint8_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x80u) << 24, magnitude = bits & 0x7fu;
    if (magnitude == 0x7fu)
        return float_of(sign | 0x7fc00000u);
    if (magnitude < 8)
        return float_of(sign | bits_of((float)magnitude * 0x1p-9f));
    return float_of(sign | ((magnitude + (120u << 3)) << 20));
}

float sdg_f32_from_f8_e5m2(uint8_t bits)
{
    if ((bits & 0x7fu) > 0x7cu)
        return float_of((uint32_t)(bits & 0x80u) << 24 | 0x7fc00000u);
    return sdg_f32_from_f16((uint16_t)(bits << 8));
}

static float load(const void *from, enum sdg_dtype type, size_t i)
{
    switch (type) {
    case SDG_F16: return sdg_f32_from_f16(((const uint16_t *)from)[i]);
    case SDG_BF16: return sdg_f32_from_bf16(((const uint16_t *)from)[i]);
    case SDG_F64: return (float)((const double *)from)[i];
    case SDG_F8_E4M3: return sdg_f32_from_f8_e4m3(((const uint8_t *)from)[i]);
    case SDG_F8_E5M2: return sdg_f32_from_f8_e5m2(((const uint8_t *)from)[i]);
    case SDG_S8: return ((const int8_t *)from)[i];
    case SDG_U8: return ((const uint8_t *)from)[i];
    default: return ((const float *)from)[i];
    }
}

void sdg_convert(void *to, enum sdg_dtype to_type, const void *from, enum sdg_dtype from_type, size_t count)
{
    if (to_type == from_type) {
        memcpy(to, from, count * sdg_dtype_size(to_type));
        return;
    }
    switch (to_type) {
    case SDG_F16:
        for (size_t i = 0; i < count; i++)
            ((uint16_t *)to)[i] = sdg_f16_from_f32(load(from, from_type, i));
        break;
    case SDG_BF16:
        for (size_t i = 0; i < count; i++)
            ((uint16_t *)to)[i] = sdg_bf16_from_f32(load(from, from_type, i));
        break;
    default:
        for (size_t i = 0; i < count; i++)
            ((float *)to)[i] = load(from, from_type, i);
    }
}
