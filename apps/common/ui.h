// What every program says to its user: messages and progress on stderr, exit codes, and what Ctrl-C does.
//
// Pictures and lists go to stdout, all talk to stderr. An error is one line, "PROGRAM: error: what, where, why".
#ifndef SDG_APPS_UI_H
#define SDG_APPS_UI_H

#include <stdbool.h>

#include "base/log.h"
#include "sdgen/sdgen.h"

struct app_ui {
    const char *program;
    enum sdg_log_level level; // what is said at all: -q SDG_LOG_ERROR, usual SDG_LOG_INFO, -v SDG_LOG_DEBUG
    bool color;               // colour the words "error" and "warning"
    bool terminal;            // stderr is one: progress is a line rewritten in place
    bool bar;                 // such a line is on the screen now
    int last_mark;            // the last fifth of the steps that was told in plain lines
    int last_image;           // of this picture
    struct sdg_log log;       // of app_log_of
};

// A user interface on stderr at the usual level. To be called first: it also takes what nobody should follow out of the
// environment.
struct app_ui app_ui_create(const char *program);

// Reports an error and returns `result`. Control characters in the line are replaced, so it stays one line.
enum sdg_result app_fail(struct app_ui *ui, enum sdg_result result, const char *format, ...) SDG_PRINTF(3, 4);
// Says something at a level above errors.
void app_say(struct app_ui *ui, enum sdg_log_level level, const char *format, ...) SDG_PRINTF(3, 4);
// The log callback for the library; `user` is the struct app_ui. May be called from any thread.
void app_log(void *user, enum sdg_log_level level, const char *message);

// The same as a log for base/; valid as long as *ui, which must not move meanwhile.
const struct sdg_log *app_log_of(struct app_ui *ui);

// Shows how far the library is. On a terminal a bar with the time left, else a line for every fifth of the steps.
void app_progress(struct app_ui *ui, const struct sdg_progress *progress);
// Columns of the terminal behind a file descriptor, else what $COLUMNS says, else `otherwise`; 20 to 110.
int app_width(int fd, int otherwise);
// Removes the bar.
void app_progress_end(struct app_ui *ui);

// The documented exit status of a result.
int app_exit_status(enum sdg_result result);
// The paragraph about exit codes for the help.
extern const char app_exit_help[];

// From here on SIGINT, SIGTERM and SIGHUP end the program with status 130, and a mapped file that lost its end ends it
// with a line and status 2; unfinished outputs are removed. Closed pipes and limits of file sizes are failed writes.
// *ui must stay where it is.
void app_signals_install(const struct app_ui *ui);
// From here on (or no more) the first of those signals only makes app_interrupted() true, and says that work stops; the
// second one ends the program.
void app_signals_cancellable(bool yes);
bool app_interrupted(void);

#endif
