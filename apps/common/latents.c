#include "latents.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "image.h"

// The picture as a linear map of the four channels of SD 1.x latents, fitted by K. Turner
// (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204).
static const float rgb_of_latent[4][3] = {
    {0.298f, 0.207f, 0.208f},
    {0.187f, 0.286f, 0.173f},
    {-0.158f, 0.189f, 0.264f},
    {-0.184f, -0.271f, -0.473f},
};

static enum sdg_result write_preview(const struct app_latents *latents, const float *latent, int h, int w)
{
    struct sdg_image *image = NULL;
    enum app_image_format format;
    const int factor = latents->factor;
    size_t pixels = (size_t)h * (size_t)w, side = (size_t)factor;
    enum sdg_result result = app_image_format(latents->ui, latents->preview_path, &format);
    if (result != SDG_OK)
        return result;
    if (sdg_image_create(w * factor, h * factor, &image) != SDG_OK)
        return app_fail(latents->ui, SDG_ERROR_MEMORY, "not enough memory for the preview");
    // Early latents are mostly noise, of up to 15 times the size of the picture in it.
    double square = 0;
    for (size_t i = 0; i < 4 * pixels; i++)
        square += (double)latent[i] * latent[i];
    float scale = (float)(1 / fmax(1, sqrt(square / (double)(4 * pixels))));
    for (size_t y = 0; y < (size_t)image->height; y++)
        for (size_t x = 0; x < (size_t)image->width; x++)
            for (size_t k = 0; k < 3; k++) {
                float value = 0;
                for (size_t c = 0; c < 4; c++)
                    value += rgb_of_latent[c][k] * latent[c * pixels + y / side * (size_t)w + x / side];
                value = (value * scale + 1) * 127.5f;
                image->pixels[3 * (y * (size_t)image->width + x) + k] =
                    value > 0 ? (uint8_t)fminf(value + 0.5f, 255) : 0;
            }
    result = app_image_write(latents->ui, latents->preview_path, format, image, NULL);
    sdg_image_destroy(&image);
    return result;
}

static enum sdg_result keep(struct app_latents *latents, int step, int steps, const float *latent, int c, int h, int w)
{
    size_t size = (size_t)c * (size_t)h * (size_t)w;
    int stored = latents->steps_path ? steps : 1, place = latents->steps_path ? step - 1 : 0;
    if (!latents->data) {
        latents->data = calloc((size_t)stored * size, sizeof *latents->data);
        if (!latents->data)
            return app_fail(latents->ui, SDG_ERROR_MEMORY, "not enough memory to keep %d latents", stored);
        latents->c = c;
        latents->h = h;
        latents->w = w;
        latents->steps = stored;
    }
    if (place >= 0 && place < latents->steps)
        memcpy(latents->data + (size_t)place * size, latent, size * sizeof *latent);
    return SDG_OK;
}

void app_latents_step(void *user, int step, int steps, const float *latent, int c, int h, int w)
{
    struct app_latents *latents = user;
    if (latents->result == SDG_OK && (latents->last_path || latents->steps_path))
        latents->result = keep(latents, step, steps, latent, c, h, w);
    if (latents->result != SDG_OK || !latents->preview_path || (step % latents->preview_interval && step != steps))
        return;
    if (c == 4)
        latents->result = write_preview(latents, latent, h, w);
    else if (step == 1)
        app_say(latents->ui, SDG_LOG_WARNING,
                "--preview proj is for latents of 4 channels, this model has %d: no preview", c);
}

static enum sdg_result write_steps(const struct app_latents *latents)
{
    size_t size = (size_t)latents->c * (size_t)latents->h * (size_t)latents->w, count = (size_t)latents->steps;
    const char *path = latents->steps_path;
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, ".npy"))
        return app_array_write(
            latents->ui, path,
            &(struct app_array){"latents", 4, {latents->steps, latents->c, latents->h, latents->w}, latents->data}, 1);
    enum { NAME = 40 };
    struct app_array *arrays = calloc(count + 1, sizeof *arrays);
    char *names = malloc(NAME * count);
    enum sdg_result result = SDG_OK;
    if (arrays && names) {
        for (size_t i = 0; i < count; i++) {
            snprintf(names + NAME * i, NAME, "latents_step%zu", i);
            arrays[i] = (struct app_array){
                names + NAME * i, 4, {1, latents->c, latents->h, latents->w}, latents->data + size * i};
        }
        arrays[count] = arrays[count - 1];
        arrays[count].name = "latents";
        result = app_array_write(latents->ui, path, arrays, count + 1);
    } else {
        result = app_fail(latents->ui, SDG_ERROR_MEMORY, "not enough memory to write %s", path);
    }
    free(arrays);
    free(names);
    return result;
}

enum sdg_result app_latents_write(struct app_latents *latents)
{
    if (latents->result != SDG_OK || !latents->data)
        return latents->result;
    size_t size = (size_t)latents->c * (size_t)latents->h * (size_t)latents->w;
    float *last = latents->data + size * (size_t)(latents->steps - 1);
    enum sdg_result result = SDG_OK;
    if (latents->last_path)
        result = app_array_write(latents->ui, latents->last_path,
                                 &(struct app_array){"latents", 4, {1, latents->c, latents->h, latents->w}, last}, 1);
    if (result == SDG_OK && latents->steps_path)
        result = write_steps(latents);
    return result;
}

void app_latents_free(struct app_latents *latents)
{
    free(latents->data);
    latents->data = NULL;
}
