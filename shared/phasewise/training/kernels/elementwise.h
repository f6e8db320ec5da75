// What elementwise.cpp computes, for the other sources.
#pragma once

#include "vectors.h"

extern "C" {

void gelu_float(const float* from, float* to, long count);
void gelu_bfloat16(const BFloat16* from, BFloat16* to, long count);

// The gradients of `inputs`, of those of their GELU.
void gelu_backward_float(const float* grads, const float* inputs, float* to, long count);
void gelu_backward_bfloat16(const BFloat16* grads, const BFloat16* inputs, BFloat16* to,
                            long count);
}
