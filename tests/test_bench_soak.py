"""The soak: what it asks of figures, what it watches, and a short one from start to end."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from duende import __main__
from duende.engine import device as device_module
from duende.engine.bench import soak as soak_module
from duende.engine.bench import watch
from duende.engine.bench.idle import Counts, Idle
from duende.engine.bench.machine import describe_machine
from duende.engine.bench.paced import playing
from duende.engine.bench.soak import SoakPlan, grown, run_soak
from duende.engine.bench.soak_results import (
    FORMAT,
    Burdened,
    Check,
    Held,
    Slice,
    SoakFigures,
    checks,
    growth_checks,
    warm_up_s,
)
from duende.engine.control.instances import instances
from duende.engine.control.supervisor import alive, runtime_folder
from duende.engine.device import ArrayDevice, ClockDevice, Float32
from duende.engine.phrase import PHRASE_S, PhraseDevice
from duende.presets.library import HOME_VARIABLE
from sessions import tiny_library

RNG = np.random.default_rng(3)
MACHINE = msgspec.structs.replace(describe_machine(), load=0.0)


def one_slice(late: int = 0, idle_late: int = 0, **others: float) -> Slice:
    plain = Slice(10.0, 3750, late, 0, 3750, idle_late, 0, 480000, 0, 0.5)
    return msgspec.structs.replace(plain, **others)


def held(values: dict[str, Callable[[float], float]] | None = None, seconds: int = 300) -> Held:
    """What a process held once a second; what is not given stays the same."""
    at_s = [float(second) for second in range(seconds)]
    plain: dict[str, Callable[[float], float]] = {
        "memory_mb": lambda s: 100.0,
        "threads": lambda s: 6,
        "files": lambda s: 9,
        "mappings": lambda s: 500,
    }
    found: dict[str, Any] = {name: [f(s) for s in at_s] for name, f in (plain | (values or {})).items()}
    return Held("engine", at_s, **found)


def verdict(found: list[Check], name: str) -> bool | None:
    return next(check.passed for check in found if check.name == name)


def asked(slices: list[Slice], **counts: int) -> list[Check]:
    return checks(slices, [], [], [], counts)


# -- late blocks -------------------------------------------------------------------------------------------------------


def test_as_many_late_blocks_as_doing_nothing_will_do() -> None:
    slices = [one_slice(int(a), int(b)) for a, b in RNG.poisson(3.0, (20, 2))]
    assert verdict(asked(slices), "late blocks") is True


def test_more_late_blocks_than_doing_nothing_will_not() -> None:
    slices = [one_slice(int(a), int(b)) for a, b in zip(RNG.poisson(9.0, 20), RNG.poisson(3.0, 20), strict=True)]
    assert verdict(asked(slices), "late blocks") is False


def test_xruns_are_compared_with_what_doing_nothing_missed() -> None:
    slices = [one_slice(xruns=int(a), idle_missed=int(b)) for a, b in RNG.poisson(5.0, (20, 2))]
    assert verdict(asked(slices), "xruns") is True
    more = [msgspec.structs.replace(one, xruns=one.xruns + 9) for one in slices]
    assert verdict(asked(more), "xruns") is False


def test_one_burst_among_many_slices_is_no_verdict() -> None:
    slices = [one_slice() for _ in range(19)] + [one_slice(30)]
    assert verdict(asked(slices), "late blocks") is True


@pytest.mark.parametrize(("late", "idle", "passed"), [(0, 0, True), (1, 0, True), (9, 8, True), (20, 0, False)])
def test_few_slices_are_judged_by_their_sum(late: int, idle: int, passed: bool) -> None:
    assert verdict(asked([one_slice(late, idle)]), "late blocks") is passed


def test_nothing_played_is_no_success() -> None:
    found = asked([one_slice(callbacks=0, samples=0)])
    assert verdict(found, "late blocks") is None
    assert verdict(found, "sound") is None


# -- sound -------------------------------------------------------------------------------------------------------------


def test_a_sample_that_is_no_number_fails() -> None:
    assert verdict(asked([one_slice()]), "sound") is True
    assert verdict(asked([one_slice(nonfinite=1)]), "sound") is False


def test_silence_all_the_time_fails() -> None:
    assert verdict(asked([one_slice(peak=0.0)]), "sound") is False


@pytest.mark.parametrize("counter", ["faults", "failed", "input_repairs"])
def test_what_the_host_counts_as_a_fault_fails(counter: str) -> None:
    assert verdict(asked([one_slice()], **{counter: 1}), "sound") is False
    assert verdict(asked([one_slice()], ceiling=5), "sound") is True


def test_a_process_that_was_started_again_fails() -> None:
    assert verdict(checks([one_slice()], [], ["control was started again"], [], {}), "restarts") is False


@pytest.mark.parametrize(("done", "failed", "passed"), [(10, 0, True), (10, 1, False), (0, 0, False)])
def test_a_burden_that_fails_or_does_nothing_fails(done: int, failed: int, passed: bool) -> None:
    found = checks([one_slice()], [], [], [Burdened("presets loaded", done, failed, [])], {})
    assert verdict(found, "presets loaded") is passed


# -- what is held ------------------------------------------------------------------------------------------------------


def test_memory_that_grows_by_five_megabytes_fails() -> None:
    def slope(total_mb: float) -> Held:
        return held({"memory_mb": lambda s: 100.0 + total_mb * s / 300.0 + 0.5 * float(RNG.random())})

    assert growth_checks([slope(4.0)])[0].passed is True
    assert growth_checks([slope(30.0)])[0].passed is False


def test_what_grows_while_it_gets_warm_does_not_count() -> None:
    warm = warm_up_s(300.0)
    assert 100.0 < warm <= 120.0
    assert all(check.passed for check in growth_checks([held({"memory_mb": lambda s: 100.0 + min(s, warm)})]))


@pytest.mark.parametrize(("name", "a_minute"), [("threads", 2), ("files", 4), ("mappings", 40)])
def test_a_leak_of_threads_files_or_mappings_fails(name: str, a_minute: int) -> None:
    leaking = growth_checks([held({name: lambda s: 10 + a_minute * (s // 60.0) * 2})])
    assert [check.passed for check in leaking] == [True, False]
    coming_and_going = growth_checks([held({name: lambda s: 10 + s % 2})])
    assert [check.passed for check in coming_and_going] == [True, True]


def test_too_short_to_tell_is_said() -> None:
    assert growth_checks([held(seconds=5)])[0].passed is None
    assert growth_checks([Held("gui")])[0].passed is None


@pytest.mark.skipif(not watch.watchable(), reason="no /proc")
def test_files_that_are_opened_are_seen(tmp_path: Path) -> None:
    before = watch.holding(os.getpid())
    opened = [(tmp_path / str(number)).open("w") for number in range(5)]
    after = watch.holding(os.getpid())
    for file in opened:
        file.close()
    assert before is not None
    assert after is not None
    assert after.files == before.files + 5
    assert after.memory_mb > 10.0
    assert after.threads >= threading.active_count()
    assert watch.holding(2**22 + 1) is None


def test_the_processes_of_a_host_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process(pid: int, parent: int, module: str, threads: int) -> None:
        for thread in range(threads):
            (tmp_path / str(pid) / "task" / str(thread)).mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1")
        (tmp_path / str(pid) / "cmdline").write_text("\0".join(["python", "-P", "-m", module, ""]))

    monkeypatch.setattr(watch, "PROC", tmp_path)
    process(11, 10, "duende.engine.player", 3)
    process(12, 10, "duende.engine.player", 6)
    process(13, 10, "duende.engine.control.main", 4)
    process(14, 9, "duende.engine.player", 9)
    process(15, 10, "somebody.else", 1)
    assert watch.host_processes(10) == {"parent": 10, "engine": 12, "spare": 11, "control": 13}


# -- what is played ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[128], [1, 77, 8192, 300]])
def test_the_phrase_is_played_in_the_place_of_the_input(sizes: list[int]) -> None:
    rate = 8000.0
    count = round(2.5 * PHRASE_S * rate)
    plain = ArrayDevice(np.zeros((count, 2), dtype=np.float32), rate, sizes)
    heard: list[Float32] = []
    flags: list[bool] = []

    def callback(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        heard.append(block.copy())
        out[:] = block
        flags.append(input_xrun)

    device = PhraseDevice(plain)
    device.start(callback)
    phrase = playing(rate, round(PHRASE_S * rate), 2)
    expected = np.concatenate([phrase] * 3)[:count]
    np.testing.assert_array_equal(np.concatenate(heard), expected)
    np.testing.assert_array_equal(plain.recorded, expected)
    assert (device.sample_rate, device.inputs, device.outputs, device.latency_ms) == (rate, 2, 2, 0.0)


class Time:
    """A clock that moves only when somebody waits or works; in the place of module and event."""

    def __init__(self, ticks: int) -> None:
        self.now, self._left = 5.0, ticks

    def perf_counter(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0.0
        self.now += seconds
        self._left -= 1
        return self._left < 0


def test_the_clock_keeps_its_pace_and_tells_of_late_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Time(8)
    monkeypatch.setattr(device_module, "time", clock)
    device = ClockDevice(48000.0, 480)
    device._stopped = clock  # type: ignore[assignment]
    takes = iter([0.002, 0.002, 0.015, 0.002, 0.002, 0.055, 0.002, 0.002])
    begun: list[float] = []
    told: list[bool] = []

    def callback(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        begun.append(round(clock.now - 5.0, 6))
        told.append(output_xrun)
        assert not input_xrun
        clock.now += next(takes)

    device._tick(callback)
    assert told == [False, False, False, True, False, False, True, True]
    assert begun == [0.01, 0.02, 0.03, 0.045, 0.05, 0.06, 0.115, 0.117]


def test_the_callback_that_does_nothing_counts() -> None:
    idle = Idle(480, 48000.0, 0)
    block, out = np.ones((480, 1), dtype=np.float32), np.zeros((480, 2), dtype=np.float32)
    idle.callback(block, out, False, False)
    idle.callback(block, out, False, True)
    assert (idle.callbacks, idle.missed) == (2, 1)
    assert out.all()
    assert Counts(9, 3, 2).since(Counts(4, 1, 2)) == Counts(5, 2, 0)


# -- the command -------------------------------------------------------------------------------------------------------


def figures(*found: Check, ended: str = "done") -> SoakFigures:
    return SoakFigures(
        FORMAT, "now", MACHINE, "no device", 128, 48000.0, 60.0, 30.0, ended, [], {}, 0.1, [], [], [], [], list(found)
    )


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["duende", "bench", "soak", *words])
        status = 0
        try:
            __main__.main()
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        (figures(Check("sound", True, "fine")), 0, "it held"),
        (figures(Check("sound", None, "short"), ended="interrupted"), 0, "interrupted after 0.5 minutes"),
        (figures(Check("sound", True, ""), Check("restarts", False, "2")), 1, "it did not hold: restarts"),
        (figures(Check("sound", True, ""), ended="the host ended"), 1, "the host ended"),
    ],
)
def test_the_verdict_is_said_and_is_the_exit_status(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: SoakFigures, status: int, said: str
) -> None:
    plans: list[SoakPlan] = []

    def soaked(plan: SoakPlan, *others: object) -> SoakFigures:
        plans.append(plan)
        return found

    monkeypatch.setattr(soak_module, "run_soak", soaked)
    file = tmp_path / "soak.json"
    before = signal.getsignal(signal.SIGINT)
    code, shown, noted = command("cello", "rain", "--minutes", "0.5", "--silent", "--json", str(file))
    assert code == status
    assert said in shown
    assert "a phrase is played to a clock" in noted
    assert signal.getsignal(signal.SIGINT) is before
    assert (list(plans[0].presets), plans[0].seconds, plans[0].engine.silent) == (["cello", "rain"], 30.0, True)
    assert msgspec.json.decode(file.read_bytes(), type=SoakFigures) == found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_verdict(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def soaked(plan: SoakPlan, machine: object, done: threading.Event, *others: object) -> SoakFigures:
        signal.raise_signal(number)
        assert done.wait(5.0)
        return figures(Check("sound", None, "short"), ended="interrupted")

    monkeypatch.setattr(soak_module, "run_soak", soaked)
    before = signal.getsignal(number)
    code, shown, _ = command("cello", "--silent")
    assert code == 0
    assert "interrupted" in shown
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", "0"), "--minutes 0: out of range"),
        (("--every", "0"), "--every 0: out of range"),
        (("--block", "9000"), "--block 9000: out of range"),
        (("nosuch", "--silent"), "nosuch"),
    ],
)
def test_what_cannot_be_soaked_is_refused_in_a_line(command: Command, words: tuple[str, ...], said: str) -> None:
    status, _, wrong = command(*words)
    assert status == 1
    assert said in wrong
    assert len(wrong.strip().splitlines()) == 1


# -- from start to end -------------------------------------------------------------------------------------------------


def plan_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> SoakPlan:
    tiny_library(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return SoakPlan(seconds, ["duo", "solo"], every_s=0.5, page=False)


@pytest.mark.alone
def test_a_soak_from_start_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids: set[int] = set()
    said: list[str] = []

    def say(text: str, share: float) -> None:
        said.append(text)
        assert 0.0 <= share <= 1.1
        pids.update(info.pid for info in instances())

    others = {info.pid for info in instances()}
    found = run_soak(plan_of(tmp_path, monkeypatch, 4.0), MACHINE, threading.Event(), say)
    assert found.ended == "done"
    done = {one.name: one for one in found.burdens}
    assert done["messages sent"].done > 3500
    assert done["bundles of meters heard"].done > 8 * 20
    assert done["presets loaded"].done > 5
    assert all(one.failed == 0 for one in found.burdens), done
    assert verdict(found.checks, "sound") is True
    assert verdict(found.checks, "restarts") is True
    assert sum(one.samples for one in found.slices) > 2 * 48000
    assert sum(one.callbacks for one in found.slices) > 750
    if watch.watchable():
        assert {one.role for one in found.held} == {"parent", "engine", "spare", "control"}
    (own,) = pids - others
    assert not alive(own)
    assert not list(runtime_folder().glob(f"duende-{own}-*"))


@pytest.mark.alone
@pytest.mark.skipif(not watch.watchable(), reason="no /proc")
def test_a_process_that_dies_is_seen_and_ctrl_c_ends_with_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    others = {info.pid for info in instances()}
    told: list[float] = []

    def say(text: str, share: float) -> None:
        mine = [info.pid for info in instances() if info.pid not in others]
        if mine and share > 0.0:
            if not told:
                os.kill(watch.host_processes(mine[0])["engine"], signal.SIGKILL)
            told.append(time.monotonic())
            if told[-1] - told[0] > 4.0:
                done.set()

    found = run_soak(plan_of(tmp_path, monkeypatch, 60.0), MACHINE, done, say)
    assert found.ended == "interrupted"
    assert found.seconds < 30.0
    assert any(line.startswith("engine was started again") for line in found.restarts)
    assert not found.passed


def test_a_counter_that_began_anew_has_grown_by_what_it_says() -> None:
    assert (grown(7, 3), grown(3, 3), grown(2, 5)) == (4, 0, 2)
