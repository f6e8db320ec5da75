"""What a run's dropouts keep, from a random stream of its own."""

import ctypes
from typing import NamedTuple, Self

import numpy as np
import torch

from phasewise.training.kernels.library import address_of, find_kernel

#: Of SplitMix64: the step from word to word, then a multiplier and a shift of each mixing.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = np.uint64(31)
_WORD = 4  # int16 of a word


class DropoutMask(NamedTuple):
    """What a dropout drew for each element of a tensor: a quarter of the memory of its factors.

    Attributes:
        bits: Of the tensor's shape, contiguous: int16 on a CPU, bool elsewhere.
        limit: int16 draws below it are kept.
        factor: Of what is kept: 1/(1 - probability).
    """

    bits: torch.Tensor
    limit: int
    factor: float

    @classmethod
    def make(
        cls, shape: torch.Size | tuple[int, ...], probability: float, device: torch.device
    ) -> Self:
        """Returns memory for what a dropout is to keep of a tensor; nothing is drawn.

        Args:
            shape: The tensor's.
            probability: Of losing an element, below 1; on a CPU exact to 1/65536.
            device: The tensor's.
        """
        if device.type == "cpu":
            bits = torch.empty(shape, dtype=torch.int16)
        else:  # a bool that is neither 0 nor 1 is undefined
            bits = torch.zeros(shape, dtype=torch.bool, device=device)
        return cls(bits, *find_limit(probability))

    def factors(self, dtype: torch.dtype) -> torch.Tensor:
        """Returns 0 or ``factor`` for each element."""
        kept = self.bits if self.bits.dtype == torch.bool else self.bits < self.limit
        return kept.to(dtype).mul_(self.factor)


def find_limit(probability: float) -> tuple[int, float]:
    """Returns a mask's ``limit`` and ``factor``, of the probability of losing an element."""
    return min(round((1 - probability) * 2**16) - 2**15, 2**15 - 1), 1 / (1 - probability)


class Stream:
    """The random numbers of one run's dropouts, whoever shares its pack.

    On a CPU they are SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
    generators, OOPSLA 2014, figure 16), four elements a word: a word is a hash of its place, so a
    kernel makes many at once and a place is all there is to put back.

    Args:
        seed: Any integer.
        device: Where it draws.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generator: torch.Generator | None = None
        if device.type == "cpu":
            first = np.full(1, seed % 2**64, dtype=np.uint64)
            _mix(first)  # else near seeds would give each other's words
            self._place = int(first[0])
        else:
            self._generator = torch.Generator(device).manual_seed(seed)

    @property
    def state(self) -> int | torch.Tensor:
        """What ``put_back`` takes."""
        return self._place if self._generator is None else self._generator.get_state()

    def put_back(self, state: int | torch.Tensor) -> None:
        """Draws what it drew after ``state`` was read."""
        if self._generator is not None and isinstance(state, torch.Tensor):
            self._generator.set_state(state)
        elif isinstance(state, int):
            self._place = state

    def draw(self, shape: torch.Size | tuple[int, ...], probability: float) -> DropoutMask:
        """Returns what a dropout keeps of a tensor; see ``DropoutMask.make``."""
        device = torch.device("cpu") if self._generator is None else self._generator.device
        draws = DropoutMask.make(shape, probability, device)
        self.fill(draws.bits, probability)
        return draws

    def fill(self, bits: torch.Tensor, probability: float) -> None:
        """Draws a part of what ``DropoutMask.make`` has allocated, contiguous on a CPU."""
        if self._generator is not None:
            bits.bernoulli_(1 - probability, generator=self._generator)
            return
        kernel, count = find_kernel("draw", bits), bits.numel()
        words = -(-count // _WORD)
        if kernel is None:
            drawn = _draw_words(self._place, words).view(np.int16)
            bits.view(-1).copy_(torch.from_numpy(drawn[:count]))
        else:
            kernel(ctypes.c_uint64(self._place), address_of(bits), ctypes.c_long(count))
        self._place = (self._place + words * int(_STEP)) % 2**64


def _draw_words(place: int, count: int) -> np.ndarray:
    """Returns the ``count`` words after a place, uint64."""
    words = np.arange(1, count + 1, dtype=np.uint64)
    words *= _STEP
    words += np.uint64(place)
    _mix(words)
    return words


def _mix(words: np.ndarray) -> None:
    for shift, factor in _MIXING:
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    words ^= words >> _LAST_SHIFT
