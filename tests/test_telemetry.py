"""Counts, levels and times as the reading side sees them."""

import numpy as np
import pytest

from duende.engine.shared import SharedState
from duende.engine.telemetry import COUNTERS, HISTOGRAM_BINS, HISTOGRAM_STEP_US, LEVELS, RECENT_BLOCKS, Telemetry


def test_each_counter_counts_for_itself() -> None:
    audio, reader = (Telemetry(shared) for shared in [SharedState()] * 2)
    for number, name in enumerate(COUNTERS, start=1):
        audio.add(name)
        audio.add(name, number)
    assert [reader.count(name) for name in COUNTERS] == [number + 1 for number in range(1, len(COUNTERS) + 1)]
    reader.clear()
    assert [audio.count(name) for name in COUNTERS] == [0] * len(COUNTERS)


def test_levels_rise_and_start_again_when_taken() -> None:
    telemetry = Telemetry(SharedState())
    for number, name in enumerate(LEVELS):
        telemetry.set_level(name, 0.5 + number)
    assert [telemetry.level(name) for name in LEVELS] == [0.5 + number for number in range(len(LEVELS))]
    for value in (0.7, 0.2, 0.9, 0.1):
        telemetry.raise_level("input_peak", value)
    assert telemetry.take_level("input_peak") == 0.9
    assert telemetry.take_level("input_peak") == 0.0
    assert telemetry.level("output_peak") == 1.5


def run(telemetry: Telemetry, times: list[float]) -> None:
    for time in times:
        telemetry.block_done(time)
        telemetry.add("callbacks")


def test_load_is_the_statistics_of_the_last_blocks(rng: np.random.Generator) -> None:
    telemetry = Telemetry(SharedState())
    telemetry.set_level("period_us", 2667.0)
    times = rng.uniform(100.0, 900.0, RECENT_BLOCKS + 500)
    run(telemetry, times.tolist())
    load, recent = telemetry.load(), times[-RECENT_BLOCKS:]
    assert load.callbacks == len(times)
    assert load.median_us == pytest.approx(np.median(recent))
    assert load.p99_us == pytest.approx(np.percentile(recent, 99.0))
    assert load.p999_us == pytest.approx(np.percentile(recent, 99.9))
    assert load.worst_us == recent.max()
    assert load.share == pytest.approx(np.median(recent) / 2667.0)


def test_load_of_few_blocks_knows_nothing_of_the_empty_places() -> None:
    telemetry = Telemetry(SharedState())
    assert (telemetry.load().median_us, telemetry.load().share) == (0.0, 0.0)
    run(telemetry, [200.0, 400.0, 300.0])
    assert (telemetry.load().median_us, telemetry.load().worst_us) == (300.0, 400.0)
    telemetry.clear()
    run(telemetry, [50.0])
    assert telemetry.load().worst_us == 50.0


def test_a_slot_has_a_mean_and_a_peak_that_fades() -> None:
    audio, reader = (Telemetry(shared) for shared in [SharedState()] * 2)
    for _ in range(400):
        audio.slot_done(2, 0.1e-3, 1e-2)
    assert reader.slot_load(2) == pytest.approx((0.01, 0.01), rel=1e-3)
    audio.slot_done(2, 0.5e-2, 1e-2)
    assert reader.slot_load(2) == pytest.approx((0.01 + 0.49 / 30.0, 0.5), rel=1e-3)
    for _ in range(200):
        audio.slot_done(2, 0.1e-3, 1e-2)
    assert 0.01 <= reader.slot_load(2)[1] < 0.2
    audio.slot_done(2, 0.2, 10.0)
    assert reader.slot_load(2) == pytest.approx((0.02, 0.02)), "long blocks count for themselves"
    assert reader.slot_load(1) == (0.0, 0.0)
    reader.clear()
    assert audio.slot_load(2) == (0.0, 0.0)


def test_histogram_keeps_every_block() -> None:
    shared = SharedState()
    run(Telemetry(shared), [0.0, HISTOGRAM_STEP_US - 1.0, HISTOGRAM_STEP_US, 3.5 * HISTOGRAM_STEP_US, 1e9])
    assert {int(place): int(shared.histogram[place]) for place in np.flatnonzero(shared.histogram)} == {
        0: 2,
        1: 1,
        3: 1,
        HISTOGRAM_BINS - 1: 1,
    }
