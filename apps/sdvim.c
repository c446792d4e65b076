// sdvim: classifies pictures with a Vision Mamba network, and counts how many are right where that is known.
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/decibel.h"
#include "common/examples.h"
#include "common/frame.h"
#include "common/output.h"
#include "common/report.h"
#include "sdgen/array.h"
#include "sdgen/classify.h"

struct values {
    const char *model, *backend, *type, *disable, *cpu_mask, *json, *logits, *against;
    int64_t threads, batch;
    bool verbose, quiet;
};

#define APP_VALUES struct values
#define APP_FIELDS , .group = "Options"
#include "common/fields.h"

static const struct app_option table[] = {
    {'m', "model", FILE_NAME(model, "DIR"), .flags = APP_COMMON, .otherwise = "needed",
     .help = "folder of a Vision Mamba classifier, full precision or written by sdquant"},
    {0, "backend", FILE_NAME(backend, "NAME"), .flags = APP_COMMON, .initial = "auto",
     .help = "auto, cpu, vulkan, vulkan:N, reference"},
    {0, "type", NAME(type, app_type_names), .flags = APP_COMMON, .initial = "f32", .help = "arithmetic"},
    {'b', "batch", INTEGER(batch, 1, 4096), .flags = APP_COMMON, .initial = "64", .help = "pictures at once"},
    {'t', "threads", INTEGER(threads, -1, 1024), .flags = APP_COMMON, .initial = "-1",
     .help = "CPU threads; -1 or 0 = one a core, of those that affinity and a container's quota leave"},
    {0, "json", FILE_NAME(json, "FILE"), .flags = APP_COMMON, .otherwise = "none",
     .help = "the classes, and how many are right, as JSON"},
    {0, "logits", FILE_NAME(logits, "FILE"), .flags = APP_COMMON, .otherwise = "none",
     .help = "the network's answers, an array \"logits\" [pictures, classes] (.npy or .safetensors)"},
    {0, "against", FILE_NAME(against, "FILE"), .flags = APP_COMMON, .otherwise = "none",
     .help = "such logits of another run over the same pictures, the full-precision network's, say: also print how far "
             "the answers are from them"},
    {0, "disable-features", NAMES(disable, app_feature_names), .otherwise = "none",
     .help = "what the device has and is not to use"},
    {0, "cpu-mask", FILE_NAME(cpu_mask, "NAME"), .otherwise = "all there are",
     .help = "instruction sets that the CPU's kernels may use at most"},
    {'q', "quiet", FLAG(quiet), .flags = APP_COMMON, .help = "only errors, and what goes to standard output"},
    {'v', "verbose", FLAG(verbose), .flags = APP_COMMON, .help = "say more"},
    {'h', "help", HELP, .group = "Options", .help = "print this"},
    {0, "help-all", HELP_ALL, .group = "Options", .help = "print this with ranges and exit codes"},
    {0, "help-as", HELP_AS, .group = "Options",
     .help = "print this as a manual page, or as what a shell completes it by"},
};

static const struct app_command command = {
    .usage = "sdvim -m DIR FILE [FILE ..] [options]",
    .about = "Classifies pictures with a Vision Mamba network (arXiv 2401.09417).\n"
             "FILE: a picture, scaled to the model's size; NAME.npy, an array of pictures [n, side, side], from 0 to "
             "the model's white;\n"
             "or NAME.safetensors with such an array \"pictures\", and with \"labels\", of which it counts the ones "
             "that come out right.",
    .options = table,
    .count = sizeof table / sizeof *table,
    .positionals = APP_POSITIONALS_MAX,
};

// The answers to all files, one after the other.
struct answers {
    struct answer {
        const char *path;
        size_t index, files_pictures; // in its file
        int label, class;             // label -1: unknown
        double probability;
    } *all;
    float *logits; // [count][classes]
    size_t count, labelled, right;
    double cross_entropy; // sum over the labelled pictures of -log of their class's probability
    double seconds;       // of the network
};

// How far answers are from those of another network, both as numbers and as probabilities.
struct distance {
    double sqnr;    // dB, of all logits; the other network's are the signal
    double kl;      // mean over pictures of sum over classes of p log(p / q), p the other network's probabilities
    size_t changed; // pictures that get another class
};

// -------------------------------------------------------------------------------------------------- classifying

static int likeliest(const float *logits, int classes)
{
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[best])
            best = c;
    return best;
}

// Of the softmax.
static double log_probability(const float *logits, int classes, int class)
{
    const double largest = (double)logits[likeliest(logits, classes)];
    double sum = 0;
    for (int c = 0; c < classes; c++)
        sum += exp((double)logits[c] - largest);
    return (double)logits[class] - largest - log(sum);
}

static struct answer judge(const float *logits, int classes)
{
    struct answer a = {.label = -1, .class = likeliest(logits, classes)};
    a.probability = exp(log_probability(logits, classes, a.class));
    return a;
}

static struct distance measure(const float *other, const float *logits, size_t count, int classes)
{
    struct distance d = {0};
    double signal = 0, noise = 0;
    for (size_t i = 0; i < count; i++) {
        const float *p = other + i * (size_t)classes, *q = logits + i * (size_t)classes;
        d.changed += likeliest(p, classes) != likeliest(q, classes);
        for (int c = 0; c < classes; c++) {
            const double log_p = log_probability(p, classes, c), error = (double)p[c] - (double)q[c];
            d.kl += exp(log_p) * (log_p - log_probability(q, classes, c)) / (double)count;
            signal += (double)p[c] * (double)p[c];
            noise += error * error;
        }
    }
    d.sqnr = sdg_decibel(signal, noise);
    return d;
}

static enum sdg_result compare(struct app_ui *ui, const char *path, const struct answers *answers, int classes,
                               struct distance *out)
{
    struct sdg_array *other;
    enum sdg_result result = sdg_array_read(app_log_of(ui), path, NULL, &other);
    if (result != SDG_OK)
        return result;
    if (other->dims == 2 && other->shape[0] == (int64_t)answers->count && other->shape[1] == classes)
        *out = measure(other->data, answers->logits, answers->count, classes);
    else
        result = app_fail(ui, SDG_ERROR_INPUT, "%s: does not hold logits of these pictures, an array [%zu, %d]", path,
                          answers->count, classes);
    sdg_array_destroy(&other);
    return result;
}

static enum sdg_result grow(struct app_ui *ui, struct answers *answers, size_t more, size_t classes)
{
    const size_t count = answers->count + more;
    struct answer *all = realloc(answers->all, count * sizeof *all);
    answers->all = all ? all : answers->all;
    float *logits = realloc(answers->logits, count * classes * sizeof *logits);
    answers->logits = logits ? logits : answers->logits;
    return all && logits ? SDG_OK : app_fail(ui, SDG_ERROR_MEMORY, "not enough memory for %zu answers", count);
}

static enum sdg_result classify_examples(struct app_ui *ui, struct sdg_classifier *classifier, int classes,
                                         const char *path, const struct app_examples *examples, struct answers *answers)
{
    enum sdg_result result = grow(ui, answers, examples->count, (size_t)classes);
    float *logits = result == SDG_OK ? answers->logits + answers->count * (size_t)classes : NULL;
    const double start = sdg_clock();
    if (result == SDG_OK)
        result = sdg_classify(classifier, examples->pictures, examples->count, logits);
    answers->seconds += sdg_clock() - start;
    for (size_t i = 0; i < examples->count && result == SDG_OK; i++) {
        struct answer *a = &answers->all[answers->count++];
        *a = judge(logits + i * (size_t)classes, classes);
        a->path = path;
        a->index = i;
        a->files_pictures = examples->count;
        if (!examples->labels)
            continue;
        a->label = examples->labels[i];
        answers->labelled++;
        answers->right += a->label == a->class;
        answers->cross_entropy -= log_probability(logits + i * (size_t)classes, classes, a->label);
    }
    return result;
}

static enum sdg_result classify_file(struct app_ui *ui, struct sdg_classifier *classifier, const char *path,
                                     struct answers *answers)
{
    struct sdg_classifier_info info;
    struct app_examples examples;
    sdg_classifier_info(classifier, &info);
    enum sdg_result result = app_examples_read(ui, path, &info, &examples);
    if (result != SDG_OK)
        return result;
    result = classify_examples(ui, classifier, info.classes, path, &examples, answers);
    app_examples_free(&examples);
    return result;
}

// -------------------------------------------------------------------------------------------------- results

static void print(const struct app_ui *ui, const struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct answer *a = &answers->all[i];
        if (a->label >= 0 && (a->label == a->class || ui->level < SDG_LOG_DEBUG))
            continue;
        printf("%s", a->path);
        if (a->files_pictures > 1)
            printf("[%zu]", a->index);
        printf(": %d, %.1f %%", a->class, 100 * a->probability);
        if (a->label >= 0)
            printf(", should be %d", a->label);
        putchar('\n');
    }
    if (answers->labelled)
        printf("top-1 %zu of %zu, %.2f %%, cross-entropy %.5f\n", answers->right, answers->labelled,
               100 * (double)answers->right / (double)answers->labelled,
               answers->cross_entropy / (double)answers->labelled);
}

static void write_answers(FILE *file, const struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct answer *a = &answers->all[i];
        fprintf(file, "%s\n    {\"file\": ", i ? "," : "");
        report_json_text(file, a->path);
        fprintf(file, ", \"index\": %zu, \"class\": %d, \"probability\": ", a->index, a->class);
        report_json_number(file, a->probability);
        if (a->label >= 0)
            fprintf(file, ", \"label\": %d", a->label);
        fputc('}', file);
    }
}

static enum sdg_result write_json(struct app_ui *ui, const struct values *values,
                                  const struct sdg_classifier_info *info, const struct answers *answers,
                                  const struct distance *distance)
{
    struct sdg_output *output;
    enum sdg_result result = app_output_open(ui, values->json, &output);
    if (result != SDG_OK)
        return result;
    FILE *file = sdg_output_file(output);
    fputs("{\n  \"model\": ", file);
    report_json_text(file, values->model);
    fputs(", \"scheme\": ", file);
    if (info->scheme)
        report_json_text(file, info->scheme);
    else
        fputs("null", file);
    fprintf(file, ", \"backend\": \"%s\", \"type\": \"%s\", \"seconds\": ", info->backend, info->type);
    report_json_number(file, answers->seconds);
    fprintf(file, ",\n  \"labelled\": %zu, \"right\": %zu, \"top1\": ", answers->labelled, answers->right);
    report_json_number(file, answers->labelled ? (double)answers->right / (double)answers->labelled : NAN);
    fputs(", \"cross_entropy\": ", file);
    report_json_number(file, answers->labelled ? answers->cross_entropy / (double)answers->labelled : NAN);
    if (values->against) {
        fputs(",\n  \"against\": {\"file\": ", file);
        report_json_text(file, values->against);
        fputs(", \"sqnr\": ", file);
        report_json_number(file, distance->sqnr);
        fputs(", \"kl\": ", file);
        report_json_number(file, distance->kl);
        fprintf(file, ", \"changed\": %zu}", distance->changed);
    }
    fputs(",\n  \"answers\": [", file);
    write_answers(file, answers);
    fputs("]\n}\n", file);
    return sdg_output_commit(&output);
}

static enum sdg_result write_results(struct app_ui *ui, const struct values *values,
                                     const struct sdg_classifier_info *info, const struct answers *answers)
{
    const struct sdg_array logits = {"logits", 2, {(int64_t)answers->count, info->classes}, answers->logits};
    struct distance distance = {0};
    enum sdg_result result = SDG_OK;
    if (values->against)
        result = compare(ui, values->against, answers, info->classes, &distance);
    if (result != SDG_OK)
        return result;
    print(ui, answers);
    if (values->against)
        printf("against %s: SQNR %.2f dB, KL divergence %.6f, %zu of %zu pictures get another class\n", values->against,
               distance.sqnr, distance.kl, distance.changed, answers->count);
    if (values->logits)
        result = sdg_arrays_write(app_log_of(ui), values->logits, &logits, 1);
    if (result == SDG_OK && values->json)
        result = write_json(ui, values, info, answers, &distance);
    return result;
}

// -------------------------------------------------------------------------------------------------- the command

static enum sdg_result check(struct app_ui *ui, const struct values *values, const struct app_arguments *arguments)
{
    enum sdg_result result = SDG_OK;
    if (!values->model)
        return app_fail(ui, SDG_ERROR_USAGE, "a model is needed: -m DIR, such as models/vim-digits");
    if (!arguments->positionals)
        return app_fail(ui, SDG_ERROR_USAGE, "no picture is named: sdvim -m DIR FILE");
    if (values->logits)
        result = sdg_array_check_name(app_log_of(ui), values->logits);
    if (result == SDG_OK && values->logits)
        result = app_output_check(ui, values->logits);
    if (result == SDG_OK && values->json)
        result = app_output_check(ui, values->json);
    return result;
}

static enum sdg_result run(struct app_ui *ui, const void *given, const struct app_arguments *arguments)
{
    const struct values *values = given;
    const struct sdg_classifier_params params = {
        .model = values->model,
        .backend = values->backend,
        .type = values->type,
        .threads = values->threads > 0 ? (int)values->threads : 0,
        .batch = (int)values->batch,
        .disable = values->disable,
        .cpu_mask = values->cpu_mask,
        .log = {app_log, ui, ui->level},
    };
    struct sdg_classifier *classifier = NULL;
    struct sdg_classifier_info info;
    struct answers answers = {0};
    enum sdg_result result = check(ui, values, arguments);
    if (result == SDG_OK)
        result = sdg_classifier_create(&params, &classifier);
    for (int i = 0; i < arguments->positionals && result == SDG_OK; i++)
        result = classify_file(ui, classifier, arguments->positional[i], &answers);
    if (result == SDG_OK) {
        sdg_classifier_info(classifier, &info);
        result = write_results(ui, values, &info, &answers);
    }
    sdg_classifier_destroy(&classifier);
    free(answers.all);
    free(answers.logits);
    return result;
}

int main(int argc, char **argv)
{
    static struct values values;
    const struct app_program program = {"sdvim", &command, &values, &values.quiet, &values.verbose, run};
    return app_main(&program, argc, argv);
}
