// Searching scales: the errors of one site in all rows, and the scales that make them least.
#ifndef SDG_QUANT_SEARCH_H
#define SDG_QUANT_SEARCH_H

#include "quant/interval.h"

// Errors of every row on one grid of scales, evenly spaced in the logarithm: what searches and fits look at instead of
// the histograms. Read-only after creation, so from any thread.
struct sdg_curves {
    size_t rows, points;
    double first, step; // logarithm of the grid's first scale, distance
    // [rows][points], natural logarithm, bounded below; all 0 for rows without a value other than 0
    double *log_errors;
    bool *silent; // [rows] without a value other than 0: any scale will do
    // of a site as a whole; where cells is NULL errors were added up from elsewhere
    enum sdg_site_kind kind;
    int bits;
    struct sdg_cells *cells; // [rows]
};
// power: 2.4 as usual in the literature, or 2. histograms[rows] is not kept. Non-finite values: SDG_ERROR_INPUT naming
// `site`.
enum sdg_result sdg_curves_create(const struct sdg_log *log, const char *site, enum sdg_site_kind kind, int bits,
                                  double power, const struct sdg_histogram *histograms, size_t rows,
                                  struct sdg_curves **out);
void sdg_curves_destroy(struct sdg_curves **curves);
// Curves of anything else that one number for each row decides on: errors are added up at the grid's scales, and after
// sdg_curves_end they are curves as above. reach[rows]: a scale that clips nothing of the row, about; 0: it is silent.
enum sdg_result sdg_curves_begin(const struct sdg_log *log, const float *reach, size_t rows, struct sdg_curves **out);
float sdg_curves_scale(const struct sdg_curves *curves, size_t point);
void sdg_curves_add(struct sdg_curves *curves, size_t row, size_t point, double error);
void sdg_curves_end(struct sdg_curves *curves);
// Exact for this scale (no grid) where there are cells; else read from the grid.
double sdg_curves_error(const struct sdg_curves *curves, size_t row, float scale);
// From the grid: logarithm of the row's error at a scale given as logarithm, and its derivative; smooth, and rising on
// both sides beyond the grid.
double sdg_curves_log_error(const struct sdg_curves *curves, size_t row, double log_scale, double *slope);

// The scale with the least error summed over all rows; 1 if all rows are silent. `error` may be NULL.
float sdg_search_static(const struct sdg_curves *curves, double *error);
// The same for each row by itself. Silent rows get the scale of the nearest row (by index) that is not.
void sdg_search_table(const struct sdg_curves *curves, float *scales, double *error);

#endif
