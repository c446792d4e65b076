// The latent a picture starts from.
#include "pipeline/pipeline.h"

#include "base/memory.h"

#include <string.h>

static void draw(struct sdg_job *job, float *noise)
{
    if (job->params->noise)
        memcpy(noise, job->params->noise, job->latent_elements * sizeof *noise);
    else
        sdg_rng_normal(&job->rng, noise, job->latent_elements);
}

// The order of draws is diffusers': posterior sample of the autoencoder, then the noise, then the sampler's own.
static enum sdg_result from_image(struct sdg_pipeline *p, struct sdg_job *job, float *latent)
{
    const struct sdg_image *init = job->params->init_image;
    size_t pixels = (size_t)init->width * (size_t)init->height * 3;
    float *image = sdg_alloc_raw(&p->log, pixels, sizeof *image, "the init image");
    float *noise = sdg_alloc_raw(&p->log, job->latent_elements, sizeof *noise, "noise");
    enum sdg_result result = image && noise ? SDG_OK : SDG_ERROR_MEMORY;
    if (result == SDG_OK) {
        for (size_t i = 0; i < pixels; i++)
            image[i] = (float)init->pixels[i] / 255.0f * 2.0f - 1.0f;
        result = sdg_stage_encode(p, job, image, latent);
    }
    if (result == SDG_OK) {
        draw(job, noise);
        sdg_sampler_add_noise(job->sampler, latent, noise);
    }
    sdg_free(noise);
    sdg_free(image);
    return result;
}

enum sdg_result sdg_stage_latent(struct sdg_pipeline *p, struct sdg_job *job, float *latent)
{
    if (job->params->init_image)
        return from_image(p, job, latent);
    draw(job, latent);
    float scale = (float)sdg_sampler_init_noise_sigma(job->sampler);
    for (size_t i = 0; i < job->latent_elements; i++)
        latent[i] *= scale;
    return SDG_OK;
}
