// Prompts of the command line and of files, with the same checks in all programs.
#ifndef SDG_APPS_PROMPTS_H
#define SDG_APPS_PROMPTS_H

#include "ui.h"

#include <stdbool.h>

struct app_prompts {
    char *text;         // of the file; the lines point into it
    const char **lines; // [count]
    size_t count;
};

// A file is UTF-8 of at most 16 MiB, with or without a byte order mark; UTF-16, what is not UTF-8, and zero bytes are
// SDG_ERROR_INPUT with the line. Any line end will do. What sdg_check_prompt refuses is refused, with the line.

// Reads the first `limit` prompts (0 = all), one a line; blank lines are left out. SDG_ERROR_INPUT if there is none.
// On failure *prompts is empty.
enum sdg_result app_prompts_read(struct app_ui *ui, const char *path, size_t limit, struct app_prompts *prompts);
void app_prompts_free(struct app_prompts *prompts);

// One prompt: all of a file ("-" is standard input) without the line ends at its end, or else `text` of the command
// line; NULL if both are NULL. `what`: "the prompt". *prompt is freed with sdg_free; NULL on failure.
enum sdg_result app_prompt_read(struct app_ui *ui, const char *what, const char *text, const char *path, bool plain,
                                char **prompt);

#endif
