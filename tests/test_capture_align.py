"""Latency, drift and polarity of takes whose delay is known."""

import numpy as np
import pytest

from capture_takes import RATE, amplifier, delayed, played, the_signal
from duende import DuendeError
from duende.export.capture.align import align, lag_between

WHOLE_AND_BROKEN = [0.0, 0.5, 37.25, 480.7]


@pytest.mark.parametrize("delay", WHOLE_AND_BROKEN)
def test_a_wire_is_measured_to_a_twentieth_of_a_sample(delay: float) -> None:
    signal, plan = the_signal()
    found = align(signal, 0.5 * delayed(signal, delay), RATE, plan)
    assert found.latency_samples == pytest.approx(delay, abs=0.05)
    assert abs(found.drift_samples) < 0.05
    assert not found.inverted
    assert found.shift <= found.latency_samples < found.shift + 3


@pytest.mark.parametrize("delay", WHOLE_AND_BROKEN)
def test_an_amplifier_is_measured_to_a_sample(delay: float) -> None:
    signal, plan = the_signal()
    found = align(signal, delayed(amplifier(signal), delay), RATE, plan)
    assert found.latency_samples == pytest.approx(delay, abs=1.0)
    assert found.shift <= delay


def test_the_answer_to_a_blip_has_the_last_word() -> None:
    signal, plan = the_signal()
    # Something of it comes at once, most of it later: no minimum phase. Much gain shows the first of it.
    late = np.concatenate(([0.1, 0.1], np.zeros(22), [1.0])).astype(np.float32)
    wet = np.tanh(100.0 * np.convolve(signal, late)[: len(signal)]).astype(np.float32)
    assert align(signal, wet, RATE).latency_samples > 15.0
    found = align(signal, wet, RATE, plan)
    assert found.latency_samples == pytest.approx(0.0, abs=1.5)
    assert found.shift <= 0


def test_differences_in_delay_are_exact_though_the_amplifier_is_not_known() -> None:
    dry = played(12.0)
    wet = amplifier(dry, 20.0)
    early, late = (align(dry, delayed(wet, delay), RATE).latency_samples for delay in (100.0, 103.4))
    assert late - early == pytest.approx(3.4, abs=0.02)


@pytest.mark.parametrize("delay", [0.0, 211.3, 9000.0])
def test_any_playing_will_do(delay: float) -> None:
    dry = played(12.0)
    found = align(dry, delayed(amplifier(dry), delay), RATE)
    assert found.latency_samples == pytest.approx(delay, abs=1.5)
    assert found.shift <= delay


def test_upside_down_is_seen() -> None:
    dry = played(12.0)
    found = align(dry, -delayed(amplifier(dry), 20.0), RATE)
    assert found.inverted
    assert found.latency_samples == pytest.approx(20.0, abs=1.5)


def test_wet_that_leads_is_negative() -> None:
    dry = played(12.0)
    assert align(delayed(amplifier(dry), 300.0), dry, RATE).latency_samples < -290.0


@pytest.mark.parametrize("ppm", [-20.0, 5.0])
def test_two_clocks_are_measured(ppm: float) -> None:
    signal, plan = the_signal()
    wet = amplifier(signal)
    wet = np.interp(np.arange(len(wet)) / (1.0 + 1e-6 * ppm), np.arange(len(wet)), wet).astype(np.float32)
    found = align(signal, wet, RATE, plan)
    assert found.drift_ppm == pytest.approx(ppm, abs=0.5)
    assert found.drift_samples == pytest.approx(1e-6 * ppm * len(wet), abs=0.7)


def test_two_clocks_are_measured_on_any_playing() -> None:
    dry = played(20.0)
    wet = amplifier(dry)
    wet = np.interp(np.arange(len(wet)) / (1.0 + 40e-6), np.arange(len(wet)), wet).astype(np.float32)
    assert align(dry, wet, RATE).drift_ppm == pytest.approx(40.0, abs=6.0)
    assert abs(align(dry, amplifier(dry), RATE).drift_samples) < 2.0


def test_strangers_are_told() -> None:
    with pytest.raises(DuendeError, match="does not follow DRY"):
        align(played(12.0, seed=5), amplifier(played(12.0, seed=6)), RATE)


@pytest.mark.parametrize("lag", [-7.75, 0.0, 0.31, 40.5])
def test_the_lag_between_two_takes(lag: float) -> None:
    first = played(3.0)
    assert lag_between(first, delayed(first, lag)) == pytest.approx(lag, abs=0.01)
