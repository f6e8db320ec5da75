"""The random stream of a run's dropouts: known words, the same ones compiled and by NumPy."""

import shutil

import pytest
import torch

from phasewise.training.dropout import DropoutMask, Stream, _draw_words
from phasewise.training.kernels.library import find_kernel, use_kernels

_CPU = torch.device("cpu")


def test_words_are_those_of_splitmix64() -> None:
    # The first outputs of the authors' generator for the seed 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert _draw_words(1234567, 5).tolist() == expected


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("count", [1, 3, 4, 31, 32, 33, 1000])
def test_compiled_draws_are_numpys(count: int) -> None:
    plain, compiled = Stream(3, _CPU), Stream(3, _CPU)
    for _ in range(2):  # the second draw goes on where the first ended
        use_kernels(False)
        expected = plain.draw((count,), 0.1)
        use_kernels(True)
        room = DropoutMask.make((count + 8,), 0.1, _CPU)
        room.bits.fill_(7)
        assert find_kernel("draw", room.bits) is not None
        compiled.fill(room.bits[:count], 0.1)
        assert torch.equal(room.bits[:count], expected.bits)
        assert (room.bits[count:] == 7).all()
    assert plain.state == compiled.state


def test_dropout_keeps_its_share_and_the_mean() -> None:
    factors = Stream(0, _CPU).draw((1000, 100), 0.3).factors(torch.float32)
    assert float((factors == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(factors.max()) == pytest.approx(1 / 0.7)


def test_streams_of_near_seeds_share_no_draws() -> None:
    one, other = (Stream(seed, _CPU).draw((4000,), 0.5).bits.view(torch.int64) for seed in (1, 2))
    assert not set(one.tolist()) & set(other.tolist())
    kept = [Stream(seed, _CPU).draw((100_000,), 0.5).factors(torch.float32) for seed in (1, 2)]
    assert abs(float(torch.corrcoef(torch.stack(kept))[0, 1])) < 0.02


def test_a_stream_that_is_put_back_draws_the_same() -> None:
    stream = Stream(5, _CPU)
    stream.draw((7,), 0.1)
    place = stream.state
    first = stream.draw((50,), 0.1).bits
    assert not torch.equal(stream.draw((50,), 0.1).bits, first)
    stream.put_back(place)
    assert torch.equal(stream.draw((50,), 0.1).bits, first)
