#include "measure/evaluator.h"

#include "base/clock.h"

struct sdg_generate_params sdg_evaluate_run(const struct sdg_evaluator *e, size_t run)
{
    const struct sdg_generate_params *g = &e->params->generate;
    return (struct sdg_generate_params){
        .prompt = e->shown->prompts[run],
        .negative_prompt = g->negative_prompt,
        .plain_prompt = g->plain_prompt,
        .width = g->width,
        .height = g->height,
        .steps = g->steps,
        .cfg_scale = g->cfg_scale,
        .sampler = g->sampler,
        .schedule = g->schedule,
        .eta = g->eta,
        .seed = g->seed + (uint64_t)run,
        .rng = g->rng,
        .sampler_rng = g->sampler_rng,
        .clip_skip = g->clip_skip,
        .image = (int)run,
        .images = (int)e->shown->runs,
    };
}

const struct sdg_evaluate_model *sdg_evaluate_model_at(const struct sdg_evaluator *e, size_t model)
{
    return model ? &e->params->models[model - 1] : &e->params->reference;
}

enum sdg_result sdg_evaluate_open(const struct sdg_evaluator *e, size_t model, bool quiet, struct sdg_pipeline **out)
{
    const struct sdg_evaluate_model *m = sdg_evaluate_model_at(e, model);
    struct sdg_pipeline_params params = e->params->pipeline;
    params.model = m->path;
    params.type = m->type ? m->type : params.type;
    params.backend = m->backend ? m->backend : params.backend;
    params.no_correction |= m->no_correction;
    params.keep = e->shown->runs > 1 ? SDG_KEEP_NETWORKS : SDG_KEEP_NOTHING;
    params.log.level = quiet ? SDG_LOG_ERROR : params.log.level;
    return sdg_pipeline_create(&params, out);
}

bool sdg_evaluate_report(struct sdg_evaluator *e, int step)
{
    if (!e->params->progress)
        return true;
    int64_t done = e->done + step;
    double elapsed = sdg_clock() - e->began;
    const struct sdg_evaluate_progress progress = {
        .stage = e->stage,
        .model = e->models[e->model].shown->name,
        .model_index = (int)e->model,
        .models = (int)e->shown->models + 1,
        .run = (int)e->run,
        .runs = (int)e->shown->runs,
        .step = step,
        .steps = e->shown->steps,
        .seconds_left = done ? elapsed * (double)(e->total - done) / (double)done : -1,
    };
    return e->params->progress(e->params->progress_user, &progress);
}

int sdg_evaluate_output_runs(const struct sdg_evaluator *e)
{
    const int wanted = e->params->site_runs;
    if (!e->plain_latents)
        return 0;
    return (size_t)wanted < e->shown->runs ? wanted : (int)e->shown->runs;
}

size_t sdg_evaluate_spread(const struct sdg_evaluator *e, int i, int count)
{
    return (size_t)i * e->shown->runs / (size_t)count;
}

int sdg_evaluate_site_runs(const struct sdg_evaluator *e)
{
    return e->shown->sites ? sdg_evaluate_output_runs(e) : 0;
}
