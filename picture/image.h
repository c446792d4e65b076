// Inside picture/: pictures that callers hand in.
#ifndef SDG_PICTURE_IMAGE_H
#define SDG_PICTURE_IMAGE_H

#include "base/log.h"
#include "sdgen/sdgen.h"

// SDG_ERROR_USAGE unless there is a picture, with pixels and sides of 1..SDG_PICTURE_SIDE.
enum sdg_result sdg_image_check(const struct sdg_log *log, const struct sdg_image *image);

#endif
