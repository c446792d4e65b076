#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 501 };

void sdg_vsay(const struct sdg_log *log, enum sdg_log_level level, const char *format, va_list args)
{
    if (!log || !log->fn || level > log->level)
        return;
    char line[MESSAGE_BYTES];
    int n = vsnprintf(line, sizeof line, format, args);
    if (n >= (int)sizeof line)
        memcpy(line + sizeof line - 4, "...", 4);
    // Names come from files: keep them from breaking the one-line rule or driving a terminal.
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    log->fn(log->user, level, line);
}

void sdg_say(const struct sdg_log *log, enum sdg_log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sdg_vsay(log, level, format, args);
    va_end(args);
}

enum sdg_result sdg_fail(const struct sdg_log *log, enum sdg_result result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sdg_vsay(log, SDG_LOG_ERROR, format, args);
    va_end(args);
    return result;
}

enum sdg_result sdg_fail_system(const struct sdg_log *log, enum sdg_result result, const char *path, const char *what)
{
    if (errno == ENOMEM)
        return sdg_fail(log, SDG_ERROR_MEMORY, "%s: %s: not enough memory", path, what);
    return sdg_fail(log, result, "%s: %s: %s", path, what, strerror(errno));
}
