// Which bytes of a text its code points come from. Internal to text/.
#ifndef SDG_TEXT_TOKEN_SPANS_H
#define SDG_TEXT_TOKEN_SPANS_H

#include "text/tokenizer.h"
#include "text/tokenizer_unicode.h"

// Of each code point that sdg_utf8_decode makes of `text`. *out is freed with sdg_free.
enum sdg_result sdg_utf8_spans(const struct sdg_log *log, const char *text, size_t bytes, struct sdg_token_span **out);

// Of each code point of `normalized` after sdg_collapse_space, which is made of `in` [count] by sdg_normalize and not
// collapsed yet; `spans` [count] are those of `in`. Code points that compose have the span of all of them. *out is
// freed with sdg_free.
enum sdg_result sdg_normalized_spans(const struct sdg_log *log, const int32_t *in, const struct sdg_token_span *spans,
                                     size_t count, const struct sdg_code_points *normalized,
                                     struct sdg_token_span **out);

#endif
