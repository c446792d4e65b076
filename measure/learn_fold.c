// What was learned of smoothing becomes part of what makes the smoothed values, as sdg_quantize does with vectors that
// are not learned (quant/smoothing_fold.h).
#include "measure/learning.h"

#include "base/memory.h"
#include "formats/stored.h"
#include "quant/smoothing_fold.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 320 };

static const struct sdg_tensor *find_learned(const struct sdg_learning *t, const char *name)
{
    size_t count;
    const struct sdg_tensor *learned = sdg_learn_state_tensors(t->state, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(learned[i].name, name) == 0)
            return &learned[i];
    return NULL;
}

// A tensor as it is by now: the state's, else the folder's.
static const struct sdg_tensor *find(const struct sdg_learning *t, const char *name)
{
    const struct sdg_tensor *learned = find_learned(t, name);
    return learned ? learned : sdg_tensors_find(t->networks.stored, name);
}

static const struct sdg_tensor *find_of(const struct sdg_learning *t, const char *owner, const char *suffix)
{
    char name[NAME_BYTES];
    return snprintf(name, sizeof name, "%s%s", owner, suffix) < NAME_BYTES ? find(t, name) : NULL;
}

static bool is_quantized(const void *user, const struct sdg_op *op)
{
    const struct sdg_quantized *q = ((const struct sdg_learning *)user)->networks.quantized;
    for (size_t i = 0; i < q->layer_count; i++)
        if (strcmp(q->layers[i].name, op->name) == 0)
            return true;
    return false;
}

// `tensor` with its numbers from `first` on times the multipliers, as f32, in the state.
static enum sdg_result multiply(struct sdg_learning *t, const struct sdg_tensor *tensor, size_t first,
                                const struct sdg_tensor *multipliers)
{
    const struct sdg_stored stored = sdg_stored_numbers(tensor);
    const size_t numbers = tensor->bytes / sdg_dtype_size(tensor->dtype), count = multipliers->bytes / sizeof(float);
    float *data = sdg_alloc_raw(&t->log, numbers, sizeof *data, tensor->name);
    if (!data)
        return SDG_ERROR_MEMORY;
    sdg_stored_expand(&stored, 0, numbers, SDG_F32, data);
    for (size_t i = 0; i < count; i++)
        data[first + i] *= ((const float *)multipliers->data)[i];
    struct sdg_tensor product = *tensor;
    product.dtype = SDG_F32;
    product.data = data;
    product.bytes = numbers * sizeof *data;
    product.added = NULL;
    const enum sdg_result result = sdg_learn_state_add(t->state, &product);
    sdg_free(data);
    return result;
}

static enum sdg_result add_folded(struct sdg_learning *t, const char *site, const struct sdg_tensor *smoothing)
{
    char name[NAME_BYTES];
    struct sdg_tensor folded = *smoothing;
    snprintf(name, sizeof name, "%s%s", site, SDG_FOLDED_SMOOTHING_SUFFIX);
    folded.name = name;
    return sdg_learn_state_add(t->state, &folded);
}

// Where the smoothing of a site can go. Codes that the file leaves out are rounded with the scales that it has, so
// their scales have to stay.
static bool find_place(const struct sdg_learning *t, const struct sdg_graph *network, const char *site,
                       struct sdg_smoothing_fold *where)
{
    size_t i = 0;
    while (i < network->op_count &&
           (strcmp(network->ops[i].name, site) != 0 || !sdg_op_is_quantizable(network, &network->ops[i])))
        i++;
    if (i == network->op_count || !sdg_smoothing_fold_find(network, network->ops[i].in[0], is_quantized, t, where))
        return false;
    return !where->op || sdg_dtype_is_codes(find(t, network->values[where->op->in[1]].name)->dtype);
}

static enum sdg_result fold(struct sdg_learning *t, const struct sdg_graph *network, const char *site)
{
    struct sdg_smoothing_fold where;
    const struct sdg_tensor *found = find_of(t, site, SDG_INPUT_SMOOTHING_SUFFIX);
    if (!found)
        return SDG_OK;
    if (!find_place(t, network, site, &where))
        return sdg_learn_state_add(t->state, found);
    const struct sdg_tensor smoothing = *found; // the state's tensors move when one is added
    if (where.op) {
        SDG_TRY(multiply(t, find_of(t, where.op->name, SDG_WEIGHT_SCALE_SUFFIX), where.first, &smoothing));
    } else {
        SDG_TRY(multiply(t, find(t, network->values[where.gamma].name), 0, &smoothing));
        SDG_TRY(multiply(t, find(t, network->values[where.beta].name), 0, &smoothing));
    }
    return add_folded(t, site, &smoothing);
}

enum sdg_result sdg_learning_fold(struct sdg_learning *t, const struct sdg_graph *network)
{
    const struct sdg_quantized *q = t->networks.quantized;
    for (size_t i = 0; i < q->site_count; i++)
        SDG_TRY(fold(t, network, q->sites[i].name));
    return SDG_OK;
}

bool sdg_learning_is_multiplier(const char *name)
{
    const size_t length = strlen(name), suffix = strlen(SDG_INPUT_SMOOTHING_SUFFIX);
    return length > suffix && strcmp(name + length - suffix, SDG_INPUT_SMOOTHING_SUFFIX) == 0;
}

bool sdg_learning_is_folded(const struct sdg_learning *t, const struct sdg_tensor *multiplier)
{
    char name[NAME_BYTES];
    const size_t site = strlen(multiplier->name) - strlen(SDG_INPUT_SMOOTHING_SUFFIX);
    snprintf(name, sizeof name, "%.*s%s", (int)site, multiplier->name, SDG_FOLDED_SMOOTHING_SUFFIX);
    return find_learned(t, name) != NULL;
}
