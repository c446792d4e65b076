#include "backend/open_devices.h"

#include <stddef.h>

void sdg_devices_init(struct sdg_devices *devices)
{
    *devices = (struct sdg_devices){.first = NULL};
    pthread_mutex_init(&devices->lock, NULL);
}

void sdg_devices_close(struct sdg_devices *devices, const struct sdg_log *log)
{
    while (devices->first) {
        struct sdg_open_device *device = devices->first;
        devices->first = device->next;
        device->close(device, log);
    }
    pthread_mutex_destroy(&devices->lock);
}

struct sdg_open_device *sdg_devices_find(struct sdg_devices *devices, int number)
{
    for (struct sdg_open_device *d = devices ? devices->first : NULL; d; d = d->next)
        if (number < 0 ? d->preferred : d->number == number)
            return d;
    return NULL;
}

static void list(struct sdg_devices *devices, struct sdg_open_device *device)
{
    device->holders++;
    device->listed = true;
    device->next = devices->first;
    devices->first = device;
    devices->opened++;
}

enum sdg_result sdg_devices_hold(struct sdg_devices *devices, int number,
                                 enum sdg_result (*open)(void *user, struct sdg_open_device **out), void *user,
                                 struct sdg_open_device **out)
{
    enum sdg_result result = SDG_OK;
    if (devices)
        pthread_mutex_lock(&devices->lock);
    *out = sdg_devices_find(devices, number);
    if (!*out)
        result = open(user, out);
    if (result == SDG_OK && devices && !(*out)->listed)
        list(devices, *out);
    if (result == SDG_OK)
        (*out)->holders++;
    if (devices)
        pthread_mutex_unlock(&devices->lock);
    return result;
}

static bool unlist(struct sdg_devices *devices, struct sdg_open_device *device)
{
    struct sdg_open_device **at = &devices->first;
    while (*at && *at != device)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = device->next;
    device->listed = false;
    return true;
}

void sdg_devices_release(struct sdg_devices *devices, struct sdg_open_device *device, const struct sdg_log *log)
{
    if (devices)
        pthread_mutex_lock(&devices->lock);
    const bool last = --device->holders == 0;
    if (devices)
        pthread_mutex_unlock(&devices->lock);
    if (last)
        device->close(device, log);
}

void sdg_devices_forget(struct sdg_devices *devices, struct sdg_open_device *device)
{
    if (!devices)
        return;
    pthread_mutex_lock(&devices->lock);
    if (unlist(devices, device))
        device->holders--; // who forgets it holds it
    pthread_mutex_unlock(&devices->lock);
}

int sdg_devices_opened(struct sdg_devices *devices)
{
    pthread_mutex_lock(&devices->lock);
    const int opened = devices->opened;
    pthread_mutex_unlock(&devices->lock);
    return opened;
}
