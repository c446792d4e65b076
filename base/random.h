// Random numbers for samples and searches, where any good sequence does as long as it is always the same one:
// splitmix64 (Steele, Lea, Flood 2014). The noise of pictures comes from scheduler/rng.h.
#ifndef SDG_BASE_RANDOM_H
#define SDG_BASE_RANDOM_H

#include <stdint.h>

// The next number of the sequence; *state is any number at first, the seed.
static inline uint64_t sdg_random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

// In [0, 1), a multiple of 2^-53.
static inline double sdg_random_uniform(uint64_t *state)
{
    return (double)(sdg_random_next(state) >> 11) * 0x1p-53;
}

#endif
