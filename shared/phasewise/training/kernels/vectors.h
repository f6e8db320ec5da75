// Vectors of 16 floats, and numbers of two types in memory.
//
// GCC's and Clang's vector extension: compiles for AVX-512, AVX2 and NEON alike.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

constexpr int WIDTH = 16;
// Need not be aligned: rows of a tensor start anywhere.
typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(64), aligned(4), may_alias));
typedef int16_t Shorts __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2), may_alias));

// torch.bfloat16: the upper half of a float.
struct BFloat16 {
    uint16_t bits;
};

inline Floats load(const float* from) { return *(const Floats*)from; }

// GCC 12 widens to 64 bytes by halves, and warns of what it has in place of a mask.
#ifdef __AVX512F__
inline Words widen(Halves values) { return (Words)_mm512_maskz_cvtepu16_epi32(-1, (__m256i)values); }
inline Ints widen(Shorts values) { return (Ints)_mm512_maskz_cvtepi16_epi32(-1, (__m256i)values); }
#else
inline Words widen(Halves values) { return __builtin_convertvector(values, Words); }
inline Ints widen(Shorts values) { return __builtin_convertvector(values, Ints); }
#endif

inline Floats load(const BFloat16* from) { return (Floats)(widen(*(const Halves*)from) << 16); }

inline void store(float* to, Floats values) { *(Floats*)to = values; }

// Rounds to the nearest, ties to even, as torch does; NaN stays NaN.
#ifdef __AVX512BF16__
// One instruction; numbers below 1.2e-38 become 0.
inline void store(BFloat16* to, Floats values) {
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)values);
    std::memcpy(to, &rounded, sizeof rounded);
}
#else
inline void store(BFloat16* to, Floats values) {
    const Words bits = (Words)values;
    const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Words kept = values != values ? (bits >> 16) | 0x40 : rounded;
    *(Halves*)to = __builtin_convertvector(kept, Halves);
}
#endif

inline float to_float(float value) { return value; }

inline float to_float(BFloat16 value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

// Elements of two vectors: 0 to 15 name the first one's, 16 to 31 the second one's. GCC has Clang's
// name for it from version 12 on.
#if defined(__clang__)
#define PICK(one, other, ...) __builtin_shufflevector(one, other, __VA_ARGS__)
#else
#define PICK(one, other, ...) __builtin_shuffle(one, other, (Ints){__VA_ARGS__})
#endif

// Puts together all elements of a vector by halves.
template <typename Join>
inline float join(Floats x, Join two) {
    x = two(x, PICK(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = two(x, PICK(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    x = two(x, PICK(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    return two(x, PICK(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14))[0];
}

inline float add_up(Floats values) {
    return join(values, [](Floats a, Floats b) { return a + b; });
}

inline float find_largest(Floats values) {
    return join(values, [](Floats a, Floats b) { return a > b ? a : b; });
}

inline Floats fill(float value) { return value - Floats{}; }

// Relative error below 2e-7; 0 below exp(-87), the largest finite power of two above exp(88).
inline Floats exponential(Floats x) {
    const Floats low = fill(-87.f), high = fill(88.f);
    const Floats inside = x < low ? low : (x > high ? high : x);
    const Floats shift = fill(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
    const Floats power = (inside * 1.44269504f + shift) - shift;
    const Floats rest = inside - power * 0.693359375f + power * 2.12194440e-4f;
    Floats sum = fill(1.9875691500e-4f);
    for (const float factor : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                               1.6666665459e-1f, 5.0000001201e-1f})
        sum = sum * rest + factor;
    const Floats series = sum * rest * rest + rest + 1.f;  // Cephes' expf
    const Ints exponent = (__builtin_convertvector(power, Ints) + 127) << 23;
    const Floats result = series * (Floats)exponent;
    return x < low ? Floats{} : result;
}

inline long round_up_to(long count, long step) { return (count + step - 1) / step * step; }

inline long round_up(long count) { return round_up_to(count, WIDTH); }

// The first `count` of WIDTH values, zeros after them; nothing behind them is read.
template <typename T>
inline Floats load_part(const T* from, long count) {
    if (count >= WIDTH) return load(from);
    T part[WIDTH] = {};
    std::memcpy(part, from, count * sizeof(T));
    return load(part);
}

template <typename T>
inline void store_part(T* to, Floats values, long count) {
    if (count >= WIDTH) return store(to, values);
    T part[WIDTH];
    store(part, values);
    std::memcpy(to, part, count * sizeof(T));
}

#ifdef __AVX512F__
inline Floats load_part(const float* from, long count) {
    if (count >= WIDTH) return load(from);
    return (Floats)_mm512_maskz_loadu_ps((1 << count) - 1, from);
}

inline void store_part(float* to, Floats values, long count) {
    if (count >= WIDTH) return store(to, values);
    _mm512_mask_storeu_ps(to, (1 << count) - 1, (__m512)values);
}
#endif

// What a dropout leaves of values: those whose draws lie below `limit`, times `factor`.
inline Floats drop_part(Floats values, const int16_t* draws, int limit, float factor, long count) {
    int16_t part[WIDTH] = {};
    if (count < WIDTH) draws = (int16_t*)std::memcpy(part, draws, count * sizeof(int16_t));
    return widen(*(const Shorts*)draws) < limit ? values * factor : Floats{};
}

// Elements of two vectors in turn, of their first or second halves.
inline Floats mix_first(Floats a, Floats b) {
    return PICK(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

inline Floats mix_second(Floats a, Floats b) {
    return PICK(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Mixing the halves of 16 lines four times transposes them.
inline void transpose_lines(Floats lines[WIDTH]) {
    for (int round = 0; round < 4; round++) {
        Floats next[WIDTH];
        for (int i = 0; i < WIDTH / 2; i++) {
            next[2 * i] = mix_first(lines[i], lines[i + WIDTH / 2]);
            next[2 * i + 1] = mix_second(lines[i], lines[i + WIDTH / 2]);
        }
        for (int i = 0; i < WIDTH; i++) lines[i] = next[i];
    }
}

// The sums of 16 lines' elements; `lines` is used up.
inline Floats add_up_lines(Floats lines[WIDTH]) {
#pragma GCC unroll 4
    for (int half = WIDTH / 2; half; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++)
            lines[i] = mix_first(lines[i], lines[i + half]) + mix_second(lines[i], lines[i + half]);
    return lines[0];
}

// Copies (rows, columns) transposed into (columns, row_stride), zeros where that is wider;
// `row_stride` is a multiple of WIDTH.
template <typename T>
inline void transpose(const T* from, long rows, long columns, long stride, float* to,
                      long row_stride) {
    for (long row = 0; row < row_stride; row += WIDTH)
        for (long column = 0; column < columns; column += WIDTH) {
            const long count = columns - column;
            Floats lines[WIDTH];
            for (long i = 0; i < WIDTH; i++) {  // behind a line's end lies the next one, unused
                const long behind = (rows - row - i - 1) * stride;
                const T* line = from + (row + i) * stride + column;
                lines[i] = row + i < rows ? load_part(line, behind + count) : Floats{};
            }
            transpose_lines(lines);
            for (long i = 0; i < WIDTH && i < count; i++)
                store(to + (column + i) * row_stride + row, lines[i]);
        }
}
