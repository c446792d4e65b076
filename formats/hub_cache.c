// Folders of Hugging Face's cache: models--OWNER--NAME/{blobs, refs, snapshots/REVISION}, where the files of a snapshot
// are links to blobs and refs/main names the revision that was asked for last.
#include "base/memory.h"
#include "formats/model_parts.h"

#include <string.h>

struct snapshots {
    const struct sdg_log *log;
    char *only; // the last one seen
    int count;
};

static enum sdg_result add_snapshot(void *user, const char *name)
{
    struct snapshots *s = user;
    sdg_free(s->only);
    s->only = sdg_strdup(s->log, name);
    s->count++;
    return s->only ? SDG_OK : SDG_ERROR_MEMORY;
}

// The one that refs/main names, as a path; NULL if it does not, or if that one is not there.
static enum sdg_result main_snapshot(const struct sdg_log *log, const struct sdg_files *files, const char *folder,
                                     const char *snapshots, char **out)
{
    enum { REVISION_LIMIT = 256 };
    char *ref = sdg_path_join(log, folder, "refs/main"), *text = NULL;
    enum sdg_result result = ref ? SDG_OK : SDG_ERROR_MEMORY;
    *out = NULL;
    if (ref && sdg_files_kind(files, ref) == SDG_PATH_FILE) {
        result = sdg_files_text(log, files, ref, REVISION_LIMIT, &text);
        if (result == SDG_OK) {
            text[strcspn(text, "\r\n/")] = 0;
            *out = sdg_path_join(log, snapshots, text);
            result = *out ? SDG_OK : SDG_ERROR_MEMORY;
        }
    }
    if (*out && sdg_files_kind(files, *out) != SDG_PATH_FOLDER) {
        sdg_free(*out);
        *out = NULL;
    }
    sdg_free(text);
    sdg_free(ref);
    return result;
}

static enum sdg_result only_snapshot(const struct sdg_log *log, const struct sdg_files *files, const char *snapshots,
                                     char **out)
{
    struct snapshots s = {.log = log};
    enum sdg_result result = sdg_files_list_folders(log, files, snapshots, add_snapshot, &s);
    if (result == SDG_OK && s.count != 1)
        result = sdg_fail(log, SDG_ERROR_INPUT,
                          s.count ? "%s: is a cache folder with %d snapshots; name one of them, such as %s"
                                  : "%s: is a cache folder with %d snapshots: the download was not finished%s",
                          snapshots, s.count, s.count ? s.only : "");
    if (result == SDG_OK) {
        *out = sdg_path_join(log, snapshots, s.only);
        result = *out ? SDG_OK : SDG_ERROR_MEMORY;
    }
    sdg_free(s.only);
    return result;
}

enum sdg_result sdg_hub_resolve(const struct sdg_log *log, const struct sdg_files *files, const char *path, char **out)
{
    char *snapshots = sdg_path_join(log, path, "snapshots"), *found = NULL;
    enum sdg_result result = snapshots ? SDG_OK : SDG_ERROR_MEMORY;
    if (snapshots && sdg_files_kind(files, snapshots) == SDG_PATH_FOLDER) {
        result = main_snapshot(log, files, path, snapshots, &found);
        if (result == SDG_OK && !found)
            result = only_snapshot(log, files, snapshots, &found);
    } else if (snapshots) {
        found = sdg_strdup(log, path);
        result = found ? SDG_OK : SDG_ERROR_MEMORY;
    }
    sdg_free(snapshots);
    *out = found;
    return result;
}
