// The results as a page: pictures, tables, outputs and latents over the steps, maps of the sites, their intervals.
// Wherever there is time it runs as it does when a picture is drawn: from left to right.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/report.h"
#include "sdeval.h"

static const double MIB = 1024.0 * 1024.0;

// -------------------------------------------------------------------------------------------------- table

static void write_cell(FILE *file, const char *format, double value)
{
    fputs("<td>", file);
    if (isnan(value))
        fputs("–", file);
    else if (isinf(value))
        fputs("∞", file);
    else
        fprintf(file, format, value);
    fputs("</td>", file);
}

static void write_settings(FILE *file, const struct sdg_evaluation *e)
{
    fprintf(file,
            "<p>%zu pictures of %dx%d, %d steps of %s (%s), guidance %.6g, noise of seeds %llu to %llu. Every model "
            "draws the same prompts from the same noise and is compared with ",
            e->runs, e->width, e->height, e->steps, e->sampler, e->schedule, e->cfg_scale, (unsigned long long)e->seed,
            (unsigned long long)e->seed + e->runs - 1);
    report_text(file, e->model[0].name);
    fprintf(file, ".</p>\n<p class=\"quiet\">sdgen %s, ", sdg_version());
    report_text(file, sdg_build_info());
    fputs("</p>\n", file);
}

static void write_names(FILE *file, const struct sdg_evaluation *e, size_t i)
{
    const struct sdg_evaluation_model *m = &e->model[i];
    fputs("<tr><td>", file);
    report_text(file, m->name);
    fprintf(file, "%s</td><td class=\"text\">", i ? "" : " (reference)");
    report_text(file, m->scheme);
    fprintf(file, "%s</td>", m->corrected ? ", corrected" : "");
}

static void write_table(FILE *file, const struct sdg_evaluation *e)
{
    fputs("<h2>How near the reference</h2>\n<div class=\"wide\"><table><thead><tr><th>model</th><th "
          "class=\"text\">scheme</th><th>outputs<br/>SQNR dB</th><th>latent<br/>SQNR dB</th><th>mean "
          "of<br/>pictures dB</th><th>latent<br/>MSE</th><th>PSNR<br/>dB</th><th>PSNR "
          "pooled<br/>dB</th><th>SSIM<br/>0 to 1</th></tr></thead><tbody>\n",
          file);
    for (size_t i = 0; i <= e->models; i++) {
        const struct sdg_evaluation_model *m = &e->model[i];
        write_names(file, e, i);
        write_cell(file, "%.2f", m->output);
        write_cell(file, "%.2f", m->latent_sqnr[e->steps - 1]);
        write_cell(file, "%.2f", m->sqnr);
        write_cell(file, "%.3g", m->latent_mse[e->steps - 1]);
        write_cell(file, "%.2f", m->psnr);
        write_cell(file, "%.2f", m->psnr_pooled);
        write_cell(file, "%.4f", m->ssim);
        fputs("</tr>\n", file);
    }
    fputs("</tbody></table></div>\n<p class=\"quiet\">Outputs: of the network on the reference's own latents, mean "
          "over the timesteps. SQNR: power of the reference's latent over that of the difference, after the last step, "
          "summed over all pictures, and the mean of their own. PSNR and SSIM: means over the "
          "pictures, 8 bit; pooled: of the mean squared difference.</p>\n",
          file);
}

static void write_costs(FILE *file, const struct sdg_evaluation *e)
{
    fputs("<h2>Time and memory</h2>\n<div class=\"wide\"><table><thead><tr><th>model</th><th "
          "class=\"text\">scheme</th><th>a step<br/>ms</th><th>a picture<br/>s</th><th>planned<br/>MiB</th><th>resident"
          "<br/>MiB</th><th>weights<br/>MiB</th></tr></thead><tbody>\n",
          file);
    for (size_t i = 0; i <= e->models; i++) {
        const struct sdg_evaluation_model *m = &e->model[i];
        write_names(file, e, i);
        write_cell(file, "%.2f", m->seconds_step * 1000);
        write_cell(file, "%.3f", m->seconds_picture);
        write_cell(file, "%.1f", (double)m->peak_planned / MIB);
        write_cell(file, "%.1f", (double)m->peak_resident / MIB);
        write_cell(file, "%.1f", (double)m->weight_bytes / MIB);
        fputs("</tr>\n", file);
    }
    fputs("</tbody></table></div>\n<p class=\"quiet\">Steps and pictures are medians. Planned: networks and their "
          "buffers "
          "at the peak; resident: the whole process while the model drew.</p>\n",
          file);
}

// -------------------------------------------------------------------------------------------------- outputs and
// latents

// One line per model but the reference. Returns whether there was memory for it.
static bool write_lines(FILE *file, const struct sdg_evaluation *e, struct report_chart chart, const double *x,
                        size_t count, const double *(*values)(const struct sdg_evaluation_model *m))
{
    struct report_line *lines = calloc(e->models, sizeof *lines);
    if (!lines)
        return false;
    for (size_t i = 0; i < e->models; i++)
        lines[i] = (struct report_line){
            x, values(&e->model[i + 1]), count, report_color(i), report_dash(i), e->model[i + 1].name};
    chart.lines = lines;
    chart.line_count = e->models;
    fputs("<div class=\"wide\">", file);
    report_chart(file, &chart);
    fputs("</div>\n", file);
    free(lines);
    return true;
}

static const double *outputs_of(const struct sdg_evaluation_model *m)
{
    return m->output_sqnr;
}
static const double *latents_of(const struct sdg_evaluation_model *m)
{
    return m->latent_sqnr;
}

static bool write_outputs(FILE *file, const struct sdg_evaluation *e, const char *const *names)
{
    if (!e->output_runs)
        return true;
    double first = 1;
    for (size_t i = 0; i < e->calls; i++)
        first = fmax(first, e->timesteps[i]);
    fprintf(file,
            "<h2>Outputs over the timestep</h2>\n<p>What the networks answer to the reference's own latents, in %zu of "
            "the pictures: the errors of single steps, before they feed on themselves. Drawing begins on the left, at "
            "the largest "
            "timestep.</p>\n",
            e->output_runs);
    report_legend(file, names, e->models);
    return write_lines(file, e,
                       (struct report_chart){.width = 900,
                                             .height = 380,
                                             .x_label = "timestep t, from noise to picture",
                                             .y_label = "SQNR, dB",
                                             .x_name = "t",
                                             .unit = "dB",
                                             .whole_x = true,
                                             .x_min = first,
                                             .x_max = 0},
                       e->timesteps, e->calls, outputs_of);
}

static bool write_latents(FILE *file, const struct sdg_evaluation *e, const char *const *names)
{
    double *steps = calloc((size_t)e->steps, sizeof *steps);
    if (!steps)
        return false;
    for (int i = 0; i < e->steps; i++)
        steps[i] = i + 1;
    fputs("<h2>Latents over the steps</h2>\n", file);
    report_legend(file, names, e->models);
    bool drawn = write_lines(file, e,
                             (struct report_chart){.width = 900,
                                                   .height = 380,
                                                   .x_label = "step",
                                                   .y_label = "SQNR, dB",
                                                   .x_name = "step",
                                                   .unit = "dB",
                                                   .whole_x = true,
                                                   .x_min = 1,
                                                   .x_max = e->steps},
                             steps, (size_t)e->steps, latents_of);
    free(steps);
    return drawn;
}

// -------------------------------------------------------------------------------------------------- sites

static bool has_sites(const struct sdg_evaluation *e)
{
    bool any = false;
    for (size_t i = 1; i <= e->models; i++)
        any |= e->model[i].sites != NULL;
    return any && e->sites > 0;
}

// Values of a map for one model, NAN where it does not quantize. The caller frees.
static double *map_values(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m)
{
    double *values = calloc(e->sites * e->calls, sizeof *values);
    for (size_t i = 0; values && i < e->sites; i++)
        for (size_t c = 0; c < e->calls; c++)
            values[i * e->calls + c] = m->sites[i].bits ? m->sites[i].sqnr[c] : NAN;
    return values;
}

// Both ends of the colours: what is seen, to whole fives.
static void find_range(const struct sdg_evaluation *e, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t m = 1; m <= e->models; m++)
        for (size_t i = 0; e->model[m].sites && i < e->sites; i++)
            for (size_t c = 0; e->model[m].sites[i].bits && c < e->calls; c++) {
                double value = e->model[m].sites[i].sqnr[c];
                if (isfinite(value) && value < *low)
                    *low = value;
                if (isfinite(value) && value > *high)
                    *high = value;
            }
    *low = isfinite(*low) ? floor(*low / 5) * 5 : 0;
    *high = isfinite(*high) ? ceil(*high / 5) * 5 : 60;
    if (*high <= *low)
        *high = *low + 5;
}

enum { TITLE_BYTES = 800, TITLE_CALLS = 24 };

// What the pointer shows on a row: the site, the model's total, and its numbers, of many runs some.
static void make_title(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m, size_t i,
                       char text[static TITLE_BYTES])
{
    const struct sdg_evaluation_interval *site = &m->sites[i];
    if (!site->bits) {
        snprintf(text, TITLE_BYTES, "%.150s: not quantized", e->site[i].name);
        return;
    }
    int length = snprintf(text, TITLE_BYTES, "%.150s: %.2f dB in all", e->site[i].name, site->total);
    const size_t stride = (e->calls + TITLE_CALLS - 1) / TITLE_CALLS;
    for (size_t c = 0; c < e->calls; c += stride)
        length += snprintf(text + length, (size_t)(TITLE_BYTES - length), "%st %.0f: %.1f",
                           c / stride % 6 ? ", " : "\n", e->timesteps[c], site->sqnr[c]);
}

static void make_titles(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m, char (*room)[TITLE_BYTES],
                        const char **titles)
{
    for (size_t i = 0; i < e->sites; i++) {
        make_title(e, m, i, room[i]);
        titles[i] = room[i];
    }
}

static bool write_map(FILE *file, const struct sdg_evaluation *e, const struct sdg_evaluation_model *m,
                      const char *const *names, double low, double high)
{
    char (*room)[TITLE_BYTES] = calloc(e->sites, sizeof *room);
    const char **titles = calloc(e->sites, sizeof *titles);
    double *values = map_values(e, m);
    bool drawn = room && titles && values;
    if (drawn) {
        make_titles(e, m, room, titles);
        char first[32], last[32];
        snprintf(first, sizeof first, "t = %.0f", e->timesteps[0]);
        snprintf(last, sizeof last, "%.0f", e->timesteps[e->calls - 1]);
        const struct report_map map = {.rows = e->sites,
                                       .left = first,
                                       .right = e->calls > 1 ? last : NULL,
                                       .columns = e->calls,
                                       .values = values,
                                       .row_names = names,
                                       .row_titles = titles,
                                       .low = low,
                                       .high = high,
                                       .cell_width = e->calls > 40 ? 4
                                           : e->calls > 16         ? 9
                                                                   : 160 / (int)e->calls,
                                       .cell_height = 10};
        fputs("<figure>", file);
        report_map(file, &map);
        fputs("<figcaption>", file);
        report_text(file, m->name);
        fputs("</figcaption></figure>\n", file);
    }
    free(values);
    free(titles);
    free(room);
    return drawn;
}

static bool write_maps(FILE *file, const struct sdg_evaluation *e)
{
    double low, high;
    const char **names = calloc(e->sites, sizeof *names);
    bool named = false, drawn = names != NULL;
    find_range(e, &low, &high);
    for (size_t i = 0; names && i < e->sites; i++)
        names[i] = e->site[i].name;
    fprintf(file,
            "<h2>Sites by step</h2>\n<p>Every row is a site, in the order of execution, every column a run of the "
            "network, the first step on the left: the reference's values against the same "
            "values after the model's quantization, in %zu of the pictures. What earlier sites and the weights add is "
            "not in it.</p>\n",
            e->site_runs);
    report_map_legend(file, low, high, "dB");
    fputs("<div class=\"wide\" style=\"white-space:nowrap\">", file);
    for (size_t m = 1; m <= e->models; m++)
        if (e->model[m].sites) {
            drawn &= write_map(file, e, &e->model[m], named ? NULL : names, low, high);
            named = true;
        }
    fputs("</div>\n", file);
    free(names);
    return drawn;
}

// -------------------------------------------------------------------------------------------------- intervals

static const struct sdeval_range *find_statistics(const struct sdeval_statistics *statistics, const char *name)
{
    for (size_t i = 0; i < statistics->count; i++)
        if (!strcmp(statistics->ranges[i].name, name))
            return &statistics->ranges[i];
    return NULL;
}

// Room for the lines of one site: two for each model.
struct drawing {
    struct report_line *lines;
    double *x, *dense; // [SDG_EVALUATION_TIMES] timesteps; those of the lines
    double *values;    // [2 * models][room]
    double *narrow;    // [rows] -typical, for the inner band
    size_t room;
};

static size_t add_lines(const struct sdg_evaluation *e, size_t site, struct drawing *d)
{
    size_t count = 0;
    for (size_t m = 1; m <= e->models; m++) {
        const struct sdg_evaluation_interval *interval = e->model[m].sites ? &e->model[m].sites[site] : NULL;
        if (!interval || !interval->bits)
            continue;
        bool dense = interval->low != NULL;
        size_t points = dense ? SDG_EVALUATION_TIMES : e->calls;
        for (int side = 0; side < 2; side++) {
            const float *bounds = side ? dense ? interval->high : interval->call_high
                : dense                ? interval->low
                                       : interval->call_low;
            double *y = d->values + count * d->room;
            for (size_t i = 0; i < points; i++)
                y[i] = (double)bounds[i];
            d->lines[count++] = (struct report_line){
                dense ? d->x : e->timesteps, y, points, report_color(m - 1), report_dash(m - 1), e->model[m].name};
        }
    }
    return count;
}

static size_t add_bands(const struct sdeval_range *range, struct drawing *d, struct report_band bands[2])
{
    if (!range)
        return 0;
    for (size_t i = 0; i < range->rows; i++)
        d->narrow[i] = -range->typical[i] > range->min[i] ? -range->typical[i] : range->min[i];
    bands[0] = (struct report_band){range->timesteps, range->min, range->max, range->rows, false, "calibrated"};
    bands[1] = (struct report_band){range->timesteps, d->narrow, range->typical, range->rows, true, "99.9 % of them"};
    return 2;
}

static void write_interval(FILE *file, const struct sdg_evaluation *e, size_t site, const struct sdeval_range *range,
                           struct drawing *d)
{
    struct report_band bands[2];
    const struct report_chart chart = {
        .width = 284,
        .height = 150,
        .small = true,
        .x_label = "timestep t",
        .x_name = "t",
        .whole_x = true,
        .x_min = 999,
        .x_max = 0,
        .lines = d->lines,
        .line_count = add_lines(e, site, d),
        .bands = bands,
        .band_count = add_bands(range, d, bands),
    };
    if (!chart.line_count)
        return;
    fputs("<figure style=\"width:284px\">", file);
    report_chart(file, &chart);
    fputs("<figcaption>", file);
    report_text(file, e->site[site].name);
    if (!strcmp(e->site[site].kind, "silu"))
        fputs(", SiLU", file);
    if (range)
        fprintf(file, ", r = %.2f", range->correlation);
    fputs("</figcaption></figure>\n", file);
}

static bool write_intervals(FILE *file, const struct sdg_evaluation *e, const struct sdeval_statistics *statistics,
                            const char *const *names)
{
    size_t rows = 1;
    for (size_t i = 0; i < statistics->count; i++)
        rows = statistics->ranges[i].rows > rows ? statistics->ranges[i].rows : rows;
    struct drawing d = {.room = e->calls > SDG_EVALUATION_TIMES ? e->calls : SDG_EVALUATION_TIMES};
    d.lines = calloc(2 * e->models, sizeof *d.lines);
    d.x = calloc(SDG_EVALUATION_TIMES, sizeof *d.x);
    d.values = calloc(2 * e->models * d.room, sizeof *d.values);
    d.narrow = calloc(rows, sizeof *d.narrow);
    fputs("<h2>Intervals over the timestep</h2>\n<p>The least and the largest value that have a code, in the "
          "units of the activations themselves; drawing begins on the left, at t = 999, and ends on the right. Of "
          "dynamic "
          "models the mean over the same pictures.",
          file);
    if (statistics->count)
        fprintf(file,
                " Grey: the calibrated values, all of them and 99.9 %% of their magnitudes. r: correlation of range "
                "and timestep; |r| &gt; 0.5 at %zu of %zu sites, &gt; 0.7 at %zu.",
                statistics->related, statistics->count, statistics->strongly);
    fputs("</p>\n", file);
    report_legend(file, names, e->models);
    bool drawn = d.lines && d.x && d.values && d.narrow;
    if (drawn) {
        for (int i = 0; i < SDG_EVALUATION_TIMES; i++)
            d.x[i] = 999.0 * i / (SDG_EVALUATION_TIMES - 1);
        for (size_t i = 0; i < e->sites; i++)
            write_interval(file, e, i, find_statistics(statistics, e->site[i].name), &d);
    }
    free(d.narrow);
    free(d.values);
    free(d.x);
    free(d.lines);
    return drawn;
}

// -------------------------------------------------------------------------------------------------- tokens

enum { GRID_PIXELS = 128, LARGEST_CELL = 16 };

static int cell_pixels(const struct sdg_evaluation_interval *s)
{
    const int longest = (int)(s->height > s->width ? s->height : s->width), pixels = GRID_PIXELS / longest;
    return pixels < 1 ? 1 : pixels > LARGEST_CELL ? LARGEST_CELL : pixels;
}

// The widths of a site's intervals as a picture: each cell is a token, where it lies.
static bool write_grid(FILE *file, const struct sdg_evaluation_interval *s, const char *name)
{
    const size_t count = s->height * s->width;
    double *widths = calloc(count, sizeof *widths), low = INFINITY, high = 0;
    if (!widths)
        return false;
    for (size_t i = 0; i < count; i++) {
        widths[i] = (double)s->token_high[i] - (double)s->token_low[i];
        low = fmin(low, widths[i]);
        high = fmax(high, widths[i]);
    }
    const struct report_map map = {.rows = s->height,
                                   .columns = s->width,
                                   .values = widths,
                                   .low = low,
                                   .high = high > low ? high : low + 1,
                                   .cell_width = cell_pixels(s),
                                   .cell_height = cell_pixels(s)};
    fputs("<figure style=\"width:284px\">", file);
    report_map(file, &map);
    fputs("<figcaption>", file);
    report_text(file, name);
    fprintf(file, ", %zux%zu tokens, %.3g to %.3g</figcaption></figure>\n", s->width, s->height, low, high);
    free(widths);
    return true;
}

static bool has_grids(const struct sdg_evaluation *e, const struct sdg_evaluation_model *m)
{
    for (size_t i = 0; m->sites && i < e->sites; i++)
        if (m->sites[i].token_low)
            return true;
    return false;
}

static bool write_grids(FILE *file, const struct sdg_evaluation *e)
{
    bool titled = false, drawn = true;
    for (size_t m = 1; m <= e->models; m++) {
        if (!has_grids(e, &e->model[m]))
            continue;
        if (!titled)
            fputs("<h2>Intervals over the tokens</h2>\n<p>How wide the interval of each token is, the mean over the "
                  "steps, "
                  "where tokens have their own: dark is the narrowest of the site, bright the widest.</p>\n",
                  file);
        titled = true;
        fputs("<h3>", file);
        report_text(file, e->model[m].name);
        fputs("</h3>\n", file);
        for (size_t i = 0; i < e->sites; i++)
            if (e->model[m].sites[i].token_low)
                drawn &= write_grid(file, &e->model[m].sites[i], e->site[i].name);
    }
    return drawn;
}

// -------------------------------------------------------------------------------------------------- pictures

enum { GAIN = 8 };

// How far the values of two pictures of equal size are apart, times GAIN; *largest of 255, before that.
static enum sdg_result make_difference(struct app_ui *ui, const struct sdg_image *a, const struct sdg_image *b,
                                       struct sdg_image **out, int *largest)
{
    enum sdg_result result = sdg_image_create(a->width, a->height, out);
    if (result != SDG_OK)
        return app_fail(ui, result, "not enough memory for a difference picture");
    for (size_t i = 0; i < 3 * (size_t)a->width * (size_t)a->height; i++) {
        int d = abs(a->pixels[i] - b->pixels[i]);
        *largest = d > *largest ? d : *largest;
        (*out)->pixels[i] = (uint8_t)(d * GAIN > 255 ? 255 : d * GAIN);
    }
    return SDG_OK;
}

// A model's picture and beside it what is different.
static enum sdg_result write_pair(struct app_ui *ui, FILE *file, const struct sdg_evaluation *e, size_t m, size_t i)
{
    const struct sdg_evaluation_model *model = &e->model[m];
    struct sdg_image *difference;
    int largest = 0;
    enum sdg_result result = make_difference(ui, e->model[0].pictures[i], model->pictures[i], &difference, &largest);
    if (result != SDG_OK)
        return result;
    fputs("<figure><div class=\"pair\">", file);
    result = report_picture(ui, file, model->pictures[i], e->prompts[i]);
    if (result == SDG_OK)
        result = report_picture(ui, file, difference, "difference");
    fputs("</div><figcaption>", file);
    report_text(file, model->name);
    if (isfinite(model->run_psnr[i]))
        fprintf(file, ": PSNR %.2f dB, SSIM %.3f; difference at most %d of 255, shown times %d", model->run_psnr[i],
                model->run_ssim[i], largest, GAIN);
    else
        fputs(": equal", file);
    fputs("</figcaption></figure>\n", file);
    sdg_image_destroy(&difference);
    return result;
}

static enum sdg_result write_pictures(struct app_ui *ui, FILE *file, const struct sdg_evaluation *e)
{
    enum sdg_result result = SDG_OK;
    if (!e->pictures)
        return SDG_OK;
    fputs("<h2>Pictures</h2>\n", file);
    for (size_t i = 0; i < e->pictures && result == SDG_OK; i++) {
        fputs("<h3>", file);
        report_text(file, e->prompts[i]);
        fputs("</h3>\n<div class=\"pictures\"><figure>", file);
        result = report_picture(ui, file, e->model[0].pictures[i], e->prompts[i]);
        fputs("<figcaption>", file);
        report_text(file, e->model[0].name);
        fputs(" (reference)</figcaption></figure>\n", file);
        for (size_t m = 1; m <= e->models && result == SDG_OK; m++)
            result = write_pair(ui, file, e, m, i);
        fputs("</div>\n", file);
    }
    return result;
}

enum sdg_result sdeval_write_html(struct app_ui *ui, FILE *file, const struct sdg_evaluation *e,
                                  const struct sdeval_statistics *statistics)
{
    const char **names = calloc(e->models, sizeof *names);
    if (!names)
        return app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the report");
    for (size_t i = 0; i < e->models; i++)
        names[i] = e->model[i + 1].name;
    report_begin(file, "Evaluation of quantized models");
    write_settings(file, e);
    enum sdg_result result = write_pictures(ui, file, e);
    write_table(file, e);
    write_costs(file, e);
    bool drawn = write_outputs(file, e, names) && write_latents(file, e, names);
    if (has_sites(e)) {
        drawn &= write_maps(file, e);
        drawn &= write_intervals(file, e, statistics, names);
        drawn &= write_grids(file, e);
    }
    if (!drawn && result == SDG_OK)
        result = app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for the drawings of the report");
    report_end(file);
    free(names);
    return result;
}
