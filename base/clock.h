// Time for progress, reports and benches.
#ifndef SDG_BASE_CLOCK_H
#define SDG_BASE_CLOCK_H

// Seconds since some moment in the past. Monotonic: setting the system's time does not move it.
double sdg_clock(void);

#endif
