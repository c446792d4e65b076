#include "pipeline/branches.h"

#include "base/memory.h"
#include "text/prompt_schedule.h"

#include <string.h>

bool sdg_branches_composed(const char *prompt, bool plain)
{
    struct sdg_prompt_part parts[SDG_PROMPT_MAX_PARTS];
    return !plain && sdg_prompt_split(prompt, parts) != 1;
}

// Moves a schedule's texts to the branches from `first` on.
static void take(struct sdg_branches *b, struct sdg_prompt_schedule *s, int first)
{
    for (int i = 0; i < s->parts; i++) {
        b->weights[first + i] = s->weights[i];
        for (int step = 0; step < b->steps; step++)
            b->at[step * b->count + first + i] = b->text_count + s->at[step * s->parts + i];
    }
    for (int i = 0; i < s->text_count; i++)
        b->texts[b->text_count++] = s->texts[i];
    s->text_count = 0;
}

static enum sdg_result join(const struct sdg_log *log, struct sdg_prompt_schedule *negative,
                            struct sdg_prompt_schedule *prompt, struct sdg_branches *b)
{
    const size_t answers = (size_t)b->steps * (size_t)b->count,
                 texts = (size_t)negative->text_count + (size_t)prompt->text_count;
    b->at = sdg_alloc(log, answers, sizeof *b->at, "a prompt's steps");
    b->weights = sdg_alloc(log, (size_t)b->count, sizeof *b->weights, "a prompt's weights");
    b->texts = sdg_alloc(log, texts, sizeof *b->texts, "a prompt's texts");
    if (!b->at || !b->weights || !b->texts)
        return SDG_ERROR_MEMORY;
    b->negative_texts = negative->text_count;
    take(b, negative, 0);
    take(b, prompt, b->guided);
    return SDG_OK;
}

enum sdg_result sdg_branches_create(const struct sdg_log *log, const char *prompt, const char *negative, bool plain,
                                    bool guided, int steps, int asked, struct sdg_branches *out)
{
    const enum sdg_prompt_syntax syntax = plain ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111;
    struct sdg_prompt_schedule schedules[2] = {0};
    enum sdg_result result = SDG_OK;
    *out = (struct sdg_branches){.guided = guided, .steps = steps};
    if (guided)
        result = sdg_prompt_schedule_create(log, syntax, negative, false, steps, asked, &schedules[0]);
    if (result == SDG_OK)
        result = sdg_prompt_schedule_create(log, syntax, prompt, true, steps, asked, &schedules[1]);
    out->count = schedules[0].parts + schedules[1].parts;
    if (result == SDG_OK)
        result = join(log, &schedules[0], &schedules[1], out);
    for (int i = 0; i < 2; i++)
        sdg_prompt_schedule_clear(&schedules[i]);
    if (result != SDG_OK)
        sdg_branches_clear(out);
    return result;
}

void sdg_branches_clear(struct sdg_branches *b)
{
    for (int i = 0; i < b->text_count; i++)
        sdg_free(b->texts[i]);
    sdg_free(b->texts);
    sdg_free(b->at);
    sdg_free(b->weights);
    *b = (struct sdg_branches){0};
}

// ---- groups ----

// The group of run `run` of a step.
static void fill(const struct sdg_branches *b, int step, int run, int batch, int *text)
{
    for (int i = 0; i < batch; i++) {
        const int branch = run * batch + i;
        text[i] = b->at[step * b->count + (branch < b->count ? branch : b->count - 1)];
    }
}

enum sdg_result sdg_branch_groups_create(const struct sdg_log *log, const struct sdg_branches *b, int batch,
                                         struct sdg_branch_groups *out)
{
    const int runs = (b->count + batch - 1) / batch;
    const size_t all = (size_t)b->steps * (size_t)runs, group = (size_t)batch * sizeof *out->text;
    *out = (struct sdg_branch_groups){.batch = batch, .runs = runs};
    out->at = sdg_alloc(log, all, sizeof *out->at, "a prompt's steps");
    out->text = sdg_alloc(log, all, group, "a prompt's steps");
    if (!out->at || !out->text) {
        sdg_branch_groups_clear(out);
        return SDG_ERROR_MEMORY;
    }
    for (size_t i = 0; i < all; i++) {
        int *mine = out->text + out->count * batch, k = out->count - 1; // what is new goes behind the last one
        fill(b, (int)i / runs, (int)i % runs, batch, mine);
        while (k >= 0 && memcmp(out->text + k * batch, mine, group) != 0)
            k--;
        out->at[i] = k >= 0 ? k : out->count++;
    }
    return SDG_OK;
}

void sdg_branch_groups_clear(struct sdg_branch_groups *groups)
{
    sdg_free(groups->at);
    sdg_free(groups->text);
    *groups = (struct sdg_branch_groups){0};
}
