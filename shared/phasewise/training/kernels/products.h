// The product of rows with a frozen right factor, which is ordered once for it.
//
// Ordered: panels of COLUMNS columns, one behind the other, each with all of k (padded by zeros);
// in a panel, COLUMNS elements of one k after those of the one before. Where one instruction
// multiplies pairs (and takes numbers below 1.2e-38 for 0), both elements of a pair of ks lie side
// by side.
#pragma once

#include <algorithm>

#include "tiles.h"

constexpr long COLUMNS = TILE_VECTORS * WIDTH;
constexpr int PARTS = COLUMNS / REGISTER;
typedef uint32_t PartWords __attribute__((vector_size(REGISTER * 4), aligned(4), may_alias));
typedef uint16_t PartHalves __attribute__((vector_size(REGISTER * 2), aligned(2), may_alias));
// Bytes of rows that stay in the second-level cache, beside a panel and the next one.
constexpr long BLOCK_BYTES = 400 << 10;

// How elements are multiplied: GROUP neighbors in k at once.
template <typename T>
struct Elements {
    static constexpr long GROUP = 1;
    static Part spread(const T* from) { return to_float(*from) - Part{}; }
    static Part read(const float* from) { return *(const Part*)from; }
    static Part read(const BFloat16* from) {
        return (Part)(__builtin_convertvector(*(const PartHalves*)from, PartWords) << 16);
    }
    static Part add(Part sums, Part own, Part line) { return sums + own * line; }
};

#ifdef __AVX512BF16__
template <>
struct Elements<BFloat16> {
    static constexpr long GROUP = 2;
    static Part spread(const BFloat16* from) {
        int32_t pair;
        std::memcpy(&pair, from, sizeof pair);
        return (Part)_mm512_set1_epi32(pair);
    }
    static Part read(const BFloat16* from) { return *(const Part*)from; }
    static Part add(Part sums, Part own, Part line) {
        return (Part)_mm512_dpbf16_ps((__m512)sums, (__m512bh)own, (__m512bh)line);
    }
};
#endif

// Elements of an ordered right factor (k, n).
template <typename T>
inline long ordered_size(long k, long n) {
    return round_up_to(k, Elements<T>::GROUP) * round_up_to(n, COLUMNS);
}

// Orders a right factor whose element (kk, nn) lies at `weight[kk * k_step + nn * n_step]`.
template <typename T>
inline void order(const T* weight, long k_step, long n_step, long k, long n, T* to) {
    constexpr long group = Elements<T>::GROUP;
    for (long column = 0; column < n; column += COLUMNS)
        for (long kk = 0; kk < k; kk += group)
            for (long nn = column; nn < column + COLUMNS; nn++)
                for (long one = kk; one < kk + group; one++)
                    *to++ = one < k && nn < n ? weight[one * k_step + nn * n_step] : T{};
}

// Where a tile's sums go: `out` (rows, columns), of which the tile may be wider.
template <typename T>
struct Place {
    T* out;
    long out_step, columns;
    const float* bias;  // may be null
    bool adds;
};

// Puts a tile's sums, (rows, COLUMNS), where they belong. Not inline: all tiles share it.
template <typename T>
__attribute__((noinline)) void finish(const float* sums, int rows, const Place<T>& place) {
    for (int row = 0; row < rows; row++, sums += COLUMNS)
        for (long column = 0; column < COLUMNS && column < place.columns; column += WIDTH) {
            const long count = place.columns - column;
            T* out = place.out + row * place.out_step + column;
            Floats sum = load(sums + column);
            if (place.bias) sum += load_part(place.bias + column, count);
            if (place.adds) sum += load_part(out, count);
            store_part(out, sum, count);
        }
}

// Some rows times one panel. `next` is memory to be fetched meanwhile, some of the cache's lines in
// each step of k: with few rows, reading the right factor is what takes the time.
template <int ROWS, int LINES, typename T>
void multiply_panel(const T* rows, long row_step, const T* panel, long k, const char* next,
                    const Place<T>& place) {
    using E = Elements<T>;
    Part sums[ROWS][PARTS] = {};
    const auto step = [&](const T* left, long left_step) {
        Part line[PARTS];
#pragma GCC unroll 16
        for (int p = 0; p < PARTS; p++) line[p] = E::read(panel + p * REGISTER * E::GROUP);
        panel += COLUMNS * E::GROUP;
#pragma GCC unroll 16
        for (int row = 0; row < ROWS; row++) {
            const Part own = E::spread(left + row * left_step);
#pragma GCC unroll 16
            for (int p = 0; p < PARTS; p++) sums[row][p] = E::add(sums[row][p], own, line[p]);
        }
    };
    long kk = 0;
    for (; kk + E::GROUP <= k; kk += E::GROUP) {
#pragma GCC unroll 16
        for (int line = 0; line < LINES; line++, next += 64) __builtin_prefetch(next, 0, 2);
        step(rows + kk, row_step);
    }
    if (kk < k) {  // a group that is not whole
        T rest[ROWS][E::GROUP] = {};
        for (int row = 0; row < ROWS; row++) rest[row][0] = rows[row * row_step + kk];
        step(rest[0], E::GROUP);
    }
    float made[ROWS][COLUMNS];
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 16
        for (int p = 0; p < PARTS; p++) *(Part*)(made[row] + p * REGISTER) = sums[row][p];
    finish(made[0], ROWS, place);
}

// As `multiply_panel`, for a number of rows known only now.
template <typename T, int LINES, int ROWS = TILE_ROWS>
void multiply_rows(long count, const T* rows, long row_step, const T* panel, long k,
                   const char* next, const Place<T>& place) {
    if constexpr (ROWS > 1)
        if (count < ROWS)
            return multiply_rows<T, LINES, ROWS - 1>(count, rows, row_step, panel, k, next, place);
    multiply_panel<ROWS, LINES>(rows, row_step, panel, k, next, place);
}

// Some rows times all panels.
template <typename T>
inline void multiply_block(const T* rows, long count, long row_step, const T* panel, long k,
                           long n, const float* bias, T* out, long out_step, bool adds) {
    const long size = round_up_to(k, Elements<T>::GROUP) * COLUMNS;
    const long tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    // As measured with weights larger than the last-level cache. A panel has three lines for each
    // step; of bfloat16's, which are small, it pays to fetch more than one ahead.
    constexpr int lines = sizeof(T) == 2 ? 3 : 2;
    const auto multiply = tiles == 1   ? multiply_rows<T, 3>
                          : tiles == 2 ? multiply_rows<T, lines>
                                       : multiply_rows<T, 1>;
    for (long column = 0; column < n; column += COLUMNS, panel += size)
        for (long tile = 0; tile < tiles; tile++) {  // of heights as equal as can be
            const long top = count * tile / tiles, height = count * (tile + 1) / tiles - top;
            const Place<T> place{out + top * out_step + column, out_step, n - column,
                                 bias ? bias + column : nullptr, adds};
            multiply(height, rows + top * row_step, row_step, panel, k,
                     (const char*)(panel + size + size * tile / tiles), place);
        }
}

// out (count, n) = rows (count, k) times an ordered right factor (k, n), plus bias (n,) where that
// is not null, or that added to `out`. Sums are floats. `out` may not share memory with `rows`.
//
// While the last panel is multiplied, what lies behind the ordered factor is fetched: best the one
// that is used next.
template <typename T>
inline void multiply_ordered(const T* rows, long count, long row_step, const T* ordered, long k,
                             long n, const float* bias, T* out, long out_step, bool adds) {
    const long most = std::max<long>(TILE_ROWS, BLOCK_BYTES / long(sizeof(T) * std::max(k, 1L)));
    const long blocks = (count + most - 1) / most;
    for (long block = 0; block < blocks; block++) {
        const long first = count * block / blocks, end = count * (block + 1) / blocks;
        multiply_block(rows + first * row_step, end - first, row_step, ordered, k, n, bias,
                       out + first * out_step, out_step, adds);
    }
}
