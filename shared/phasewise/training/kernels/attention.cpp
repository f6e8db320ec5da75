// Attention of rows of tokens that lie one after the other: each row sees itself only.
//
// All sums are float32. Probabilities are never held: the backward pass computes them again.
#include <algorithm>
#include <initializer_list>

#include "attention.h"
#include "tiles.h"

namespace {

// Scores of a block of queries and their gradients stay in the second cache (floats of each).
constexpr long BLOCK_FLOATS = 65536;
// Queries of a block; of a causal one some scores are computed for nothing.
constexpr long BLOCK = 64, CAUSAL_BLOCK = 32;

// One head's part of a tensor: its tokens lie `step` elements apart.
template <typename T>
struct Tokens {
    T* data;
    long step;
};

struct Row {
    long first_query, queries, first_key, keys;
};

inline Row get_row(const Attention& all, long index) {
    const int64_t* own = all.rows + 4 * index;
    return {long(own[0]), long(own[1]), long(own[2]), long(own[3])};
}

template <typename T>
inline Tokens<T> take_head(const Heads& heads, long head, long first) {
    return {(T*)heads.data + head * heads.head_step + first * heads.token_step,
            long(heads.token_step)};
}

// Inlined always: GCC takes calls that do nothing but this for needless.
#define FETCHES __attribute__((always_inline)) inline

// One of `all.heads` parts of some tokens, whole and one after the other, as they lie in memory.
template <typename T>
FETCHES void fetch_part(const Attention& all, const Heads& heads, long head, long first,
                        long count, long width) {
    const long end = first + count * (head + 1) / all.heads;
    for (long token = first + count * head / all.heads; token < end; token++)
        for (long i = 0; i < width * all.size; i += 64 / long(sizeof(T)))
            __builtin_prefetch((const T*)heads.data + token * heads.token_step + i);
}

// Has the next row come into the cache while this one's heads are computed: a head's tokens lie
// too far apart for the processor to foresee them.
template <typename T>
FETCHES void fetch_next(const Attention& all, long index, long head,
                        std::initializer_list<const Heads*> of_queries,
                        std::initializer_list<const Heads*> of_keys) {
    if (index + 1 == all.count) return;
    const Row row = get_row(all, index + 1);
    for (const Heads* heads : of_queries)
        fetch_part<T>(all, *heads, head, row.first_query, row.queries, all.heads);
    for (const Heads* heads : of_keys)
        fetch_part<T>(all, *heads, head, row.first_key, row.keys, all.key_heads);
}

// Float matrices of one head, lines as long as `width` (features) or `stride` (keys).
struct Space {
    long width, stride, block;
    float *keys, *keys_across, *values, *values_across, *queries, *grads, *scores, *flows, *out;
    float *to_keys, *to_values, *sums;
};

// An odd number of cache lines, so that a column's elements spread over the first cache's sets.
inline long pad_lines(long floats) { return (round_up(floats) / WIDTH | 1) * WIDTH; }

// The thread's scratch, kept for the next call.
inline Space make_space(const Attention& all, bool is_backward) {
    Space space;
    space.width = round_up(all.size);
    space.stride = pad_lines(all.longest);
    const long most = all.is_causal ? CAUSAL_BLOCK : BLOCK;
    const long fitting = std::max(BLOCK_FLOATS / space.stride, 8l);
    space.block = std::min(fitting, most);
    const long tokens = round_up(all.longest) * space.width, across = space.width * space.stride;
    const long lines = space.block * space.width, scores = space.block * space.stride;
    struct {
        float** place;
        long floats;
        bool is_needed;
    } const parts[] = {
        {&space.keys, tokens, is_backward},         {&space.keys_across, across, true},
        {&space.values, tokens, !is_backward},      {&space.values_across, across, is_backward},
        {&space.queries, lines, true},              {&space.grads, lines, is_backward},
        {&space.scores, scores, true},              {&space.flows, scores, is_backward},
        {&space.out, lines, true},                  {&space.to_keys, tokens, is_backward},
        {&space.to_values, tokens, is_backward},    {&space.sums, round_up(space.block), true},
    };
    long total = WIDTH;
    for (const auto& part : parts) total += part.is_needed ? part.floats : 0;
    static thread_local std::vector<float> scratch;
    if (long(scratch.size()) < total) scratch.resize(total);
    float* next = (float*)((uintptr_t(scratch.data()) + 63) / 64 * 64);
    for (const auto& part : parts) {
        *part.place = part.is_needed ? next : nullptr;
        next += part.is_needed ? part.floats : 0;
    }
    return space;
}

// Copies (rows, size) into lines of `width`, zeros up to there.
template <typename T>
__attribute__((noinline)) void gather(Tokens<const T> from, long rows, long size, float* to,
                                      long width) {
    for (long row = 0; row < rows; row++)
        for (long i = 0; i < width; i += WIDTH)
            store(to + row * width + i, load_part(from.data + row * from.step + i, size - i));
}

// Copies lines of `width` into (rows, size), each times its factor, if there are any.
template <typename T>
__attribute__((noinline)) void scatter(const float* from, long width, long rows, long size,
                                       Tokens<T> to, const float* factors) {
    for (long row = 0; row < rows; row++) {
        const float factor = factors ? factors[row] : 1.f;
        for (long i = 0; i < size; i += WIDTH)
            store_part(to.data + row * to.step + i, load(from + row * width + i) * factor,
                       size - i);
    }
}

inline void clear(float* matrix, long floats) { std::memset(matrix, 0, floats * sizeof(float)); }

// Draws of one query's line; every vector of them may be read whole.
struct QueryDraws {
    const int16_t* draws;
    int32_t limit;
    int16_t* copy;

    QueryDraws(const Attention& all, long row, long head, const Row& own, long query, int16_t* scratch)
        : draws(nullptr), limit(all.limit), copy(scratch) {
        if (!all.draws) return;
        const long total = all.heads * own.queries * own.keys;
        const long first = (head * own.queries + query) * own.keys;
        draws = all.draws[row] + first;
        if (first + round_up(own.keys) <= total) return;
        std::memcpy(copy, draws, own.keys * sizeof(int16_t));
        draws = copy;
    }

    Floats keep(Floats values, long i) const {
        if (!draws) return values;
        return widen(*(const Shorts*)(draws + i)) < limit ? values : Floats{};
    }
};

// Calls `make(i, is_inside)` for each vector of a line whose first `seen` elements count.
template <typename Make>
inline void for_each_vector(long seen, Make make) {
    const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    long i = 0;
    for (; i + WIDTH <= seen; i += WIDTH) make(i, lanes >= 0);
    if (i < seen) make(i, lanes < int(seen - i));
}

// Turns scores into exponentials, zeros up to `columns`; returns their sum.
inline float exponentiate(float* scores, long seen, long columns) {
    const Floats none = fill(-__builtin_inff());
    Floats top = none, sum = {};
    for_each_vector(seen, [&](long i, Ints inside) {
        const Floats x = inside ? load(scores + i) : none;
        top = x > top ? x : top;
    });
    const float largest = find_largest(top);
    for_each_vector(seen, [&](long i, Ints inside) {
        const Floats x = exponential(inside ? load(scores + i) - largest : none);
        sum += x;
        store(scores + i, x);
    });
    for (long i = round_up(seen); i < columns; i += WIDTH) store(scores + i, Floats{});
    return add_up(sum);
}

// Sizes of a block of queries: those from `first` on that are computed together.
struct Block {
    long first, count, seen, columns;

    Block(const Attention& all, const Row& row, long begin, long most) : first(begin) {
        count = row.queries - begin < most ? row.queries - begin : most;
        const long last = begin + count;
        seen = all.is_causal && last < row.keys ? last : row.keys;
        columns = round_up(seen);
    }

    // Keys that a query of the block sees.
    long seen_by(const Attention& all, long query) const {
        return all.is_causal && first + query + 1 < seen ? first + query + 1 : seen;
    }
};

// Out of line, as some others are: copies of it would take seconds more to compile.
__attribute__((noinline)) void multiply_floats(Left<float> left, long rows, const float* right,
                                               long right_stride, float* out, long out_stride,
                                               long columns, long k_count, float factor,
                                               bool adds) {
    multiply(left, rows, right, right_stride, out, out_stride, columns, k_count, factor, adds);
}

inline void multiply_queries(const Space& space, const Attention& all, const Block& block,
                             const float* left, const float* right, float* out, float scale) {
    multiply_floats(Left<float>{left, space.width, 1}, block.count, right, space.stride, out,
             space.stride, block.columns, all.size, scale, false);
}

// Of the queries at hand: their results, to be scaled by `sums`.
void weigh_values(const Attention& all, const Space& space, long row, long head, const Row& own,
                  const Block& block, int16_t* scratch) {
    multiply_queries(space, all, block, space.queries, space.keys_across, space.scores, all.scale);
    for (long i = 0; i < block.count; i++) {
        float* scores = space.scores + i * space.stride;
        const float sum = exponentiate(scores, block.seen_by(all, i), block.columns);
        space.sums[i] = all.factor / sum;
        if (!all.draws) continue;
        const QueryDraws line(all, row, head, own, block.first + i, scratch);
        for (long k = 0; k < block.columns; k += WIDTH)
            store(scores + k, line.keep(load(scores + k), k));
    }
    multiply_floats(Left<float>{space.scores, space.stride, 1}, block.count, space.values,
                    space.width, space.out, space.width, space.width, block.seen, 1.f, false);
}

template <typename T>
void attend_block(const Attention& all, const Space& space, long row, long head, const Row& own,
                  const Block& block, Tokens<const T> query, Tokens<T> out, int16_t* scratch) {
    gather(query, block.count, all.size, space.queries, space.width);
    weigh_values(all, space, row, head, own, block, scratch);
    scatter(space.out, space.width, block.count, all.size, out, space.sums);
}

// What a tensor holds behind the last token of the last row belongs to none: zeros.
template <typename T>
void clear_rest(const Attention& all, const Heads& out, long heads, long end, long tokens) {
    for (long head = 0; head < heads; head++)
        for (long token = end; token < tokens; token++)
            std::memset(take_head<T>(out, head, token).data, 0, all.size * sizeof(T));
}

template <typename T>
void attend(const Attention& all, const Heads& query, const Heads& key, const Heads& value,
            const Heads& out) {
    Space space = make_space(all, false);
    std::vector<int16_t> scratch(all.draws ? round_up(all.longest) : 0);
    const long shared = all.heads / all.key_heads;
    long end = 0;
    for (long index = 0; index < all.count; index++) {
        const Row row = get_row(all, index);
        space.stride = pad_lines(row.keys);
        end = row.first_query + row.queries;
        for (long head = 0; head < all.heads; head++) {
            fetch_next<T>(all, index, head, {&query}, {&key, &value});
            if (head % shared == 0) {
                const auto keys = take_head<const T>(key, head / shared, row.first_key);
                const auto values = take_head<const T>(value, head / shared, row.first_key);
                transpose(keys.data, row.keys, all.size, keys.step, space.keys_across,
                          space.stride);
                gather(values, row.keys, all.size, space.values, space.width);
            }
            for (long first = 0; first < row.queries; first += space.block) {
                const Block block(all, row, first, space.block);
                attend_block<T>(
                    all, space, index, head, row, block,
                    take_head<const T>(query, head, row.first_query + first),
                    take_head<T>(out, head, row.first_query + first), scratch.data());
            }
        }
    }
    clear_rest<T>(all, out, all.heads, end, all.queries);
}

// Makes of a line of exponentials and of the weights' gradients the weights, as dropout left them,
// and the scores' gradients.
inline void differentiate_line(const QueryDraws& line, float factor, float sum, float* scores,
                               float* flows, long columns) {
    const float kept = factor / sum;
    Floats flow = {};
    for (long i = 0; i < columns; i += WIDTH)
        flow += line.keep(load(scores + i), i) * load(flows + i);
    const float mean = add_up(flow) * kept / sum;
    for (long i = 0; i < columns; i += WIDTH) {
        const Floats x = load(scores + i), weights = line.keep(x, i) * kept;
        store(flows + i, weights * load(flows + i) - x * mean);
        store(scores + i, weights);
    }
}

// Of the queries and gradients at hand: adds to the keys' and values' gradients; the queries' own.
void differentiate_queries(const Attention& all, const Space& space, long row, long head,
                           const Row& own, const Block& block, int16_t* scratch) {
    multiply_queries(space, all, block, space.queries, space.keys_across, space.scores, all.scale);
    multiply_queries(space, all, block, space.grads, space.values_across, space.flows, 1.f);
    for (long i = 0; i < block.count; i++) {
        float *scores = space.scores + i * space.stride, *flows = space.flows + i * space.stride;
        const float sum = exponentiate(scores, block.seen_by(all, i), block.columns);
        const QueryDraws line(all, row, head, own, block.first + i, scratch);
        differentiate_line(line, all.factor, sum, scores, flows, block.columns);
    }
    multiply_floats(Left<float>{space.scores, 1, space.stride}, block.seen, space.grads, space.width,
                    space.to_values, space.width, space.width, block.count, 1.f, true);
    multiply_floats(Left<float>{space.flows, 1, space.stride}, block.seen, space.queries, space.width,
                    space.to_keys, space.width, space.width, block.count, all.scale, true);
    multiply_floats(Left<float>{space.flows, space.stride, 1}, block.count, space.keys,
                    space.width, space.out, space.width, space.width, block.seen, all.scale,
                    false);
}

template <typename T>
void differentiate_block(const Attention& all, const Space& space, long row, long head,
                         const Row& own, const Block& block, Tokens<const T> query,
                         Tokens<const T> grad, Tokens<T> to_query, int16_t* scratch) {
    gather(query, block.count, all.size, space.queries, space.width);
    gather(grad, block.count, all.size, space.grads, space.width);
    differentiate_queries(all, space, row, head, own, block, scratch);
    scatter<T>(space.out, space.width, block.count, all.size, to_query, nullptr);
}

template <typename T>
void load_keys(const Attention& all, const Space& space, const Row& row, Tokens<const T> keys,
               Tokens<const T> values) {
    const long floats = round_up(row.keys) * space.width;
    gather(keys, row.keys, all.size, space.keys, space.width);
    transpose(keys.data, row.keys, all.size, keys.step, space.keys_across, space.stride);
    transpose(values.data, row.keys, all.size, values.step, space.values_across, space.stride);
    clear(space.to_keys, floats);
    clear(space.to_values, floats);
}

template <typename T>
void differentiate(const Attention& all, const Heads& query, const Heads& key, const Heads& value,
                   const Heads& grad, const Heads& to_query, const Heads& to_key,
                   const Heads& to_value) {
    Space space = make_space(all, true);
    std::vector<int16_t> scratch(all.draws ? round_up(all.longest) : 0);
    const long shared = all.heads / all.key_heads;
    Row row = {};
    for (long index = 0; index < all.count; index++) {
        row = get_row(all, index);
        space.stride = pad_lines(row.keys);
        for (long head = 0; head < all.heads; head++) {
            const long own = head / shared;
            fetch_next<T>(all, index, head, {&query, &grad}, {&key, &value});
            if (head % shared == 0)
                load_keys(all, space, row, take_head<const T>(key, own, row.first_key),
                          take_head<const T>(value, own, row.first_key));
            for (long first = 0; first < row.queries; first += space.block) {
                const long token = row.first_query + first;
                differentiate_block<T>(
                    all, space, index, head, row, Block(all, row, first, space.block),
                    take_head<const T>(query, head, token), take_head<const T>(grad, head, token),
                    take_head<T>(to_query, head, token), scratch.data());
            }
            if (head % shared != shared - 1) continue;
            scatter<T>(space.to_keys, space.width, row.keys, all.size,
                    take_head<T>(to_key, own, row.first_key), nullptr);
            scatter<T>(space.to_values, space.width, row.keys, all.size,
                    take_head<T>(to_value, own, row.first_key), nullptr);
        }
    }
    clear_rest<T>(all, to_query, all.heads, row.first_query + row.queries, all.queries);
    clear_rest<T>(all, to_key, all.key_heads, row.first_key + row.keys, all.keys);
    clear_rest<T>(all, to_value, all.key_heads, row.first_key + row.keys, all.keys);
}

}  // namespace

extern "C" {

void attend_float(const Attention* all, const Heads* query, const Heads* key, const Heads* value,
                  const Heads* out) {
    attend<float>(*all, *query, *key, *value, *out);
}

void attend_bfloat16(const Attention* all, const Heads* query, const Heads* key,
                     const Heads* value, const Heads* out) {
    attend<BFloat16>(*all, *query, *key, *value, *out);
}

void attend_backward_float(const Attention* all, const Heads* query, const Heads* key,
                           const Heads* value, const Heads* grad, const Heads* to_query,
                           const Heads* to_key, const Heads* to_value) {
    differentiate<float>(*all, *query, *key, *value, *grad, *to_query, *to_key, *to_value);
}

void attend_backward_bfloat16(const Attention* all, const Heads* query, const Heads* key,
                              const Heads* value, const Heads* grad, const Heads* to_query,
                              const Heads* to_key, const Heads* to_value) {
    differentiate<BFloat16>(*all, *query, *key, *value, *grad, *to_query, *to_key, *to_value);
}
}
