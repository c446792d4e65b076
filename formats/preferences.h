// How a model's folder wants its pictures to be drawn where the caller says nothing: the object "_sdgen" of
// model_index.json. diffusers passes over keys of the index that begin with an underscore.
//
//     "_sdgen": {
//         "sampler": "dpm++2m",         a name of SDG_NAMES_SAMPLER
//         "schedule": "karras",         a name of SDG_NAMES_SCHEDULE, for that sampler
//         "steps": 20,                  1..1000
//         "cfg_scale": 3,               -1000..1000
//         "eta": 0.5,                   0..1, of that sampler
//         "width": 128, "height": 128,  pixels
//         "known_words": "words.txt"    a file of the folder with the words of the captions, one a line, in lower case:
//     }                                 who uses another one is told
//
// Every key may be left out. A quantized folder without the object has its base's.
#ifndef SDG_FORMATS_PREFERENCES_H
#define SDG_FORMATS_PREFERENCES_H

#include "base/json.h"
#include "sdgen/sdgen.h"

#define SDG_PREFERENCES_KEY "_sdgen"

struct sdg_preferences {
    bool given;
    char sampler[24], schedule[24]; // "" = no preference; names of samplers are looked up by the pipeline
    int steps, width, height;       // 0 = no preference
    struct sdg_number cfg_scale, eta;
    char known_words[64]; // name of the file, "" = any word may be known
};

// The object of an index; *out stays as it is when there is none. SDG_ERROR_INPUT for unknown keys, values of another
// type and numbers out of range, naming file and key.
enum sdg_result sdg_preferences_read(const struct sdg_json *index, struct sdg_preferences *out);

#endif
