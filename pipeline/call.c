#include "pipeline/call.h"

#include "base/clock.h"
#include "pipeline/networks.h"

#include <stdio.h>

static const double SECONDS_BETWEEN = 0.1;

// ---- messages ----

static void hear(void *user, enum sdg_log_level level, const char *message)
{
    struct sdg_pipeline *p = user;
    if (level == SDG_LOG_ERROR) {
        pthread_mutex_lock(&p->error.lock);
        if (!*p->error.text)
            snprintf(p->error.text, sizeof p->error.text, "%s", message);
        pthread_mutex_unlock(&p->error.lock);
    }
    if (p->caller.fn)
        p->caller.fn(p->caller.user, level, message);
}

void sdg_call_listen(struct sdg_pipeline *p, const struct sdg_log *caller)
{
    pthread_mutex_init(&p->error.lock, NULL);
    p->caller = *caller;
    p->log = (struct sdg_log){.fn = hear, .user = p, .level = caller->fn ? caller->level : SDG_LOG_ERROR};
}

void sdg_call_deafen(struct sdg_pipeline *p)
{
    pthread_mutex_destroy(&p->error.lock);
}

const char *sdg_pipeline_error(const struct sdg_pipeline *pipeline)
{
    return pipeline ? pipeline->error.text : "";
}

// ---- one call at a time ----

enum sdg_result sdg_call_enter(struct sdg_pipeline *p, const char *function)
{
    if (atomic_exchange(&p->call.busy, true)) // what this call reports is the other's: only the caller hears of it
        return sdg_fail(&p->caller, SDG_ERROR_USAGE,
                        "%s: another call uses this pipeline: it takes one at a time, make a pipeline for each thread",
                        function);
    p->call.caller = pthread_self();
    p->call.fn = NULL;
    *p->error.text = 0;
    atomic_store(&p->call.cancelled, false);
    p->call.bound = sdg_engine_bind(p->engine, &p->call.before);
    return SDG_OK;
}

enum sdg_result sdg_call_leave(struct sdg_pipeline *p, enum sdg_result result)
{
    const struct sdg_progress *last = &p->call.last;
    if (result == SDG_ERROR_CANCELLED && p->call.fn)
        sdg_fail(&p->log, result, "cancelled in stage '%s', after %d of %d steps", last->stage, last->step,
                 last->steps);
    else if (result == SDG_ERROR_CANCELLED)
        sdg_fail(&p->log, result, "cancelled");
    p->call.fn = NULL;
    if (p->call.bound)
        (void)sdg_platform_run_on(&p->call.before, NULL);
    (void)sdg_engine_reserve(p->engine, &p->share, sdg_networks_kept_bytes(p), SIZE_MAX);
    if (result == SDG_OK) // what failed on the way was made good
        *p->error.text = 0;
    atomic_store(&p->call.busy, false);
    return result;
}

// Asks the caller; a "no" holds for the rest of the call.
static bool ask(struct sdg_pipeline *p, const struct sdg_progress *progress)
{
    p->call.asked = sdg_clock();
    if (!p->call.fn(p->call.user, progress))
        atomic_store(&p->call.cancelled, true);
    return !atomic_load(&p->call.cancelled);
}

enum sdg_result sdg_call_progress(struct sdg_pipeline *p, const struct sdg_progress *progress, sdg_progress_fn fn,
                                  void *user)
{
    p->call.fn = fn;
    p->call.user = user;
    p->call.last = *progress;
    p->call.told = sdg_clock();
    const bool go_on = fn ? ask(p, progress) : !atomic_load(&p->call.cancelled);
    return go_on ? SDG_OK : SDG_ERROR_CANCELLED;
}

bool sdg_call_goes_on(void *user)
{
    struct sdg_pipeline *p = user;
    if (atomic_load(&p->call.cancelled))
        return false;
    if (!pthread_equal(pthread_self(), p->call.caller) || !p->call.fn) // what is told is the caller's thread's
        return true;
    const double now = sdg_clock();
    if (now - p->call.asked < SECONDS_BETWEEN)
        return true;
    struct sdg_progress progress = p->call.last;
    if (progress.seconds_left >= 0) {
        const double left = progress.seconds_left - (now - p->call.told);
        progress.seconds_left = left > 0 ? left : 0;
    }
    return ask(p, &progress);
}

void sdg_cancel(struct sdg_pipeline *pipeline)
{
    if (pipeline)
        atomic_store(&pipeline->call.cancelled, true);
}
