// Where a pass through blocks of BERT's kind keeps what the way back needs, and its random numbers.
//
// They are drawn in the order in which packed/ draws them for transformers' own code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "draws.h"
#include "pairs.h"
#include "fused_encoder.h"

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
struct Buffers {
    long count;
    bool is_last;
    T *in, *own, *query, *key, *value, *attended, *first_sums, *middle, *raw, *active, *sums, *out;
    Moments *first_moments, *moments;
    Dropped first_dropped, dropped;
    std::vector<const int16_t*> weights;  // draws of the attention's dropout, of each row
    std::vector<Pair> pairs[LINEARS];     // but for inputs and outputs of the pass
    std::vector<long> starts[LINEARS];    // each pair's first row
};

// Makes the buffers of a pass, in the order of the blocks: the same ones for its way back.
template <typename T>
class Planner {
  public:
    // `draws`: whether random numbers are drawn now, or lie in the arena since the pass forward.
    Planner(const Encoder& all, Arena& arena, bool draws)
        : all_(all), arena_(arena), draws_(draws && !arena.counts()) {
        shared_ = arena.take<T>(all.token_count * all.inner);
        if (all.trains) return;
        for (T*& turn : turns_) turn = arena.take<T>(all.token_count * all.width);
    }

    // (tokens, inner), for whoever needs it meanwhile.
    T* shared() const { return shared_; }

    Buffers<T> make_buffers(long index, T* in) {
        Buffers<T> buffers = {};
        const bool last = buffers.is_last = index + 1 == all_.block_count;
        buffers.count = last ? all_.row_count : all_.token_count;
        const long tokens = all_.token_count * all_.width, own = buffers.count * all_.width;
        buffers.in = buffers.own = in;
        if (last) buffers.own = arena_.take<T>(own);
        buffers.query = arena_.take<T>(own);
        buffers.key = arena_.take<T>(tokens);
        buffers.value = arena_.take<T>(tokens);
        for (T** one : {&buffers.attended, &buffers.first_sums, &buffers.middle, &buffers.sums})
            *one = arena_.take<T>(own);
        buffers.raw = arena_.take<T>(buffers.count * all_.inner);
        const bool holds = all_.trains && is_adapted(index, DOWN);
        buffers.active = holds ? arena_.take<T>(buffers.count * all_.inner) : shared_;
        buffers.first_moments = arena_.take<Moments>(buffers.count);
        buffers.moments = arena_.take<Moments>(buffers.count);
        buffers.out = all_.trains ? arena_.take<T>(own) : turns_[index % 2];
        if (last) skip_pairs(index, QUERY, false);
        else take_pairs(index, QUERY, false, buffers);
        take_pairs(index, KEY, false, buffers);
        take_pairs(index, VALUE, false, buffers);
        if (last) {
            take_pairs(index, QUERY, true, buffers);
            skip_pairs(index, KEY, true);
            skip_pairs(index, VALUE, true);
        }
        take_weights(buffers);
        take_pairs(index, ATTENDED, last, buffers);
        buffers.first_dropped = take_hidden(last);
        take_pairs(index, UP, last, buffers);
        take_pairs(index, DOWN, last, buffers);
        buffers.dropped = take_hidden(last);
        return buffers;
    }

  private:
    const Encoder& all_;
    Arena& arena_;
    bool draws_;
    T *shared_, *turns_[2];  // of all blocks

    void skip(Member& member, long count) const {
        if (draws_) member.place += uint64_t((count + 3) / 4) * WORD_STEP;
    }

    void draw(Member& member, int16_t* to, long count) const {
        if (draws_) draw_int16(member.place, to, count);
        skip(member, count);
    }

    // Rows of a member that go through a layer.
    static long rows_of(const Member& member, bool is_narrow) {
        return is_narrow ? member.rows : member.tokens;
    }

    bool is_adapted(long index, Role role) const {
        for (long i = 0; i < all_.member_count; i++)
            if (all_.members[i].pairs[index * LINEARS + role].rank) return true;
        return false;
    }

    // The pairs of a layer, their draws and room for their lows.
    void take_pairs(long index, Role role, bool is_narrow, Buffers<T>& buffers) {
        long start = 0;
        for (long i = 0; i < all_.member_count; i++) {
            Member& member = all_.members[i];
            const OwnPair& own = member.pairs[index * LINEARS + role];
            const long rows = rows_of(member, is_narrow), in = all_.blocks[index].linears[role].in;
            if (own.rank) {
                int16_t* draws = nullptr;
                if (own.drops && all_.trains) {
                    draws = arena_.take<int16_t>(rows * in);
                    draw(member, draws, rows * in);
                }
                float* low = arena_.take<float>(rows * round_up(own.rank));
                buffers.pairs[role].push_back({nullptr, draws, own.down, own.up, low, nullptr,
                                             own.to_down, own.to_up, nullptr, nullptr, rows,
                                             long(own.rank), own.limit, own.factor, own.scaling});
                buffers.starts[role].push_back(start);
            }
            start += rows;
        }
    }

    // As many random numbers as `take_pairs` draws, unused: transformers' code computes the last
    // block's query, key and value twice, of all tokens and of those that count.
    void skip_pairs(long index, Role role, bool is_narrow) {
        for (long i = 0; i < all_.member_count; i++) {
            Member& member = all_.members[i];
            const OwnPair& own = member.pairs[index * LINEARS + role];
            if (own.rank && own.drops && all_.trains)
                skip(member, rows_of(member, is_narrow) * all_.blocks[index].linears[role].in);
        }
    }

    Dropped take_hidden(bool is_narrow) {
        if (!all_.trains || !all_.hidden_drops) return {nullptr, 0, 1.f};
        const long count = is_narrow ? all_.row_count : all_.token_count;
        int16_t *draws = arena_.take<int16_t>(count * all_.width), *next = draws;
        for (long i = 0; i < all_.member_count; i++) {
            const long own = rows_of(all_.members[i], is_narrow) * all_.width;
            draw(all_.members[i], next, own);
            if (next) next += own;
        }
        return {draws, all_.hidden_limit, all_.hidden_factor};
    }

    void take_weights(Buffers<T>& buffers) {
        if (!all_.trains || !all_.weights_drops) return;
        const int64_t* length = all_.lengths;
        for (long i = 0; i < all_.member_count; i++) {
            Member& member = all_.members[i];
            long count = 0;
            for (long row = 0; row < member.rows; row++)
                count += all_.heads * (buffers.is_last ? 1 : length[row]) * length[row];
            int16_t* next = arena_.take<int16_t>(count);
            draw(member, next, count);
            for (long row = 0; row < member.rows; row++, length++) {
                buffers.weights.push_back(next);
                if (next) next += all_.heads * (buffers.is_last ? 1 : *length) * *length;
            }
        }
    }
};
