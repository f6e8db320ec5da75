// Layer normalization of a sum, and its way back; the weights do not train.
#pragma once

#include <cmath>

#include "vectors.h"

struct Norm {
    const float* weight;
    const float* bias;
};

// A dropout of some rows: what was drawn, null without.
struct Dropped {
    const int16_t* draws;
    int limit;
    float factor;

    Floats keep(Floats values, long place, long count) const {
        return draws ? drop_part(values, draws + place, limit, factor, count) : values;
    }
};

// Mean of a line and one over its standard deviation.
struct Moments {
    float mean, scale;
};

// The sum over a line of what `get` gives for each of its vectors; nothing behind the line counts.
template <typename Get>
inline float sum_line(long width, Get get) {
    const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Floats sum = {};
    long i = 0;
    for (; i + WIDTH <= width; i += WIDTH) sum += get(i);
    if (i < width) sum += lanes < int(width - i) ? get(i) : Floats{};
    return add_up(sum);
}

// sums = rows + dropped branch; out = the sums normalized. All are (count, width).
template <typename T>
void normalize(const T* branch, const Dropped& dropped, const T* rows, T* sums, Moments* moments,
               T* out, long count, long width, const Norm& norm, float epsilon) {
    for (long first = 0; first < count * width; first += width, moments++) {
        T* line = sums + first;
        for (long i = 0; i < width; i += WIDTH) {
            const long left = width - i;
            const Floats kept = dropped.keep(load_part(branch + first + i, left), first + i, left);
            store_part(line + i, load_part(rows + first + i, left) + kept, left);
        }
        const auto read = [=](long i) { return load_part(line + i, width - i); };
        const float mean = sum_line(width, read) / width;
        const float variance = sum_line(width, [=](long i) {
            const Floats distance = read(i) - mean;
            return distance * distance;
        }) / width;
        *moments = {mean, 1 / std::sqrt(variance + epsilon)};
        for (long i = 0; i < width; i += WIDTH) {
            const long left = width - i;
            const Floats normal = (read(i) - mean) * moments->scale;
            const Floats scaled = normal * load_part(norm.weight + i, left);
            store_part(out + first + i, scaled + load_part(norm.bias + i, left), left);
        }
    }
}

// Of the gradient of `out`: that of the sums, and that of the branch before its dropout.
template <typename T>
void differentiate_norm(const T* grad, const Dropped& dropped, const T* sums,
                        const Moments* moments, T* to_sums, T* to_branch, long count, long width,
                        const Norm& norm) {
    for (long first = 0; first < count * width; first += width, moments++) {
        const float mean = moments->mean, scale = moments->scale;
        const auto flow = [=](long i) {
            return load_part(grad + first + i, width - i) * load_part(norm.weight + i, width - i);
        };
        const auto normal = [=](long i) {
            return (load_part(sums + first + i, width - i) - mean) * scale;
        };
        const float own = sum_line(width, flow) / width;
        const float along = sum_line(width, [=](long i) { return flow(i) * normal(i); }) / width;
        for (long i = 0; i < width; i += WIDTH) {
            const long left = width - i;
            const Floats found = (flow(i) - own - normal(i) * along) * scale;
            store_part(to_sums + first + i, found, left);
            store_part(to_branch + first + i, dropped.keep(found, first + i, left), left);
        }
    }
}
