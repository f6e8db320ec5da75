// What draws.cpp computes, for the other sources.
#pragma once

#include <cstdint>

// Four draws per word, and a word's place is this far from the one before.
constexpr uint64_t WORD_STEP = 0x9e3779b97f4a7c15;

// Writes `count` draws: the words after `place`, four draws each, the lowest bits first.
extern "C" void draw_int16(uint64_t place, int16_t* to, long count);
