#include "picture/printable.h"

#include "base/memory.h"

#include <string.h>

char *sdg_printable(const struct sdg_log *log, const char *text, bool latin1)
{
    char *out = sdg_alloc_raw(log, strlen(text) + 1, 2, "a text"), *to = out;
    if (!out)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool c1 = latin1 ? *c >= 0x80 && *c < 0xa0 : *c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        if ((*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f || c1) {
            *to++ = '?';
            c += c1 && !latin1;
        } else if (latin1 && *c >= 0x80) {
            *to++ = (char)(0xc0 | *c >> 6);
            *to++ = (char)(0x80 | (*c & 0x3f));
        } else {
            *to++ = (char)*c;
        }
    }
    *to = 0;
    return out;
}
