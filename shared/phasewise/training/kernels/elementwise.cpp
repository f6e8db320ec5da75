// Dropout and GELU of whole tensors.
#include "vectors.h"

namespace {

// Calls `make` with the values of each vector of `count`; the last may be padded with zeros.
template <typename T, typename Make>
void for_each_vector(const T* from, T* to, long count, Make make) {
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) store(to + i, make(load(from + i), i));
    if (i == count) return;
    T tail[WIDTH] = {};
    std::memcpy(tail, from + i, (count - i) * sizeof(T));
    store(tail, make(load(tail), i));
    std::memcpy(to + i, tail, (count - i) * sizeof(T));
}

// Share of a normal distribution above |x| (Abramowitz and Stegun, 7.1.26), and its density at x.
struct Normal {
    Floats above, density;
};

inline Normal describe_normal(Floats x) {
    const Floats size = x < 0 ? -x : x;
    const Floats bell = exponential(-0.5f * x * x);
    const Floats t = 1.f / (1.f + 0.3275911f * 0.70710678f * size);
    Floats sum = fill(1.061405429f);
    for (const float factor : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
        sum = sum * t + factor;
    return {0.5f * sum * t * bell, 0.39894228f * bell};
}

inline Floats share_below(Floats x, Floats above) { return x < 0 ? above : 1.f - above; }

template <typename T>
void gelu(const T* from, T* to, long count) {
    for_each_vector(from, to, count, [](Floats x, long) {
        return x * share_below(x, describe_normal(x).above);
    });
}

template <typename T>
void gelu_backward(const T* grads, const T* inputs, T* to, long count) {
    for_each_vector(grads, to, count, [=](Floats grad, long i) {
        T tail[WIDTH] = {};
        const bool is_whole = i + WIDTH <= count;
        if (!is_whole) std::memcpy(tail, inputs + i, (count - i) * sizeof(T));
        const Floats x = load(is_whole ? inputs + i : tail);
        const Normal normal = describe_normal(x);
        return grad * (share_below(x, normal.above) + x * normal.density);
    });
}

template <typename T>
void drop(const T* from, const int16_t* draws, int limit, float factor, T* to, long count) {
    for_each_vector(from, to, count, [=](Floats x, long i) {
        int16_t tail[WIDTH] = {};
        const bool is_whole = i + WIDTH <= count;
        if (!is_whole) std::memcpy(tail, draws + i, (count - i) * sizeof(int16_t));
        const int16_t* own = is_whole ? draws + i : tail;
        return __builtin_convertvector(*(const Shorts*)own, Ints) < limit ? x * factor : Floats{};
    });
}

}  // namespace

extern "C" {

void gelu_float(const float* from, float* to, long count) { gelu(from, to, count); }

void gelu_bfloat16(const BFloat16* from, BFloat16* to, long count) { gelu(from, to, count); }

void gelu_backward_float(const float* grads, const float* inputs, float* to, long count) {
    gelu_backward(grads, inputs, to, count);
}

void gelu_backward_bfloat16(const BFloat16* grads, const BFloat16* inputs, BFloat16* to,
                            long count) {
    gelu_backward(grads, inputs, to, count);
}

// to = from * factor where the draw lies below `limit`, else 0.
void drop_float(const float* from, const int16_t* draws, int limit, float factor, float* to,
                long count) {
    drop(from, draws, limit, factor, to, count);
}

void drop_bfloat16(const BFloat16* from, const int16_t* draws, int limit, float factor,
                   BFloat16* to, long count) {
    drop(from, draws, limit, factor, to, count);
}
}
