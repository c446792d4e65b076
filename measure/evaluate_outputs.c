// What each model's network answers to the reference's own latents, step by step: errors that have not fed on
// themselves. Pictures of chaotic length (20 steps and guidance) say little about two models whose errors differ by a
// decibel; this tells them apart.
#include "measure/evaluate_outputs.h"

#include "base/memory.h"

#include <math.h>

static bool see_progress(void *user, const struct sdg_progress *progress)
{
    struct sdg_evaluator *e = user;
    return sdg_evaluate_report(e, progress->step * e->shown->steps / (progress->steps ? progress->steps : 1));
}

// Calls fn for each of the runs; e->run is the run.
static enum sdg_result for_each_run(struct sdg_evaluator *e, struct sdg_pipeline *p,
                                    enum sdg_result (*fn)(struct sdg_evaluator *e, struct sdg_pipeline *p,
                                                          const struct sdg_generate_params *generate,
                                                          struct sdg_trajectory *trajectory))
{
    int count = sdg_evaluate_output_runs(e);
    e->stage = "outputs";
    for (int i = 0; i < count; i++) {
        e->run = sdg_evaluate_spread(e, i, count);
        struct sdg_generate_params generate = sdg_evaluate_run(e, e->run);
        generate.progress = see_progress;
        generate.progress_user = e;
        SDG_TRY(fn(e, p, &generate, &e->trajectories[i]));
        e->done += e->shown->steps;
    }
    return SDG_OK;
}

static enum sdg_result record(struct sdg_evaluator *e, struct sdg_pipeline *p,
                              const struct sdg_generate_params *generate, struct sdg_trajectory *trajectory)
{
    (void)e;
    return sdg_trajectory_record(p, generate, trajectory);
}

struct replay {
    struct sdg_pipeline *p;
    struct sdg_power *powers; // [calls]
    const struct sdg_trajectory *trajectory;
};

static void compare(void *user, int call, float *answer)
{
    const struct replay *r = user;
    const struct sdg_trajectory *t = r->trajectory;
    if (r->p->correction)
        sdg_correction_apply(r->p->correction, t->timesteps[call], answer, t->branches * t->pixels);
    struct sdg_power power =
        sdg_power_of_difference(sdg_trajectory_answer(t, call), answer, t->branches * sdg_trajectory_elements(t));
    r->powers[call].signal += power.signal;
    r->powers[call].noise += power.noise;
}

static enum sdg_result replay(struct sdg_evaluator *e, struct sdg_pipeline *p,
                              const struct sdg_generate_params *generate, struct sdg_trajectory *trajectory)
{
    struct replay r = {p, e->models[e->model].outputs, trajectory};
    return sdg_trajectory_replay(p, generate, trajectory, compare, &r);
}

static enum sdg_result allocate_trajectories(struct sdg_evaluator *e)
{
    e->trajectories = sdg_alloc(&e->log, (size_t)sdg_evaluate_output_runs(e), sizeof *e->trajectories, "trajectories");
    return e->trajectories ? SDG_OK : SDG_ERROR_MEMORY;
}

static void conclude(struct sdg_evaluator *e)
{
    struct sdg_model_record *record = &e->models[e->model];
    double sum = 0;
    for (size_t i = 0; i < e->shown->calls; i++) {
        record->output_sqnr[i] = e->model ? sdg_decibel(record->outputs[i].signal, record->outputs[i].noise) : INFINITY;
        sum += record->output_sqnr[i];
    }
    record->shown->output_sqnr = record->output_sqnr;
    record->shown->output = sum / (double)e->shown->calls;
}

enum sdg_result sdg_evaluate_outputs(struct sdg_evaluator *e, struct sdg_pipeline *p)
{
    e->models[e->model].shown->output = NAN;
    e->shown->output_runs = (size_t)sdg_evaluate_output_runs(e);
    if (!e->shown->output_runs)
        return SDG_OK;
    if (!e->model)
        SDG_TRY(allocate_trajectories(e));
    SDG_TRY(for_each_run(e, p, e->model ? replay : record));
    conclude(e);
    return SDG_OK;
}
