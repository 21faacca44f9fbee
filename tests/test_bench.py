"""The benchmark: its device keeps time, cases are played as asked and nothing else in their place, figures add up."""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from scipy import stats

from duende import DuendeError
from duende.engine.bands import erb_bands
from duende.engine.bench import PacedDevice, bench_block, describe_machine, machine, playing, real_time_factor
from duende.engine.bench.case import BlockRun, Case, CaseRun
from duende.engine.bench.children import run_cases, run_in_child
from duende.engine.bench.compare import compare, ratio_of
from duende.engine.bench.filters import BANDS, FRAMES, ExtractorProcessor, extractor_graph, extractor_parameters
from duende.engine.bench.fixed import FixedModel, FixedStream, open_session
from duende.engine.bench.machine import MachineInfo
from duende.engine.bench.matrix import Played, Ways, cases_for, file_played, filters_named
from duende.engine.bench.paced import idle
from duende.engine.bench.play import count_parameters, make_rig, play_block, run_case
from duende.engine.bench.results import (
    FORMAT,
    MAX_BYTES,
    PER_OCTAVE,
    Figures,
    figures,
    histogram_of,
    read_figures,
    summarise,
    write_figures,
)
from duende.engine.device import Callback
from duende.engine.model import Model, load_model
from duende.engine.preset import Rig, build_rig
from duende.engine.processor import StreamSpec
from duende.engine.spectral import SpectralProcessor
from duende.engine.stft import DEFAULT_SIZES, Analysis, Synthesis
from duende.export.bench_models import at_precision, student_bytes, student_played
from duende.presets.format import FORMAT as PRESET_FORMAT
from duende.presets.format import Preset, SlotPreset
from duende.presets.library import Library
from models import tiny_model, tiny_weights, write_model

Float32 = npt.NDArray[np.float32]

RATE = 48000.0


class Clock:
    """Time that passes only by sleeping, by working, and by tick seconds whenever it is looked at."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 0.0, tick

    def perf_counter(self) -> float:
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


# -- the device --------------------------------------------------------------------------------------------------------


def worker(clock: Clock, work: Sequence[float], calls: list[Float32]) -> Callback:
    """A callback whose work takes the given seconds, over and over; calls: the blocks that it was given."""

    def callback(block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        clock.now += work[len(calls) % len(work)]
        calls.append(block.copy())

    return callback


def played(work: list[float]) -> PacedDevice:
    """150 blocks of 48 frames (1 ms), the first 50 not counted."""
    clock, calls = Clock(), list[Float32]()
    device = PacedDevice(np.zeros((48 * 150, 1), dtype=np.float32), RATE, 48, clock=clock)
    device.start(worker(clock, work, calls))
    assert len(calls) == 150
    return device


def test_work_that_fits_never_misses() -> None:
    device = played([0.0004, 0.0009])
    assert device.misses == 0
    assert len(device.durations_us) == 100
    assert set(np.rint(device.durations_us).astype(int)) == {400, 900}


def test_work_longer_than_the_period_is_a_miss_each_time() -> None:
    assert played([0.0001] * 9 + [0.0015]).misses == 10


def test_a_turn_goes_on_where_the_last_one_ended_and_around_the_end() -> None:
    clock, calls = Clock(), list[Float32]()
    samples = np.repeat(np.arange(4, dtype=np.float32), 48)[:, None]
    device = PacedDevice(samples, RATE, 48, clock=clock)
    times, misses = device.deliver(worker(clock, [0.0002], calls), first=3, count=3)
    assert [float(block[0, 0]) for block in calls] == [3.0, 0.0, 1.0]
    assert (len(times), misses) == (3, 0)
    assert clock.now >= 0.01 + 2 * 0.001


def test_doing_nothing_passes_the_input() -> None:
    block, out = playing(RATE, 64, 2), np.zeros((64, 2), dtype=np.float32)
    idle(block, out, False, False)
    assert np.array_equal(block, out)
    assert np.abs(block).max() > 0.01


def test_figures_of_a_rig_in_this_process(tmp_path: Path) -> None:
    def make() -> Rig:
        return build_rig([("tiny", SpectralProcessor(tiny_model(tmp_path, tiny_weights())))])

    result = bench_block("tiny", make, 256, RATE, 0.1)
    assert result.period_us == 256 / 0.048
    assert 0.0 < result.median_us <= result.p99_us <= result.p999_us <= result.worst_us
    assert result.added_latency_ms == 128 / 48.0
    # How quick it is, is a matter of the machine.
    assert real_time_factor(make(), RATE, 0.5) > 0.0
    assert machine()["onnxruntime"]


# -- a case ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny.onnx")


def test_a_case_is_played_in_turns_with_doing_nothing(tiny: Path) -> None:
    tick = 5e-6
    case = Case("tiny", "file", str(tiny), blocks=[64, 128], seconds=0.3, channels=2)
    run = run_case(case, Clock(tick))
    assert run.refused == ""
    assert [block.block for block in run.blocks] == [64, 128]
    assert [block.latency_samples for block in run.blocks] == [192, 128]
    for block, size in zip(run.blocks, (64, 128), strict=True):
        turn = round(0.1 * RATE / size)
        assert len(block.times_us) == len(block.idle_us) == 3 * turn
        # A call is between two looks at the clock.
        assert set(block.times_us) == set(block.idle_us) == {5.0}
        assert block.misses == block.idle_misses == 0
        assert block.first_us == pytest.approx(5.0, rel=1e-3)
    graph = onnx.load_model(tiny)
    sizes = [int(np.prod(one.dims)) for one in graph.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert run.parameters == sum(size for size in sizes if size > 1) == count_parameters(case)
    assert run.load_s > 0.0


def test_instances_are_played_one_after_the_other_in_each_callback(tiny: Path) -> None:
    case = Case("tiny", "file", str(tiny), seconds=0.1, instances=3)
    rigs = [make_rig(case) for _ in range(3)]
    assert len({id(rig.chain) for rig in rigs}) == 3
    block = play_block(case, rigs, 128, Clock(5e-6))
    counts = {rig.telemetry.count("callbacks") for rig in rigs}
    assert counts == {1 + round(0.1 * RATE / 128) + len(block.times_us)}


def test_instances_share_a_model_as_in_an_engine(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def open_one(path: Path, **given: Any) -> Model:
        opened.append(path)
        return load_model(path, **given)

    monkeypatch.setattr("duende.engine.bench.play.load_model", open_one)
    run = run_case(Case("tiny", "file", str(tiny), blocks=[128], seconds=0.1, instances=3), Clock(5e-6))
    assert not run.refused
    assert opened == [tiny]


def test_a_rig_that_is_late_does_not_rest_while_it_is_measured(tiny: Path) -> None:
    case = Case("tiny", "file", str(tiny), seconds=0.1)
    rig = make_rig(case)
    play_block(case, [rig], 128, Clock(5e-6))
    samples, out = playing(RATE, 128 * 40), np.zeros((128, 1), dtype=np.float32)

    def played_now(rest: Callable[[float], None]) -> Float32:
        rig.chain.reset()
        rest(1.0)
        heard = []
        for at in range(0, len(samples), 128):
            rig.chain.process(samples[at : at + 128], out)
            heard.append(out.copy())
        return np.concatenate(heard)

    wanted = played_now(lambda seconds: None)
    assert np.array_equal(played_now(rig.chain.rest), wanted)
    assert not np.array_equal(played_now(functools.partial(type(rig.chain).rest, rig.chain)), wanted)


def test_a_model_that_is_too_slow_ends_the_case_early(tiny: Path) -> None:
    case = Case("tiny", "file", str(tiny), seconds=1.0)
    block = play_block(case, [make_rig(case)], 128, Clock(0.05))
    assert 37 <= len(block.times_us) < round(RATE / 128)
    assert block.misses > 0


def test_a_preset_is_played_from_its_folder(tmp_path: Path, tiny: Path) -> None:
    library = Library(tmp_path / "own", tmp_path / "none")
    library.save(
        "solo", Preset(PRESET_FORMAT, "solo", [SlotPreset("style", "tiny.onnx")]), {"tiny.onnx": tiny.read_bytes()}
    )
    case = Case("solo", "preset", str(tmp_path / "own"), "solo", seconds=0.1)
    run = run_case(case, Clock(5e-6))
    assert (run.refused, len(run.blocks)) == ("", 1)
    assert run.parameters == count_parameters(Case("tiny", "file", str(tiny)))


def test_another_provider_is_never_measured_in_the_place_of_one_that_is_not_there(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    preset = Preset(PRESET_FORMAT, "solo", [SlotPreset("style", "tiny.onnx")])
    entry = Library(tmp_path / "own", tmp_path / "none").save("solo", preset, {"tiny.onnx": tiny.read_bytes()})
    for model in (Case("tiny", "file", str(tiny)), Case("solo", "preset", str(entry.folder), "solo")):
        for graph in (False, True):
            case = msgspec.structs.replace(model, provider="cuda", cuda_graph=graph, seconds=0.1)
            run = run_case(case, Clock(5e-6))
            assert run.blocks == []
            assert "cuda is not available" in run.refused


def test_a_process_of_its_own_answers_the_same_and_says_why_it_cannot(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    run = run_in_child(Case("tiny", "file", str(tiny), blocks=[256], seconds=0.1))
    assert run.refused == ""
    assert len(run.blocks[0].times_us) == round(0.1 * RATE / 256)
    assert run.memory_bytes is None or run.memory_bytes > 0
    gone = run_in_child(Case("gone", "file", str(tmp_path / "gone.onnx")))
    assert gone.refused.startswith("cannot read the model")
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho boom >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert run_in_child(Case("tiny", "file", str(tiny))).refused == "the process ended with status 3: boom"
    script.write_text("#!/bin/sh\necho '[]'\n")
    assert run_in_child(Case("tiny", "file", str(tiny))).refused.startswith("the process gave no answer")


def test_passes_go_round_all_cases_and_leave_out_what_was_refused() -> None:
    order, said = [], []

    def run(case: Case) -> CaseRun:
        order.append(case.model)
        return CaseRun(refused="no" if case.model == "b" else "")

    cases = [Case(name, "filters", filters=1) for name in "abc"]
    found = run_cases(cases, 3, lambda text, share: said.append((text, share)), run)
    assert order == ["a", "b", "c", "a", "c", "a", "c"]
    assert [len(runs) for runs in found] == [3, 1, 3]
    assert said[0] == ("a, pass 1 of 3", 0.0)
    assert [share for _, share in said] == sorted(share for _, share in said)


# -- figures -----------------------------------------------------------------------------------------------------------


MACHINE = describe_machine()


def block_run(times: Sequence[float], misses: int = 0, block: int = 128) -> BlockRun:
    return BlockRun(block, 128, 0.25, 900.0, list(times), misses, [10.0] * len(times), 0)


def case_figures(
    times: Sequence[Sequence[float]], *, model: str = "x", machine: MachineInfo = MACHINE, seconds: float = 0.3
) -> Figures:
    """Figures of one model at blocks of 128, from the times of each pass."""
    case = Case(model, "filters", filters=1, seconds=seconds)
    runs = [CaseRun(load_s=0.5, memory_bytes=3 * 10**6, blocks=[block_run(one)]) for one in times]
    return figures(machine, summarise(case, runs), [])


def test_figures_add_up(rng: np.random.Generator) -> None:
    times = [rng.uniform(100.0, 900.0, 400), rng.uniform(200.0, 1500.0, 400)]
    case = Case("x", "filters", filters=1, channels=2, instances=2)
    runs = [
        CaseRun(load_s=0.1, memory_bytes=10**6, blocks=[block_run(list(times[0]), 3)], priority=True),
        CaseRun(load_s=0.3, memory_bytes=3 * 10**6, blocks=[block_run(list(times[1]), 4)]),
        CaseRun(refused="gone"),
    ]
    (found,) = summarise(case, runs)
    both = np.concatenate(times)
    assert found.key.words() == "x, 128 frames, stereo, 2 instances"
    assert found.key.words(without="block") == "x, stereo, 2 instances"
    assert found.key.words(without="instances") == "x, 128 frames, stereo"
    assert found.period_us == pytest.approx(128e6 / RATE)
    assert found.callbacks == 800
    assert found.median_us == pytest.approx(np.median(both))
    assert found.p99_us == pytest.approx(np.sort(both)[790], rel=0.01)
    assert found.worst_us == both.max()
    assert found.real_time_factor == pytest.approx(128e6 / RATE * 800 / both.sum())
    assert (found.misses, found.idle_callbacks, found.idle_misses) == (7, 800, 0)
    assert (found.load_ms, found.prepare_ms, found.memory_mb, found.priority) == (200.0, 250.0, 2.0, False)
    assert [one.median_us for one in found.passes] == [pytest.approx(np.median(part)) for part in times]
    assert found.load == found.p99_us / found.period_us
    assert summarise(case, [CaseRun(refused="gone")]) == []


def test_a_histogram_holds_every_callback_once(rng: np.random.Generator) -> None:
    times = np.exp(rng.uniform(np.log(0.2), np.log(1e5), 5000))
    found = histogram_of(times)
    assert sum(count for _, count in found) == 5000
    for number, count in found:
        low = 0.0 if number == 0 else 2.0 ** (number / PER_OCTAVE)
        assert count == np.sum((times >= low) & (times < 2.0 ** ((number + 1) / PER_OCTAVE)))


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = case_figures([[100.0, 200.0], [110.0, 190.0]])
    write_figures(tmp_path / "a.json", found)
    assert read_figures(tmp_path / "a.json") == found
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["format"] == FORMAT
    assert data["machine"]["versions"]["duende"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]
    with pytest.raises(DuendeError, match="cannot write"):
        write_figures(tmp_path / "a.json" / "b.json", found)
    (tmp_path / "long.json").write_bytes((tmp_path / "a.json").read_bytes() + b" " * MAX_BYTES)
    with pytest.raises(DuendeError, match=r"^long\.json: figures may have 16 MiB, these have more$"):
        read_figures(tmp_path / "long.json")


BROKEN: list[tuple[str, Callable[[dict[str, object]], object], str]] = [
    ("old", lambda data: data | {"format": 1}, "figures of format 1, this version of duende reads 2: measure again"),
    ("text", lambda data: data | {"format": "2"}, "not figures of `duende bench`: Expected `int`, got `str`"),
    ("extra", lambda data: data | {"evil": 1}, "unknown field `evil`"),
    ("list", lambda data: [data], "not figures of `duende bench`"),
    ("twice", lambda data: data | {"results": 2 * data["results"]}, "x, 128 frames: measured twice"),  # type: ignore[operator]
    ("zero", lambda data: with_result(data, median_us=0.0), "times must be over 0 us"),
    ("huge", lambda data: with_result(data, worst_us=1e300), "times must be over 0 us"),
    ("none", lambda data: with_result(data, passes=[]), "0 passes, 1 to 1000 are allowed"),
    ("bins", lambda data: with_result(data, histogram=[[5000, 1]]), "bins 0 to 399"),
]


def with_result(data: dict[str, object], **changed: object) -> dict[str, object]:
    (one,) = cast(list[dict[str, object]], data["results"])
    return data | {"results": [one | changed]}


@pytest.mark.parametrize(("name", "spoil", "said"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_other_files_are_refused_in_one_line(
    name: str, spoil: Callable[[dict[str, object]], object], said: str, tmp_path: Path
) -> None:
    data = msgspec.to_builtins(case_figures([[100.0, 200.0]]))
    path = tmp_path / "b.json"
    path.write_text(json.dumps(spoil(data)))
    with pytest.raises(DuendeError) as caught:
        read_figures(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("b.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100000, b" " * (MAX_BYTES + 1), b'{"format":1e400}']
)
def test_what_is_no_file_of_figures_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(DuendeError, match=r"^b\.json: "):
        read_figures(tmp_path / "b.json")
    with pytest.raises(DuendeError, match="cannot read the figures"):
        read_figures(tmp_path / "none.json")


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_an_interval_is_that_of_welch(rng: np.random.Generator) -> None:
    a, b = np.exp(rng.normal(5.0, 0.1, 4)), np.exp(rng.normal(5.2, 0.3, 7))
    found = ratio_of(list(a), list(b), 0.9)
    wanted = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(0.9)
    assert found.ratio == pytest.approx(np.exp(np.log(b).mean() - np.log(a).mean()))
    assert found.low == pytest.approx(np.exp(wanted.low))
    assert found.high == pytest.approx(np.exp(wanted.high))


def test_chance_alone_is_called_noise_and_a_difference_is_found(rng: np.random.Generator) -> None:
    wrong = 0
    for _ in range(400):
        a, b = np.exp(rng.normal(5.0, 0.05, (2, 3)))
        wrong += ratio_of(list(a), list(b)).verdict != "within noise"
    assert wrong <= 30
    assert ratio_of([100.0, 101.0, 99.0], [50.0, 51.0, 50.5]).verdict == "quicker"
    assert ratio_of([100.0, 101.0, 99.0], [200.0, 199.0, 205.0]).verdict == "slower"
    assert ratio_of([100.0], [200.0, 201.0]).verdict == "one pass: noise not known"
    assert ratio_of([100.0, 100.0], [100.0, 100.0]).verdict == "within noise"
    assert ratio_of([100.0, 100.0], [101.0, 101.0]).verdict == "slower"


def test_two_benchmarks_are_compared_key_by_key() -> None:
    before = case_figures([[100.0] * 9, [101.0] * 9, [99.0] * 9])
    after = case_figures([[50.0] * 9, [51.0] * 9, [50.5] * 9])
    found = compare(before, after)
    (row,) = found.rows
    assert row.median.ratio == pytest.approx(0.505, rel=0.01)
    assert row.median.verdict == row.p99.verdict == "quicker"
    assert (found.only_a, found.only_b) == ([], [])
    other = msgspec.structs.replace(MACHINE, processor="abacus", load=99.0)
    found = compare(before, case_figures([[1.0]], model="y", machine=other))
    assert found.rows == []
    assert [key.model for key in (*found.only_a, *found.only_b)] == ["x", "y"]
    assert found.differences[0] == f"processor: {MACHINE.processor} / abacus"
    assert "other programs ran" in found.differences[-1]


def test_more_rows_need_a_larger_difference_each() -> None:
    """One of a hundred rows differs by chance: the interval knows how many rows there are."""
    names = [f"m{number}" for number in range(100)]
    a = [case_figures([[100.0] * 9, [100.5] * 9], model=name).results[0] for name in names]
    b = [case_figures([[110.0] * 9, [110.5] * 9], model=name).results[0] for name in names]
    many, one = (compare(figures(MACHINE, a[:n], []), figures(MACHINE, b[:n], [])) for n in (100, 1))
    assert one.rows[0].median.verdict == "slower"
    assert many.rows[0].median.verdict == "within noise"


# -- what is asked for -------------------------------------------------------------------------------------------------


def never(played: Played, precision: str) -> Played:
    raise DuendeError(f"not in {precision}")


CPU = ["CPUExecutionProvider"]


def test_every_way_is_a_case_and_what_cannot_be_is_said_once(tiny: Path) -> None:
    models = [file_played("a", tiny), filters_named("filters:32")]
    ways = Ways(
        providers=["cpu", "cuda", "tensorrt"], precisions=["float32", "int8"], cuda_graphs=[False, True], threads=[1, 2]
    )
    cases, left_out = cases_for(models, ways, never, CPU)
    assert [(case.model, case.threads) for case in cases] == [("a", 1), ("a", 2), ("filters:32", 1), ("filters:32", 2)]
    assert {(case.provider, case.precision, case.cuda_graph) for case in cases} == {("cpu", "float32", False)}
    assert len(left_out) == 5
    text = "\n".join(left_out)
    assert "cuda: the installed ONNX Runtime" in text
    assert "tensorrt: the installed ONNX Runtime" in text
    assert "CUDA graph on cpu: only with cuda" in text
    assert "a in int8: not in int8" in text
    assert "filters:32 in int8: random weights" in text
    cases, left_out = cases_for(models[:1], ways, lambda one, precision: one, [*CPU, "CUDAExecutionProvider"])
    assert {(case.provider, case.cuda_graph, case.threads, case.precision) for case in cases} == {
        *(("cpu", False, threads, precision) for threads in (1, 2) for precision in ("float32", "int8")),
        *(("cuda", graph, 1, precision) for graph in (False, True) for precision in ("float32", "int8")),
    }
    captured = [Played("amp", "file", str(tiny), capture=True)]
    cases, left_out = cases_for(captured, ways, never, [*CPU, "CUDAExecutionProvider"])
    assert [(case.threads, case.provider) for case in cases] == [(1, "cpu")]
    assert any("captures play so" in line for line in left_out)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"blocks": [0]}, "--blocks 0: out of range, 1 to 8192 frames"),
        ({"threads": [99]}, "--threads 99: out of range, 1 to 64"),
        ({"channels": [3]}, "--channels 3: out of range, 1 to 2"),
        ({"instances": [0]}, "--instances 0: out of range"),
        ({"rate": 12.0}, "sample rate 12 Hz"),
        ({"seconds": 0.0}, "--seconds 0 is out of range: 0.1 to 600"),
        ({"providers": ["abacus"]}, "unknown provider 'abacus'"),
        ({"precisions": ["int2"]}, "unknown precision 'int2'"),
    ],
)
def test_values_out_of_range_are_named(changed: dict[str, object], said: str) -> None:
    with pytest.raises(DuendeError, match=said.replace("(", r"\(")):
        cases_for([], Ways(**changed), never, CPU)  # type: ignore[arg-type]


# -- models to time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["filters:0", "filters:x", "filters:99999", "filters:", "filters:²"])
def test_filters_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(DuendeError, match=r"write filters:N with 1 to 16384"):
        filters_named(name)


def test_the_published_extractor_has_46_million_weights() -> None:
    assert 46.1e6 < extractor_parameters(4096) < 46.6e6
    graph = onnx.load_model_from_string(extractor_graph(24))
    weights = [one for one in graph.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(one.dims)) for one in weights) == extractor_parameters(24)


def test_the_extractor_hears_the_last_eleven_frames(rng: np.random.Generator) -> None:
    filters, bins = 16, DEFAULT_SIZES.bins
    data = extractor_graph(filters)
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load_model_from_string(data).graph.initializer}
    stream = FixedStream(
        open_session(data, "x", dimensions={"channels": 1}),
        {"frame": np.zeros((1, 1, bins), dtype=np.float32)},
        {"gains": (1, BANDS)},
        {"past": np.zeros((1, FRAMES - 1, bins), dtype=np.float32)},
    )
    frames = np.abs(rng.standard_normal((30, bins))).astype(np.float32)
    padded = np.concatenate([np.zeros((FRAMES - 1, bins), dtype=np.float32), frames])
    for at, frame in enumerate(frames):
        stream.inputs["frame"][0, 0] = frame
        stream.run()
        answers = np.maximum(padded[at : at + FRAMES].reshape(-1).astype(np.float64) @ weights["filters"], 0.0)
        wanted = 1.0 / (1.0 + np.exp(-(answers @ weights["decoder"])))
        assert np.abs(stream.outputs["gains"][0] - wanted).max() < 1e-5


def test_the_extractor_plays_the_same_in_blocks_of_any_size(rng: np.random.Generator) -> None:
    samples = (0.1 * rng.standard_normal((128 * 24, 2))).astype(np.float32)

    def play(block: int) -> Float32:
        processor = ExtractorProcessor(8)
        processor.prepare(StreamSpec(RATE, 2, block))
        out = np.zeros_like(samples)
        for _ in range(2):
            processor.reset()
            for at in range(0, len(samples), block):
                processor.process(samples[at : at + block], out[at : at + block])
        return out

    one, many = play(128), play(1024)
    assert np.abs(one - many).max() < 1e-6
    # What it should be, by hand: the second time round it began from silence, too.
    sizes, bins = DEFAULT_SIZES, DEFAULT_SIZES.bins
    weights = {
        one.name: onnx.numpy_helper.to_array(one)
        for one in onnx.load_model_from_string(extractor_graph(8)).graph.initializer
    }
    spectra = Analysis(sizes, 2, 24).process(samples.T.copy())
    heard = np.pad(np.log1p(np.abs(spectra)), ((0, 0), (FRAMES - 1, 0), (0, 0)))
    rows = np.stack([heard[:, at : at + FRAMES].reshape(2, -1) for at in range(24)], axis=1)
    answers = np.maximum(rows @ weights["filters"], 0.0) @ weights["decoder"]
    bands = erb_bands(RATE, sizes.analysis, BANDS)
    gains = np.pad(1.0 / (1.0 + np.exp(-answers)) @ bands.interpolation, ((0, 0), (0, 0), (0, bins - bands.bins)))
    wanted = np.zeros((2, len(samples)), dtype=np.float32)
    Synthesis(sizes, 2, 24).process((spectra * gains).astype(np.complex64), wanted)
    assert np.abs(one - wanted.T).max() < 1e-5
    assert np.abs(wanted).max() > 0.01


def test_a_session_of_one_frame_plays_what_the_model_plays(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write_model(tmp_path / "two.onnx", tiny_weights(styles=2))
    plain, fixed = load_model(path), FixedModel(path, "cpu")
    silence = rng.standard_normal(145).astype(np.float32)
    one, other = plain.start(1, [1, 4], silence), fixed.start(1, [1, 4], silence)
    for stream in (one, other):
        stream.style[:] = (0.25, 0.75)
    for _ in range(2):
        for frames in (1, 4, 4, 1):
            heard = rng.standard_normal((1, frames, 145)).astype(np.float32)
            for stream in (one, other):
                stream.features[frames][:] = heard
                stream.run(frames)
            assert np.abs(one.ratios[frames] - other.ratios[frames]).max() < 1e-5
            assert np.abs(one.dynamics[frames] - other.dynamics[frames]).max() < 1e-5
            assert np.abs(one.ratios[frames]).max() > 0.01
        one.reset()
        other.reset()


def test_threads_are_those_of_the_session(tiny: Path) -> None:
    assert load_model(tiny, threads=3)._session.get_session_options().intra_op_num_threads == 3
    assert load_model(tiny)._session.get_session_options().intra_op_num_threads == 1
    rig = make_rig(Case("tiny", "file", str(tiny), threads=2))
    assert rig.chain.slots[0].processor.model._session.get_session_options().intra_op_num_threads == 2  # type: ignore[attr-defined]


def test_a_student_of_any_size_is_a_model_that_plays(tmp_path: Path) -> None:
    for millions in (0.2, 1.0):
        found = student_played(f"student:{millions}", tmp_path)
        count = count_parameters(Case("x", "file", found.path))
        assert count == pytest.approx(1e6 * millions, rel=0.05)
        assert found.model == f"student:{millions}"
    run = run_case(Case("x", "file", found.path, blocks=[128], seconds=0.1), Clock(5e-6))
    assert (run.refused, run.blocks[0].latency_samples) == ("", 128)
    for name, said in (
        ("student:x", "write student:N"),
        ("student:1000", "out of range"),
        ("student:nan", "out of range"),
    ):
        with pytest.raises(DuendeError, match=said):
            student_played(name, tmp_path)
    assert student_bytes(0.2) == student_bytes(0.2)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_models_and_presets_are_measured_at_other_precisions(precision: str, tmp_path: Path) -> None:
    data = student_bytes(0.2)
    model = file_played("m", write(tmp_path / "m.onnx", data))
    small = at_precision(model, precision, tmp_path)
    assert load_model(small.path).spec.precision == precision
    assert Path(small.path).stat().st_size < 0.6 * len(data)
    library = Library(tmp_path / "own", tmp_path / "none")
    entry = library.save("solo", Preset(PRESET_FORMAT, "solo", [SlotPreset("style", "m.onnx")]), {"m.onnx": data})
    found = at_precision(Played("solo", "preset", str(entry.folder), "solo"), precision, tmp_path)
    run = run_case(Case("solo", "preset", found.path, found.preset, seconds=0.1), Clock(5e-6))
    assert (run.refused, len(run.blocks)) == ("", 1)
    rig = make_rig(Case("solo", "preset", found.path, found.preset))
    assert rig.chain.slots[0].processor.model.spec.precision == precision  # type: ignore[attr-defined]
    cab = library.save("cab", Preset(PRESET_FORMAT, "cab", [SlotPreset("cabinet", effect="4x12")]), {})
    with pytest.raises(DuendeError, match="holds no style"):
        at_precision(Played("cab", "preset", str(cab.folder), "cab"), precision, tmp_path)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
