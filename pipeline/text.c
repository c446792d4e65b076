// Prompt -> embeddings: tokenize, run the text encoder(s), weight the tokens. The encoder lives only during this stage.
#include "pipeline/text.h"

#include "base/memory.h"
#include "base/platform.h"
#include "pipeline/networks.h"
#include "text/prompt.h"
#include "text/text_encoder.h"

#include <string.h>

// The prompts of one picture as tokens: negative first when there are two.
struct prompts {
    struct sdg_prompt_tokens tokens[2];
    int count, chunks; // chunks of each
};

static void prompts_clear(struct prompts *s)
{
    for (int i = 0; i < 2; i++)
        sdg_prompt_tokens_clear(&s->tokens[i]);
}

static enum sdg_result tokenize(struct sdg_pipeline *p, const struct sdg_job *job, int encoder, struct prompts *s)
{
    const char *texts[2] = {job->negative, job->prompt};
    const struct sdg_tokenizer *t = p->tokenizer[encoder];
    enum sdg_prompt_syntax syntax = job->params->plain_prompt ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111;
    *s = (struct prompts){.count = job->guidance ? 2 : 1};
    for (int i = 0; i < s->count; i++) {
        const char *text = texts[job->guidance ? i : 1];
        SDG_TRY(sdg_prompt_tokenize(t, &p->log, syntax, text, &s->tokens[i]));
        if (s->tokens[i].truncated)
            sdg_say(&p->log, SDG_LOG_WARNING, "the %s was cut to %d tokens",
                    text == job->prompt ? "prompt" : "negative prompt",
                    s->tokens[i].chunks * (s->tokens[i].length - 2));
        if (s->tokens[i].chunks > s->chunks)
            s->chunks = s->tokens[i].chunks;
    }
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
static bool zeroed(const struct sdg_pipeline *p, const struct sdg_job *job, int prompt)
{
    return p->model->text_encoders > 1 && p->model->zeros_for_no_prompt && job->guidance && prompt == 0 &&
        job->negative_absent;
}

// Of encoders that do not see padding, for each piece of each prompt.
static enum sdg_result write_padding(struct sdg_pipeline *p, struct sdg_program *program, const struct prompts *s)
{
    const struct sdg_text_config *c = &p->model->text_config[0];
    const int length = s->tokens[0].length;
    const size_t piece = (size_t)length * (size_t)(c->hidden / c->heads),
                 count = (size_t)(s->count * s->chunks) * piece;
    float *padding = sdg_alloc_raw(&p->log, count, sizeof *padding, "what masks padding");
    if (!padding)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < s->count * s->chunks; i++)
        sdg_text_padding(c, s->tokens[i / s->chunks].ids + (size_t)(i % s->chunks) * length, length,
                         padding + (size_t)i * piece);
    const enum sdg_result result = sdg_program_write(program, "padding", padding, count);
    sdg_free(padding);
    return result;
}

static enum sdg_result run_program(struct sdg_pipeline *p, struct sdg_program *program, const struct prompts *s,
                                   float *hidden, size_t count)
{
    size_t per_prompt = (size_t)s->chunks * (size_t)s->tokens[0].length, all = (size_t)s->count * per_prompt;
    int32_t *ids = sdg_alloc_raw(&p->log, all, sizeof *ids, "the tokens of the prompts");
    if (!ids)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < s->count; i++)
        memcpy(ids + (size_t)i * per_prompt, s->tokens[i].ids, per_prompt * sizeof *ids);
    enum sdg_result result = sdg_program_write(program, "ids", ids, all);
    sdg_free(ids);
    SDG_TRY(result);
    SDG_TRY(sdg_program_run(program, 0));
    SDG_TRY(sdg_program_read(program, "hidden", hidden, count));
    return sdg_program_check_finite(program, hidden, count, "the text encoder's output");
}

static enum sdg_result read_pooled(struct sdg_pipeline *p, struct sdg_program *program, const struct sdg_job *job,
                                   const struct prompts *s)
{
    const struct sdg_text_config *c = &p->model->text_config[1];
    const int length = s->tokens[0].length;
    size_t dim = (size_t)c->projection_dim, tokens = (size_t)s->chunks * (size_t)length,
           count = (size_t)s->count * tokens * dim;
    float *projected = sdg_alloc_raw(&p->log, count, sizeof *projected, "pooled prompt embeddings");
    if (!projected)
        return SDG_ERROR_MEMORY;
    enum sdg_result result = sdg_program_read(program, "projected", projected, count);
    for (int i = 0; i < s->count && result == SDG_OK; i++) {
        size_t end = (size_t)sdg_text_end_position(c, s->tokens[i].ids, length); // of the first chunk
        memcpy(p->context.pooled + (size_t)i * dim, projected + ((size_t)i * tokens + end) * dim,
               dim * sizeof *projected);
        if (zeroed(p, job, i))
            memset(p->context.pooled + (size_t)i * dim, 0, dim * sizeof *projected);
    }
    sdg_free(projected);
    return result;
}

// Runs one encoder and puts its `dim` numbers per token at column `column` of the context.
static enum sdg_result encode(struct sdg_pipeline *p, const struct sdg_job *job, int encoder, const struct prompts *s,
                              int column)
{
    struct sdg_context *context = &p->context;
    int dim = p->model->text_config[encoder].hidden;
    size_t tokens = (size_t)context->tokens, per_prompt = tokens * (size_t)dim, count = per_prompt * (size_t)s->count;
    const enum sdg_network_kind network = encoder ? SDG_NETWORK_TEXT_2 : SDG_NETWORK_TEXT;
    const struct sdg_network_shape shape = sdg_network_shape(p, job, network, context->tokens);
    struct sdg_program *program = NULL;
    float *hidden = sdg_alloc_raw(&p->log, count, sizeof *hidden, "prompt embeddings");
    enum sdg_result result = hidden ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK)
        result = sdg_network_compile(p, network, &shape, &program);
    if (result == SDG_OK && p->model->text_encoders == 1 && p->model->text_config[0].mask_padding)
        result = write_padding(p, program, s);
    if (result == SDG_OK)
        result = run_program(p, program, s, hidden, count);
    if (result == SDG_OK && context->pooled && encoder == 1)
        result = read_pooled(p, program, job, s);
    for (int i = 0; i < s->count && result == SDG_OK; i++) {
        sdg_prompt_apply_weights(&s->tokens[i], hidden + (size_t)i * per_prompt, dim);
        for (size_t t = 0; t < tokens; t++) {
            float *to = context->embedding + ((size_t)i * tokens + t) * (size_t)context->dim + column;
            memcpy(to, hidden + (size_t)i * per_prompt + t * (size_t)dim, (size_t)dim * sizeof *to);
            if (zeroed(p, job, i))
                memset(to, 0, (size_t)dim * sizeof *to);
        }
    }
    if (program)
        sdg_program_destroy(&program);
    sdg_free(hidden);
    return result;
}

static void context_clear(struct sdg_context *c)
{
    sdg_free(c->prompt);
    sdg_free(c->negative);
    sdg_free(c->embedding);
    sdg_free(c->pooled);
    *c = (struct sdg_context){0};
}

static bool context_fits(const struct sdg_context *c, const struct sdg_job *job)
{
    return c->prompt && strcmp(c->prompt, job->prompt) == 0 && c->negative_absent == job->negative_absent &&
        strcmp(c->negative, job->negative) == 0 && c->clip_skip == job->clip_skip &&
        c->plain == job->params->plain_prompt && c->guidance == job->guidance;
}

static enum sdg_result context_create(struct sdg_pipeline *p, const struct sdg_job *job, int chunks)
{
    struct sdg_context *c = &p->context;
    context_clear(c);
    *c = (struct sdg_context){.clip_skip = job->clip_skip,
                              .plain = job->params->plain_prompt,
                              .guidance = job->guidance,
                              .negative_absent = job->negative_absent,
                              .batch = job->guidance ? 2 : 1,
                              .tokens = chunks * sdg_tokenizer_length(p->tokenizer[0])};
    for (int i = 0; i < p->model->text_encoders; i++)
        c->dim += p->model->text_config[i].hidden;
    if (c->dim != p->model->unet_config.cross_attention_dim)
        return sdg_fail(&p->log, SDG_ERROR_INPUT,
                        "%s: the text encoder gives %d numbers per token, the UNet expects %d", p->model->path, c->dim,
                        p->model->unet_config.cross_attention_dim);
    if (p->model->text_encoders > 1)
        c->pooled_dim = p->model->text_config[1].projection_dim;
    c->embedding = sdg_alloc(&p->log, (size_t)c->batch * (size_t)c->tokens * (size_t)c->dim, sizeof *c->embedding,
                             "prompt embeddings");
    c->pooled = c->pooled_dim
        ? sdg_alloc(&p->log, (size_t)c->batch * (size_t)c->pooled_dim, sizeof *c->pooled, "pooled prompt embeddings")
        : NULL;
    c->negative = sdg_strdup(&p->log, job->negative);
    char *prompt = sdg_strdup(&p->log, job->prompt);
    if (!c->embedding || (c->pooled_dim && !c->pooled) || !c->negative || !prompt) {
        sdg_free(prompt);
        return SDG_ERROR_MEMORY;
    }
    c->prompt = prompt;
    return SDG_OK;
}

void sdg_context_clear(struct sdg_pipeline *p)
{
    context_clear(&p->context);
}

enum sdg_result sdg_stage_text(struct sdg_pipeline *p, struct sdg_job *job)
{
    if (context_fits(&p->context, job))
        return SDG_OK;
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
        result = context_create(p, job, s[0].chunks);
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
