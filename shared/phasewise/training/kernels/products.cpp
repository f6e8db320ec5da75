// Products with frozen weights that were ordered once; see products.h.
#include "products.h"

extern "C" {

#define WRAP(T, NAME)                                                                              \
    long ordered_size_##NAME(long k, long n) { return ordered_size<T>(k, n); }                     \
    void order_##NAME(const T* weight, long k_step, long n_step, long k, long n, T* to) {          \
        order(weight, k_step, n_step, k, n, to);                                                   \
    }                                                                                              \
    void multiply_ordered_##NAME(const T* rows, long count, long row_step, const T* ordered,       \
                                 long k, long n, const float* bias, T* out, long out_step,         \
                                 bool adds) {                                                      \
        multiply_ordered(rows, count, row_step, ordered, k, n, bias, out, out_step, adds);         \
    }

WRAP(float, float)
WRAP(BFloat16, bfloat16)
}
