// The table of options as other programs want it: a manual page, and what a shell needs to complete a command line.
#ifndef SDG_APPS_MANUAL_H
#define SDG_APPS_MANUAL_H

#include "options.h"

// What app_manual can write: "man" (a page of section 1, in man(7)'s macros), "bash", "zsh", "fish". NULL-terminated.
const char *const *app_manual_formats(void);
// Prints to stdout. `format` is one of the list.
void app_manual(const struct app_command *command, const char *format);

#endif
