#include "scheduler/rng.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

// Functions of the C library are called in double precision only and their result is rounded to float where a float is
// wanted: the last bit of a double differs between libraries, the rounded float practically never does.

#define PI 3.14159265358979323846

enum { MT_SIZE = 624, MT_SHIFT = 397, MINSTD_MODULUS = 2147483647, MINSTD_FACTOR = 16807 };

static const char *const names[] = {
#define SDG_RNG(upper, name) name,
#include "scheduler/names.def"
};

const char *sdg_rng_name(enum sdg_rng_kind kind)
{
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

int sdg_rng_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return (int)i;
    return -1;
}

// ---- mt19937 (Matsumoto and Nishimura 1998) -------------------------------------------------------------------------

static void mt_seed(struct sdg_rng *rng, uint32_t seed)
{
    rng->state[0] = seed;
    for (uint32_t i = 1; i < MT_SIZE; i++) {
        uint32_t previous = rng->state[i - 1];
        rng->state[i] = 1812433253u * (previous ^ (previous >> 30)) + i;
    }
    rng->position = MT_SIZE;
}

static void mt_refill(struct sdg_rng *rng)
{
    for (int i = 0; i < MT_SIZE; i++) {
        uint32_t joined = (rng->state[i] & 0x80000000u) | (rng->state[(i + 1) % MT_SIZE] & 0x7fffffffu);
        uint32_t twist = joined & 1 ? 0x9908b0dfu : 0;
        rng->state[i] = rng->state[(i + MT_SHIFT) % MT_SIZE] ^ (joined >> 1) ^ twist;
    }
    rng->position = 0;
}

static uint32_t mt_next(struct sdg_rng *rng)
{
    if (rng->position == MT_SIZE)
        mt_refill(rng);
    uint32_t x = rng->state[rng->position++];
    x ^= x >> 11;
    x ^= (x << 7) & 0x9d2c5680u;
    x ^= (x << 15) & 0xefc60000u;
    return x ^ (x >> 18);
}

static float mt_uniform_float(struct sdg_rng *rng) // 24 bits
{
    return (float)(mt_next(rng) & 0xffffff) * 0x1p-24f;
}

static double mt_uniform_double(struct sdg_rng *rng) // 53 bits, the first number drawn is the upper half
{
    uint64_t high = mt_next(rng);
    uint64_t bits = high << 32 | mt_next(rng);
    return (double)(bits & 0x1fffffffffffffu) * 0x1p-53;
}

// ---- torch's normal numbers on a CPU --------------------------------------------------------------------------------
//
// From 16 numbers on, torch computes logarithm, sine and cosine in float with the polynomials of the Cephes library
// (Moshier), eight lanes at a time, products fused with the sum that follows. The order of the operations below, and
// which of them are fused, is part of the result: tests compare it bit for bit.

static float cephes_log(float x) // of a positive normal number
{
    static const float p[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    int exponent;
    x = frexpf(x, &exponent); // 0.5 <= x < 1
    float e = (float)exponent;
    if (x < 0.707106781186547524f) {
        e -= 1;
        x = (x - 1) + x;
    } else {
        x -= 1;
    }
    float z = x * x, y = p[0];
    for (size_t i = 1; i < sizeof p / sizeof *p; i++)
        y = fmaf(y, x, p[i]);
    y *= x;
    y = fmaf(y, z, e * -2.12194440e-4f); // log 2 in two parts
    y = fmaf(-0.5f, z, y);
    return fmaf(e, 0.693359375f, x + y);
}

static void cephes_sincos(float x, float *sine, float *cosine) // 0 <= x <= 2 pi
{
    int octant = ((int)(x * 1.27323954473516f) + 1) & ~1; // even: the remainder lies in -pi/4 .. pi/4
    float y = (float)octant;
    x = fmaf(y, -0.78515625f, x); // pi/4 in three parts
    x = fmaf(y, -2.4187564849853515625e-4f, x);
    x = fmaf(y, -3.77489497744594108e-8f, x);

    float z = x * x;
    float c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f) * z;
    c = fmaf(c, z, -0.5f * z) + 1;
    float s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f) * z;
    s = fmaf(s, x, x);

    bool swapped = octant & 2;
    *sine = swapped ? c : s;
    *cosine = swapped ? s : c;
    if (octant & 4)
        *sine = -*sine;
    if ((octant + 2) & 4)
        *cosine = -*cosine;
}

static void torch_block(float *block) // 16 uniform numbers become 16 normal ones (Box-Muller)
{
    for (int i = 0; i < 8; i++) {
        float radius = sqrtf(-2 * cephes_log(1 - block[i])), sine, cosine;
        cephes_sincos((float)(2 * PI) * block[i + 8], &sine, &cosine);
        block[i] = radius * cosine;
        block[i + 8] = radius * sine;
    }
}

static void torch_blocks(struct sdg_rng *rng, float *out, size_t count) // count >= 16
{
    for (size_t i = 0; i < count; i++)
        out[i] = mt_uniform_float(rng);
    for (size_t i = 0; i + 16 <= count; i += 16)
        torch_block(out + i);
    if (count % 16 == 0)
        return;
    float *tail = out + count - 16; // the last 16 are drawn anew
    for (int i = 0; i < 16; i++)
        tail[i] = mt_uniform_float(rng);
    torch_block(tail);
}

static double torch_single(struct sdg_rng *rng) // pairs in double, the second is kept for the next call
{
    if (rng->has_spare) {
        rng->has_spare = 0;
        return rng->spare;
    }
    double angle = 2 * PI * mt_uniform_double(rng);
    double radius = sqrt(-2 * log1p(-mt_uniform_double(rng)));
    rng->spare = radius * sin(angle);
    rng->has_spare = 1;
    return radius * cos(angle);
}

static void torch_normal(struct sdg_rng *rng, float *out, size_t count)
{
    if (count >= 16) {
        torch_blocks(rng, out, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (float)torch_single(rng);
}

// ---- Philox4x32-10 (Salmon et al. 2011) -----------------------------------------------------------------------------

// The first two of the four words for the counter (draw, draw >> 32, element, 0). One element uses one counter.
static void philox(uint64_t seed, uint64_t draw, uint32_t element, uint32_t out[2])
{
    uint32_t c0 = (uint32_t)draw, c1 = (uint32_t)(draw >> 32), c2 = element, c3 = 0;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xd2511f53u, b = (uint64_t)c2 * 0xcd9e8d57u;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
}

static void philox_normal(struct sdg_rng *rng, float *out, size_t count)
{
    const float step = 2.3283064e-10f, angle_step = (float)(2.3283064e-10 * 2 * PI),
                angle_half = (float)(2.3283064e-10 * PI);
    for (size_t i = 0; i < count; i++) {
        uint32_t word[2];
        philox(rng->seed, rng->draw, (uint32_t)i, word);
        float u = (float)word[0] * step + step / 2; // 0 < u <= 1
        float v = (float)word[1] * angle_step + angle_half;
        out[i] = sqrtf(-2 * (float)log((double)u)) * (float)sin((double)v);
    }
    rng->draw++;
}

static void philox_uniform(struct sdg_rng *rng, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t word[2];
        philox(rng->seed, rng->draw, (uint32_t)i, word);
        out[i] = (float)(word[0] >> 8) * 0x1p-24f;
    }
    rng->draw++;
}

// ---- minstd_rand0 (Park and Miller) and the polar method, as in libstdc++ -------------------------------------------

static float minstd_uniform(struct sdg_rng *rng)
{
    rng->state[0] = (uint32_t)((uint64_t)rng->state[0] * MINSTD_FACTOR % MINSTD_MODULUS);
    float x = (float)(rng->state[0] - 1) * 0x1p-31f;
    return x < 1 ? x : 1 - 0x1p-24f;
}

static void minstd_seed(struct sdg_rng *rng, uint32_t seed)
{
    rng->state[0] = seed % MINSTD_MODULUS;
    if (rng->state[0] == 0)
        rng->state[0] = 1;
}

// The second number of a pair is returned by the next iteration; a draw starts without one.
static void minstd_normal(struct sdg_rng *rng, float *out, size_t count)
{
    for (size_t i = 0; i < count; i += 2) {
        float x, y, square;
        do {
            x = 2 * minstd_uniform(rng) - 1;
            y = 2 * minstd_uniform(rng) - 1;
            square = x * x + y * y;
        } while (square > 1 || square == 0);
        float scale = sqrtf(-2 * (float)log((double)square) / square);
        out[i] = y * scale;
        if (i + 1 < count)
            out[i + 1] = x * scale;
    }
}

// ---- interface ------------------------------------------------------------------------------------------------------

void sdg_rng_seed(struct sdg_rng *rng, enum sdg_rng_kind kind, uint64_t seed)
{
    *rng = (struct sdg_rng){.kind = kind, .seed = seed};
    if (kind == SDG_RNG_CPU)
        mt_seed(rng, (uint32_t)seed);
    else if (kind == SDG_RNG_STD)
        minstd_seed(rng, (uint32_t)seed);
}

void sdg_rng_normal(struct sdg_rng *rng, float *out, size_t count)
{
    switch (rng->kind) {
    case SDG_RNG_CUDA: philox_normal(rng, out, count); break;
    case SDG_RNG_CPU: torch_normal(rng, out, count); break;
    case SDG_RNG_STD: minstd_normal(rng, out, count); break;
    }
}

void sdg_rng_uniform(struct sdg_rng *rng, float *out, size_t count)
{
    if (rng->kind == SDG_RNG_CUDA) {
        philox_uniform(rng, out, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = rng->kind == SDG_RNG_CPU ? mt_uniform_float(rng) : minstd_uniform(rng);
}
