"""`duende bench` as it is typed, and the page it draws."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from captures import tiny_captures
from duende import __main__
from duende.commands.bench import FULL_MODELS, QUICK_MODELS, QUICK_PRESETS, verdicts
from duende.engine.bench import children, describe_machine
from duende.engine.bench.case import BlockRun, Case, CaseRun
from duende.engine.bench.results import Figures, figures, read_figures, summarise, write_figures
from duende.export.bench_page import page_text, write_page, write_picture
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import HOME_VARIABLE, Library
from models import write_model

MACHINE = msgspec.structs.replace(describe_machine(), load=0.0)
Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """The cases that would have been measured, each in a process; all take 100 us here, those called `slow` 9 ms."""
    cases: list[Case] = []

    def run(case: Case) -> CaseRun:
        cases.append(case)
        if case.model == "refused":
            return CaseRun(refused="the golden pair is missed")
        took = 9000.0 if case.model == "slow" else 100.0 + 0.01 * len(cases)
        misses = 40 if case.model == "slow" else 0
        blocks = [BlockRun(size, 128, 0.1, 150.0, [took] * 40, misses, [10.0] * 40, 0) for size in case.blocks]
        return CaseRun(0.2, 5 * 10**6, 1000, False, blocks)

    monkeypatch.setattr(children, "run_in_child", run)
    monkeypatch.setattr(children.run_cases, "__defaults__", (None, run))
    return cases


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Status, standard output and standard error of `duende bench words...`, with a library of its own."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["duende", "bench", *map(str, words)])
        status = 0
        try:
            __main__.main()
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def kept(tmp_path: Path, times: list[float], name: str, model: str = "x") -> Path:
    """A file of figures with one median for each pass."""
    case = Case(model, "filters", filters=1)
    runs = [CaseRun(blocks=[BlockRun(128, 128, 0.1, 150.0, [time] * 40, 0, [10.0] * 40, 0)]) for time in times]
    write_figures(tmp_path / name, figures(MACHINE, summarise(case, runs), []))
    return tmp_path / name


def test_a_few_models_are_measured_where_none_is_named(bench: Bench, asked: list[Case], tmp_path: Path) -> None:
    status, said, wrong = bench("--json", tmp_path / "a.json")
    assert (status, wrong) == (0, "")
    names = [case.model for case in asked]
    assert names[: len(names) // 3] * 3 == names
    assert set(names) <= {*QUICK_PRESETS, *QUICK_MODELS}
    assert {"cello", "rain", *QUICK_MODELS} <= set(names)
    assert {tuple(case.blocks) for case in asked} == {(64, 128, 256)}
    assert MACHINE.processor in said
    found = read_figures(tmp_path / "a.json")
    assert {len(one.passes) for one in found.results} == {3}
    assert len(found.results) == 3 * len(set(names))
    assert "cello: plays from blocks of 64 on, with room (load 8%)" in said


def test_everything_is_measured_where_all_is_asked_for(bench: Bench, asked: list[Case]) -> None:
    status, _, wrong = bench("--full", "--passes", "1", "--no-priority")
    assert status == 0
    names = {case.model for case in asked}
    assert {*FULL_MODELS} <= names
    assert {entry.name for entry in Library(own=Path("none")).entries()} >= names - {*FULL_MODELS}
    assert {tuple(case.blocks) for case in asked} == {(32, 64, 128, 256, 512, 1024)}
    assert {(case.seconds, case.priority) for case in asked} == {(2.0, 0)}
    assert "minutes" in wrong


def test_models_are_named_in_every_way(bench: Bench, asked: list[Case], tmp_path: Path) -> None:
    model = write_model(tmp_path / "mine.onnx")
    Library().save("solo", Preset(FORMAT, "solo", [SlotPreset("style", "m.onnx")]), {"m.onnx": model.read_bytes()})
    words = (
        "run",
        "solo",
        model,
        "student:0.2",
        "filters:64",
        "--passes",
        "1",
        "--channels",
        "1,2",
        "--instances",
        "1,4",
    )
    status, said, wrong = bench(*words, "--blocks", "128", "--seconds", "0.1")
    assert (status, wrong) == (0, "")
    assert [case.model for case in asked[::4]] == ["solo", "mine", "student:0.2", "filters:64"]
    assert [(case.channels, case.instances) for case in asked[:4]] == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert "mine, stereo, 4 instances" in said


def test_captures_of_the_library_are_named_with_and_without_their_kind(
    bench: Bench, asked: list[Case], tmp_path: Path
) -> None:
    tiny_captures(tmp_path / "home")
    words = ("capture:half", "half", "--passes", "1", "--threads", "1,2", "--precision", "float32,int8")
    status, _, wrong = bench(*words)
    assert status == 0
    assert {Path(case.path) for case in asked} == {tmp_path / "home" / "captures" / "half.onnx"}
    assert {(case.model, case.threads, case.precision) for case in asked} == {("half", 1, "float32")}
    assert len(asked) == 1
    assert wrong == (
        "note: not measured: half in another way than float32 on one thread of the CPU: captures play so\n"
    )


def test_what_is_not_there_is_one_notice_and_the_rest_is_measured(
    bench: Bench, asked: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    status, said, wrong = bench("filters:8", "--provider", "cpu,cuda", "--passes", "2")
    assert status == 0
    assert len(asked) == 2
    assert "filters:8" in said
    (line,) = wrong.splitlines()
    assert line.startswith("note: not measured: cuda: the installed ONNX Runtime")
    status, said, wrong = bench("filters:8", "--provider", "cuda")
    assert (status, said) == (1, "")
    assert wrong.startswith("duende: nothing could be measured: cuda: the installed ONNX Runtime")
    assert len(wrong.splitlines()) == 1


def test_a_model_that_is_refused_is_said_and_alone_is_an_error(bench: Bench, asked: list[Case], tmp_path: Path) -> None:
    bad, good = (write_model(tmp_path / f"{name}.onnx") for name in ("refused", "good"))
    status, said, wrong = bench(bad, good, "--passes", "3")
    assert status == 0
    assert "good" in said
    assert wrong == "note: not measured: refused on cpu: the golden pair is missed\n"
    assert [case.model for case in asked] == ["refused", "good", "good", "good"]
    assert bench(bad) == (1, "", "duende: the golden pair is missed\n")


def test_a_slow_machine_is_told_so(bench: Bench, asked: list[Case], tmp_path: Path) -> None:
    status, said, _ = bench(write_model(tmp_path / "slow.onnx"), "--blocks", "128,512")
    assert status == 0
    assert "slow: plays from blocks of 512 on, with little room (load 84%)" not in said
    # Of 512 frames, 9 ms would fit; but every callback of both was a miss.
    assert "slow: does not keep up with any of these blocks" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "no preset 'nobody'; there are: "),
        (["none.onnx"], "cannot read the model"),
        (["capture:x"], "no capture 'x'"),
        (["filters:0"], "write filters:N"),
        (["student:x"], "write student:N"),
        (["cello", "--blocks", "a"], "--blocks 'a': write whole numbers"),
        (["cello", "--blocks", "0"], "--blocks 0: out of range, 1 to 8192 frames"),
        (["cello", "--provider", "abacus"], "unknown provider 'abacus'"),
        (["cello", "--cuda-graph", "maybe"], "--cuda-graph 'maybe': choose one of off, on, both"),
        (["cello", "--passes", "0"], "--passes 0: out of range"),
        (["cello", "--quick", "--full"], "--quick and --full: choose one"),
        (["cello", "--html", "x.txt"], "a name ending in .html is needed"),
        (["compare", "{folder}/none.json", "{folder}/none.json"], "cannot read the figures"),
        (["draw", "{folder}/none.json"], "say what to write: --html FILE.html"),
        (["draw", "{folder}/none.json", "--png", "x.png"], "cannot read the figures"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], said: str, bench: Bench, asked: list[Case], tmp_path: Path
) -> None:
    status, out, wrong = bench(*(word.format(folder=tmp_path) for word in words))
    assert (status, out, asked) == (1, "", [])
    assert wrong.startswith("duende: ")
    assert said in wrong
    assert len(wrong.splitlines()) == 1


def test_two_files_are_compared(bench: Bench, tmp_path: Path) -> None:
    a, b = kept(tmp_path, [100.0, 101.0, 99.0], "a.json"), kept(tmp_path, [200.0, 203.0, 199.0], "b.json")
    status, said, wrong = bench("compare", a, b)
    assert (status, wrong) == (0, "")
    assert re.search(r"x, 128 frames +100 +200 +2\.0\d \(1\.\d\d\.\.2\.\d\d\) +slower", said)
    assert "within noise" in bench("compare", a, a)[1]
    assert "noise not known" in bench("compare", kept(tmp_path, [100.0], "c.json"), b)[1]
    status, _, wrong = bench("compare", a, kept(tmp_path, [1.0], "d.json", model="y"))
    assert status == 1
    assert wrong.splitlines()[:-1] == ["note: only in a.json: x, 128 frames", "note: only in d.json: y, 128 frames"]
    assert wrong.splitlines()[-1] == "duende: a.json and d.json have measured nothing in common"
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"format": 1, "machine": {}, "results": []}))
    status, said, wrong = bench("compare", a, old)
    assert (status, said) == (1, "")
    assert wrong == "duende: old.json: figures of format 1, this version of duende reads 2: measure again\n"


def drawn() -> Figures:
    results = []
    for model in ("a<b>", "c"):
        for instances in (1, 2, 4):
            case = Case(model, "filters", filters=1, instances=instances, blocks=[64, 128])
            times = [80.0 * instances, 300.0 * instances] * 20
            blocks = [BlockRun(size, 128, 0.1, 150.0, times, instances, [10.0] * 40, 0) for size in case.blocks]
            results += summarise(case, [CaseRun(memory_bytes=10**6, blocks=blocks)])
    return figures(MACHINE, results, ["cuda: not <here>"])


def test_a_page_holds_everything_and_loads_nothing(tmp_path: Path) -> None:
    found = drawn()
    write_page(tmp_path / "x.html", found)
    text = (tmp_path / "x.html").read_text()
    assert text == page_text(found)
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]
    assert text.count("data:image/png;base64,") == 3
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "a&lt;b&gt;, 64 frames, 4 instances" in text
    assert "cuda: not &lt;here&gt;" in text
    assert "a<b>" not in text
    assert MACHINE.kernel in text
    one = msgspec.structs.replace(found, results=found.results[:1], left_out=[])
    assert page_text(one).count("data:image/png;base64,") == 2


def test_pictures_are_drawn_from_a_file(bench: Bench, tmp_path: Path) -> None:
    write_figures(tmp_path / "a.json", drawn())
    status, said, wrong = bench("draw", tmp_path / "a.json", "--png", tmp_path / "x.png", "--html", tmp_path / "x.html")
    assert (status, wrong) == (0, "")
    assert said.splitlines() == [f"wrote {tmp_path / 'x.html'}", f"wrote {tmp_path / 'x.png'}"]
    data = (tmp_path / "x.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    write_picture(tmp_path / "y.png", msgspec.structs.replace(drawn(), results=drawn().results[:2]))
    assert len((tmp_path / "y.png").read_bytes()) < len(data)


def test_without_matplotlib_nothing_is_measured_first(
    bench: Bench, asked: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, wrong = bench("filters:8", "--png", tmp_path / "x.png")
    assert (status, wrong) == (1, "duende: drawing needs matplotlib: pip install 'duende[plot]'\n")
    assert asked == []


def test_verdicts_go_by_misses_that_doing_nothing_has_not() -> None:
    def one(model: str, took: float, misses: int, idle: int) -> list[object]:
        case = Case(model, "filters", filters=1)
        run = CaseRun(blocks=[BlockRun(128, 128, 0.1, 1.0, [took] * 1000, misses, [1.0] * 1000, idle)])
        return list(summarise(case, [run]))

    for took, misses, idle, said in (
        (500.0, 0, 0, "plays from blocks of 128 on, with room"),
        (2000.0, 5, 0, "with little room (load 75%)"),
        (500.0, 100, 0, "does not keep up"),
        (500.0, 100, 200, "plays from blocks of 128 on"),
        (2700.0, 0, 0, "does not keep up"),
    ):
        lines = verdicts(one("x", took, misses, idle))  # type: ignore[arg-type]
        assert said in lines[0]
        assert (len(lines) == 2) == (idle > 10)
