#include "preview_file.h"

#include "output.h"

static enum sdg_result write_image(const struct app_preview *preview, const struct sdg_image *image)
{
    uint8_t *data = NULL;
    size_t size = 0;
    enum sdg_result result = sdg_picture_encode(app_log_of(preview->ui), preview->format, image, NULL, &data, &size);
    if (result == SDG_OK)
        result = app_output_bytes(preview->ui, preview->path, data, size);
    sdg_picture_free(data);
    return result;
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
