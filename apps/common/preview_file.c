#include "preview_file.h"

#include "output.h"

static enum sdg_result write_image(const struct app_preview *preview, const struct sdg_image *image)
{
    return app_output_picture(preview->ui, preview->path, preview->format, image, NULL);
}

void app_preview_show(void *user, const struct sdg_preview_picture *picture)
{
    struct app_preview *preview = user;
    const struct sdg_image image = {picture->pixels.width, picture->pixels.height, picture->pixels.data};
    if (preview->result == SDG_OK)
        preview->result = write_image(preview, &image);
}

enum sdg_result app_preview_end(struct app_preview *preview, const struct sdg_image *image)
{
    if (preview->result == SDG_OK)
        preview->result = write_image(preview, image);
    return preview->result;
}
