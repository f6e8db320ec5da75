// Dropout and GELU of whole tensors.
#include "elementwise.h"
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

// Coefficients of a fraction of two polynomials in x^2, the highest power's first.
struct Fraction {
    float above[6], below[6];
};

// Fitted to have the least largest error for |x| < BOUND: below 1e-7 before rounding.
constexpr float BOUND = 5.5f;
// (share of a normal distribution below x - 1/2) / x
constexpr Fraction SHARE = {{2.22405792e-08f, 6.4782912e-06f, 1.79899114e-04f, 4.74444963e-03f,
                             3.48839387e-02f, 0.398942143f},
                            {1.19207948e-06f, 7.74725049e-05f, 1.94651762e-03f, 2.92466935e-02f,
                             0.254105806f, 1.f}};
// (slope of GELU at x - 1/2) / x
constexpr Fraction SLOPE = {{1.90872129e-07f, 3.58031939e-05f, 2.05932938e-05f, 1.42190382e-02f,
                             -3.09439115e-02f, 0.797885299f},
                            {8.88711747e-06f, 1.92060368e-04f, 3.52182006e-03f, 4.09885198e-02f,
                             0.294558734f, 1.f}};

// Both are 1/2 and an odd function of x, and nearly 0 or 1 beyond the bound. No exponential.
inline Floats evaluate(const Fraction& fraction, Floats x) {
    const Floats square = x * x;
    Floats above = fill(fraction.above[0]), below = fill(fraction.below[0]);
    for (int i = 1; i < 6; i++) {
        above = above * square + fraction.above[i];
        below = below * square + fraction.below[i];
    }
    const Floats inside = x * above / below + 0.5f;
    return x < -BOUND ? Floats{} : (x > BOUND ? fill(1.f) : inside);  // NaN stays NaN
}

template <typename T>
void gelu(const T* from, T* to, long count) {
    for_each_vector(from, to, count, [](Floats x, long) { return x * evaluate(SHARE, x); });
}

template <typename T>
void gelu_backward(const T* grads, const T* inputs, T* to, long count) {
    for_each_vector(grads, to, count, [=](Floats grad, long i) {
        return grad * evaluate(SLOPE, load_part(inputs + i, count - i));
    });
}

template <typename T>
void drop(const T* from, const int16_t* draws, int limit, float factor, T* to, long count) {
    for_each_vector(from, to, count, [=](Floats x, long i) {
        return drop_part(x, draws + i, limit, factor, count - i);
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
