#include "scheduler/schedule.h"

#include "base/memory.h"

#include <math.h>

#define PI 3.14159265358979323846
#define SMALLEST_ALPHA 0x1p-24f // stands for an alpha of zero, as in diffusers

// ---- levels of training ---------------------------------------------------------------------------------------------

// torch.linspace(first, last, count)[i]: from both ends, in float with a fused product.
static float linspace_float(float first, float last, int count, int i)
{
    float step = count > 1 ? (last - first) / (float)(count - 1) : 0;
    return i < count / 2 ? fmaf(step, (float)i, first) : fmaf(-step, (float)(count - 1 - i), last);
}

static double cosine_alpha(double t) // Nichol and Dhariwal 2021, eq. 17
{
    double c = cos((t + 0.008) / 1.008 * PI / 2);
    return c * c;
}

// The decimal number of at most 7 digits that `x` was rounded from: roots are taken of 0.00085, not of its float.
static double decimal(float x)
{
    double power = pow(10, 6 - floor(log10((double)x)));
    double result = floor((double)x * power + 0.5) / power;
    return (float)result == x ? result : (double)x;
}

static float training_beta(const struct sdg_scheduler_config *config, int i)
{
    int count = config->train_timesteps;
    if (config->trained_count)
        return config->trained_betas[i];
    if (config->beta_schedule == SDG_BETA_LINEAR)
        return linspace_float(config->beta_start, config->beta_end, count, i);
    if (config->beta_schedule == SDG_BETA_SCALED_LINEAR) {
        float root =
            linspace_float((float)sqrt(decimal(config->beta_start)), (float)sqrt(decimal(config->beta_end)), count, i);
        return root * root;
    }
    double beta = 1 - cosine_alpha((i + 1.0) / count) / cosine_alpha((double)i / count);
    return (float)fmin(beta, 0.999);
}

// Lin et al. 2024, algorithm 1: shifts and scales sqrt(a) so that it ends at zero and starts where it did. diffusers
// goes back to betas and multiplies them up again; in exact numbers that is the same.
static void zero_terminal_snr(float *alphas, int count)
{
    double first = sqrt((double)alphas[0]), last = sqrt((double)alphas[count - 1]);
    for (int i = 0; i < count; i++) {
        double root = (sqrt((double)alphas[i]) - last) * first / (first - last);
        alphas[i] = (float)(root * root);
    }
    alphas[count - 1] = 0;
}

static void fill_alphas(const struct sdg_scheduler_config *config, float *alphas)
{
    double product = 1; // torch multiplies up in double and rounds every entry
    for (int i = 0; i < config->train_timesteps; i++) {
        product *= (double)(1.0f - training_beta(config, i));
        alphas[i] = (float)product;
    }
    if (config->rescale_betas_zero_snr && config->train_timesteps > 1)
        zero_terminal_snr(alphas, config->train_timesteps);
}

static bool alphas_fall(const float *alphas, int count, bool zero_snr)
{
    for (int i = 0; i < count; i++) {
        float above = i ? alphas[i - 1] : 1;
        if (!(alphas[i] < above) || !(alphas[i] > 0 || (zero_snr && i == count - 1)))
            return false;
    }
    return true;
}

// A table of EDM's range, even in log sigma, for the schedules that go through a table.
static void fill_edm(const struct sdg_edm *edm, struct sdg_levels *levels)
{
    double low = log((double)edm->sigma_min), high = log((double)edm->sigma_max);
    for (int i = 0; i < levels->count; i++) {
        double sigma = exp(low + (high - low) * i / (levels->count - 1));
        levels->alphas[i] = (float)(1 / (sigma * sigma + 1));
        levels->sigmas[i] = (float)sigma;
        levels->log_sigmas[i] = (float)log(sigma);
    }
}

static void fill_sigmas(struct sdg_levels *levels)
{
    for (int i = 0; i < levels->count; i++) {
        float alpha = levels->alphas[i] > 0 ? levels->alphas[i] : SMALLEST_ALPHA;
        levels->sigmas[i] = sqrtf((1 - alpha) / alpha);
        levels->log_sigmas[i] = (float)log((double)levels->sigmas[i]);
    }
}

enum sdg_result sdg_levels_create(const struct sdg_log *log, const struct sdg_scheduler_config *config, bool allow_zero,
                                  struct sdg_levels *out)
{
    int count = config->train_timesteps;
    if (count < 2 || count > 1000000)
        return sdg_fail(log, SDG_ERROR_INPUT, "scheduler: num_train_timesteps is %d, should be 2 .. 1000000", count);
    float *table = sdg_alloc(log, (size_t)count, 3 * sizeof *table, "noise levels");
    if (!table)
        return SDG_ERROR_MEMORY;
    struct sdg_levels levels = {count, table, table + count, table + 2 * (size_t)count};
    if (config->edm.used) {
        fill_edm(&config->edm, &levels);
        *out = levels;
        return SDG_OK;
    }
    fill_alphas(config, levels.alphas);
    if (!alphas_fall(levels.alphas, count, config->rescale_betas_zero_snr)) {
        sdg_free(table);
        return sdg_fail(log, SDG_ERROR_INPUT,
                        "scheduler: betas from %g to %g over %d timesteps are no usable noise schedule",
                        (double)config->beta_start, (double)config->beta_end, count);
    }
    if (!allow_zero && levels.alphas[count - 1] <= 0)
        levels.alphas[count - 1] = SMALLEST_ALPHA;
    fill_sigmas(&levels);
    *out = levels;
    return SDG_OK;
}

void sdg_levels_destroy(struct sdg_levels *levels)
{
    sdg_free(levels->alphas);
    *levels = (struct sdg_levels){0};
}

double sdg_levels_alpha(const struct sdg_levels *levels, int t)
{
    if (t < 0)
        t = 0;
    return (double)levels->alphas[t < levels->count ? t : levels->count - 1];
}

static double interpolate(const float *table, int count, double t)
{
    if (!(t > 0))
        return (double)table[0];
    if (t >= count - 1)
        return (double)table[count - 1];
    int below = (int)t;
    double low = (double)table[below];
    return low + ((double)table[below + 1] - low) * (t - below);
}

double sdg_levels_sigma(const struct sdg_levels *levels, double t)
{
    return interpolate(levels->sigmas, levels->count, t);
}

double sdg_levels_sigma_log(const struct sdg_levels *levels, double t)
{
    return exp(interpolate(levels->log_sigmas, levels->count, t));
}

double sdg_levels_timestep(const struct sdg_levels *levels, double sigma)
{
    const float *table = levels->log_sigmas;
    double wanted = log(fmax(sigma, 1e-10));
    int low = 0, high = levels->count - 1; // the last entry at or below `wanted`, but not the table's last
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if ((double)table[middle] <= wanted)
            low = middle;
        else
            high = middle;
    }
    double a = (double)table[low], b = (double)table[low + 1];
    double weight = fmin(fmax((a - wanted) / (a - b), 0), 1);
    return (1 - weight) * low + weight * (low + 1);
}

static double round_even(double x) // as numpy; independent of the rounding mode in force
{
    double low = floor(x), rest = x - low;
    if (rest > 0.5 || (rest == 0.5 && fmod(low, 2) != 0))
        low += 1;
    return low;
}

// ---- sigmas by rule -------------------------------------------------------------------------------------------------

// Karras et al. 2022, eq. 5.
static double karras_sigma(double low, double high, double rho, double x)
{
    return pow(pow(high, 1 / rho) + x * (pow(low, 1 / rho) - pow(high, 1 / rho)), rho);
}

// Continued fraction of the incomplete beta integral (DLMF 8.17.22) by Lentz's method; a = b.
static double beta_fraction(double a, double x)
{
    double c = 1, d = 1 / (1 - 2 * a * x / (a + 1)), result = d;
    for (int m = 1; m < 1000; m++) {
        double even = m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (2 * a + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        result *= d * c;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        result *= d * c;
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return result;
}

// Distribution function of Beta(a, a) for x <= 1/2.
static double beta_cdf(double a, double x)
{
    double scale = exp(lgamma(2 * a) - 2 * lgamma(a) + a * log(x) + a * log1p(-x));
    return scale * beta_fraction(a, x) / a;
}

// Quantile of Beta(0.6, 0.6) by bisection, below 1/2 where it is well conditioned; the upper half is its mirror image.
static double beta_quantile(double p)
{
    if (p > 0.5)
        return 1 - beta_quantile(1 - p);
    if (p <= 0)
        return 0;
    double low = 0, high = 0.5;
    for (int i = 0; i < 80; i++) {
        double middle = (low + high) / 2;
        if (beta_cdf(0.6, middle) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

// Sabour et al. 2024 (Align Your Steps), the published levels for Stable Diffusion 1.5; other counts by interpolation
// of log sigma, the last level becoming 0.
static double ays_sigma(int steps, int i)
{
    static const double level[] = {14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092,
                                   0.9642583904,  0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582};
    const int last = sizeof level / sizeof *level - 1;
    double at = (double)i * last / steps;
    int below = at < last ? (int)at : last - 1;
    return exp(log(level[below]) + (at - below) * (log(level[below + 1]) - log(level[below])));
}

// ---- what is asked for ----------------------------------------------------------------------------------------------

// Of each schedule of names.def, and of sigmas that the caller gave.
enum rule {
    RULE_DISCRETE, // timesteps by spacing
    RULE_KARRAS,
    RULE_EXPONENTIAL,
    RULE_BETA,
    RULE_SGM_UNIFORM,
    RULE_SIMPLE,
    RULE_AYS,
    RULE_MODEL,      // one of the others, as the model's configuration says
    RULE_LU,         // even in log sigma over all levels
    RULE_LOG_LINEAR, // the same one step longer, with timesteps by spacing
    RULE_EDM,        // a range of sigmas of its own
    RULE_CUSTOM
};

struct request {
    const struct sdg_sampler_params *params;
    const struct sdg_schedule_rules *rules;
    const struct sdg_levels *levels;
    bool model; // the schedule is the model's own
    enum rule rule;
    enum sdg_spacing spacing;
    int steps;
    int levels_used; // the noisiest of the others are left out
};

static enum rule model_rule(const struct sdg_scheduler_config *config, const struct sdg_schedule_rules *rules)
{
    if (rules->points == SDG_POINTS_WHOLE || rules->points == SDG_POINTS_LCM)
        return RULE_DISCRETE; // these classes have no such options
    if (config->edm.used)
        return RULE_EDM;
    if (config->use_karras_sigmas)
        return RULE_KARRAS;
    if (config->use_lu_lambdas)
        return RULE_LU;
    if (config->use_exponential_sigmas)
        return RULE_EXPONENTIAL;
    if (config->use_beta_sigmas)
        return RULE_BETA;
    return config->log_linear ? RULE_LOG_LINEAR : RULE_DISCRETE;
}

// How many of the levels are used: all but those whose half log SNR is below the model's limit.
static int count_used(const struct sdg_scheduler_config *config, const struct sdg_levels *levels)
{
    int used = levels->count;
    while (used > 1 && -(double)levels->log_sigmas[used - 1] < config->lambda_min_clipped)
        used--;
    return used;
}

static struct request resolve(const struct sdg_sampler_params *params, const struct sdg_schedule_rules *rules,
                              const struct sdg_levels *levels)
{
    static const enum rule rule_of[SDG_SCHEDULE_COUNT] = {
#define SDG_SCHEDULE(upper, name, label) [SDG_SCHEDULE_##upper] = RULE_##upper,
#include "scheduler/names.def"
    };
    bool model = rule_of[params->schedule] == RULE_MODEL;
    struct request request = {
        .params = params,
        .rules = rules,
        .levels = levels,
        .model = model && !params->sigmas,
        .levels_used = model && rules->dpm_solver ? count_used(params->config, levels) : levels->count,
        .rule = model ? model_rule(params->config, rules) : rule_of[params->schedule],
        .spacing = model ? params->config->spacing : SDG_SPACING_LINSPACE,
        .steps = params->steps,
    };
    if (params->method == SDG_METHOD_DDIM_TRAILING)
        request.spacing = SDG_SPACING_TRAILING;
    if (params->sigmas) {
        request.rule = RULE_CUSTOM;
        request.spacing = SDG_SPACING_LINSPACE;
        request.steps = params->sigma_count - (params->sigmas[params->sigma_count - 1] == 0);
    }
    return request;
}

// ---- timesteps by spacing (Lin et al. 2024, table 2) ----------------------------------------------------------------

// Point i in falling order. A single point of linspace is the noisiest one, not t = 0.
static double spaced_point(const struct request *r, int i)
{
    const int train = r->params->config->train_timesteps, used = r->levels_used, steps = r->steps;
    const bool solver = r->rules->points == SDG_POINTS_SOLVER, extra = solver && used / (steps + 1) > 0;
    double t;
    switch (r->spacing) {
    case SDG_SPACING_LEADING:
        t = (double)(used / (steps + extra)) * (steps + extra - 1 - i) + r->params->config->steps_offset;
        break;
    case SDG_SPACING_TRAILING: t = round_even(used - i * ((double)train / steps)) - 1; break;
    default: {
        int last = steps - 1 + solver;
        t = last > 0 ? (double)(used - 1) / last * (last - i) : used - 1;
        if (r->rules->points != SDG_POINTS_FRACTIONAL)
            t = round_even(t);
    }
    }
    return fmin(fmax(t, 0), train - 1);
}

// Luo et al. 2023, section 4.3: the model knows `original_inference_steps` timesteps; every so-many-th of them.
static double lcm_point(const struct request *r, int i)
{
    const struct sdg_scheduler_config *config = r->params->config;
    int original = config->original_inference_steps, used = r->params->lcm_points ? r->params->lcm_points : original;
    int skipped = (int)((double)used / r->steps * i);
    return (double)(config->train_timesteps / original) * (used - skipped) - 1;
}

static double point(const struct request *r, int i)
{
    return r->rules->points == SDG_POINTS_LCM ? lcm_point(r, i) : spaced_point(r, i);
}

// ---- steps by the rule
// -----------------------------------------------------------------------------------------------

static double sigma_at(const struct request *r, double t)
{
    return r->rules->log_interpolation ? sdg_levels_sigma_log(r->levels, t) : sdg_levels_sigma(r->levels, t);
}

// The ends of a rule's sigmas. Karras, exponential and beta take the method's own timesteps or all levels, unless the
// model's configuration names the ends.
static void find_range(const struct request *r, double *low, double *high)
{
    const struct sdg_levels *levels = r->levels;
    const struct sdg_scheduler_config *config = r->params->config;
    const bool ruled = r->rule == RULE_KARRAS || r->rule == RULE_EXPONENTIAL || r->rule == RULE_BETA;
    const bool own = ruled && r->rules->own_range && r->steps > 1 && !(r->model && config->log_linear);
    *high = own ? sigma_at(r, point(r, 0)) : (double)levels->sigmas[levels->count - 1];
    *low = own ? sigma_at(r, point(r, r->steps - 1)) : (double)levels->sigmas[0];
    if (r->model && ruled && config->sigma_max > 0)
        *high = (double)config->sigma_max;
    if (r->model && ruled && config->sigma_min > 0)
        *low = (double)config->sigma_min;
}

static double edm_sigma(const struct sdg_edm *edm, double x)
{
    double low = (double)edm->sigma_min, high = (double)edm->sigma_max;
    if (edm->exponential)
        return exp(log(high) + x * (log(low) - log(high)));
    return karras_sigma(low, high, edm->rho > 0 ? (double)edm->rho : 7, x);
}

// Between the entries of the table of logarithms, whose ends it meets: Lu et al. 2022, even in log SNR.
static double lu_log_sigma(const struct sdg_levels *levels, double x)
{
    double low = (double)levels->log_sigmas[0], high = (double)levels->log_sigmas[levels->count - 1];
    return high + x * (low - high);
}

// Sigma of step i for the rules that do not start from timesteps.
static double ruled_sigma(const struct request *r, int i)
{
    const struct sdg_levels *levels = r->levels;
    double x = r->steps > 1 ? (double)i / (r->steps - 1) : 0, low, high;
    find_range(r, &low, &high);
    switch (r->rule) {
    case RULE_KARRAS: return karras_sigma(low, high, 7, x);
    case RULE_LU: return exp(lu_log_sigma(levels, x));
    case RULE_EXPONENTIAL: return exp(log(high) + x * (log(low) - log(high)));
    case RULE_LOG_LINEAR: return exp(log(high) + (double)i / r->steps * (log(low) - log(high)));
    case RULE_BETA: return low + beta_quantile(1 - x) * (high - low); // Lee et al. 2024, alpha = beta = 0.6
    case RULE_EDM: return edm_sigma(&r->params->config->edm, x);
    case RULE_SGM_UNIFORM: return sdg_levels_sigma_log(levels, (double)(levels->count - 1) * (r->steps - i) / r->steps);
    case RULE_SIMPLE: return (double)levels->sigmas[levels->count - 1 - (int)((int64_t)i * levels->count / r->steps)];
    case RULE_AYS: return ays_sigma(r->steps, i);
    default: return r->params->sigmas[i];
    }
}

static double rounded(const struct request *r, double t)
{
    const bool by_range = r->rule == RULE_KARRAS || r->rule == RULE_LU;
    if (r->rules->rounding == SDG_ROUND_NEVER || (r->rules->rounding == SDG_ROUND_KARRAS && r->rule != RULE_KARRAS))
        return t;
    if (r->rule == RULE_EXPONENTIAL || r->rule == RULE_BETA ||
        (by_range && r->rules->dpm_solver && r->params->config->beta_schedule == SDG_BETA_SQUARED_COSINE))
        return floor(t + 1e-9); // ends of the table are met but for rounding
    return round_even(t);
}

// Where the walk ends: at 0, or at the lowest level that the model knows or the walk has come to.
static double last_sigma(const struct request *r, double previous)
{
    const struct sdg_scheduler_config *config = r->params->config;
    if (r->rule == RULE_LOG_LINEAR)
        return (double)r->levels->sigmas[0];
    if (!r->model || config->final_sigmas_zero || !r->rules->final_sigma)
        return 0;
    double lowest = (double)r->levels->sigmas[0];
    const bool close = fabs(lowest / previous - 1) < 1e-6; // the same but for rounding
    return close || r->rule == RULE_EDM || (r->rules->ends_at_previous && r->rule != RULE_DISCRETE) ? previous : lowest;
}

static void fill_steps(const struct request *r, struct sdg_steps *steps)
{
    for (int i = 0; i < r->steps; i++) {
        const bool spaced = !steps->by_sigma || r->rule == RULE_LOG_LINEAR;
        if (spaced)
            steps->timesteps[i] = point(r, i);
        steps->sigmas[i] = steps->by_sigma ? ruled_sigma(r, i) : sigma_at(r, steps->timesteps[i]);
        if (!spaced)
            steps->timesteps[i] = rounded(r, sdg_levels_timestep(r->levels, steps->sigmas[i]));
    }
    double first = steps->sigmas[0];
    steps->sigmas[r->steps] = last_sigma(r, steps->sigmas[r->steps - 1]);
    // A walk that starts below the last timestep starts from something that still has a share of the picture's scale;
    // EDM's always does.
    const bool share = r->spacing == SDG_SPACING_LEADING || r->params->config->edm.used;
    steps->first_scale = share ? sqrt(first * first + 1) : first;
}

enum sdg_result sdg_steps_create(const struct sdg_log *log, const struct sdg_sampler_params *params,
                                 const struct sdg_schedule_rules *rules, const struct sdg_levels *levels,
                                 struct sdg_steps *out)
{
    struct request request = resolve(params, rules, levels);
    if (request.spacing == SDG_SPACING_TRAILING && request.rule == RULE_DISCRETE &&
        ceil(request.levels_used / ((double)levels->count / request.steps)) < request.steps)
        return sdg_fail(log, SDG_ERROR_UNSUPPORTED,
                        "steps: %d, but lambda_min_clipped leaves %d of %d timesteps, too few with timestep_spacing "
                        "trailing; take fewer steps, or choose a sampling method",
                        request.steps, request.levels_used, levels->count);
    size_t count = (size_t)request.steps;
    double *table = sdg_alloc(log, 2 * count + 1, sizeof *table, "timesteps");
    if (!table)
        return SDG_ERROR_MEMORY;
    *out = (struct sdg_steps){
        .count = request.steps, .by_sigma = request.rule != RULE_DISCRETE, .timesteps = table, .sigmas = table + count};
    fill_steps(&request, out);
    return SDG_OK;
}

void sdg_steps_destroy(struct sdg_steps *steps)
{
    sdg_free(steps->timesteps);
    *steps = (struct sdg_steps){0};
}
