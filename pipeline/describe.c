// What a pipeline tells about its model.
#include "pipeline/job.h"

#include "text/tokenizer.h"
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
    int width, height;
    sdg_default_size(m, &width, &height);
    *out = (struct sdg_pipeline_info){
        .model = p->model_name,
        .width = width,
        .height = height,
        .factor = factor,
        .latent_channels = m->vae_config.latent_channels,
        .cfg_scale = sdg_default_cfg_scale(m),
        .sampler = *m->preferences.sampler ? m->preferences.sampler : NULL,
        .schedule = *m->preferences.schedule ? m->preferences.schedule : NULL,
        .steps = m->preferences.steps,
        .eta = m->preferences.eta,
        .prediction = p->params.prediction ? p->params.prediction : predictions[m->scheduler.prediction],
        .scheme = m->unet_config.quantization.present ? m->unet_config.quantization.scheme : NULL,
        .inpainting = sdg_inpaints(m),
        .sdxl = m->text_encoders > 1,
        .lcm = m->unet_config.time_cond_proj_dim > 0,
        .encodes = !m->vae_config.decoder_only,
        .prompt_tokens = sdg_tokenizer_length(p->tokenizer[0]),
        .embedding_dim = m->unet_config.cross_attention_dim,
        .pooled_dim = m->text_encoders > 1 ? m->text_config[1].projection_dim : 0,
    };
}
