// Statistics in memory: filling and merging. Files are in statistics_file.c.
#include "quant/statistics.h"

#include "base/hash.h"
#include "base/memory.h"
#include "quant/statistics_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 10000, MAX_PROMPTS = 1 << 24, MAX_SHARDS = 65536, MAX_CHANNELS = 1 << 20, MAX_TOKENS = 1 << 20 };

static enum sdg_result check_info(const struct sdg_log *log, const struct sdg_statistics_info *i)
{
    if (i->steps < 1 || i->steps > MAX_STEPS || i->rows < 1 || i->rows > MAX_STEPS)
        return sdg_fail(log, SDG_ERROR_USAGE, "statistics of %d steps and %zu rows: should be 1 to %d", i->steps,
                        i->rows, MAX_STEPS);
    if (i->prompts < 1 || i->prompts > MAX_PROMPTS)
        return sdg_fail(log, SDG_ERROR_USAGE, "statistics of %zu prompts: should be 1 to %d", i->prompts, MAX_PROMPTS);
    if (i->shards < 1 || i->shards > MAX_SHARDS || i->shard < 1 || i->shard > i->shards)
        return sdg_fail(log, SDG_ERROR_USAGE, "shard %d/%d: should be 1/n to n/n with n up to %d", i->shard, i->shards,
                        MAX_SHARDS);
    for (size_t r = 0; r < i->rows; r++)
        if (!(i->timesteps[r] >= 0 && i->timesteps[r] < INFINITY))
            return sdg_fail(log, SDG_ERROR_USAGE,
                            "statistics with timestep %g in row %zu: should be finite and not negative",
                            i->timesteps[r], r);
    return SDG_OK;
}

static enum sdg_result copy_info(const struct sdg_log *log, const struct sdg_statistics_info *from,
                                 struct sdg_statistics *s)
{
    char *model = sdg_strdup(log, from->model), *sampler = sdg_strdup(log, from->sampler),
         *settings = sdg_strdup(log, from->settings);
    double *timesteps = sdg_alloc(log, from->rows, sizeof *timesteps, "statistics");
    s->done = sdg_alloc(log, from->prompts, 1, "statistics");
    s->info = *from;
    s->info.model = model;
    s->info.sampler = sampler;
    s->info.settings = settings;
    s->info.timesteps = timesteps;
    if (!model || !sampler || !settings || !timesteps || !s->done)
        return SDG_ERROR_MEMORY;
    memcpy(timesteps, from->timesteps, from->rows * sizeof *timesteps);
    return SDG_OK;
}

enum sdg_result sdg_statistics_create(const struct sdg_log *log, const struct sdg_statistics_info *info,
                                      struct sdg_statistics **out)
{
    SDG_TRY(check_info(log, info));
    struct sdg_statistics *s = sdg_alloc(log, 1, sizeof *s, "statistics");
    if (!s)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = copy_info(log, info, s);
    if (result != SDG_OK) {
        sdg_statistics_destroy(&s);
        return result;
    }
    *out = s;
    return SDG_OK;
}

static void free_site(struct sdg_site_statistics *site)
{
    sdg_free(site->name);
    sdg_free(site->rows);
    sdg_free(site->largest);
    sdg_free(site->tokens);
    sdg_free(site->weights);
    sdg_free(site->smoothing);
}

void sdg_statistics_destroy(struct sdg_statistics **handle)
{
    struct sdg_statistics *s = *handle;
    *handle = NULL;
    if (!s)
        return;
    for (size_t i = 0; i < s->site_count; i++)
        free_site(&s->sites[i]);
    sdg_free(s->sites);
    sdg_free((void *)s->info.model);
    sdg_free((void *)s->info.sampler);
    sdg_free((void *)s->info.settings);
    sdg_free((void *)s->info.timesteps);
    sdg_free(s->done);
    sdg_free(s);
}

const struct sdg_site_statistics *sdg_statistics_find(const struct sdg_statistics *s, const char *name)
{
    for (size_t i = 0; i < s->site_count; i++)
        if (strcmp(s->sites[i].name, name) == 0)
            return &s->sites[i];
    return NULL;
}

static enum sdg_result new_site(const struct sdg_log *log, struct sdg_statistics *s, const char *name,
                                enum sdg_site_kind kind, size_t channels)
{
    size_t values = SIZE_MAX;
    if (!sdg_mul_size(s->info.rows, channels, &values))
        values = SIZE_MAX;
    if (!sdg_grow(log, &s->sites, &s->site_capacity, s->site_count + 1, sizeof *s->sites, "statistics"))
        return SDG_ERROR_MEMORY;
    struct sdg_site_statistics site = {.name = sdg_strdup(log, name), .kind = kind, .channels = channels};
    site.rows = site.name ? sdg_alloc(log, s->info.rows, sizeof *site.rows, "statistics") : NULL;
    site.largest = site.rows ? sdg_alloc(log, values, sizeof *site.largest, "statistics") : NULL;
    if (!site.largest) {
        free_site(&site);
        return SDG_ERROR_MEMORY;
    }
    for (size_t r = 0; r < s->info.rows; r++)
        sdg_histogram_clear(&site.rows[r]);
    s->sites[s->site_count++] = site;
    return SDG_OK;
}

enum sdg_result sdg_statistics_site(const struct sdg_log *log, struct sdg_statistics *s, const char *name,
                                    enum sdg_site_kind kind, size_t channels, size_t *index)
{
    const struct sdg_site_statistics *old = sdg_statistics_find(s, name);
    if (!old) {
        if (channels < 1 || channels > MAX_CHANNELS)
            return sdg_fail(log, SDG_ERROR_USAGE, "site %s with %zu channels: should be 1 to %d", name, channels,
                            MAX_CHANNELS);
        SDG_TRY(new_site(log, s, name, kind, channels));
        *index = s->site_count - 1;
        return SDG_OK;
    }
    if (old->kind != kind || old->channels != channels)
        return sdg_fail(log, SDG_ERROR_USAGE, "site %s is %s with %zu channels and cannot become %s with %zu", name,
                        sdg_site_kind_name(old->kind), old->channels, sdg_site_kind_name(kind), channels);
    *index = (size_t)(old - s->sites);
    return SDG_OK;
}

static bool is_untouched(const struct sdg_site_statistics *site, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        if (site->rows[r].min <= site->rows[r].max || site->rows[r].nonfinite)
            return false;
    return true;
}

enum sdg_result sdg_statistics_keep_tokens(const struct sdg_log *log, struct sdg_statistics *s, size_t site,
                                           size_t height, size_t width)
{
    if (site >= s->site_count)
        return sdg_fail(log, SDG_ERROR_USAGE, "tokens of site %zu: there are %zu", site, s->site_count);
    struct sdg_site_statistics *at = &s->sites[site];
    if (at->tokens && at->height == height && at->width == width)
        return SDG_OK;
    if (at->tokens || !is_untouched(at, s->info.rows))
        return sdg_fail(log, SDG_ERROR_USAGE, "site %s has statistics of %zux%zu tokens and cannot have %zux%zu",
                        at->name, at->width, at->height, width, height);
    if (height < 1 || width < 1 || height > MAX_TOKENS || width > MAX_TOKENS || height * width > MAX_TOKENS)
        return sdg_fail(log, SDG_ERROR_USAGE, "site %s with %zux%zu tokens: should be 1 to %d", at->name, width, height,
                        MAX_TOKENS);
    const size_t count = s->info.rows * height * width;
    at->tokens = sdg_alloc_raw(log, count, sizeof *at->tokens, "statistics of tokens");
    if (!at->tokens)
        return SDG_ERROR_MEMORY;
    at->height = height;
    at->width = width;
    for (size_t i = 0; i < count; i++)
        sdg_token_histogram_clear(&at->tokens[i]);
    return SDG_OK;
}

enum sdg_result sdg_statistics_weigh_tokens(const struct sdg_log *log, struct sdg_statistics *s, size_t site)
{
    struct sdg_site_statistics *at = site < s->site_count ? &s->sites[site] : NULL;
    if (!at || !at->tokens)
        return sdg_fail(log, SDG_ERROR_USAGE, "weights of tokens of site %zu: it keeps none", site);
    if (at->weights)
        return SDG_OK;
    if (!is_untouched(at, s->info.rows))
        return sdg_fail(log, SDG_ERROR_USAGE, "site %s has statistics of tokens without weights", at->name);
    at->weights = sdg_alloc(log, s->info.rows * at->height * at->width, sizeof *at->weights, "weights of tokens");
    return at->weights ? SDG_OK : SDG_ERROR_MEMORY;
}

enum sdg_result sdg_statistics_smooth(const struct sdg_log *log, struct sdg_statistics *s, size_t site,
                                      const float *smoothing)
{
    if (site >= s->site_count)
        return sdg_fail(log, SDG_ERROR_USAGE, "smoothing of site %zu: there are %zu", site, s->site_count);
    struct sdg_site_statistics *at = &s->sites[site];
    const size_t bytes = at->channels * sizeof *smoothing;
    if (at->smoothing && memcmp(at->smoothing, smoothing, bytes) == 0)
        return SDG_OK;
    if (at->smoothing || !is_untouched(at, s->info.rows))
        return sdg_fail(log, SDG_ERROR_USAGE, "site %s has statistics with another smoothing", at->name);
    for (size_t c = 0; c < at->channels; c++)
        if (!(smoothing[c] >= 0x1p-120f && smoothing[c] < INFINITY))
            return sdg_fail(log, SDG_ERROR_USAGE, "site %s, channel %zu: smoothing %g, should be positive and finite",
                            at->name, c, (double)smoothing[c]);
    at->smoothing = sdg_alloc_raw(log, 2, bytes, "smoothing");
    if (!at->smoothing)
        return SDG_ERROR_MEMORY;
    memcpy(at->smoothing, smoothing, bytes);
    at->smoothed = at->smoothing + at->channels;
    return SDG_OK;
}

static enum sdg_result too_many(const struct sdg_log *log, const struct sdg_site_statistics *site)
{
    return sdg_fail(log, SDG_ERROR_USAGE, "%s: more than 2^31 values of one token: use fewer prompts", site->name);
}

// x [n, channels]: of pictures of the site's tokens, from token `first` on.
static enum sdg_result observe(const struct sdg_log *log, const struct sdg_statistics *s,
                               struct sdg_site_statistics *site, size_t row, const float *x, size_t first, size_t n)
{
    const size_t tokens = site->height * site->width;
    sdg_histogram_add(&site->rows[row], x, n * site->channels);
    sdg_channel_largest(site->largest + row * site->channels, x, n, site->channels);
    if (site->rows[row].nonfinite > 0)
        return sdg_fail(log, SDG_ERROR_COMPUTE,
                        "%s: infinities or NaN in row %zu (timestep %g): calibrate with --type f32", site->name, row,
                        s->info.timesteps[row]);
    for (size_t i = 0; site->tokens && i < n; i++) {
        const size_t at = row * tokens + (first + i) % tokens;
        if (!sdg_token_histogram_add(&site->tokens[at], x + i * site->channels, site->channels))
            return too_many(log, site);
        if (site->weights)
            sdg_token_weights_add(site->weights[at], x + i * site->channels, site->channels);
    }
    return SDG_OK;
}

static enum sdg_result observe_smoothed(const struct sdg_log *log, const struct sdg_statistics *s,
                                        struct sdg_site_statistics *site, size_t row, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += site->channels) {
        for (size_t c = 0; c < site->channels; c++)
            site->smoothed[c] = x[c] * site->smoothing[c];
        SDG_TRY(observe(log, s, site, row, site->smoothed, i, 1));
    }
    return SDG_OK;
}

enum sdg_result sdg_statistics_observe(const struct sdg_log *log, struct sdg_statistics *s, size_t site, size_t row,
                                       const float *x, size_t n)
{
    if (site >= s->site_count || row >= s->info.rows)
        return sdg_fail(log, SDG_ERROR_USAGE, "statistics of site %zu, row %zu: there are %zu sites and %zu rows", site,
                        row, s->site_count, s->info.rows);
    struct sdg_site_statistics *at = &s->sites[site];
    if (at->tokens && n % (at->height * at->width))
        return sdg_fail(log, SDG_ERROR_USAGE, "%s: %zu values of a channel are no pictures of %zu tokens", at->name, n,
                        at->height * at->width);
    return at->smoothing ? observe_smoothed(log, s, at, row, x, n) : observe(log, s, at, row, x, 0, n);
}

bool sdg_statistics_wants(const struct sdg_statistics *s, size_t prompt)
{
    return prompt < s->info.prompts && !s->done[prompt] && prompt % (size_t)s->info.shards == (size_t)s->info.shard - 1;
}

void sdg_statistics_mark_done(struct sdg_statistics *s, size_t prompt)
{
    if (prompt < s->info.prompts)
        s->done[prompt] = 1;
}

size_t sdg_statistics_done_count(const struct sdg_statistics *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->info.prompts; i++)
        count += s->done[i];
    return count;
}

// ---- merging ----

// What differs of two lists "first, second, ..": their first items that are not the same.
static enum sdg_result same_text(const struct sdg_log *log, const char *what, const char *a, const char *a_name,
                                 const char *b, const char *b_name)
{
    enum { LONGEST = 100 };
    size_t item = 0;
    if (strcmp(a, b) == 0)
        return SDG_OK;
    for (size_t i = 0; a[i] == b[i]; i++)
        if (a[i] == ',')
            item = i + 1 + (a[i + 1] == ' ' && b[i + 1] == ' ');
    a += item;
    b += item;
    const int a_length = (int)strcspn(a, ","), b_length = (int)strcspn(b, ",");
    return sdg_fail(log, SDG_ERROR_INPUT, "%s and %s do not belong together: %s %.*s and %.*s", a_name, b_name, what,
                    a_length < LONGEST ? a_length : LONGEST, a, b_length < LONGEST ? b_length : LONGEST, b);
}

static enum sdg_result same_info(const struct sdg_log *log, const struct sdg_statistics *a, const char *a_name,
                                 const struct sdg_statistics *b, const char *b_name)
{
    const struct sdg_statistics_info *x = &a->info, *y = &b->info;
    SDG_TRY(same_text(log, "models", x->model, a_name, y->model, b_name));
    SDG_TRY(same_text(log, "samplers", x->sampler, a_name, y->sampler, b_name));
    SDG_TRY(same_text(log, "settings", x->settings, a_name, y->settings, b_name));
    if (x->steps != y->steps || x->rows != y->rows || x->prompts != y->prompts)
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "%s and %s do not belong together: %d and %d steps, %zu and %zu rows, %zu and %zu prompts",
                        a_name, b_name, x->steps, y->steps, x->rows, y->rows, x->prompts, y->prompts);
    for (size_t r = 0; r < x->rows; r++)
        if (x->timesteps[r] != y->timesteps[r])
            return sdg_fail(log, SDG_ERROR_INPUT, "%s and %s do not belong together: row %zu is timestep %.9g and %.9g",
                            a_name, b_name, r, x->timesteps[r], y->timesteps[r]);
    for (size_t p = 0; p < x->prompts; p++)
        if (a->done[p] && b->done[p])
            return sdg_fail(log, SDG_ERROR_INPUT, "%s and %s both have prompt %zu: it would count twice", a_name,
                            b_name, p + 1);
    return SDG_OK;
}

static bool is_blank(const struct sdg_statistics *s)
{
    return s->site_count == 0 && sdg_statistics_done_count(s) == 0;
}

// Every site of `a` is in `b`, and the same there.
static enum sdg_result same_sites(const struct sdg_log *log, const struct sdg_statistics *a, const char *a_name,
                                  const struct sdg_statistics *b, const char *b_name)
{
    for (size_t i = 0; i < a->site_count; i++) {
        const struct sdg_site_statistics *x = &a->sites[i], *y = sdg_statistics_find(b, x->name);
        if (!y)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s and %s do not belong together: site %s is only in the first",
                            a_name, b_name, x->name);
        if (x->kind != y->kind || x->channels != y->channels)
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s and %s do not belong together: site %s is %s with %zu channels and %s with %zu", a_name,
                            b_name, x->name, sdg_site_kind_name(x->kind), x->channels, sdg_site_kind_name(y->kind),
                            y->channels);
        if (x->height != y->height || x->width != y->width)
            return sdg_fail(log, SDG_ERROR_INPUT,
                            "%s and %s do not belong together: site %s keeps %zux%zu and %zux%zu tokens apart", a_name,
                            b_name, x->name, x->width, x->height, y->width, y->height);
        if (!x->weights != !y->weights)
            return sdg_fail(log, SDG_ERROR_INPUT, "%s and %s do not belong together: site %s is weighed in one of them",
                            a_name, b_name, x->name);
        if (!x->smoothing != !y->smoothing ||
            (x->smoothing && memcmp(x->smoothing, y->smoothing, x->channels * sizeof *x->smoothing) != 0))
            return sdg_fail(log, SDG_ERROR_INPUT, "%s and %s do not belong together: site %s is smoothed differently",
                            a_name, b_name, x->name);
    }
    return SDG_OK;
}

// Checked before anything is changed.
static enum sdg_result tokens_can_be_added(const struct sdg_log *log, const struct sdg_statistics *into,
                                           const struct sdg_statistics *from)
{
    for (size_t i = 0; i < from->site_count; i++) {
        const struct sdg_site_statistics *x = &from->sites[i], *y = sdg_statistics_find(into, x->name);
        for (size_t k = 0; y && k < into->info.rows * x->height * x->width; k++)
            if (sdg_token_histogram_total(&x->tokens[k]) + sdg_token_histogram_total(&y->tokens[k]) > INT32_MAX)
                return too_many(log, x);
    }
    return SDG_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sdg_site_statistics *)a)->name, ((const struct sdg_site_statistics *)b)->name);
}

void sdg_statistics_sort(struct sdg_statistics *s)
{
    if (s->site_count > 1)
        qsort(s->sites, s->site_count, sizeof *s->sites, by_name);
}

static void merge_site(struct sdg_site_statistics *into, const struct sdg_site_statistics *from, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        sdg_histogram_merge(&into->rows[r], &from->rows[r]);
    sdg_channel_largest(into->largest, from->largest, 1, rows * into->channels);
    for (size_t k = 0; k < rows * from->height * from->width; k++) {
        sdg_token_histogram_merge(&into->tokens[k], &from->tokens[k]);
        for (int b = 0; from->weights && b < SDG_TOKEN_BINS; b++)
            into->weights[k][b] += from->weights[k][b];
    }
}

enum sdg_result sdg_statistics_merge(const struct sdg_log *log, struct sdg_statistics *into, const char *into_name,
                                     const struct sdg_statistics *from, const char *from_name)
{
    SDG_TRY(same_info(log, into, into_name, from, from_name));
    if (!is_blank(into) && !is_blank(from)) {
        SDG_TRY(same_sites(log, into, into_name, from, from_name));
        SDG_TRY(same_sites(log, from, from_name, into, into_name));
        SDG_TRY(tokens_can_be_added(log, into, from));
    }
    size_t old_count = into->site_count;
    for (size_t i = 0; i < from->site_count; i++) {
        size_t index;
        enum sdg_result result =
            sdg_statistics_site(log, into, from->sites[i].name, from->sites[i].kind, from->sites[i].channels, &index);
        if (result == SDG_OK && from->sites[i].tokens)
            result = sdg_statistics_keep_tokens(log, into, index, from->sites[i].height, from->sites[i].width);
        if (result == SDG_OK && from->sites[i].weights)
            result = sdg_statistics_weigh_tokens(log, into, index);
        if (result == SDG_OK && from->sites[i].smoothing)
            result = sdg_statistics_smooth(log, into, index, from->sites[i].smoothing);
        if (result != SDG_OK) { // out of memory half-way: back to what it was
            while (into->site_count > old_count)
                free_site(&into->sites[--into->site_count]);
            return result;
        }
    }
    sdg_statistics_sort(into);
    for (size_t i = 0; i < from->site_count; i++) {
        const struct sdg_site_statistics *site = &from->sites[i];
        merge_site((struct sdg_site_statistics *)sdg_statistics_find(into, site->name), site, into->info.rows);
    }
    for (size_t p = 0; p < into->info.prompts; p++)
        into->done[p] |= from->done[p];
    if (into->info.shard != from->info.shard || into->info.shards != from->info.shards)
        into->info.shard = into->info.shards = 1;
    return SDG_OK;
}

// ---- identity ----

uint64_t sdg_statistics_hash(struct sdg_statistics *s)
{
    const struct sdg_statistics_info *info = &s->info;
    uint64_t h = SDG_HASH_START;
    const char *const texts[] = {info->model, info->sampler, info->settings};
    for (int i = 0; i < 3; i++)
        h = sdg_hash_bytes(h, texts[i], strlen(texts[i]) + 1);
    h = sdg_hash_bytes(h, info->timesteps, info->rows * sizeof *info->timesteps);
    h = sdg_hash_bytes(h, s->done, info->prompts);
    sdg_statistics_sort(s);
    for (size_t i = 0; i < s->site_count; i++) {
        const struct sdg_site_statistics *site = &s->sites[i];
        h = sdg_hash_bytes(h, site->name, strlen(site->name) + 1);
        for (size_t r = 0; r < info->rows; r++) {
            h = sdg_hash_bytes(h, site->rows[r].counts, sizeof site->rows[r].counts);
            h = sdg_hash_bytes(h, (const float[]){site->rows[r].min, site->rows[r].max}, 2 * sizeof(float));
        }
        h = sdg_hash_bytes(h, site->largest, info->rows * site->channels * sizeof *site->largest);
        if (site->smoothing)
            h = sdg_hash_bytes(h, site->smoothing, site->channels * sizeof *site->smoothing);
        if (site->tokens)
            h = sdg_hash_bytes(sdg_hash_word(sdg_hash_word(h, site->height), site->width), site->tokens,
                               info->rows * site->height * site->width * sizeof *site->tokens);
        if (site->weights)
            h = sdg_hash_bytes(h, site->weights, info->rows * site->height * site->width * sizeof *site->weights);
    }
    return h;
}
