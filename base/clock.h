// The machine's monotonic clock, for durations. Thread-safe.
#ifndef SDG_BASE_CLOCK_H
#define SDG_BASE_CLOCK_H

double sdg_clock(void); // seconds since some moment in the past

#endif
