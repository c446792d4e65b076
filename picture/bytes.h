// Inside picture/: bytes that an encoder appends to.
#ifndef SDG_PICTURE_BYTES_H
#define SDG_PICTURE_BYTES_H

#include "base/memory.h"

struct sdg_bytes {
    const struct sdg_log *log;
    uint8_t *data; // owned: sdg_free
    size_t size, capacity;
    bool failed; // an allocation, which is reported; nothing is added any more
};

bool sdg_bytes_add(struct sdg_bytes *bytes, const void *data, size_t size);

#endif
