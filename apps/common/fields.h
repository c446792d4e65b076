// Shorthands for the rows of an option table (options.h). Before this is included,
//     #define APP_VALUES  the struct that the fields belong to
//     #define APP_FIELDS  what every row has besides, beginning with a comma (", .flags = APP_COMMON"); may be empty
#include <stddef.h>

#include "manual.h"
#include "options.h"

#define FIELD(f) .field = offsetof(APP_VALUES, f), .since = "0.1.0" APP_FIELDS
#define FLAG(f) .kind = APP_FLAG, FIELD(f)
#define TEXT(f, w) .kind = APP_TEXT, .word = w, FIELD(f)
#define FILE_NAME(f, w) .kind = APP_FILE, .word = w, FIELD(f)
#define NAME(f, list) .kind = APP_NAME, .word = "NAME", .names = list, FIELD(f)
#define NAMES(f, list) .kind = APP_NAMES, .word = "LIST", .names = list, FIELD(f)
#define INTEGER(f, low, high) .kind = APP_INTEGER, .word = "N", .min = low, .max = high, FIELD(f)
#define SEED(f) .kind = APP_SEED, .word = "N", FIELD(f)
#define REAL(f, low, high) .kind = APP_REAL, .word = "X", .min = low, .max = high, FIELD(f)
#define NUMBER(f, low, high) .kind = APP_NUMBER, .word = "X", .min = low, .max = high, FIELD(f)
#define HELP .kind = APP_HELP, .since = "0.1.0", .flags = APP_COMMON
#define HELP_ALL .kind = APP_HELP_ALL, .since = "0.1.0", .flags = APP_COMMON
#define HELP_AS .kind = APP_HELP_AS, .word = "FORMAT", .names = app_manual_formats, .since = "0.1.0"
