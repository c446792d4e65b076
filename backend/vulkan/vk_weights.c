#include "backend/vulkan/vk_weights.h"

#include "backend/vulkan/vk_ops.h"

// A block is at most this long unless one tensor is longer: large enough for few allocations, small enough for
// fragmented heaps.
static const size_t block_limit = (size_t)512 << 20;

// ---- integers: words of four weights along the inputs, in groups of four outputs ----

struct word_layout {
    size_t inputs, taps, words_per_tap, words; // words: of a row, all taps
    bool halves;                               // weights have 4 bits, and words are stored in twos
    size_t stored;                             // words of a row as stored
    size_t fours;                              // groups of four outputs, the last filled up with zeros
};

static struct word_layout word_layout(const struct sdg_value_info *v)
{
    struct word_layout l = {
        .inputs = (size_t)v->dims[1], .taps = (size_t)(v->dims[2] * v->dims[3]), .halves = v->bits == 4};
    l.words_per_tap = (l.inputs + 3) / 4;
    l.words = l.words_per_tap * l.taps;
    l.stored = l.halves ? (l.words + 1) / 2 : l.words;
    l.fours = ((size_t)v->dims[0] + 3) / 4;
    return l;
}

// Four weights of a row [I][taps], the lowest input in the lowest byte; 0 behind the last.
static uint32_t word_at(const int8_t *row, const struct word_layout *l, size_t word)
{
    const size_t tap = word / l->words_per_tap, first = word % l->words_per_tap * 4;
    uint32_t bytes = 0;
    for (size_t i = first; i < first + 4 && i < l->inputs; i++)
        bytes |= (uint32_t)(uint8_t)row[i * l->taps + tap] << (i - first) * 8;
    return bytes;
}

// A word, or two in one: the first in the lower halves of its bytes.
static uint32_t stored_at(const int8_t *row, const struct word_layout *l, size_t at)
{
    if (!l->halves)
        return word_at(row, l, at);
    const uint32_t half = 0x0f0f0f0f, second = 2 * at + 1 < l->words ? word_at(row, l, 2 * at + 1) : 0;
    return (word_at(row, l, 2 * at) & half) | (second & half) << 4;
}

// Where row o of a gated layer goes, whose values and gates come in turns, two each: the inverse of row_of_weights() in
// shaders/gate.glsl.
static size_t gated_place(size_t o, size_t outputs)
{
    const size_t half = outputs / 2, c = o % half;
    return c / 2 * 4 + c % 2 + (o < half ? 0 : 2);
}

// s8 [O][I][taps] -> words [O / 4][stored][O % 4], then the sums of rows, s32 [O].
static void put_words(uint32_t *to, const int8_t *from, const struct sdg_value_info *v, bool gated)
{
    const struct word_layout l = word_layout(v);
    const size_t outputs = (size_t)v->dims[0], row = l.inputs * l.taps;
    uint32_t *sums = to + l.fours * l.stored * 4;
    memset(to, 0, l.fours * (l.stored + 1) * 4 * sizeof *to);
    for (size_t o = 0; o < outputs; o++, from += row) {
        const size_t place = gated ? gated_place(o, outputs) : o;
        for (size_t at = 0; at < l.stored; at++)
            to[(place / 4 * l.stored + at) * 4 + place % 4] = stored_at(from, &l, at);
        int32_t sum = 0;
        for (size_t i = 0; i < row; i++)
            sum += from[i];
        sums[o] = (uint32_t)sum;
    }
}

// ---- floats kept as codes ----

static size_t code_words(const struct sdg_value_info *v, int bits)
{
    return ((size_t)sdg_value_elements(v) * (size_t)bits + 31) / 32;
}

// s8 [O][I][taps] -> codes of `bits` [O][taps][I], the first in the lowest bits of a word.
static void put_codes(uint32_t *to, const int8_t *from, const struct sdg_value_info *v, int bits)
{
    const size_t outputs = (size_t)v->dims[0], inputs = (size_t)v->dims[1], taps = (size_t)(v->dims[2] * v->dims[3]),
                 per_word = 32 / (size_t)bits;
    const uint32_t mask = bits == 4 ? 15 : 255;
    memset(to, 0, code_words(v, bits) * sizeof *to);
    size_t at = 0;
    for (size_t o = 0; o < outputs; o++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t i = 0; i < inputs; i++, at++)
                to[at / per_word] |= ((uint32_t)from[(o * inputs + i) * taps + tap] & mask)
                    << at % per_word * (size_t)bits;
}

static size_t weight_bytes(const struct sdg_value_info *v, enum sdg_dtype dtype, enum sdg_vk_layout layout,
                           int code_bits)
{
    if (code_bits)
        return (code_words(v, code_bits) + (size_t)v->dims[0]) * sizeof(uint32_t);
    if (layout != SDG_VK_LAYOUT_WORDS && layout != SDG_VK_LAYOUT_GATED)
        return (size_t)sdg_value_elements(v) * sdg_dtype_size(dtype);
    const struct word_layout l = word_layout(v);
    return l.fours * (l.stored + 1) * 4 * sizeof(uint32_t);
}

// ---- planning ----

static struct sdg_vk_weight *find(const struct sdg_vk_weights *weights, sdg_value v)
{
    for (size_t i = 0; i < weights->count; i++)
        if (weights->list[i].value == v)
            return &weights->list[i];
    return NULL;
}

int sdg_vk_weights_code_bits(const struct sdg_vk_weights *weights, sdg_value v)
{
    const struct sdg_vk_weight *weight = find(weights, v);
    return weight ? weight->code_bits : 0;
}

// Appends a weight (0 or other kinds of values: nothing to do) and gives it a place.
static enum sdg_result want(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                            struct sdg_vk_weights *weights, struct sdg_vk_place *places, struct sdg_vk_weight wanted,
                            const struct sdg_op *op)
{
    const sdg_value v = wanted.value;
    const enum sdg_dtype dtype = wanted.dtype;
    const struct sdg_value_info *info = &graph->values[v];
    if (!v || info->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if (places[v].space != SDG_VK_SPACE_NONE) {
        const struct sdg_vk_weight *known = find(weights, v);
        if (known->dtype == dtype && known->layout == wanted.layout && known->code_bits == wanted.code_bits)
            return SDG_OK;
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED, "%s: backend vulkan cannot use the weight %s both as %s and as %s",
                        op->name, info->name, sdg_dtype_name(known->dtype), sdg_dtype_name(dtype));
    }
    size_t bytes = weight_bytes(info, dtype, wanted.layout, wanted.code_bits),
           room = sdg_vk_align(bytes, vk->caps.alignment);
    size_t limit = vk->caps.max_allocation < block_limit ? (size_t)vk->caps.max_allocation : block_limit;
    size_t last = weights->block_count - 1;
    if (weights->block_count == 0 || (weights->block_bytes[last] > 0 && weights->block_bytes[last] + room > limit)) {
        if (!sdg_grow(log, &weights->block_bytes, &weights->block_bytes_capacity, weights->block_count + 1,
                      sizeof *weights->block_bytes, "blocks of weights"))
            return SDG_ERROR_MEMORY;
        last = weights->block_count++;
        weights->block_bytes[last] = 0;
    }
    if (!sdg_grow(log, &weights->list, &weights->capacity, weights->count + 1, sizeof *weights->list, "weights"))
        return SDG_ERROR_MEMORY;
    weights->list[weights->count++] = wanted;
    places[v] = (struct sdg_vk_place){SDG_VK_SPACE_WEIGHTS + (unsigned)last, weights->block_bytes[last], bytes};
    weights->block_bytes[last] += room;
    weights->total += room;
    return SDG_OK;
}

// Where the weight is stored; several operations may want the same one.
static enum sdg_result find_stored(const struct sdg_log *log, const struct sdg_graph *graph,
                                   const struct sdg_tensors *from, const struct sdg_vk_weights *weights,
                                   const struct sdg_vk_place *places, struct sdg_vk_weight *weight)
{
    const struct sdg_value_info *info = &graph->values[weight->value];
    if (!from || info->kind != SDG_VALUE_WEIGHT)
        return SDG_OK;
    if (places[weight->value].space == SDG_VK_SPACE_NONE)
        return sdg_weight_find(log, from, info, &weight->stored);
    weight->stored = find(weights, weight->value)->stored;
    return SDG_OK;
}

enum sdg_result sdg_vk_weights_plan(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                    const struct sdg_tensors *from, struct sdg_vk_weights *weights,
                                    struct sdg_vk_place *places)
{
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct sdg_op *op = &graph->ops[i];
        // Matrices and embeddings in the storage type of the activations or as integers; norm parameters, biases and
        // scales in f32.
        for (int k = 0; k < SDG_OP_MAX_INPUTS; k++) {
            const struct sdg_value_info *info = &graph->values[op->in[k]];
            enum sdg_dtype dtype = info->keeps_f32 ? SDG_F32
                : info->dtype == SDG_S8            ? SDG_S8
                                                   : sdg_vk_float_type(graph, op);
            enum sdg_vk_layout layout = dtype == SDG_S8 ? op->epilogue.gated ? SDG_VK_LAYOUT_GATED : SDG_VK_LAYOUT_WORDS
                : op->kind == SDG_OP_CONV2D && info->dims[2] * info->dims[3] > 1 ? SDG_VK_LAYOUT_TAPS_FIRST
                                                                                 : SDG_VK_LAYOUT_FILE;
            const bool product =
                k == 1 && (op->kind == SDG_OP_CONV2D || op->kind == SDG_OP_LINEAR) && info->kind == SDG_VALUE_WEIGHT;
            struct sdg_vk_weight wanted = {.value = op->in[k], .dtype = dtype, .layout = layout};
            SDG_TRY(find_stored(log, graph, from, weights, places, &wanted));
            if (product && from)
                wanted.code_bits = sdg_weight_code_bits(&wanted.stored);
            SDG_TRY(want(vk, log, graph, weights, places, wanted, op));
        }
        struct sdg_vk_weight bias = {.value = op->epilogue.bias, .dtype = SDG_F32, .layout = SDG_VK_LAYOUT_FILE};
        SDG_TRY(find_stored(log, graph, from, weights, places, &bias));
        SDG_TRY(want(vk, log, graph, weights, places, bias, op));
        struct sdg_vk_weight smoothing = {.value = op->codes.smoothing, .dtype = SDG_F32, .layout = SDG_VK_LAYOUT_FILE};
        SDG_TRY(find_stored(log, graph, from, weights, places, &smoothing));
        SDG_TRY(want(vk, log, graph, weights, places, smoothing, op));
    }
    return SDG_OK;
}

// [O][I][taps] -> [O][taps][I], elements of 2 or 4 bytes.
static void put_taps_first(void *to, const void *from, const struct sdg_value_info *v, size_t size)
{
    size_t outer = (size_t)v->dims[0], in = (size_t)v->dims[1], taps = (size_t)(v->dims[2] * v->dims[3]);
    for (size_t o = 0; o < outer; o++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t i = 0; i < in; i++) {
                size_t target = (o * taps + tap) * in + i, source = (o * in + i) * taps + tap;
                if (size == 2)
                    ((uint16_t *)to)[target] = ((const uint16_t *)from)[source];
                else
                    ((uint32_t *)to)[target] = ((const uint32_t *)from)[source];
            }
}

struct staging { // host memory for one tensor at a time
    void *loaded, *ordered;
};

static void read_all(const struct sdg_vk_weight *weight, void *to, bool release)
{
    sdg_weight_read(&weight->stored, 0, weight->stored.outputs, weight->dtype, to);
    if (release)
        sdg_weight_release(&weight->stored);
}

static enum sdg_result load_codes(struct sdg_vk *vk, const struct sdg_value_info *info, bool release,
                                  const struct sdg_vk_buffer *block, const struct sdg_vk_weight *weight,
                                  const struct sdg_vk_place *place, const struct staging *staging)
{
    uint32_t *ordered = staging->ordered;
    float *scales = (float *)(ordered + code_words(info, weight->code_bits));
    sdg_weight_read_codes(&weight->stored, 0, weight->stored.outputs, staging->loaded, scales);
    if (release)
        sdg_weight_release(&weight->stored);
    put_codes(ordered, staging->loaded, info, weight->code_bits);
    return sdg_vk_upload(vk, block, place->offset, ordered, place->bytes);
}

static enum sdg_result load_weight(struct sdg_vk *vk, const struct sdg_graph *graph, bool release,
                                   const struct sdg_vk_weights *weights, const struct sdg_vk_weight *weight,
                                   const struct sdg_vk_place *place, const struct staging *staging)
{
    const struct sdg_value_info *info = &graph->values[weight->value];
    const struct sdg_vk_buffer *block = &weights->blocks[place->space - SDG_VK_SPACE_WEIGHTS];
    if (weight->code_bits)
        return load_codes(vk, info, release, block, weight, place, staging);
    if (block->mapped && weight->layout == SDG_VK_LAYOUT_FILE) { // straight into the device's memory
        read_all(weight, block->mapped + place->offset, release);
        return sdg_vk_buffer_flush(vk, block, place->offset, place->bytes);
    }
    read_all(weight, staging->loaded, release);
    const void *data = staging->loaded;
    if (weight->layout == SDG_VK_LAYOUT_TAPS_FIRST)
        put_taps_first(staging->ordered, data, info, sdg_dtype_size(weight->dtype));
    else if (weight->layout != SDG_VK_LAYOUT_FILE)
        put_words(staging->ordered, data, info, weight->layout == SDG_VK_LAYOUT_GATED);
    if (weight->layout != SDG_VK_LAYOUT_FILE)
        data = staging->ordered;
    return sdg_vk_upload(vk, block, place->offset, data, place->bytes);
}

static enum sdg_result create_blocks(struct sdg_vk *vk, const struct sdg_log *log, struct sdg_vk_weights *weights)
{
    weights->blocks = sdg_alloc(log, weights->block_count, sizeof *weights->blocks, "blocks of weights");
    if (!weights->blocks)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < weights->block_count; i++)
        SDG_TRY(sdg_vk_buffer_create(vk, SDG_VK_MEMORY_UPLOAD, weights->block_bytes[i], "a block of weights",
                                     &weights->blocks[i]));
    return SDG_OK;
}

enum sdg_result sdg_vk_weights_load(struct sdg_vk *vk, const struct sdg_log *log, const struct sdg_graph *graph,
                                    bool release, struct sdg_vk_weights *weights, const struct sdg_vk_place *places)
{
    if (weights->count == 0)
        return SDG_OK;
    SDG_TRY(create_blocks(vk, log, weights));
    size_t longest = 0, longest_ordered = 0;
    for (size_t i = 0; i < weights->count; i++) {
        const struct sdg_vk_weight *weight = &weights->list[i];
        size_t bytes = weight_bytes(&graph->values[weight->value], weight->code_bits ? SDG_S8 : weight->dtype,
                                    SDG_VK_LAYOUT_FILE, 0);
        if (bytes > longest)
            longest = bytes;
        if ((weight->code_bits || weight->layout != SDG_VK_LAYOUT_FILE) &&
            places[weight->value].bytes > longest_ordered)
            longest_ordered = places[weight->value].bytes;
    }
    struct staging staging = {
        .loaded = sdg_alloc_raw(log, longest, 1, "a weight"),
        .ordered = sdg_alloc_raw(log, longest_ordered, 1, "a weight"),
    };
    enum sdg_result result = staging.loaded && staging.ordered ? SDG_OK : SDG_ERROR_MEMORY;
    for (size_t i = 0; i < weights->count && result == SDG_OK; i++)
        result = load_weight(vk, graph, release, weights, &weights->list[i], &places[weights->list[i].value], &staging);
    sdg_free(staging.loaded);
    sdg_free(staging.ordered);
    if (result == SDG_OK)
        result = sdg_vk_upload_finish(vk);
    return result;
}

void sdg_vk_weights_free(struct sdg_vk *vk, struct sdg_vk_weights *weights)
{
    for (size_t i = 0; weights->blocks && i < weights->block_count; i++)
        sdg_vk_buffer_destroy(vk, &weights->blocks[i]);
    sdg_free(weights->blocks);
    sdg_free(weights->block_bytes);
    sdg_free(weights->list);
    *weights = (struct sdg_vk_weights){0};
}
