// What would be left behind if the process ended now: temporary files and folders of outputs that are not complete. A
// program that has to end in a signal handler removes them; the library itself installs no handler.
// Thread-safety: all functions may be called from any thread.
#ifndef SDG_BASE_UNFINISHED_H
#define SDG_BASE_UNFINISHED_H

// `path` stays valid, and the text unchanged, until it is taken off the list. Beyond 64 at a time nothing is noted.
void sdg_unfinished_add(const char *path);
void sdg_unfinished_done(const char *path); // the same pointer; NULL and unknown ones are fine
// Removes all of them from the disk. Async-signal-safe; for programs that end right afterwards.
void sdg_unfinished_remove(void);

#endif
