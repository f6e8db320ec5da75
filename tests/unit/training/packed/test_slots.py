"""How many runs train together, from measured tokens per second and memory."""

from phasewise.training.packed.slots import FIRST_SLOTS, MemoryUse, SlotMeter

_ROOMY = MemoryUse(taken=1.0, free=1e9)


def _feed(meter: SlotMeter, rate_of: dict[int, float], passes: int = 100) -> None:
    """Steps of full packs, at these tokens per second for each size."""
    for _ in range(passes):
        meter.note(meter.slots, 1000, 1000 / rate_of[meter.slots])


def test_grows_while_a_larger_pack_is_faster_and_steps_back_to_the_best() -> None:
    meter = SlotMeter(None, lambda: _ROOMY)
    assert meter.slots == FIRST_SLOTS == 4
    _feed(meter, {4: 100, 8: 150, 16: 180, 32: 181})  # the last gains under 3 %
    assert meter.slots == 16
    assert [rate.runs for rate in meter.curve] == [4, 8, 16, 32]
    assert [round(rate.tokens_per_second) for rate in meter.curve] == [100, 150, 180, 181]


def test_stops_where_memory_would_not_hold_twice_the_runs() -> None:
    use = {4: MemoryUse(10, 90), 8: MemoryUse(20, 80), 16: MemoryUse(40, 60), 32: MemoryUse(80, 20)}
    meter = SlotMeter(None, lambda: use[meter.slots])
    _feed(meter, {4: 100, 8: 200, 16: 400, 32: 800})
    assert meter.slots == 32  # 40 more fit into 0.8 x 60, 80 do not fit into 20


def test_a_pack_that_is_not_full_is_not_measured() -> None:
    meter = SlotMeter(None, lambda: _ROOMY)
    for _ in range(100):
        meter.note(3, 1000, 1.0)
    assert (meter.slots, meter.curve) == (4, [])


def test_the_first_pass_of_each_size_is_a_warm_up() -> None:
    meter = SlotMeter(None, lambda: _ROOMY)
    meter.note(4, 1, 100.0)
    for _ in range(4):
        meter.note(4, 100, 1.0)
    assert [rate.tokens_per_second for rate in meter.curve] == [100]


def test_memory_that_ran_out_ends_growing_for_good() -> None:
    meter = SlotMeter(None, lambda: _ROOMY)
    meter.limit(2)
    _feed(meter, {2: 100})
    assert meter.slots == 2
    meter.limit(0)
    assert meter.slots == 1


def test_a_fixed_number_of_slots_is_kept() -> None:
    meter = SlotMeter(3, lambda: _ROOMY)
    _feed(meter, {3: 100})
    assert (meter.slots, meter.curve) == (3, [])
