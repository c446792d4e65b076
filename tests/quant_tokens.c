// Intervals of tokens (quant/token_fit.h, quant/fit.h): against the formula on the values themselves, against other
// candidates, and how those of a rank-one table follow tokens and steps. Smoothing vectors against their formula.
#include "quant/fit.h"
#include "base/random.h"
#include "quant/smoothing.h"
#include "quant/smoothing_search.h"

#include "tests/support/quant.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { ROWS = 4, HEIGHT = 2, WIDTH = 3, TOKENS = HEIGHT * WIDTH, CHANNELS = 50, PICTURES = 40, VALUES = 2000 };
static const double timesteps[ROWS] = {900, 600, 300.5, 0};

// Values by row, token, picture and channel.
static float data[ROWS][TOKENS][PICTURES * CHANNELS];

// Tokens differ in width and skew, rows in width; one token is 0 throughout.
static struct sdg_statistics *observe(void)
{
    struct sdg_statistics *s;
    const struct sdg_statistics_info info = {.model = "m",
                                             .sampler = "ddim",
                                             .settings = "",
                                             .steps = ROWS,
                                             .rows = ROWS,
                                             .timesteps = timesteps,
                                             .prompts = 1,
                                             .shard = 1,
                                             .shards = 1};
    size_t site;
    float x[TOKENS][CHANNELS];
    random_state = 77;
    assert_int_equal(sdg_statistics_create(NULL, &info, &s), SDG_OK);
    assert_int_equal(sdg_statistics_site(NULL, s, "site", SDG_SITE_SYMMETRIC, CHANNELS, &site), SDG_OK);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, site, HEIGHT, WIDTH), SDG_OK);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t p = 0; p < PICTURES; p++) {
            for (size_t k = 0; k < TOKENS; k++)
                for (size_t c = 0; c < CHANNELS; c++) {
                    double v = gauss() * exp(0.5 * gauss()) + 0.4 * (double)k;
                    v *= (k == 4 ? 0 : 1 + 2 * (double)k) * (1 + 3 * timesteps[r] / 1000);
                    x[k][c] = data[r][k][p * CHANNELS + c] = (float)v;
                }
            assert_int_equal(sdg_statistics_observe(NULL, s, site, r, &x[0][0], TOKENS), SDG_OK);
        }
    return s;
}

static double raw_error(const float *x, const struct sdg_interval *i, double power)
{
    double sum = 0;
    for (size_t j = 0; j < VALUES; j++) {
        double q = rint((double)x[j] / i->scale) + i->zero_point;
        q = q < i->lo ? i->lo : q > i->hi ? i->hi : q;
        sum += pow(fabs(x[j] - i->scale * (q - i->zero_point)), power);
    }
    return sum;
}

// The best of the fifty on the values themselves, of some rows together.
static double best_raw(size_t first, size_t count, size_t token, int bits, double power)
{
    double min = INFINITY, max = -INFINITY, best = INFINITY;
    for (size_t r = first; r < first + count; r++)
        for (size_t j = 0; j < VALUES; j++) {
            min = fmin(min, (double)data[r][token][j]);
            max = fmax(max, (double)data[r][token][j]);
        }
    for (int i = 0; i < 50; i++) {
        const double a = i / 100.0, low = fmin(min * (1 - a) + max * a, 0), high = fmax(min * a + max * (1 - a), 0);
        struct sdg_interval interval = {.lo = 0, .hi = (1 << bits) - 1};
        interval.scale = (float)((high - low) / interval.hi);
        interval.zero_point = (int)fmin(rint(-low / interval.scale), interval.hi);
        double sum = 0;
        for (size_t r = first; r < first + count; r++)
            sum += raw_error(data[r][token], &interval, power);
        best = fmin(best, sum);
    }
    return best;
}

static struct sdg_interval interval_of(const struct sdg_token_intervals *t, size_t row, size_t token, int bits)
{
    const size_t at = (t->times > 1 ? row : 0) * TOKENS + token;
    return (struct sdg_interval){
        .scale = t->scales[at], .zero_point = t->zero_points[at], .lo = 0, .hi = (1 << bits) - 1};
}

// Intervals chosen by histograms of two bins an octave against the best of PTQ4VM's fifty by the values themselves:
// none is much worse, at few bits they are better, as both ends move.
static void test_search(void **state)
{
    (void)state;
    struct sdg_statistics *s = observe();
    double worst = 0, mean = 0;
    int count = 0;
    for (int bits = 4; bits <= 8; bits += 2)
        for (int each = 0; each < 2; each++) {
            const struct sdg_token_fit_options options = {.bits = bits, .power = 2.4, .each_row = each};
            struct sdg_token_intervals t;
            assert_int_equal(sdg_token_fit(NULL, &s->sites[0], ROWS, &options, &t), SDG_OK);
            assert_true(t.times == (each ? ROWS : 1) && t.height == HEIGHT && t.width == WIDTH && !t.factors);
            for (size_t token = 0; token < TOKENS; token++)
                for (size_t row = 0; row < ROWS; row += each ? 1 : ROWS) {
                    const struct sdg_interval i = interval_of(&t, row, token, bits);
                    const size_t rows = each ? 1 : ROWS;
                    double error = 0;
                    assert_true(i.scale > 0 && i.zero_point >= 0 && i.zero_point <= i.hi);
                    if (token == 4) // silent: what the other tokens need
                        continue;
                    for (size_t r = row; r < row + rows; r++)
                        error += raw_error(data[r][token], &i, 2.4);
                    const double ratio = error / best_raw(row, rows, token, bits, 2.4);
                    worst = fmax(worst, ratio);
                    mean += bits == 4 ? log(ratio) : 0;
                    count += bits == 4;
                }
            sdg_token_intervals_clear(&t);
        }
    print_message("error of the interval chosen over that of the best of PTQ4VM's: %.4f at 4 bits, %.4f at worst\n",
                  exp(mean / count), worst);
    assert_true(worst < 1.05 && mean / count < -0.004);
    sdg_statistics_destroy(&s);
}

// Tokens of one long-tailed shape and different widths, each seen in few pictures: at 8 bits the values that all tokens
// have make intervals lose less on pictures that were not seen, though more on those that were.
static void test_others(void **state)
{
    (void)state;
    enum { SEEN = 12, HELD = 400, WIDE = 24, SIDE = 4, GRID = SIDE * SIDE };
    static float x[SEEN + HELD][GRID][WIDE];
    static struct sdg_token_histogram tokens[GRID];
    struct sdg_histogram row;
    sdg_histogram_clear(&row);
    random_state = 5;
    for (int p = 0; p < SEEN + HELD; p++)
        for (int k = 0; k < GRID; k++)
            for (int c = 0; c < WIDE; c++)
                x[p][k][c] = (float)(gauss() * exp(0.9 * gauss()) * (1 + 0.05 * k));
    for (int k = 0; k < GRID; k++) {
        sdg_token_histogram_clear(&tokens[k]);
        for (int p = 0; p < SEEN; p++)
            assert_true(sdg_token_histogram_add(&tokens[k], x[p][k], WIDE));
    }
    for (int p = 0; p < SEEN; p++)
        sdg_histogram_add(&row, x[p][0], GRID * WIDE);
    const struct sdg_site_statistics site = {
        .name = "s", .channels = WIDE, .rows = &row, .height = SIDE, .width = SIDE, .tokens = tokens};
    double errors[2][2] = {{0}}; // [seen, held][others]
    for (int o = 0; o < 2; o++) {
        const struct sdg_token_fit_options options = {.bits = 8, .power = 2.4, .others = o ? 4 : 0};
        struct sdg_token_intervals t;
        assert_int_equal(sdg_token_fit(NULL, &site, 1, &options, &t), SDG_OK);
        for (int p = 0; p < SEEN + HELD; p++)
            for (int k = 0; k < GRID; k++)
                for (int c = 0; c < WIDE; c++) {
                    const double v = (double)x[p][k][c], scale = (double)t.scales[k];
                    const double q = fmin(fmax(rint(v / scale) + t.zero_points[k], 0), 255);
                    errors[p >= SEEN][o] += pow(v - scale * (q - t.zero_points[k]), 2);
                }
        sdg_token_intervals_clear(&t);
    }
    print_message(
        "with other tokens' values errors are %.3f times as large on pictures that were not seen, %.3f times on "
        "those that were\n",
        errors[1][1] / errors[1][0], errors[0][1] / errors[0][0]);
    assert_true(errors[1][1] < 0.9 * errors[1][0] && errors[0][1] > errors[0][0]);
}

// Pictures of very different size with as many channels each: weighed values give intervals that lose less of each
// picture, beside its own size, than values that all count the same, and lose more of the sum.
static void test_weights(void **state)
{
    (void)state;
    enum { SEEN = 200, HELD = 200, WIDE = 40 };
    static float x[SEEN + HELD][WIDE];
    struct sdg_token_histogram token;
    int64_t weights[1][SDG_TOKEN_BINS] = {{0}};
    struct sdg_histogram row;
    sdg_histogram_clear(&row);
    sdg_token_histogram_clear(&token);
    random_state = 9;
    for (int p = 0; p < SEEN + HELD; p++) {
        const double size = exp(gauss());
        for (int c = 0; c < WIDE; c++)
            x[p][c] = (float)(gauss() * size);
        if (p >= SEEN)
            continue;
        assert_true(sdg_token_histogram_add(&token, x[p], WIDE));
        sdg_token_weights_add(weights[0], x[p], WIDE);
    }
    double relative[2] = {0}, sums[2] = {0};
    for (int w = 0; w < 2; w++) {
        const struct sdg_site_statistics site = {.name = "s",
                                                 .channels = WIDE,
                                                 .rows = &row,
                                                 .height = 1,
                                                 .width = 1,
                                                 .tokens = &token,
                                                 .weights = w ? weights : NULL};
        const struct sdg_token_fit_options options = {.bits = 4, .power = 2};
        struct sdg_token_intervals t;
        assert_int_equal(sdg_token_fit(NULL, &site, 1, &options, &t), SDG_OK);
        for (int p = SEEN; p < SEEN + HELD; p++) {
            double noise = 0, signal = 0;
            for (int c = 0; c < WIDE; c++) {
                const double v = (double)x[p][c], scale = (double)t.scales[0];
                const double q = fmin(fmax(rint(v / scale) + t.zero_points[0], 0), 15);
                noise += pow(v - scale * (q - t.zero_points[0]), 2);
                signal += v * v;
            }
            relative[w] += noise / signal;
            sums[w] += noise;
        }
        sdg_token_intervals_clear(&t);
    }
    print_message("weighed, errors are %.3f times as large beside each picture, %.3f times in all\n",
                  relative[1] / relative[0], sums[1] / sums[0]);
    assert_true(relative[1] < 0.8 * relative[0] && sums[1] > sums[0]);
}

// The least value of a SiLU is a fraction of its largest: what a token's interval loses on the values themselves is
// what the interval of such sites loses at best (quant/search.h), which knows where they begin.
static void test_silu(void **state)
{
    (void)state;
    enum { N = 20000 };
    static float x[N];
    struct sdg_token_histogram token;
    struct sdg_histogram fine;
    sdg_token_histogram_clear(&token);
    sdg_histogram_clear(&fine);
    random_state = 1;
    for (int j = 0; j < N; j++) {
        const double v = gauss() * exp(0.6 * gauss()) - 0.3;
        x[j] = (float)(v / (1 + exp(-v)));
    }
    assert_true(sdg_token_histogram_add(&token, x, N));
    sdg_histogram_add(&fine, x, N);
    const struct sdg_site_statistics site = {
        .name = "silu", .channels = N, .rows = &fine, .height = 1, .width = 1, .tokens = &token};
    for (int bits = 3; bits <= 8; bits++) {
        struct sdg_curves *curves;
        struct sdg_token_intervals t;
        assert_int_equal(sdg_curves_create(NULL, "silu", SDG_SITE_SILU, bits, 2, &fine, 1, &curves), SDG_OK);
        const struct sdg_interval known = sdg_interval_make(SDG_SITE_SILU, bits, sdg_search_static(curves, NULL));
        const struct sdg_token_fit_options options = {.bits = bits, .power = 2};
        assert_int_equal(sdg_token_fit(NULL, &site, 1, &options, &t), SDG_OK);
        const struct sdg_interval found = {
            .scale = t.scales[0], .zero_point = t.zero_points[0], .lo = 0, .hi = (1 << bits) - 1};
        double errors[2] = {0, 0};
        for (int j = 0; j < N; j++) {
            float values[2];
            sdg_interval_simulate(&known, &x[j], &values[0], 1);
            sdg_interval_simulate(&found, &x[j], &values[1], 1);
            for (int k = 0; k < 2; k++)
                errors[k] += pow((double)x[j] - (double)values[k], 2);
        }
        assert_true(errors[1] < 1.05 * errors[0]);
        sdg_token_intervals_clear(&t);
        sdg_curves_destroy(&curves);
    }
}

// With the right factors a rank-one table is nearly as good as a free one, and better than one for all steps.
static void test_factors(void **state)
{
    (void)state;
    struct sdg_statistics *s = observe();
    double factors[ROWS], errors[3];
    for (size_t r = 0; r < ROWS; r++)
        factors[r] = (1 + 3 * timesteps[r] / 1000) / 2;
    for (int k = 0; k < 3; k++) {
        const struct sdg_token_fit_options options = {
            .bits = 4, .power = 2, .each_row = k == 2, .factors = k == 1 ? factors : NULL};
        struct sdg_token_intervals t;
        assert_int_equal(sdg_token_fit(NULL, &s->sites[0], ROWS, &options, &t), SDG_OK);
        errors[k] = 0;
        for (size_t row = 0; row < ROWS; row++)
            for (size_t token = 0; token < TOKENS; token++) {
                struct sdg_interval i = interval_of(&t, row, token, 4);
                i.scale *= k == 1 ? (float)factors[row] : 1;
                errors[k] += raw_error(data[row][token], &i, 2);
            }
        assert_true(fabs(t.error / errors[k] - 1) < 0.05); // what the fit says of itself
        sdg_token_intervals_clear(&t);
    }
    print_message("errors: by token %.4g, times factors %.4g, free %.4g\n", errors[0], errors[1], errors[2]);
    assert_true(errors[1] < 0.8 * errors[0] && errors[2] < errors[1] &&
                errors[1] - errors[2] < 0.3 * (errors[0] - errors[2]));
    sdg_statistics_destroy(&s);
}

// Which error is made small if nobody says: |error|^2.4 where tokens are kept, squares at other sites, by table.
static void test_power(void **state)
{
    (void)state;
    struct sdg_statistics *s = observe();
    struct sdg_site_statistics sites[2] = {s->sites[0], s->sites[0]};
    sites[1].tokens = NULL;
    for (int k = 0; k < 2; k++) {
        static const double powers[] = {0, 2.4, 2};
        struct sdg_site_fit fits[3];
        for (int p = 0; p < 3; p++) {
            const struct sdg_fit_options options = {.rule = SDG_INTERVAL_TABLE, .bits = 4, .power = powers[p]};
            assert_int_equal(sdg_site_fit(NULL, &sites[k], timesteps, ROWS, &options, &fits[p]), SDG_OK);
        }
        const size_t bytes = fits[0].length * sizeof *fits[0].scales;
        assert_memory_equal(fits[0].scales, fits[1 + k].scales, bytes);
        assert_memory_not_equal(fits[0].scales, fits[2 - k].scales, bytes);
        for (int p = 0; p < 3; p++)
            sdg_site_fit_clear(&fits[p]);
    }
    sdg_statistics_destroy(&s);
}

static double error_of_fit(const struct sdg_site_fit *fit, int bits)
{
    double sum = 0;
    for (size_t row = 0; row < ROWS; row++)
        for (size_t token = 0; token < TOKENS; token++) {
            // tables of steps are by ascending timesteps
            struct sdg_interval i = interval_of(&fit->tokens, ROWS - 1 - row, token, bits);
            if (fit->tokens.factors)
                i.scale *= sdg_tdq_table_at(fit->tokens.factors, timesteps[row]);
            sum += raw_error(data[row][token], &i, 2);
        }
    return sum;
}

static void test_rules(void **state)
{
    (void)state;
    static const enum sdg_interval_rule rules[] = {SDG_INTERVAL_TOKEN, SDG_INTERVAL_TDQ_TOKEN,
                                                   SDG_INTERVAL_TABLE_TOKEN};
    struct sdg_statistics *s = observe();
    struct sdg_tdq_times *times;
    double errors[3];
    assert_int_equal(sdg_tdq_times_create(NULL, 64, &times), SDG_OK);
    for (int k = 0; k < 3; k++) {
        const struct sdg_fit_options options = {.rule = rules[k], .bits = 5, .static_gain = 0.05, .times = times};
        struct sdg_site_fit fit;
        assert_int_equal(sdg_site_fit(NULL, &s->sites[0], timesteps, ROWS, &options, &fit), SDG_OK);
        assert_true(fit.tokens.height == HEIGHT && fit.tokens.times == (k == 2 ? ROWS : 1) &&
                    !fit.tokens.factors == (k != 1));
        errors[k] = error_of_fit(&fit, 5);
        assert_true(fit.gain > 0 && fit.gain < 1 && fit.sqnr > 10 && fit.worst_sqnr <= fit.sqnr);
        if (k == 1) { // geometric mean 1, and the interval of t = 900 is wider than that of t = 0
            double mean = 0;
            for (size_t r = 0; r < ROWS; r++)
                mean += log((double)sdg_tdq_table_at(fit.tokens.factors, timesteps[r]));
            assert_true(fabs(mean) < 1e-4 && fit.tokens.factors[900] > 2 * fit.tokens.factors[0]);
        }
        sdg_site_fit_clear(&fit);
    }
    print_message("5 bits: token %.4g, tdq-token %.4g, table-token %.4g\n", errors[0], errors[1], errors[2]);
    assert_true(errors[2] < errors[1] && errors[1] < 0.8 * errors[0]);
    // a site without tokens follows the time alone
    struct sdg_site_statistics plain = s->sites[0];
    plain.tokens = NULL;
    const struct sdg_fit_options options = {.rule = SDG_INTERVAL_TABLE_TOKEN, .bits = 5};
    struct sdg_site_fit fit;
    assert_int_equal(sdg_site_fit(NULL, &plain, timesteps, ROWS, &options, &fit), SDG_OK);
    assert_true(fit.length == SDG_TDQ_TIMES && !fit.tokens.height);
    sdg_site_fit_clear(&fit);
    // steps that go up and down have no order
    static const double mixed[ROWS] = {900, 300, 600, 0};
    struct temp_log t;
    assert_int_equal(sdg_site_fit(temp_log(&t), &s->sites[0], mixed, ROWS, &options, &fit), SDG_ERROR_INPUT);
    assert_non_null(strstr(t.last, "in the order of time"));
    sdg_tdq_times_destroy(&times);
    sdg_statistics_destroy(&s);
}

// What the product promises: tokens' intervals and the time's are members of it, so it never loses more than the former
// by the measure that both are searched by, and gains where tokens change alike. Sites: all tokens change alike; half
// of them shrink while the others grow; one, much wider than the others, stays as it is.
static void test_product(void **state)
{
    (void)state;
    enum { SITES_TRIED = 3, STEPS_SEEN = 8, SIDE = 3, GRID = SIDE * SIDE, WIDE = 60, SEEN = 30 };
    static struct sdg_token_histogram tokens[STEPS_SEEN][GRID];
    static struct sdg_histogram rows[STEPS_SEEN];
    static float x[WIDE];
    double times_seen[STEPS_SEEN], ratio[SITES_TRIED][2];
    struct sdg_tdq_times *times;
    assert_int_equal(sdg_tdq_times_create(NULL, 64, &times), SDG_OK);
    for (int kind = 0; kind < SITES_TRIED; kind++) {
        random_state = 31;
        for (size_t r = 0; r < STEPS_SEEN; r++) {
            times_seen[r] = 980 - 140 * (double)r;
            sdg_histogram_clear(&rows[r]);
            for (size_t k = 0; k < GRID; k++) {
                const bool other = kind == 1 ? k % 2 : kind == 2 && k == 4;
                const double course = exp(1.4 * times_seen[r] / 1000),
                             width = kind == 2 && k == 4 ? 6 : 1 + 0.3 * (double)k;
                sdg_token_histogram_clear(&tokens[r][k]);
                for (int p = 0; p < SEEN; p++) {
                    for (size_t c = 0; c < WIDE; c++)
                        x[c] = (float)(gauss() * width * (!other ? course : kind == 1 ? 1 / course : 1));
                    assert_true(sdg_token_histogram_add(&tokens[r][k], x, WIDE));
                    sdg_histogram_add(&rows[r], x, WIDE);
                }
            }
        }
        const struct sdg_site_statistics site = {
            .name = "s", .channels = WIDE, .rows = rows, .height = SIDE, .width = SIDE, .tokens = tokens[0]};
        for (int b = 0; b < 2; b++) {
            struct sdg_site_fit fits[2];
            for (int product = 0; product < 2; product++) {
                const struct sdg_fit_options options = {.rule = product ? SDG_INTERVAL_TDQ_TOKEN : SDG_INTERVAL_TOKEN,
                                                        .bits = b ? 8 : 4,
                                                        .others = 4,
                                                        .static_gain = 0.05,
                                                        .times = times};
                assert_int_equal(sdg_site_fit(NULL, &site, times_seen, STEPS_SEEN, &options, &fits[product]), SDG_OK);
            }
            ratio[kind][b] = fits[1].tokens.cost / fits[0].tokens.cost;
            // nothing gained: the same intervals, and no course
            assert_true(ratio[kind][b] <= 1 && !fits[1].tokens.factors == (ratio[kind][b] == 1));
            assert_true(fits[1].length == (fits[1].tokens.factors ? SDG_TDQ_TIMES : 1));
            sdg_site_fit_clear(&fits[0]);
            sdg_site_fit_clear(&fits[1]);
        }
    }
    print_message("cost of the product over that of tokens, 4 and 8 bits: alike %.3f %.3f, opposed %.3f %.3f, one wide "
                  "%.3f %.3f\n",
                  ratio[0][0], ratio[0][1], ratio[1][0], ratio[1][1], ratio[2][0], ratio[2][1]);
    assert_true(ratio[0][0] < 0.8 && ratio[0][1] < 0.6);
    sdg_tdq_times_destroy(&times);
}

static void test_between(void **state)
{
    (void)state;
    struct sdg_interval i = sdg_interval_between(8, -1, 3);
    assert_true(fabsf(i.scale * 255 - 4) < 1e-6f && i.zero_point == 64 && i.lo == 0 && i.hi == 255);
    i = sdg_interval_between(4, 1, 3); // zero is inside
    assert_true(fabsf(i.scale - 0.2f) < 1e-7f && i.zero_point == 0);
    i = sdg_interval_between(4, -3, -1);
    assert_true(fabsf(i.scale - 0.2f) < 1e-7f && i.zero_point == 15);
    i = sdg_interval_between(4, 0, 0);
    assert_true(i.scale == 1 && i.zero_point == 0);
    i = sdg_interval_between(8, 0, 1e-40);
    assert_true(i.scale >= 0x1p-100f);
}

static void test_smoothing(void **state)
{
    (void)state;
    static const float amax[4] = {4, 0, 100, 1}, wmax[4] = {0.25f, 0.01f, 0, 2};
    float m[4];
    sdg_smoothing_make(amax, wmax, 4, 0.5, 0.5, m);
    const double wanted[4] = {sqrt(0.25 / 4), sqrt(0.01 / 1e-3), sqrt(1e-5 / 100), sqrt(2.0)};
    for (int k = 0; k < 4; k++)
        assert_true(fabs(m[k] / wanted[k] - 1) < 1e-6);
    sdg_smoothing_make(amax, wmax, 4, 1, 0, m);
    assert_true(fabs(m[0] * 4.0 - 1) < 1e-6); // all of it to the activations
}

// Mean squared error of outputs, by counting: Laplacian values as the search supposes them, rounded with the interval
// that is best of many, times weights rounded to whole steps of the largest.
static double simulated_error(const float *largest, const float *weights, size_t channels, size_t outputs, int w_bits,
                              int a_bits, const float *m)
{
    enum { SAMPLES = 4000 };
    double least = INFINITY, most = 0, *x = malloc(SAMPLES * channels * sizeof *x);
    uint64_t random = 7;
    for (size_t i = 0; i < SAMPLES * channels; i++) {
        const double u = ((double)(sdg_random_next(&random) >> 11) + 0.5) * 0x1p-53 - 0.5;
        x[i] = copysign(log(1 - 2 * fabs(u)), u) * -0.1 * (double)largest[i % channels];
        most = fmax(most, fabs(x[i] * (double)m[i % channels]));
    }
    for (int reach = 0; reach < 24; reach++) {
        const double scale = most * exp2(-reach / 4.0) * 2 / ((1 << a_bits) - 1), top = (1 << (a_bits - 1)) - 0.5;
        double sum = 0;
        for (size_t o = 0; o < outputs; o++) {
            float step = 0;
            for (size_t k = 0; k < channels; k++)
                step = fmaxf(step, fabsf(weights[o * channels + k] / m[k]) / (float)((1 << (w_bits - 1)) - 1));
            for (size_t i = 0; i < SAMPLES; i++) {
                double error = 0;
                for (size_t k = 0; k < channels; k++) {
                    const double v = x[i * channels + k] * (double)m[k], w = (double)(weights[o * channels + k] / m[k]),
                                 q = scale * fmax(fmin(rint(v / scale), top), -top), wq = step * rint(w / (double)step);
                    error += v * w - q * wq;
                }
                sum += error * error / SAMPLES;
            }
        }
        least = fmin(least, sum);
    }
    free(x);
    return least;
}

// An outlier among the channels: shared with the weights it costs little where these have bits to spare, and more than
// it saves where they have none. What is chosen is no worse than nothing by a simulation, either.
static void test_smoothing_search(void **state)
{
    (void)state;
    enum { INPUTS = 16, OUTPUTS = 8 };
    float largest[INPUTS], weights[OUTPUTS * INPUTS], m[INPUTS], one[INPUTS], half[INPUTS];
    uint64_t random = 3;
    double squares = 0;
    for (int k = 0; k < INPUTS; k++) {
        largest[k] = k == 5 ? 40 : 1 + 0.1f * (float)(k % 4);
        squares += 2 * 0.01 * (double)largest[k] * (double)largest[k] / INPUTS;
        one[k] = 1;
    }
    for (int i = 0; i < OUTPUTS * INPUTS; i++)
        weights[i] = (float)((double)(sdg_random_next(&random) >> 11) * 0x1p-53 - 0.5);
    static const int bits[][2] = {{8, 4}, {8, 8}, {4, 4}, {4, 8}};
    for (int i = 0; i < 4; i++) {
        struct sdg_smoothing_case c = {.rows = 1,
                                       .channels = INPUTS,
                                       .outputs = OUTPUTS,
                                       .largest = largest,
                                       .mean_square = squares,
                                       .weights = weights,
                                       .weight_bits = bits[i][0],
                                       .activation_bits = bits[i][1]};
        double found, none, standard;
        assert_int_equal(sdg_smoothing_search(NULL, &c, m), SDG_OK);
        assert_int_equal(sdg_smoothing_of(NULL, &c, 0.5, 0.5, half), SDG_OK);
        assert_int_equal(sdg_smoothing_error(NULL, &c, m, &found), SDG_OK);
        assert_int_equal(sdg_smoothing_error(NULL, &c, one, &none), SDG_OK);
        assert_int_equal(sdg_smoothing_error(NULL, &c, half, &standard), SDG_OK);
        assert_true(found <= none && found <= standard);
        const double really = simulated_error(largest, weights, INPUTS, OUTPUTS, bits[i][0], bits[i][1], m),
                     plain = simulated_error(largest, weights, INPUTS, OUTPUTS, bits[i][0], bits[i][1], one);
        print_message("w%da%d: estimated %.3g of %.3g, simulated %.3g of %.3g\n", bits[i][0], bits[i][1], found, none,
                      really, plain);
        assert_true(really < 1.1 * plain && none < 2 * plain && plain < 2 * none);
        if (i == 0)
            assert_true(really < 0.8 * plain);
    }
}

static void test_allocations(void **state)
{
    (void)state;
    struct sdg_statistics *s = observe();
    const struct sdg_fit_options options = {.rule = SDG_INTERVAL_TABLE_TOKEN, .bits = 5};
    enum sdg_result result = SDG_ERROR_MEMORY;
    size_t n;
    for (n = 1; result != SDG_OK; n++) {
        struct sdg_site_fit fit = {0};
        struct temp_log t;
        sdg_test_fail_allocation(n);
        result = sdg_site_fit(temp_log(&t), &s->sites[0], timesteps, ROWS, &options, &fit);
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || (result == SDG_ERROR_MEMORY && t.errors >= 1 && !fit.scales));
        sdg_site_fit_clear(&fit);
    }
    print_message("%zu failing allocations\n", n - 2);
    sdg_statistics_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_between),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_silu),
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_smoothing),
        cmocka_unit_test(test_smoothing_search),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
