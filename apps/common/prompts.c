#include "prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

enum { PROMPT_FILE_BYTES = 16 << 20 };

static enum sdg_result split(struct app_ui *ui, const char *path, size_t limit, struct app_prompts *prompts)
{
    size_t lines = 1;
    for (const char *c = prompts->text; *c; c++)
        lines += *c == '\n' || *c == '\r';
    prompts->lines = calloc(lines, sizeof *prompts->lines);
    if (!prompts->lines)
        return app_fail(ui, SDG_ERROR_MEMORY, "--prompts: not enough memory for %zu lines", lines);
    char *rest = NULL;
    for (char *line = strtok_r(prompts->text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
        if (!limit || prompts->count < limit)
            prompts->lines[prompts->count++] = line;
    return prompts->count ? SDG_OK : app_fail(ui, SDG_ERROR_INPUT, "--prompts: %.200s has no prompt", path);
}

enum sdg_result app_prompts_read(struct app_ui *ui, const char *path, size_t limit, struct app_prompts *prompts)
{
    *prompts = (struct app_prompts){0};
    size_t size;
    enum sdg_result result = sdg_input_read(app_log_of(ui), path, PROMPT_FILE_BYTES, &prompts->text, &size);
    if (result == SDG_OK)
        result = split(ui, path, limit, prompts);
    if (result != SDG_OK)
        app_prompts_free(prompts);
    return result;
}

void app_prompts_free(struct app_prompts *prompts)
{
    sdg_free(prompts->text);
    free(prompts->lines);
    *prompts = (struct app_prompts){0};
}
