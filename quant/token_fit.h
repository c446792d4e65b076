// Intervals for each token's position: PTQ4VM's per-token static quantization (Cho, Lee, Kim, Park: WACV 2025, arXiv
// 2412.20386), and its products with a function of the timestep.
//
// Codes are 0 .. n - 1, n = 2^bits, asymmetric, one scale and zero point for all channels of a token:
//     scale = (high - low) / (n - 1),  zero point = clip(rint(-low / scale)),   low <= 0 <= high
// PTQ4VM takes low and high from a range that shrinks at both ends alike,
//     low = min(min (1 - a) + max a, 0),  high = max(min a + max (1 - a), 0),   a = i / 100, i = 0 .. 49
// the one with the least sum of |x - Q(x)|^power over what the token was seen to be. (Unlike the released code this
// forces zero inside before the error is measured, not after.) At few bits that cuts off values below zero where those
// above reach far (of a SiLU's, all of them). So parts of both ends by themselves are tried too, and from the best of
// all these each end is moved on, in steps that are halved, as long as the error falls.
//
// A token is seen once a picture, by few pictures then: what is cut off of those to come is the dearest error at 8
// bits, and all tokens together know better how far the tails of a site reach. So the error of all tokens' values
// counts, too, as much as `others` more pictures would.
//
// Where the statistics weigh values (quant/token_histogram.h) they count by their weight: what follows a block, a norm
// at the latest, sees an error beside the token that it is of, and a few pictures of large values would decide else.
//
// With factors r[row] the interval of a row is r[row] times as wide, the zero point the same: minimum and maximum are
// those of x / r, the error is summed over all rows. So for a given r(t) the scale of the token is the best one.
#ifndef SDG_QUANT_TOKEN_FIT_H
#define SDG_QUANT_TOKEN_FIT_H

#include "quant/search.h"
#include "quant/statistics.h"

struct sdg_token_intervals { // owned; free with sdg_token_intervals_clear
    size_t times;            // 1, or the statistics' rows
    size_t height, width;    // of the grid of tokens; 0: there are none
    float *scales;           // [times][height * width]
    int32_t *zero_points;    // the same
    float *factors;          // [1000] over t, NULL: none
    double cost;             // the error that the search makes small, all tokens' values included
    // For the report, over rows: sum of the tokens' own errors to the power asked for; dB, at most SDG_FIT_BEST_SQNR
    double error, sqnr, worst_sqnr;
    size_t worst_row;
};

struct sdg_token_fit_options {
    int bits;
    double power;
    bool each_row;         // an interval for each row too; else one for all rows
    double others;         // how many pictures all tokens' values count as, beside the token's own
    const double *factors; // [rows] r; NULL: 1
};

// Fits a site that keeps tokens; rows as the statistics'. A token that was 0 throughout gets the interval of all
// tokens.
enum sdg_result sdg_token_fit(const struct sdg_log *log, const struct sdg_site_statistics *site, size_t rows,
                              const struct sdg_token_fit_options *options, struct sdg_token_intervals *out);
void sdg_token_intervals_clear(struct sdg_token_intervals *intervals);
// What each row loses if the scales of all tokens' intervals (of one time) are multiplied by the same number: the cost
// of the search, for fitting a function of the timestep to them (quant/tdq.h).
enum sdg_result sdg_token_curves(const struct sdg_log *log, const struct sdg_site_statistics *site, size_t rows,
                                 const struct sdg_token_fit_options *options,
                                 const struct sdg_token_intervals *intervals, struct sdg_curves **out);

// The asymmetric interval of `bits` that reaches from min to max and holds 0.
struct sdg_interval sdg_interval_between(int bits, double min, double max);

#endif
