#include "picture/bytes.h"

#include <string.h>

bool sdg_bytes_add(struct sdg_bytes *bytes, const void *data, size_t size)
{
    if (!bytes->failed &&
        (size > SIZE_MAX - bytes->size ||
         !sdg_grow(bytes->log, &bytes->data, &bytes->capacity, bytes->size + size, 1, "an encoded picture")))
        bytes->failed = true;
    if (bytes->failed)
        return false;
    if (size > 0)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
    return true;
}
