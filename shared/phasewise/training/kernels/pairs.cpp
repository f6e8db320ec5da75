// The products of all members' low-rank pairs in one layer; PyTorch's are in packed/pair_products.py.
#include <algorithm>

#include "pairs.h"
#include "tiles.h"

namespace {

// Rows at once: their inputs, as floats, stay in the second-level cache.
constexpr long BLOCK = 64;

// Grows, and is never given back: a process uses it in every step.
class Scratch {
  public:
    float* take(long count) {
        if (long(values_.size()) < count + WIDTH) values_.resize(count + WIDTH);
        return (float*)((uintptr_t(values_.data()) + 63) / 64 * 64);
    }

  private:
    std::vector<float> values_;
};

thread_local Scratch inputs_scratch, down_scratch, up_scratch, low_scratch, grads_scratch;

// What dropout leaves of the values at one place of (rows, in).
inline Floats drop(Floats values, const Pair& pair, long place, long count) {
    if (!pair.draws) return values;
    return drop_part(values, pair.draws + place, pair.limit, pair.factor, count);
}

// Has what will be read soon come into the first-level cache: the processor foresees too little.
template <typename T>
inline void fetch_further(const T* place) {
    __builtin_prefetch((const char*)place + 1536);
}

// k x of some rows as floats, (rows, in rounded up), zeros behind.
template <typename T>
void read_inputs(const Pair& pair, long first, long rows, long in, float* to) {
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < in; column += WIDTH) {
            const long place = (first + row) * in + column, count = in - column;
            fetch_further((const T*)pair.inputs + place);
            if (pair.draws) fetch_further(pair.draws + place);
            const Floats values = load_part((const T*)pair.inputs + place, count);
            store(to + row * round_up(in) + column, drop(values, pair, place, count));
        }
}

// (rows, columns) with lines as wide as a multiple of WIDTH: itself, or a copy.
const float* pad_lines(const float* from, long rows, long columns, Scratch& scratch) {
    if (columns % WIDTH == 0) return from;
    float* to = scratch.take(rows * round_up(columns));
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < columns; column += WIDTH)
            store(to + row * round_up(columns) + column,
                  load_part(from + row * columns + column, columns - column));
    return to;
}

// Values as floats: themselves, or a copy.
const float* to_floats(const float* from, long, Scratch&) { return from; }

const float* to_floats(const BFloat16* from, long count, Scratch& scratch) {
    float* to = scratch.take(round_up(count));
    for (long i = 0; i < count; i += WIDTH) {
        fetch_further(from + i);
        store(to + i, load_part(from + i, count - i));
    }
    return to;
}

// Adds a vector of sums to (rows, columns), and fetches what the next tile adds to.
template <typename T>
struct Adder {
    T* to;
    long columns;
    bool adds = true;  // else it is written

    void operator()(long row, long column, Floats sums) const {
        T* place = to + row * columns + column;
        __builtin_prefetch(place + TILE_ROWS * columns);
        const long count = columns - column;
        store_part(place, adds ? load_part(place, count) + sums : sums, count);
    }
};

Ahead whole(const float* weight, long count) { return {weight, count * long(sizeof(float))}; }

// Calls `work(first, rows)` for blocks of a pair's rows, of heights as equal as can be.
template <typename Work>
void for_each_block(const Pair& pair, Work work) {
    const long blocks = (pair.rows + BLOCK - 1) / BLOCK;
    for (long block = 0; block < blocks; block++) {
        const long first = pair.rows * block / blocks;
        work(first, pair.rows * (block + 1) / blocks - first);
    }
}

// low = s (k x) A^T; out += low B^T
template <typename T>
void add_pair(const Pair& pair, const Pair* next, long in, long out) {
    const long wide_in = round_up(in), wide_rank = round_up(pair.rank), rank = pair.rank;
    const float* down = pad_lines(pair.down, rank, in, down_scratch);
    float* inputs = inputs_scratch.take(BLOCK * wide_in);
    for_each_block(pair, [&](long first, long rows) {
        read_inputs<T>(pair, first, rows, in, inputs);
        multiply_lines(inputs, wide_in, rows, down, wide_in, rank, wide_in, pair.scaling,
                       pair.low + first * wide_rank, wide_rank, whole(pair.up, rank * out));
    });
    const long wide_out = round_up(out);
    float* up = up_scratch.take(rank * wide_out);
    transpose(pair.up, out, rank, rank, up, wide_out);
    multiply(Left<float>{pair.low, wide_rank, 1}, pair.rows, up, wide_out, out, rank,
             next ? whole(next->down, next->rank * in) : Ahead(), Adder<T>{(T*)pair.out, out});
}

// G is the gradient of what low B^T was added to: to_low = s G B, of A to_low^T (k x), of B G^T low,
// of x drop(to_low A + again).
template <typename T>
void differentiate_pair(const Pair& pair, const Pair* next, long in, long out) {
    const long wide_in = round_up(in), wide_rank = round_up(pair.rank), rank = pair.rank;
    if (!pair.rows) {
        std::fill(pair.to_down, pair.to_down + rank * in, 0.f);
        std::fill(pair.to_up, pair.to_up + out * rank, 0.f);
    }
    const float* up = pad_lines(pair.up, out, rank, up_scratch);
    const float* down = pair.passed ? pad_lines(pair.down, rank, in, down_scratch) : nullptr;
    float* to_low = low_scratch.take(BLOCK * wide_rank);
    float* inputs = inputs_scratch.take(BLOCK * wide_in);
    for_each_block(pair, [&](long first, long rows) {
        const float* grads = to_floats((const T*)pair.out + first * out, rows * out, grads_scratch);
        multiply(Left<float>{grads, out, 1}, rows, up, wide_rank, rank, out,
                 whole(pair.to_up, rank * out), [=, &pair](long row, long column, Floats sums) {
                     store(to_low + row * wide_rank + column, sums * pair.scaling);
                 });
        multiply(Left<float>{grads, 1, out}, out, pair.low + first * wide_rank, wide_rank, rank,
                 rows, whole(pair.to_down, rank * in), Adder<float>{pair.to_up, rank, first > 0});
        read_inputs<T>(pair, first, rows, in, inputs);
        multiply(Left<float>{to_low, 1, wide_rank}, rank, inputs, wide_in, in, rows,
                 pair.passed ? whole(pair.down, rank * in) : Ahead(),
                 Adder<float>{pair.to_down, in, first > 0});
        if (!pair.passed) return;
        const Adder<T> add = {(T*)pair.passed, in};
        multiply(Left<float>{to_low, wide_rank, 1}, rows, down, wide_in, in, rank,
                 next ? whole(next->up, next->rank * out) : Ahead(),
                 [=, &pair](long row, long column, Floats sums) {
                     const long place = (first + row) * in + column, count = in - column;
                     if (pair.again) sums += load_part((const T*)pair.again + place, count);
                     if (pair.draws) __builtin_prefetch(pair.draws + place + TILE_ROWS * in);
                     add(first + row, column, drop(sums, pair, place, count));
                 });
    });
}

// While one pair is computed, what the next one reads first is fetched.
void for_each_pair(void (*work)(const Pair&, const Pair*, long, long), const Pair* pairs,
                   long count, long in, long out) {
    for (long i = 0; i < count; i++)
        work(pairs[i], i + 1 < count ? pairs + i + 1 : nullptr, in, out);
}

}  // namespace

extern "C" {

#define WRAP(T, NAME)                                                                \
    void add_pairs_##NAME(const Pair* pairs, long count, long in, long out) {        \
        for_each_pair(add_pair<T>, pairs, count, in, out);                           \
    }                                                                                \
    void differentiate_pairs_##NAME(const Pair* pairs, long count, long in, long out) { \
        for_each_pair(differentiate_pair<T>, pairs, count, in, out);                 \
    }

WRAP(float, float)
WRAP(BFloat16, bfloat16)
}
