#include "manual.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "sdgen/sdgen.h"

enum { WORD_MAX = 64, SENTENCE_MAX = 1024 };

const char *const *app_manual_formats(void)
{
    static const char *const formats[] = {"man", "bash", "zsh", "fish", NULL};
    return formats;
}

// The program's name is the first word of the usage.
static const char *program_name(const struct app_command *command, char *name)
{
    snprintf(name, WORD_MAX, "%.*s", (int)strcspn(command->usage, " "), command->usage);
    return name;
}

// Calls `each` for the commands of a program that has some: the second words of the lines of its usage, as far as they
// are lower-case ones ("sdcalib merge STATS ..."), each once.
static void for_commands(const struct app_command *command, void (*each)(const char *word, int length))
{
    const char *before = "";
    for (const char *line = command->usage; line; line = strchr(line, '\n')) {
        line += strspn(line, " \n");
        const char *word = strchr(line, ' ');
        if (!word)
            break;
        word++;
        const int length = (int)strcspn(word, " \n");
        const int letters = (int)strspn(word, "abcdefghijklmnopqrstuvwxyz");
        if (letters == length && length > 0 && strncmp(before, word, (size_t)length + 1))
            each(word, length);
        before = word;
    }
}

// ---- man(7) ----

// Text as man(7) wants it: no character that means something there, no dash that it would make a hyphen.
static void man_text(const char *text, size_t length)
{
    bool starts = true; // a line, where a dot would be a macro
    for (size_t i = 0; i < length; i++) {
        const char c = text[i];
        if (starts && (c == '.' || c == '\''))
            fputs("\\&", stdout);
        if (c == '\\')
            fputs("\\e", stdout);
        else if (c == '-')
            fputs("\\-", stdout);
        else
            putchar(c);
        starts = c == '\n';
    }
}

static void man_line(const char *text)
{
    man_text(text, strlen(text));
    putchar('\n');
}

static void man_option(const struct app_option *option)
{
    char sentence[SENTENCE_MAX];
    printf(".TP\n");
    if (option->letter)
        printf("\\fB\\-%c\\fR, ", option->letter);
    printf("\\fB\\-\\-");
    man_text(option->name, strlen(option->name));
    printf("\\fR");
    if (option->word)
        printf(" \\fI%s\\fR", option->word);
    putchar('\n');
    app_describe(option, true, sentence, sizeof sentence);
    if (islower((unsigned char)sentence[0]) && !isdigit((unsigned char)sentence[1])) // but not "a1111"
        sentence[0] = (char)toupper((unsigned char)sentence[0]);
    man_line(sentence);
}

// Paragraphs that the help prints as they are, each under a line that ends in a colon ("Examples:").
static void man_paragraphs(const char *text)
{
    bool open = false;
    while (*text) {
        const size_t length = strcspn(text, "\n");
        const bool head = length > 1 && text[0] != ' ' && text[length - 1] == ':';
        if (head) {
            printf("%s.SH ", open ? ".fi\n" : "");
            for (size_t i = 0; i + 1 < length; i++)
                putchar(toupper((unsigned char)text[i]));
            printf("\n.nf\n");
            open = true;
        } else if (length) {
            const size_t blanks = strspn(text, " ");
            man_text(text + blanks, length - blanks);
            putchar('\n');
        }
        text += length + (text[length] == '\n');
    }
    printf("%s", open ? ".fi\n" : "");
}

static void print_man(const struct app_command *command)
{
    static const char *const programs[] = {"sdgen", "sdcalib", "sdquant", "sdeval", "sdbench", NULL};
    char name[WORD_MAX], title[WORD_MAX], about[256];
    program_name(command, name);
    for (size_t i = 0; i <= strlen(name); i++)
        title[i] = (char)toupper((unsigned char)name[i]);
    snprintf(about, sizeof about, "%.*s", (int)strcspn(command->about, ".\n"), command->about);
    about[0] = (char)tolower((unsigned char)about[0]);
    printf(".TH %s 1 \"\" \"sdgen %s\" \"User Commands\"\n.SH NAME\n%s \\- ", title, sdg_version(), name);
    man_line(about);
    printf(".SH SYNOPSIS\n.nf\n");
    for (const char *line = command->usage; line && *line;) {
        line += strspn(line, " ");
        const size_t length = strcspn(line, "\n");
        man_text(line, length);
        putchar('\n');
        line += length + (line[length] == '\n');
    }
    printf(".fi\n.SH DESCRIPTION\n");
    man_line(command->about);
    printf(".SH OPTIONS\n");
    const char *group = "";
    for (size_t i = 0; i < command->count; i++) {
        const struct app_option *option = &command->options[i];
        if (strcmp(group, option->group))
            printf(".SS %s\n", option->group);
        group = option->group;
        man_option(option);
    }
    man_paragraphs(app_exit_help);
    man_paragraphs(command->more ? command->more : "");
    printf(".SH SEE ALSO\n");
    const char *comma = "";
    for (size_t i = 0; programs[i]; i++)
        if (strcmp(programs[i], name)) {
            printf("%s\\fB%s\\fR(1)", comma, programs[i]);
            comma = ",\n";
        }
    putchar('\n');
}

// ---- shells ----

static bool wants_file(const struct app_option *option)
{
    return option->kind == APP_FILE;
}

// The words of a list, with blanks between.
static void print_names(const char *const *names)
{
    for (size_t i = 0; names[i]; i++)
        printf("%s%s", i ? " " : "", names[i]);
}

// Text inside of single quotes of a shell; `escaped` characters get a backslash before them.
static void print_quoted(const char *text, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(escaped, *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void bash_command(const char *word, int length)
{
    printf("%.*s ", length, word);
}

static void bash_label(const struct app_option *option)
{
    printf("    ");
    if (option->letter)
        printf("-%c | ", option->letter);
    printf("--%s) ", option->name);
}

static void print_bash(const struct app_command *command)
{
    char name[WORD_MAX];
    program_name(command, name);
    printf("# bash completion for %s, written by %s --help-as bash\n_%s()\n{\n", name, name, name);
    printf("    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=\n");
    printf("    COMPREPLY=()\n    case $before in\n");
    for (size_t i = 0; i < command->count; i++) {
        const struct app_option *option = &command->options[i];
        if (!app_takes_value(option) || wants_file(option))
            continue;
        bash_label(option);
        if (option->names) {
            printf("words=\"");
            print_names(option->names());
            printf("\" ;;\n");
        } else {
            printf("return ;;\n");
        }
    }
    printf("    *)\n        if [[ $current == -* ]]; then\n            words=\"");
    for (size_t i = 0; i < command->count; i++)
        printf("%s--%s", i ? " " : "", command->options[i].name);
    printf("\"\n        elif [[ $COMP_CWORD == 1 ]]; then\n            words=\"");
    for_commands(command, bash_command);
    printf("\"\n        fi ;;\n    esac\n");
    printf("    if [[ $words ]]; then\n        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
           "    else\n        compopt -o filenames 2>/dev/null\n"
           "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n    fi\n}\ncomplete -F _%s %s\n",
           name, name);
}

static void print_zsh(const struct app_command *command)
{
    char name[WORD_MAX], sentence[SENTENCE_MAX];
    program_name(command, name);
    printf("#compdef %s\n# zsh completion, written by %s --help-as zsh\n_arguments -s", name, name);
    for (size_t i = 0; i < command->count; i++) {
        const struct app_option *option = &command->options[i];
        app_describe(option, false, sentence, sizeof sentence);
        if (option->letter)
            printf(" \\\n    '(-%c --%s)'{-%c,--%s}'[", option->letter, option->name, option->letter, option->name);
        else
            printf(" \\\n    '--%s[", option->name);
        print_quoted(sentence, "[]\\");
        putchar(']');
        if (app_takes_value(option)) {
            printf(":%s:", option->word);
            if (option->names) {
                putchar('(');
                print_names(option->names());
                putchar(')');
            } else if (wants_file(option)) {
                printf("_files");
            }
        }
        putchar('\'');
    }
    printf(" \\\n    '*:file:_files'\n");
}

static const char *fish_program; // of fish_command()
static void fish_command(const char *word, int length)
{
    printf("complete -c %s -n __fish_use_subcommand -a %.*s\n", fish_program, length, word);
}

static void print_fish(const struct app_command *command)
{
    char name[WORD_MAX], sentence[SENTENCE_MAX];
    fish_program = program_name(command, name);
    printf("# fish completion, written by %s --help-as fish\n", name);
    for_commands(command, fish_command);
    for (size_t i = 0; i < command->count; i++) {
        const struct app_option *option = &command->options[i];
        printf("complete -c %s", name);
        if (option->letter)
            printf(" -s %c", option->letter);
        printf(" -l %s", option->name);
        if (wants_file(option))
            printf(" -r -F");
        else if (app_takes_value(option))
            printf(" -x");
        if (option->names) {
            printf(" -a '");
            print_names(option->names());
            putchar('\'');
        }
        app_describe(option, false, sentence, sizeof sentence);
        printf(" -d '");
        for (const char *c = sentence; *c; c++)
            printf("%s%c", *c == '\'' || *c == '\\' ? "\\" : "", *c);
        printf("'\n");
    }
}

void app_manual(const struct app_command *command, const char *format)
{
    if (!strcmp(format, "man"))
        print_man(command);
    else if (!strcmp(format, "bash"))
        print_bash(command);
    else if (!strcmp(format, "zsh"))
        print_zsh(command);
    else
        print_fish(command);
}
