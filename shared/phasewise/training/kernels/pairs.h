// What pairs.cpp computes, for the other sources.
#pragma once

#include <cstdint>

#include "vectors.h"

// One member's pair, as kernels/pairs.py describes it; T is the type of all but the weights.
struct Pair {
    const void* inputs;    // x, (rows, in)
    const int16_t* draws;  // dropout's, (rows, in); null without
    const float* down;     // A, (rank, in)
    const float* up;       // B, (out, rank)
    float* low;            // s (k x) A^T, (rows, rank rounded up)
    void* out;             // (rows, out); its gradient in the backward pass
    float* to_down;        // gradients of A and B
    float* to_up;
    void* passed;          // (rows, in), to which the gradient of x is added; null: nobody needs it
    const void* again;     // (rows, in), added to that gradient before dropout; may be null
    long rows, rank;
    int limit;  // draws below it are kept, times `factor`
    float factor, scaling;
};

extern "C" {

// out += s (k x) A^T B^T of each pair, all of one layer.
void add_pairs_float(const Pair* pairs, long count, long in, long out);
void add_pairs_bfloat16(const Pair* pairs, long count, long in, long out);

// The gradients of A and B, and that of x added to `passed`; `out` has the output's.
void differentiate_pairs_float(const Pair* pairs, long count, long in, long out);
void differentiate_pairs_bfloat16(const Pair* pairs, long count, long in, long out);
}
