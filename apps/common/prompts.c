#include "prompts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "sdgen/sdgen.h"

enum { PROMPT_FILE_BYTES = 16 << 20 };

static const char byte_order_mark[] = "\xef\xbb\xbf";

// What Windows' editors put before a text. Files that were joined have it at the start of other lines as well.
static char *without_mark(char *text)
{
    const size_t length = sizeof byte_order_mark - 1;
    return text + (strncmp(text, byte_order_mark, length) == 0 ? length : 0);
}

// By its mark, or because of nearly all units one half is zero, the same one, as in texts of Latin letters.
static bool is_utf16(const char *text, size_t size)
{
    if (size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return true;
    size_t zero[2] = {0};
    for (size_t i = 0; i + 1 < size; i += 2)
        if (!text[i] != !text[i + 1])
            zero[!text[i + 1]]++;
    return size >= 2 && size % 2 == 0 && (zero[0] > zero[1] ? zero[0] : zero[1]) * 4 > size / 2 * 3;
}

static enum sdg_result read_text(struct app_ui *ui, const char *path, char **text)
{
    size_t size;
    enum sdg_result result = sdg_input_read(app_log_of(ui), path, PROMPT_FILE_BYTES, text, &size);
    if (result != SDG_OK)
        return result;
    if (is_utf16(*text, size))
        result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: is UTF-16; save it as UTF-8", path);
    else if (strlen(*text) != size)
        result = app_fail(ui, SDG_ERROR_INPUT, "%.200s: is not a text, it has a zero byte", path);
    if (result != SDG_OK) {
        sdg_free(*text);
        *text = NULL;
    }
    return result;
}

// ---- a prompt per line ----

// Cuts the next line off *rest, which becomes NULL behind the last one. Line ends are \n, \r\n and \r.
static char *next_line(char **rest)
{
    char *line = *rest, *end = line + strcspn(line, "\r\n");
    *rest = !*end ? NULL : end + (end[0] == '\r' && end[1] == '\n' ? 2 : 1);
    *end = 0;
    return without_mark(line);
}

static enum sdg_result check_line(struct app_ui *ui, const char *path, size_t number, const char *line)
{
    char what[256];
    if (!sdg_utf8_valid(line, strlen(line)))
        return app_fail(ui, SDG_ERROR_INPUT, "%.200s: line %zu is not UTF-8; save the file as UTF-8", path, number);
    snprintf(what, sizeof what, "%.200s: line %zu", path, number);
    return sdg_check_prompt(app_log_of(ui), what, line, false);
}

static enum sdg_result split(struct app_ui *ui, const char *path, size_t limit, struct app_prompts *prompts)
{
    size_t lines = 1;
    for (const char *c = prompts->text; *c; c++)
        lines += *c == '\n' || *c == '\r';
    prompts->lines = calloc(lines, sizeof *prompts->lines);
    if (!prompts->lines)
        return app_fail(ui, SDG_ERROR_MEMORY, "%.200s: not enough memory for %zu lines", path, lines);
    size_t number = 1;
    for (char *rest = prompts->text; rest && (!limit || prompts->count < limit); number++) {
        const char *line = next_line(&rest);
        if (!line[strspn(line, " \t\v\f")])
            continue;
        enum sdg_result result = check_line(ui, path, number, line);
        if (result != SDG_OK)
            return result;
        prompts->lines[prompts->count++] = line;
    }
    return prompts->count ? SDG_OK : app_fail(ui, SDG_ERROR_INPUT, "%.200s: has no prompt", path);
}

enum sdg_result app_prompts_read(struct app_ui *ui, const char *path, size_t limit, struct app_prompts *prompts)
{
    *prompts = (struct app_prompts){0};
    enum sdg_result result = read_text(ui, path, &prompts->text);
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

// ---- one prompt ----

static enum sdg_result check_file(struct app_ui *ui, const char *path, const char *text)
{
    size_t number = 1;
    for (const char *line = text; *line; number++) {
        const size_t length = strcspn(line, "\n");
        if (!sdg_utf8_valid(line, length))
            return app_fail(ui, SDG_ERROR_INPUT, "%.200s: line %zu is not UTF-8; save the file as UTF-8", path, number);
        line += length + (line[length] != 0);
    }
    return SDG_OK;
}

enum sdg_result app_prompt_read(struct app_ui *ui, const char *what, const char *text, const char *path, bool plain,
                                char **prompt)
{
    enum sdg_result result = SDG_OK;
    *prompt = NULL;
    if (!path && !text)
        return SDG_OK;
    if (path)
        result = read_text(ui, path, prompt);
    else if (!(*prompt = sdg_strdup(app_log_of(ui), text)))
        result = SDG_ERROR_MEMORY;
    if (result != SDG_OK)
        return result;
    const char *begin = without_mark(*prompt);
    size_t length = strlen(begin);
    memmove(*prompt, begin, length + 1);
    while (path && length && ((*prompt)[length - 1] == '\n' || (*prompt)[length - 1] == '\r'))
        (*prompt)[--length] = 0;
    if (path)
        result = check_file(ui, path, *prompt);
    if (result == SDG_OK)
        result = sdg_check_prompt(app_log_of(ui), what, *prompt, plain);
    if (result != SDG_OK) {
        sdg_free(*prompt);
        *prompt = NULL;
    }
    return result;
}
