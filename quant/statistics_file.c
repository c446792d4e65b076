// Statistics as safetensors files.
#include "base/memory.h"
#include "formats/tensors.h"
#include "quant/statistics.h"
#include "quant/statistics_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "sdgen statistics", plain_version[] = "1", later_version[] = "2";
enum { PARTS = 5, TOKEN_PARTS = 3, NAME_BYTES = 512, LONGEST_SUFFIX = 16 };
static const char *const suffixes[PARTS] = {".histogram", ".kind", ".largest", ".maximum", ".minimum"};
enum part { HISTOGRAM, KIND, LARGEST, MAXIMUM, MINIMUM };
static const char *const token_suffixes[TOKEN_PARTS] = {".token_histogram", ".token_maximum", ".token_minimum"};
static const char smoothing_suffix[] = ".smoothing", weight_suffix[] = ".token_weight";
enum token_part { TOKEN_HISTOGRAM, TOKEN_MAXIMUM, TOKEN_MINIMUM };

// ---- writing ----

struct image { // what sdg_tensors_write is given
    struct sdg_tensor *tensors;
    size_t count;
    char *names;
    unsigned char *data;
    size_t used;
};

static struct sdg_tensor *add_grid(struct image *f, const char *site, const char *suffix, enum sdg_dtype dtype,
                                   int rank, const size_t dims[])
{
    char *name = f->names + f->count * NAME_BYTES;
    snprintf(name, NAME_BYTES, "%s%s", site, suffix);
    struct sdg_tensor *t = &f->tensors[f->count++];
    *t = (struct sdg_tensor){.name = name, .dtype = dtype, .rank = rank, .bytes = sdg_dtype_size(dtype)};
    for (int i = 0; i < rank; i++) {
        t->dims[i] = (int64_t)dims[i];
        t->bytes *= dims[i];
    }
    return t;
}

static struct sdg_tensor *add(struct image *f, const char *site, const char *suffix, enum sdg_dtype dtype, int rank,
                              size_t d0, size_t d1)
{
    return add_grid(f, site, suffix, dtype, rank, (const size_t[]){d0, d1});
}

// Data that has to be gathered; 8-byte pieces come first, so all of them are aligned.
static void *gather(struct image *f, struct sdg_tensor *t)
{
    void *data = f->data + f->used;
    f->used += t->bytes;
    t->data = data;
    return data;
}

// Histograms of tokens lie in memory with their extremes, in the file beside them.
static void add_tokens(struct image *f, const struct sdg_site_statistics *site, size_t rows)
{
    const size_t dims[4] = {rows, site->height, site->width, SDG_TOKEN_BINS}, count = rows * site->height * site->width;
    int32_t *counts = gather(f, add_grid(f, site->name, token_suffixes[TOKEN_HISTOGRAM], SDG_S32, 4, dims));
    float *max = gather(f, add_grid(f, site->name, token_suffixes[TOKEN_MAXIMUM], SDG_F32, 3, dims));
    float *min = gather(f, add_grid(f, site->name, token_suffixes[TOKEN_MINIMUM], SDG_F32, 3, dims));
    f->used = (f->used + 7) / 8 * 8;
    for (size_t i = 0; i < count; i++) {
        memcpy(counts + i * SDG_TOKEN_BINS, site->tokens[i].counts, sizeof site->tokens[i].counts);
        max[i] = site->tokens[i].max;
        min[i] = site->tokens[i].min;
    }
}

static void add_site(struct image *f, const struct sdg_site_statistics *site, size_t rows)
{
    int64_t *counts = gather(f, add(f, site->name, suffixes[HISTOGRAM], SDG_S64, 2, rows, SDG_HISTOGRAM_BINS));
    int32_t *kind = gather(f, add(f, site->name, suffixes[KIND], SDG_S32, 1, 1, 1));
    add(f, site->name, suffixes[LARGEST], SDG_F32, 2, rows, site->channels)->data = site->largest;
    float *max = gather(f, add(f, site->name, suffixes[MAXIMUM], SDG_F32, 1, rows, 1));
    float *min = gather(f, add(f, site->name, suffixes[MINIMUM], SDG_F32, 1, rows, 1));
    f->used = (f->used + 7) / 8 * 8;
    *kind = (int32_t)site->kind;
    for (size_t r = 0; r < rows; r++) {
        memcpy(counts + r * SDG_HISTOGRAM_BINS, site->rows[r].counts, sizeof site->rows[r].counts);
        max[r] = site->rows[r].max;
        min[r] = site->rows[r].min;
    }
    if (site->tokens)
        add_tokens(f, site, rows);
    if (site->weights)
        add_grid(f, site->name, weight_suffix, SDG_S64, 4,
                 (const size_t[]){rows, site->height, site->width, SDG_TOKEN_BINS})
            ->data = site->weights;
    if (site->smoothing)
        add(f, site->name, smoothing_suffix, SDG_F32, 1, site->channels, 1)->data = site->smoothing;
}

static bool needs_later_version(const struct sdg_statistics *s)
{
    for (size_t i = 0; i < s->site_count; i++)
        if (s->sites[i].tokens || s->sites[i].smoothing)
            return true;
    return false;
}

void sdg_file_about_make(const struct sdg_statistics *s, const char *format, struct sdg_file_about *out)
{
    const struct sdg_statistics_info *info = &s->info;
    snprintf(out->steps, sizeof out->steps, "%d", info->steps);
    snprintf(out->shard, sizeof out->shard, "%d/%d", info->shard, info->shards);
    const struct sdg_metadata metadata[] = {
        {"format", format},           {"version", needs_later_version(s) ? later_version : plain_version},
        {"model", info->model},       {"sampler", info->sampler},
        {"settings", info->settings}, {"steps", out->steps},
        {"shard", out->shard}};
    memcpy(out->metadata, metadata, sizeof metadata);
    out->tensors[0] = (struct sdg_tensor){.name = "timesteps",
                                          .dtype = SDG_F64,
                                          .rank = 1,
                                          .dims = {(int64_t)info->rows},
                                          .data = info->timesteps,
                                          .bytes = info->rows * sizeof(double)};
    out->tensors[1] = (struct sdg_tensor){.name = "prompts_done",
                                          .dtype = SDG_U8,
                                          .rank = 1,
                                          .dims = {(int64_t)info->prompts},
                                          .data = s->done,
                                          .bytes = info->prompts};
}

static enum sdg_result write_image(const struct sdg_log *log, const struct sdg_statistics *s, const char *path,
                                   struct image *f)
{
    enum { ABOUT = sizeof(((struct sdg_file_about *)0)->metadata) / sizeof(struct sdg_metadata) };
    struct sdg_file_about about;
    struct sdg_metadata metadata[ABOUT + 1] = {{"bins", SDG_HISTOGRAM_LAYOUT}};
    sdg_file_about_make(s, format_name, &about);
    memcpy(metadata + 1, about.metadata, sizeof about.metadata);
    memcpy(f->tensors, about.tensors, sizeof about.tensors);
    f->count = 2;
    for (size_t i = 0; i < s->site_count; i++)
        add_site(f, &s->sites[i], s->info.rows);
    return sdg_tensors_write(log, path, f->tensors, f->count, metadata, ABOUT + 1);
}

// Bytes of a site's data that are gathered for the file.
static size_t gathered_bytes(const struct sdg_site_statistics *site, size_t rows)
{
    return rows * (SDG_HISTOGRAM_BINS * sizeof(int64_t) + 2 * sizeof(float)) +
        rows * site->height * site->width * (SDG_TOKEN_BINS * sizeof(int32_t) + 2 * sizeof(float)) + 16 + 8;
}

enum sdg_result sdg_statistics_write(const struct sdg_log *log, struct sdg_statistics *s, const char *path)
{
    struct image f = {0};
    size_t bytes = 0;
    sdg_statistics_sort(s);
    for (size_t i = 0; i < s->site_count; i++) {
        if (strlen(s->sites[i].name) > NAME_BYTES - LONGEST_SUFFIX - 1)
            return sdg_fail(log, SDG_ERROR_USAGE, "%s: the name of site %.40s... is longer than %d bytes", path,
                            s->sites[i].name, NAME_BYTES - LONGEST_SUFFIX - 1);
        bytes += gathered_bytes(&s->sites[i], s->info.rows);
    }
    size_t count = 2 + (PARTS + TOKEN_PARTS + 2) * s->site_count;
    f.tensors = sdg_alloc(log, count, sizeof *f.tensors, "statistics");
    f.names = sdg_alloc(log, count, NAME_BYTES, "statistics");
    f.data = sdg_alloc_raw(log, bytes ? bytes : 1, 1, "statistics");
    enum sdg_result result = f.tensors && f.names && f.data ? write_image(log, s, path, &f) : SDG_ERROR_MEMORY;
    sdg_free(f.tensors);
    sdg_free(f.names);
    sdg_free(f.data);
    return result;
}

// ---- reading ----

struct reader {
    const struct sdg_log *log;
    const char *path;
    const struct sdg_tensors *tensors;
};

static enum sdg_result metadata(const struct reader *r, const char *key, const char *wanted, const char **out)
{
    const char *value = sdg_tensors_metadata(r->tensors, key);
    if (!value)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: no statistics: '%s' is missing in its metadata", r->path, key);
    if (wanted && strcmp(value, wanted) != 0)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is '%.60s', should be '%s': calibrate again with this version",
                        r->path, key, value, wanted);
    if (out)
        *out = value;
    return SDG_OK;
}

// Files without tokens are what they were before there were any.
static enum sdg_result read_version(const struct reader *r)
{
    const char *version = sdg_tensors_metadata(r->tensors, "version");
    return version && strcmp(version, later_version) == 0 ? SDG_OK : metadata(r, "version", plain_version, NULL);
}

// A decimal number of at most nine digits.
static const char *read_number(const char *text, int *out)
{
    int value = 0, digits = 0;
    for (; *text >= '0' && *text <= '9' && digits < 9; digits++)
        value = value * 10 + (*text++ - '0');
    *out = value;
    return digits > 0 ? text : NULL;
}

// dims [rank] of -1 are any size from 1 on.
static enum sdg_result grid(const struct reader *r, const char *name, enum sdg_dtype dtype, int rank,
                            const int64_t dims[], const struct sdg_tensor **out)
{
    const struct sdg_tensor *t = sdg_tensors_find(r->tensors, name);
    if (!t)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is missing", r->path, name);
    bool fits = t->dtype == dtype && t->rank == rank && t->bytes > 0;
    for (int i = 0; fits && i < rank; i++)
        fits = dims[i] < 0 || t->dims[i] == dims[i];
    if (!fits)
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: %s should be %s with %d dimension%s that fit the rest of the file", r->path, name,
                        sdg_dtype_name(dtype), rank, rank == 1 ? "" : "s");
    *out = t;
    return SDG_OK;
}

static enum sdg_result tensor(const struct reader *r, const char *name, enum sdg_dtype dtype, int rank, int64_t d0,
                              int64_t d1, const struct sdg_tensor **out)
{
    return grid(r, name, dtype, rank, (const int64_t[]){d0, d1}, out);
}

static enum sdg_result read_done(const struct reader *r, const struct sdg_tensor *done, struct sdg_statistics *s)
{
    memcpy(s->done, done->data, done->bytes);
    for (size_t i = 0; i < done->bytes; i++)
        if (s->done[i] > 1)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: prompts_done[%zu] is %d, should be 0 or 1", r->path, i,
                            s->done[i]);
    return SDG_OK;
}

static enum sdg_result read_info(const struct reader *r, const char *format, struct sdg_statistics **out)
{
    struct sdg_statistics_info info = {0};
    const char *steps = NULL, *shard = NULL;
    SDG_TRY(metadata(r, "format", format, NULL));
    SDG_TRY(read_version(r));
    SDG_TRY(metadata(r, "model", NULL, &info.model));
    SDG_TRY(metadata(r, "sampler", NULL, &info.sampler));
    SDG_TRY(metadata(r, "settings", NULL, &info.settings));
    SDG_TRY(metadata(r, "steps", NULL, &steps));
    SDG_TRY(metadata(r, "shard", NULL, &shard));
    const char *end = read_number(steps, &info.steps), *slash = read_number(shard, &info.shard);
    const char *tail = slash && *slash == '/' ? read_number(slash + 1, &info.shards) : NULL;
    if (!end || *end || !tail || *tail)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: steps '%.20s' and shard '%.20s' should be a number and i/n",
                        r->path, steps, shard);
    const struct sdg_tensor *times, *done;
    SDG_TRY(tensor(r, "timesteps", SDG_F64, 1, -1, 0, &times));
    SDG_TRY(tensor(r, "prompts_done", SDG_U8, 1, -1, 0, &done));
    double *timesteps = sdg_alloc_raw(r->log, 1, times->bytes, "statistics");
    if (!timesteps)
        return SDG_ERROR_MEMORY;
    memcpy(timesteps, times->data, times->bytes);
    info.timesteps = timesteps;
    info.rows = (size_t)times->dims[0];
    info.prompts = (size_t)done->dims[0];
    enum sdg_result result = sdg_statistics_create(r->log, &info, out);
    sdg_free(timesteps);
    if (result == SDG_OK)
        result = read_done(r, done, *out);
    return result == SDG_ERROR_USAGE ? SDG_ERROR_INPUT : result; // the same numbers, but here they come from a file
}

enum sdg_result sdg_file_about_read(const struct sdg_log *log, const char *path, const struct sdg_tensors *tensors,
                                    const char *format, struct sdg_statistics **out)
{
    const struct reader r = {log, path, tensors};
    struct sdg_statistics *s = NULL;
    enum sdg_result result = read_info(&r, format, &s);
    if (result != SDG_OK) {
        sdg_statistics_destroy(&s);
        return result;
    }
    *out = s;
    return SDG_OK;
}

// Whether a row's numbers can have come from the same values.
static const char *contradiction(const struct sdg_histogram *h, const float *largest, size_t channels)
{
    uint64_t total = 0;
    int lowest = -1, highest = -1;
    // from the largest value's bin to the smallest's
    for (int m = SDG_HISTOGRAM_HALF - 1; m >= -SDG_HISTOGRAM_HALF; m--) {
        int bin = m >= 0 ? m : SDG_HISTOGRAM_HALF - 1 - m;
        if (h->counts[bin] > INT64_MAX || __builtin_add_overflow(total, h->counts[bin], &total) || total > INT64_MAX)
            return "a count is negative or too large";
        if (h->counts[bin] > 0 && highest < 0)
            highest = bin;
        if (h->counts[bin] > 0)
            lowest = bin;
    }
    float top = 0;
    for (size_t c = 0; c < channels; c++) {
        if (!(largest[c] >= 0 && largest[c] < INFINITY) || signbit(largest[c]))
            return "a channel's largest magnitude is negative or not finite";
        top = largest[c] > top ? largest[c] : top;
    }
    if (total == 0)
        return h->min == INFINITY && h->max == -INFINITY && top == 0 ? NULL : "there are extremes without values";
    if (!(h->min <= h->max) || isinf(h->min) || isinf(h->max))
        return "minimum and maximum are not finite or in the wrong order";
    if (sdg_histogram_bin(h->min) != lowest || sdg_histogram_bin(h->max) != highest)
        return "minimum and maximum lie outside of the counted bins";
    if (top != fmaxf(fabsf(h->min), fabsf(h->max)))
        return "minimum and maximum contradict the channels' largest magnitudes";
    return total % channels == 0 ? NULL : "the number of values is no multiple of the channels";
}

static enum sdg_result read_rows(const struct reader *r, const struct sdg_tensor *const parts[PARTS],
                                 struct sdg_site_statistics *site, size_t rows)
{
    memcpy(site->largest, parts[LARGEST]->data, parts[LARGEST]->bytes);
    for (size_t row = 0; row < rows; row++) {
        struct sdg_histogram *h = &site->rows[row];
        memcpy(h->counts, (const char *)parts[HISTOGRAM]->data + row * sizeof h->counts, sizeof h->counts);
        memcpy(&h->min, (const char *)parts[MINIMUM]->data + row * sizeof h->min, sizeof h->min);
        memcpy(&h->max, (const char *)parts[MAXIMUM]->data + row * sizeof h->max, sizeof h->max);
        const char *why = contradiction(h, site->largest + row * site->channels, site->channels);
        if (why)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s, row %zu: %s", r->path, site->name, row, why);
    }
    return SDG_OK;
}

// The counts of all tokens of a row have to be the row's own.
static const char *tokens_contradict(const struct sdg_histogram *row, const struct sdg_token_histogram *tokens,
                                     size_t count)
{
    int64_t left[SDG_TOKEN_BINS] = {0};
    float min = INFINITY, max = -INFINITY;
    for (int b = 0; b < SDG_HISTOGRAM_BINS; b++)
        left[sdg_token_bin(b)] += (int64_t)row->counts[b];
    for (size_t k = 0; k < count; k++) {
        const char *why = sdg_token_histogram_contradiction(&tokens[k]);
        if (why)
            return why;
        if (sdg_token_histogram_total(&tokens[k]) != sdg_token_histogram_total(&tokens[0]))
            return "some tokens have more values than others";
        for (int b = 0; b < SDG_TOKEN_BINS; b++)
            left[b] -= tokens[k].counts[b];
        min = fminf(min, tokens[k].min);
        max = fmaxf(max, tokens[k].max);
    }
    for (int b = 0; b < SDG_TOKEN_BINS; b++)
        if (left[b] != 0)
            return "the tokens' values are not those of the site";
    return min == row->min && max == row->max ? NULL : "the tokens' extremes are not those of the site";
}

static enum sdg_result read_tokens(const struct reader *r, const char *name, struct sdg_statistics *s, size_t index)
{
    const struct sdg_tensor *parts[TOKEN_PARTS];
    const size_t rows = s->info.rows;
    int64_t dims[4] = {(int64_t)rows, -1, -1, SDG_TOKEN_BINS};
    char full[NAME_BYTES + LONGEST_SUFFIX];
    for (int p = 0; p < TOKEN_PARTS; p++) {
        snprintf(full, sizeof full, "%s%s", name, token_suffixes[p]);
        SDG_TRY(grid(r, full, p == TOKEN_HISTOGRAM ? SDG_S32 : SDG_F32, p == TOKEN_HISTOGRAM ? 4 : 3, dims, &parts[p]));
        memcpy(dims, parts[0]->dims, sizeof dims);
    }
    enum sdg_result result =
        sdg_statistics_keep_tokens(r->log, s, index, (size_t)parts[0]->dims[1], (size_t)parts[0]->dims[2]);
    if (result != SDG_OK)
        return result == SDG_ERROR_USAGE ? SDG_ERROR_INPUT : result;
    const struct sdg_site_statistics *site = &s->sites[index];
    const size_t tokens = site->height * site->width;
    for (size_t i = 0; i < rows * tokens; i++) {
        struct sdg_token_histogram *h = &site->tokens[i];
        memcpy(h->counts, (const char *)parts[TOKEN_HISTOGRAM]->data + i * sizeof h->counts, sizeof h->counts);
        memcpy(&h->max, (const char *)parts[TOKEN_MAXIMUM]->data + i * sizeof h->max, sizeof h->max);
        memcpy(&h->min, (const char *)parts[TOKEN_MINIMUM]->data + i * sizeof h->min, sizeof h->min);
    }
    return SDG_OK;
}

// After the tokens.
static enum sdg_result read_weights(const struct reader *r, const char *name, struct sdg_statistics *s, size_t index)
{
    const struct sdg_tensor *t;
    const struct sdg_site_statistics *site = &s->sites[index];
    const size_t count = s->info.rows * site->height * site->width;
    char full[NAME_BYTES + LONGEST_SUFFIX];
    snprintf(full, sizeof full, "%s%s", name, weight_suffix);
    if (!sdg_tensors_find(r->tensors, full))
        return SDG_OK;
    SDG_TRY(grid(r, full, SDG_S64, 4,
                 (const int64_t[]){(int64_t)s->info.rows, (int64_t)site->height, (int64_t)site->width, SDG_TOKEN_BINS},
                 &t));
    SDG_TRY(sdg_statistics_weigh_tokens(r->log, s, index));
    memcpy(site->weights, t->data, count * sizeof *site->weights);
    return SDG_OK;
}

static enum sdg_result check_tokens(const struct reader *r, const struct sdg_site_statistics *site, size_t rows)
{
    const size_t tokens = site->height * site->width;
    for (size_t row = 0; row < rows; row++) {
        const char *why = tokens_contradict(&site->rows[row], site->tokens + row * tokens, tokens);
        if (why)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: tokens of %s, row %zu: %s", r->path, site->name, row, why);
    }
    for (size_t i = 0; site->weights && i < rows * tokens; i++) {
        const char *why = sdg_token_weights_contradiction(site->weights[i], &site->tokens[i]);
        if (why)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: tokens of %s, row %zu: %s", r->path, site->name, i / tokens,
                            why);
    }
    return SDG_OK;
}

static enum sdg_result read_smoothing(const struct reader *r, const char *name, struct sdg_statistics *s, size_t index)
{
    const struct sdg_tensor *t;
    const size_t channels = s->sites[index].channels;
    char full[NAME_BYTES + LONGEST_SUFFIX];
    snprintf(full, sizeof full, "%s%s", name, smoothing_suffix);
    if (!sdg_tensors_find(r->tensors, full))
        return SDG_OK;
    SDG_TRY(tensor(r, full, SDG_F32, 1, (int64_t)channels, 0, &t));
    float *smoothing = sdg_alloc_raw(r->log, 1, t->bytes, "smoothing"); // aligned
    if (!smoothing)
        return SDG_ERROR_MEMORY;
    memcpy(smoothing, t->data, t->bytes);
    enum sdg_result result = sdg_statistics_smooth(r->log, s, index, smoothing);
    sdg_free(smoothing);
    return result == SDG_ERROR_USAGE ? SDG_ERROR_INPUT : result;
}

static bool has_tokens(const struct reader *r, const char *name)
{
    char full[NAME_BYTES + LONGEST_SUFFIX];
    snprintf(full, sizeof full, "%s%s", name, token_suffixes[TOKEN_HISTOGRAM]);
    return sdg_tensors_find(r->tensors, full);
}

static enum sdg_result read_site(const struct reader *r, const char *name, struct sdg_statistics *s)
{
    int64_t rows = (int64_t)s->info.rows;
    const struct sdg_tensor *parts[PARTS];
    char full[NAME_BYTES];
    for (int p = 0; p < PARTS; p++) {
        static const enum sdg_dtype types[PARTS] = {SDG_S64, SDG_S32, SDG_F32, SDG_F32, SDG_F32};
        snprintf(full, sizeof full, "%s%s", name, suffixes[p]);
        bool matrix = p == HISTOGRAM || p == LARGEST;
        SDG_TRY(tensor(r, full, types[p], matrix ? 2 : 1, p == KIND ? 1 : rows,
                       p == HISTOGRAM ? SDG_HISTOGRAM_BINS : -1, &parts[p]));
    }
    int32_t kind;
    memcpy(&kind, parts[KIND]->data, sizeof kind);
    if (kind < 0 || kind >= SDG_SITE_KINDS)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s.kind is %d, should be 0 or 1", r->path, name, (int)kind);
    size_t index;
    enum sdg_result result =
        sdg_statistics_site(r->log, s, name, (enum sdg_site_kind)kind, (size_t)parts[LARGEST]->dims[1], &index);
    if (result != SDG_OK)
        return result == SDG_ERROR_USAGE ? SDG_ERROR_INPUT : result;
    const bool tokens = has_tokens(r, name);
    SDG_TRY(read_smoothing(r, name, s, index));
    if (tokens) // before the site has values
        SDG_TRY(read_tokens(r, name, s, index));
    if (tokens)
        SDG_TRY(read_weights(r, name, s, index));
    SDG_TRY(read_rows(r, parts, &s->sites[index], s->info.rows));
    return tokens ? check_tokens(r, &s->sites[index], s->info.rows) : SDG_OK;
}

// Sites are found by their histograms; whatever is left over then has no place in the file.
static enum sdg_result read_sites(const struct reader *r, struct sdg_statistics *s)
{
    size_t count = sdg_tensors_count(r->tensors), ending = strlen(suffixes[HISTOGRAM]);
    for (size_t i = 0; i < count; i++) {
        const char *full = sdg_tensors_at(r->tensors, i)->name;
        size_t length = strlen(full);
        if (length <= ending || strcmp(full + length - ending, suffixes[HISTOGRAM]) != 0)
            continue;
        char name[NAME_BYTES];
        if (length - ending > NAME_BYTES - LONGEST_SUFFIX - 1)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: the name of site %.40s... is too long", r->path, full);
        snprintf(name, sizeof name, "%.*s", (int)(length - ending), full);
        SDG_TRY(read_site(r, name, s));
    }
    size_t known = 2 + PARTS * s->site_count;
    for (size_t i = 0; i < s->site_count; i++)
        known +=
            (s->sites[i].tokens ? TOKEN_PARTS : 0) + (s->sites[i].weights != NULL) + (s->sites[i].smoothing != NULL);
    if (count != known)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: has tensors that belong to no site", r->path);
    sdg_statistics_sort(s);
    return SDG_OK;
}

enum sdg_result sdg_statistics_read(const struct sdg_log *log, const char *path, struct sdg_statistics **out)
{
    struct sdg_tensors *tensors;
    struct sdg_statistics *s = NULL;
    SDG_TRY(sdg_tensors_open(log, path, &tensors));
    struct reader r = {log, path, tensors};
    enum sdg_result result = sdg_file_about_read(log, path, tensors, format_name, &s);
    if (result == SDG_OK)
        result = metadata(&r, "bins", SDG_HISTOGRAM_LAYOUT, NULL);
    if (result == SDG_OK)
        result = read_sites(&r, s);
    sdg_tensors_destroy(&tensors);
    if (result != SDG_OK) {
        sdg_statistics_destroy(&s);
        return result;
    }
    *out = s;
    return SDG_OK;
}
