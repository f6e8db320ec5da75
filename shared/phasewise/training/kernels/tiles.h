// Products of small matrices as they lie in memory; products.h has those with an ordered factor.
#pragma once

#include <algorithm>

#include "vectors.h"

// Floats in one register, and rows and vectors of columns whose sums stay in registers, with a line
// of the panel and one element of a row: 31 of AVX-512's 32, 15 of AVX2's 16, 29 of NEON's 32.
#if defined(__AVX512F__)
constexpr int REGISTER = 16, TILE_ROWS = 9, TILE_VECTORS = 3;
#elif defined(__AVX__)
constexpr int REGISTER = 8, TILE_ROWS = 6, TILE_VECTORS = 1;
#else
constexpr int REGISTER = 4, TILE_ROWS = 6, TILE_VECTORS = 1;
#endif
// GCC computes with vectors wider than a register in memory.
typedef float Part __attribute__((vector_size(REGISTER * 4), aligned(4), may_alias));

// Memory to be fetched into the second-level cache during a product, a line in each of its steps.
class Ahead {
  public:
    Ahead() = default;
    Ahead(const void* from, long bytes) : next_((const char*)from), end_(next_ + bytes) {}

    void fetch() {
        __builtin_prefetch(next_, 0, 2);
        next_ += next_ < end_ ? 64 : 0;
    }

  private:
    const char *next_ = "", *end_ = next_;  // fetching from no address takes long
};

// A factor of a product: element (row, k) lies at `data + row * row_step + k * k_step`.
template <typename T>
struct Left {
    const T* data;
    long row_step, k_step;
};

// made (ROWS, VECTORS * WIDTH) = left (ROWS, k) right (k, VECTORS * WIDTH); returns what is left to
// be fetched.
template <int ROWS, int VECTORS, typename T>
Ahead multiply_tile(Left<T> left, const float* right, long right_step, long k_count, float* made,
                    Ahead ahead) {
    constexpr int PARTS = VECTORS * WIDTH / REGISTER;
    Part sums[ROWS][PARTS] = {};
    for (long k = 0; k < k_count; k++, right += right_step, left.data += left.k_step) {
        ahead.fetch();
        Part line[PARTS];
#pragma GCC unroll 16
        for (int p = 0; p < PARTS; p++) line[p] = *(const Part*)(right + p * REGISTER);
#pragma GCC unroll 16
        for (int row = 0; row < ROWS; row++) {
            const Part own = to_float(left.data[row * left.row_step]) - Part{};
#pragma GCC unroll 16
            for (int p = 0; p < PARTS; p++) sums[row][p] += own * line[p];
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 16
        for (int p = 0; p < PARTS; p++)
            *(Part*)(made + (row * PARTS + p) * REGISTER) = sums[row][p];
    return ahead;
}

template <typename T>
using Tile = Ahead (*)(Left<T>, const float*, long, long, float*, Ahead);

// `multiply_tile` for a number of rows and vectors known only now.
template <typename T, int ROWS = TILE_ROWS, int VECTORS = TILE_VECTORS>
Tile<T> choose_tile(long rows, long vectors) {
    if constexpr (ROWS > 1)
        if (rows < ROWS) return choose_tile<T, ROWS - 1, VECTORS>(rows, vectors);
    if constexpr (VECTORS > 1)
        if (vectors < VECTORS) return choose_tile<T, ROWS, VECTORS - 1>(rows, vectors);
    return multiply_tile<ROWS, VECTORS, T>;
}

// Calls `finish(row, column, sums)` for all vectors of left (rows, k) times right (k, columns);
// `right` is read up to a multiple of WIDTH columns.
template <typename T, typename Finish>
inline void multiply(Left<T> left, long rows, const float* right, long right_step, long columns,
                     long k_count, Ahead ahead, Finish finish) {
    const long vectors = round_up(columns) / WIDTH;
    const long panels = (vectors + TILE_VECTORS - 1) / TILE_VECTORS;
    const long tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    float made[TILE_ROWS * TILE_VECTORS * WIDTH];
    for (long tile = 0; tile < tiles; tile++)
        for (long panel = 0; panel < panels; panel++) {  // of sizes as equal as can be
            const long first = vectors * panel / panels, end = vectors * (panel + 1) / panels;
            const long top = rows * tile / tiles, bottom = rows * (tile + 1) / tiles;
            const Left<T> own = {left.data + top * left.row_step, left.row_step, left.k_step};
            const Tile<T> tile_of_size = choose_tile<T>(bottom - top, end - first);
            ahead = tile_of_size(own, right + first * WIDTH, right_step, k_count, made, ahead);
            const float* sums = made;
            for (long row = top; row < bottom; row++)
                for (long v = first; v < end; v++, sums += WIDTH) finish(row, v * WIDTH, load(sums));
        }
}

// out (rows, columns) = factor * left (rows, k) right (k, columns), or that added to it. `columns`
// is a multiple of WIDTH: pad `right` and `out` (see transpose).
template <typename T>
inline void multiply(Left<T> left, long rows, const float* right, long right_step, float* out,
                     long out_step, long columns, long k_count, float factor, bool adds) {
    multiply(left, rows, right, right_step, columns, k_count, Ahead(),
             [=](long row, long column, Floats sums) {
                 float* to = out + row * out_step + column;
                 store(to, adds ? load(to) + sums * factor : sums * factor);
             });
}

// out (rows, columns) = factor * left (rows, k) right^T (columns, k), whatever the number of columns
// is. Lines of the factors are read up to a multiple of WIDTH, those of `out` written up to one.
inline void multiply_lines(const float* left, long left_step, long rows, const float* right,
                           long right_step, long columns, long k_count, float factor, float* out,
                           long out_step, Ahead ahead) {
    constexpr int SIDE = 4;
    for (long column = 0; column < columns; column += SIDE)
        for (long row = 0; row < rows; row += SIDE) {
            const float *lefts[SIDE], *rights[SIDE];
            for (int i = 0; i < SIDE; i++) {  // at the edges, one several times
                lefts[i] = left + std::min(row + i, rows - 1) * left_step;
                rights[i] = right + std::min(column + i, columns - 1) * right_step;
            }
            Part sums[SIDE][SIDE] = {};
            for (long k = 0; k < k_count; k += REGISTER) {
                ahead.fetch();
                Part own[SIDE], line[SIDE];
#pragma GCC unroll 4
                for (int i = 0; i < SIDE; i++) {
                    own[i] = *(const Part*)(lefts[i] + k);
                    line[i] = *(const Part*)(rights[i] + k);
                }
                asm volatile("" ::: "memory");  // else GCC loads each of them four times
#pragma GCC unroll 16
                for (int i = 0; i < SIDE * SIDE; i++)
                    sums[i / SIDE][i % SIDE] += own[i / SIDE] * line[i % SIDE];
            }
            Floats lines[SIDE * SIDE] = {};
#pragma GCC unroll 16
            for (int i = 0; i < SIDE * SIDE; i++) *(Part*)(lines + i) = sums[i / SIDE][i % SIDE];
            float totals[WIDTH];
            store(totals, add_up_lines(lines) * factor);
            for (int r = 0; r < SIDE && row + r < rows; r++)
                std::memcpy(out + (row + r) * out_step + column, totals + r * SIDE,
                            SIDE * sizeof(float));
        }
}
