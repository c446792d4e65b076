#include "pipeline/preview_pictures.h"

#include "base/memory.h"
#include "pipeline/decode.h"
#include "sdgen/picture.h"
#include "vae/vae.h"

#include <math.h>

// The last step shows the picture.
static bool is_due(const struct sdg_job *job, int done, int steps)
{
    const struct sdg_preview_request *request = &job->params->preview;
    const int interval = request->interval ? request->interval : 1;
    return request->kind != SDG_PREVIEW_NONE && done < steps && done % interval == 0 &&
        (job->early_decoder || sdg_preview_has(job->latent_c));
}

static enum sdg_result project(struct sdg_pipeline *p, const struct sdg_job *job, const float *latent,
                               const struct sdg_pixels *out)
{
    const struct sdg_preview_params params = {.latent = latent,
                                              .channels = job->latent_c,
                                              .height = job->latent_h,
                                              .width = job->latent_w,
                                              .factor = sdg_vae_factor(&p->model->vae_config)};
    struct sdg_image *image = NULL;
    SDG_TRY(sdg_preview(&p->log, &params, &image));
    sdg_pixels_copy(out, image);
    sdg_image_destroy(&image);
    return SDG_OK;
}

// Early latents are mostly noise, of up to 15 times the size of what an autoencoder is made for: they are brought to
// it.
static enum sdg_result decode(struct sdg_pipeline *p, const struct sdg_job *job, const float *latent,
                              const struct sdg_pixels *out)
{
    double square = 0;
    float *scaled = sdg_alloc_raw(&p->log, job->latent_elements, sizeof *scaled, "a preview's latent");
    if (!scaled)
        return SDG_ERROR_MEMORY;
    for (size_t i = 0; i < job->latent_elements; i++)
        square += (double)latent[i] * latent[i];
    const float scale = (float)(1 / fmax(1, sqrt(square / (double)job->latent_elements)));
    for (size_t i = 0; i < job->latent_elements; i++)
        scaled[i] = latent[i] * scale;
    const enum sdg_result result = sdg_decode_quietly(p, job, scaled, out);
    sdg_free(scaled);
    return result;
}

enum sdg_result sdg_preview_show(struct sdg_pipeline *p, const struct sdg_job *job, int done, int steps,
                                 const float *latent)
{
    const struct sdg_preview_request *request = &job->params->preview;
    if (!is_due(job, done, steps))
        return SDG_OK;
    const size_t stride = (size_t)job->width * sdg_pixel_bytes(request->format), size = stride * (size_t)job->height;
    struct sdg_preview_picture picture = {
        .step = done,
        .steps = steps,
        .image = job->params->image,
        .kind = job->early_decoder ? SDG_PREVIEW_DECODER : SDG_PREVIEW_PROJECTION,
        .pixels =
            {.format = request->format, .width = job->width, .height = job->height, .stride = stride, .size = size},
    };
    picture.pixels.data = sdg_alloc_raw(&p->log, size, 1, "a preview");
    if (!picture.pixels.data)
        return SDG_ERROR_MEMORY;
    const enum sdg_result result =
        job->early_decoder ? decode(p, job, latent, &picture.pixels) : project(p, job, latent, &picture.pixels);
    if (result == SDG_OK)
        request->fn(request->user, &picture);
    sdg_free(picture.pixels.data);
    return result;
}
