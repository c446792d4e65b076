// quant/tdq: the generator against torch, its fit against free tables, between the calibrated steps, and for a second
// time.
#include "quant/tdq.h"
#include "quant/tdq_net.h"

#include "tests/support/quant.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

static void test_generator(void **state)
{
    (void)state;
    size_t n, count, d = 16;
    double *times = expected("tdq.times", &n), *encodings = expected("tdq.encodings", NULL),
           *scales = expected("tdq.scales", NULL);
    double *wide = expected("tdq.encoding320", NULL);
    float *parameters = expected("tdq.parameters", &count), own[13 * 16], got[13], row[321];
    assert_int_equal(sdg_tdq_parameter_count((int)d), count);
    assert_true(sdg_tdq_parameter_count(128) == 16641 && sdg_tdq_parameter_count(320) == 28929); // the paper's sizes
    for (size_t i = 0; i < n; i++) {
        sdg_tdq_encode(times[i], (int)d, own + i * d);
        for (size_t k = 0; k < d; k++)
            assert_true(fabs(own[i * d + k] - encodings[i * d + k]) < 1e-7);
    }
    for (size_t i = 0; i < 4; i++) {
        sdg_tdq_encode(times[2 + i], 321, row);
        assert_true(row[320] == 0);
        sdg_tdq_encode(times[2 + i], 320, row);
        for (size_t k = 0; k < 320; k++)
            assert_true(fabs(row[k] - wide[i * 320 + k]) < 1e-7);
    }
    sdg_tdq_evaluate(parameters, (int)d, own, n, got);
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs(got[i] / scales[i] - 1);
        if (difference > worst) // with fmax in its place GCC 12.2 for 64-bit ARM crashes
            worst = difference;
    }
    print_message("generator: largest relative difference to torch (f64) %.1e\n", worst);
    assert_true(worst < 3e-6); // float sums of 64 terms
    free(times), free(encodings), free(scales), free(wide), free(parameters);
}

static void test_gradient(void **state)
{
    (void)state;
    size_t n, count, kept, d = 16;
    double *times = expected("tdq.times", &n), worst = 0;
    float *parameters = expected("tdq.parameters", &count), *last = expected("tdq.last_gradient", NULL),
          *wanted = expected("tdq.gradient", &kept); // of every third parameter
    float encodings[13 * 16], *gradient = malloc(count * sizeof *gradient);
    const float *rows[13];
    struct sdg_tdq_activations a;
    struct sdg_tdq_layout l = sdg_tdq_layout((int)d);
    for (size_t i = 0; i < n; i++) {
        sdg_tdq_encode(times[i], (int)d, encodings + i * d);
        rows[i] = encodings + i * d;
    }
    for (size_t i = 0; i < count; i++)
        gradient[i] = NAN; // all of it is written
    sdg_tdq_forward(parameters, &l, rows, (int)n, &a);
    sdg_tdq_backward(parameters, &l, rows, (int)n, &a, last, gradient);
    float largest = 0;
    for (size_t i = 0; i < kept; i++)
        largest = fmaxf(largest, fabsf(wanted[i]));
    for (size_t i = 0; i < count; i++) {
        const double want = (double)wanted[i / 3];
        if (i % 3 != 0) {
            assert_true(isfinite(gradient[i]));
            continue;
        }
        double off = fabs((double)gradient[i] - want) / largest;
        if (!(off < 1e-5))
            fail_msg("gradient %zu is %g, should be %g", i, gradient[i], want);
        worst = fmax(worst, off);
    }
    print_message("%zu gradients: largest difference to autograd %.1e of the largest one\n", kept, worst);
    for (double x = -40; x < 90; x += 7.3)
        assert_true(fabs(sdg_softplus_inverse(sdg_softplus(x)) - x) < 1e-9 * fmax(1, fabs(x)));
    free(times), free(parameters), free(last), free(wanted), free(gradient);
}

// ---- fits ----

enum { ROWS = 50, VALUES = 8000 };

struct site {
    struct sdg_histogram histograms[ROWS];
    double timesteps[ROWS];
    struct sdg_curves *curves;
};

static double width_at(int shape, double t)
{
    double u = t / 1000;
    switch (shape) {
    case 0: return exp(-2 * u);
    case 1: return 1 + 0.8 * sin(6 * u);
    case 2: return u < 0.1 ? 1 + 2000 * (0.1 - u) * (0.1 - u) : 1; // a rise in the last steps only
    default: return 1;
    }
}

static struct sdg_histogram draw_row(int shape, double magnitude, double t)
{
    static float x[VALUES];
    struct sdg_histogram h;
    sdg_histogram_clear(&h);
    for (int i = 0; i < VALUES; i++)
        x[i] = (float)(magnitude * width_at(shape, t) * gauss());
    sdg_histogram_add(&h, x, VALUES);
    return h;
}

static struct site *make_site(int shape, double magnitude, int bits)
{
    struct site *s = calloc(1, sizeof *s);
    random_state = (uint64_t)shape * 1000 + (uint64_t)bits;
    for (int r = 0; r < ROWS; r++) {
        s->timesteps[r] = 981 - 20 * r;
        s->histograms[r] = draw_row(shape, magnitude, s->timesteps[r]);
    }
    assert_int_equal(sdg_curves_create(NULL, "site", SDG_SITE_SYMMETRIC, bits, 2.4, s->histograms, ROWS, &s->curves),
                     SDG_OK);
    return s;
}

static void drop_site(struct site *s)
{
    sdg_curves_destroy(&s->curves);
    free(s);
}

static void fit_site(const struct site *s, const struct sdg_tdq_times *times, double gain, struct sdg_tdq_fit *fit,
                     float *parameters)
{
    struct sdg_tdq_options options = {.seed = sdg_tdq_seed(42, "site"), .static_gain = gain};
    assert_int_equal(
        sdg_tdq_fit(NULL, "site", s->curves, s->histograms, s->timesteps, times, &options, fit, parameters), SDG_OK);
}

// Small values and large ones, three shapes, three widths: the fit's error at the calibrated steps is the free table's
// within 1 % (5 % at 8 bits, where with 8000 values the free table can follow each row's single largest value), between
// them, on fresh values at t - 10, it is no worse than the free table interpolated, and the scale does not jump from
// one t to the next.
static void test_fit(void **state)
{
    (void)state;
    static const double magnitudes[] = {0.01, 3, 500};
    struct sdg_tdq_times *times;
    assert_int_equal(sdg_tdq_times_create(NULL, 64, &times), SDG_OK);
    double worst = 0, worst_between = 0, mean_between = 0, steepest = 0, seconds = 0;
    int fits = 0;
    for (int shape = 0; shape < 3; shape++)
        for (int bits = 8; bits >= 4; bits -= 2, fits++) {
            struct site *s = make_site(shape, magnitudes[(shape + bits / 2) % 3], bits);
            struct sdg_tdq_fit fit;
            clock_t start = clock();
            fit_site(s, times, sdg_tdq_default_gain, &fit, NULL);
            seconds += (double)(clock() - start) / CLOCKS_PER_SEC;
            assert_true(!fit.is_static && fit.unit > 0 && fit.free_error < 0.9 * fit.static_error);
            if (fit.error > (bits == 8 ? 1.05 : 1.01) * fit.free_error)
                fail_msg("shape %d, %d bits: error %.4f of the free table's", shape, bits, fit.error / fit.free_error);
            worst = fmax(worst, fit.error / fit.free_error);
            double between = 0, interpolated = 0;
            float table[ROWS];
            sdg_search_table(s->curves, table, NULL);
            for (int r = 1; r < ROWS - 1; r += 3) {
                struct sdg_histogram h = draw_row(shape, magnitudes[(shape + bits / 2) % 3], s->timesteps[r] - 10);
                struct sdg_curves *c;
                assert_int_equal(sdg_curves_create(NULL, "between", SDG_SITE_SYMMETRIC, bits, 2.4, &h, 1, &c), SDG_OK);
                interpolated +=
                    sdg_curves_error(c, 0, (float)sdg_interpolate(s->timesteps, table, ROWS, s->timesteps[r] - 10));
                between += sdg_curves_error(c, 0, sdg_tdq_table_at(fit.table, s->timesteps[r] - 10));
                sdg_curves_destroy(&c);
            }
            if (between > 1.02 * interpolated)
                fail_msg("shape %d, %d bits: error between the steps %.4f of the interpolated table's", shape, bits,
                         between / interpolated);
            worst_between = fmax(worst_between, between / interpolated);
            mean_between += between / interpolated / 9;
            for (int t = 0; t + 1 < SDG_TDQ_TIMES; t++)
                steepest = fmax(steepest, fabs(log(fit.table[t + 1] / fit.table[t])));
            drop_site(s);
        }
    print_message("%d fits, %.2f s each: error %.4f of the free table's at the steps, between them %.4f of the "
                  "interpolated one's\n"
                  "(on average %.4f), at most %.3f in the logarithm from one t to the next\n",
                  fits, seconds / fits, worst, worst_between, mean_between, steepest);
    assert_true(steepest < 0.25 && mean_between < 1);
    sdg_tdq_times_destroy(&times);
}

static void test_same_bytes(void **state)
{
    (void)state;
    struct sdg_tdq_times *times;
    assert_int_equal(sdg_tdq_times_create(NULL, 20, &times), SDG_OK);
    struct site *s = make_site(1, 1, 6);
    struct sdg_tdq_fit a, b;
    size_t count = sdg_tdq_parameter_count(20);
    float *p = malloc(count * sizeof *p), *q = malloc(count * sizeof *q), encoding[20], scale;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    fit_site(s, times, 0.05, &a, p);
    fit_site(s, times, 0.05, &b, q);
    assert_memory_equal(a.table, b.table, sizeof a.table);
    assert_memory_equal(p, q, count * sizeof *p);
    // The parameters are the table's, also for the paper's formula alone.
    for (int t = 0; t < SDG_TDQ_TIMES; t += 37) {
        sdg_tdq_encode(t, 20, encoding);
        sdg_tdq_evaluate(p, 20, encoding, 1, &scale);
        assert_true(scale * a.unit == a.table[t]);
    }
    // Another seed is another fit, of nearly the same error.
    struct sdg_tdq_options other = {.seed = sdg_tdq_seed(43, "site"), .static_gain = 0.05};
    assert_int_equal(sdg_tdq_fit(NULL, "site", s->curves, s->histograms, s->timesteps, times, &other, &b, NULL),
                     SDG_OK);
    assert_true(memcmp(a.table, b.table, sizeof a.table) != 0 && fabs(b.error / a.error - 1) < 0.01);
    assert_true(sdg_tdq_seed(1, "a") != sdg_tdq_seed(1, "b") && sdg_tdq_seed(1, "a") != sdg_tdq_seed(2, "a"));
    free(p), free(q);
    drop_site(s);
    sdg_tdq_times_destroy(&times);
}

// Sites that do not depend on t stay static; so do silent ones; Pearson's r says how much they do.
static void test_static(void **state)
{
    (void)state;
    struct sdg_tdq_times *times;
    assert_int_equal(sdg_tdq_times_create(NULL, 16, &times), SDG_OK);
    struct site *s = make_site(3, 1, 6);
    struct sdg_tdq_fit fit;
    float *p = malloc(sdg_tdq_parameter_count(16) * sizeof *p);
    fit_site(s, times, sdg_tdq_default_gain, &fit, p);
    assert_true(fit.is_static && fit.error == fit.static_error && fit.table[0] == fit.static_scale &&
                fit.table[999] == fit.static_scale && p[0] == 0);
    assert_true(fabs(fit.correlation) < 0.4 && fit.unit == 0);
    drop_site(s);
    s = make_site(0, 1, 6);
    fit_site(s, times, 0.9, &fit, p);
    assert_true(fit.is_static && fit.correlation < -0.9);
    fit_site(s, times, -1, &fit, p);
    assert_true(!fit.is_static);
    for (int r = 0; r < ROWS; r++)
        sdg_histogram_clear(&s->histograms[r]);
    sdg_histogram_add(&s->histograms[3], (const float[]){0, 0}, 2);
    sdg_curves_destroy(&s->curves);
    assert_int_equal(sdg_curves_create(NULL, "zero", SDG_SITE_SYMMETRIC, 8, 2.4, s->histograms, ROWS, &s->curves),
                     SDG_OK);
    fit_site(s, times, -1, &fit, p);
    assert_true(fit.is_static && fit.table[500] == 1 && fit.error == 0);
    // A single row with values: every t gets its scale.
    s->histograms[7] = draw_row(3, 2, 0);
    sdg_curves_destroy(&s->curves);
    assert_int_equal(sdg_curves_create(NULL, "one", SDG_SITE_SYMMETRIC, 4, 2.4, s->histograms, ROWS, &s->curves),
                     SDG_OK);
    fit_site(s, times, -1, &fit, p);
    assert_true(fit.error < 1.02 * fit.free_error && fabs(fit.table[0] / fit.table[999] - 1) < 0.2);
    free(p);
    drop_site(s);
    sdg_tdq_times_destroy(&times);
}

static void test_table_at(void **state)
{
    (void)state;
    float table[SDG_TDQ_TIMES];
    for (int t = 0; t < SDG_TDQ_TIMES; t++)
        table[t] = (float)(1 + t);
    assert_true(sdg_tdq_table_at(table, 0) == 1 && sdg_tdq_table_at(table, 999) == 1000 &&
                sdg_tdq_table_at(table, 2.25) == 3.25f);
    assert_true(sdg_tdq_table_at(table, -3) == 1 && sdg_tdq_table_at(table, 5000) == 1000 &&
                sdg_tdq_table_at(table, NAN) == 1);
}

static void test_refused(void **state)
{
    (void)state;
    struct temp_log t;
    struct sdg_tdq_times *times = NULL;
    assert_int_equal(sdg_tdq_times_create(temp_log(&t), 1, &times), SDG_ERROR_USAGE);
    assert_int_equal(sdg_tdq_times_create(temp_log(&t), 1 << 20, &times), SDG_ERROR_USAGE);
    for (size_t n = 1; n <= 2; n++) {
        sdg_test_fail_allocation(n);
        assert_int_equal(sdg_tdq_times_create(temp_log(&t), 16, &times), SDG_ERROR_MEMORY);
        assert_true(t.errors == 1 && !times);
    }
    sdg_test_fail_allocation(0);
    assert_int_equal(sdg_tdq_times_create(NULL, 16, &times), SDG_OK);
    struct site *s = make_site(0, 1, 4);
    struct sdg_tdq_options options = {.iterations = 2, .static_gain = 0};
    struct sdg_tdq_fit fit;
    for (size_t n = 1; n <= 3; n++) {
        sdg_test_fail_allocation(n);
        assert_int_equal(
            sdg_tdq_fit(temp_log(&t), "up.conv", s->curves, s->histograms, s->timesteps, times, &options, &fit, NULL),
            SDG_ERROR_MEMORY);
        assert_int_equal(t.errors, 1);
    }
    sdg_test_fail_allocation(0);
    static const double wrong[] = {-1, 999.5, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        s->timesteps[9] = wrong[i];
        assert_int_equal(
            sdg_tdq_fit(temp_log(&t), "up.conv", s->curves, s->histograms, s->timesteps, times, &options, &fit, NULL),
            SDG_ERROR_INPUT);
        assert_true(t.errors == 1 && strstr(t.last, "up.conv") && strstr(t.last, "row 9"));
    }
    s->timesteps[9] = 3;
    options.static_gain = NAN;
    assert_int_equal(
        sdg_tdq_fit(temp_log(&t), "up.conv", s->curves, s->histograms, s->timesteps, times, &options, &fit, NULL),
        SDG_ERROR_USAGE);
    drop_site(s);
    sdg_tdq_times_destroy(&times);
    sdg_tdq_times_destroy(&times);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator),  cmocka_unit_test(test_gradient), cmocka_unit_test(test_fit),
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_static),   cmocka_unit_test(test_table_at),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, open_expected, close_expected);
}
