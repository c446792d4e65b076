// Devices that are open, for backends to share: a second backend on the same device finds it here, with all that has
// been made on it. A backend holds what it uses, and so does the list, so that a device stays open between backends.
// One that was lost leaves the list: whoever holds it keeps it, the next backend opens another.
//
// Thread-safety: any function, at any time, but for destroying.
#ifndef SDG_BACKEND_OPEN_DEVICES_H
#define SDG_BACKEND_OPEN_DEVICES_H

#include "base/log.h"

#include <pthread.h>
#include <stdbool.h>

// First member of what a backend keeps of an open device.
struct sdg_open_device {
    // Frees it. Called when nobody holds it any more, with what is left to say going to `log`.
    void (*close)(struct sdg_open_device *device, const struct sdg_log *log);
    int number;                   // as backends count their devices
    bool preferred;               // it is the one that is meant by number -1
    int holders;                  // under the list's lock; without a list it has one
    bool listed;                  // the list is one of them
    struct sdg_open_device *next; // in the list
};

struct sdg_devices {
    pthread_mutex_t lock;
    struct sdg_open_device *first;
    int opened; // so far, those that are gone included
};

void sdg_devices_init(struct sdg_devices *devices);
// No backend uses it any more. Closes all of them.
void sdg_devices_close(struct sdg_devices *devices, const struct sdg_log *log);

// Finds a device, or has it opened: `open` makes one when `number` is not in the list, and asks sdg_devices_find itself
// once it knows which one -1 is; *out is then held by the caller. One call at a time opens. `devices` may be NULL: then
// nothing is found.
enum sdg_result sdg_devices_hold(struct sdg_devices *devices, int number,
                                 enum sdg_result (*open)(void *user, struct sdg_open_device **out), void *user,
                                 struct sdg_open_device **out);
// Inside of `open`: the device of this number that is open already, or NULL.
struct sdg_open_device *sdg_devices_find(struct sdg_devices *devices, int number);
// Ends what sdg_devices_hold began.
void sdg_devices_release(struct sdg_devices *devices, struct sdg_open_device *device, const struct sdg_log *log);
int sdg_devices_opened(struct sdg_devices *devices);
// Nobody is to find it any more.
void sdg_devices_forget(struct sdg_devices *devices, struct sdg_open_device *device);

#endif
