// A program that draws a picture with libsdgen:
//     cc embed.c -o embed $(pkg-config --cflags --libs sdgen)
//     ./embed "a red apple, 3d" apple.png [MODEL]
// With CMake: find_package(sdgen REQUIRED), target_link_libraries(embed PRIVATE sdgen::sdgen).
#include <sdgen/picture.h>
#include <sdgen/sdgen.h>
#include <stdio.h>

// Everything the library has to say comes here, one line a call; nothing is printed by itself.
static void say(void *user, enum sdg_log_level level, const char *message)
{
    (void)user;
    fprintf(stderr, "%s%s\n", level == SDG_LOG_ERROR ? "error: " : "", message);
}

static bool show(void *user, const struct sdg_progress *progress)
{
    (void)user;
    fprintf(stderr, "\r%s %d/%d, %.0f s left  ", progress->stage, progress->step, progress->steps,
            progress->seconds_left);
    return true; // false would cancel
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: embed PROMPT OUTPUT.png [MODEL]\n");
        return 1;
    }
    const char *model = argc > 3 ? argv[3] : NULL; // the default one
    struct sdg_log log = {.fn = say, .level = SDG_LOG_WARNING};
    struct sdg_pipeline *pipeline = NULL;
    struct sdg_image *image = NULL;
    enum sdg_result result = sdg_pipeline_create(&(struct sdg_pipeline_params){.model = model, .log = log}, &pipeline);
    if (result == SDG_OK)
        result = sdg_generate(pipeline, &(struct sdg_generate_params){.prompt = argv[1], .seed = 42, .progress = show},
                              &image, NULL);
    if (result == SDG_OK)
        result = sdg_picture_write(&log, argv[2], SDG_PICTURE_PNG, image, NULL);
    sdg_image_destroy(&image);
    sdg_pipeline_destroy(&pipeline);
    return result == SDG_OK ? 0 : 1;
}
