// Blocks of BERT's kind for all tokens of a pack: one call forward, one back.
//
// middle = norm(x + drop(O attend(Q x, K x, V x))), out = norm(middle + drop(D gelu(U middle))).
#include <algorithm>

#include "attention.h"
#include "elementwise.h"
#include "products.h"
#include "buffers.h"

namespace {

template <typename T>
struct Kernels;

#define KERNELS(T, NAME)                                                     \
    template <>                                                              \
    struct Kernels<T> {                                                      \
        static constexpr auto add_pairs = add_pairs_##NAME;                  \
        static constexpr auto differentiate_pairs = differentiate_pairs_##NAME; \
        static constexpr auto attend = attend_##NAME;                        \
        static constexpr auto attend_backward = attend_backward_##NAME;      \
        static constexpr auto gelu = gelu_##NAME;                            \
        static constexpr auto gelu_backward = gelu_backward_##NAME;          \
    };

KERNELS(float, float)
KERNELS(BFloat16, bfloat16)

// Which queries see which keys, as attention.h has it: all tokens of their rows, or only the first.
struct Rows {
    std::vector<int64_t> whole, narrow, firsts;
    long longest = 0;

    explicit Rows(const Encoder& all) {
        for (long row = 0, token = 0; row < all.row_count; token += all.lengths[row++]) {
            const int64_t length = all.lengths[row];
            firsts.push_back(token);
            for (const int64_t part : {long(token), long(length), long(token), long(length)})
                whole.push_back(part);
            for (const int64_t part : {row, 1l, long(token), long(length)}) narrow.push_back(part);
            longest = std::max(longest, long(length));
        }
    }
};

template <typename T>
class Pass {
  public:
    // `draws`: whether random numbers are drawn now, or lie in the arena since the pass forward.
    Pass(const Encoder& all, Arena& arena, bool draws)
        : all_(all), arena_(arena), rows_(all), planner_(all, arena, draws),
          wide_(planner_.shared()), branch_(take_states()) {}

    void forward(const T* states, T* out) {
        T* in = (T*)states;
        for (long index = 0; index < all_.block_count; index++) {
            const long used = arena_.used();
            Buffers<T> buffers = planner_.make_buffers(index, in);
            if (!arena_.counts()) run_block(index, buffers);
            in = buffers.out;
            if (!all_.trains) arena_.rewind(used);
        }
        if (!arena_.counts()) std::copy(in, in + all_.row_count * all_.width, out);
    }

    // `states` as they were; `grad` is that of `out`.
    void backward(const T* states, const T* grad) {
        std::vector<Buffers<T>> blocks;
        for (long index = 0; index < all_.block_count; index++)
            blocks.push_back(planner_.make_buffers(index, index ? blocks.back().out : (T*)states));
        T *turns[3], *parts[3];
        for (T*& turn : turns) turn = take_states();
        for (T*& part : parts) part = take_states();
        if (arena_.counts()) return;
        std::copy(grad, grad + all_.row_count * all_.width, turns[0]);
        long first = 0;  // the first adapted block; the gradient goes no further
        while (first + 1 < all_.block_count && !is_adapted(blocks[first])) first++;
        for (long index = all_.block_count - 1; index >= first; index--)
            differentiate_block(index, blocks[index], turns, parts, index > first);
    }

  private:
    const Encoder& all_;
    Arena& arena_;
    Rows rows_;
    Planner<T> planner_;
    T *wide_, *branch_;  // (tokens, inner) and (tokens, width)

    static bool is_adapted(const Buffers<T>& buffers) {
        return std::any_of(buffers.pairs, buffers.pairs + LINEARS,
                           [](const std::vector<Pair>& pairs) { return !pairs.empty(); });
    }

    T* take_states() { return arena_.take<T>(all_.token_count * all_.width); }

    // out = the layer of `in`, with all members' pairs.
    void apply(long index, Role role, Buffers<T>& buffers, const T* in, long count, T* out) {
        const Linear& layer = all_.blocks[index].linears[role];
        multiply_ordered<T>(in, count, layer.in, (const T*)layer.forward, layer.in, layer.out,
                            layer.bias, out, layer.out, false);
        std::vector<Pair>& pairs = buffers.pairs[role];
        for (size_t i = 0; i < pairs.size(); i++) {
            pairs[i].inputs = in + buffers.starts[role][i] * layer.in;
            pairs[i].out = out + buffers.starts[role][i] * layer.out;
        }
        Kernels<T>::add_pairs(pairs.data(), pairs.size(), layer.in, layer.out);
    }

    // Writes the gradients of a layer's pairs, and that of its input where `passed` is not null:
    // added to that, or in its place.
    void go_back(long index, Role role, Buffers<T>& buffers, const T* in, const T* grad, long count,
                 T* passed, bool adds) {
        const Linear& layer = all_.blocks[index].linears[role];
        if (passed)
            multiply_ordered<T>(grad, count, layer.out, (const T*)layer.backward, layer.out,
                                layer.in, nullptr, passed, layer.in, adds);
        std::vector<Pair>& pairs = buffers.pairs[role];
        for (size_t i = 0; i < pairs.size(); i++) {
            const long start = buffers.starts[role][i];
            pairs[i].inputs = in + start * layer.in;
            pairs[i].out = (T*)grad + start * layer.out;
            pairs[i].passed = passed ? passed + start * layer.in : nullptr;
        }
        Kernels<T>::differentiate_pairs(pairs.data(), pairs.size(), layer.in, layer.out);
    }

    Attention describe(const Buffers<T>& buffers) const {
        const std::vector<int64_t>& rows = buffers.is_last ? rows_.narrow : rows_.whole;
        return {rows.data(), buffers.weights.empty() ? nullptr : buffers.weights.data(),
                all_.row_count,
                all_.heads, all_.heads, all_.width / all_.heads, buffers.count, all_.token_count,
                rows_.longest, 0, all_.weights_limit, all_.scale,
                buffers.weights.empty() ? 1.f : all_.weights_factor};
    }

    Heads split(const T* rows) const { return {(void*)rows, all_.width / all_.heads, all_.width}; }

    // Of (tokens, width) the first token of each row.
    void gather_firsts(const T* from, T* to) const {
        for (const int64_t token : rows_.firsts)
            to = std::copy(from + token * all_.width, from + (token + 1) * all_.width, to);
    }

    void scatter_firsts(const T* from, T* to) const {
        for (const int64_t token : rows_.firsts) {
            std::copy(from, from + all_.width, to + token * all_.width);
            from += all_.width;
        }
    }

    void run_block(long index, Buffers<T>& buffers) {
        const Block& block = all_.blocks[index];
        const long count = buffers.count, width = all_.width;
        if (buffers.is_last) gather_firsts(buffers.in, buffers.own);
        apply(index, QUERY, buffers, buffers.own, count, buffers.query);
        apply(index, KEY, buffers, buffers.in, all_.token_count, buffers.key);
        apply(index, VALUE, buffers, buffers.in, all_.token_count, buffers.value);
        const Attention attention = describe(buffers);
        const Heads query = split(buffers.query), key = split(buffers.key),
                value = split(buffers.value),
                    attended = split(buffers.attended);
        Kernels<T>::attend(&attention, &query, &key, &value, &attended);
        apply(index, ATTENDED, buffers, buffers.attended, count, branch_);
        normalize<T>(branch_, buffers.first_dropped, buffers.own, buffers.first_sums,
                buffers.first_moments,
                     buffers.middle, count, width, block.norms[0], all_.epsilon);
        apply(index, UP, buffers, buffers.middle, count, buffers.raw);
        Kernels<T>::gelu(buffers.raw, buffers.active, count * all_.inner);
        apply(index, DOWN, buffers, buffers.active, count, branch_);
        normalize<T>(branch_, buffers.dropped, buffers.middle, buffers.sums, buffers.moments,
                buffers.out, count,
                     width, block.norms[1], all_.epsilon);
    }

    // `turns[0]` holds the gradient of the block's output, then that of its input, if it is needed.
    void differentiate_block(long index, Buffers<T>& buffers, T** turns, T** parts, bool needed) {
        const Block& block = all_.blocks[index];
        const long count = buffers.count;
        T *grad = turns[0], *flow = turns[1];
        differentiate_norm<T>(grad, buffers.dropped, buffers.sums, buffers.moments, flow, branch_,
                count,
                              all_.width, block.norms[1]);
        go_back(index, DOWN, buffers, buffers.active, branch_, count, wide_, false);
        Kernels<T>::gelu_backward(wide_, buffers.raw, wide_, count * all_.inner);
        go_back(index, UP, buffers, buffers.middle, wide_, count, flow, true);
        differentiate_norm<T>(flow, buffers.first_dropped, buffers.first_sums,
                buffers.first_moments, grad,
                              branch_, count, all_.width, block.norms[0]);
        go_back(index, ATTENDED, buffers, buffers.attended, branch_, count, flow, false);
        const Attention attention = describe(buffers);
        const Heads query = split(buffers.query), key = split(buffers.key),
                value = split(buffers.value),
                    back = split(flow), to_query = split(parts[QUERY]), to_key = split(parts[KEY]),
                    to_value = split(parts[VALUE]);
        Kernels<T>::attend_backward(&attention, &query, &key, &value, &back, &to_query, &to_key,
                                    &to_value);
        pass_on(index, buffers, turns, parts, needed);
    }

    // Through query, key and value to the block's input, whose other gradient lies in `turns[0]`.
    void pass_on(long index, Buffers<T>& buffers, T** turns, T** parts, bool needed) {
        T* own = needed ? turns[0] : nullptr;
        go_back(index, QUERY, buffers, buffers.own, parts[QUERY], buffers.count, own, true);
        if (buffers.is_last && needed) {
            std::fill(turns[2], turns[2] + all_.token_count * all_.width, T{});
            scatter_firsts(turns[0], turns[2]);
            std::swap(turns[0], turns[2]);
            own = turns[0];
        }
        go_back(index, KEY, buffers, buffers.in, parts[KEY], all_.token_count, own, true);
        go_back(index, VALUE, buffers, buffers.in, parts[VALUE], all_.token_count, own, true);
    }
};

template <typename T>
long measure(const Encoder& all) {
    Arena arena(nullptr);
    Pass<T> pass(all, arena, false);
    if (all.trains) pass.backward(nullptr, nullptr);
    else pass.forward(nullptr, nullptr);
    return arena.most();
}

template <typename T>
void run(const Encoder& all, char* memory, const T* states, T* out) {
    Arena arena(memory);
    Pass<T>(all, arena, true).forward(states, out);
}

template <typename T>
void run_backward(const Encoder& all, char* memory, const T* states, const T* grad) {
    Arena arena(memory);
    Pass<T>(all, arena, false).backward(states, grad);
}

}  // namespace

extern "C" {

// Bytes of memory that a pass needs.
long measure_encoder_float(const Encoder* all) { return measure<float>(*all); }
long measure_encoder_bfloat16(const Encoder* all) { return measure<BFloat16>(*all); }

// out (rows, width), the first token of each row, of states (tokens, width).
void run_encoder_float(const Encoder* all, char* memory, const float* states, float* out) {
    run(*all, memory, states, out);
}
void run_encoder_bfloat16(const Encoder* all, char* memory, const BFloat16* states, BFloat16* out) {
    run(*all, memory, states, out);
}

// Writes the gradients of all pairs; `memory` and `states` as `run_trunk` left them.
void differentiate_encoder_float(const Encoder* all, char* memory, const float* states,
                               const float* grad) {
    run_backward(*all, memory, states, grad);
}
void differentiate_encoder_bfloat16(const Encoder* all, char* memory, const BFloat16* states,
                                  const BFloat16* grad) {
    run_backward(*all, memory, states, grad);
}
}
