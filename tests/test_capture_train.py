"""Students, their gradients, their training, and the .nam files that are made of them."""

import datetime
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import oracle
from capture_takes import RATE, amplifier, played
from duende import DuendeError

pytestmark = pytest.mark.train
pytest.importorskip("torch")

import torch  # noqa: E402

from duende.export.capture import kernels  # noqa: E402
from duende.export.capture.loss import Loss, esr  # noqa: E402
from duende.export.capture.lstm import Lstm  # noqa: E402
from duende.export.capture.nam_file import About, loudness_and_gain, nam_bytes  # noqa: E402
from duende.export.capture.optimise import Soap  # noqa: E402
from duende.export.capture.take import Take, aligned_take  # noqa: E402
from duende.export.capture.train import Progress, TrainConfig, Trained, new_student, train  # noqa: E402
from duende.export.capture.wavenet import SHAPES, ArrayShape, Pass, WaveNet  # noqa: E402
from duende.export.captures.read import read_capture  # noqa: E402

TINY = (ArrayShape(4, 3, (1, 2, 4)), ArrayShape(3, 1, (8, 1)))
NOW = datetime.datetime(2026, 2, 3, 4, 5, 6)


def convolved(net: WaveNet, weights: list[torch.Tensor], audio: torch.Tensor) -> torch.Tensor:
    """The same network by torch's own convolutions: [samples] to what is kept of it."""
    matrices = iter(weights)
    condition = audio[None, None]
    stream, head = condition, None
    kept = len(audio) - net.run_in
    for array in net.arrays:
        wide = array.channels
        stream = torch.nn.functional.conv1d(stream, next(matrices)[:, :, None])
        for dilation in array.dilations:
            taps, onwards = next(matrices), next(matrices)
            kernel = taps[:, : 3 * wide].reshape(wide, 3, wide).permute(0, 2, 1)
            inside = torch.nn.functional.conv1d(stream, kernel, taps[:, -1], dilation=dilation)
            inside = torch.tanh(inside + taps[:, -2, None] * condition[:, :, -inside.shape[-1] :])
            head = inside[:, :, -kept:] + (0.0 if head is None else head)
            onwards_kernel = onwards[:, :-1, None]
            stream = stream[:, :, -inside.shape[-1] :] + torch.nn.functional.conv1d(
                inside, onwards_kernel, onwards[:, -1]
            )
        last = next(matrices)
        assert head is not None
        head = torch.nn.functional.conv1d(head, last[:, :wide, None], last[:, -1] if last.shape[1] > wide else None)
    assert head is not None
    return (net.scale * head)[0, 0]


@pytest.mark.parametrize(
    "arrays",
    [TINY, (ArrayShape(13, 6, (2, 1)), ArrayShape(6, 1, (3, 700))), (ArrayShape(5, 1, (1, 4)),)],
    ids=["tiny", "wide", "one array"],
)
@pytest.mark.parametrize("samples", [40, 2100])
def test_forward_and_backward_are_those_of_convolutions(arrays: tuple[ArrayShape, ...], samples: int) -> None:
    net = WaveNet(arrays, seed=3)
    net.scale = 0.7
    rng = np.random.default_rng(1)
    audio = rng.standard_normal(net.run_in + samples).astype(np.float32)
    slope = rng.standard_normal(samples).astype(np.float32)
    weights = [weight.double().requires_grad_() for weight in net.weights]
    wanted = convolved(net, weights, torch.from_numpy(audio).double())
    wanted.backward(torch.from_numpy(slope).double())
    expected = torch.cat(
        [(torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten() for weight in weights]
    ).numpy()
    room = Pass(net, len(audio))
    for _ in range(2):  # the room is used again and again
        output = room.forward(audio).copy()
        gradient = room.backward(slope).copy()
    np.testing.assert_allclose(output, wanted.detach().numpy(), atol=2e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * float(np.abs(expected).max()))


def test_loops_are_compiled_even_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert kernels._compiled(lambda number: number + 1)(2) == 3


def test_the_loops_bend_as_tanh_does() -> None:
    """One layer, one channel, one tap: what comes out is tanh of what goes in, far beyond its bend, too."""
    net = WaveNet((ArrayShape(1, 1, (1,)),))
    for weight, values in zip(net.weights, ([1.0], [0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0], [1.0, 0.0]), strict=True):
        weight.copy_(torch.tensor([values]))
    samples = np.linspace(-30.0, 30.0, 6001).astype(np.float32)
    np.testing.assert_allclose(net.answer(samples), np.tanh(samples.astype(np.float64)), atol=4e-7)


@pytest.mark.parametrize(("size", "weights"), [("standard", 13802), ("lite", 6554), ("feather", 3026), ("nano", 842)])
def test_the_published_sizes(size: str, weights: int) -> None:
    net = WaveNet(SHAPES[size])
    config, flat = net.exported(1.0)
    assert len(flat) == weights
    assert net.run_in + 1 == 4093
    assert config["layers"][0]["channels"] == 2 * config["layers"][1]["channels"]


def test_an_answer_does_not_depend_on_how_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    net = WaveNet(TINY)
    samples = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    whole = net.answer(samples)
    monkeypatch.setattr("duende.export.capture.wavenet._CHUNK", 300)
    np.testing.assert_allclose(net.answer(samples), whole, atol=1e-6)
    np.testing.assert_allclose(net.answer(samples[:500]), whole[:500], atol=1e-6)


def tiny(kind: str) -> Trained:
    """A student that nobody trained, with weights that matter."""
    student = WaveNet(TINY, seed=5) if kind == "wavenet" else Lstm(6, seed=5, sample_rate=RATE)
    return Trained(student, 0.3, 0.0123, 10, 1.0, True, [])


@pytest.mark.parametrize("kind", ["wavenet", "lstm"])
def test_a_nam_file_reads_back_to_the_same_output(kind: str, tmp_path: Path) -> None:
    trained = tiny(kind)
    about = About("mine", "me", "CC0", "amp", "Maker", "Model", "crunch", 12.0, 14.5)
    path = tmp_path / "mine.nam"
    path.write_bytes(nam_bytes(trained, about, RATE, NOW))
    capture = read_capture(path)
    samples = played(1.0)[: RATE // 10]
    answer = trained.answer(samples)
    assert np.abs(answer).max() > 1e-3
    np.testing.assert_allclose(oracle.render(capture, samples), answer, atol=1e-6)
    assert (capture.name, capture.author, capture.licence, capture.date) == ("mine", "me", "CC0", "2026-02-03")
    assert capture.tags["gear_make"] == "Maker"
    assert capture.tags["tone_type"] == "crunch"
    assert (capture.sample_rate, capture.input_level_dbu, capture.output_level_dbu) == (RATE, 12.0, 14.5)
    loudness, gain = loudness_and_gain(trained.answer, RATE)
    assert capture.loudness_db == pytest.approx(loudness)
    assert capture.gain == pytest.approx(gain)


def test_what_the_published_format_asks_of_a_file() -> None:
    file = json.loads(nam_bytes(tiny("wavenet"), About("mine"), 44100, NOW))
    assert file["version"] == "0.5.4"
    assert file["sample_rate"] == 44100
    assert file["config"]["head"] is None
    assert file["weights"][-1] == pytest.approx(file["config"]["head_scale"])
    assert np.array_equal(np.float32(file["weights"]), WaveNet(TINY, seed=5).exported(0.3)[1])
    assert file["metadata"]["training"]["validation_esr"] == 0.0123
    assert file["metadata"]["modeled_by"] is None


def test_loudness_and_gain_of_amplifiers_that_are_known() -> None:
    # As NAM says of an amplifier that does nothing.
    assert loudness_and_gain(lambda x: x, RATE)[0] == pytest.approx(-15.0, abs=0.1)
    wire_loudness, wire_gain = loudness_and_gain(lambda x: 0.5 * x, RATE)
    assert wire_loudness == pytest.approx(-15.0 - 6.02, abs=0.1)
    assert wire_gain == pytest.approx(0.0, abs=1e-4)
    _, hard = loudness_and_gain(lambda x: np.sign(x), RATE)
    assert hard is not None
    assert hard > 0.8
    assert loudness_and_gain(lambda x: 0.0 * x, RATE) == (None, None)


def test_weights_that_are_no_numbers_are_not_written() -> None:
    trained = tiny("wavenet")
    trained.student.weights[1][0, 0] = np.nan
    with pytest.raises(DuendeError, match="not numbers"):
        nam_bytes(trained, About("mine"), RATE, NOW)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (About("x", gear_type="banjo"), "--gear-type 'banjo': choose one of amp, pedal"),
        (About("x", tone_type="loud"), "--tone 'loud': choose one of clean"),
        (About("x", author="two\nlines"), "--author: 9 letters: up to 200, in one line"),
        (About("x", input_level_dbu=100.0), "--input-dbu 100 is out of range: -40 to 60"),
    ],
)
def test_what_cannot_be_said_of_a_capture(about: About, message: str) -> None:
    with pytest.raises(DuendeError, match=message):
        about.check()


def test_the_loss_is_the_error_to_signal_ratio() -> None:
    wanted = np.random.default_rng(1).standard_normal((2, 4096)).astype(np.float32)
    # White noise has as large a ratio with pre-emphasis as without.
    assert Loss(wanted.ravel(), 0.0)(np.float32(0.9) * wanted, wanted)[0] == pytest.approx(0.01, rel=0.01)
    assert Loss(wanted.ravel(), 1.0)(wanted, wanted)[0] == pytest.approx(0.0, abs=1e-6)
    assert Loss(wanted.ravel(), 1.0)(np.float32(0.9) * wanted, wanted)[0] > 0.1
    assert esr(0.9 * wanted, wanted) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_the_loss_and_its_slope_are_those_of_torch(turn: int) -> None:
    rng = np.random.default_rng(2)
    wanted = rng.standard_normal((2, 5000)).astype(np.float32)
    output = wanted + np.float32(0.1) * rng.standard_normal(wanted.shape).astype(np.float32)
    loss, slope = Loss(wanted.ravel(), 0.3)(output, wanted, turn)
    x, y = torch.from_numpy(output).double().requires_grad_(), torch.from_numpy(wanted).double()
    error, flat, size = x - y, y.flatten(), (512, 1024, 2048)[turn]
    expected = 0.5 * error.square().mean() / flat.square().mean()
    emphasised = error[:, 1:] - 0.85 * error[:, :-1]
    expected = expected + 0.5 * emphasised.square().mean() / (flat[1:] - 0.85 * flat[:-1]).square().mean()
    window = torch.hann_window(size, dtype=torch.float64)
    a, b = (
        (
            torch.stft(z, size, size // 2, window=window, center=False, return_complex=True).abs().square()
            + 1e-5 * size * flat.square().mean()
        ).sqrt()
        for z in (x, y)
    )
    expected = expected + 0.3 * ((a - b).norm() / b.norm() + (a.log() - b.log()).abs().mean())
    expected.backward()
    assert x.grad is not None
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    np.testing.assert_allclose(slope, x.grad.numpy(), atol=1e-5 * float(x.grad.abs().max()))


def test_silence_makes_no_infinite_slope() -> None:
    silence = np.zeros((1, 4096), dtype=np.float32)
    loss = Loss(np.random.default_rng(1).standard_normal(4096).astype(np.float32), 0.1)
    for turn in range(3):
        assert np.isfinite(loss(silence, silence, turn)[1]).all()
        assert np.isfinite(loss(silence + np.float32(1e-3), silence, turn)[1]).all()


def test_the_optimiser_finds_the_bottom_of_a_narrow_valley() -> None:
    rng = torch.Generator().manual_seed(1)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=rng))[0]
    valley = turn @ torch.diag(torch.logspace(-3, 0, 6)) @ turn.T
    goal = torch.randn(4, 6, generator=rng)
    flat = torch.zeros(27)
    matrix, row = flat[:24].view(4, 6), flat[24:]
    optimiser = Soap(flat, [(4, 6), (1, 3)])
    for step in range(400):
        slopes = torch.cat((((matrix - goal) @ valley).flatten(), row - 2.0))
        optimiser.step(slopes, 0.05 * (1.0 - step / 400))
    assert float((matrix - goal).abs().max()) < 0.05
    assert float((row - 2.0).abs().max()) < 0.05


@pytest.fixture(scope="module")
def take() -> Take:
    dry = played(12.0)
    return aligned_take(dry, amplifier(dry, 3.0), RATE, 0, None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that learn in a second."""
    monkeypatch.setitem(SHAPES, "nano", (ArrayShape(6, 3, (1, 2, 4, 8, 16)), ArrayShape(3, 1, (1, 2, 4))))
    monkeypatch.setattr(Lstm, "samples", 256)
    monkeypatch.setattr(WaveNet, "samples", 2048)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("size", "steps", "error"), [("nano", 120, 0.06), ("lstm", 80, 0.55)])
def test_training_learns_the_amplifier(size: str, steps: int, error: float, take: Take) -> None:
    told: list[Progress] = []
    trained = train(take, TrainConfig(size, steps=steps, threads=1), told.append)
    assert trained.error < error
    heard = trained.answer(take.dry[: take.judged.stop])[take.judged.start :]
    assert esr(heard, take.judged.of(take.wet)) == pytest.approx(trained.error, rel=0.02)
    assert [progress.step for progress in told] == list(range(1, steps + 1))
    assert told[-1].share == 1.0
    assert trained.error == min(found for _, _, found in trained.history)


@pytest.mark.usefixtures("small")
def test_one_seed_one_result(take: Take) -> None:
    """On one number of threads: another one adds up in another order."""
    first, second, other = (
        train(take, TrainConfig("nano", steps=12, seed=seed, threads=threads)).student.exported(1.0)[1]
        for seed, threads in ((1, 1), (1, 1), (2, 1))
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.usefixtures("small")
def test_ctrl_c_keeps_the_best_so_far(take: Take) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 40:
            raise KeyboardInterrupt

    trained = train(take, TrainConfig("nano", steps=400, threads=2), stop)
    assert not trained.complete
    assert trained.steps == 40
    assert trained.error < 1.0
    assert trained.error == min(found for _, _, found in trained.history)


@pytest.mark.usefixtures("small")
def test_a_time_is_kept(take: Take) -> None:
    """On a clock that goes on by a second whenever it is read: with each step, and with each look at the error."""
    ticks = itertools.count()
    trained = train(take, TrainConfig("nano", seconds=12.0, threads=1, clock=lambda: float(next(ticks))))
    assert trained.complete
    assert [seconds for seconds, _, _ in trained.history] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]
    assert trained.steps == 7
    assert trained.seconds == 15.0


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(DuendeError, match="--size 'huge': choose one of standard, lite, feather, nano, lstm"):
        new_student("huge", RATE)
