// Pictures as the public header has them.
#include "sdgen/sdgen.h"

#include "base/memory.h"

enum { MAX_SIDE = 16384 };

enum sdg_result sdg_image_create(int width, int height, struct sdg_image **out)
{
    *out = NULL;
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE)
        return SDG_ERROR_USAGE;
    struct sdg_image *image = sdg_alloc(NULL, 1, sizeof *image, "an image");
    uint8_t *pixels = sdg_alloc(NULL, (size_t)width * (size_t)height, 3, "an image");
    if (!image || !pixels) {
        sdg_free(image);
        sdg_free(pixels);
        return SDG_ERROR_MEMORY;
    }
    *image = (struct sdg_image){width, height, pixels};
    *out = image;
    return SDG_OK;
}

void sdg_image_destroy(struct sdg_image **image)
{
    if (!image || !*image)
        return;
    sdg_free((*image)->pixels);
    sdg_free(*image);
    *image = NULL;
}
