#include "graph/weights.h"

#include "formats/quantized_folder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct shape_text { char text[160]; };

static struct shape_text shape_text(const int64_t *dims, int rank)
{
    struct shape_text shape = {"["};
    size_t used = 1;
    for (int i = 0; i < rank && used < sizeof shape.text - 24; i++)
        used += (size_t)snprintf(shape.text + used, sizeof shape.text - used, "%s%" PRId64, i ? "," : "", dims[i]);
    snprintf(shape.text + used, sizeof shape.text - used, "]");
    return shape;
}

// Shape of the whole tensor, of which a value may be a slice.
static void expected_dims(const struct sdg_value_info *v, int64_t dims[4])
{
    memcpy(dims, v->dims, 4 * sizeof *dims);
    if (v->slice_of)
        dims[1] = v->slice_of;
}

// A linear layer and a 1x1 convolution are the same thing; models of one architecture store it either way.
static bool shape_fits(const struct sdg_value_info *v, const struct sdg_tensor *tensor)
{
    int64_t dims[4];
    expected_dims(v, dims);
    bool one_by_one = v->rank >= 2 && dims[2] == 1 && dims[3] == 1;
    if (tensor->rank != v->rank && !(one_by_one && (tensor->rank == 2 || tensor->rank == 4)))
        return false;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] != dims[i])
            return false;
    }
    return true;
}

struct source { // what all messages begin with
    const struct sdg_log *log;
    const struct sdg_tensors *weights;
};

static enum sdg_result wrong_type(const struct source *s, const struct sdg_tensor *tensor, const char *expected)
{
    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has type %s, expected %s", sdg_tensors_path(s->weights),
                    tensor->name, sdg_dtype_name(tensor->dtype), expected);
}

static enum sdg_result wrong_shape(const struct source *s, const struct sdg_tensor *tensor, const int64_t *dims,
                                   int rank)
{
    return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s has shape %s, expected %s", sdg_tensors_path(s->weights),
                    tensor->name, shape_text(tensor->dims, tensor->rank).text, shape_text(dims, rank).text);
}

// ---- scales ----

static const char weight_suffix[] = SDG_WEIGHT_SUFFIX, scale_suffix[] = SDG_WEIGHT_SCALE_SUFFIX;

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), end = strlen(suffix);
    return length > end && strcmp(text + length - end, suffix) == 0;
}

static int64_t inputs_of(const struct sdg_value_info *v, bool whole)
{
    return (whole && v->slice_of ? v->slice_of : v->dims[1]) * v->dims[2] * v->dims[3];
}

// MODULE[a:b].weight_scale of a slice if the file has it, else MODULE.weight_scale.
static enum sdg_result find_scale(const struct source *s, const struct sdg_value_info *v, struct sdg_stored *out)
{
    char name[512];
    int module = (int)(strlen(v->name) - strlen(weight_suffix));
    if (v->slice_of &&
        snprintf(name, sizeof name, "%.*s[%" PRId64 ":%" PRId64 "]%s", module, v->name, v->slice_start,
                 v->slice_start + v->dims[1], scale_suffix) < (int)sizeof name)
        out->scale = sdg_tensors_find(s->weights, name);
    const bool whole = !out->scale;
    if (whole && snprintf(name, sizeof name, "%.*s%s", module, v->name, scale_suffix) < (int)sizeof name)
        out->scale = sdg_tensors_find(s->weights, name);
    if (!out->scale)
        return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %.*s%s is missing, but %s is quantized",
                        sdg_tensors_path(s->weights), module, v->name, scale_suffix, v->name);
    if (out->scale->dtype != SDG_F32)
        return wrong_type(s, out->scale, "f32");
    out->scale_start = whole ? 0 : (size_t)(v->slice_start * v->dims[2] * v->dims[3]);
    // Without a group size, all inputs of an output share a scale.
    int64_t inputs = inputs_of(v, whole), group;
    SDG_TRY(sdg_quantized_group(s->log, s->weights, &group));
    if (group == 0 || group > inputs)
        group = inputs;
    const int64_t dims[2] = {v->dims[0], (inputs - 1) / group + 1};
    const int rank = dims[1] == 1 && out->scale->rank != 2 ? 1 : 2;
    if (out->scale->rank != rank || out->scale->dims[0] != dims[0] || (rank == 2 && out->scale->dims[1] != dims[1]))
        return wrong_shape(s, out->scale, dims, rank);
    out->groups = (size_t)dims[1];
    out->group = (size_t)group;
    return sdg_stored_check_scales(s->log, s->weights, out->scale);
}

// ---- finding ----

// Numbers or bytes in the value's shape, or rows of codes two in a byte.
static enum sdg_result check_shape(const struct source *s, const struct sdg_value_info *v, const struct sdg_stored *w)
{
    int64_t dims[4];
    expected_dims(v, dims);
    if (w->encoding->block == 1)
        return shape_fits(v, w->tensor) ? SDG_OK : wrong_shape(s, w->tensor, dims, v->rank);
    dims[1] = (int64_t)sdg_encoding_row(w->encoding, w->inputs);
    if (w->tensor->rank == 2 && w->tensor->dims[0] == dims[0] && w->tensor->dims[1] == dims[1])
        return SDG_OK;
    return wrong_shape(s, w->tensor, dims, 2);
}

// Codes as they are stored need no scales here: the graph has these as a value of their own. What becomes codes on
// loading does: a model that leaves its codes to be rounded anew, with the scales that it has, or a sum.
static enum sdg_result check_for_integers(const struct source *s, const struct sdg_value_info *v, struct sdg_weight *w)
{
    const struct sdg_tensor *tensor = w->stored.tensor;
    const bool named = ends_with(v->name, weight_suffix), floats = w->stored.encoding && !w->stored.encoding->bits;
    w->bits = v->bits == 4 ? 4 : 8;
    if (floats ? !named : !w->stored.encoding || w->stored.encoding->bits != w->bits)
        return wrong_type(s, tensor, w->bits == 4 ? "u8, two codes of 4 bits in each" : "s8");
    SDG_TRY(check_shape(s, v, &w->stored));
    if (tensor->added && !named)
        return wrong_type(s, tensor, "codes without anything added");
    return floats || tensor->added ? find_scale(s, v, &w->stored) : SDG_OK;
}

static enum sdg_result check_for_floats(const struct source *s, const struct sdg_value_info *v, struct sdg_weight *w)
{
    struct sdg_stored *stored = &w->stored;
    if (stored->encoding && stored->encoding->bits && v->rank >= 2 && ends_with(v->name, weight_suffix)) {
        SDG_TRY(check_shape(s, v, stored));
        return find_scale(s, v, stored);
    }
    if (!shape_fits(v, stored->tensor)) {
        int64_t dims[4];
        expected_dims(v, dims);
        return wrong_shape(s, stored->tensor, dims, v->rank);
    }
    if (!stored->encoding || stored->encoding->bits)
        return wrong_type(s, stored->tensor, "a float type");
    if (!ends_with(v->name, scale_suffix))
        return SDG_OK;
    return stored->tensor->dtype == SDG_F32 ? sdg_stored_check_scales(s->log, s->weights, stored->tensor)
                                            : wrong_type(s, stored->tensor, "f32");
}

// Packed codes do not tell an odd row from an even one: only here it is known how many inputs there are.
static enum sdg_result check_added(const struct source *s, const struct sdg_stored *w)
{
    for (const struct sdg_low_rank_part *part = w->tensor->added; part; part = part->next)
        if (part->outputs != w->outputs || part->inputs != w->inputs)
            return sdg_fail(s->log, SDG_ERROR_INPUT, "%s: tensor %s: [%zu, %zu] was added, expected [%zu, %zu]",
                            sdg_tensors_path(s->weights), w->tensor->name, part->outputs, part->inputs, w->outputs,
                            w->inputs);
    return SDG_OK;
}

static enum sdg_result missing(const struct sdg_log *log, const struct sdg_tensors *tensors, const char *name)
{
    const char *path = sdg_tensors_path(tensors), *bare = sdg_tensors_bare_folder(tensors);
    if (!bare)
        return sdg_fail(log, SDG_ERROR_INPUT, "%s: tensor %s is missing", path, name);
    return sdg_fail(log, SDG_ERROR_INPUT,
                    "%s: this folder of differences has no .safetensors file, and its base, %s, lacks the tensor %s",
                    bare, path, name);
}

enum sdg_result sdg_weight_find(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                const struct sdg_value_info *v, struct sdg_weight *out)
{
    const struct source s = {log, tensors};
    const struct sdg_tensor *tensor = sdg_tensors_find(tensors, v->name);
    if (!tensor)
        return missing(log, tensors, v->name);
    SDG_TRY(sdg_tensor_check_readable(log, sdg_tensors_path(tensors), tensor));
    struct sdg_weight w = {.tensors = tensors,
                           .stored = {.tensor = tensor,
                                      .encoding = sdg_encoding_of(tensor->dtype),
                                      .outputs = (size_t)v->dims[0],
                                      .inputs = (size_t)inputs_of(v, true)},
                           .outputs = (size_t)v->dims[0],
                           .inputs = (size_t)inputs_of(v, false),
                           .first = (size_t)(v->slice_start * v->dims[2] * v->dims[3])};
    SDG_TRY(check_added(&s, &w.stored));
    SDG_TRY(v->dtype == SDG_S8 ? check_for_integers(&s, v, &w) : check_for_floats(&s, v, &w));
    *out = w;
    return SDG_OK;
}

// ---- reading ----

// Outputs that lie together: all of them, or of a slice one.
static size_t together(const struct sdg_weight *w, size_t count)
{
    return w->inputs == w->stored.inputs ? count : 1;
}

void sdg_weight_read(const struct sdg_weight *w, size_t first, size_t count, enum sdg_dtype dtype, void *to)
{
    const size_t step = together(w, count), row = w->inputs * sdg_dtype_size(dtype);
    for (size_t o = 0; o < count; o += step) {
        const size_t at = (first + o) * w->stored.inputs + w->first;
        char *place = (char *)to + o * row;
        if (w->bits)
            sdg_stored_codes(&w->stored, w->bits, at, step * w->inputs, (int8_t *)place);
        else
            sdg_stored_expand(&w->stored, at, step * w->inputs, dtype, place);
    }
}

const void *sdg_weight_plain(const struct sdg_weight *w, size_t first, size_t count)
{
    if (w->bits || together(w, count) != count)
        return NULL;
    return sdg_stored_plain(&w->stored, first * w->stored.inputs + w->first);
}

int sdg_weight_code_bits(const struct sdg_weight *w)
{
    const bool as_stored = !w->bits && w->stored.scale && w->stored.groups == 1 && !w->stored.tensor->added;
    return as_stored ? w->stored.encoding->bits : 0;
}

void sdg_weight_read_codes(const struct sdg_weight *w, size_t first, size_t count, int8_t *codes, float *scales)
{
    for (size_t o = first; o < first + count; o++, codes += w->inputs) {
        sdg_stored_codes(&w->stored, w->stored.encoding->bits, o * w->stored.inputs + w->first, w->inputs, codes);
        *scales++ = sdg_stored_scale(&w->stored, o, w->first);
    }
}

void sdg_weight_release(const struct sdg_weight *w)
{
    sdg_tensors_release(w->tensors, w->stored.tensor);
}
