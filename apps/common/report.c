#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sdgen/picture.h"

// -------------------------------------------------------------------------------------------------- page

// Colours are variables, so that a dark scheme changes them in one place; drawings have them as attributes too, because
// not every viewer applies styles to drawings. What is wider than the window scrolls in a box of its own, whose edges
// are shaded where more lies behind them.
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c1e21;--quiet:#5b6067;--paper:#fff;--rule:#e4e6e9;--axis:#b9bdc4;"
    "--hover:#f3f5f8;--outer:#e3e6ea;--inner:#cfd4da;--none:#eee;--shade:rgba(0,0,0,.25)}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e3e5e8;--quiet:#a2a8b0;--paper:#16181b;--rule:#2c3036;--axis:#"
    "555b64;"
    "--hover:#202429;--outer:#262b31;--inner:#3a414a;--none:#2a2d31;--shade:rgba(0,0,0,.8)}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;padding:1.5rem "
    "2rem "
    "4rem;max-width:86rem}"
    "h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.4rem 0 .4rem}h3{font-size:1rem;margin:1.4rem 0 "
    ".2rem}p{max-width:60rem;margin:.4rem 0;overflow-wrap:anywhere}.quiet{color:var(--quiet)}"
    "table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid "
    "var(--rule);white-space:nowrap}"
    "th{font-weight:600;border-bottom:2px solid "
    "var(--axis);vertical-align:bottom}th:first-child,td:first-child,td.text,th.text{text-align:left}"
    "tbody tr:hover{background:var(--hover)}figure{display:inline-block;margin:.4rem .8rem .4rem "
    "0;vertical-align:top;max-width:100%}"
    "figcaption{font-size:.75rem;color:var(--quiet);line-height:1.35;overflow-wrap:anywhere}.legend "
    "span{margin-right:1.2rem;display:inline-block}"
    "svg{display:block}svg.chart{overflow:visible}svg text{fill:var(--quiet)}.grid{stroke:var(--rule)}"
    ".axis{stroke:var(--axis)}.outer{fill:var(--outer)}.inner{fill:var(--inner)}.none{fill:var(--none)}"
    ".at:hover{fill:var(--ink);fill-opacity:.12}"
    ".wide{overflow-x:auto;background:linear-gradient(90deg,var(--paper) 30%,transparent) 0 0/3rem 100% local,"
    "linear-gradient(270deg,var(--paper) 30%,transparent) 100% 0/3rem 100% local,"
    "linear-gradient(90deg,var(--shade),transparent) 0 0/.6rem 100% scroll,"
    "linear-gradient(270deg,var(--shade),transparent) 100% 0/.6rem 100% scroll;background-repeat:no-repeat}"
    ".pictures{display:flex;flex-wrap:wrap;gap:.6rem 1.4rem}.pictures figure{margin:0}.pair{display:flex;gap:.3rem}"
    "img{display:block;border-radius:4px;width:20rem;max-width:100%;height:auto}img.small{image-rendering:pixelated}"
    ".pair img{min-width:0;flex:0 1 20rem}"
    "@media(max-width:40rem){body{padding:1rem .8rem 3rem}h1{font-size:1.3rem}.pair img{width:50%}}";

void report_begin(FILE *file, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" "
          "content=\"width=device-width,initial-scale=1\"/><title>",
          file);
    report_text(file, title);
    fprintf(file, "</title><style>%s</style></head>\n<body>\n<h1>", style);
    report_text(file, title);
    fputs("</h1>\n", file);
}

void report_end(FILE *file)
{
    fputs("</body></html>\n", file);
}

void report_text(FILE *file, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        case '"': fputs("&quot;", file); break;
        case '\'': fputs("&#39;", file); break;
        default: fputc((unsigned char)*text < 0x20 ? ' ' : *text, file);
        }
}

// Texts of several lines, as they are shown under the pointer.
static void report_lines(FILE *file, const char *text)
{
    for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
        for (; text < end; text++)
            report_text(file, (const char[]){*text, 0});
        fputs("&#10;", file);
    }
    report_text(file, text);
}

static void write_base64(FILE *file, const unsigned char *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        unsigned b = data[i], c = i + 1 < size ? data[i + 1] : 0, d = i + 2 < size ? data[i + 2] : 0;
        unsigned bits = b << 16 | c << 8 | d;
        const char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], i + 1 < size ? digits[bits >> 6 & 63] : '=',
                              i + 2 < size ? digits[bits & 63] : '='};
        fwrite(four, 1, sizeof four, file);
    }
}

enum { SHOWN_WIDTH = 320 }; // 20rem

enum sdg_result report_picture(struct app_ui *ui, FILE *file, const struct sdg_image *image, const char *alternative)
{
    uint8_t *data;
    size_t size;
    enum sdg_result result = sdg_picture_encode(app_log_of(ui), SDG_PICTURE_PNG, image, NULL, &data, &size);
    if (result != SDG_OK)
        return result;
    fprintf(file, "<img width=\"%d\" height=\"%d\"%s alt=\"", image->width, image->height,
            image->width < SHOWN_WIDTH ? " class=\"small\"" : ""); // enlarged, with its pixels as they are
    report_text(file, alternative);
    fputs("\" src=\"data:image/png;base64,", file);
    write_base64(file, data, size);
    fputs("\"/>", file);
    sdg_picture_free(data);
    return SDG_OK;
}

// -------------------------------------------------------------------------------------------------- charts

static const char *const colors[] = {"#4269d0", "#e08a00", "#d93a32", "#2fa08b", "#3c9a3c",
                                     "#e05c96", "#8a4fd0", "#5f97e8", "#8d5b3e", "#747b86"};
enum { COLORS = sizeof colors / sizeof *colors };

const char *report_color(size_t i)
{
    return colors[i % COLORS];
}

const char *report_dash(size_t i)
{
    static const char *const dashes[] = {"", "6 3", "2 2", "8 3 2 3"};
    return dashes[i / COLORS % (sizeof dashes / sizeof *dashes)];
}

// Attributes of every drawing: as attributes, because not every viewer applies styles to drawings.
#define TEXT_STYLE "font-family=\"system-ui,sans-serif\" fill=\"#555\""

// Where the data are drawn.
struct frame {
    double left, top, width, height; // pixels
    double x_min, x_max, y_min, y_max;
    double y_step; // between lines of the grid
};

static double place_x(const struct frame *f, double x)
{
    return f->left + (x - f->x_min) / (f->x_max - f->x_min) * f->width;
}

static double place_y(const struct frame *f, double y)
{
    return f->top + (f->y_max - y) / (f->y_max - f->y_min) * f->height;
}

// 1, 2 or 5 times a power of ten, so that about `count` steps cover the range.
static double nice_step(double range, int count)
{
    double raw = range / count, power = pow(10, floor(log10(raw))), digit = raw / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void include(double value, double *low, double *high)
{
    if (!isfinite(value))
        return;
    *low = value < *low ? value : *low;
    *high = value > *high ? value : *high;
}

static void find_y_range(const struct report_chart *chart, struct frame *f)
{
    double low = 0, high = 0;
    for (size_t i = 0; i < chart->band_count; i++)
        for (size_t k = 0; k < chart->bands[i].count; k++) {
            include(chart->bands[i].low[k], &low, &high);
            include(chart->bands[i].high[k], &low, &high);
        }
    for (size_t i = 0; i < chart->line_count; i++)
        for (size_t k = 0; k < chart->lines[i].count; k++)
            include(chart->lines[i].y[k], &low, &high);
    f->y_min = low;
    f->y_max = high > low ? high : low + 1;
    f->y_step = nice_step(f->y_max - f->y_min, chart->small ? 4 : 6); // up to the next line of the grid
    f->y_min = floor(f->y_min / f->y_step) * f->y_step;
    f->y_max = ceil(f->y_max / f->y_step) * f->y_step;
}

// Along x; either end may be the larger one.
static void draw_x_ticks(FILE *file, const struct report_chart *chart, const struct frame *f)
{
    const double low = fmin(f->x_min, f->x_max), high = fmax(f->x_min, f->x_max), bottom = f->top + f->height;
    double step = nice_step(high - low, chart->small ? 5 : 10);
    step = chart->whole_x && step < 1 ? 1 : step;
    for (double i = ceil(low / step); i * step <= high + step * 1e-6; i++) {
        double x = place_x(f, i * step);
        fprintf(file,
                "<path class=\"axis\" d=\"M%.1f %.1fv4\" stroke=\"#b9bdc4\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">%.6g</text>",
                x, bottom, x, bottom + 15, i * step);
    }
}

static void draw_y_ticks(FILE *file, const struct frame *f)
{
    const double step = f->y_step;
    for (double i = ceil(f->y_min / step - 1e-6); i * step <= f->y_max + step * 1e-6; i++) {
        double y = place_y(f, i * step);
        fprintf(file,
                "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\" stroke=\"#e4e6e9\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"end\">%.4g</text>",
                f->left, y, f->width, f->left - 6, y + 4, i == 0 ? 0 : i * step);
    }
}

static void draw_labels(FILE *file, const struct report_chart *chart, const struct frame *f)
{
    if (chart->x_label) {
        fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", f->left + f->width / 2,
                f->top + f->height + (chart->small ? 29 : 34));
        report_text(file, chart->x_label);
        fputs("</text>", file);
    }
    if (chart->y_label) {
        fprintf(file, "<text x=\"%.1f\" y=\"%.1f\">", 4.0, f->top - (chart->small ? 6 : 12));
        report_text(file, chart->y_label);
        fputs("</text>", file);
    }
}

static void draw_axes(FILE *file, const struct report_chart *chart, const struct frame *f)
{
    draw_y_ticks(file, f);
    draw_x_ticks(file, chart, f);
    fprintf(file, "<path class=\"axis\" fill=\"none\" d=\"M%.1f %.1fv%.1fh%.1f\" stroke=\"#b9bdc4\"/>", f->left, f->top,
            f->height, f->width);
    draw_labels(file, chart, f);
}

static void draw_band(FILE *file, const struct report_band *band, const struct frame *f)
{
    if (!band->count)
        return;
    fputs(band->inner ? "<path class=\"inner\" fill=\"#cfd4da\" d=\"" : "<path class=\"outer\" fill=\"#e3e6ea\" d=\"",
          file);
    for (size_t i = 0; i < band->count; i++)
        fprintf(file, "%c%.1f %.1f", i ? 'L' : 'M', place_x(f, band->x[i]), place_y(f, band->high[i]));
    for (size_t i = band->count; i-- > 0;)
        fprintf(file, "L%.1f %.1f", place_x(f, band->x[i]), place_y(f, band->low[i]));
    fputs("Z\"/>", file);
}

// Points that lie on a straight line with their neighbours, to a tenth of a pixel, are left out: constants become two
// points.
static bool is_needed(const struct report_line *line, const struct frame *f, size_t last, size_t i)
{
    if (i + 1 >= line->count || !isfinite(line->y[i + 1]))
        return true;
    double x0 = line->x[last], x1 = line->x[i + 1], share = x1 != x0 ? (line->x[i] - x0) / (x1 - x0) : 0;
    double straight = line->y[last] + share * (line->y[i + 1] - line->y[last]);
    return fabs(place_y(f, straight) - place_y(f, line->y[i])) > 0.1;
}

static void draw_line(FILE *file, const struct report_line *line, const struct frame *f)
{
    bool pen = false, any = false;
    size_t last = 0;
    for (size_t i = 0; i < line->count; i++) {
        if (!isfinite(line->y[i])) {
            pen = false;
            continue;
        }
        if (pen && !is_needed(line, f, last, i))
            continue;
        if (!any)
            fputs("<path fill=\"none\" stroke-width=\"1.6\" stroke-linejoin=\"round\" d=\"", file);
        fprintf(file, "%c%.1f %.1f", pen ? 'L' : 'M', place_x(f, line->x[i]), place_y(f, line->y[i]));
        pen = any = true;
        last = i;
    }
    if (any)
        fprintf(file, "\" stroke=\"%s\" stroke-dasharray=\"%s\"/>", line->color, *line->dash ? line->dash : "none");
}

// ---- numbers under the pointer ----

// Value at x of a polyline whose x rise or fall; NAN outside of it and where it is interrupted.
static double value_at(const double *xs, const double *ys, size_t count, double x)
{
    if (count == 1 && xs[0] == x)
        return ys[0];
    for (size_t i = 0; i + 1 < count; i++) {
        const double a = xs[i], b = xs[i + 1];
        if ((x - a) * (x - b) > 0 || a == b)
            continue;
        return x == a ? ys[i] : x == b ? ys[i + 1] : ys[i] + (ys[i + 1] - ys[i]) * (x - a) / (b - a);
    }
    return NAN;
}

static void write_value(FILE *file, const char *name, double value, const char *unit)
{
    fputs("&#10;", file);
    report_text(file, name);
    fprintf(file, ": %.4g%s", value, *unit ? " " : "");
    report_text(file, unit);
}

static void write_values(FILE *file, const struct report_chart *chart, double x)
{
    const char *unit = chart->unit ? chart->unit : "";
    report_text(file, chart->x_name ? chart->x_name : "x");
    fprintf(file, " %.4g", x);
    for (size_t i = 0; i < chart->line_count; i++) {
        const struct report_line *l = &chart->lines[i];
        double value = value_at(l->x, l->y, l->count, x);
        if (isfinite(value))
            write_value(file, l->name ? l->name : "", value, unit);
    }
    for (size_t i = 0; i < chart->band_count; i++) {
        const struct report_band *b = &chart->bands[i];
        double low = value_at(b->x, b->low, b->count, x), high = value_at(b->x, b->high, b->count, x);
        if (!b->name || !isfinite(low))
            continue;
        write_value(file, b->name, low, "");
        fprintf(file, " to %.4g", high);
    }
}

// A strip around every x that the first line has, or around a dozen where those are many.
static void draw_strips(FILE *file, const struct report_chart *chart, const struct frame *f)
{
    enum { MOST = 60, FEW = 12 };
    const struct report_line *l = chart->line_count ? &chart->lines[0] : NULL;
    const bool own = l && l->count && l->count <= (chart->small ? FEW : MOST);
    const size_t count = own ? l->count : FEW + 1;
    const double width = f->width / (double)(count > 1 ? count - 1 : 1);
    for (size_t i = 0; l && l->count && i < count; i++) {
        double x = own ? l->x[i] : f->x_min + (f->x_max - f->x_min) * (double)i / FEW;
        double left = fmax(place_x(f, x) - width / 2, f->left), right = fmin(left + width, f->left + f->width);
        if (right <= left)
            continue;
        fprintf(file,
                "<rect class=\"at\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill-opacity=\"0\"><title>",
                left, f->top, right - left, f->height);
        write_values(file, chart, x);
        fputs("</title></rect>", file);
    }
}

void report_chart(FILE *file, const struct report_chart *chart)
{
    struct frame f = {
        .left = chart->small ? 44 : 48,
        .top = !chart->small ? 30
            : chart->y_label ? 18
                             : 6,
        .x_min = chart->x_min,
        .x_max = chart->x_max,
        .y_min = chart->y_min,
        .y_max = chart->y_max,
        .y_step = nice_step(chart->y_max > chart->y_min ? chart->y_max - chart->y_min : 1, chart->small ? 4 : 6)};
    f.width = chart->width - f.left - 12;
    f.height = chart->height - f.top - (chart->small ? chart->x_label ? 33 : 18 : 40);
    if (!(f.y_min < f.y_max))
        find_y_range(chart, &f);
    if (f.x_min == f.x_max)
        f.x_max = f.x_min + 1;
    fprintf(file,
            "<svg class=\"chart\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
            "font-size=\"%d\" " TEXT_STYLE ">",
            chart->width, chart->height, chart->width, chart->height, chart->small ? 10 : 11);
    for (size_t i = 0; i < chart->band_count; i++)
        draw_band(file, &chart->bands[i], &f);
    draw_axes(file, chart, &f);
    for (size_t i = 0; i < chart->line_count; i++)
        draw_line(file, &chart->lines[i], &f);
    draw_strips(file, chart, &f);
    fputs("</svg>", file);
}

void report_legend(FILE *file, const char *const *names, size_t count)
{
    fputs("<p class=\"legend\">", file);
    for (size_t i = 0; i < count; i++) {
        const char *dash = report_dash(i);
        fprintf(file,
                "<span><svg width=\"26\" height=\"10\" style=\"display:inline\"><path d=\"M0 5h22\" stroke=\"%s\" "
                "stroke-width=\"2.5\" stroke-dasharray=\"%s\"/></svg>",
                report_color(i), *dash ? dash : "none");
        report_text(file, names[i]);
        fputs("</span>", file);
    }
    fputs("</p>\n", file);
}

// -------------------------------------------------------------------------------------------------- maps

enum { SHADES = 32 };

// From dark blue over green to light yellow: even in lightness, and readable without colour vision.
static void shade_color(int shade, char text[static 8])
{
    static const unsigned char anchors[][3] = {{35, 18, 74},  {44, 62, 128},  {31, 108, 142}, {30, 152, 138},
                                               {92, 193, 99}, {178, 221, 44}, {253, 242, 150}};
    enum { LAST = sizeof anchors / sizeof *anchors - 1 };
    double at = (double)shade / (SHADES - 1) * LAST;
    int i = (int)at < LAST ? (int)at : LAST - 1;
    unsigned rgb[3];
    for (int k = 0; k < 3; k++)
        rgb[k] = (unsigned)lround(anchors[i][k] + (at - i) * (anchors[i + 1][k] - anchors[i][k]));
    snprintf(text, 8, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

// -1: no colour.
static int shade_of(const struct report_map *map, double value)
{
    if (isnan(value))
        return -1;
    double share = (value - map->low) / (map->high - map->low);
    return share >= 1 ? SHADES - 1 : share <= 0 ? 0 : (int)(share * SHADES);
}

// All cells of a shade are one path.
static void draw_shade(FILE *file, const struct report_map *map, int left, int shade)
{
    char color[8];
    bool any = false;
    shade_color(shade, color);
    for (size_t r = 0; r < map->rows; r++)
        for (size_t c = 0; c < map->columns; c++) {
            size_t run = 0; // neighbours of the same shade are one rectangle
            while (c + run < map->columns && shade_of(map, map->values[r * map->columns + c + run]) == shade)
                run++;
            if (!run)
                continue;
            if (!any)
                fprintf(file, "<path fill=\"%s\" d=\"", color);
            any = true;
            int width = (int)run * map->cell_width;
            fprintf(file, "M%d %dh%dv%dh-%dz", left + (int)c * map->cell_width, (int)r * map->cell_height, width,
                    map->cell_height, width);
            c += run - 1;
        }
    if (any)
        fputs("\"/>", file);
}

void report_map(FILE *file, const struct report_map *map)
{
    size_t longest = 0;
    for (size_t r = 0; map->row_names && r < map->rows; r++)
        longest = strlen(map->row_names[r]) > longest ? strlen(map->row_names[r]) : longest;
    int left = longest ? (int)longest * 5 + 8 : 0, width = (int)map->columns * map->cell_width,
        height = (int)map->rows * map->cell_height;
    fprintf(file,
            "<svg width=\"%d\" height=\"%d\" role=\"img\" style=\"overflow:visible;margin-bottom:14px\" "
            "shape-rendering=\"crispEdges\" font-size=\"9\" " TEXT_STYLE
            "><rect x=\"%d\" width=\"%d\" height=\"%d\" class=\"none\" fill=\"#eee\"/>",
            left + width, height, left, width, height);
    for (int shade = 0; shade < SHADES; shade++)
        draw_shade(file, map, left, shade);
    for (size_t r = 0; r < map->rows; r++) {
        int y = (int)r * map->cell_height;
        if (map->row_names) {
            fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", left - 6, y + map->cell_height - 1);
            report_text(file, map->row_names[r]);
            fputs("</text>", file);
        }
        if (map->row_titles) {
            fprintf(file, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#fff\" fill-opacity=\"0\"><title>",
                    left, y, width, map->cell_height);
            report_lines(file, map->row_titles[r]);
            fputs("</title></rect>", file);
        }
    }
    const char *const ends[2] = {map->left, map->right};
    for (int i = 0; i < 2; i++)
        if (ends[i]) {
            fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\">", left + i * width, height + 11,
                    i ? "end" : "start");
            report_text(file, ends[i]);
            fputs("</text>", file);
        }
    fputs("</svg>", file);
}

void report_map_legend(FILE *file, double low, double high, const char *unit)
{
    enum { CELL = 8 };
    fprintf(file, "<p><svg width=\"%d\" height=\"12\" style=\"display:inline;vertical-align:middle\">", SHADES * CELL);
    for (int i = 0; i < SHADES; i++) {
        char color[8];
        shade_color(i, color);
        fprintf(file, "<rect x=\"%d\" width=\"%d\" height=\"12\" fill=\"%s\"/>", i * CELL, CELL, color);
    }
    fprintf(file, "</svg> <span class=\"quiet\">%.3g ", low);
    report_text(file, unit);
    fprintf(file, " or less (dark) to %.3g ", high);
    report_text(file, unit);
    fputs(" and more</span></p>\n", file);
}

// -------------------------------------------------------------------------------------------------- JSON

void report_json_text(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        if ((unsigned char)*text < 0x20)
            fprintf(file, "\\u%04x", *text);
        else
            fputc(*text, file);
    }
    fputc('"', file);
}

void report_json_number(FILE *file, double value)
{
    if (isfinite(value))
        fprintf(file, "%.9g", value);
    else
        fputs("null", file);
}

void report_json_numbers(FILE *file, const double *values, size_t count)
{
    fputc('[', file);
    for (size_t i = 0; i < count; i++) {
        if (i)
            fputc(',', file);
        report_json_number(file, values[i]);
    }
    fputc(']', file);
}
