// What there is to choose from: devices, and the model that is used where none is named.
#include "backend/backend.h"
#include "base/platform.h"
#include "pipeline/backends.h"
#include "sdgen/sdgen.h"

#include <pthread.h>
#include <stdlib.h>

struct lister {
    void (*fn)(void *user, const struct sdg_device *device);
    void *user;
};

static void list_one(void *user, const struct sdg_device_info *info)
{
    struct lister *lister = user;
    struct sdg_device device = {.name = info->name,
                                .backend = info->backend,
                                .type = info->type,
                                .driver = info->driver,
                                .note = info->note,
                                .memory = info->memory};
    lister->fn(lister->user, &device);
}

void sdg_list_devices(const struct sdg_log *log, void (*fn)(void *user, const struct sdg_device *device), void *user)
{
    if (!fn)
        return;
    sdg_backend_list(log, NULL, list_one, &(struct lister){fn, user});
}

static char *default_model;
static pthread_once_t default_model_once = PTHREAD_ONCE_INIT;

static void find_default_model(void)
{
    default_model = sdg_platform_data("models/emoji-128");
}

static void free_default_model(void) __attribute__((destructor));
static void free_default_model(void)
{
    free(default_model);
}

const char *sdg_default_model_from(bool environment)
{
    const char *chosen = environment ? getenv("SDGEN_MODEL") : NULL;
    if (chosen && *chosen)
        return chosen;
    pthread_once(&default_model_once, find_default_model);
    return default_model;
}

const char *sdg_default_model(void)
{
    return sdg_default_model_from(true);
}
