// Command lines. A program has one table of options; parsing, the short help, the complete help and the defaults come
// from it.
//
// Long names are taken whole (no abbreviations), numbers to their last character, and every mistake is one line that
// names the option and says what is legal.
#ifndef SDG_APPS_OPTIONS_H
#define SDG_APPS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ui.h"

enum app_kind {   // of the field a value is stored in:
    APP_FLAG,     // bool, no value
    APP_TEXT,     // const char *, may be empty
    APP_FILE,     // const char *, not empty
    APP_NAME,     // const char *, one of names()
    APP_NAMES,    // const char *, some of names(), separated by commas
    APP_INTEGER,  // int64_t, min..max unless both are 0
    APP_SEED,     // struct app_seed: 0..2^64-1, or random for any negative number
    APP_REAL,     // double, finite, min..max unless both are 0
    APP_NUMBER,   // struct sdg_number, like APP_REAL; absent unless it is given
    APP_HELP,     // no field: prints the short help, parsing ends
    APP_HELP_ALL, // no field: prints the complete help, parsing ends
    APP_HELP_AS,  // no field, one of names(): prints app_manual()'s text of that format, parsing ends
};

enum app_option_flags {
    APP_COMMON = 1, // shown in the short help
    APP_ABOVE = 2,  // `min` itself is not legal
};

struct app_seed {
    bool random;
    uint64_t value; // unless random
};

struct app_option {
    char letter;      // short form; 0 = none
    const char *name; // long form, without dashes
    enum app_kind kind;
    const char *word;    // what the value is called in the help; NULL for flags
    const char *initial; // default, stored by the same parser and printed; NULL = the field stays zero
    // in words, what happens without the option, where `initial` cannot say it; NULL = nothing to say
    const char *otherwise;
    const char *group; // heading in the help; options of a group stand together
    const char *help;  // one sentence
    const char *since; // version of the program that brought it
    unsigned flags;    // enum app_option_flags
    size_t field;      // offset in the program's values
    double min, max;
    const char *const *(*names)(void); // APP_NAME, APP_NAMES: NULL-terminated list
    const char *const *aliases;        // APP_NAME: alias, name, alias, name, ..., NULL; NULL = none
    const char *const *later;          // APP_NAME: names another program has and this version does not; NULL = none
};

// What becomes of another program's option that this one does not have.
enum app_verdict {
    APP_MEANS_NOTHING, // accepted, with one note for all of them
    APP_OTHER_MODELS,  // refused: it belongs to models that are not for this program
    APP_NOT_YET,       // refused: this version does not have it
};
struct app_other {
    const char *name;
    bool takes_value;
    enum app_verdict verdict;
    const char *why;     // MEANS_NOTHING: the reason; OTHER_MODELS: which; NOT_YET: what is missing
    const char *neutral; // a value that changes nothing, so that it is accepted; NULL = none
};

struct app_command {
    const char *usage; // "sdgen [PROMPT] [options]"
    const char *about; // a line or two
    const char *more;  // end of the complete help; NULL = nothing
    const struct app_option *options;
    size_t count;                   // at most APP_OPTIONS_MAX
    int positionals;                // how many arguments without a dash are taken
    const struct app_other *others; // of `other_program`; NULL = none
    size_t other_count;             // at most APP_OTHERS_MAX
    const char *other_program;
    const char *const *synonyms; // what users try, for suggestions: word, option, word, option, ..., NULL; NULL = none
};

#define APP_OPTIONS_MAX 112
#define APP_OTHERS_MAX 160
#define APP_POSITIONALS_MAX 1024

struct app_arguments {
    bool given[APP_OPTIONS_MAX];
    bool without_meaning[APP_OTHERS_MAX]; // given, of the other program's, and accepted
    const char *positional[APP_POSITIONALS_MAX];
    int positionals;
    bool helped; // the help was printed to stdout, there is nothing to do
};

// Fills `values` (zeroed by the caller) with the defaults, then with what argv says. Texts point into argv.
// SDG_ERROR_USAGE after a message.
enum sdg_result app_parse(const struct app_command *command, struct app_ui *ui, int argc, char **argv, void *values,
                          struct app_arguments *arguments);
// Whether the option of this long name was given. The name must be in the table.
bool app_given(const struct app_command *command, const struct app_arguments *arguments, const char *name);
// Gives an option of the table the value that `text` says, as if it stood on the command line. `text` must stay valid.
enum sdg_result app_set(const struct app_command *command, struct app_ui *ui, const char *name, const char *text,
                        void *values, struct app_arguments *arguments);
// Says in one line which of the other program's options had no effect.
void app_note_others(const struct app_command *command, struct app_ui *ui, const struct app_arguments *arguments);
// Prints the help to stdout, as wide as the terminal.
void app_help(const struct app_command *command, bool complete);

bool app_takes_value(const struct app_option *option);
// What the help says of one option: its sentence, the legal names, with `complete` the range, and the default.
void app_describe(const struct app_option *option, bool complete, char *text, size_t size);

// Whole texts to numbers: no spaces, no hexadecimal, no inf or nan. False on anything else or on overflow.
bool app_read_integer(const char *text, int64_t *value);
bool app_read_seed(const char *text, struct app_seed *seed);
bool app_read_real(const char *text, double *value);
// The entry of a NULL-terminated list that is most like `text`; NULL if none is close.
const char *app_nearest(const char *text, const char *const *names);

#endif
