// Inside picture/: texts that were found in files.
#ifndef SDG_PICTURE_PRINTABLE_H
#define SDG_PICTURE_PRINTABLE_H

#include "base/log.h"

#include <stdbool.h>

// A text from a file, for a terminal: UTF-8 as it is, Latin-1 turned into it, control characters replaced. The caller's
// (sdg_free); NULL after reporting a failed allocation.
char *sdg_printable(const struct sdg_log *log, const char *text, bool latin1);

#endif
