// What the UNet is asked at each step: one branch per prompt, which change from step to step, and how many run at once.
#ifndef SDG_PIPELINE_BRANCHES_H
#define SDG_PIPELINE_BRANCHES_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

// Answers of one call of the model: the negative prompt's first, where there is guidance, then one for each part of the
// prompt (AND). They become
//     negative + sum of scale weight[i] (part[i] - negative)
// (composable diffusion, Liu et al. 2022), or just the only one.
struct sdg_branches { // owned; sdg_branches_clear. Zeroed = empty
    int count;        // >= 1
    bool guided;      // the first one is the negative prompt
    int steps;        // of the sampler that are run
    int *at;          // [steps][count] indices into texts
    float *weights;   // [count], of the parts; unused for the negative prompt
    char **texts;     // [text_count], those of the negative prompt first
    int text_count, negative_texts;
};

// Whether a prompt needs the negative prompt's branch at any scale: it has several parts, or one with a weight.
bool sdg_branches_composed(const char *prompt, bool plain);

// `guided`: with the negative prompt. `steps`: that are run, of `asked`. SDG_ERROR_USAGE as
// sdg_prompt_schedule_create. On failure *out is empty.
enum sdg_result sdg_branches_create(const struct sdg_log *log, const char *prompt, const char *negative, bool plain,
                                    bool guided, int steps, int asked, struct sdg_branches *out);
void sdg_branches_clear(struct sdg_branches *branches);

// The branches of a step share runs of the UNet, `batch` in each; the last one repeats its last branch where it is not
// full. A group is what one run asks; most prompts have one for all steps.
struct sdg_branch_groups { // owned; sdg_branch_groups_clear. Zeroed = empty
    int batch, runs;       // of a call: count / batch, rounded up
    int count;
    int *text; // [count][batch]
    int *at;   // [steps][runs] indices of groups
};
enum sdg_result sdg_branch_groups_create(const struct sdg_log *log, const struct sdg_branches *branches, int batch,
                                         struct sdg_branch_groups *out);
void sdg_branch_groups_clear(struct sdg_branch_groups *groups);

#endif
