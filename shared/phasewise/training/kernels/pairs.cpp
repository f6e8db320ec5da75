// The products of all members' low-rank pairs in one layer; PyTorch's are in packed/pair_products.py.
#include <algorithm>

#include "pairs.h"
#include "vectors.h"

namespace {

// Rows at once: their inputs, as floats, stay in the second-level cache.
constexpr long BLOCK = 64;

// Grows, and is never given back: a process uses it in every step.
class Scratch {
  public:
    float* take(long count) {
        if (long(values_.size()) < count) values_.resize(count);
        return values_.data();
    }

  private:
    std::vector<float> values_;
};

thread_local Scratch inputs_scratch, down_scratch, up_scratch, out_scratch, low_scratch,
    grads_scratch;

// What dropout leaves of the values at one place of (rows, in).
inline Floats drop(Floats values, const Pair& pair, long place, long count) {
    if (!pair.draws) return values;
    return drop_part(values, pair.draws + place, pair.limit, pair.factor, count);
}

// k x of some rows as floats, (rows, in rounded up), zeros behind.
template <typename T>
void read_inputs(const Pair& pair, long first, long rows, long in, float* to) {
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < in; column += WIDTH) {
            const long place = (first + row) * in + column, count = in - column;
            const Floats values = load_part((const T*)pair.inputs + place, count);
            store(to + row * round_up(in) + column, drop(values, pair, place, count));
        }
}

// A matrix whose rows are a multiple of WIDTH wide: itself, or a copy.
const float* widen(const float* from, long rows, long columns, Scratch& scratch) {
    if (columns % WIDTH == 0) return from;
    float* to = scratch.take(rows * round_up(columns));
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < columns; column += WIDTH)
            store(to + row * round_up(columns) + column,
                  load_part(from + row * columns + column, columns - column));
    return to;
}

// (rows, out) as floats: themselves, or a copy.
const float* to_floats(const float* from, long, Scratch&) { return from; }

const float* to_floats(const BFloat16* from, long count, Scratch& scratch) {
    float* to = scratch.take(round_up(count));
    for (long i = 0; i < count; i += WIDTH) store(to + i, load_part(from + i, count - i));
    return to;
}

// to (rows, columns) += from (rows, columns rounded up)
template <typename T>
void add_rows(const float* from, T* to, long rows, long columns) {
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < columns; column += WIDTH) {
            T* place = to + row * columns + column;
            const long count = columns - column;
            const Floats sum = load_part(place, count) + load(from + row * round_up(columns) + column);
            store_part(place, sum, count);
        }
}

// to (rows, columns) += left (rows, k) right (k, columns rounded up)
template <typename T>
void add_product(const float* left, long k, const float* right, T* to, long rows, long columns) {
    const long wide = round_up(columns), left_step = round_up(k);
    const Left<float> factor = {left, left_step, 1};
    if constexpr (sizeof(T) == sizeof(float)) {
        if (wide == columns)
            return multiply(factor, rows, right, wide, to, wide, wide, k, 1.f, true);
    }
    float* sums = out_scratch.take(rows * wide);
    multiply(factor, rows, right, wide, sums, wide, wide, k, 1.f, false);
    add_rows(sums, to, rows, columns);
}

// to (rows, columns) = or += left^T (rows, k) right (k, columns rounded up); the left factor is
// (k, left_step), of which the first `rows` columns count.
void multiply_transposed(const float* left, long left_step, const float* right, float* to,
                         long rows, long columns, long k, bool adds) {
    const long wide = round_up(columns);
    const Left<float> factor = {left, 1, left_step};
    if (wide == columns)
        return multiply(factor, rows, right, wide, to, wide, wide, k, 1.f, adds);
    float* sums = out_scratch.take(rows * wide);
    multiply(factor, rows, right, wide, sums, wide, wide, k, 1.f, false);
    if (!adds) std::fill(to, to + rows * columns, 0.f);
    add_rows(sums, to, rows, columns);
}

// low = s (k x) A^T; out += low B^T
template <typename T>
void add_pair(const Pair& pair, long in, long out) {
    const long wide_in = round_up(in), wide_out = round_up(out), wide_rank = round_up(pair.rank);
    float* down = down_scratch.take(in * wide_rank);
    float* up = up_scratch.take(pair.rank * wide_out);
    transpose(pair.down, pair.rank, in, in, down, wide_rank);
    transpose(pair.up, out, pair.rank, pair.rank, up, wide_out);
    float* inputs = inputs_scratch.take(BLOCK * wide_in);
    for (long first = 0; first < pair.rows; first += BLOCK) {
        const long rows = std::min(BLOCK, pair.rows - first);
        read_inputs<T>(pair, first, rows, in, inputs);
        float* low = pair.low + first * wide_rank;
        multiply(Left<float>{inputs, wide_in, 1}, rows, down, wide_rank, low, wide_rank, wide_rank,
                 in, pair.scaling, false);
        add_product(low, pair.rank, up, (T*)pair.out + first * out, rows, out);
    }
}

// passed += drop(to_low A + again), of some rows
template <typename T>
void pass_on(const Pair& pair, const float* to_low, const float* down, long first, long rows,
             long in) {
    const long wide_in = round_up(in), wide_rank = round_up(pair.rank);
    float* sums = out_scratch.take(rows * wide_in);
    multiply(Left<float>{to_low, wide_rank, 1}, rows, down, wide_in, sums, wide_in, wide_in,
             pair.rank, 1.f, false);
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < in; column += WIDTH) {
            const long place = (first + row) * in + column, count = in - column;
            Floats values = load(sums + row * wide_in + column);
            if (pair.again) values += load_part((const T*)pair.again + place, count);
            T* to = (T*)pair.passed + place;
            store_part(to, load_part(to, count) + drop(values, pair, place, count), count);
        }
}

// G is the gradient of what low B^T was added to: to_low = s G B, of A to_low^T (k x), of B G^T low.
template <typename T>
void differentiate_pair(const Pair& pair, long in, long out) {
    const long wide_in = round_up(in), wide_rank = round_up(pair.rank);
    if (!pair.rows) {
        std::fill(pair.to_down, pair.to_down + pair.rank * in, 0.f);
        std::fill(pair.to_up, pair.to_up + out * pair.rank, 0.f);
    }
    const float* up = widen(pair.up, out, pair.rank, up_scratch);
    float* to_low = low_scratch.take(BLOCK * wide_rank);
    float* inputs = inputs_scratch.take(BLOCK * wide_in);
    const float* down = pair.passed ? widen(pair.down, pair.rank, in, down_scratch) : nullptr;
    for (long first = 0; first < pair.rows; first += BLOCK) {
        const long rows = std::min(BLOCK, pair.rows - first);
        const float* grads = to_floats((const T*)pair.out + first * out, rows * out, grads_scratch);
        multiply(Left<float>{grads, out, 1}, rows, up, wide_rank, to_low, wide_rank, wide_rank, out,
                 pair.scaling, false);
        const bool adds = first > 0;
        multiply_transposed(grads, out, pair.low + first * wide_rank, pair.to_up, out, pair.rank,
                            rows, adds);
        read_inputs<T>(pair, first, rows, in, inputs);
        multiply_transposed(to_low, wide_rank, inputs, pair.to_down, pair.rank, in, rows, adds);
        if (pair.passed) pass_on<T>(pair, to_low, down, first, rows, in);
    }
}

template <typename Work>
void for_each_pair(const Pair* pairs, long count, Work work) {
    for (long i = 0; i < count; i++) work(pairs[i]);
}

}  // namespace

extern "C" {

void add_pairs_float(const Pair* pairs, long count, long in, long out) {
    for_each_pair(pairs, count, [=](const Pair& pair) { add_pair<float>(pair, in, out); });
}

void add_pairs_bfloat16(const Pair* pairs, long count, long in, long out) {
    for_each_pair(pairs, count, [=](const Pair& pair) { add_pair<BFloat16>(pair, in, out); });
}

void differentiate_pairs_float(const Pair* pairs, long count, long in, long out) {
    for_each_pair(pairs, count, [=](const Pair& p) { differentiate_pair<float>(p, in, out); });
}

void differentiate_pairs_bfloat16(const Pair* pairs, long count, long in, long out) {
    for_each_pair(pairs, count, [=](const Pair& p) { differentiate_pair<BFloat16>(p, in, out); });
}
}
