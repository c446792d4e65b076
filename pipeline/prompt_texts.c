#include "pipeline/prompt_texts.h"

#include "text/prompt_schedule.h"

enum { MOST_STEPS = 1000, USUAL_STEPS = 20 };

static enum sdg_result check(const struct sdg_pipeline *p, const struct sdg_prompt_params *params)
{
    if (params->steps < 0 || params->steps > MOST_STEPS)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "steps is %d, should be 1..%d, or 0 for the model's", params->steps,
                        MOST_STEPS);
    if (params->chunks < 0 || params->chunks > SDG_PROMPT_MAX_CHUNKS)
        return sdg_fail(&p->log, SDG_ERROR_USAGE, "chunks is %d, should be 1..%d, or 0 for what the prompt has",
                        params->chunks, SDG_PROMPT_MAX_CHUNKS);
    SDG_TRY(sdg_find_clip_skip(p, params->clip_skip, &(int){0}));
    return sdg_check_prompt(&p->log, params->negative ? "the negative prompt" : "the prompt",
                            params->prompt ? params->prompt : "", params->plain);
}

enum sdg_result sdg_prompt_texts(struct sdg_pipeline *p, const struct sdg_prompt_params *params,
                                 struct sdg_branches *out)
{
    const int usual = p->model->preferences.steps ? p->model->preferences.steps : USUAL_STEPS,
              steps = params->steps ? params->steps : usual;
    struct sdg_prompt_schedule schedule;
    *out = (struct sdg_branches){0};
    SDG_TRY(check(p, params));
    SDG_TRY(sdg_prompt_schedule_create(&p->log, params->plain ? SDG_PROMPT_PLAIN : SDG_PROMPT_A1111,
                                       params->prompt ? params->prompt : "", !params->negative, steps, steps,
                                       &schedule));
    *out = (struct sdg_branches){.count = schedule.parts,
                                 .steps = steps,
                                 .at = schedule.at,
                                 .weights = schedule.weights,
                                 .texts = schedule.texts,
                                 .text_count = schedule.text_count,
                                 .negative_texts = params->negative ? schedule.text_count : 0};
    return SDG_OK;
}
