// What every fallible function of sdgen returns, and how messages reach the caller.
//
// The reason of a failure is one line of text, handed to the log callback exactly once, at the place
// that knows most about it; the result code only says of what kind it is.
#ifndef SDGEN_RESULT_H
#define SDGEN_RESULT_H

#ifdef __cplusplus
extern "C" {
#endif

enum sdg_result {
    SDG_OK = 0,
    SDG_ERROR_USAGE,       // a parameter is out of range or contradicts another
    SDG_ERROR_INPUT,       // a file is missing, unreadable, broken or of an unknown kind
    SDG_ERROR_OUTPUT,      // an output cannot be written
    SDG_ERROR_MEMORY,      // an allocation failed or the budget is too small
    SDG_ERROR_DEVICE,      // no such device, or its driver refused
    SDG_ERROR_UNSUPPORTED, // legal, but this build or backend cannot do it
    SDG_ERROR_COMPUTE,     // non-finite values, device lost
    SDG_ERROR_CANCELLED    // the progress callback or sdg_cancel asked to stop
};

enum sdg_log_level { SDG_LOG_ERROR, SDG_LOG_WARNING, SDG_LOG_INFO, SDG_LOG_DEBUG };

// `message` is one line of UTF-8 without a newline, valid during the call. Called while a call into the library runs:
// from the thread that made it, or from one of the library's own (the decoder is prepared by another thread during the
// last step), also from several at once.
typedef void (*sdg_log_fn)(void *user, enum sdg_log_level level, const char *message);

// Where messages go. All zero = nowhere; {fn} alone = errors only. A handle that was created with one keeps a copy:
// `fn` and `user` must stay valid as long as the handle.
struct sdg_log {
    sdg_log_fn fn; // NULL = silence
    void *user;
    enum sdg_log_level level; // messages above this level are not even formatted
};

#ifdef __cplusplus
}
#endif
#endif
