// Inside picture/: EXIF, as cameras and programs put it into JPEG, PNG and WebP files: which way up the picture is, and
// a comment. A block is a TIFF file of tags only: "II" or "MM" for the order of bytes, then directories of 12 bytes a
// tag.
//
// No byte is trusted: offsets and counts stay inside the block, and only the first directory and the one that it names
// for EXIF are looked at, so that a ring of directories ends nothing.
#ifndef SDG_PICTURE_EXIF_H
#define SDG_PICTURE_EXIF_H

#include "picture/bytes.h"
#include "sdgen/result.h"

struct sdg_exif {
    const uint8_t *data; // of the file, from "II" or "MM" on; NULL = none
    size_t size;
};

// A block without the "Exif\0\0" that some files put before it.
struct sdg_exif sdg_exif_block(const void *data, size_t size);
// 1..8: how the stored picture has to be turned to stand upright (1 = not at all); 0 where the block does not say.
int sdg_exif_orientation(struct sdg_exif exif);
// The same from an XMP packet, a piece of XML, `text` [size]: the attribute or element tiff:Orientation.
int sdg_xmp_orientation(const void *text, size_t size);
// The text of the tag UserComment, in UTF-8, else NULL. *text is the caller's (sdg_free). SDG_ERROR_MEMORY only.
enum sdg_result sdg_exif_text(const struct sdg_log *log, struct sdg_exif exif, char **text);
// Appends a block that has `text` (UTF-8) as UserComment, in UTF-16 as other programs write it, or byte for byte where
// it is ASCII and would otherwise be longer than `room` bytes. False without a change when it does not fit, or when
// bytes->failed.
bool sdg_exif_add(struct sdg_bytes *bytes, const char *text, size_t room);

#endif
