// What there is to choose from: devices, and the model that is used where none is named.
#include "backend/backend.h"
#include "sdgen/sdgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

static bool is_model(const char *folder)
{
    char path[4096];
    struct stat info;
    return snprintf(path, sizeof path, "%s/model_index.json", folder) < (int)sizeof path && stat(path, &info) == 0;
}

const char *sdg_default_model(void)
{
    const char *chosen = getenv("SDGEN_MODEL");
    if (chosen && *chosen)
        return chosen;
    static const char *const places[] = {
#ifdef SDG_INSTALL_MODEL_DIR
        SDG_INSTALL_MODEL_DIR "/emoji-128",
#endif
#ifdef SDG_SOURCE_MODEL_DIR
        SDG_SOURCE_MODEL_DIR "/emoji-128",
#endif
        NULL,
    };
    for (const char *const *place = places; *place; place++)
        if (is_model(*place))
            return *place;
    return NULL;
}
