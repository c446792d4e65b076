// Prompt files: a prompt per line.
#ifndef SDG_APPS_PROMPTS_H
#define SDG_APPS_PROMPTS_H

#include "ui.h"

struct app_prompts {
    char *text;         // of the file; the lines point into it
    const char **lines; // [count]
    size_t count;
};

// Reads the first `limit` prompts (0 = all) of a file of at most 16 MiB; empty lines are left out. SDG_ERROR_INPUT if
// there is none. On failure *prompts is empty.
enum sdg_result app_prompts_read(struct app_ui *ui, const char *path, size_t limit, struct app_prompts *prompts);
void app_prompts_free(struct app_prompts *prompts);

#endif
