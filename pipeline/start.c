// What the denoising loop starts from: noise, or the latent of a picture, and for inpainting the mask.
#include "pipeline/start.h"

#include "base/memory.h"
#include "pipeline/decode.h"
#include "vae/vae.h"

#include <string.h>

void sdg_start_clear(struct sdg_start *start)
{
    sdg_free(start->latent);
    sdg_free(start->noise);
    sdg_free(start->picture);
    sdg_free(start->mask);
    sdg_free(start->masked);
    *start = (struct sdg_start){0};
}

static void draw(struct sdg_job *job, float *noise)
{
    if (job->params->noise)
        memcpy(noise, job->params->noise, job->latent_elements * sizeof *noise);
    else
        sdg_rng_normal(&job->rng, noise, job->latent_elements);
}

// The init image through the encoder; `masked`: with the part to be painted anew in grey (0 in -1..1).
static enum sdg_result encode(struct sdg_pipeline *p, struct sdg_job *job, bool masked, float **latent)
{
    const struct sdg_image *init = job->params->init_image;
    const struct sdg_pixels picture = sdg_pixels_of(init);
    size_t pixels = (size_t)init->width * (size_t)init->height;
    float *image = sdg_alloc_raw(&p->log, pixels * 3, sizeof *image, "the init image");
    *latent = sdg_alloc(&p->log, job->latent_elements, sizeof **latent, "the init image's latent");
    enum sdg_result result = image && *latent ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        sdg_pixels_read(&picture, image);
        for (size_t i = 0; masked && i < pixels * 3; i++)
            image[i] = job->params->mask[i / 3] >= 128 ? 0.0f : image[i];
        result = sdg_stage_encode(p, job, image, true, *latent);
    }
    sdg_free(image);
    return result;
}

// The mask at latent size, by nearest neighbour.
static enum sdg_result shrink_mask(struct sdg_pipeline *p, const struct sdg_job *job, float **mask)
{
    size_t factor = (size_t)sdg_vae_factor(&p->model->vae_config);
    *mask = sdg_alloc(&p->log, (size_t)job->latent_w * (size_t)job->latent_h, sizeof **mask, "the mask");
    if (!*mask)
        return SDG_ERROR_MEMORY;
    for (size_t y = 0; y < (size_t)job->latent_h; y++)
        for (size_t x = 0; x < (size_t)job->latent_w; x++)
            (*mask)[y * (size_t)job->latent_w + x] =
                job->params->mask[y * factor * (size_t)job->width + x * factor] >= 128 ? 1.0f : 0.0f;
    return SDG_OK;
}

// The order of draws is diffusers': posterior sample of the picture (unless it is not needed), the noise, posterior
// sample of the masked picture (always, with a mask), then the sampler's own.
enum sdg_result sdg_start_create(struct sdg_pipeline *p, struct sdg_job *job, struct sdg_start *out)
{
    *out = (struct sdg_start){0};
    bool inpainting_model = p->model->unet_config.in_channels != job->latent_c;
    bool wants_picture = job->params->init_image && !(job->full_strength && inpainting_model);
    const float *init = job->params->init_latent;
    if (wants_picture)
        SDG_TRY(encode(p, job, false, &out->picture));
    init = wants_picture ? out->picture : init;
    out->latent = sdg_alloc(&p->log, job->latent_elements, sizeof *out->latent, "the latent");
    out->noise = sdg_alloc_raw(&p->log, job->latent_elements, sizeof *out->noise, "noise");
    if (!out->latent || !out->noise)
        return SDG_ERROR_MEMORY;
    draw(job, out->noise);
    if (init && !job->full_strength) {
        memcpy(out->latent, init, job->latent_elements * sizeof *out->latent);
        sdg_sampler_add_noise(job->sampler, 0, out->latent, out->noise);
    } else {
        float scale = (float)sdg_sampler_init_noise_sigma(job->sampler);
        for (size_t i = 0; i < job->latent_elements; i++)
            out->latent[i] = out->noise[i] * scale;
    }
    if (!job->params->mask)
        return SDG_OK;
    SDG_TRY(shrink_mask(p, job, &out->mask));
    SDG_TRY(encode(p, job, true, &out->masked));
    if (inpainting_model) {
        sdg_free(out->picture); // the model itself knows what to keep
        out->picture = NULL;
    }
    return SDG_OK;
}
