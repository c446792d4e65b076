// What is odd about a prompt as it is written. What is wrong with it says sdg_check_prompt of sdgen/sdgen.h.
#ifndef SDG_TEXT_PROMPT_CHECK_H
#define SDG_TEXT_PROMPT_CHECK_H

#include "base/log.h"

#include <stdbool.h>

// Says in one warning what is drawn as text although it looks like A1111 syntax: weights that are no number, brackets
// without their counterpart, [a:b] without a number, a weight without brackets; and in a negative prompt AND. Switches
// that are never reached in `steps` of `asked` steps are said too. `negative`: of which prompt it is.
void sdg_prompt_warn(const struct sdg_log *log, const char *prompt, bool negative, int steps, int asked);

#endif
