// DoRA's norms of all members in one layer; PyTorch's are in packed/low_rank.py.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "tiles.h"

namespace {

// One member's pair, as kernels/norms.py describes it.
struct Norms {
    const float* down;  // A, (rank, in)
    const float* up;    // B, (out, rank)
    float* norms;       // (out,), written
    long rank;
    float scaling;  // s
};

// (W + s B A)'s rows: |w + s b A|^2 = |w|^2 + 2 s b.(A w + s/2 (A A^T) b)
template <typename T>
void find_norms(const Norms& pair, const T* weight, const float* squares, long in, long out) {
    thread_local std::vector<float> down, gram, sums;
    const long wide = round_up(pair.rank);
    down.resize(in * wide);
    gram.resize(pair.rank * wide);
    sums.resize(out * wide);
    transpose(pair.down, pair.rank, in, in, down.data(), wide);
    multiply(Left<float>{pair.down, in, 1}, pair.rank, down.data(), wide, gram.data(), wide, wide,
             in, 0.5f * pair.scaling, false);
    multiply(Left<T>{weight, in, 1}, out, down.data(), wide, sums.data(), wide, wide, in, 1.f,
             false);
    multiply(Left<float>{pair.up, pair.rank, 1}, out, gram.data(), wide, sums.data(), wide, wide,
             pair.rank, 1.f, true);
    for (long row = 0; row < out; row++) {
        Floats sum = {};
        for (long k = 0; k < pair.rank; k += WIDTH)
            sum += load_part(pair.up + row * pair.rank + k, pair.rank - k) *
                   load(sums.data() + row * wide + k);
        // in this order NaN stays NaN
        pair.norms[row] = std::sqrt(std::max(squares[row] + 2.f * pair.scaling * add_up(sum), FLT_MIN));
    }
}

}  // namespace

extern "C" {

void row_norms_float(const Norms* pairs, long count, const float* weight, const float* squares,
                     long in, long out) {
    for (long i = 0; i < count; i++) find_norms(pairs[i], weight, squares, in, out);
}

void row_norms_bfloat16(const Norms* pairs, long count, const BFloat16* weight,
                        const float* squares, long in, long out) {
    for (long i = 0; i < count; i++) find_norms(pairs[i], weight, squares, in, out);
}
}
