// What a pipeline tells about its model.
#include "pipeline/job.h"

#include "vae/vae.h"

void sdg_pipeline_info(const struct sdg_pipeline *p, struct sdg_pipeline_info *out)
{
    if (!out)
        return;
    *out = (struct sdg_pipeline_info){0};
    if (!p)
        return;
    const struct sdg_model *m = p->model;
    const int factor = sdg_vae_factor(&m->vae_config);
    static const char *const predictions[] = {
        [SDG_PREDICT_EPSILON] = "eps", [SDG_PREDICT_V] = "v", [SDG_PREDICT_SAMPLE] = "sample"};
    *out = (struct sdg_pipeline_info){
        .model = p->model_name,
        .width = m->unet_config.sample_width * factor,
        .height = m->unet_config.sample_height * factor,
        .factor = factor,
        .latent_channels = m->vae_config.latent_channels,
        .cfg_scale = sdg_default_cfg_scale(m),
        .prediction = p->params.prediction ? p->params.prediction : predictions[m->scheduler.prediction],
        .scheme = m->unet_config.quantization.present ? m->unet_config.quantization.scheme : NULL,
        .inpainting = sdg_inpaints(m),
        .sdxl = m->text_encoders > 1,
        .lcm = m->unet_config.time_cond_proj_dim > 0,
    };
}
