"""The student in torch, the graph in ONNX Runtime and the engine's gain law must be the same thing."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal

torch = pytest.importorskip("torch")

from duende import DuendeError  # noqa: E402
from duende.engine.excitation import NAMES  # noqa: E402
from duende.engine.mixer import mixer_bands  # noqa: E402
from duende.engine.model import Model, load_model  # noqa: E402
from duende.engine.preset import build_rig  # noqa: E402
from duende.engine.render import render_array  # noqa: E402
from duende.engine.spectral import SpectralProcessor  # noqa: E402
from duende.engine.stft import DEFAULT_SIZES  # noqa: E402
from duende.export import model_file  # noqa: E402
from duende.export.block import ResidualBlock  # noqa: E402
from duende.export.content import batch, hear  # noqa: E402
from duende.export.distill import Distilled  # noqa: E402
from duende.export.student import Renderer, Student, StudentConfig, mix  # noqa: E402
from duende.export.style import BODY_POINTS, BODY_TOP_HZ  # noqa: E402

pytestmark = pytest.mark.train

RATE = 48000
CONFIG = StudentConfig(tuple(NAMES), width=16, dilations=(1, 2, 4))


@pytest.fixture
def student() -> Student:
    torch.manual_seed(4)
    made = Student(CONFIG)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def curves(styles: int = 1) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    frequency = np.linspace(0.0, 1.0, BODY_POINTS)
    slopes = -3.0 * np.arange(1, styles + 1)[:, None]
    return np.asarray(slopes * frequency + 0.5 * np.cos(12.0 * frequency), dtype=np.float32)


def export(student: Student) -> bytes:
    styles = student.config.styles
    names = ["one", "other", "third"][:styles]
    distilled = Distilled(student, curves(styles), [], 0.0, 0, (1.0, 1.0), True)
    origin = model_file.provenance([], "none", "tests", {}, 0, 0, "CC0")
    return model_file.model_bytes(distilled, "tiny", names, DEFAULT_SIZES, RATE, origin)


def plucks(samples: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    time = np.arange(samples) / RATE
    sound = sum(np.exp(-4.0 * (time % 0.4)) * np.sin(2.0 * np.pi * hz * time) for hz in (110.0, 196.0, 330.0))
    return np.asarray(0.1 * sound + 1e-3 * rng.standard_normal(samples), dtype=np.float32)


@pytest.mark.parametrize(("style", "amount"), [([1.0], 1.0), ([0.3, 0.7], 1.0), ([0.0, 1.0], 0.7)], ids=str)
def test_training_hears_what_the_engine_plays(
    style: list[float], amount: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The differentiable way from content to sound equals the engine's; without noise, which counts from the start."""
    names = tuple(name for name in NAMES if name != "noise@1")
    torch.manual_seed(5)
    config = replace(CONFIG, excitations=names, styles=len(style))
    student = Student(config)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if name == "last" or "scale" in name or "shift" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
        student.gamma_raw.add_(torch.linspace(-1.0, 1.0, len(style)))
    hop = DEFAULT_SIZES.hop
    # Above the bands only the engine plays on where the amount is below 1: nothing is there to be played.
    below = signal.ellip(10, 0.1, 100.0, 15000.0, fs=RATE, output="sos")
    samples = signal.sosfilt(below, plucks(300 * hop, rng)).astype(np.float32)
    (tmp_path / "tiny.onnx").write_bytes(export(student))
    rig = build_rig([("tiny", SpectralProcessor(load_model(tmp_path / "tiny.onnx")))])
    rig.bank.set("slot/1/amount", amount)
    for name, weight in zip(["one", "other"], style if len(style) > 1 else [], strict=False):
        rig.bank.set(f"slot/1/{name}", weight)
    played = render_array(rig, samples, RATE)[: len(samples)]
    past = config.receptive_field - 1
    # Before the content there is silence enough for memory and alignment; the engine starts as if after silence.
    quiet = np.zeros((past + 1) * hop, dtype=np.float32)
    heard = batch([hear(np.concatenate([quiet, samples]), RATE, DEFAULT_SIZES, len(quiet), past, names)])
    renderer = Renderer(mixer_bands(DEFAULT_SIZES, RATE), DEFAULT_SIZES, RATE, curves(len(style)), BODY_TOP_HZ)
    setting = renderer.setting(torch.tensor([style]), torch.tensor([amount]))
    with torch.no_grad():
        ratios, dynamics = student(heard.features, setting.style, setting.amount)
        gains = renderer.gains(heard, setting, ratios[:, past:], dynamics[:, past:])[0]
        trained = renderer(heard, setting, gains)[0].numpy()
    settled = 100 * hop if amount < 1.0 or len(style) > 1 else 0  # values glide from their defaults
    assert np.abs(trained[hop:] - played[: len(trained) - hop])[settled:].max() < 1e-5


def test_the_exported_file_answers_as_the_student(student: Student, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(export(student))
    model = load_model(path)
    assert model.spec.receptive_field_frames == CONFIG.receptive_field
    np.testing.assert_allclose(model.body(np.ones(1, dtype=np.float32)), curves()[0], atol=1e-6)


def test_a_family_whose_silence_depends_on_the_style_is_exported() -> None:
    """The check starts from the silence of the very mix and amount it compares."""
    torch.manual_seed(8)
    family = Student(replace(CONFIG, styles=3))
    with torch.no_grad():
        for name, parameter in family.named_parameters():
            parameter.add_((0.5 if "scale" in name or "shift" in name else 0.05) * torch.randn_like(parameter))
    assert load_bytes(export(family)).spec.styles == ["one", "other", "third"]


def load_bytes(data: bytes) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(data)
        return load_model(path)


def test_export_refuses_a_graph_that_answers_otherwise(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change one tap after the golden pair was taken from torch: the file must not come to be."""
    honest = Student.weights

    def tampered(self: Student, body: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> object:
        weights = honest(self, body)
        weights.blocks[1].taps[0] *= 1.05
        return weights

    monkeypatch.setattr(Student, "weights", tampered)
    with pytest.raises(DuendeError, match=r"golden pair missed|answers .* dB like the student"):
        export(student)


def test_export_compares_more_than_the_golden_pair(student: Student) -> None:
    """A state that is wrong only after the golden pair's 16 frames is noticed, too."""
    data = export(student)
    other = Student(CONFIG)
    with pytest.raises(DuendeError, match="dB like the student"):
        model_file.check_export(data, "tiny", other)


def test_the_mix_has_the_gradient_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(6)
    gains = torch.randn(1, 3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    spectra = torch.randn(1, 3, 2, 5, generator=generator, dtype=torch.complex128)
    interpolation = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda g: mix(g, spectra, interpolation), (gains,))


@pytest.mark.parametrize("dilation", [1, 3, 8])
def test_a_block_looks_back_and_its_gradients_are_right(dilation: int) -> None:
    """Frames that look back before the beginning see zeros there, be they all of them."""
    torch.manual_seed(5)
    block = ResidualBlock(4, dilation, 2, knows_amount=False).double()
    hidden = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)
    style = torch.eye(2, dtype=torch.float64)
    padded = torch.nn.functional.pad(hidden, (0, 0, 2 * dilation, 0))
    mixed = sum(padded[:, i * dilation : i * dilation + 7] * block.taps[i] for i in range(3))
    inner = (mixed @ block.into + block.bias) * (style @ block.scale)[:, None] + (style @ block.shift)[:, None]
    assert torch.allclose(block(hidden, style), hidden + torch.relu(inner) @ block.out, atol=1e-12)
    named = dict(block.named_parameters())

    def run(past: Any, taps: Any) -> Any:
        return torch.func.functional_call(block, named | {"taps": taps}, (past, style))

    assert torch.autograd.gradcheck(run, (hidden, block.taps))
