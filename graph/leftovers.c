#include "graph/leftovers.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

// ---- names ----

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    const size_t a = strlen(text), b = strlen(with);
    return a >= b && strcmp(text + a - b, with) == 0;
}

// Whole parts of a name, between dots: "a.b" is in "x.a.b.c" and in "a.b", but not in "x.ca.b".
static bool holds(const char *text, const char *parts)
{
    const size_t length = strlen(parts);
    for (const char *at = text; (at = strstr(at, parts)); at++)
        if ((at == text || at[-1] == '.') && (at[length] == 0 || at[length] == '.'))
            return true;
    return false;
}

static bool contains(const char *text, const char *what)
{
    return strstr(text, what) != NULL;
}

enum sdg_leftover sdg_leftover_kind(const char *name)
{
    static const struct {
        bool (*fits)(const char *name, const char *what);
        const char *what;
        enum sdg_leftover kind;
    } rows[] = {
        // Useless, as:
        {ends, "position_ids", SDG_LEFTOVER_USELESS},        // 0, 1, 2, ...
        {ends, "attn_mask", SDG_LEFTOVER_USELESS},           // causal, as always
        {ends, "num_batches_tracked", SDG_LEFTOVER_USELESS}, // training only
        {holds, "optimizer", SDG_LEFTOVER_USELESS},
        {holds, "global_step", SDG_LEFTOVER_USELESS},
        {starts, "loss.", SDG_LEFTOVER_USELESS},      // an autoencoder's discriminator and perceptual loss
        {starts, "model_ema.", SDG_LEFTOVER_USELESS}, // averages, where the weights themselves are there
        {starts, "ema.", SDG_LEFTOVER_USELESS},
        // CLIP's other half, and what compares the two
        {ends, "logit_scale", SDG_LEFTOVER_USELESS},
        {starts, "vision_model.", SDG_LEFTOVER_USELESS},
        {starts, "visual.", SDG_LEFTOVER_USELESS},
        {starts, "visual_projection.", SDG_LEFTOVER_USELESS},
        {starts, "text_projection", SDG_LEFTOVER_USELESS}, // read where a model has a pooled embedding
        // Says that there may be scales; these say it as well.
        {ends, "scaled_fp8", SDG_LEFTOVER_USELESS},

        {ends, ".scale_weight", SDG_LEFTOVER_SCALE},
        {ends, ".scale_input", SDG_LEFTOVER_SCALE},
        {ends, ".weight_scale", SDG_LEFTOVER_SCALE},
        {ends, ".weight_scale_2", SDG_LEFTOVER_SCALE},
        {ends, ".weight_scale_inv", SDG_LEFTOVER_SCALE},
        {ends, ".input_scale", SDG_LEFTOVER_SCALE},
        {ends, ".absmax", SDG_LEFTOVER_SCALE},
        {ends, ".SCB", SDG_LEFTOVER_SCALE},

        {contains, "lora", SDG_LEFTOVER_ADDED},
        {contains, "hada_w", SDG_LEFTOVER_ADDED},
        {contains, "lokr_w", SDG_LEFTOVER_ADDED},
        {ends, "dora_scale", SDG_LEFTOVER_ADDED},
        {contains, ".oft_", SDG_LEFTOVER_ADDED},
        {contains, ".ia3_", SDG_LEFTOVER_ADDED},
        {holds, "processor", SDG_LEFTOVER_ADDED}, // layers of diffusers' attention processors
        {ends, "_ip.weight", SDG_LEFTOVER_ADDED}, // IP-Adapter
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].fits(name, rows[i].what))
            return rows[i].kind;
    return SDG_LEFTOVER_UNKNOWN;
}

// ---- use ----

struct check {
    const struct sdg_log *log;
    const struct sdg_tensors *tensors;
    bool *read; // of each tensor
    bool (*expected)(const char *name);
    const char *(*why)(const char *name);
};

static bool is_read(const struct check *c, const char *name)
{
    const struct sdg_tensor *tensor = sdg_tensors_find(c->tensors, name);
    return tensor && c->read[tensor - sdg_tensors_at(c->tensors, 0)];
}

static void mark(const struct check *c, const struct sdg_graph *graph)
{
    for (size_t i = 1; i < graph->value_count; i++) {
        const struct sdg_value_info *v = &graph->values[i];
        const struct sdg_tensor *tensor = v->kind == SDG_VALUE_WEIGHT ? sdg_tensors_find(c->tensors, v->name) : NULL;
        if (tensor)
            c->read[tensor - sdg_tensors_at(c->tensors, 0)] = true;
    }
}

// The length of the part of `name` that is a layer in use, one whose weight or bias is read; 0 if there is none.
static size_t used_layer(const struct check *c, const char *name)
{
    char leaf[600];
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        const int length = (int)(dot - name);
        if (snprintf(leaf, sizeof leaf, "%.*s.weight", length, name) >= (int)sizeof leaf)
            return 0;
        if (is_read(c, leaf))
            return (size_t)length;
        snprintf(leaf, sizeof leaf, "%.*s.bias", length, name);
        if (is_read(c, leaf))
            return (size_t)length;
    }
    return 0;
}

static enum sdg_result refuse(const struct check *c, const char *name, const char *why)
{
    const struct sdg_tensor *tensor = sdg_tensors_find(c->tensors, name);
    const char *path = tensor ? sdg_tensors_origin(c->tensors, tensor, NULL) : sdg_tensors_path(c->tensors);
    return sdg_fail(c->log, SDG_ERROR_INPUT, "%s: tensor %.120s %s", path, name, why);
}

// Where the tensor is one of differences, all of which are there to be used.
static enum sdg_result refuse_difference(const struct check *c, const struct sdg_tensor *tensor)
{
    bool differs;
    const char *path = sdg_tensors_origin(c->tensors, tensor, &differs), *why = c->why ? c->why(tensor->name) : NULL;
    if (!differs)
        return SDG_OK;
    return sdg_fail(c->log, SDG_ERROR_INPUT, "%s: tensor %.120s would not be used: %s", path, tensor->name,
                    why ? why
                        : "it is one of the differences from the model's base, but the network has no place for it");
}

static enum sdg_result refuse_kind(const struct check *c, const char *name, enum sdg_leftover kind)
{
    if (kind == SDG_LEFTOVER_SCALE)
        return refuse(c, name,
                      "scales the weights of its layer, a kind of quantization that is not supported; use the model in "
                      "F16, BF16 or plain F8");
    if (kind == SDG_LEFTOVER_ADDED)
        return refuse(c, name,
                      "belongs to a LoRA or an adapter, which would have no effect; merge it into the weights, or "
                      "remove its tensors from the file");
    return SDG_OK;
}

// ---- what is left over ----

struct rest {
    size_t count;
    const char *first[3];
};

static void add_rest(struct rest *rest, const char *name)
{
    if (rest->count < sizeof rest->first / sizeof *rest->first)
        rest->first[rest->count] = name;
    rest->count++;
}

static enum sdg_result check_tensor(const struct check *c, const struct sdg_tensor *tensor, struct rest *rest)
{
    const char *const name = tensor->name;
    const enum sdg_leftover kind = sdg_leftover_kind(name);
    if (kind == SDG_LEFTOVER_USELESS)
        return SDG_OK;
    SDG_TRY(refuse_kind(c, name, kind));
    SDG_TRY(refuse_difference(c, tensor));
    if (used_layer(c, name))
        return refuse(c, name,
                      "would not be used, though its layer is: the picture would be wrong; the file does not fit its "
                      "config.json, or holds something that is not supported");
    if (sdg_tensors_are_inferred_from(c->tensors))
        return refuse(c, name,
                      "(by diffusers' name) would not be used: others of the same block are missing, so that the "
                      "network seems smaller than it is; the file is damaged or was not converted completely");
    add_rest(rest, name);
    return SDG_OK;
}

static enum sdg_result check_unplaced(const struct check *c, const struct sdg_unplaced *unplaced, struct rest *rest)
{
    const enum sdg_leftover kind = sdg_leftover_kind(unplaced->plain);
    if (kind == SDG_LEFTOVER_USELESS)
        return SDG_OK;
    SDG_TRY(refuse_kind(c, unplaced->name, kind));
    if (unplaced->in_module)
        return refuse(c, unplaced->name,
                      "has an unknown name and would not be used, though it belongs to a block of the network: the "
                      "picture would be wrong; the file was not converted completely");
    add_rest(rest, unplaced->name);
    return SDG_OK;
}

static void warn(const struct check *c, const struct rest *rest)
{
    const char *const path = sdg_tensors_path(c->tensors), *const *first = rest->first;
    if (rest->count == 1)
        sdg_say(c->log, SDG_LOG_WARNING, "%s: a tensor is not used: %.120s", path, first[0]);
    else if (rest->count == 2)
        sdg_say(c->log, SDG_LOG_WARNING, "%s: 2 tensors are not used: %.120s, %.120s", path, first[0], first[1]);
    else if (rest->count > 2)
        sdg_say(c->log, SDG_LOG_WARNING, "%s: %zu tensors are not used: %.100s, %.100s, %.100s%s", path, rest->count,
                first[0], first[1], first[2], rest->count > 3 ? ", ..." : "");
}

static enum sdg_result check_all(const struct check *c)
{
    struct rest rest = {0};
    size_t count;
    const struct sdg_unplaced *unplaced = sdg_tensors_unplaced(c->tensors, &count);
    for (size_t i = 0; i < count; i++)
        SDG_TRY(check_unplaced(c, &unplaced[i], &rest));
    for (size_t i = 0; i < sdg_tensors_count(c->tensors); i++) {
        const struct sdg_tensor *tensor = sdg_tensors_at(c->tensors, i);
        if (!c->read[i] && !(c->expected && c->expected(tensor->name)))
            SDG_TRY(check_tensor(c, tensor, &rest));
    }
    warn(c, &rest);
    return SDG_OK;
}

enum sdg_result sdg_leftovers_check(const struct sdg_log *log, const struct sdg_tensors *tensors,
                                    const struct sdg_graph *const *graphs, size_t count,
                                    bool (*expected)(const char *name), const char *(*why)(const char *name))
{
    const size_t all = sdg_tensors_count(tensors);
    const struct check c = {log, tensors, sdg_alloc(log, all ? all : 1, sizeof *c.read, "a table of tensors"), expected,
                            why};
    if (!c.read)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        mark(&c, graphs[i]);
    const enum sdg_result result = check_all(&c);
    sdg_free(c.read);
    return result;
}
