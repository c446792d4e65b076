// Messages. Every fallible function takes `const struct sdg_log *` (NULL is valid: silence) and reports its own
// failure with sdg_fail(); callers pass the result on without a second message.
#ifndef SDG_BASE_LOG_H
#define SDG_BASE_LOG_H

#include "sdgen/result.h"

#include <stdarg.h>

#if defined(__GNUC__)
#define SDG_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define SDG_PRINTF(at, first)
#endif

// Formats one line (control characters from files are replaced, at most 500 bytes) and hands it to the callback.
void sdg_say(const struct sdg_log *log, enum sdg_log_level level, const char *format, ...) SDG_PRINTF(3, 4);
void sdg_vsay(const struct sdg_log *log, enum sdg_log_level level, const char *format, va_list args) SDG_PRINTF(3, 0);

// Reports an error and returns `result`: `return sdg_fail(log, SDG_ERROR_INPUT, "%s: ...", path);`
// The line says what, where, why and, where it helps, what to do. No "error:" prefix, no newline.
enum sdg_result sdg_fail(const struct sdg_log *log, enum sdg_result result, const char *format, ...) SDG_PRINTF(3, 4);

// For public functions: a pointer that must be given. `name` is what the header calls it.
#define SDG_REQUIRE(log, pointer, name)                                                   \
    do {                                                                                  \
        if (!(pointer))                                                                   \
            return sdg_fail((log), SDG_ERROR_USAGE, "the argument '%s' is NULL", (name)); \
    } while (0)

// A system call that just failed at `path`, with errno's words: "PATH: cannot be opened: Permission denied". Want of
// memory is no fault of a file: it is SDG_ERROR_MEMORY, whatever `result` is.
enum sdg_result sdg_fail_system(const struct sdg_log *log, enum sdg_result result, const char *path, const char *what);

#define SDG_TRY(expression)                         \
    do {                                            \
        enum sdg_result try_result_ = (expression); \
        if (try_result_ != SDG_OK)                  \
            return try_result_;                     \
    } while (0)

#endif
