"""Switching rigs while they play: warm, without a jump in level, without garbage; and the relay that plays behind."""

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.engine.chain import Latency
from duende.engine.device import ArrayDevice
from duende.engine.host import PATIENCE_S, SWITCH_S, Host
from duende.engine.model import Model
from duende.engine.preset import build_rig
from duende.engine.relay import Relay
from duende.engine.shared import PAGES, SharedState
from models import tiny_model, tiny_texture, tiny_weights
from processors import Delay, Gain, Spring
from signals import click_dbfs, noise, picked_notes, snr_db, tone
from switching import BLOCK, RATE, host_of, play, rig_of, rig_on

Float32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("switch"), tiny_weights())


@pytest.mark.parametrize("block", [64, 128, 480])
def test_a_rig_replaced_by_itself_is_not_heard(model: Model, block: int) -> None:
    samples = picked_notes(4.0)
    wanted = play(host_of(rig_on(0, SharedState(), model), block), samples, block)
    shared = SharedState()
    host = host_of(rig_on(0, shared, model), block)
    switches: list[bool] = []

    def switch(number: int) -> None:
        if number and number % (48000 // block) == 0:
            switches.append(host.switch(rig_on((len(switches) + 1) % PAGES, shared, model)))

    got = play(host, samples, block, switch)
    assert switches == [True] * 3
    assert not host.switching
    assert snr_db(wanted, got) > 40.0
    frame = 2400
    levels = [
        10.0 * np.log10(np.mean(part[: len(part) // frame * frame].reshape(-1, frame).astype(np.float64) ** 2, axis=1))
        for part in (wanted, got)
    ]
    assert np.abs(levels[0] - levels[1]).max() < 0.1


def test_rigs_of_other_delay_fade_out_and_in(model: Model) -> None:
    """The same sound is never heard twice: where one is heard, the other is not."""
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    slower = rig_on(1, shared, model, model)
    seamless = []
    samples = tone(220.0, 48000, level_dbfs=-12.0)
    heard = play(host, samples, between=lambda n: seamless.append(host.switch(slower)) if n == 200 else None)
    assert seamless == [False]
    assert host.rig is slower
    middle = round(200 * BLOCK + SWITCH_S * RATE)
    assert np.abs(heard[middle - 16 : middle + 16]).max() < 0.02 * np.abs(heard[:20000]).max()
    assert np.abs(heard[-4000:]).max() > 0.05


class Counted(Gain):
    """Counts the blocks that it has played, and notes which were played one after the other."""

    def __init__(self, gain: float, row: list["Counted"]) -> None:
        super().__init__(gain)
        self._row = row

    def process(self, block: Float32, out: Float32) -> None:
        self._row.append(self)
        super().process(block, out)


@pytest.mark.parametrize("tail", [False, True])
def test_rigs_that_are_too_much_together_are_never_played_in_one_block(tail: bool) -> None:
    """They fade out and in, each by itself; a tail rings on beside."""
    played: list[Counted] = []
    shared, samples = SharedState(), tone(100.0, 60_000, level_dbfs=-18.0)
    one, other = Counted(1.0, played), Counted(0.5, played)
    after = [Spring(TAIL)] if tail else []
    first, second = rig_of(0, shared, one, *after), rig_of(1, shared, other)
    host = host_of(first)
    host._can_play_both = lambda chain: False  # type: ignore[method-assign]
    together = []
    real = host.callback

    def callback(*given: Any) -> None:
        played.clear()
        real(*given)
        together.append(set(played))

    host.callback = callback  # type: ignore[assignment]
    heard = play(host, samples, between=lambda n: void(host.switch(second)) if n == 200 else None)
    assert host.rig is second
    assert host.collect() is first
    assert together[199] == {one}
    assert together[220] == {other}
    assert max(len(those) for those in together) == 1
    at = 200 * BLOCK
    assert max(click_dbfs(heard, at)) <= -60.0
    assert max(click_dbfs(heard, at + 1440)) <= -60.0
    over = at + 3 * 1440 + (2 * TAIL if tail else 0)
    assert np.abs(heard[over:] - 0.5 * samples[over : len(heard)]).max() <= 1e-6


def test_a_rig_that_is_not_brought_up_in_time_comes_nevertheless() -> None:
    """The audio thread plays to it what is missing, when nothing has been heard for a while."""
    shared, samples = SharedState(), tone(100.0, 60_000, level_dbfs=-18.0)
    host = host_of(rig_of(0, shared, Gain()))
    host.keep_up = lambda: None  # type: ignore[method-assign]
    second = rig_of(1, shared, Delay(100), Delay(400))
    come = []

    def turn(number: int) -> None:
        if number == 200:
            assert not host.switch(second)
        if host.switching:
            host._given = host._heard
        come.append(host.rig is second)

    heard = play(host, samples, between=turn)
    assert come.index(True) - 200 == pytest.approx((SWITCH_S + PATIENCE_S) * RATE / BLOCK, abs=2.0)
    assert np.abs(heard[45_000:] - samples[44_500 : len(heard) - 500]).max() <= 1e-6


class Behind(Gain):
    """Takes as long as what is played to it lasts: whoever brings it up to now never gets there."""

    memory_samples = 4800

    def __init__(self, gain: float, goes_on: Callable[[int], None]) -> None:
        super().__init__(gain)
        self._goes_on, self._within = goes_on, False

    def process(self, block: Float32, out: Float32) -> None:
        if not self._within:
            self._within = True
            self._goes_on(len(block))
            self._within = False
        super().process(block, out)


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("fits", [False, True])
def test_a_rig_that_can_never_be_brought_up_to_now_comes_nevertheless(
    fits: bool, tail: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No order waits for ever, and silence ends: it begins as it is."""
    monkeypatch.setattr("duende.engine.host.BRING_S", 0.02)
    shared, samples = SharedState(), tone(100.0, 4_800_000, level_dbfs=-18.0)
    host = host_of(rig_of(0, shared, Gain(), *([Spring(TAIL)] if tail else [])), 64)
    host._can_play_both = lambda chain: fits  # type: ignore[method-assign]
    blocks, out = iter(samples.reshape(-1, 64, 1)), np.zeros((64, 1), dtype=np.float32)
    heard: list[Float32] = []

    def go_on(frames: int) -> None:
        for _ in range(-(-frames // 64) + 3):
            host.callback(next(blocks), out, False, False)
            heard.append(out[:, 0].copy())

    go_on(12_800)
    second = rig_of(1, shared, Behind(0.5, lambda frames: None if host.rig is second else go_on(frames)))
    assert not host.switch(second)
    before = len(heard)
    while host.switching:
        host.keep_up()
        go_on(64)
    assert host.rig is second
    assert (len(heard) - before) * 64 < (SWITCH_S + PATIENCE_S + 0.1) * RATE
    go_on(4800 + (2 * TAIL if tail else 0))
    whole = np.concatenate(heard)
    assert max(click_dbfs(whole, before * 64)) <= -60.0
    assert np.abs(whole[-2400:] - 0.5 * samples[len(whole) - 2400 : len(whole)]).max() <= 1e-6


def test_two_rigs_are_played_together_where_they_take_little_of_a_period() -> None:
    shared = SharedState()
    host = Host(rig_of(0, shared, Gain()), ArrayDevice(np.zeros((BLOCK, 1), dtype=np.float32), RATE, BLOCK))
    chain = rig_of(1, shared, Gain()).chain
    chain.quantum = 1
    host.turn.period = BLOCK / RATE
    fits = []
    cases = ((0.25, 1.0, 1), (0.3, 1.0, 1), (0.25, 1.3, 1), (0.25, 1.0, 2 * BLOCK), (0.3, 0.5, 1))
    for share, effort, quantum in cases:
        host.turn.takes = share * host.turn.period
        host._effort, host._next_effort = 2e-6, 2e-6 * effort
        chain.quantum = quantum
        fits.append(host._can_play_both(chain))
    assert fits == [True, False, False, False, True]


def test_nothing_is_left_to_the_audio_thread_when_it_goes_on_meanwhile(model: Model) -> None:
    """Whatever is called may have to wait for it, with a block or more gone by."""
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    other = rig_on(1, shared, model)
    samples = tone(220.0, 300 * BLOCK)
    blocks = iter(samples.reshape(-1, BLOCK, 1))
    out, left = np.zeros((BLOCK, 1), dtype=np.float32), []
    for _ in range(200):
        host.callback(next(blocks), out, False, False)
    asked = Latency.samples.fget.__code__  # type: ignore[attr-defined]

    def look(frame: FrameType, event: str, argument: object) -> None:
        if event == "return" and frame.f_code is asked:
            sys.setprofile(None)
            host.callback(next(blocks), out, False, False)
            sys.setprofile(look)

    sys.setprofile(look)
    try:
        host.switch(other)
    finally:
        sys.setprofile(None)
    played = host.shared.written // BLOCK
    assert played > 200
    host._catch_up = lambda rig, position: left.append(host._position - position)  # type: ignore[method-assign]
    host.callback(next(blocks), out, False, False)
    assert left == [0]


def test_styles_and_textures_follow_each_other(model: Model, tmp_path: Path) -> None:
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    texture = rig_on(1, shared, tiny_texture(tmp_path))

    def switch(number: int) -> None:
        if number == 100:
            host.switch(texture)

    heard = play(host, picked_notes(1.0), between=switch)
    assert host.rig is texture
    assert np.isfinite(heard).all()
    assert host.telemetry.count("faults") == host.telemetry.count("failed") == 0


TAIL = 9600


def echoed(samples: Float32, gain: float = 1.0) -> Float32:
    """What a Spring of TAIL makes of samples."""
    wet = np.concatenate([np.zeros(TAIL, dtype=np.float32), samples])[: len(samples)]
    return np.asarray(samples + np.float32(gain) * wet, dtype=np.float32)


@pytest.mark.parametrize("block", [64, 480, 1000])
def test_an_echo_replaced_by_itself_is_not_heard(block: int) -> None:
    samples, shared = noise(np.random.default_rng(5), 96_000, level_dbfs=-30.0), SharedState()
    host = host_of(rig_of(0, shared, Gain(), Spring(TAIL), Gain()), block)
    later = [rig_of(page, shared, Gain(), Spring(TAIL), Gain()) for page in (1, 2)]
    turns = {20_000 // block: 0, 60_000 // block: 1}

    def switch(number: int) -> None:
        if number in turns:
            assert host.switch(later[turns[number]])

    got = play(host, samples, block, switch)
    assert host.rig is later[1]
    assert not host.ringing
    assert np.abs(got - echoed(samples)[: len(got)])[4800:].max() <= 1e-6


@pytest.mark.parametrize("delay", [0, 100])
def test_a_tail_rings_on_beside_the_next_rig(delay: int) -> None:
    samples, shared = tone(100.0, 96_000, level_dbfs=-18.0), SharedState()
    host = host_of(rig_of(0, shared, Spring(TAIL)), 64)
    first, second = host.rig, rig_of(1, shared, Delay(delay, 0.5))
    seamless: list[bool] = []
    got = play(host, samples, 64, lambda number: seamless.append(host.switch(second)) if number == 500 else None)
    assert seamless == [delay == 0]
    assert host.rig is second
    assert not host.ringing
    assert host.collect() is first
    dry = np.concatenate([np.zeros(delay, dtype=np.float32), samples])[: len(samples)]
    change = 500 * 64
    ringing = slice(change + 3 * 1440 + 200, change + TAIL)
    assert np.abs(got[ringing] - 0.5 * dry[ringing] - (echoed(samples) - samples)[ringing]).max() <= 1e-5
    over = change + TAIL + 3 * 1440 + 2000
    assert np.abs(got[over:] - 0.5 * dry[over:]).max() <= 1e-6
    for start in (change, change + TAIL, over - 1000):
        assert max(click_dbfs(got, start)) <= -60.0


def drop_by_late_block(host: Host) -> None:
    Host._watch(host, True)


def drop_by_switch(host: Host) -> None:
    host.switch(rig_of(2, host.shared, Gain(0.5)))


def drop_by_mute(host: Host) -> None:
    host.rig.bank.set("mute", 1.0)


@pytest.mark.watched
@pytest.mark.parametrize("drop", [drop_by_late_block, drop_by_switch, drop_by_mute])
def test_a_tail_that_must_end_is_faded_out(drop: Callable[[Host], None]) -> None:
    samples, shared = tone(100.0, 76_800, level_dbfs=-18.0), SharedState()
    samples[500 * 64 :] = 0.0
    host = host_of(rig_of(0, shared, Spring(48_000)), 64)

    def turn(number: int) -> None:
        if number == 480:
            host.switch(rig_of(1, shared, Gain()))
        elif number == 900:
            assert host.ringing
            drop(host)

    heard = play(host, samples, 64, turn)
    assert np.abs(heard[850 * 64 : 900 * 64]).max() > 0.1
    assert np.abs(heard[900 * 64 + 2 * 1440 :]).max() <= 1e-4
    assert max(click_dbfs(heard, 900 * 64)) <= -60.0
    assert host.ringing is (drop is drop_by_mute)


def test_two_rigs_together_stay_below_the_ceiling() -> None:
    shared = SharedState()
    host = host_of(rig_of(0, shared, Spring(TAIL)), 64)
    samples = tone(100.0, 64_000, level_dbfs=-1.0)
    heard = play(host, samples, 64, lambda n: void(host.switch(rig_of(1, shared, Gain(2.0)))) if n == 500 else None)
    assert np.abs(heard[500 * 64 :]).max() <= 10.0 ** (-0.3 / 20.0) + 1e-6


def void(value: object) -> None:
    """For a lambda that returns nothing."""


def test_only_what_plays_tells_its_time(model: Model) -> None:
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    first, second = host.rig, rig_on(1, shared, model)
    host.switch(second)
    assert (first.chain.timed, second.chain.timed) == (True, False)
    play(host, picked_notes(0.2))
    assert (first.chain.timed, second.chain.timed) == (False, True)


def test_one_switch_at_a_time_and_the_old_rig_comes_back_once(model: Model) -> None:
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    first = host.rig
    play(host, picked_notes(0.2))
    host.switch(rig_on(1, shared, model))
    with pytest.raises(DuendeError, match="still going on"):
        host.switch(rig_on(2, shared, model))
    assert host.collect() is None
    play(host, picked_notes(0.2))
    assert host.collect() is first
    assert host.collect() is None


def test_switching_leaves_nothing_for_the_garbage_collector(model: Model) -> None:
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    silence = np.zeros(2 * BLOCK + round(2 * SWITCH_S * RATE), dtype=np.float32)
    gc.collect()
    gc.disable()
    try:
        for turn in range(1, 40):
            host.switch(rig_on(turn % PAGES, shared, model))
            play(host, silence)
            assert host.collect() is not None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_old_parameters_stay_with_the_sound_that_fades(model: Model) -> None:
    shared = SharedState()
    host = host_of(rig_on(0, shared, model))
    loud = rig_on(1, shared, model)
    samples = noise(np.random.default_rng(2), 96000, level_dbfs=-30.0)

    def switch(number: int) -> None:
        if number == 400:
            host.switch(loud)
            loud.bank.set("output/gain", 12.0)

    heard = play(host, samples, between=switch)
    assert np.std(heard[-9600:]) > 2.0 * np.std(heard[400 * BLOCK - 9600 : 400 * BLOCK])
    assert host.telemetry.count("failed") == 0


# -- the relay ---------------------------------------------------------------------------------------------------------


class Worker:
    """Work that waits until it is allowed, block by block, and says when it is done."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def __call__(self, block: Float32, out: Float32) -> None:
        assert self.allowed.acquire(timeout=10.0)
        np.multiply(block, np.float32(0.5), out=out)
        self.done.release()


def exchange(relay: Relay, block: Float32) -> tuple[Float32, bool]:
    out = np.zeros_like(block)
    return out, relay.exchange(block, out)


def test_a_relay_gives_every_result_a_fixed_time_later() -> None:
    worker = Worker()
    relay = Relay(worker, 64, 2, 0)
    relay.start()
    samples = noise(np.random.default_rng(1), 64 * 40)[:, None]
    heard = []
    for number in range(40):
        out, on_time = exchange(relay, samples[64 * number : 64 * (number + 1)])
        assert on_time
        heard.append(out)
        worker.allowed.release()
        assert worker.done.acquire(timeout=10.0)
        _settle(relay, number)
    relay.stop()
    assert np.array_equal(np.concatenate(heard)[2 * 64 + 640 :], 0.5 * samples[640 : -2 * 64])


def test_what_comes_late_is_the_dry_sound_and_is_dropped() -> None:
    worker = Worker()
    relay = Relay(worker, 64, 1, 0)
    relay.start()
    samples = np.ones((64 * 60, 1), dtype=np.float32)
    heard, times = [], []
    for number in range(60):
        out, on_time = exchange(relay, samples[64 * number : 64 * (number + 1)])
        heard.append(out[:, 0].copy())
        times.append(on_time)
        if not 20 <= number < 23:
            worker.allowed.release(4 if number == 23 else 1)
            assert worker.done.acquire(timeout=10.0)
            _settle(relay, number) if number < 20 or number > 30 else None
    worker.allowed.release(100)
    relay.stop()
    sound = np.concatenate(heard)
    assert not all(times[20:26])
    assert all(times[:20])
    assert all(times[40:])
    assert np.abs(np.diff(sound[64 * 12 :])).max() < 0.02, "no jump between wet (0.5) and dry (1.0)"
    assert sound.max() <= 1.0 + 1e-6


def _settle(relay: Relay, number: int) -> None:
    """Until the worker has put its result down, which it does after it said that it was done."""
    holds = relay._holds
    for _ in range(10000):
        if holds[number % len(holds)] == number:
            return
        threading.Event().wait(0.0005)
    raise AssertionError(f"block {number} was not put down")


def test_a_relay_says_what_it_needs() -> None:
    with pytest.raises(DuendeError, match="fixed size: give --block"):
        Relay(Worker(), None, 1, 0)
    with pytest.raises(DuendeError, match="--safety 99: choose 1 to 16"):
        Relay(Worker(), 64, 99, 0)


def test_a_host_with_safety_is_later_by_so_many_blocks_and_alike() -> None:
    samples = noise(np.random.default_rng(3), 64 * 200)
    shared = SharedState()
    rig = build_rig([("gain", Gain()), ("delay", Delay(100))], shared)
    plain = play(host_of(build_rig([("gain", Gain()), ("delay", Delay(100))])), samples, 128)
    host = host_of(rig, 128, safety=3)
    assert host.relay is not None
    host.relay.start()

    def wait(number: int) -> None:
        if number:
            assert host.relay is not None
            _settle(host.relay, number - 1)

    got = play(host, samples, 128, wait)
    host.relay.stop()
    assert host.latency().safety_ms == pytest.approx(8.0)
    later = 3 * 128
    assert np.abs(got[later + 4800 :] - plain[4800 : len(plain) - later]).max() < 1e-5
