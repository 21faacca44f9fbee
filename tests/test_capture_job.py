"""The whole job of capturing, and `duende capture`: from two files to a .nam file and a model in the library."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import oracle
from capture_takes import RATE, SECONDS, Samples, amplifier, delayed, played, the_signal
from duende import DuendeError
from duende.commands.app import app

pytestmark = pytest.mark.train
pytest.importorskip("torch")

from duende.engine.waveform_model import open_waveform  # noqa: E402
from duende.export.capture import capture as job  # noqa: E402
from duende.export.capture.capture import CaptureRequest, capture, prepare, verdict  # noqa: E402
from duende.export.capture.nam_file import About  # noqa: E402
from duende.export.capture.train import TrainConfig  # noqa: E402
from duende.export.capture.wavenet import SHAPES, ArrayShape  # noqa: E402
from duende.export.captures.read import read_capture  # noqa: E402
from duende.presets.captures import Captures  # noqa: E402


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nano learns in a second here."""
    monkeypatch.setitem(SHAPES, "nano", (ArrayShape(6, 3, (1, 2, 4, 8, 16)), ArrayShape(3, 1, (1, 2, 4))))


def write(path: Path, samples: Samples, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    signal, _ = the_signal()
    return write(tmp_path / "dry.wav", signal), write(tmp_path / "wet.wav", delayed(amplifier(signal, 3.0), 200.0))


def request(pair: tuple[Path, Path], **changes: object) -> CaptureRequest:
    settings: dict[str, object] = {"config": TrainConfig("nano", steps=40, threads=1)}
    return CaptureRequest(*pair, About("mine", author="me"), **(settings | changes))  # type: ignore[arg-type]


def test_from_two_files_to_a_model_that_plays(pair: tuple[Path, Path], tmp_path: Path) -> None:
    captures = Captures(tmp_path / "library")
    notes: list[str] = []
    said: list[str] = []
    done = capture(request(pair), captures, say=said.append, note=notes.append)
    assert done.alignment.latency_samples == pytest.approx(200.0, abs=1.0)
    assert done.findings == [] == notes
    assert said == ["checking the take", "training", "writing"]
    assert done.replicate is not None
    assert done.replicate < 1e-6
    assert done.path == tmp_path / "mine.nam"
    assert list(captures.entries()) == ["mine"]
    read = read_capture(done.path)
    samples = played(1.0)[: RATE // 20]
    np.testing.assert_allclose(oracle.render(read, samples), done.trained.answer(samples), atol=1e-6)
    spec = open_waveform(captures.find("mine")).spec
    assert spec.sample_rate == RATE
    assert spec.provenance.author == "me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dry.wav", "library", "mine.nam", "wet.wav"]


def test_the_wet_file_is_moved_to_where_the_model_can_follow(pair: tuple[Path, Path]) -> None:
    signal, plan = the_signal()
    take, alignment, _, _ = prepare(request(pair))
    assert 197 <= alignment.shift <= 200
    expected = delayed(amplifier(signal, 3.0), 200.0 - alignment.shift)
    np.testing.assert_allclose(take.wet[: plan.validation.stop], expected[: plan.validation.stop], atol=1e-5)
    assert (take.judged, take.learned.stop) == (plan.validation, plan.playing.stop)


def test_swapped_files_of_the_signal(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match="WET is the test signal itself: the two files are swapped"):
        capture(request(pair[::-1]), Captures(tmp_path / "library"))
    assert not (tmp_path / "library").exists()


def test_what_is_fatal_stops_unless_told_otherwise(tmp_path: Path) -> None:
    dry = played(12.0)
    wet = np.clip(8.0 * dry, -1.0, 1.0)
    pair = write(tmp_path / "dry.wav", dry), write(tmp_path / "wet.wav", wet)
    with pytest.raises(DuendeError, match=r"WET is clipped in \d+ places: .* \(--regardless goes on\)"):
        prepare(request(pair))
    _, _, findings, _ = prepare(request(pair, regardless=True))
    assert any("WET is clipped" in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": TrainConfig("huge")}, "--size 'huge': choose one of"),
        ({"config": TrainConfig("nano", seconds=1.0)}, r"--minutes 0\.0166667 is out of range: 0\.05 to 600"),
        ({"folder": Path("/nowhere/at/all")}, "no such folder to write mine.nam"),
    ],
)
def test_what_is_known_to_fail_fails_at_once(
    changes: dict[str, object], message: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(DuendeError, match=message):
        capture(request(pair, **changes), Captures(tmp_path / "library"))


def test_nothing_is_replaced_without_force(pair: tuple[Path, Path], tmp_path: Path) -> None:
    captures = Captures(tmp_path / "library")
    (tmp_path / "mine.nam").write_text("another")
    with pytest.raises(DuendeError, match=r"mine\.nam exists: choose another --name"):
        capture(request(pair), captures)
    assert (tmp_path / "mine.nam").read_text() == "another"
    capture(request(pair, force=True), captures)
    (tmp_path / "mine.nam").unlink()
    with pytest.raises(DuendeError, match="there is a capture 'mine' already"):
        capture(request(pair), captures)


def test_a_training_that_breaks_leaves_nothing(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise DuendeError("out of luck")

    monkeypatch.setattr(job, "train", broken)
    with pytest.raises(DuendeError, match="out of luck"):
        capture(request(pair), Captures(tmp_path / "library"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dry.wav", "wet.wav"]


def test_an_error_in_words() -> None:
    words = [verdict(error) for error in (0.0005, 0.002, 0.0099, 0.02, 0.09, 0.5)]
    assert len(set(words)) == len(words)
    assert words[2].startswith("very good")
    assert words[-1].startswith("poor")


def test_the_commands(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    made = run(app, ["capture", "--signal", str(tmp_path / "play.wav"), "--seconds", str(SECONDS)])
    assert made.exit_code == 0, made.output
    assert soundfile.info(tmp_path / "play.wav").frames == SECONDS * RATE
    arguments = ["capture", str(pair[0]), str(pair[1]), "--name", "mine", "--size", "nano", "--steps", "5"]
    done = run(app, [*arguments, "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "latency 20" in done.output.replace("199.", "20")
    assert "ESR 0." in done.output
    assert (tmp_path / "home" / "captures" / "mine.onnx").is_file()
    assert (tmp_path / "mine.nam").is_file()
    with pytest.raises(DuendeError, match=r"give DRY\.wav WET\.wav --name NAME"):
        run(app, ["capture", str(pair[0])], catch_exceptions=False)
