#include "quant/quantized.h"

#include "base/memory.h"
#include "formats/quantized_folder.h"
#include "formats/stored.h"
#include "quant/tdq.h"
#include "quant/rounding.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct sdg_log *log;
    const struct sdg_tensors *tensors;
    const struct sdg_graph *graph;
    struct sdg_quantized *q;
};

enum { NAME_BYTES = 512 };

static const char *path_of(const struct reader *r)
{
    return sdg_tensors_path(r->tensors);
}

// ---- tensors ----

static int64_t elements(const struct sdg_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

// The tensor of that owner; NULL if there is none.
static const struct sdg_tensor *find(const struct reader *r, const char *owner, const char *suffix,
                                     char name[NAME_BYTES])
{
    return snprintf(name, NAME_BYTES, "%s%s", owner, suffix) < NAME_BYTES ? sdg_tensors_find(r->tensors, name) : NULL;
}

// ---- layers ----

static bool is_integer_weight(const struct sdg_tensor *tensor)
{
    return sdg_dtype_is_codes(tensor->dtype);
}

// The file's tensor of the whole module, of which `weight` may be a slice.
static enum sdg_result check_weight(const struct reader *r, const struct sdg_value_info *weight,
                                    const struct sdg_tensor *tensor, int *bits)
{
    const int64_t inputs = (weight->slice_of ? weight->slice_of : weight->dims[1]) * weight->dims[2] * weight->dims[3];
    *bits = tensor->dtype == SDG_S8 ? 8 : 4; // those of 6 are stored as 8
    const bool fits = *bits == 8
        ? elements(tensor) == weight->dims[0] * inputs && tensor->rank >= 2 && tensor->dims[0] == weight->dims[0]
        : tensor->rank == 2 && tensor->dims[0] == weight->dims[0] &&
            (uint64_t)tensor->dims[1] == sdg_packed_row((size_t)inputs);
    if (fits)
        return SDG_OK;
    return sdg_fail(r->log, SDG_ERROR_INPUT,
                    "%s: %s has %" PRId64 " bytes of %d-bit codes, which are not [%" PRId64 ", %" PRId64 "]",
                    path_of(r), weight->name, elements(tensor), *bits, weight->dims[0], inputs);
}

static enum sdg_result check_weight_scale(const struct reader *r, const struct sdg_op *op,
                                          const struct sdg_value_info *weight)
{
    char name[NAME_BYTES];
    const struct sdg_tensor *scale = find(r, op->name, SDG_WEIGHT_SCALE_SUFFIX, name);
    const bool grouped = r->q->scheme.activation_bits == SDG_FLOAT_BITS;
    if (!scale)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: tensor %s is missing: %s has no scales", path_of(r), name,
                        weight->name);
    const bool fits =
        (scale->rank == 1 || (grouped && scale->rank == 2 && scale->dims[1] >= 1)) && scale->dims[0] == weight->dims[0];
    if (scale->dtype != SDG_F32 || !fits)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is %s with %" PRId64 " numbers, should be f32 [%" PRId64 "%s]",
                        path_of(r), name, sdg_dtype_name(scale->dtype), elements(scale), weight->dims[0],
                        grouped ? " or times groups" : "");
    return sdg_stored_check_scales(r->log, r->tensors, scale);
}

// Scales of weights that are floats: in a folder that leaves out what its base has, the integers are missing.
static enum sdg_result refuse_stray_scale(const struct reader *r, const struct sdg_op *op,
                                          const struct sdg_value_info *weight)
{
    char name[NAME_BYTES];
    if (!find(r, op->name, SDG_WEIGHT_SCALE_SUFFIX, name))
        return SDG_OK;
    return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: has %s, but the integers of %s are missing", path_of(r), name,
                    weight->name);
}

// True if the file says that codes it does not have are those of its base's weights, rounded with its scales.
static bool codes_are_rounded(const struct reader *r)
{
    return sdg_quantized_rounds_codes(r->tensors) && r->q->scheme.activation_bits != SDG_FLOAT_BITS &&
        r->q->scheme.weight_bits != 6; // which no kernel rounds to
}

static uint64_t saved_bytes(const struct sdg_value_info *weight, const struct sdg_tensor *tensor, int bits)
{
    const uint64_t count = (uint64_t)sdg_value_elements(weight);
    return count * sdg_dtype_size(tensor->dtype) - count * (uint64_t)bits / 8;
}

// Adds the layer if its weights are integers, or become integers on loading.
static enum sdg_result read_layer(const struct reader *r, const struct sdg_op *op)
{
    const struct sdg_value_info *weight = &r->graph->values[op->in[1]];
    const struct sdg_tensor *tensor = sdg_tensors_find(r->tensors, weight->name);
    char scale[NAME_BYTES];
    int bits = r->q->scheme.weight_bits;
    if (!tensor) // reported where weights are loaded
        return SDG_OK;
    if (is_integer_weight(tensor))
        SDG_TRY(check_weight(r, weight, tensor, &bits));
    else if (!codes_are_rounded(r))
        return refuse_stray_scale(r, op, weight);
    else if (!find(r, op->name, SDG_WEIGHT_SCALE_SUFFIX, scale))
        return SDG_OK;
    else
        r->q->rounding_saves += saved_bytes(weight, tensor, bits);
    SDG_TRY(check_weight_scale(r, op, weight));
    char *name = sdg_strdup(r->log, op->name);
    if (!name)
        return SDG_ERROR_MEMORY;
    r->q->layers[r->q->layer_count++] = (struct sdg_quantized_layer){name, bits};
    return SDG_OK;
}

static enum sdg_result read_layers(const struct reader *r)
{
    r->q->layers = sdg_alloc(r->log, r->graph->op_count, sizeof *r->q->layers, "a quantized model's layers");
    if (!r->q->layers)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < r->graph->op_count; i++)
        if (sdg_op_is_quantizable(r->graph, &r->graph->ops[i]))
            SDG_TRY(read_layer(r, &r->graph->ops[i]));
    if (!r->q->layer_count)
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: the configuration says that the model is quantized, but no layer has integer weights",
                        path_of(r));
    return sdg_quantized_check_layers(r->log, r->tensors, r->q->layer_count);
}

static const struct sdg_quantized_layer *find_layer(const struct sdg_quantized *q, const char *name)
{
    for (size_t i = 0; i < q->layer_count; i++)
        if (strcmp(q->layers[i].name, name) == 0)
            return &q->layers[i];
    return NULL;
}

// The layer by which an operation is quantized; NULL if it is not.
static const struct sdg_quantized_layer *layer_of(const struct sdg_quantized *q, const struct sdg_graph *graph,
                                                  const struct sdg_op *op)
{
    return sdg_op_is_quantizable(graph, op) ? find_layer(q, op->name) : NULL;
}

// ---- sites ----

static bool same_shape(const struct sdg_tensor *a, const struct sdg_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

static int32_t whole_at(const struct sdg_tensor *t, size_t i)
{
    int32_t number;
    memcpy(&number, (const char *)t->data + i * sizeof number, sizeof number);
    return number;
}

static float number_at(const struct sdg_tensor *t, size_t i)
{
    float number;
    memcpy(&number, (const char *)t->data + i * sizeof number, sizeof number);
    return number;
}

static enum sdg_result find_zero_points(const struct reader *r, const struct sdg_quantized_site *site,
                                        const struct sdg_tensor *scales, const struct sdg_tensor **out,
                                        char name[NAME_BYTES])
{
    const struct sdg_tensor *zeros = find(r, site->name, SDG_INPUT_ZERO_POINT_SUFFIX, name);
    if (!zeros)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: tensor %s is missing", path_of(r), name);
    if (zeros->dtype != SDG_S32 || !same_shape(zeros, scales))
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: %s is %s with %" PRId64 " numbers, should be s32 in the shape of the scales, %" PRId64,
                        path_of(r), name, sdg_dtype_name(zeros->dtype), elements(zeros), elements(scales));
    *out = zeros;
    return SDG_OK;
}

// Those of a SiLU's sites follow from the scales.
static enum sdg_result check_zero_points(const struct reader *r, const struct sdg_quantized_site *site,
                                         const struct sdg_tensor *scales)
{
    char name[NAME_BYTES];
    const struct sdg_tensor *zeros;
    if (site->kind != SDG_SITE_SILU)
        return find(r, site->name, SDG_INPUT_ZERO_POINT_SUFFIX, name)
            ? sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s does not belong here: the codes of this site are symmetric",
                       path_of(r), name)
            : SDG_OK;
    SDG_TRY(find_zero_points(r, site, scales, &zeros, name));
    for (size_t i = 0; i < site->times; i++) {
        const int32_t zero = whole_at(zeros, i);
        const int wanted = sdg_interval_make(site->kind, r->q->scheme.activation_bits, site->scales[i]).zero_point;
        if (zero != wanted)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s: zero point %zu is %" PRId32 ", but scale %g asks for %d",
                            path_of(r), name, i, zero, (double)site->scales[i], wanted);
    }
    return SDG_OK;
}

static enum sdg_result copy_zero_points(const struct reader *r, const struct sdg_tensor *scales,
                                        struct sdg_quantized_site *site)
{
    char name[NAME_BYTES];
    const struct sdg_tensor *zeros;
    const int highest = (1 << r->q->scheme.activation_bits) - 1;
    SDG_TRY(find_zero_points(r, site, scales, &zeros, name));
    site->zero_points = sdg_alloc_raw(r->log, site->times * site->tokens, sizeof *site->zero_points, "intervals");
    if (!site->zero_points)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < site->times * site->tokens; i++) {
        const int32_t zero = whole_at(zeros, i);
        if (zero < 0 || zero > highest)
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s: zero point %zu is %" PRId32 ", should be 0 to %d",
                            path_of(r), name, i, zero, highest);
        site->zero_points[i % site->tokens * site->times + i / site->tokens] = zero;
    }
    return SDG_OK;
}

// What a site's scales are multiplied with as time goes by.
static enum sdg_result read_factors(const struct reader *r, struct sdg_quantized_site *site)
{
    char name[NAME_BYTES];
    const struct sdg_tensor *factors = find(r, site->name, SDG_INPUT_SCALE_TIME_SUFFIX, name);
    if (!factors)
        return SDG_OK;
    if (!site->zero_points || site->times != 1)
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: %s does not belong here: it goes with scales of one time for each token", path_of(r),
                        name);
    if (factors->dtype != SDG_F32 || factors->rank != 1 || factors->dims[0] != SDG_TDQ_TIMES)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is %s with %" PRId64 " numbers, should be f32 [%d]",
                        path_of(r), name, sdg_dtype_name(factors->dtype), elements(factors), SDG_TDQ_TIMES);
    SDG_TRY(sdg_stored_check_scales(r->log, r->tensors, factors));
    site->factors = sdg_alloc_raw(r->log, SDG_TDQ_TIMES, sizeof *site->factors, "intervals");
    if (!site->factors)
        return SDG_ERROR_MEMORY;
    float least = INFINITY, most = 0;
    for (size_t i = 0; i < SDG_TDQ_TIMES; i++) {
        site->factors[i] = number_at(factors, i);
        least = fminf(least, site->factors[i]);
        most = fmaxf(most, site->factors[i]);
    }
    for (size_t i = 0; i < site->tokens; i++)
        if (!(site->scales[i] * least >= 0x1p-120f && site->scales[i] * most < INFINITY))
            return sdg_fail(r->log, SDG_ERROR_INPUT,
                            "%s: %s: with factors from %g to %g scale %g of token %zu leaves the range of f32",
                            path_of(r), name, (double)least, (double)most, (double)site->scales[i], i);
    return SDG_OK;
}

// Of the file's [times] or [times, height, width].
static enum sdg_result copy_scales(const struct reader *r, const struct sdg_tensor *scales,
                                   struct sdg_quantized_site *site)
{
    site->times = (size_t)scales->dims[0];
    if (scales->rank == 3) {
        site->height = (size_t)scales->dims[1];
        site->width = (size_t)scales->dims[2];
        site->tokens = site->height * site->width;
    }
    site->scales = sdg_alloc_raw(r->log, site->times * site->tokens, sizeof *site->scales, "intervals");
    if (!site->scales)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < site->times * site->tokens; i++)
        site->scales[i % site->tokens * site->times + i / site->tokens] = number_at(scales, i);
    return SDG_OK;
}

// Tokens have axes of their own: [1000] would have two meanings.
static bool fits_times(const struct reader *r, const struct sdg_tensor *scales)
{
    const int64_t times = scales->rank > 0 ? scales->dims[0] : 0;
    if (scales->rank == 1)
        return times == 1 || times == SDG_TDQ_TIMES;
    return scales->rank == 3 && scales->dims[1] >= 1 && scales->dims[2] >= 1 &&
        (times == 1 || (size_t)times == r->q->time_count);
}

static enum sdg_result read_scales(const struct reader *r, struct sdg_quantized_site *site)
{
    char name[NAME_BYTES];
    const struct sdg_tensor *scales = find(r, site->name, SDG_INPUT_SCALE_SUFFIX, name);
    if (!scales)
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: tensor %s is missing: scheme %s needs the intervals of every site", path_of(r), name,
                        sdg_interval_rule_name(r->q->scheme.rule));
    if (scales->dtype != SDG_F32 || !fits_times(r, scales))
        return sdg_fail(r->log, SDG_ERROR_INPUT,
                        "%s: %s is %s with %" PRId64 " numbers, should be f32 [1] or [%d], or of tokens [1, height, "
                        "width] or [timesteps, height, width]",
                        path_of(r), name, sdg_dtype_name(scales->dtype), elements(scales), SDG_TDQ_TIMES);
    SDG_TRY(sdg_stored_check_scales(r->log, r->tensors, scales));
    SDG_TRY(copy_scales(r, scales, site));
    if (scales->rank == 3) {
        r->q->token_sites++;
        SDG_TRY(copy_zero_points(r, scales, site));
    } else {
        SDG_TRY(check_zero_points(r, site, scales));
    }
    return read_factors(r, site);
}

// The inverse of a smoothing vector is in the weights, so a missing or wrong one is not seen anywhere else.
static enum sdg_result read_smoothing(const struct reader *r, struct sdg_quantized_site *site, int64_t channels,
                                      const char *suffix, bool folded)
{
    char name[NAME_BYTES];
    const struct sdg_tensor *smoothing = find(r, site->name, suffix, name);
    if (!smoothing)
        return SDG_OK;
    if (smoothing->dtype != SDG_F32 || smoothing->rank != 1 || smoothing->dims[0] != channels)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is %s with %" PRId64 " numbers, should be f32 [%" PRId64 "]",
                        path_of(r), name, sdg_dtype_name(smoothing->dtype), elements(smoothing), channels);
    if ((r->q->scheme.rule == SDG_INTERVAL_DYNAMIC && !folded) || site->smoothing)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s does not belong here: %s", path_of(r), name,
                        site->smoothing ? "the site is smoothed already"
                                        : "intervals that are measured at run time are of plain values");
    SDG_TRY(sdg_stored_check_scales(r->log, r->tensors, smoothing));
    site->smoothing = sdg_alloc_raw(r->log, 1, smoothing->bytes, "smoothing");
    if (!site->smoothing)
        return SDG_ERROR_MEMORY;
    memcpy(site->smoothing, smoothing->data, smoothing->bytes);
    site->folded = folded;
    return SDG_OK;
}

static enum sdg_result read_timesteps(const struct reader *r)
{
    const struct sdg_tensor *times = sdg_tensors_find(r->tensors, SDG_INTERVAL_TIMESTEPS);
    if (!times)
        return SDG_OK;
    if (times->dtype != SDG_F32 || times->rank != 1 || times->dims[0] < 2)
        return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s is %s with %" PRId64 " numbers, should be f32 [2 or more]",
                        path_of(r), times->name, sdg_dtype_name(times->dtype), elements(times));
    const size_t count = (size_t)times->dims[0];
    r->q->timesteps = sdg_alloc_raw(r->log, count, sizeof *r->q->timesteps, "timesteps");
    if (!r->q->timesteps)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        r->q->timesteps[i] = (double)number_at(times, i);
        if (!(r->q->timesteps[i] > (i ? r->q->timesteps[i - 1] : -1) && r->q->timesteps[i] < INFINITY))
            return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: %s: number %zu is %g, should be ascending from 0", path_of(r),
                            times->name, i, r->q->timesteps[i]);
    }
    r->q->time_count = count;
    return SDG_OK;
}

static bool is_temporal(const struct sdg_quantized_site *site)
{
    for (size_t i = 0; i < site->times * site->tokens; i++)
        if (site->scales[i] != site->scales[i / site->times * site->times])
            return true;
    for (size_t t = 1; site->factors && t < SDG_TDQ_TIMES; t++)
        if (site->factors[t] != site->factors[0])
            return true;
    return false;
}

static bool is_read_by_layer(const struct sdg_quantized *q, const struct sdg_graph *graph, sdg_value site)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].in[0] == site && layer_of(q, graph, &graph->ops[i]))
            return true;
    return false;
}

static bool has_interval(const struct reader *r, const char *site)
{
    char name[NAME_BYTES];
    return find(r, site, SDG_INPUT_SCALE_SUFFIX, name) != NULL;
}

static enum sdg_result read_site(const struct reader *r, const struct sdg_site *found)
{
    struct sdg_quantized_site *site = &r->q->sites[r->q->site_count];
    *site = (struct sdg_quantized_site){
        .name = sdg_strdup(r->log, found->name), .kind = found->kind, .tokens = 1, .height = 1, .width = 1};
    if (!site->name)
        return SDG_ERROR_MEMORY;
    r->q->site_count++;
    const int64_t channels = r->graph->values[found->value].dims[3];
    SDG_TRY(read_smoothing(r, site, channels, SDG_INPUT_SMOOTHING_SUFFIX, false));
    SDG_TRY(read_smoothing(r, site, channels, SDG_FOLDED_SMOOTHING_SUFFIX, true));
    if (r->q->scheme.rule == SDG_INTERVAL_DYNAMIC)
        return SDG_OK;
    SDG_TRY(read_scales(r, site));
    r->q->temporal_sites += is_temporal(site);
    return SDG_OK;
}

static bool has_site(const struct sdg_sites *sites, const char *owner, size_t length)
{
    for (size_t i = 0; i < sites->count; i++)
        if (strncmp(sites->sites[i].name, owner, length) == 0 && !sites->sites[i].name[length])
            return true;
    return false;
}

// What says how an input becomes codes, where there is no such input: the model would not be the one that was written.
// Inputs that only layers in floating point read have intervals, too: who writes a folder has them of all.
static enum sdg_result check_owners(const struct reader *r, const struct sdg_sites *sites)
{
    static const char *const suffixes[] = {SDG_INPUT_SCALE_SUFFIX, SDG_INPUT_ZERO_POINT_SUFFIX,
                                           SDG_INPUT_SCALE_TIME_SUFFIX, SDG_INPUT_SMOOTHING_SUFFIX,
                                           SDG_FOLDED_SMOOTHING_SUFFIX};
    for (size_t i = 0; i < sdg_tensors_count(r->tensors); i++) {
        const char *name = sdg_tensors_at(r->tensors, i)->name;
        const size_t length = strlen(name);
        for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes; k++) {
            const size_t suffix = strlen(suffixes[k]);
            if (length > suffix && strcmp(name + length - suffix, suffixes[k]) == 0 &&
                !has_site(sites, name, length - suffix))
                return sdg_fail(r->log, SDG_ERROR_INPUT, "%s: has %s, but the network has no input %.*s to quantize",
                                path_of(r), name, (int)(length - suffix), name);
        }
    }
    return SDG_OK;
}

static enum sdg_result read_listed(const struct reader *r, const struct sdg_sites *found)
{
    r->q->sites = sdg_alloc(r->log, found->count + 1, sizeof *r->q->sites, "a quantized model's sites");
    if (!r->q->sites)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < found->count; i++) {
        const struct sdg_site *site = &found->sites[i];
        if (site->operand ? has_interval(r, site->name) : is_read_by_layer(r->q, r->graph, site->value))
            SDG_TRY(read_site(r, site));
        else
            r->q->unread_sites += !site->operand;
    }
    return SDG_OK;
}

static enum sdg_result read_sites(const struct reader *r)
{
    struct sdg_sites found;
    SDG_TRY(sdg_sites_find(r->graph, &found));
    const bool integers = r->q->scheme.activation_bits != SDG_FLOAT_BITS;
    r->q->unread_sites = integers ? 0 : found.count;
    enum sdg_result result = integers ? read_timesteps(r) : SDG_OK;
    if (result == SDG_OK)
        result = sdg_sites_add_operands(r->graph, &found);
    if (result == SDG_OK && integers)
        result = read_listed(r, &found);
    if (result == SDG_OK)
        result = check_owners(r, &found);
    sdg_sites_clear(&found);
    return result;
}

enum sdg_result sdg_quantized_create(const struct sdg_log *log, const char *scheme, const struct sdg_tensors *tensors,
                                     const struct sdg_graph *graph, struct sdg_quantized **out)
{
    *out = NULL;
    struct sdg_quantized *q = sdg_alloc(log, 1, sizeof *q, "a quantized model");
    if (!q)
        return SDG_ERROR_MEMORY;
    const struct reader reader = {log, tensors, graph, q};
    enum sdg_result result = sdg_scheme_parse(log, scheme, &q->scheme);
    if (result == SDG_ERROR_USAGE) // from a file, not from a command line
        result = SDG_ERROR_INPUT;
    if (result == SDG_OK)
        result = read_layers(&reader);
    if (result == SDG_OK)
        result = read_sites(&reader);
    if (result != SDG_OK)
        sdg_quantized_destroy(&q);
    *out = q;
    return result;
}

enum sdg_result sdg_quantized_check_static(const struct sdg_log *log, const struct sdg_quantized *q, const char *path,
                                           int static_sites)
{
    int constant = 0, unknown = (int)q->unread_sites;
    for (size_t i = 0; i < q->site_count; i++) {
        const struct sdg_quantized_site *s = &q->sites[i];
        constant += s->tokens == 1 && s->times == 1 && !s->factors;
        unknown += s->tokens > 1;
    }
    if (static_sites < 0 || (static_sites >= constant && static_sites <= constant + unknown))
        return SDG_OK;
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: quantization_config: static_sites is %d, but the weights have %d sites with a constant "
                    "interval, of %zu",
                    path, static_sites, constant, q->site_count);
}

void sdg_quantized_destroy(struct sdg_quantized **quantized)
{
    struct sdg_quantized *q = *quantized;
    if (!q)
        return;
    for (size_t i = 0; i < q->site_count; i++) {
        sdg_free(q->sites[i].name);
        sdg_free(q->sites[i].scales);
        sdg_free(q->sites[i].zero_points);
        sdg_free(q->sites[i].factors);
        sdg_free(q->sites[i].smoothing);
    }
    for (size_t i = 0; i < q->layer_count; i++)
        sdg_free(q->layers[i].name);
    sdg_free(q->sites);
    sdg_free(q->layers);
    sdg_free(q->timesteps);
    sdg_free(q);
    *quantized = NULL;
}

// ---- intervals ----

// Where t lies between the timesteps that tables of tokens have: `share` of the way from `below` to the next.
static size_t find_timestep(const struct sdg_quantized *q, double t, double *share)
{
    size_t below = 0;
    while (below + 2 < q->time_count && q->timesteps[below + 1] <= t)
        below++;
    const double from = q->timesteps[below], to = q->timesteps[below + 1];
    *share = t <= from ? 0 : t >= to ? 1 : (t - from) / (to - from);
    return below;
}

static struct sdg_interval token_interval(const struct sdg_quantized *q, const struct sdg_quantized_site *s,
                                          size_t token, double t)
{
    const float *scales = s->scales + token * s->times;
    const int *zeros = s->zero_points + token * s->times;
    struct sdg_interval interval = {
        .scale = scales[0], .zero_point = zeros[0], .lo = 0, .hi = (1 << q->scheme.activation_bits) - 1};
    if (s->factors)
        interval.scale *= sdg_tdq_table_at(s->factors, t);
    if (s->times > 1) {
        double share;
        const size_t i = find_timestep(q, t, &share);
        interval.scale = share == 0 ? scales[i]
            : share == 1            ? scales[i + 1]
                                    : (float)exp(log(scales[i]) * (1 - share) + log(scales[i + 1]) * share);
        interval.zero_point = (int)rint(zeros[i] * (1 - share) + zeros[i + 1] * share);
    }
    return interval;
}

struct sdg_interval sdg_quantized_interval(const struct sdg_quantized *q, size_t site, size_t token, double t)
{
    const struct sdg_quantized_site *s = &q->sites[site];
    if (s->zero_points)
        return token_interval(q, s, token, t);
    const float scale = s->times == 0 ? 1 : s->times == 1 ? s->scales[0] : sdg_tdq_table_at(s->scales, t);
    return sdg_interval_make(s->kind, q->scheme.activation_bits, scale);
}

// The two of `count` pixels between which pixel i of `wanted` lies when both rows of pixels are as long.
static double neighbours(size_t i, size_t wanted, size_t count, size_t *a, size_t *b)
{
    const double last = (double)(count - 1), at = ((double)i + 0.5) * (double)count / (double)wanted - 0.5,
                 inside = at < 0 ? 0
        : at > last              ? last
                                 : at;
    *a = (size_t)inside;
    *b = *a + 1 < count ? *a + 1 : *a;
    return inside - (double)*a;
}

// Both ends of the interval are interpolated, so that what it reaches lies between what its neighbours reach.
static struct sdg_interval resampled(const struct sdg_quantized *q, size_t site, size_t height, size_t width,
                                     size_t token, double t)
{
    const struct sdg_quantized_site *s = &q->sites[site];
    size_t y[2], x[2];
    const double down = neighbours(token / width, height, s->height, &y[0], &y[1]),
                 right = neighbours(token % width, width, s->width, &x[0], &x[1]);
    double low = 0, high = 0;
    struct sdg_interval interval = {0};
    for (int i = 0; i < 4; i++) {
        const double weight = (i / 2 ? down : 1 - down) * (i % 2 ? right : 1 - right);
        interval = sdg_quantized_interval(q, site, y[i / 2] * s->width + x[i % 2], t);
        low += weight * interval.scale * (interval.lo - interval.zero_point);
        high += weight * interval.scale * (interval.hi - interval.zero_point);
    }
    interval.scale = (float)((high - low) / (interval.hi - interval.lo));
    interval.zero_point = (int)rint(-low / interval.scale);
    return interval;
}

void sdg_quantized_table(const struct sdg_quantized *q, size_t site, size_t height, size_t width, int64_t rows,
                         double (*timestep)(const void *user, int64_t row), const void *user, float *table)
{
    const struct sdg_quantized_site *s = &q->sites[site];
    const bool as_calibrated = s->tokens == 1 || (height == s->height && width == s->width);
    for (int64_t r = 0; r < rows; r++) {
        const double t = timestep(user, r);
        for (size_t token = 0; token < (s->zero_points ? height * width : 1); token++, table += 2) {
            const struct sdg_interval interval = as_calibrated
                ? sdg_quantized_interval(q, site, s->tokens == 1 ? 0 : token, t)
                : resampled(q, site, height, width, token, t);
            table[0] = interval.scale;
            table[1] = (float)interval.zero_point;
        }
    }
}

// Under a rule without tokens, sites that are smoothed have asymmetric intervals, too: one for all tokens, where under
// a rule with tokens it is that of a grid of one.
static bool is_by_token(const struct sdg_quantized *q, const struct sdg_quantized_site *site)
{
    return site->zero_points && (site->tokens > 1 || sdg_interval_rule_has_tokens(q->scheme.rule));
}

void sdg_quantized_grid(const struct sdg_quantized *q, size_t site, const struct sdg_graph *graph, size_t *height,
                        size_t *width)
{
    char name[SDG_OBSERVED_NAME_BYTES];
    *height = *width = 1;
    if (!is_by_token(q, &q->sites[site]))
        return;
    const sdg_value table = sdg_graph_find(graph, sdg_interval_name(name, q->sites[site].name));
    for (size_t i = 0; table && i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        if (op->codes.interval != table && op->in[1] != table)
            continue;
        *height = (size_t)graph->values[op->out].dims[1];
        *width = (size_t)graph->values[op->out].dims[2];
        return;
    }
}

// ---- the rewrite ----

struct rewrite {
    struct sdg_graph *graph;
    const struct sdg_quantized *q;
    struct sdg_interval codes; // of the site at hand; only lo and hi count
    bool smoothed;             // ... is
};

// How often a value is read, whether by an operand or as an output of the graph.
static size_t count_reads(const struct sdg_graph *graph, sdg_value v)
{
    size_t count = graph->values[v].output;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            count += op->in[k] == v;
        count += op->epilogue.residual == v;
    }
    return count;
}

static size_t count_layers(const struct rewrite *w, sdg_value v)
{
    size_t count = 0;
    for (size_t i = 0; i < w->graph->op_count; i++)
        count += w->graph->ops[i].in[0] == v && layer_of(w->q, w->graph, &w->graph->ops[i]);
    return count;
}

// True if the operation is a scan that is to read the codes of v, its x.
static bool scans_codes(const struct rewrite *w, const struct sdg_op *op, sdg_value v)
{
    return w->q->scan_codes && !w->smoothed && op->kind == SDG_OP_SELECTIVE_SCAN && op->in[0] == v;
}

static size_t count_scans(const struct rewrite *w, sdg_value v)
{
    size_t count = 0;
    for (size_t i = 0; i < w->graph->op_count; i++)
        count += scans_codes(w, &w->graph->ops[i], v);
    return count;
}

// Index of the operation that makes v; SIZE_MAX for leaves.
static size_t maker_of(const struct sdg_graph *graph, sdg_value v)
{
    for (size_t i = 0; i < graph->op_count; i++)
        if (graph->ops[i].out == v)
            return i;
    return SIZE_MAX;
}

// Products do not smooth what they emit.
static bool can_emit(const struct rewrite *w, const struct sdg_op *op)
{
    return sdg_op_result(op->kind) == SDG_RESULT_EITHER && !op->codes.interval &&
        !(w->smoothed && (op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR));
}

// Puts the operation just built before the one at `at`.
static enum sdg_result place_before(struct sdg_graph *graph, size_t at)
{
    SDG_TRY(sdg_graph_check(graph));
    sdg_graph_move_op(graph, graph->op_count - 1, at);
    return SDG_OK;
}

// A quantize operation, and under the dynamic rule one that measures the interval, before the operation at `at`.
static enum sdg_result insert_codes(struct rewrite *w, const char *name, sdg_value x, size_t at, sdg_value *interval,
                                    sdg_value *codes)
{
    if (w->q->scheme.rule == SDG_INTERVAL_DYNAMIC) {
        *interval = sdg_graph_measure_interval(w->graph, name, x, w->codes.lo, w->codes.hi);
        SDG_TRY(place_before(w->graph, at++));
    }
    *codes = sdg_graph_quantize(w->graph, name, x, *interval, w->codes.lo, w->codes.hi);
    return place_before(w->graph, at);
}

// The codes of x, of which nothing but what `at` stands for reads anything if `sole`: best made by the operation that
// computes x.
static enum sdg_result make_codes(struct rewrite *w, const char *name, sdg_value x, size_t at, bool sole,
                                  sdg_value *interval, sdg_value *codes)
{
    const size_t maker = maker_of(w->graph, x);
    if (w->q->scheme.rule != SDG_INTERVAL_DYNAMIC && sole && maker != SIZE_MAX && can_emit(w, &w->graph->ops[maker])) {
        *codes = x;
        return sdg_graph_emit_codes(w->graph, maker, *interval, w->codes.lo, w->codes.hi);
    }
    return insert_codes(w, name, x, at, interval, codes);
}

// Every quantized layer that reads `x` reads `codes` from now on, and so do scans that are to.
static enum sdg_result attach_layers(struct rewrite *w, sdg_value x, sdg_value codes, sdg_value interval)
{
    struct sdg_graph *graph = w->graph;
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_quantized_layer *layer =
            graph->ops[i].in[0] == x ? layer_of(w->q, graph, &graph->ops[i]) : NULL;
        if (scans_codes(w, &graph->ops[i], x))
            SDG_TRY(sdg_graph_read_codes(graph, i, 0, codes, interval));
        if (!layer)
            continue;
        sdg_value scale = sdg_graph_vector_weight(graph, graph->values[graph->ops[i].in[1]].dims[0],
                                                  "%s" SDG_WEIGHT_SCALE_SUFFIX, graph->ops[i].name);
        SDG_TRY(sdg_graph_use_codes(graph, i, codes, interval, scale, layer->bits));
    }
    return SDG_OK;
}

static const struct sdg_quantized_site *find_site(const struct sdg_quantized *q, const char *name)
{
    for (size_t i = 0; i < q->site_count; i++)
        if (strcmp(q->sites[i].name, name) == 0)
            return &q->sites[i];
    return NULL;
}

// Tokens are pixels of a layer: their grid follows the picture's size. *tokens: that have an interval of their own,
// or 1.
static enum sdg_result count_tokens(const struct rewrite *w, const struct sdg_site *found,
                                    const struct sdg_quantized_site *site, int64_t *tokens)
{
    const struct sdg_value_info *value = &w->graph->values[found->value];
    *tokens = 1;
    if (!is_by_token(w->q, site))
        return SDG_OK;
    *tokens = value->dims[1] * value->dims[2];
    if (w->q->resample || (value->dims[1] == (int64_t)site->height && value->dims[2] == (int64_t)site->width))
        return SDG_OK;
    return sdg_fail(w->graph->log, SDG_ERROR_INPUT,
                    "%s: the intervals are for %zux%zu tokens, but %" PRId64 "x%" PRId64 " come with this width and "
                    "height: draw at the size of the calibration, or with --intervals resample",
                    site->name, site->width, site->height, value->dims[2], value->dims[1]);
}

// The channels of `codes`, which have just been made, are multiplied first.
static enum sdg_result smooth_codes(struct rewrite *w, const char *name, sdg_value codes)
{
    size_t maker = maker_of(w->graph, codes);
    if (w->graph->ops[maker].kind == SDG_OP_UPSAMPLE_NEAREST)
        maker = maker_of(w->graph, w->graph->ops[maker].in[0]);
    return sdg_graph_smooth(
        w->graph, maker,
        sdg_graph_vector_weight(w->graph, w->graph->values[codes].dims[3], "%s" SDG_INPUT_SMOOTHING_SUFFIX, name));
}

static enum sdg_result rewrite_site(struct rewrite *w, const struct sdg_site *site)
{
    struct sdg_graph *graph = w->graph;
    char name[SDG_OBSERVED_NAME_BYTES];
    const size_t layers = count_layers(w, site->value), maker = maker_of(graph, site->value);
    const struct sdg_quantized_site *own = find_site(w->q, site->name);
    sdg_value interval = 0, codes = 0;
    int64_t tokens;
    if (!layers || !own)
        return SDG_OK;
    w->smoothed = own->smoothing != NULL;
    const bool sole = layers + count_scans(w, site->value) == count_reads(graph, site->value);
    SDG_TRY(count_tokens(w, site, own, &tokens));
    if (w->q->scheme.rule != SDG_INTERVAL_DYNAMIC)
        interval = sdg_graph_interval_table(graph, sdg_interval_name(name, site->name), graph->rows, tokens);
    w->codes = sdg_quantized_interval(w->q, (size_t)(own - w->q->sites), 0, 0);
    if (sole && tokens == 1 && maker != SIZE_MAX && graph->ops[maker].kind == SDG_OP_UPSAMPLE_NEAREST) {
        // Codes are upsampled instead of values: a quarter of the work, and less to move.
        const sdg_value small = graph->ops[maker].in[0];
        SDG_TRY(make_codes(w, site->name, small, maker, count_reads(graph, small) == 1, &interval, &codes));
        struct sdg_op *upsample = &graph->ops[maker_of(graph, site->value)];
        upsample->in[0] = codes;
        graph->values[site->value].dtype = graph->values[codes].dtype;
        codes = site->value;
    } else {
        SDG_TRY(make_codes(w, site->name, site->value, sdg_site_first_consumer(graph, site->value), sole, &interval,
                           &codes));
    }
    if (own->smoothing && !own->folded)
        SDG_TRY(smooth_codes(w, site->name, codes));
    return attach_layers(w, site->value, codes, interval);
}

static size_t count_operands(const struct sdg_op *op, sdg_value v)
{
    size_t count = 0;
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        count += op->in[k] == v && sdg_op_interval_of(op->kind, k);
    return count;
}

// An operand of scans and causal convolutions: all of them read its codes.
static enum sdg_result rewrite_operand(struct rewrite *w, const struct sdg_site *site)
{
    struct sdg_graph *graph = w->graph;
    char name[SDG_OBSERVED_NAME_BYTES];
    const struct sdg_quantized_site *own = find_site(w->q, site->name);
    size_t reads = 0, first = SIZE_MAX;
    sdg_value codes;
    int64_t tokens;
    if (!own)
        return SDG_OK;
    for (size_t i = 0; i < graph->op_count; i++) {
        reads += count_operands(&graph->ops[i], site->value);
        first = reads && first == SIZE_MAX ? i : first;
    }
    SDG_TRY(count_tokens(w, site, own, &tokens));
    w->smoothed = false;
    w->codes = sdg_quantized_interval(w->q, (size_t)(own - w->q->sites), 0, 0);
    sdg_value interval = sdg_graph_interval_table(graph, sdg_interval_name(name, site->name), graph->rows, tokens);
    SDG_TRY(make_codes(w, site->name, site->value, first, reads == count_reads(graph, site->value), &interval, &codes));
    for (size_t i = 0; i < graph->op_count; i++)
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
            if (graph->ops[i].in[k] == site->value && sdg_op_interval_of(graph->ops[i].kind, k))
                SDG_TRY(sdg_graph_read_codes(graph, i, k, codes, interval));
    return SDG_OK;
}

enum sdg_result sdg_graph_quantize_model(struct sdg_graph *graph, const struct sdg_quantized *quantized)
{
    struct rewrite w = {.graph = graph, .q = quantized};
    struct sdg_sites sites;
    if (quantized->scheme.activation_bits == SDG_FLOAT_BITS)
        return sdg_graph_check(graph);
    SDG_TRY(sdg_sites_find(graph, &sites));
    enum sdg_result result = sdg_sites_add_operands(graph, &sites);
    for (size_t i = 0; i < sites.count && result == SDG_OK; i++)
        result = (sites.sites[i].operand ? rewrite_operand : rewrite_site)(&w, &sites.sites[i]);
    sdg_sites_clear(&sites);
    return result;
}
