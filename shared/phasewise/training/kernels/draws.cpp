// Random bits of dropouts: SplitMix64, as training/dropout.py has it.
#include "draws.h"
#include "vectors.h"

namespace {

constexpr long WORDS = 8;  // of a vector
constexpr long DRAWS = 4 * WORDS;
typedef uint64_t LongWords __attribute__((vector_size(64), aligned(8), may_alias));

inline LongWords mix(LongWords words) {
    words = (words ^ (words >> 30)) * 0xbf58476d1ce4e5b9;
    words = (words ^ (words >> 27)) * 0x94d049bb133111eb;
    return words ^ (words >> 31);
}

}  // namespace

extern "C" {

void draw_int16(uint64_t place, int16_t* to, long count) {
    LongWords places;
    for (long i = 0; i < WORDS; i++) places[i] = place + (i + 1) * WORD_STEP;
    const auto draw = [&](long bytes) {
        const LongWords words = mix(places);
        std::memcpy(to, &words, bytes);
    };
    for (; count >= DRAWS; count -= DRAWS, to += DRAWS, places += WORDS * WORD_STEP)
        draw(sizeof(LongWords));  // GCC copies a number of bytes that it does not know slowly
    draw(count * sizeof(int16_t));
}
}
