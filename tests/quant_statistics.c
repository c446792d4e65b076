// quant/statistics: filling, files, shards against one run, resuming, what is refused.
#include "quant/statistics.h"

#include "tests/support/quant.h"
#include "tests/temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { ROWS = 3, PROMPTS = 10, SITES = 3 };
static const double timesteps[ROWS] = {900.5, 500, 0};
static const char *const site_names[SITES] = {"up_blocks.0.conv[0:4]", "down_blocks.0.to_q", "mid.conv2"};
static const size_t site_channels[SITES] = {4, 7, 3};
static const enum sdg_site_kind site_kinds[SITES] = {SDG_SITE_SYMMETRIC, SDG_SITE_SYMMETRIC, SDG_SITE_SILU};

static struct sdg_statistics_info info_of(int shard, int shards)
{
    return (struct sdg_statistics_info){"f00d", "ddim", "8x8, cfg=7, seed=\"1\"\n", 3, ROWS, timesteps, PROMPTS,
                                        shard,  shards};
}

static struct sdg_statistics *blank(int shard, int shards)
{
    struct sdg_statistics *s = NULL;
    struct sdg_statistics_info info = info_of(shard, shards);
    assert_int_equal(sdg_statistics_create(NULL, &info, &s), SDG_OK);
    return s;
}

enum { WITH_TOKENS = 1, HEIGHT = 3, WIDTH = 2, TOKENS = HEIGHT * WIDTH }; // of the sites; its grid

// What the model would compute for a prompt: values that depend on prompt, site and row only.
static void run_prompt(struct sdg_statistics *s, size_t prompt)
{
    float x[5 * TOKENS * 7];
    random_state = prompt * 77 + 5;
    for (size_t row = 0; row < ROWS; row++)
        for (size_t k = 0; k < SITES; k++) {
            size_t site, rows = (1 + prompt % 5) * (k == WITH_TOKENS ? TOKENS : 1);
            assert_int_equal(sdg_statistics_site(NULL, s, site_names[k], site_kinds[k], site_channels[k], &site),
                             SDG_OK);
            if (k == WITH_TOKENS) {
                assert_int_equal(sdg_statistics_keep_tokens(NULL, s, site, HEIGHT, WIDTH), SDG_OK);
                assert_int_equal(sdg_statistics_weigh_tokens(NULL, s, site), SDG_OK);
            }
            for (size_t i = 0; i < rows * site_channels[k]; i++)
                x[i] = (float)(gauss() * exp(gauss())) * (k == WITH_TOKENS ? 1 + (float)(i / 7 % TOKENS) : 1);
            assert_int_equal(sdg_statistics_observe(NULL, s, site, row, x, rows), SDG_OK);
        }
    sdg_statistics_mark_done(s, prompt);
}

static struct sdg_statistics *run_shard(int shard, int shards)
{
    struct sdg_statistics *s = blank(shard, shards);
    for (size_t p = 0; p < PROMPTS; p++)
        if (sdg_statistics_wants(s, p))
            run_prompt(s, p);
    return s;
}

static char *file_bytes(const char *path, size_t *size)
{
    char *data;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    data = malloc(*size);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static void assert_same_files(const char *a, const char *b)
{
    size_t n, m;
    char *x = file_bytes(a, &n), *y = file_bytes(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x), free(y);
}

static const char *write_file(struct sdg_statistics *s, const char *name)
{
    const char *path = temp_path(name);
    assert_int_equal(sdg_statistics_write(NULL, s, path), SDG_OK);
    return path;
}

static struct sdg_statistics *read_file(const char *path)
{
    struct sdg_statistics *s = NULL;
    assert_int_equal(sdg_statistics_read(NULL, path, &s), SDG_OK);
    return s;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct sdg_statistics *s = run_shard(1, 1), *back;
    const char *path = write_file(s, "a.safetensors");
    back = read_file(path);
    assert_int_equal(sdg_statistics_done_count(back), PROMPTS);
    assert_true(strcmp(back->info.model, "f00d") == 0 && strcmp(back->info.settings, s->info.settings) == 0 &&
                back->info.steps == 3);
    assert_memory_equal(back->info.timesteps, timesteps, sizeof timesteps);
    assert_true(back->site_count == SITES && strcmp(back->sites[0].name, site_names[1]) == 0 &&
                strcmp(back->sites[2].name, site_names[0]) == 0);
    for (size_t k = 0; k < SITES; k++) {
        const struct sdg_site_statistics *a = sdg_statistics_find(s, site_names[k]),
                                         *b = sdg_statistics_find(back, site_names[k]);
        assert_true(b->kind == site_kinds[k] && b->channels == site_channels[k]);
        assert_memory_equal(a->rows, b->rows, ROWS * sizeof *a->rows);
        assert_memory_equal(a->largest, b->largest, ROWS * a->channels * sizeof *a->largest);
        uint64_t values = 0; // prompts 0..9 have 1 2 3 4 5 1 2 3 4 5 rows
        for (size_t r = 0; r < ROWS; r++)
            values += sdg_histogram_total(&a->rows[r]);
        assert_int_equal(values, 30 * ROWS * site_channels[k] * (k == WITH_TOKENS ? TOKENS : 1));
        assert_true(b->height == (k == WITH_TOKENS ? HEIGHT : 0) && b->width == (k == WITH_TOKENS ? WIDTH : 0));
        if (k == WITH_TOKENS)
            assert_memory_equal(a->tokens, b->tokens, ROWS * TOKENS * sizeof *a->tokens);
        else
            assert_null(b->tokens);
        if (k == WITH_TOKENS)
            assert_memory_equal(a->weights, b->weights, ROWS * TOKENS * sizeof *a->weights);
        else
            assert_null(b->weights);
    }
    assert_null(sdg_statistics_find(back, "mid"));
    assert_true(sdg_statistics_hash(s) == sdg_statistics_hash(back));
    back->sites[1].rows[2].counts[40]++;
    assert_true(sdg_statistics_hash(s) != sdg_statistics_hash(back));
    back->sites[1].rows[2].counts[40]--;
    ((struct sdg_site_statistics *)sdg_statistics_find(back, site_names[WITH_TOKENS]))->weights[3][7]++;
    assert_true(sdg_statistics_hash(s) != sdg_statistics_hash(back));
    sdg_statistics_destroy(&s);
    sdg_statistics_destroy(&back);
    assert_null(s);
}

// What a picture's values at a token weigh: 2^16 over their mean square, within bounds.
static int64_t weight_of(const float *x, size_t n)
{
    double mean = 0;
    for (size_t i = 0; i < n; i++)
        mean += pow((double)x[i], 2) / (double)n;
    const double weight = mean > 0 ? 65536 / mean : INFINITY;
    return weight > 4294967296.0 ? (int64_t)1 << 32 : weight < 1 ? 1 : llround(weight);
}

// Each token's histogram against one counted here: the bin's edges are powers of two and one and a half times them.
static void test_tokens(void **state)
{
    (void)state;
    enum { PICTURES = 4, CHANNELS = 3 };
    struct sdg_statistics *s = blank(1, 1);
    static float x[PICTURES][TOKENS][CHANNELS];
    size_t site;
    random_state = 12;
    for (float *at = &x[0][0][0]; at < &x[0][0][0] + PICTURES * TOKENS * CHANNELS; at++)
        *at = (float)(gauss() * exp(6 * gauss())); // far into both ends
    x[0][2][1] = 0, x[1][2][0] = -0.0f, x[2][3][1] = 0x1p10f, x[2][3][2] = -0x1p-14f;
    assert_int_equal(sdg_statistics_site(NULL, s, "a", SDG_SITE_SYMMETRIC, CHANNELS, &site), SDG_OK);
    x[3][4][0] = x[3][4][1] = x[3][4][2] = 0;
    x[3][5][0] = 3, x[3][5][1] = -4, x[3][5][2] = 0.25f;
    assert_int_equal(sdg_statistics_weigh_tokens(NULL, s, site), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, site, HEIGHT, WIDTH), SDG_OK);
    assert_int_equal(sdg_statistics_weigh_tokens(NULL, s, site), SDG_OK);
    assert_int_equal(sdg_statistics_observe(NULL, s, site, 1, &x[0][0][0], PICTURES * TOKENS), SDG_OK);
    for (size_t token = 0; token < TOKENS; token++) {
        const struct sdg_token_histogram *h = &s->sites[site].tokens[TOKENS + token];
        int32_t counts[SDG_TOKEN_BINS] = {0};
        int64_t weights[SDG_TOKEN_BINS] = {0};
        float min = INFINITY, max = -INFINITY;
        for (size_t i = 0; i < PICTURES * CHANNELS; i++) {
            const float value = x[i / CHANNELS][token][i % CHANNELS];
            int m = 0;
            while (m < SDG_TOKEN_HALF - 1 && fabsf(value) >= ldexpf(m % 2 ? 1.5f : 1, m / 2 - 14))
                m++;
            counts[m + (signbit(value) ? SDG_TOKEN_HALF : 0)]++;
            weights[m + (signbit(value) ? SDG_TOKEN_HALF : 0)] += weight_of(x[i / CHANNELS][token], CHANNELS);
            min = fminf(min, value);
            max = fmaxf(max, value);
        }
        assert_memory_equal(h->counts, counts, sizeof counts);
        assert_memory_equal(s->sites[site].weights[TOKENS + token], weights, sizeof weights);
        assert_null(sdg_token_weights_contradiction(weights, h));
        assert_true(h->min == min && h->max == max);
        assert_null(sdg_token_histogram_contradiction(h));
        assert_int_equal(sdg_token_histogram_total(&s->sites[site].tokens[token]), 0); // row 0
    }
    assert_int_equal(weight_of(x[3][5], CHANNELS), 7845); // (9 + 16 + 1/16) / 3
    // a grid for good, whole pictures, not more than counters hold
    struct temp_log t;
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, site, HEIGHT, WIDTH), SDG_OK);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, site, WIDTH, HEIGHT), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, 1, HEIGHT, WIDTH), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_observe(temp_log(&t), s, site, 0, &x[0][0][0], TOKENS + 1), SDG_ERROR_USAGE);
    assert_non_null(strstr(t.last, "no pictures of 6 tokens"));
    size_t plain;
    assert_int_equal(sdg_statistics_site(NULL, s, "b", SDG_SITE_SYMMETRIC, CHANNELS, &plain), SDG_OK);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, plain, 0, 5), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, plain, 1 << 11, 1 << 10), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_observe(NULL, s, plain, 0, &x[0][0][0], 2), SDG_OK);
    assert_int_equal(sdg_statistics_keep_tokens(NULL, s, plain, HEIGHT, WIDTH), SDG_ERROR_USAGE);
    struct sdg_token_histogram full = s->sites[site].tokens[TOKENS];
    full.counts[3] += INT32_MAX - (int32_t)sdg_token_histogram_total(&full) - 1;
    const struct sdg_token_histogram before = full;
    assert_false(sdg_token_histogram_add(&full, &x[0][0][0], 2));
    assert_false(sdg_token_histogram_merge(&full, &s->sites[site].tokens[TOKENS]));
    assert_memory_equal(&full, &before, sizeof full);
    assert_true(sdg_token_histogram_add(&full, &x[0][0][0], 1));
    sdg_statistics_destroy(&s);
}

// Shards merged in any order, more shards than prompts, a run that was killed and resumed: the bytes of one run.
static void test_merge(void **state)
{
    (void)state;
    struct sdg_statistics *one = run_shard(1, 1);
    char whole[600];
    snprintf(whole, sizeof whole, "%s", write_file(one, "whole.safetensors"));
    sdg_statistics_destroy(&one);
    static const int counts[] = {2, 4, 13};
    for (int i = 0; i < 3; i++) {
        int n = counts[i];
        struct sdg_statistics *sum = NULL;
        for (int k = 0; k < n; k++) {
            int shard = (k * 5 + 3) % n + 1; // every shard once: 5 has no divisor in common with 2, 4, 13
            struct sdg_statistics *part = run_shard(shard, n), *again;
            assert_true(n < 13 || shard <= PROMPTS || part->site_count == 0);
            again = read_file(write_file(part, "part.safetensors"));
            if (!sum)
                sum = again;
            else
                assert_int_equal(sdg_statistics_merge(NULL, sum, "a", again, "b"), SDG_OK);
            if (sum != again)
                sdg_statistics_destroy(&again);
            sdg_statistics_destroy(&part);
        }
        assert_same_files(whole, write_file(sum, "merged.safetensors"));
        sdg_statistics_destroy(&sum);
    }
    // Killed after four prompts (the fifth was half done and is lost), then resumed from the file.
    struct sdg_statistics *first = blank(1, 1), *resumed = blank(1, 1), *old;
    for (size_t p = 0; p < 4; p++)
        run_prompt(first, p);
    old = read_file(write_file(first, "killed.safetensors"));
    assert_int_equal(sdg_statistics_merge(NULL, resumed, "new", old, "old"), SDG_OK);
    for (size_t p = 0; p < PROMPTS; p++)
        if (sdg_statistics_wants(resumed, p))
            run_prompt(resumed, p);
    assert_same_files(whole, write_file(resumed, "resumed.safetensors"));
    sdg_statistics_destroy(&first);
    sdg_statistics_destroy(&resumed);
    sdg_statistics_destroy(&old);
    // A resumed shard stays that shard.
    first = blank(2, 3);
    run_prompt(first, 1);
    resumed = blank(2, 3);
    assert_int_equal(sdg_statistics_merge(NULL, resumed, "new", first, "old"), SDG_OK);
    assert_true(resumed->info.shard == 2 && resumed->info.shards == 3 && !sdg_statistics_wants(resumed, 1) &&
                sdg_statistics_wants(resumed, 4));
    assert_true(!sdg_statistics_wants(resumed, 2) && !sdg_statistics_wants(resumed, 13));
    sdg_statistics_destroy(&first);
    sdg_statistics_destroy(&resumed);
}

static void test_mismatch(void **state)
{
    (void)state;
    static const double other_times[ROWS] = {900.5, 500, 1};
    const struct {
        struct sdg_statistics_info info;
        const char *words;
    } cases[] = {
        {{"beef", "ddim", "8x8, cfg=7, seed=\"1\"\n", 3, ROWS, timesteps, PROMPTS, 2, 2}, "models f00d and beef"},
        {{"f00d", "euler", "8x8, cfg=7, seed=\"1\"\n", 3, ROWS, timesteps, PROMPTS, 2, 2}, "samplers ddim and euler"},
        {{"f00d", "ddim", "8x8, cfg=75, seed=\"1\"\n", 3, ROWS, timesteps, PROMPTS, 2, 2}, "settings cfg=7 and cfg=75"},
        {{"f00d", "ddim", "8x8, cfg=7, seed=\"1\"\n", 4, ROWS, timesteps, PROMPTS, 2, 2}, "3 and 4 steps"},
        {{"f00d", "ddim", "8x8, cfg=7, seed=\"1\"\n", 3, 2, timesteps, PROMPTS, 2, 2}, "3 and 2 rows"},
        {{"f00d", "ddim", "8x8, cfg=7, seed=\"1\"\n", 3, ROWS, timesteps, 11, 2, 2}, "10 and 11 prompts"},
        {{"f00d", "ddim", "8x8, cfg=7, seed=\"1\"\n", 3, ROWS, other_times, PROMPTS, 2, 2},
         "row 2 is timestep 0 and 1"},
    };
    struct sdg_statistics *a = run_shard(1, 2), *b;
    uint64_t before = sdg_statistics_hash(a);
    struct temp_log t;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(sdg_statistics_create(NULL, &cases[i].info, &b), SDG_OK);
        assert_int_equal(sdg_statistics_merge(temp_log(&t), a, "one.safetensors", b, "two.safetensors"),
                         SDG_ERROR_INPUT);
        if (t.errors != 1 || !strstr(t.last, cases[i].words) || !strstr(t.last, "one.safetensors and two.safetensors"))
            fail_msg("'%s' should have '%s'", t.last, cases[i].words);
        sdg_statistics_destroy(&b);
    }
    b = run_shard(1, 2);
    assert_int_equal(sdg_statistics_merge(temp_log(&t), a, "one", b, "two"), SDG_ERROR_INPUT);
    assert_true(strstr(t.last, "both have prompt 1"));
    sdg_statistics_destroy(&b);
    size_t index;
    b = run_shard(2, 2);
    assert_int_equal(sdg_statistics_site(NULL, b, "only.here", SDG_SITE_SYMMETRIC, 2, &index), SDG_OK);
    assert_int_equal(sdg_statistics_merge(temp_log(&t), a, "one", b, "two"), SDG_ERROR_INPUT);
    assert_true(strstr(t.last, "only.here"));
    sdg_statistics_destroy(&b);
    b = blank(2, 2);
    for (size_t k = 0; k < SITES; k++)
        assert_int_equal(
            sdg_statistics_site(NULL, b, site_names[k], k ? site_kinds[k] : SDG_SITE_SILU, site_channels[k], &index),
            SDG_OK);
    sdg_statistics_mark_done(b, 1);
    assert_int_equal(sdg_statistics_merge(temp_log(&t), a, "one", b, "two"), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, "keeps 2x3 and 0x0 tokens apart"));
    assert_int_equal(sdg_statistics_keep_tokens(NULL, b, WITH_TOKENS, HEIGHT, WIDTH), SDG_OK);
    assert_int_equal(sdg_statistics_merge(temp_log(&t), a, "a", b, "b"), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, "weighed in one of them"));
    assert_int_equal(sdg_statistics_weigh_tokens(NULL, b, WITH_TOKENS), SDG_OK);
    assert_int_equal(sdg_statistics_merge(temp_log(&t), a, "one", b, "two"), SDG_ERROR_INPUT);
    assert_true(t.errors == 1 && strstr(t.last, site_names[0]));
    sdg_statistics_destroy(&b);
    assert_true(sdg_statistics_hash(a) == before);
    sdg_statistics_destroy(&a);
}

static void test_usage(void **state)
{
    (void)state;
    struct temp_log t;
    static const double bad_times[] = {NAN, -1, INFINITY};
    const struct sdg_statistics_info good = info_of(1, 1);
    struct sdg_statistics_info bad[11];
    for (int i = 0; i < 11; i++)
        bad[i] = good;
    bad[0].steps = 0, bad[1].steps = 10001, bad[2].rows = 0, bad[3].rows = 10001, bad[4].prompts = 0,
    bad[5].prompts = (size_t)1 << 40;
    bad[6].shard = 0, bad[7].shard = 2, bad[8].shards = 0, bad[9].shards = 1 << 20, bad[10].timesteps = bad_times;
    struct sdg_statistics *s = NULL;
    for (int i = 0; i < 11; i++) {
        assert_int_equal(sdg_statistics_create(temp_log(&t), &bad[i], &s), SDG_ERROR_USAGE);
        assert_true(t.errors == 1 && !s);
    }
    s = blank(1, 1);
    size_t index = 99;
    const float wild[] = {1, NAN};
    assert_int_equal(sdg_statistics_site(NULL, s, "a", SDG_SITE_SILU, 0, &index), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_site(NULL, s, "a", SDG_SITE_SILU, 2, &index), SDG_OK);
    assert_int_equal(sdg_statistics_site(NULL, s, "a", SDG_SITE_SILU, 3, &index), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_site(NULL, s, "a", SDG_SITE_SYMMETRIC, 2, &index), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_observe(NULL, s, 1, 0, wild, 1), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_observe(NULL, s, 0, ROWS, wild, 1), SDG_ERROR_USAGE);
    assert_int_equal(sdg_statistics_observe(temp_log(&t), s, 0, 1, wild, 1), SDG_ERROR_COMPUTE);
    assert_true(t.errors == 1 && strstr(t.last, "timestep 500"));
    sdg_statistics_destroy(&s);
    sdg_statistics_destroy(&s);
}

// ---- hostile files ----

// A file of one site with two channels, one row and the values -1, 0.5, made by hand and then broken in one place.
struct hand {
    int64_t counts[SDG_HISTOGRAM_BINS];
    double timestep;
    float largest[2], max, min;
    int32_t kind;
    uint8_t done[2];
    struct sdg_tensor tensors[8];
    struct sdg_metadata metadata[8];
    size_t count, metadata_count;
};

static void make_hand(struct hand *h)
{
    *h = (struct hand){.timestep = 10,
                       .largest = {1, 0.5f},
                       .max = 0.5f,
                       .min = -1,
                       .kind = 0,
                       .done = {1, 0},
                       .count = 7,
                       .metadata_count = 8};
    h->counts[sdg_histogram_bin(0.5f)] = 1;
    h->counts[sdg_histogram_bin(-1)] = 1;
    const struct sdg_tensor tensors[] = {
        {.name = "timesteps", .dtype = SDG_F64, .rank = 1, .dims = {1}, .data = &h->timestep, .bytes = 8},
        {.name = "prompts_done", .dtype = SDG_U8, .rank = 1, .dims = {2}, .data = h->done, .bytes = 2},
        {.name = "x.histogram",
         .dtype = SDG_S64,
         .rank = 2,
         .dims = {1, SDG_HISTOGRAM_BINS},
         .data = h->counts,
         .bytes = sizeof h->counts},
        {.name = "x.kind", .dtype = SDG_S32, .rank = 1, .dims = {1}, .data = &h->kind, .bytes = 4},
        {.name = "x.largest", .dtype = SDG_F32, .rank = 2, .dims = {1, 2}, .data = h->largest, .bytes = 8},
        {.name = "x.maximum", .dtype = SDG_F32, .rank = 1, .dims = {1}, .data = &h->max, .bytes = 4},
        {.name = "x.minimum", .dtype = SDG_F32, .rank = 1, .dims = {1}, .data = &h->min, .bytes = 4},
    };
    const struct sdg_metadata metadata[] = {{"format", "sdgen statistics"},
                                            {"version", "1"},
                                            {"bins", SDG_HISTOGRAM_LAYOUT},
                                            {"model", "m"},
                                            {"sampler", "ddim"},
                                            {"settings", ""},
                                            {"steps", "20"},
                                            {"shard", "1/2"}};
    memcpy(h->tensors, tensors, sizeof tensors);
    memcpy(h->metadata, metadata, sizeof metadata);
}

static int broken_count;

static void refuse(struct hand *h, const char *words)
{
    struct temp_log t;
    struct sdg_statistics *s = NULL;
    const char *path = temp_path("hand.safetensors");
    assert_int_equal(sdg_tensors_write(NULL, path, h->tensors, h->count, h->metadata, h->metadata_count), SDG_OK);
    enum sdg_result result = sdg_statistics_read(temp_log(&t), path, &s);
    if (result != SDG_ERROR_INPUT || s || t.errors != 1 || !strstr(t.last, words))
        fail_msg("result %d, %d errors, '%s' should have '%s'", result, t.errors, t.last, words);
    broken_count++;
    make_hand(h);
}

static void test_hostile(void **state)
{
    (void)state;
    static struct hand h;
    make_hand(&h);
    const char *path = temp_path("good.safetensors");
    assert_int_equal(sdg_tensors_write(NULL, path, h.tensors, h.count, h.metadata, h.metadata_count), SDG_OK);
    struct sdg_statistics *s = read_file(path);
    assert_true(s->info.shard == 1 && s->info.shards == 2 && s->site_count == 1 && s->sites[0].channels == 2 &&
                s->sites[0].rows[0].min == -1);
    sdg_statistics_destroy(&s);
    for (size_t i = 0; i < 8; i++) { // no metadata of that name
        const char *key = h.metadata[i].key;
        h.metadata[i].key = "other";
        refuse(&h, key);
    }
    static const char *const wrong[][2] = {
        {"0", "gguf"},        {"1", "3"}, {"2", "sign"}, {"6", ""},    {"6", "0"},     {"6", "-5"},  {"6", "20x"},
        {"6", "99999999999"}, {"7", "1"}, {"7", "3/2"},  {"7", "0/2"}, {"7", "1/2/3"}, {"7", "a/b"}, {"7", "1/"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        h.metadata[wrong[i][0][0] - '0'].value = wrong[i][1];
        refuse(&h, "");
    }
    for (size_t i = 0; i < 7; i++) { // one tensor missing, of another type, of another shape
        const char *name = h.tensors[i].name;
        h.tensors[i].name = "y";
        refuse(&h, i == 2 ? "belong to no site" : name);
        h.tensors[i].dtype = h.tensors[i].dtype == SDG_U8 ? SDG_S8
            : h.tensors[i].dtype == SDG_F32               ? SDG_S32
            : h.tensors[i].dtype == SDG_S32               ? SDG_F32
            : h.tensors[i].dtype == SDG_F64               ? SDG_S64
                                                          : SDG_F64;
        refuse(&h, name);
        h.tensors[i].rank++;
        h.tensors[i].dims[h.tensors[i].rank - 1] = 1;
        refuse(&h, name);
        h.tensors[i].dims[0] = 0;
        h.tensors[i].bytes = 0;
        refuse(&h, "");
    }
    h.tensors[7] =
        (struct sdg_tensor){.name = "extra", .dtype = SDG_U8, .rank = 1, .dims = {2}, .data = h.done, .bytes = 2};
    h.count = 8;
    refuse(&h, "belong to no site");
    h.timestep = NAN, refuse(&h, "timestep");
    h.timestep = -1, refuse(&h, "timestep");
    h.done[1] = 2, refuse(&h, "prompts_done[1]");
    h.kind = 2, refuse(&h, "x.kind");
    h.kind = -1, refuse(&h, "x.kind");
    h.counts[0] = -1, refuse(&h, "row 0: a count");
    h.counts[5] = INT64_MAX, refuse(&h, "row 0: a count");
    h.counts[sdg_histogram_bin(7)] = 2, refuse(&h, "outside of the counted bins");
    h.counts[sdg_histogram_bin(-7)] = 2, refuse(&h, "outside of the counted bins");
    h.counts[sdg_histogram_bin(0)] = 1, refuse(&h, "multiple");
    h.max = NAN, refuse(&h, "not finite");
    h.max = -2, refuse(&h, "wrong order");
    h.max = INFINITY, refuse(&h, "not finite");
    h.min = -INFINITY, refuse(&h, "not finite");
    h.min = -1.01f, refuse(&h, "contradict");
    h.largest[0] = 3, refuse(&h, "contradict");
    h.largest[1] = NAN, refuse(&h, "largest magnitude");
    h.largest[1] = -0.0f, refuse(&h, "largest magnitude");
    memset(h.counts, 0, sizeof h.counts), refuse(&h, "extremes without values");
    print_message("%d broken files\n", broken_count);
}

// The tokens of a file against its sites and against each other.
static void test_hostile_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *ending, *says;
        int bytes; // that are overwritten, at `at`
        int at;
        int32_t number;
    } damages[] = {
        {".token_histogram", "a count is negative", 4, 8, -1},
        {".token_histogram", "the counts are too large", 4, 4 * 30, INT32_MAX},
        {".token_minimum", "outside of the counted bins", 4, 4, 0x40000000}, // 2
        {".token_minimum", "not finite", 4, 4, 0x7fc00000},
        {".token_maximum", "not finite", 4, 4, 0x7f800000},
        {".token_maximum", "should be f32 with 3 dimensions", 0, 0, 0},
        {".token_minimum", "is missing", -1, 0, 0},
        {".token_weight", "the weights are not those of the counted values", 4, 8, 1}, // of an empty bin
        {".token_weight", "should be s64 with 4 dimensions", 0, 0, 0},
        {".token_weight", "belong to no site", -1, 0, 0},
    };
    struct sdg_statistics *s = run_shard(1, 1), *back = NULL;
    struct sdg_tensors *whole;
    struct temp_log t;
    assert_int_equal(sdg_tensors_open(NULL, write_file(s, "tokens.safetensors"), &whole), SDG_OK);
    const size_t count = sdg_tensors_count(whole);
    struct sdg_tensor *tensors = calloc(count, sizeof *tensors);
    size_t metadata_count;
    const struct sdg_metadata *metadata = sdg_tensors_all_metadata(whole, &metadata_count);
    for (size_t d = 0; d < sizeof damages / sizeof *damages; d++) {
        char *copy = NULL;
        for (size_t i = 0; i < count; i++) {
            tensors[i] = *sdg_tensors_at(whole, i);
            const char *dot = strrchr(tensors[i].name, '.');
            if (!dot || strcmp(dot, damages[d].ending) != 0)
                continue;
            copy = memcpy(malloc(tensors[i].bytes), tensors[i].data, tensors[i].bytes);
            tensors[i].data = copy;
            if (damages[d].bytes > 0)
                memcpy(copy + damages[d].at, &damages[d].number, 4);
            else if (damages[d].bytes == 0)
                tensors[i].rank--, tensors[i].dims[1] *= tensors[i].dims[2], tensors[i].dims[2] = tensors[i].dims[3];
            else
                tensors[i].name = "down_blocks.0.to_q.other";
        }
        const char *path = temp_path("broken.safetensors");
        assert_int_equal(sdg_tensors_write(NULL, path, tensors, count, metadata, metadata_count), SDG_OK);
        assert_int_equal(sdg_statistics_read(temp_log(&t), path, &back), SDG_ERROR_INPUT);
        if (t.errors != 1 || !strstr(t.last, damages[d].says))
            fail_msg("damage %zu: '%s' does not say '%s'", d, t.last, damages[d].says);
        free(copy);
    }
    free(tensors);
    sdg_tensors_destroy(&whole);
    // one value from a bin to another, with the extremes as they were
    struct sdg_token_histogram *h =
        ((struct sdg_site_statistics *)sdg_statistics_find(s, site_names[WITH_TOKENS]))->tokens;
    int from = SDG_TOKEN_HALF - 2;
    while (h->counts[from] < 2)
        from--;
    h->counts[from]--;
    h->counts[from - 1]++;
    assert_int_equal(sdg_statistics_read(temp_log(&t), write_file(s, "moved.safetensors"), &back), SDG_ERROR_INPUT);
    assert_non_null(strstr(t.last, "the tokens' values are not those of the site"));
    sdg_statistics_destroy(&s);
}

static void test_allocations(void **state)
{
    (void)state;
    struct sdg_statistics *a = run_shard(1, 2), *b = run_shard(2, 2), *into = blank(1, 1), *s = NULL;
    const char *path = temp_path("t.safetensors");
    struct temp_log t;
    enum sdg_result result = SDG_ERROR_MEMORY;
    size_t total = 0, n;
    for (n = 1; result != SDG_OK; n++, total++) {
        sdg_test_fail_allocation(n);
        result = sdg_statistics_write(temp_log(&t), a, path);
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || (result == SDG_ERROR_MEMORY && t.errors >= 1 && access(path, F_OK) != 0));
    }
    for (n = 1, result = SDG_ERROR_MEMORY; result != SDG_OK; n++, total++) {
        sdg_test_fail_allocation(n);
        result = sdg_statistics_read(temp_log(&t), path, &s);
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || (result == SDG_ERROR_MEMORY && t.errors >= 1 && !s));
    }
    for (n = 1, result = SDG_ERROR_MEMORY; result != SDG_OK; n++, total++) {
        sdg_test_fail_allocation(n);
        result = sdg_statistics_merge(temp_log(&t), into, "a", b, "b");
        sdg_test_fail_allocation(0);
        assert_true(result == SDG_OK || (result == SDG_ERROR_MEMORY && t.errors >= 1 && into->site_count == 0));
    }
    assert_true(into->site_count == SITES && total > 20);
    print_message("%zu failing allocations\n", total);
    sdg_statistics_destroy(&a), sdg_statistics_destroy(&b), sdg_statistics_destroy(&into), sdg_statistics_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_merge),       cmocka_unit_test(test_mismatch),
        cmocka_unit_test(test_usage),      cmocka_unit_test(test_hostile),     cmocka_unit_test(test_hostile_tokens),
        cmocka_unit_test(test_tokens),     cmocka_unit_test(test_allocations),
    };
    temp_make();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    temp_remove();
    return failed;
}
