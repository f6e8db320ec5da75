// What DoRA does with each column's scale; PyTorch's is in scaling.py.
#include "vectors.h"

namespace {

// Calls `make(place, column, count)` for each vector of each row; `count` may exceed WIDTH.
template <typename Make>
inline void for_each_vector(long rows, long columns, Make make) {
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < columns; column += WIDTH)
            make(row * columns + column, column, columns - column);
}

template <typename T>
void add_scaled(T* out, const T* lifted, const float* scales, long rows, long columns) {
    for_each_vector(rows, columns, [=](long place, long column, long count) {
        const Floats scale = load_part(scales + column, count);
        const Floats added = load_part(lifted + place, count) * scale;
        store_part(out + place, load_part(out + place, count) + added, count);
    });
}

template <typename T>
void scale_copied(T* out, T* copy, const float* scales, long rows, long columns) {
    for_each_vector(rows, columns, [=](long place, long column, long count) {
        const Floats values = load_part(out + place, count);
        store_part(copy + place, values, count);
        store_part(out + place, values * load_part(scales + column, count), count);
    });
}

template <typename T>
void scale_gradient(const T* grads, const T* lifted, const float* scales, T* to_lifted,
                    T* to_again, float* sums, long rows, long columns) {
    std::memset(sums, 0, columns * sizeof(float));
    for_each_vector(rows, columns, [=](long place, long column, long count) {
        const Floats grad = load_part(grads + place, count);
        const Floats scale = load_part(scales + column, count);
        const Floats sum = load_part(sums + column, count);
        store_part(sums + column, sum + grad * load_part(lifted + place, count), count);
        store_part(to_lifted + place, grad * scale, count);
        if (to_again) store_part(to_again + place, grad * (scale - 1.f), count);
    });
}

}  // namespace

extern "C" {

// All of (rows, columns); scales (columns,). out += lifted * scales
void add_scaled_float(float* out, const float* lifted, const float* scales, long rows,
                      long columns) {
    add_scaled(out, lifted, scales, rows, columns);
}

void add_scaled_bfloat16(BFloat16* out, const BFloat16* lifted, const float* scales, long rows,
                         long columns) {
    add_scaled(out, lifted, scales, rows, columns);
}

// copy = out; out *= scales
void scale_copied_float(float* out, float* copy, const float* scales, long rows, long columns) {
    scale_copied(out, copy, scales, rows, columns);
}

void scale_copied_bfloat16(BFloat16* out, BFloat16* copy, const float* scales, long rows,
                           long columns) {
    scale_copied(out, copy, scales, rows, columns);
}

// to_lifted = grads * scales; to_again = grads * (scales - 1), unless it is null;
// sums (columns,) = those of grads * lifted. to_lifted may be grads.
void scale_gradient_float(const float* grads, const float* lifted, const float* scales,
                          float* to_lifted, float* to_again, float* sums, long rows,
                          long columns) {
    scale_gradient(grads, lifted, scales, to_lifted, to_again, sums, rows, columns);
}

void scale_gradient_bfloat16(const BFloat16* grads, const BFloat16* lifted, const float* scales,
                             BFloat16* to_lifted, BFloat16* to_again, float* sums, long rows,
                             long columns) {
    scale_gradient(grads, lifted, scales, to_lifted, to_again, sums, rows, columns);
}
}
