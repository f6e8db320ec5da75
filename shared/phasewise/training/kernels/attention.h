// What attention.cpp computes, for the other sources.
#pragma once

#include <cstdint>

#include "vectors.h"

// Both as kernels/attention.py fills them.
struct Heads {
    void* data;
    int64_t head_step, token_step;
};

struct Attention {
    const int64_t* rows;        // (count, 4): first query, queries, first key, keys
    const int16_t* const* draws;  // each row's, (heads, its queries, its keys); null: no dropout
    int64_t count, heads, key_heads, size, queries, keys, longest;
    int32_t is_causal, limit;
    float scale, factor;
};

extern "C" {

// out = dropout(softmax(scale * query key^T)) value, of each row and head.
void attend_float(const Attention* all, const Heads* query, const Heads* key, const Heads* value,
                  const Heads* out);
void attend_bfloat16(const Attention* all, const Heads* query, const Heads* key,
                     const Heads* value, const Heads* out);

// The gradients of query, key and value, of `grad`, that of out.
void attend_backward_float(const Attention* all, const Heads* query, const Heads* key,
                           const Heads* value, const Heads* grad, const Heads* to_query,
                           const Heads* to_key, const Heads* to_value);
void attend_backward_bfloat16(const Attention* all, const Heads* query, const Heads* key,
                              const Heads* value, const Heads* grad, const Heads* to_query,
                              const Heads* to_key, const Heads* to_value);
}
