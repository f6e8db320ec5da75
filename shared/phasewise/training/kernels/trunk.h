// What a pack's pass through blocks of BERT's kind is told, as kernels/trunk.py fills it, and
// where it keeps what the way back needs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention.h"
#include "layer_norm.h"
#include "pairs.h"

enum Place { QUERY, KEY, VALUE, ATTENDED, UP, DOWN, LINEARS };

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

struct Trunk {
    const Block* blocks;
    Member* members;
    const int64_t* lengths;  // of each row
    int64_t block_count, member_count, row_count, token_count, width, inner, heads;
    int64_t first_adapted;  // block; the gradient goes no further
    int32_t trains, hidden_limit, hidden_drops, weights_limit, weights_drops, unused;
    float hidden_factor, weights_factor, epsilon, scale;
};

// Hands out parts of one piece of memory; of none, it only counts.
class Arena {
  public:
    explicit Arena(char* base) : base_(base) {}

    template <typename T>
    T* take(long count) {
        const long first = used_;
        used_ += (count * long(sizeof(T)) + 63) / 64 * 64;
        most_ = std::max(most_, used_);
        return base_ ? (T*)(base_ + first) : nullptr;
    }

    bool counts() const { return !base_; }
    long used() const { return used_; }
    long most() const { return most_; }
    void rewind(long used) { used_ = used; }

  private:
    char* base_;
    long used_ = 0, most_ = 0;
};

// What one block's pass writes down. `count` rows go through all but keys and values: all tokens,
// in the last block one of each row.
template <typename T>
struct Room {
    long count;
    bool is_last;
    T *in, *own, *query, *key, *value, *attended, *first_sums, *middle, *raw, *active, *sums, *out;
    Moments *first_moments, *moments;
    Dropped first_dropped, dropped;
    std::vector<const int16_t*> weights;  // draws of the attention's dropout, of each row
    std::vector<Pair> pairs[LINEARS];     // but for inputs and outputs of the pass
    std::vector<long> starts[LINEARS];    // each pair's first row
};
