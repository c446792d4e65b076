// For tests: deterministic damage to safetensors files.
#ifndef SDG_TESTS_MUTATE_H
#define SDG_TESTS_MUTATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint64_t fuzz_state;

static inline uint32_t fuzz_next(void) // xorshift64*
{
    fuzz_state ^= fuzz_state >> 12;
    fuzz_state ^= fuzz_state << 25;
    fuzz_state ^= fuzz_state >> 27;
    return (uint32_t)(fuzz_state * UINT64_C(0x2545f4914f6cdd1d) >> 32);
}

// One change: another byte, a flipped bit, a piece repeated or removed, a token of the format put in.
static inline size_t mutate(unsigned char *file, size_t size, size_t room)
{
    static const char *const tokens[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "-",
                                         "18446744073709551615",
                                         "9223372036854775807",
                                         "0",
                                         "1e9",
                                         "\"dtype\"",
                                         "\"shape\"",
                                         "\"data_offsets\"",
                                         "\"__metadata__\"",
                                         "\\u0000",
                                         "\\ud800",
                                         "null",
                                         "F64"};
    size_t at = fuzz_next() % size;
    const char *token = tokens[fuzz_next() % (sizeof tokens / sizeof *tokens)];
    size_t length = strlen(token);
    switch (fuzz_next() % 6) {
    case 0: file[at] = (unsigned char)fuzz_next(); break;
    case 1: file[at] ^= (unsigned char)(1u << fuzz_next() % 8); break;
    case 2: return size > 16 ? size - fuzz_next() % 16 : size;
    case 3: // insert
        if (size + length > room)
            break;
        memmove(file + at + length, file + at, size - at);
        memcpy(file + at, token, length);
        return size + length;
    case 4: // overwrite
        memcpy(file + at, token, length < size - at ? length : size - at);
        break;
    default: // remove
        length = length < size - at - 1 ? length : 0;
        memmove(file + at, file + at + length, size - at - length);
        return size - length;
    }
    return size;
}

// One to three changes to a file that ends with `data_bytes` of data. Most of the time the length field fits, so that
// what reads the header is reached. Returns the new size.
static inline size_t mutate_file(unsigned char *file, size_t size, size_t room, size_t data_bytes)
{
    for (unsigned n = 1 + fuzz_next() % 3; n > 0; n--)
        size = mutate(file, size, room);
    if (fuzz_next() % 4 != 0)
        for (int i = 0; i < 8; i++)
            file[i] = (unsigned char)((uint64_t)(size > 8 + data_bytes ? size - 8 - data_bytes : 0) >> 8 * i);
    return size;
}

#endif
