// Pages with results: HTML that is complete in itself (pictures as base64, drawings as SVG, no scripts, nothing loaded)
// and well-formed as XML. Texts are escaped; numbers have a decimal point whatever the locale, because programs never
// set one. Whether everything could be written shows when the file is committed (apps/common/output.h).
#ifndef SDG_APPS_REPORT_H
#define SDG_APPS_REPORT_H

#include <stdio.h>

#include "ui.h"

void report_begin(FILE *file, const char *title);
void report_end(FILE *file);
void report_text(FILE *file, const char *text); // escaped, also fit for attributes
// <img> of a picture; `alternative` is what is read when it cannot be shown.
enum sdg_result report_picture(struct app_ui *ui, FILE *file, const struct sdg_image *image, const char *alternative);

// ---- drawings ----

// The colour of series number i; from the eleventh on they begin again, and report_dash gives another stroke.
const char *report_color(size_t i);
const char *report_dash(size_t i); // value of stroke-dasharray, "" = solid

struct report_line {
    const double *x, *y; // [count]; a y that is not finite interrupts the line
    size_t count;
    const char *color, *dash;
    const char *name; // what the number under the pointer is called
};
struct report_band {              // the area between two lines
    const double *x, *low, *high; // [count], finite
    size_t count;
    bool inner;       // the darker of two
    const char *name; // as above; NULL = not shown
};
struct report_chart {
    int width, height;             // pixels, everything included
    bool small;                    // fewer ticks, smaller letters
    const char *x_label, *y_label; // beside the axes, with the unit; NULL = none
    const char *x_name, *unit;     // of the numbers under the pointer: "step", "dB"; NULL = none
    bool whole_x;                  // whole numbers along x
    double x_min, x_max;           // left and right: x_min > x_max runs the other way
    double y_min, y_max;           // y_min >= y_max: what the data need, 0 included
    const struct report_band *bands;
    size_t band_count;
    const struct report_line *lines;
    size_t line_count;
};
void report_chart(FILE *file, const struct report_chart *chart);
// A line of coloured names.
void report_legend(FILE *file, const char *const *names, size_t count);

// Coloured cells, rows x columns, from low (dark) to high (bright). Infinite values have the brightest colour, NaN
// none.
struct report_map {
    size_t rows, columns;
    const double *values;          // [rows][columns]
    const char *const *row_names;  // [rows] beside the first column; NULL = none
    const char *const *row_titles; // [rows] shown under the pointer, may have several lines; NULL = none
    const char *left, *right;      // below the first and the last column; NULL = none
    double low, high;
    int cell_width, cell_height; // pixels
};
void report_map(FILE *file, const struct report_map *map);
// The colours of a map with the values at both ends.
void report_map_legend(FILE *file, double low, double high, const char *unit);

// ---- JSON ----

void report_json_text(FILE *file, const char *text);                      // quoted and escaped
void report_json_number(FILE *file, double value);                        // to nine digits; null unless finite
void report_json_numbers(FILE *file, const double *values, size_t count); // [...]

#endif
