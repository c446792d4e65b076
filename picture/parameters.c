// How a picture was made, as text: prompt, "Negative prompt: ...", then one line of "Key: value" entries between
// commas. A value that has a comma, a colon, a quote or a line end stands in quotes, escaped as in JSON.
#include "sdgen/picture.h"

#include "base/hash.h"
#include "base/file.h"
#include "base/memory.h"
#include "scheduler/sampler.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char negative_mark[] = "Negative prompt: ", steps_mark[] = "Steps: ";

// ---- labels: what the text calls a sampler or a schedule; names that nobody knows stay as they are ----

static const char *sampler_label(const char *name)
{
    int method = sdg_method_from_name(name);
    return method < 0 ? name : sdg_method_label((enum sdg_method)method);
}

static const char *schedule_label(const char *name)
{
    int schedule = sdg_schedule_from_name(name);
    return schedule < 0 ? name : sdg_schedule_label((enum sdg_schedule)schedule);
}

static const char *sampler_name(const char *label)
{
    for (int i = 0; i < SDG_METHOD_COUNT; i++)
        if (strcasecmp(label, sdg_method_label((enum sdg_method)i)) == 0)
            return sdg_method_name((enum sdg_method)i);
    return label;
}

static const char *schedule_name(const char *label)
{
    for (int i = 0; i < SDG_SCHEDULE_COUNT; i++)
        if (strcasecmp(label, sdg_schedule_label((enum sdg_schedule)i)) == 0)
            return sdg_schedule_name((enum sdg_schedule)i);
    return label;
}

// ---- writing ----

// Entries of the last line, as they come.
struct printer {
    FILE *to;
    bool begun;
};

static void key(struct printer *p, const char *name)
{
    fprintf(p->to, "%s%s: ", p->begun ? ", " : "\n", name);
    p->begun = true;
}

static void put_quoted(FILE *to, const char *value)
{
    fputc('"', to);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', to);
        if (*value == '\n')
            fputs("\\n", to);
        else
            fputc(*value, to);
    }
    fputc('"', to);
}

static void put_text(struct printer *p, const char *name, const char *value)
{
    if (!value)
        return;
    key(p, name);
    size_t length = strlen(value);
    if (strpbrk(value, ",:\"\n") || !length || value[0] == ' ' || value[length - 1] == ' ')
        put_quoted(p->to, value);
    else
        fputs(value, p->to);
}

static void put_whole(struct printer *p, const char *name, int value)
{
    if (!value)
        return;
    key(p, name);
    fprintf(p->to, "%d", value);
}

static void put_number(struct printer *p, const char *name, struct sdg_number number)
{
    if (!number.given)
        return;
    key(p, name);
    fprintf(p->to, "%.10g", number.value);
}

// Texts that are stored as they are, in the order in which they are written.
#define TEXT(label, field) {label, offsetof(struct sdg_picture_parameters, field), false}
#define PATH(label, field) {label, offsetof(struct sdg_picture_parameters, field), true}
static const struct text_entry {
    const char *label;
    size_t field;
    bool path; // of which the last part is written: folders are nobody else's business
} texts[] = {
    TEXT("Model", model),
    PATH("VAE", vae),
    TEXT("Sigmas", sigmas),
    PATH("Init image", init_image),
    TEXT("Init image hash", init_image_hash),
    TEXT("Init alpha color", init_alpha_color),
    PATH("Mask", mask),
    TEXT("Mask hash", mask_hash),
    PATH("Noise", noise),
    TEXT("Noise hash", noise_hash),
    TEXT("Quantization", scheme),
    TEXT("Prediction", prediction),
    TEXT("VAE tile size", tile_size),
    TEXT("Type", type),
    TEXT("Backend", backend),
    TEXT("RNG", rng),
    TEXT("Sampler RNG", sampler_rng),
    TEXT("Version", version),
};
#undef TEXT
#undef PATH
enum { TEXTS = sizeof texts / sizeof *texts, BEFORE_NUMBERS = 2 };

static const char *text_of(const struct sdg_picture_parameters *p, const struct text_entry *entry)
{
    const char *value;
    memcpy(&value, (const char *)p + entry->field, sizeof value);
    return value;
}

// A folder keeps its whole path.
static const char *file_name(const char *path)
{
    const char *name = sdg_path_name(path);
    return *name ? name : path;
}

static void put_texts(struct printer *out, const struct sdg_picture_parameters *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const char *value = text_of(p, &texts[i]);
        put_text(out, texts[i].label, value && texts[i].path ? file_name(value) : value);
    }
}

static void put_all(FILE *to, const struct sdg_picture_parameters *p)
{
    struct printer out = {.to = to};
    fputs(p->prompt ? p->prompt : "", to);
    if (p->negative_prompt && *p->negative_prompt)
        fprintf(to, "\n%s%s", negative_mark, p->negative_prompt);
    key(&out, "Steps"); // always there: readers know the line by it
    fprintf(to, "%d", p->steps);
    put_text(&out, "Sampler", p->sampler ? sampler_label(p->sampler) : NULL);
    put_text(&out, "Schedule type", p->schedule ? schedule_label(p->schedule) : NULL);
    put_number(&out, "CFG scale", p->cfg_scale);
    if (p->seed_given) {
        key(&out, "Seed");
        fprintf(to, "%llu", (unsigned long long)p->seed);
    }
    if (p->width > 0 && p->height > 0) {
        key(&out, "Size");
        fprintf(to, "%dx%d", p->width, p->height);
    }
    put_texts(&out, p, 0, BEFORE_NUMBERS);
    put_number(&out, "Denoising strength", p->strength);
    put_whole(&out, "Clip skip", p->clip_skip);
    put_number(&out, "Eta", p->eta);
    put_text(&out, "Prompt syntax", p->plain_prompt ? "plain" : NULL);
    put_text(&out, "Unmasked", p->unmasked_changed ? "changed" : NULL);
    put_text(&out, "Correction", p->no_correction ? "off" : NULL);
    put_text(&out, "Intervals", p->resampled_intervals ? "resample" : NULL);
    put_number(&out, "VAE tile overlap", p->tile_overlap);
    put_texts(&out, p, BEFORE_NUMBERS, TEXTS);
}

void sdg_picture_hash(const void *data, size_t size, char out[17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)sdg_hash_bytes(SDG_HASH_START, data, size));
}

enum sdg_result sdg_picture_parameters_write(const struct sdg_log *log, const struct sdg_picture_parameters *p,
                                             char **text)
{
    size_t size = 0;
    char *written = NULL;
    SDG_REQUIRE(log, text, "text");
    *text = NULL;
    SDG_REQUIRE(log, p, "parameters");
    FILE *to = open_memstream(&written, &size);
    if (to)
        put_all(to, p);
    if (!to || fclose(to) || !written) {
        free(written);
        return sdg_fail(log, SDG_ERROR_MEMORY, "not enough memory for the parameters of a picture");
    }
    *text = written; // sdg_free is free
    return SDG_OK;
}

// ---- reading ----

// What a read text is made of, in one allocation. Texts lie in `text`, a copy that is cut into pieces; behind it there
// is as much room again for `others`.
struct owned {
    struct sdg_picture_parameters parameters; // first: the handle
    char *others;
    char text[];
};

// A line that begins with `mark`, the first or the last one; NULL if there is none.
static char *find_line(char *text, const char *mark, bool last)
{
    char *found = NULL;
    for (char *line = text; line && (last || !found); line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, mark, strlen(mark)) == 0)
            found = line;
    }
    return found;
}

// Takes away a line and what follows it. False if the text begins with it: then nothing is left, and nothing is cut.
static bool cut_before(char *text, char *line)
{
    if (line == text)
        return false;
    line[-1] = 0;
    return true;
}

// Takes the quotes off a value in place; returns what follows it.
static char *unquote(char *value)
{
    char *from = value + 1, *to = value;
    for (; *from && *from != '"'; from++) {
        bool escaped = *from == '\\' && from[1];
        from += escaped;
        *to++ = escaped && *from == 'n' ? '\n' : *from;
    }
    char *end = from + (*from == '"');
    *to = 0;
    return end;
}

// The next entry of *at, cut out in place; false at the end.
static bool next_entry(char **at, char **name, char **value)
{
    char *c = *at + strspn(*at, " ,"), *colon = strchr(c, ':');
    if (!*c || !colon)
        return false;
    *colon = 0;
    *name = c;
    *value = colon + 1 + strspn(colon + 1, " ");
    char *rest = **value == '"' ? unquote(*value) : *value, *end = rest + strcspn(rest, ",");
    *at = end + (*end == ',');
    if (rest == *value)
        *end = 0;
    return true;
}

static enum sdg_result no_number(const struct sdg_log *log, const char *name, const char *value)
{
    return sdg_fail(log, SDG_ERROR_INPUT, "parameters of a picture: %s is '%s', which is no number for it", name,
                    value);
}

static enum sdg_result read_number(const struct sdg_log *log, const char *name, const char *value,
                                   struct sdg_number *out)
{
    char *end;
    *out = sdg_number(strtod(value, &end));
    if (end == value || *end || !isfinite(out->value))
        return no_number(log, name, value);
    return SDG_OK;
}

// A whole number of lo..hi at the beginning of the text; *end is what follows it.
static bool read_whole(const char *value, int64_t lo, int64_t hi, int64_t *out, char **end)
{
    errno = 0;
    long long number = strtoll(value, end, 10);
    *out = number;
    return *end != value && errno == 0 && number >= lo && number <= hi;
}

static enum sdg_result read_int(const struct sdg_log *log, const char *name, const char *value, int *out)
{
    int64_t number;
    char *end;
    if (!read_whole(value, 0, INT32_MAX, &number, &end) || *end)
        return no_number(log, name, value);
    *out = (int)number;
    return SDG_OK;
}

static enum sdg_result read_size(const struct sdg_log *log, const char *name, const char *value,
                                 struct sdg_picture_parameters *p)
{
    int64_t width, height;
    char *end;
    if (!read_whole(value, 1, SDG_PICTURE_SIDE, &width, &end) || *end != 'x' ||
        !read_whole(end + 1, 1, SDG_PICTURE_SIDE, &height, &end) || *end)
        return no_number(log, name, value);
    p->width = (int)width;
    p->height = (int)height;
    return SDG_OK;
}

// Old pictures of the web interface have the schedule in the sampler's name: "DPM++ 2M Karras".
static void read_sampler(struct sdg_picture_parameters *p, char *value)
{
    p->sampler = sampler_name(value);
    for (int i = 0; i < SDG_SCHEDULE_COUNT && p->sampler == value; i++) {
        const char *label = sdg_schedule_label((enum sdg_schedule)i);
        size_t length = strlen(value), end = strlen(label);
        if (length <= end + 1 || value[length - end - 1] != ' ' || strcasecmp(value + length - end, label) != 0)
            continue;
        value[length - end - 1] = 0;
        p->sampler = sampler_name(value);
        if (p->sampler == value)
            value[length - end - 1] = ' '; // not that either
        else if (!p->schedule)
            p->schedule = sdg_schedule_name((enum sdg_schedule)i);
    }
}

// Entries that say nothing about how the picture looks.
static bool is_remark(const char *name)
{
    static const char *const remarks[] = {"Model hash", "VAE hash",   "Lora hashes", "TI hashes", "Hashes",
                                          "User",       "Time taken", "Size-1",      "Size-2"};
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (strcmp(name, remarks[i]) == 0)
            return true;
    return false;
}

static void add_other(struct owned *o, const char *name)
{
    if (is_remark(name))
        return;
    const char *separator = o->parameters.others ? ", " : "";
    if (!o->parameters.others)
        o->parameters.others = o->others;
    o->others += sprintf(o->others, "%s%s", separator, name);
}

static enum sdg_result read_seed(const struct sdg_log *log, const char *name, const char *value,
                                 struct sdg_picture_parameters *p)
{
    char *end;
    errno = 0;
    p->seed = strtoull(value, &end, 10); // -5 becomes 2^64 - 5, whose noise is the same
    if (end == value || *end || errno)
        return no_number(log, name, value);
    p->seed_given = true;
    return SDG_OK;
}

static enum sdg_result read_entry(const struct sdg_log *log, struct owned *o, const char *name, char *value)
{
    struct sdg_picture_parameters *p = &o->parameters;
    for (size_t i = 0; i < TEXTS; i++)
        if (strcmp(name, texts[i].label) == 0) {
            const char *text = value;
            memcpy((char *)p + texts[i].field, &text, sizeof text);
            return SDG_OK;
        }
    if (strcmp(name, "Sampler") == 0)
        read_sampler(p, value);
    else if (strcmp(name, "Schedule type") == 0)
        p->schedule = schedule_name(value);
    else if (strcmp(name, "Prompt syntax") == 0)
        p->plain_prompt = strcmp(value, "plain") == 0;
    else if (strcmp(name, "Unmasked") == 0)
        p->unmasked_changed = strcmp(value, "changed") == 0;
    else if (strcmp(name, "Correction") == 0)
        p->no_correction = strcmp(value, "off") == 0;
    else if (strcmp(name, "Intervals") == 0)
        p->resampled_intervals = strcmp(value, "resample") == 0;
    else if (strcmp(name, "Steps") == 0)
        return read_int(log, name, value, &p->steps);
    else if (strcmp(name, "Clip skip") == 0)
        return read_int(log, name, value, &p->clip_skip);
    else if (strcmp(name, "Size") == 0)
        return read_size(log, name, value, p);
    else if (strcmp(name, "CFG scale") == 0)
        return read_number(log, name, value, &p->cfg_scale);
    else if (strcmp(name, "Denoising strength") == 0)
        return read_number(log, name, value, &p->strength);
    else if (strcmp(name, "Eta") == 0)
        return read_number(log, name, value, &p->eta);
    else if (strcmp(name, "VAE tile overlap") == 0)
        return read_number(log, name, value, &p->tile_overlap);
    else if (strcmp(name, "Seed") == 0)
        return read_seed(log, name, value, p);
    else
        add_other(o, name);
    return SDG_OK;
}

static enum sdg_result read_all(const struct sdg_log *log, struct owned *o)
{
    char *entries = find_line(o->text, steps_mark, true), *name, *value;
    bool prompts = !entries || cut_before(o->text, entries);
    char *negative = prompts ? find_line(o->text, negative_mark, false) : NULL;
    if (negative)
        o->parameters.negative_prompt = negative + strlen(negative_mark);
    bool prompt = prompts && (!negative || cut_before(o->text, negative));
    o->parameters.prompt = prompt ? o->text : "";
    enum sdg_result result = SDG_OK;
    while (entries && result == SDG_OK && next_entry(&entries, &name, &value))
        result = read_entry(log, o, name, value);
    return result;
}

enum sdg_result sdg_picture_parameters_read(const struct sdg_log *log, const char *text,
                                            struct sdg_picture_parameters **out)
{
    SDG_REQUIRE(log, out, "out");
    *out = NULL;
    SDG_REQUIRE(log, text, "text");
    size_t bytes = strlen(text) + 1;
    struct owned *o = sdg_alloc(log, 1, sizeof *o + 2 * bytes, "the parameters of a picture");
    if (!o)
        return SDG_ERROR_MEMORY;
    memcpy(o->text, text, bytes);
    o->others = o->text + bytes;
    enum sdg_result result = read_all(log, o);
    if (result != SDG_OK) {
        sdg_free(o);
        return result;
    }
    *out = &o->parameters;
    return SDG_OK;
}

void sdg_picture_parameters_destroy(struct sdg_picture_parameters **parameters)
{
    if (!parameters)
        return;
    sdg_free(*parameters);
    *parameters = NULL;
}
