// Noise: the generators that diffusers and stable-diffusion.cpp use, so that a seed gives the same picture as there.
//
// cpu is torch's generator bit for bit (as torch computes on x86 with AVX2). cuda follows torch's CUDA generator within
// 1e-6. Both, and std_default, give the same numbers on every machine. Cannot fail; nothing is allocated.
#ifndef SDG_SCHEDULER_RNG_H
#define SDG_SCHEDULER_RNG_H

#include <stddef.h>
#include <stdint.h>

enum sdg_rng_kind {
#define SDG_RNG(upper, name) SDG_RNG_##upper,
#include "scheduler/names.def"
};

struct sdg_rng {
    enum sdg_rng_kind kind;
    uint64_t seed;
    uint32_t state[624]; // mt19937; minstd_rand0 uses the first
    int position;        // of the next word in state
    uint64_t draw;       // philox: counts the draws since seeding
    double spare;        // cpu keeps the second normal of a pair where fewer than 16 are drawn
    int has_spare;
};

// As torch, mt19937 takes the lower 32 bits of the seed (so does std_default); Philox takes all 64.
void sdg_rng_seed(struct sdg_rng *rng, enum sdg_rng_kind kind, uint64_t seed);
// One draw of `count` standard normal numbers, as one call of torch.randn(count).
void sdg_rng_normal(struct sdg_rng *rng, float *out, size_t count);
// One draw of `count` uniform numbers in [0,1); cpu as torch.rand.
void sdg_rng_uniform(struct sdg_rng *rng, float *out, size_t count);

const char *sdg_rng_name(enum sdg_rng_kind kind); // cuda, cpu, std_default
int sdg_rng_from_name(const char *name);          // -1 if unknown

#endif
