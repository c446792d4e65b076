#include "pipeline/template.h"

struct field {
    const char *name;
    bool set;
};

static enum sdg_result refuse(const struct sdg_log *log, const char *what, const struct field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fields[i].set)
            return sdg_fail(log, SDG_ERROR_USAGE, "%s.%s is set, which has no meaning for many pictures", what,
                            fields[i].name);
    return SDG_OK;
}

enum sdg_result sdg_template_check(const struct sdg_log *log, const struct sdg_generate_params *g, bool progress)
{
    const struct field fields[] = {
        {"prompt", g->prompt},
        {"sigmas", g->sigmas || g->sigma_count},
        {"init_image", g->init_image},
        {"strength", g->strength.given},
        {"mask", g->mask || g->mask_count},
        {"noise", g->noise || g->noise_count},
        {"init_latent", g->init_latent || g->init_latent_count},
        {"embedding", g->embedding},
        {"negative_embedding", g->negative_embedding},
        {"batch", g->batch},
        {"image", g->image},
        {"images", g->images},
        {"latent", g->latent},
        {"preview", g->preview.kind != SDG_PREVIEW_NONE},
        {"progress", !progress && g->progress},
    };
    return refuse(log, "generate", fields, sizeof fields / sizeof *fields);
}

enum sdg_result sdg_template_check_pipeline(const struct sdg_log *log, const struct sdg_pipeline_params *p)
{
    const struct field fields[] = {
        {"model", p->model}, {"files", p->files || p->file_count}, {"keep", p->keep != SDG_KEEP_NOTHING}};
    return refuse(log, "pipeline", fields, sizeof fields / sizeof *fields);
}

enum sdg_result sdg_template_check_prompts(const struct sdg_log *log, const char *const *prompts, size_t count,
                                           const char *purpose)
{
    if (!prompts || !count)
        return sdg_fail(log, SDG_ERROR_INPUT, "there is no prompt %s", purpose);
    for (size_t i = 0; i < count; i++)
        if (!prompts[i])
            return sdg_fail(log, SDG_ERROR_USAGE, "prompt %zu is NULL", i);
    return SDG_OK;
}
