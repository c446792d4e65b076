// The results as JSON; the fields are explained by sdeval --help-all.
#include "common/report.h"
#include "sdeval.h"

static void write_settings(FILE *file, const struct sdg_evaluation *e)
{
    fprintf(file,
            "  \"settings\": {\"sampler\": \"%s\", \"scheduler\": \"%s\", \"rng\": \"%s\", \"cfg_scale\": ", e->sampler,
            e->schedule, e->rng);
    report_json_number(file, e->cfg_scale);
    fprintf(file,
            ", \"steps\": %d, \"width\": %d, \"height\": %d, \"latent\": [%d, %d, %d], \"seed\": %llu, \"seeds\": %d, "
            "\"runs\": %zu, \"site_runs\": %zu, \"output_runs\": %zu,\n    \"step_of_call\": [",
            e->steps, e->width, e->height, e->latent_channels, e->latent_height, e->latent_width,
            (unsigned long long)e->seed, e->seeds, e->runs, e->site_runs, e->output_runs);
    for (size_t i = 0; i < e->calls; i++)
        fprintf(file, "%s%d", i ? "," : "", e->step_of_call[i]);
    fputs("],\n    \"timesteps\": ", file);
    report_json_numbers(file, e->timesteps, e->calls);
    fputs(",\n    \"prompts\": [", file); // run i has prompt i / seeds and noise seed + i
    for (size_t i = 0; i < e->runs; i += (size_t)e->seeds) {
        if (i)
            fputs(", ", file);
        report_json_text(file, e->prompts[i]);
    }
    fputs("]},\n", file);
}

static void write_named(FILE *file, const char *name, double value)
{
    fprintf(file, ", \"%s\": ", name);
    report_json_number(file, value);
}

static void write_array(FILE *file, const char *name, const double *values, size_t count)
{
    fprintf(file, ",\n      \"%s\": ", name);
    report_json_numbers(file, values, count);
}

static void write_floats(FILE *file, const char *name, const float *values, size_t count)
{
    fprintf(file, ", \"%s\": [", name);
    for (size_t i = 0; i < count; i++) {
        if (i)
            fputc(',', file);
        report_json_number(file, (double)values[i]);
    }
    fputc(']', file);
}

static void write_intervals(FILE *file, const struct sdg_evaluation *e, const struct sdg_evaluation_model *m)
{
    bool any = false;
    fputs(",\n      \"sites\": [", file);
    for (size_t i = 0; i < e->sites; i++) {
        const struct sdg_evaluation_interval *interval = &m->sites[i];
        if (!interval->bits)
            continue;
        fprintf(file, "%s\n        {\"name\": ", any ? "," : "");
        any = true;
        report_json_text(file, e->site[i].name);
        fprintf(file, ", \"bits\": %d", interval->bits);
        write_named(file, "sqnr", interval->total);
        fputs(", \"sqnr_by_call\": ", file);
        report_json_numbers(file, interval->sqnr, e->calls);
        write_floats(file, "low", interval->call_low, e->calls);
        write_floats(file, "high", interval->call_high, e->calls);
        if (interval->token_low) {
            fprintf(file, ", \"grid\": [%zu, %zu]", interval->height, interval->width);
            write_floats(file, "token_low", interval->token_low, interval->height * interval->width);
            write_floats(file, "token_high", interval->token_high, interval->height * interval->width);
        }
        fputc('}', file);
    }
    fputs("]", file);
}

static void write_model(FILE *file, const struct sdg_evaluation *e, const struct sdg_evaluation_model *m)
{
    size_t steps = (size_t)e->steps;
    fputs("    {\"name\": ", file);
    report_json_text(file, m->name);
    fputs(", \"path\": ", file);
    report_json_text(file, m->path);
    fprintf(file, ", \"scheme\": \"%s\", \"rule\": \"%s\", \"corrected\": %s,\n     ", m->scheme, m->rule,
            m->corrected ? "true" : "false");
    fputs(" \"output_sqnr\": ", file);
    report_json_number(file, m->output);
    write_named(file, "latent_sqnr", m->latent_sqnr[steps - 1]);
    write_named(file, "latent_sqnr_mean", m->sqnr);
    write_named(file, "latent_mse", m->latent_mse[steps - 1]);
    write_named(file, "psnr", m->psnr);
    write_named(file, "psnr_pooled", m->psnr_pooled);
    write_named(file, "ssim", m->ssim);
    write_named(file, "seconds_step", m->seconds_step);
    write_named(file, "seconds_picture", m->seconds_picture);
    fprintf(file, ", \"peak_planned\": %zu, \"peak_resident\": %zu, \"weight_bytes\": %llu, \"unet_bytes\": %llu",
            m->peak_planned, m->peak_resident, (unsigned long long)m->weight_bytes, (unsigned long long)m->unet_bytes);
    if (m->output_sqnr)
        write_array(file, "output_sqnr_by_call", m->output_sqnr, e->calls);
    write_array(file, "latent_sqnr_by_step", m->latent_sqnr, steps);
    write_array(file, "latent_mse_by_step", m->latent_mse, steps);
    write_array(file, "latent_sqnr_by_run", m->run_sqnr, e->runs);
    write_array(file, "psnr_by_run", m->run_psnr, e->runs);
    write_array(file, "ssim_by_run", m->run_ssim, e->runs);
    if (m->sites)
        write_intervals(file, e, m);
    fputc('}', file);
}

static void write_sites(FILE *file, const struct sdg_evaluation *e)
{
    fputs(",\n  \"sites\": [", file);
    for (size_t i = 0; i < e->sites; i++) {
        const struct sdg_evaluation_site *s = &e->site[i];
        fprintf(file, "%s\n    {\"name\": ", i ? "," : "");
        report_json_text(file, s->name);
        fprintf(file, ", \"kind\": \"%s\", \"channels\": %zu", s->kind, s->channels);
        write_floats(file, "min", s->min, e->calls);
        write_floats(file, "max", s->max, e->calls);
        fputc('}', file);
    }
    fputc(']', file);
}

void sdeval_write_json(FILE *file, const struct sdg_evaluation *e, const struct sdeval_statistics *statistics)
{
    fprintf(file, "{\n  \"program\": \"sdeval\", \"version\": \"%s\", \"build\": ", sdg_version());
    report_json_text(file, sdg_build_info());
    fputs(",\n", file);
    write_settings(file, e);
    fputs("  \"models\": [\n", file); // the first is the reference
    for (size_t i = 0; i <= e->models; i++) {
        if (i)
            fputs(",\n", file);
        write_model(file, e, &e->model[i]);
    }
    fputc(']', file);
    if (e->sites)
        write_sites(file, e);
    if (statistics->count)
        fprintf(file, ",\n  \"statistics\": {\"sites\": %zu, \"r_above_0.5\": %zu, \"r_above_0.7\": %zu}",
                statistics->count, statistics->related, statistics->strongly);
    fputs("\n}\n", file);
}
