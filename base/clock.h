// The machine's monotonic clock, for durations. Thread-safe.
#ifndef SDG_BASE_CLOCK_H
#define SDG_BASE_CLOCK_H

// Seconds since some moment in the past; setting the system's time does not move it.
double sdg_clock(void);

#endif
