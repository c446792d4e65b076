// quant/histogram: bins, extremes, merging.
#include "quant/histogram.h"

#include "tests/support/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

static void test_bins(void **state)
{
    (void)state;
    size_t n;
    float *values = expected("bins.values", &n);
    int32_t *bins = expected("bins.expected", NULL);
    for (size_t i = 0; i < n; i++) {
        if (sdg_histogram_bin(values[i]) != bins[i])
            fail_msg("%.9g is in bin %d, should be %d", values[i], sdg_histogram_bin(values[i]), bins[i]);
        double lo, hi;
        sdg_histogram_edges(bins[i], &lo, &hi);
        bool inside =
            values[i] < 0 || signbit(values[i]) ? values[i] > lo && values[i] <= hi : values[i] >= lo && values[i] < hi;
        if (!inside && bins[i] % SDG_HISTOGRAM_HALF != SDG_HISTOGRAM_HALF - 1)
            fail_msg("%.9g is not in %.9g .. %.9g", values[i], lo, hi);
    }
    // One number in all lists, in counting as alone.
    struct sdg_histogram h;
    sdg_histogram_clear(&h);
    sdg_histogram_add(&h, values, n);
    uint64_t counts[SDG_HISTOGRAM_BINS] = {0};
    for (size_t i = 0; i < n; i++)
        counts[bins[i]]++;
    assert_memory_equal(counts, h.counts, sizeof counts);
    assert_int_equal(sdg_histogram_total(&h), n);
    print_message("%zu values in their bins\n", n);
    free(values);
    free(bins);
}

static void test_edges(void **state)
{
    (void)state;
    double end = 0;
    for (int m = 0; m < SDG_HISTOGRAM_HALF; m++) { // no gaps, mirrored, a sixteenth to a thirty-second wide
        double lo, hi, mirror_lo, mirror_hi;
        sdg_histogram_edges(m, &lo, &hi);
        sdg_histogram_edges(SDG_HISTOGRAM_HALF + m, &mirror_lo, &mirror_hi);
        assert_true(lo == end && hi > lo && mirror_lo == -hi && mirror_hi == -lo);
        assert_true(m == 0 || m == SDG_HISTOGRAM_HALF - 1 ||
                    ((hi - lo) / hi >= 1 / 32.0 && (hi - lo) / lo <= 1 / 16.0));
        assert_true(m == SDG_HISTOGRAM_HALF - 1 || sdg_histogram_bin((float)lo) == m);
        end = hi;
    }
    assert_true(end == 131072);
}

static void test_special(void **state)
{
    (void)state;
    struct sdg_histogram h;
    sdg_histogram_clear(&h);
    assert_true(h.min == INFINITY && h.max == -INFINITY && sdg_histogram_total(&h) == 0);
    sdg_histogram_add(&h, NULL, 0);
    assert_true(h.min == INFINITY && h.max == -INFINITY && sdg_histogram_total(&h) == 0);
    const float zeros[] = {0.0f, -0.0f, 1e-41f, -1e-41f};
    sdg_histogram_add(&h, zeros, 2);
    assert_true(h.min == 0 && signbit(h.min) && h.max == 0 && !signbit(h.max));
    sdg_histogram_add(&h, zeros, 4);
    assert_true(h.counts[0] == 3 && h.counts[SDG_HISTOGRAM_HALF] == 3 && h.min == -1e-41f && h.max == 1e-41f &&
                h.nonfinite == 0);
    const float wild[] = {1e30f, -INFINITY, NAN, -70000};
    sdg_histogram_add(&h, wild, 4);
    assert_int_equal(h.nonfinite, 2);
    assert_int_equal(h.counts[SDG_HISTOGRAM_HALF - 1] + h.counts[SDG_HISTOGRAM_BINS - 1], 4);
    // Spans end at minimum and maximum.
    const float few[] = {-3.1f, 0.1f, 100000};
    double lo, hi;
    sdg_histogram_clear(&h);
    sdg_histogram_add(&h, few, 3);
    sdg_histogram_span(&h, sdg_histogram_bin(-3.1f), &lo, &hi);
    assert_true(lo == -3.1f && hi == -3.0);
    sdg_histogram_span(&h, sdg_histogram_bin(100000), &lo, &hi);
    assert_true(lo == 65536 && hi == 100000);
    sdg_histogram_span(&h, sdg_histogram_bin(0.1f), &lo, &hi);
    assert_true(lo == 0.09765625 && hi == 0.1015625);
}

// Any order, any division, any grouping of additions: the same bytes.
static void test_merge(void **state)
{
    (void)state;
    enum { N = 30011 };
    static float x[N], reversed[N];
    for (int i = 0; i < N; i++)
        reversed[N - 1 - i] = x[i] = (float)(gauss() * exp(3 * gauss()));
    struct sdg_histogram whole, back, parts[7], sum;
    sdg_histogram_clear(&whole);
    sdg_histogram_add(&whole, x, N);
    sdg_histogram_clear(&back);
    sdg_histogram_add(&back, reversed, N);
    assert_memory_equal(&whole, &back, sizeof whole);
    for (int p = 0; p < 7; p++) {
        sdg_histogram_clear(&parts[p]);
        for (int i = p; i < N; i += 7)
            sdg_histogram_add(&parts[p], x + i, 1);
    }
    sdg_histogram_clear(&sum);
    for (int p = 0; p < 7; p++)
        sdg_histogram_merge(&sum, &parts[(p * 3 + 5) % 7]);
    assert_memory_equal(&whole, &sum, sizeof whole);
    float min = x[0], max = x[0];
    for (int i = 0; i < N; i++) {
        min = fminf(min, x[i]);
        max = fmaxf(max, x[i]);
    }
    assert_true(whole.min == min && whole.max == max);
}

static void test_channels(void **state)
{
    (void)state;
    enum { ROWS = 13, CHANNELS = 37 };
    float x[ROWS][CHANNELS], largest[CHANNELS] = {0};
    for (int i = 0; i < ROWS; i++)
        for (int c = 0; c < CHANNELS; c++)
            x[i][c] = (float)gauss();
    largest[3] = 1000;
    sdg_channel_largest(largest, x[0], 5, CHANNELS);
    sdg_channel_largest(largest, x[5], ROWS - 5, CHANNELS);
    for (int c = 0; c < CHANNELS; c++) {
        float wanted = c == 3 ? 1000 : 0;
        for (int i = 0; i < ROWS; i++)
            wanted = fmaxf(wanted, fabsf(x[i][c]));
        assert_true(largest[c] == wanted);
    }
}

static void test_speed(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = (float)gauss();
    struct sdg_histogram h;
    sdg_histogram_clear(&h);
    clock_t start = clock();
    for (int i = 0; i < 8; i++)
        sdg_histogram_add(&h, x, N);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_int_equal(sdg_histogram_total(&h), 8 * N);
    print_message("%.2f ns per value\n", seconds * 1e9 / (8.0 * N));
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bins),  cmocka_unit_test(test_edges),    cmocka_unit_test(test_special),
        cmocka_unit_test(test_merge), cmocka_unit_test(test_channels), cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, open_expected, close_expected);
}
