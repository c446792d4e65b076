// Prompt -> embeddings: tokenize, run the text encoder(s), weight the tokens. The encoder lives only during this stage.
#include "pipeline/text.h"

#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/networks.h"
#include "text/known_words.h"
#include "text/prompt.h"
#include "text/prompt_check.h"
#include "text/text_encoder.h"

#include <string.h>

// The texts of one picture as tokens of one encoder, in the order of sdg_branches.texts.
struct prompts {
    struct sdg_prompt_tokens *tokens; // [count]
    int count, chunks;                // chunks of each
};

static void prompts_clear(struct prompts *s)
{
    for (int i = 0; i < s->count; i++)
        sdg_prompt_tokens_clear(&s->tokens[i]);
    sdg_free(s->tokens);
}

// Said once, of the first text that is too long.
static void warn_cut(const struct sdg_pipeline *p, const struct prompts *s, int negative_texts)
{
    for (int i = 0; i < s->count; i++) {
        const struct sdg_prompt_tokens *t = &s->tokens[i];
        if (!t->truncated)
            continue;
        sdg_say(&p->log, SDG_LOG_WARNING, "the %s was cut to %d tokens: left out is all from '%s' on",
                i < negative_texts ? "negative prompt" : "prompt", t->chunks * (t->length - 2), t->cut);
        return;
    }
}

static enum sdg_result tokenize(struct sdg_pipeline *p, const struct sdg_job *job, int encoder, struct prompts *s)
{
    const struct sdg_branches *b = &job->branches;
    const struct sdg_tokenizer *t = p->tokenizer[encoder];
    enum sdg_prompt_syntax syntax = job->params->plain_prompt ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111;
    s->tokens = sdg_alloc(&p->log, (size_t)b->text_count, sizeof *s->tokens, "a prompt's tokens");
    if (!s->tokens)
        return SDG_ERROR_MEMORY;
    s->count = b->text_count;
    s->chunks = job->chunks;
    for (int i = 0; i < s->count; i++) {
        SDG_TRY(sdg_prompt_tokenize(t, &p->log, syntax, b->texts[i], &s->tokens[i]));
        if (s->tokens[i].chunks > s->chunks)
            s->chunks = s->tokens[i].chunks;
    }
    if (encoder == 0)
        warn_cut(p, s, b->negative_texts);
    for (int i = 0; i < s->count; i++)
        SDG_TRY(sdg_prompt_pad_chunks(t, &p->log, &s->tokens[i], s->chunks));
    return SDG_OK;
}

// Added tokens may have ids for which the text encoder has no embedding. It does not matter until one is used.
static enum sdg_result check_ids(struct sdg_pipeline *p, int encoder, const struct prompts *s)
{
    const int rows = p->model->text_config[encoder].vocab_size;
    for (int i = 0; i < s->count; i++)
        for (int k = 0; k < s->chunks * s->tokens[i].length; k++)
            if (s->tokens[i].ids[k] >= rows)
                return sdg_fail(&p->log, SDG_ERROR_INPUT,
                                "%s: the prompt has the added token number %d, but %s/config.json says vocab_size %d: "
                                "its embedding is missing",
                                p->model->path, (int)s->tokens[i].ids[k], encoder ? "text_encoder_2" : "text_encoder",
                                rows);
    return SDG_OK;
}

// SDXL: zeros for an absent negative prompt, unless the model says otherwise.
static int zeroed(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    return p->model->text_encoders > 1 && p->model->zeros_for_no_prompt && job->negative_absent
        ? job->branches.negative_texts
        : 0;
}

// Text `i`; beyond the end the last one is repeated.
static const struct sdg_prompt_tokens *text_at(const struct prompts *s, int i)
{
    return &s->tokens[i < s->count ? i : s->count - 1];
}

// Of encoders that do not see padding, for each piece of each of `batch` texts from `first` on.
static enum sdg_result write_padding(struct sdg_pipeline *p, struct sdg_program *program, const struct prompts *s,
                                     int first, int batch)
{
    const struct sdg_text_config *c = &p->model->text_config[0];
    const int length = s->tokens[0].length;
    const size_t piece = (size_t)length * (size_t)(c->hidden / c->heads), count = (size_t)(batch * s->chunks) * piece;
    float *padding = sdg_alloc_raw(&p->log, count, sizeof *padding, "what masks padding");
    if (!padding)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < batch * s->chunks; i++)
        sdg_text_padding(c, text_at(s, first + i / s->chunks)->ids + (size_t)(i % s->chunks) * (size_t)length, length,
                         padding + (size_t)i * piece);
    const enum sdg_result result = sdg_program_write(program, "padding", padding, count);
    sdg_free(padding);
    return result;
}

// Runs the encoder on `batch` texts from `first` on.
static enum sdg_result run_program(struct sdg_pipeline *p, struct sdg_program *program, const struct prompts *s,
                                   int first, int batch, float *hidden, size_t count)
{
    size_t per_prompt = (size_t)s->chunks * (size_t)s->tokens[0].length, all = (size_t)batch * per_prompt;
    int32_t *ids = sdg_alloc_raw(&p->log, all, sizeof *ids, "the tokens of the prompts");
    if (!ids)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < batch; i++)
        memcpy(ids + (size_t)i * per_prompt, text_at(s, first + i)->ids, per_prompt * sizeof *ids);
    enum sdg_result result = sdg_program_write(program, "ids", ids, all);
    sdg_free(ids);
    SDG_TRY(result);
    if (p->model->text_encoders == 1 && p->model->text_config[0].mask_padding)
        SDG_TRY(write_padding(p, program, s, first, batch));
    SDG_TRY(sdg_program_run(program, 0));
    SDG_TRY(sdg_program_read(program, "hidden", hidden, count));
    return sdg_program_check_finite(program, hidden, count, "the text encoder's output");
}

static enum sdg_result read_pooled(struct sdg_pipeline *p, struct sdg_program *program, const struct prompts *s,
                                   int first, int batch)
{
    const struct sdg_text_config *c = &p->model->text_config[1];
    const int length = s->tokens[0].length;
    size_t dim = (size_t)c->projection_dim, tokens = (size_t)s->chunks * (size_t)length,
           count = (size_t)batch * tokens * dim;
    float *projected = sdg_alloc_raw(&p->log, count, sizeof *projected, "pooled prompt embeddings");
    if (!projected)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_program_read(program, "projected", projected, count);
    for (int i = 0; i < batch && first + i < s->count && result == SDG_OK; i++) {
        const int text = first + i;
        size_t end = (size_t)sdg_text_end_position(c, s->tokens[text].ids, length); // of the first chunk
        float *to = p->context.pooled + (size_t)text * dim;
        memcpy(to, projected + ((size_t)i * tokens + end) * dim, dim * sizeof *projected);
        if (text < p->context.zeroed)
            memset(to, 0, dim * sizeof *projected);
    }
    sdg_free(projected);
    return result;
}

// Puts one text's `dim` numbers per token at column `column` of the context.
static void place(struct sdg_context *context, int text, const float *hidden, int dim, int column)
{
    const size_t tokens = (size_t)context->tokens;
    for (size_t t = 0; t < tokens; t++) {
        float *to = context->embedding + ((size_t)text * tokens + t) * (size_t)context->dim + column;
        memcpy(to, hidden + t * (size_t)dim, (size_t)dim * sizeof *to);
        if (text < context->zeroed)
            memset(to, 0, (size_t)dim * sizeof *to);
    }
}

// Runs one encoder on all texts, `batch` at a time.
static enum sdg_result encode_texts(struct sdg_pipeline *p, struct sdg_program *program, int encoder,
                                    const struct prompts *s, int batch, float *hidden, int column)
{
    struct sdg_context *context = &p->context;
    const int dim = p->model->text_config[encoder].hidden;
    const size_t per_prompt = (size_t)context->tokens * (size_t)dim;
    for (int first = 0; first < s->count; first += batch) {
        SDG_TRY(run_program(p, program, s, first, batch, hidden, (size_t)batch * per_prompt));
        if (context->pooled && encoder == 1)
            SDG_TRY(read_pooled(p, program, s, first, batch));
        for (int i = 0; i < batch && first + i < s->count; i++) {
            sdg_prompt_apply_weights(&s->tokens[first + i], hidden + (size_t)i * per_prompt, dim);
            place(context, first + i, hidden + (size_t)i * per_prompt, dim, column);
        }
    }
    return SDG_OK;
}

static enum sdg_result encode(struct sdg_pipeline *p, const struct sdg_job *job, int encoder, const struct prompts *s,
                              int column)
{
    const enum sdg_network_kind network = encoder ? SDG_NETWORK_TEXT_2 : SDG_NETWORK_TEXT;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, network, p->context.tokens);
    const size_t numbers = (size_t)(shape.batch * shape.tokens) * (size_t)p->model->text_config[encoder].hidden;
    struct sdg_program *program = NULL;
    float *hidden = sdg_alloc_raw(&p->log, numbers, sizeof *hidden, "prompt embeddings");
    enum sdg_result result = hidden ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_network_compile(p, network, &shape, &program);
    if (result == SDG_OK)
        result = encode_texts(p, program, encoder, s, (int)shape.batch / s->chunks, hidden, column);
    if (program)
        sdg_program_destroy(&program);
    sdg_free(hidden);
    return result;
}

static void context_clear(struct sdg_context *c)
{
    for (int i = 0; c->texts && i < c->count; i++)
        sdg_free(c->texts[i]);
    sdg_free(c->texts);
    sdg_free(c->embedding);
    sdg_free(c->pooled);
    *c = (struct sdg_context){0};
}

static bool context_fits(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_context *c = &p->context;
    const struct sdg_branches *b = &job->branches;
    bool same = c->texts && c->count == b->text_count && c->zeroed == zeroed(p, job) &&
        c->clip_skip == job->clip_skip && c->chunks == job->chunks && c->plain == job->params->plain_prompt;
    for (int i = 0; same && i < c->count; i++)
        same = strcmp(c->texts[i], b->texts[i]) == 0;
    return same;
}

static enum sdg_result keep_texts(struct sdg_pipeline *p, const struct sdg_branches *b)
{
    struct sdg_context *c = &p->context;
    c->texts = sdg_alloc(&p->log, (size_t)b->text_count, sizeof *c->texts, "a prompt's texts");
    for (int i = 0; c->texts && i < b->text_count; i++) {
        c->texts[i] = sdg_strdup(&p->log, b->texts[i]);
        if (!c->texts[i])
            return SDG_ERROR_MEMORY;
    }
    return c->texts ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result context_create(struct sdg_pipeline *p, const struct sdg_job *job, int tokens)
{
    struct sdg_context *c = &p->context;
    const int count = job->branches.text_count;
    context_clear(c);
    *c = (struct sdg_context){.count = count,
                              .clip_skip = job->clip_skip,
                              .chunks = job->chunks,
                              .plain = job->params->plain_prompt,
                              .zeroed = zeroed(p, job),
                              .tokens = tokens};
    for (int i = 0; i < p->model->text_encoders; i++)
        c->dim += p->model->text_config[i].hidden;
    if (c->dim != p->model->unet_config.cross_attention_dim)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: the text encoder gives %d numbers per token, the UNet expects %d", p->model->path, c->dim,
                        p->model->unet_config.cross_attention_dim);
    if (p->model->text_encoders > 1)
        c->pooled_dim = p->model->text_config[1].projection_dim;
    size_t numbers;
    if (!sdg_mul_size((size_t)count, (size_t)c->tokens * (size_t)c->dim, &numbers))
        numbers = SIZE_MAX;
    c->embedding = sdg_alloc(&p->log, numbers, sizeof *c->embedding, "prompt embeddings");
    c->pooled = c->pooled_dim
        ? sdg_alloc(&p->log, (size_t)count * (size_t)c->pooled_dim, sizeof *c->pooled, "pooled prompt embeddings")
        : NULL;
    return c->embedding && (c->pooled || !c->pooled_dim) ? SDG_OK : SDG_ERROR_MEMORY;
}

void sdg_context_clear(struct sdg_pipeline *p)
{
    context_clear(&p->context);
}

static enum sdg_result warn(const struct sdg_pipeline *p, const struct sdg_job *job)
{
    const bool plain = job->params->plain_prompt;
    if (p->model->known_words)
        SDG_TRY(sdg_known_words_tell(&p->log, p->model_name, p->model->known_words, job->prompt, plain));
    if (plain)
        return SDG_OK;
    if (job->branches.guided)
        sdg_prompt_warn(&p->log, job->negative, true, job->branches.steps, job->steps);
    sdg_prompt_warn(&p->log, job->prompt, false, job->branches.steps, job->steps);
    return SDG_OK;
}

static void put_embedding(struct sdg_context *c, int text, const struct sdg_embedding *e)
{
    const size_t numbers = (size_t)c->tokens * (size_t)c->dim, pooled = (size_t)c->pooled_dim;
    memcpy(c->embedding + (size_t)text * numbers, e->data, numbers * sizeof *e->data);
    if (pooled)
        memcpy(c->pooled + (size_t)text * pooled, e->pooled, pooled * sizeof *e->pooled);
}

// The context as the caller has it, which is not kept for another picture: it has no texts.
static enum sdg_result take_embeddings(struct sdg_pipeline *p, const struct sdg_job *job)
{
    const struct sdg_embedding *e = job->params->embedding;
    const enum sdg_result result = context_create(p, job, e->tokens);
    p->context_serial++;
    if (result != SDG_OK) {
        context_clear(&p->context);
        return result;
    }
    if (job->branches.guided)
        put_embedding(&p->context, 0, job->params->negative_embedding);
    put_embedding(&p->context, job->branches.guided, e);
    return SDG_OK;
}

enum sdg_result sdg_stage_text(struct sdg_pipeline *p, struct sdg_job *job)
{
    if (job->params->embedding)
        return take_embeddings(p, job);
    if (context_fits(p, job))
        return SDG_OK;
    SDG_TRY(warn(p, job));
    struct prompts s[2] = {0};
    enum sdg_result result = SDG_OK;
    int column = 0;
    for (int i = 0; i < p->model->text_encoders && result == SDG_OK; i++) {
        result = tokenize(p, job, i, &s[i]);
        if (result == SDG_OK)
            result = check_ids(p, i, &s[i]);
    }
    if (result == SDG_OK && p->model->text_encoders > 1 && s[1].chunks != s[0].chunks)
        result = sdg_fail(
            &p->log, SDG_ERROR_INPUT,
            "%s: its two tokenizers cut the prompt into different numbers of pieces; shorten the prompt to %d tokens",
            p->model->path, s[0].tokens[0].length - 2);
    if (result == SDG_OK)
        result = context_create(p, job, s[0].chunks * sdg_tokenizer_length(p->tokenizer[0]));
    if (result == SDG_OK)
        result = keep_texts(p, &job->branches);
    for (int i = 0; i < p->model->text_encoders && result == SDG_OK; i++) {
        result = encode(p, job, i, &s[i], column);
        column += p->model->text_config[i].hidden;
    }
    for (int i = 0; i < 2; i++)
        prompts_clear(&s[i]);
    if (result != SDG_OK)
        context_clear(&p->context);
    p->context_serial++;
    sdg_memory_trim();
    return result;
}
