#include "base/control_group.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096 };

// On the heap: a small stack (ulimit -s) shall do.
struct texts { char line[LINE], v1[LINE], v2[LINE], point[2 * LINE], folder[2 * LINE]; };

// Cuts the text at the first `end` and returns what follows; NULL if there is none.
static char *cut(char *text, const char *end)
{
    char *at = text ? strstr(text, end) : NULL;
    if (!at)
        return NULL;
    *at = 0;
    return at + strlen(end);
}

static bool has_word(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (;; list++) {
        const size_t n = strcspn(list, ",");
        if (n == length && strncmp(list, word, n) == 0)
            return true;
        list += n;
        if (!*list)
            return false;
    }
}

// In place: "\040" is a space.
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        const bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
            from[3] >= '0' && from[3] <= '7';
        *to = octal ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0')) : *from;
        from += octal ? 4 : 1;
    }
    *to = 0;
}

static FILE *open_below(const char *root, const char *path)
{
    char full[1024];
    return (size_t)snprintf(full, sizeof full, "%s%s", root, path) < sizeof full ? fopen(full, "r") : NULL;
}

// The group's path from a line of /proc/self/cgroup: "4:cpu,cpuacct:/a/b" of version 1, "0::/a/b" of version 2.
static bool find_group(const char *root, const char *controller, bool v2, char line[LINE], char path[LINE])
{
    bool found = false;
    FILE *file = open_below(root, "/proc/self/cgroup");
    while (file && !found && fgets(line, LINE, file)) {
        cut(line, "\n");
        char *controllers = cut(line, ":"), *name = cut(controllers, ":");
        found = name && (v2 ? !*controllers : has_word(controllers, controller));
        if (found)
            memcpy(path, name, strlen(name) + 1);
    }
    if (file)
        fclose(file);
    return found;
}

// What is mounted may be a part of the hierarchy, `part`: in a container its own group, of which it may not know that
// it is not the root, so a path that does not lie in there is the part itself.
static void visit(const char *mount, const char *part, const char *path, bool v2, char folder[2 * LINE],
                  sdg_control_group_fn *fn, void *user)
{
    const size_t skipped = strcmp(part, "/") == 0 ? 0 : strlen(part);
    const bool inside =
        strncmp(path, part, skipped) == 0 && (path[skipped] == '/' || !path[skipped]) && !strstr(path + skipped, "/..");
    const int length = snprintf(folder, 2 * LINE, "%s%s", mount, inside ? path + skipped : "");
    if (length >= 2 * LINE)
        return;
    const size_t top = strlen(mount);
    for (;;) {
        fn(user, folder, v2);
        char *slash = strrchr(folder + top, '/');
        if (!slash)
            return;
        *slash = 0;
    }
}

// A line of /proc/self/mountinfo: "36 35 98:0 /part /mount/point rw,noatime master:1 - cgroup source rw,cpu".
struct mount { char *part, *point, *type, *options; };

static bool parse_mount(char *line, struct mount *m)
{
    cut(line, "\n");
    char *source = cut(line, " - ");
    m->type = source;
    m->options = cut(cut(source, " "), " ");
    m->part = cut(cut(cut(line, " "), " "), " ");
    m->point = cut(m->part, " ");
    if (!m->options || !cut(m->point, " "))
        return false;
    unescape(m->part);
    unescape(m->point);
    return true;
}

void sdg_control_groups(const char *root, const char *controller, sdg_control_group_fn *fn, void *user)
{
    struct texts *t = malloc(sizeof *t);
    if (!t)
        return;
    const bool has_v1 = find_group(root, controller, false, t->line, t->v1),
               has_v2 = find_group(root, "", true, t->line, t->v2);
    FILE *file = open_below(root, "/proc/self/mountinfo");
    while (file && fgets(t->line, sizeof t->line, file)) {
        struct mount m;
        if (!parse_mount(t->line, &m))
            continue;
        const bool v2 = strcmp(m.type, "cgroup2") == 0,
                   v1 = strcmp(m.type, "cgroup") == 0 && has_word(m.options, controller);
        snprintf(t->point, sizeof t->point, "%s%s", root, m.point);
        if ((v2 && has_v2) || (v1 && has_v1))
            visit(t->point, m.part, v2 ? t->v2 : t->v1, v2, t->folder, fn, user);
    }
    if (file)
        fclose(file);
    free(t);
}

bool sdg_control_group_numbers(const char *folder, const char *name, int count, double *numbers)
{
    char path[LINE + 64];
    int found = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    while (file && found < count && fscanf(file, "%lf", &numbers[found]) == 1)
        found++;
    if (file)
        fclose(file);
    return found == count;
}

// ---- processors ----

// Microseconds of processor time per period: cpu.max is "quota period"; a quota of -1, or "max", is none.
static void narrow_cpus(void *user, const char *folder, bool v2)
{
    int *cpus = user;
    double numbers[2]; // quota, period
    const bool read = v2 ? sdg_control_group_numbers(folder, "cpu.max", 2, numbers)
                         : sdg_control_group_numbers(folder, "cpu.cfs_quota_us", 1, numbers) &&
            sdg_control_group_numbers(folder, "cpu.cfs_period_us", 1, numbers + 1);
    if (!read || !(numbers[0] > 0) || !(numbers[1] > 0) || numbers[0] / numbers[1] >= INT_MAX)
        return;
    const double share = numbers[0] / numbers[1];
    const int whole = (int)share, up = whole + (share > whole);
    *cpus = *cpus == 0 || up < *cpus ? up : *cpus;
}

int sdg_control_group_cpus(const char *root)
{
    int cpus = 0;
    sdg_control_groups(root, "cpu", narrow_cpus, &cpus);
    return cpus;
}
