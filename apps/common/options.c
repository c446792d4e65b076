#include "options.h"

#include "manual.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/spelling.h"

// getopt_long's code of an option: its number in the table after all characters; then those of the other program.
#define FIRST_VERSION "0.1.0"

enum { CODE_POSITIONAL = 1, CODE_FIRST = 256, CODE_OTHER = CODE_FIRST + APP_OPTIONS_MAX };

bool app_read_integer(const char *text, int64_t *value)
{
    const char *digits = text + (*text == '-');
    if (!*digits || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (errno)
        return false;
    *value = number;
    return true;
}

bool app_read_seed(const char *text, struct app_seed *seed)
{
    int64_t negative;
    *seed = (struct app_seed){.random = *text == '-'};
    if (seed->random)
        return app_read_integer(text, &negative);
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    seed->value = strtoull(text, NULL, 10);
    return errno == 0;
}

bool app_read_real(const char *text, double *value)
{
    if (!*text || strspn(text, "0123456789.eE+-") != strlen(text) || text[0] == '+')
        return false;
    char *end = NULL;
    errno = 0;
    double number = strtod(text, &end);
    if (*end || end == text || !isfinite(number) || (errno == ERANGE && fabs(number) > 1))
        return false;
    *value = number;
    return true;
}

const char *app_nearest(const char *text, const char *const *names)
{
    return sdg_spelling_nearest(text, names, strlen(text) / 3 + 1);
}

static void join(char *text, size_t size, const char *const *names)
{
    size_t used = 0;
    text[0] = 0;
    for (; *names && used < size; names++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", *names);
}

static bool ranged(const struct app_option *option)
{
    return option->min != 0 || option->max != 0;
}

static enum sdg_result bad_number(struct app_ui *ui, const struct app_option *option, const char *text,
                                  const char *kind)
{
    if (ranged(option))
        return app_fail(ui, SDG_ERROR_USAGE, "--%s: '%.60s' should be a %s %s %.10g to %.10g", option->name, text, kind,
                        option->flags & APP_ABOVE ? "above" : "from", option->min, option->max);
    return app_fail(ui, SDG_ERROR_USAGE, "--%s: '%.60s' should be a %s", option->name, text, kind);
}

static bool in_range(const struct app_option *option, double value)
{
    return !ranged(option) ||
        (value >= option->min && value <= option->max && !(option->flags & APP_ABOVE && value == option->min));
}

static enum sdg_result bad_seed(struct app_ui *ui, const struct app_option *option, const char *text)
{
    bool whole = *text && strspn(text, "0123456789") == strlen(text);
    return app_fail(ui, SDG_ERROR_USAGE,
                    "--%s: '%.60s' %s, it should be a whole number up to %llu, or -1 for a random one", option->name,
                    text, whole ? "is too large" : "is no seed", (unsigned long long)UINT64_MAX);
}

static enum sdg_result unknown_name(struct app_ui *ui, const struct app_option *option, const char *text)
{
    const char *const *names = option->names();
    char legal[400];
    join(legal, sizeof legal, names);
    for (const char *const *later = option->later; later && *later; later++)
        if (!strcasecmp(*later, text))
            return app_fail(ui, SDG_ERROR_UNSUPPORTED, "--%s: '%.60s' is not in this version of %s (legal: %s)",
                            option->name, text, ui->program, legal);
    const char *nearest = app_nearest(text, names);
    return app_fail(ui, SDG_ERROR_USAGE, "--%s: '%.60s' is unknown%s%s%s (legal: %s)", option->name, text,
                    nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "", legal);
}

static enum sdg_result store_name(struct app_ui *ui, const struct app_option *option, const char *text,
                                  const char **field)
{
    for (const char *const *alias = option->aliases; alias && *alias; alias += 2)
        if (!strcmp(*alias, text))
            text = alias[1];
    for (const char *const *name = option->names(); *name; name++)
        if (!strcmp(*name, text)) {
            *field = *name;
            return SDG_OK;
        }
    return unknown_name(ui, option, text);
}

static enum sdg_result store_names(struct app_ui *ui, const struct app_option *option, const char *text,
                                   const char **field)
{
    *field = text;
    while (text) {
        char word[64];
        const char *const *name = option->names();
        size_t length = strcspn(text, ",");
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), text);
        while (*name && strcmp(*name, word))
            name++;
        if (!*name)
            return unknown_name(ui, option, word);
        text = text[length] ? text + length + 1 : NULL;
    }
    return SDG_OK;
}

static enum sdg_result store(struct app_ui *ui, const struct app_option *option, const char *text, void *values)
{
    void *field = (char *)values + option->field;
    switch (option->kind) {
    case APP_FLAG: *(bool *)field = true; return SDG_OK;
    case APP_FILE:
        if (!*text)
            return app_fail(ui, SDG_ERROR_USAGE, "--%s: the name is empty", option->name);
        *(const char **)field = text;
        return SDG_OK;
    case APP_TEXT: *(const char **)field = text; return SDG_OK;
    case APP_NAME: return store_name(ui, option, text, field);
    case APP_NAMES: return store_names(ui, option, text, field);
    case APP_INTEGER: {
        int64_t value;
        if (!app_read_integer(text, &value) || !in_range(option, (double)value))
            return bad_number(ui, option, text, "whole number");
        *(int64_t *)field = value;
        return SDG_OK;
    }
    case APP_SEED: return app_read_seed(text, (struct app_seed *)field) ? SDG_OK : bad_seed(ui, option, text);
    case APP_REAL:
    case APP_NUMBER: {
        double value;
        if (!app_read_real(text, &value) || !in_range(option, value))
            return bad_number(ui, option, text, "number");
        if (option->kind == APP_NUMBER)
            *(struct sdg_number *)field = sdg_number(value);
        else
            *(double *)field = value;
        return SDG_OK;
    }
    case APP_HELP:
    case APP_HELP_ALL:
    case APP_HELP_AS: break;
    }
    return SDG_OK;
}

bool app_takes_value(const struct app_option *option)
{
    return option->kind != APP_FLAG && option->kind != APP_HELP && option->kind != APP_HELP_ALL;
}

// -------------------------------------------------------------------------------------------------- help

static const char *default_text(const struct app_option *option)
{
    return option->initial && !option->otherwise ? option->initial : option->otherwise;
}

// Prints words from column `column` on, wrapped.
static void print_wrapped(const char *text, int column, int at, int width)
{
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > width) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, text);
        at += length;
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void app_describe(const struct app_option *option, bool complete, char *text, size_t size)
{
    char list[400] = "", range[80] = "", since[48] = "";
    if (option->names)
        join(list, sizeof list, option->names());
    if (complete && app_takes_value(option) && ranged(option))
        snprintf(range, sizeof range, "; %s %.10g to %.10g", option->flags & APP_ABOVE ? "above" : "from", option->min,
                 option->max);
    const char *standard = default_text(option);
    if (complete && strcmp(option->since, FIRST_VERSION))
        snprintf(since, sizeof since, " [since %s]", option->since);
    snprintf(text, size, "%s%s%s%s%s%s%s%s", option->help, *list ? ": " : "", list, range,
             standard ? " (default: " : "", standard ? (*standard ? standard : "none") : "", standard ? ")" : "",
             since);
}

static void help_option(const struct app_option *option, bool complete, int width)
{
    const int COLUMN = width < 64 ? 8 : 30;
    char head[96], text[1024];
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int at = snprintf(head, sizeof head, "  %s--%s%s%s", letter, option->name, option->word ? " " : "",
                      option->word ? option->word : "");
    printf("%s", head);
    if (at >= COLUMN) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", COLUMN - at, "");
    app_describe(option, complete, text, sizeof text);
    print_wrapped(text, COLUMN, COLUMN, width);
}

void app_help(const struct app_command *command, bool complete)
{
    const int width = app_width(STDOUT_FILENO, 78);
    printf("usage: %s\n%s\n", command->usage, command->about);
    const char *group = "";
    for (size_t i = 0; i < command->count; i++) {
        const struct app_option *option = &command->options[i];
        if (!complete && !(option->flags & APP_COMMON))
            continue;
        if (strcmp(group, option->group))
            printf("\n%s\n", option->group);
        group = option->group;
        help_option(option, complete, width);
    }
    if (complete)
        printf("\n%s%s", app_exit_help, command->more ? command->more : "");
}

// -------------------------------------------------------------------------------------------------- parsing

static const struct app_option *find_letter(const struct app_command *command, int letter)
{
    for (size_t i = 0; i < command->count; i++)
        if (command->options[i].letter && command->options[i].letter == letter)
            return &command->options[i];
    return NULL;
}

static const struct app_option *find_name(const struct app_command *command, const char *name, size_t length)
{
    for (size_t i = 0; i < command->count; i++)
        if (strlen(command->options[i].name) == length && !strncmp(command->options[i].name, name, length))
            return &command->options[i];
    return NULL;
}

bool app_given(const struct app_command *command, const struct app_arguments *arguments, const char *name)
{
    const struct app_option *option = find_name(command, name, strlen(name));
    return option && arguments->given[option - command->options];
}

enum sdg_result app_set(const struct app_command *command, struct app_ui *ui, const char *name, const char *text,
                        void *values, struct app_arguments *arguments)
{
    const struct app_option *option = find_name(command, name, strlen(name));
    if (!option)
        return app_fail(ui, SDG_ERROR_USAGE, "there is no option '--%s'", name);
    arguments->given[option - command->options] = true;
    return store(ui, option, text, values);
}

// The option of which `name` is the beginning: the only one, or the one that all others begin with.
static const char *find_beginning(const struct app_command *command, const char *name)
{
    const char *found = NULL;
    for (size_t i = 0; *name && i < command->count; i++) {
        const char *other = command->options[i].name;
        if (strncmp(other, name, strlen(name)))
            continue;
        if (found && strncmp(other, found, strlen(found)) && strncmp(found, other, strlen(other)))
            return NULL;
        if (!found || strlen(other) < strlen(found))
            found = other;
    }
    return found;
}

static const char *suggest(const struct app_command *command, const char *name)
{
    const char *names[APP_OPTIONS_MAX + 1];
    size_t n = 0;
    for (const char *const *word = command->synonyms; word && *word; word += 2)
        if (!strcasecmp(*word, name))
            return word[1];
    for (; n < command->count; n++)
        names[n] = command->options[n].name;
    names[n] = NULL;
    const char *beginning = find_beginning(command, name);
    return beginning ? beginning : app_nearest(name, names);
}

static enum sdg_result unknown_option(const struct app_command *command, struct app_ui *ui, const char *text)
{
    char name[64];
    size_t length = strcspn(text, "=");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), text);
    const char *nearest = suggest(command, name);
    if (nearest)
        return app_fail(ui, SDG_ERROR_USAGE,
                        "unknown option '--%s', did you mean '--%s'? (-h lists the common ones, --help-all all)", name,
                        nearest);
    return app_fail(ui, SDG_ERROR_USAGE, "unknown option '--%s' (-h lists the common ones, --help-all all)", name);
}

static enum sdg_result unknown_letter(const struct app_command *command, struct app_ui *ui, int letter)
{
    const int other = letter ^ 0x20; // in the other case
    if (((letter | 0x20) >= 'a' && (letter | 0x20) <= 'z') && find_letter(command, other))
        return app_fail(ui, SDG_ERROR_USAGE,
                        "unknown option '-%c', did you mean '-%c'? (-h lists the common ones, --help-all all)", letter,
                        other);
    return app_fail(ui, SDG_ERROR_USAGE, "unknown option '-%c' (-h lists the common ones, --help-all all)", letter);
}

// ---- another program's options ----

static bool is_neutral(const struct app_other *other, const char *value)
{
    double a, b;
    if (!other->neutral || !value)
        return false;
    return !strcmp(other->neutral, value) || (app_read_real(other->neutral, &a) && app_read_real(value, &b) && a == b);
}

static enum sdg_result take_other(const struct app_command *command, struct app_ui *ui, const struct app_other *other,
                                  const char *value, struct app_arguments *arguments)
{
    switch (other->verdict) {
    case APP_MEANS_NOTHING: arguments->without_meaning[other - command->others] = true; return SDG_OK;
    case APP_OTHER_MODELS:
        if (is_neutral(other, value))
            return SDG_OK;
        return app_fail(ui, SDG_ERROR_UNSUPPORTED,
                        "--%s is for %s, which %s does not draw with (Stable Diffusion 1, 2, XL and LCM it does)",
                        other->name, other->why, ui->program);
    case APP_NOT_YET:
        if (is_neutral(other, value))
            return SDG_OK;
        return app_fail(ui, SDG_ERROR_UNSUPPORTED, "--%s is not in this version of %s (%s)", other->name, ui->program,
                        other->why);
    }
    return SDG_OK;
}

void app_note_others(const struct app_command *command, struct app_ui *ui, const struct app_arguments *arguments)
{
    char list[400];
    size_t used = 0, count = 0;
    const char *why = NULL;
    for (size_t i = 0; i < command->other_count; i++) {
        if (!arguments->without_meaning[i])
            continue;
        why = command->others[i].why;
        used += used < sizeof list
            ? (size_t)snprintf(list + used, sizeof list - used, "%s--%s", count ? ", " : "", command->others[i].name)
            : 0;
        count++;
    }
    if (count == 1)
        app_say(ui, SDG_LOG_INFO, "%s has no effect in %s: %s", list, ui->program, why);
    else if (count)
        app_say(ui, SDG_LOG_INFO, "without effect in %s: %s", ui->program, list);
}

// A value that is the name of an option is a value forgotten: "-o --steps 5".
static bool is_option_name(const struct app_command *command, const char *text)
{
    return !strncmp(text, "--", 2) && text[2] && find_name(command, text + 2, strcspn(text + 2, "="));
}

static enum sdg_result help_as(const struct app_command *command, struct app_ui *ui, const struct app_option *option,
                               const char *text, struct app_arguments *arguments)
{
    const char *format = NULL;
    SDG_TRY(store_name(ui, option, text, &format));
    app_manual(command, format);
    arguments->helped = true;
    return SDG_OK;
}

static enum sdg_result take_option(const struct app_command *command, struct app_ui *ui,
                                   const struct app_option *option, const char *value, bool attached, void *values,
                                   struct app_arguments *arguments)
{
    arguments->given[option - command->options] = true;
    if (option->kind == APP_HELP || option->kind == APP_HELP_ALL) {
        app_help(command, option->kind == APP_HELP_ALL);
        arguments->helped = true;
        return SDG_OK;
    }
    if (value && !attached && is_option_name(command, value))
        return app_fail(ui, SDG_ERROR_USAGE,
                        "--%s: the value is missing, '%.60s' follows (if that is the value, write --%s='%.60s')",
                        option->name, value, option->name, value);
    if (option->kind == APP_HELP_AS)
        return help_as(command, ui, option, value, arguments);
    return store(ui, option, value, values);
}

static enum sdg_result take_positional(const struct app_command *command, struct app_ui *ui, const char *text,
                                       struct app_arguments *arguments)
{
    if (arguments->positionals >= command->positionals || arguments->positionals >= APP_POSITIONALS_MAX)
        return app_fail(ui, SDG_ERROR_USAGE, "unexpected argument '%.60s' (usage: %s; texts with spaces need quotes)",
                        text, command->usage);
    arguments->positional[arguments->positionals++] = text;
    return SDG_OK;
}

static enum sdg_result bad_option(const struct app_command *command, struct app_ui *ui, int code, const char *element)
{
    if (optopt >= CODE_OTHER)
        return app_fail(ui, SDG_ERROR_USAGE, "--%s: the value is %s", command->others[optopt - CODE_OTHER].name,
                        code == ':' ? "missing" : "not wanted");
    const struct app_option *option = optopt >= CODE_FIRST ? &command->options[optopt - CODE_FIRST]
        : optopt                                           ? find_letter(command, optopt)
                                                           : NULL;
    if (code == ':' && option)
        return app_fail(ui, SDG_ERROR_USAGE, "--%s: the value is missing", option->name);
    if (option)
        return app_fail(ui, SDG_ERROR_USAGE, "--%s takes no value", option->name);
    if (optopt)
        return unknown_letter(command, ui, optopt);
    return unknown_option(command, ui, element + 2);
}

static void fill_getopt(const struct app_command *command, struct option *longs, char *shorts)
{
    *shorts++ = '-'; // arguments in their order
    *shorts++ = ':'; // no messages
    for (size_t i = 0; i < command->count; i++) {
        const struct app_option *option = &command->options[i];
        longs[i] = (struct option){option->name, app_takes_value(option) ? required_argument : no_argument, NULL,
                                   CODE_FIRST + (int)i};
        if (option->letter) {
            *shorts++ = option->letter;
            if (app_takes_value(option))
                *shorts++ = ':';
        }
    }
    for (size_t i = 0; i < command->other_count; i++)
        longs[command->count + i] =
            (struct option){command->others[i].name, command->others[i].takes_value ? required_argument : no_argument,
                            NULL, CODE_OTHER + (int)i};
    longs[command->count + command->other_count] = (struct option){NULL, 0, NULL, 0};
    *shorts = 0;
}

enum sdg_result app_parse(const struct app_command *command, struct app_ui *ui, int argc, char **argv, void *values,
                          struct app_arguments *arguments)
{
    struct option longs[APP_OPTIONS_MAX + APP_OTHERS_MAX + 1];
    char shorts[2 * APP_OPTIONS_MAX + 3];
    fill_getopt(command, longs, shorts);
    *arguments = (struct app_arguments){0};
    enum sdg_result result = SDG_OK;
    for (size_t i = 0; i < command->count && result == SDG_OK; i++)
        if (command->options[i].initial)
            result = store(ui, &command->options[i], command->options[i].initial, values);

    optind = 1;
    opterr = 0;
    while (result == SDG_OK && !arguments->helped) {
        int index = -1, at = optind;
        int code = getopt_long(argc, argv, shorts, longs, &index);
        const char *element = at < argc ? argv[at] : "";
        if (code == -1)
            break;
        if (code == CODE_POSITIONAL) {
            result = take_positional(command, ui, optarg, arguments);
        } else if (code == ':' || code == '?') {
            result = bad_option(command, ui, code, element);
        } else if (code >= CODE_OTHER) {
            const struct app_other *other = &command->others[code - CODE_OTHER];
            if (strlen(other->name) != strcspn(element + 2, "=")) // an abbreviation
                result = unknown_option(command, ui, element + 2);
            else
                result = take_other(command, ui, other, optarg, arguments);
        } else if (code >= CODE_FIRST) {
            size_t length = strcspn(element + 2, "=");
            const struct app_option *option = &command->options[code - CODE_FIRST];
            if (strlen(option->name) != length) // getopt completed an abbreviation
                result = unknown_option(command, ui, element + 2);
            else
                result = take_option(command, ui, option, optarg, element[2 + length] == '=', values, arguments);
        } else {
            const struct app_option *option = find_letter(command, code);
            result = take_option(command, ui, option, optarg, optarg && optarg != argv[optind - 1], values, arguments);
        }
    }
    for (int i = optind; i < argc && result == SDG_OK && !arguments->helped; i++) // after "--"
        result = take_positional(command, ui, argv[i], arguments);
    return result;
}
