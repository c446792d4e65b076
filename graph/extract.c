#include "graph/extract.h"

#include "base/memory.h"
#include "graph/build.h"

#include <stdio.h>
#include <string.h>

struct extraction {
    const struct sdg_log *log;
    const struct sdg_graph *network;
    const char *prefix;
    struct sdg_block *block;
    sdg_value *inner; // [network->value_count] the value in the block's graph; 0: not there yet
    size_t last;      // index of the block's last operation in the network
};

const char *sdg_block_input_name(char name[SDG_BLOCK_NAME_BYTES], size_t i)
{
    snprintf(name, SDG_BLOCK_NAME_BYTES, "input%zu", i);
    return name;
}

static bool is_inside(const struct extraction *e, const struct sdg_op *op)
{
    const size_t length = strlen(e->prefix);
    return strncmp(op->name, e->prefix, length) == 0 && (op->name[length] == 0 || op->name[length] == '.');
}

// ---- values ----

// A value that another operation makes, or the host writes, in the shape that it has there.
static sdg_value add_input(struct extraction *e, sdg_value v)
{
    char name[SDG_BLOCK_NAME_BYTES];
    struct sdg_value_info info = e->network->values[v];
    struct sdg_block *b = e->block;
    if (b->input_count == SDG_BLOCK_INPUTS)
        return SDG_GRAPH_FAIL(b->graph, "%s: the block reads more than %d values of the rest of the network", e->prefix,
                              SDG_BLOCK_INPUTS);
    info.kind = SDG_VALUE_INPUT;
    info.output = false;
    b->inputs[b->input_count] = v;
    return sdg_graph_add_value(b->graph, &info, sdg_block_input_name(name, b->input_count++), e->prefix);
}

// The block's value for one of the network's; those that its own operations make are known before they are read.
static sdg_value take(struct extraction *e, sdg_value v)
{
    if (!v || e->inner[v])
        return e->inner[v];
    const struct sdg_value_info *info = &e->network->values[v];
    if (sdg_value_is_read(info))
        return e->inner[v] = add_input(e, v);
    if (info->kind == SDG_VALUE_TABLE)
        e->block->graph->rows = e->network->rows;
    return e->inner[v] = sdg_graph_add_value(e->block->graph, info, info->name, e->prefix);
}

static sdg_value take_result(struct extraction *e, const struct sdg_op *op)
{
    struct sdg_value_info info = e->network->values[op->out];
    info.output = false;
    return e->inner[op->out] = sdg_graph_add_value(e->block->graph, &info, NULL, op->name);
}

// ---- operations ----

static bool is_made_inside(const struct extraction *e, sdg_value v)
{
    for (size_t i = 0; i < e->network->op_count; i++)
        if (e->network->ops[i].out == v)
            return is_inside(e, &e->network->ops[i]);
    return false;
}

// What the block's last operation adds from outside, and the function of the sum, are not the block's.
static void leave_sum(const struct extraction *e, size_t index, struct sdg_epilogue *epilogue)
{
    if (index != e->last || !epilogue->residual || is_made_inside(e, epilogue->residual))
        return;
    epilogue->residual = 0;
    epilogue->activation = SDG_UNARY_NONE;
}

static void copy_op(struct extraction *e, size_t index)
{
    struct sdg_op op = e->network->ops[index];
    leave_sum(e, index, &op.epilogue);
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        op.in[k] = take(e, op.in[k]);
    op.epilogue.bias = take(e, op.epilogue.bias);
    op.epilogue.table = take(e, op.epilogue.table);
    op.epilogue.residual = take(e, op.epilogue.residual);
    op.codes.interval = take(e, op.codes.interval);
    op.out = take_result(e, &e->network->ops[index]);
    if (e->block->graph->result == SDG_OK)
        sdg_graph_insert_op(e->block->graph, e->block->graph->op_count, &op, e->network->ops[index].name);
}

static bool reads(const struct sdg_op *op, sdg_value v)
{
    bool found = op->epilogue.residual == v || op->codes.interval == v;
    for (int k = 0; k < SDG_OP_MAX_INPUTS; k++)
        found |= op->in[k] == v;
    return found;
}

static bool is_needed_outside(const struct extraction *e, sdg_value v)
{
    bool needed = e->network->values[v].output;
    for (size_t i = 0; i < e->network->op_count && !needed; i++)
        needed = !is_inside(e, &e->network->ops[i]) && reads(&e->network->ops[i], v);
    return needed;
}

static void mark_result(struct extraction *e)
{
    size_t count = 0;
    for (size_t i = 0; i < e->network->op_count; i++) {
        const struct sdg_op *op = &e->network->ops[i];
        if (!is_inside(e, op) || !is_needed_outside(e, op->out))
            continue;
        count++;
        e->block->result = op->out;
    }
    if (count == 1)
        sdg_graph_output(e->block->graph, "result", e->inner[e->block->result]);
    else
        SDG_GRAPH_FAIL(e->block->graph, "%s: the rest of the network reads %zu of the block's values, should be one",
                       e->prefix, count);
}

static enum sdg_result copy_block(struct extraction *e)
{
    size_t count = 0;
    for (size_t i = 0; i < e->network->op_count; i++)
        if (is_inside(e, &e->network->ops[i])) {
            e->last = i;
            count++;
        }
    if (!count)
        return sdg_fail(e->log, SDG_ERROR_INPUT, "%s: there is no operation of this name", e->prefix);
    for (size_t i = 0; i <= e->last; i++)
        if (is_inside(e, &e->network->ops[i]))
            copy_op(e, i);
    if (e->block->graph->result == SDG_OK)
        mark_result(e);
    return sdg_graph_check(e->block->graph);
}

enum sdg_result sdg_block_extract(const struct sdg_log *log, const struct sdg_graph *network, const char *prefix,
                                  struct sdg_block *out)
{
    *out = (struct sdg_block){0};
    SDG_TRY(network->result);
    SDG_TRY(sdg_graph_create(log, &out->graph));
    struct extraction e = {.log = log, .network = network, .prefix = prefix, .block = out};
    e.inner = sdg_alloc(log, network->value_count, sizeof *e.inner, "a block's values");
    enum sdg_result result = e.inner ? copy_block(&e) : SDG_ERROR_MEMORY;
    sdg_free(e.inner);
    if (result != SDG_OK)
        sdg_block_clear(out);
    return result;
}

void sdg_block_clear(struct sdg_block *block)
{
    sdg_graph_destroy(&block->graph);
    *block = (struct sdg_block){0};
}
