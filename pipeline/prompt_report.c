// What a prompt is to a model: its tokens, what was cut off, and words that the model never saw.
#include "sdgen/parts.h"

#include "base/memory.h"
#include "pipeline/call.h"
#include "pipeline/prompt_texts.h"
#include "text/known_words.h"
#include "text/prompt.h"

#include <string.h>

void sdg_prompt_report_destroy(struct sdg_prompt_report **report)
{
    struct sdg_prompt_report *r = report ? *report : NULL;
    if (!r)
        return;
    for (int i = 0; r->texts && i < r->text_count; i++) {
        sdg_free(r->texts[i].text);
        sdg_free(r->texts[i].chunk_tokens);
        sdg_free(r->texts[i].tokens);
    }
    for (int i = 0; i < r->unknown_count; i++) {
        sdg_free(r->unknown[i].word);
        sdg_free(r->unknown[i].nearest);
    }
    sdg_free(r->texts);
    sdg_free(r->unknown);
    sdg_free(r);
    *report = NULL;
}

// ---- tokens ----

static enum sdg_result count_chunks(const struct sdg_log *log, int chunks, struct sdg_prompt_text *text)
{
    text->chunks = chunks;
    text->chunk_tokens = sdg_alloc(log, (size_t)chunks, sizeof *text->chunk_tokens, "a prompt's chunks");
    if (!text->chunk_tokens)
        return SDG_ERROR_MEMORY;
    for (int i = 0; i < text->token_count; i++)
        if (text->tokens[i].chunk < chunks)
            text->chunk_tokens[text->tokens[i].chunk]++;
        else
            text->cut++;
    return SDG_OK;
}

static enum sdg_result report_text(struct sdg_pipeline *p, const char *from, bool plain, struct sdg_prompt_text *text)
{
    struct sdg_prompt_tokens tokens;
    size_t count;
    text->text = sdg_strdup(&p->log, from);
    if (!text->text)
        return SDG_ERROR_MEMORY;
    SDG_TRY(sdg_prompt_trace(p->tokenizer[0], &p->log, plain ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111, from, &tokens,
                             &text->tokens, &count));
    text->token_count = (int)count; // at most one a byte, of which there are SDG_TEXT_MAX_BYTES
    const enum sdg_result result = count_chunks(&p->log, tokens.chunks, text);
    sdg_prompt_tokens_clear(&tokens);
    return result;
}

static enum sdg_result report_texts(struct sdg_pipeline *p, const struct sdg_prompt_params *params,
                                    struct sdg_prompt_report *r)
{
    struct sdg_branches texts;
    enum sdg_result result = sdg_prompt_texts(p, params, &texts);
    if (result == SDG_OK) {
        r->texts = sdg_alloc(&p->log, (size_t)texts.text_count, sizeof *r->texts, "a prompt's texts");
        r->text_count = r->texts ? texts.text_count : 0;
        result = r->texts ? SDG_OK : SDG_ERROR_MEMORY;
    }
    for (int i = 0; i < r->text_count && result == SDG_OK; i++)
        result = report_text(p, texts.texts[i], params->plain, &r->texts[i]);
    sdg_branches_clear(&texts);
    return result;
}

// ---- words ----

struct unknown {
    const struct sdg_log *log;
    struct sdg_prompt_report *report;
    size_t capacity;
};

static enum sdg_result add_unknown(void *user, const char *word, const char *nearest)
{
    struct unknown *u = user;
    struct sdg_prompt_report *r = u->report;
    for (int i = 0; i < r->unknown_count; i++)
        if (strcmp(r->unknown[i].word, word) == 0)
            return SDG_OK;
    if (!sdg_grow(u->log, &r->unknown, &u->capacity, (size_t)r->unknown_count + 1, sizeof *r->unknown, "unknown words"))
        return SDG_ERROR_MEMORY;
    struct sdg_unknown_word *new = &r->unknown[r->unknown_count++];
    *new = (struct sdg_unknown_word){.word = sdg_strdup(u->log, word),
                                     .nearest = nearest ? sdg_strdup(u->log, nearest) : NULL};
    return new->word && (new->nearest || !nearest) ? SDG_OK : SDG_ERROR_MEMORY;
}

static enum sdg_result check_prompt(struct sdg_pipeline *p, const struct sdg_prompt_params *params,
                                    struct sdg_prompt_report **out)
{
    SDG_REQUIRE(&p->log, params, "params");
    SDG_REQUIRE(&p->log, out, "out");
    struct sdg_prompt_report *r = *out = sdg_alloc(&p->log, 1, sizeof *r, "a prompt's report");
    if (!r)
        return SDG_ERROR_MEMORY;
    r->room = sdg_tokenizer_length(p->tokenizer[0]) - 2;
    r->words_known = p->model->known_words != NULL;
    SDG_TRY(report_texts(p, params, r));
    if (!r->words_known)
        return SDG_OK;
    struct unknown unknown = {&p->log, r, 0};
    return sdg_known_words_each(&p->log, p->model->known_words, params->prompt ? params->prompt : "", params->plain,
                                add_unknown, &unknown);
}

enum sdg_result sdg_pipeline_check_prompt(struct sdg_pipeline *pipeline, const struct sdg_prompt_params *params,
                                          struct sdg_prompt_report **out)
{
    if (out)
        *out = NULL;
    SDG_REQUIRE(NULL, pipeline, "pipeline");
    SDG_TRY(sdg_call_enter(pipeline, "sdg_pipeline_check_prompt"));
    const enum sdg_result result = check_prompt(pipeline, params, out);
    if (result != SDG_OK)
        sdg_prompt_report_destroy(out);
    return sdg_call_leave(pipeline, result);
}
