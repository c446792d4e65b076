// Ratios of powers, as every report of sdgen tells them.
#ifndef SDG_BASE_DECIBEL_H
#define SDG_BASE_DECIBEL_H

#include <math.h>

// 10 log10(signal / noise), in dB. INFINITY where there is a signal and no noise; NAN where there is no signal to speak
// of (0 or less, or NAN), whatever the noise, and for a noise that is no power (below 0, or NAN).
static inline double sdg_decibel(double signal, double noise)
{
    if (!(signal > 0) || !(noise >= 0))
        return NAN;
    return noise > 0 ? 10 * log10(signal / noise) : INFINITY;
}

#endif
