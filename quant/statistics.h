// What calibration records: for each site and row a histogram with minimum and maximum, and the largest magnitude per
// channel; and which model, sampler and prompts they come from.
//
// Nothing in it depends on the order in which values were seen: counts are added, extremes compared. So the merged
// files of any shards, resumed or not, equal the file of one run byte for byte.
//
// As a file (safetensors), for a site NAME of C channels and R rows:
//     timesteps         f64 [R]          prompts_done    u8 [P], 0 or 1
//     NAME.histogram    s64 [R, 1156]     NAME.minimum, NAME.maximum   f32 [R]   (+inf, -inf in a row without values)
//     NAME.largest      f32 [R, C]       NAME.kind       s32 [1], enum sdg_site_kind
// and of a site that keeps a grid of H x W tokens
//     NAME.token_histogram   s32 [R, H, W, 100]     NAME.token_minimum, NAME.token_maximum   f32 [R, H, W]
// where values are weighed, too,
//     NAME.token_weight      s64 [R, H, W, 100]
// and of a site that was smoothed: everything above is of its values times
//     NAME.smoothing         f32 [C]
// and metadata: format, version (2 where a site keeps tokens or was smoothed, else 1), bins, model, sampler, settings,
// steps, shard ("i/n").
#ifndef SDG_QUANT_STATISTICS_H
#define SDG_QUANT_STATISTICS_H

#include "quant/token_histogram.h"

struct sdg_site_statistics {
    char *name;
    enum sdg_site_kind kind;
    size_t channels;
    struct sdg_histogram *rows;         // [rows]
    float *largest;                     // [rows][channels], >= 0
    size_t height, width;               // of the grid of tokens, whose positions are told apart; 0: they are not
    struct sdg_token_histogram *tokens; // [rows][height * width]; NULL where they are not
    // [rows][height * width], sums of sdg_token_weight in each bin; NULL where all pictures count the same
    int64_t (*weights)[SDG_TOKEN_BINS];
    float *smoothing; // [channels] what values are multiplied with before anything; NULL: 1
    float *smoothed;  // [channels] room for a token's values times these, behind them
};

struct sdg_statistics_info {
    const char *model; // fingerprint
    const char *sampler;
    const char *settings;    // whatever else has to agree: guidance, size, seed, prompt file ... in the caller's words
    int steps;               // 1..10000
    size_t rows;             // runs of the UNet per picture: 1..10000
    const double *timesteps; // [rows], finite, >= 0
    size_t prompts;          // of the whole prompt file: 1..2^24
    int shard, shards;       // 1 <= shard <= shards <= 65536; this shard takes prompts shard-1, shard-1+shards, ..
};

struct sdg_statistics {              // read freely, change through the functions below
    struct sdg_statistics_info info; // strings and timesteps owned by the statistics
    unsigned char *done;             // [prompts] 1 = seen
    // in the order of sdg_statistics_site; by name after reading, writing and merging
    struct sdg_site_statistics *sites;
    size_t site_count, site_capacity;
};

// Empty statistics. Everything in `info` is copied.
enum sdg_result sdg_statistics_create(const struct sdg_log *log, const struct sdg_statistics_info *info,
                                      struct sdg_statistics **out);
void sdg_statistics_destroy(struct sdg_statistics **statistics);

// The index of a site, added if it is new. A known name with another kind or number of channels is SDG_ERROR_USAGE.
// Pointers into sites[] are invalid after a site was added.
enum sdg_result sdg_statistics_site(const struct sdg_log *log, struct sdg_statistics *s, const char *name,
                                    enum sdg_site_kind kind, size_t channels, size_t *index);
// Has a site, of which nothing was observed yet, keep its tokens apart: from now on it sees whole pictures of height x
// width tokens, 2^20 at most. Asked again with the same grid it does nothing; another one is SDG_ERROR_USAGE.
enum sdg_result sdg_statistics_keep_tokens(const struct sdg_log *log, struct sdg_statistics *s, size_t site,
                                           size_t height, size_t width);
// Has a site that keeps tokens, of which nothing was observed yet, weigh their values, too. Asked again it does
// nothing.
enum sdg_result sdg_statistics_weigh_tokens(const struct sdg_log *log, struct sdg_statistics *s, size_t site);
// Has a site, of which nothing was observed yet, multiply each channel with smoothing [channels], finite and at least
// 2^-120, before anything else. Asked again with the same numbers it does nothing; others are SDG_ERROR_USAGE.
enum sdg_result sdg_statistics_smooth(const struct sdg_log *log, struct sdg_statistics *s, size_t site,
                                      const float *smoothing);
// Adds x [n, channels] to one row of a site; of one that keeps tokens, n is a multiple of their number. Infinities and
// NaN are SDG_ERROR_COMPUTE; the statistics are then of no further use. Different sites may be written by different
// threads at once.
enum sdg_result sdg_statistics_observe(const struct sdg_log *log, struct sdg_statistics *s, size_t site, size_t row,
                                       const float *x, size_t n);
// Whether this shard still has to run a prompt (0-based); and that it has: call it after the prompt's last observation.
bool sdg_statistics_wants(const struct sdg_statistics *s, size_t prompt);
void sdg_statistics_mark_done(struct sdg_statistics *s, size_t prompt);
size_t sdg_statistics_done_count(const struct sdg_statistics *s);
// NULL if absent
const struct sdg_site_statistics *sdg_statistics_find(const struct sdg_statistics *s, const char *name);

// Writes all of it. SDG_ERROR_OUTPUT, SDG_ERROR_MEMORY.
enum sdg_result sdg_statistics_write(const struct sdg_log *log, struct sdg_statistics *s, const char *path);
// Every field is checked: types, shapes, signs, finiteness, and that counts, extremes and channel maxima agree with
// each other.
enum sdg_result sdg_statistics_read(const struct sdg_log *log, const char *path, struct sdg_statistics **out);

// Adds `from` to `into`. Other model, sampler, settings, steps, timesteps, prompts or sites, or a prompt in both:
// SDG_ERROR_INPUT with what differs (the names are for messages), nothing changed. One of both may have no prompts and
// no sites yet. The result is shard 1/1 unless both were the same shard.
enum sdg_result sdg_statistics_merge(const struct sdg_log *log, struct sdg_statistics *into, const char *into_name,
                                     const struct sdg_statistics *from, const char *from_name);

// Of all content: tells statistics apart in a quantized model's configuration.
uint64_t sdg_statistics_hash(struct sdg_statistics *s);

#endif
