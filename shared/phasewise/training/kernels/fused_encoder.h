// What a pack's pass through blocks of BERT's kind is told, as kernels/fused_encoder.py fills it.
#pragma once

#include <cstdint>

#include "layer_norm.h"

enum Role { QUERY, KEY, VALUE, ATTENDED, UP, DOWN, LINEARS };

// A frozen linear layer, its weight ordered (products.h) for either direction.
struct Linear {
    const void *forward, *backward;
    const float* bias;
    int64_t in, out;
};

struct Block {
    Linear linears[LINEARS];
    Norm norms[2];
};

// A member's pair in one layer; rank 0: none.
struct OwnPair {
    const float *down, *up;
    float *to_down, *to_up;
    int64_t rank;
    int32_t limit, drops;
    float factor, scaling;
};

struct Member {
    uint64_t place;  // of its random stream
    int64_t rows, tokens;
    const OwnPair* pairs;  // (blocks, LINEARS)
};

struct Encoder {
    const Block* blocks;
    Member* members;
    const int64_t* lengths;  // of each row
    int64_t block_count, member_count, row_count, token_count, width, inner, heads;
    int32_t trains, hidden_limit, hidden_drops, weights_limit, weights_drops;
    float hidden_factor, weights_factor, epsilon, scale;
};
