#include "latents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdgen/array.h"

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
    if (latents->result == SDG_OK)
        latents->result = keep(latents, step, steps, latent, c, h, w);
}

static struct sdg_array array_of(const struct app_latents *latents, const char *name, int count, float *data)
{
    return (struct sdg_array){name, 4, {count, latents->c, latents->h, latents->w}, data};
}

static enum sdg_result write_arrays(const struct app_latents *latents, const char *path, const struct sdg_array *arrays,
                                    size_t count)
{
    return sdg_arrays_write(app_log_of(latents->ui), path, arrays, count);
}

static enum sdg_result write_steps(const struct app_latents *latents)
{
    size_t size = (size_t)latents->c * (size_t)latents->h * (size_t)latents->w, count = (size_t)latents->steps;
    const char *path = latents->steps_path;
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, ".npy")) {
        const struct sdg_array all = array_of(latents, "latents", latents->steps, latents->data);
        return write_arrays(latents, path, &all, 1);
    }
    enum { NAME = 40 };
    struct sdg_array *arrays = calloc(count + 1, sizeof *arrays);
    char *names = malloc(NAME * count);
    enum sdg_result result = SDG_OK;
    if (arrays && names) {
        for (size_t i = 0; i < count; i++) {
            snprintf(names + NAME * i, NAME, "latents_step%zu", i);
            arrays[i] = array_of(latents, names + NAME * i, 1, latents->data + size * i);
        }
        arrays[count] = arrays[count - 1];
        arrays[count].name = "latents";
        result = write_arrays(latents, path, arrays, count + 1);
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
    const struct sdg_array last = array_of(latents, "latents", 1, latents->data + size * (size_t)(latents->steps - 1));
    enum sdg_result result = SDG_OK;
    if (latents->last_path)
        result = write_arrays(latents, latents->last_path, &last, 1);
    if (result == SDG_OK && latents->steps_path)
        result = write_steps(latents);
    return result;
}

void app_latents_free(struct app_latents *latents)
{
    free(latents->data);
    latents->data = NULL;
}
