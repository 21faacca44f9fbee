"""What holds for everything that can stand in a slot: every effect, cabinets, styles, captures; alone and in chains.

`test_random_chains.py` tries the chain itself, on processors made for it. What is measured for clicks is described in
`test_chain.py`; each control of each effect is moved in `test_fx.py`.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import linear_nam, write
from duende.engine.cabinet import Cabinet
from duende.engine.fx.processor import PyoEffect
from duende.engine.fx.table import EFFECTS
from duende.engine.model import Model
from duende.engine.preset import Rig, build_rig
from duende.engine.processor import Processor
from duende.engine.response import Response, built_in_response
from duende.engine.shared import SharedState
from duende.engine.spectral import SpectralProcessor
from duende.engine.waveform import WaveformProcessor
from duende.engine.waveform_model import WaveformModel, open_waveform
from duende.export.captures.install import import_capture
from duende.presets.captures import Captures
from models import dark_model, dry_model
from signals import above_5_khz, impulse, noise, tone
from switching import host_of, play
from test_fx import NEUTRAL

pytestmark = pytest.mark.fx

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
OTHERS = ("cabinet", "room", "style", "capture", "capture at 44.1 kHz")
NAMES = (*EFFECTS, *OTHERS)
CHANGES = ("bypass", "mix")
QUIET = {name: NEUTRAL[name] for name in ("overdrive", "distortion")}
"""Settings that make no harmonics of a sine, where the usual ones do."""


@dataclass
class Stock:
    """Where processors come from; plain: those that pass an impulse on."""

    plain: bool
    model: Model
    captures: dict[str, WaveformModel]

    def make(self, name: str) -> Processor:
        if name in EFFECTS:
            return PyoEffect(name)
        if name in ("cabinet", "room"):
            return Cabinet(self._room if name == "room" else self._speaker)
        if name == "style":
            return SpectralProcessor(self.model)
        return WaveformProcessor(self.captures[name])

    def values(self, name: str) -> dict[str, float]:
        """By control name, where they are not the usual ones."""
        if name == "style":
            return {"amount": 0.0 if self.plain else 1.0}
        return (NEUTRAL if self.plain else QUIET).get(name, {})

    def rig(self, names: list[str], branches: list[str], page: int = 0, shared: SharedState | None = None) -> Rig:
        rig = build_rig([(name, self.make(name)) for name in names], shared, page, branches)
        for row in rig.bank.table.rows():
            rig.bank.set(row.name, row.default)
        for number, name in enumerate(names, start=1):
            for control, value in self.values(name).items():
                rig.bank.set(f"slot/{number}/{control}", value)
        return rig

    def _speaker(self, rate: float) -> Response:
        if self.plain:
            return Response("one", np.eye(1, 300, dtype=np.float32), rate)
        return built_in_response(rate)

    def _room(self, rate: float) -> Response:
        taps = np.eye(1, 12_000, dtype=np.float32)
        if not self.plain:
            taps[0, 700::700] = 0.1
        return Response("room", taps, rate)


def stock(folder: Path, *, plain: bool) -> Stock:
    library = Captures(folder / "captures")
    found = {}
    # A low-pass, or one sample.
    taps = [1.0] if plain else np.hanning(42)[1:-1].tolist()
    for name, rate in (("capture", 48000), ("capture at 44.1 kHz", 44100)):
        source = write(folder / f"c{rate}.nam", linear_nam(taps, sample_rate=rate))
        import_capture(source, library)
        found[name] = open_waveform(library.find(f"c{rate}"))
    (folder / "model").mkdir()
    return Stock(plain, (dry_model if plain else dark_model)(folder / "model"), found)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock(tmp_path_factory.mktemp("plain"), plain=True)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock(tmp_path_factory.mktemp("usual"), plain=False)


@pytest.fixture(autouse=True)
def _servers_go() -> Iterator[None]:
    """pyo has 256 servers, and a test that fails keeps its own for the report."""
    yield
    gc.collect()


def run(rig: Rig, samples: Float32, block: int) -> Float32:
    """Samples [n] in whole blocks: where they all have one size, a chain is given no shorter one."""
    padded = np.pad(samples, (0, -len(samples) % block))[:, None]
    out = np.zeros_like(padded)
    for start in range(0, len(padded), block):
        rig.chain.process(padded[start : start + block], out[start : start + block])
    return out[: len(samples), 0]


def peak_dbfs(clicks: npt.NDArray[np.float64], start: int, stop: int) -> float:
    return 20.0 * float(np.log10(np.abs(clicks[start:stop]).max() + 1e-12))


PART = 24_576


def assert_no_clicks(samples: Float32, changes: list[int]) -> None:
    """Above 5 kHz nothing but what was there before, from just before each change until 0.3 s after it."""
    clicks = above_5_khz(samples)
    for change in changes:
        steady = peak_dbfs(clicks, change - 9600, change - 800)
        assert peak_dbfs(clicks, change - 600, change + 14_400) <= max(-60.0, steady + 1.0)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_no_change_clicks(name: str, change: str, usual: Stock) -> None:
    block = 64
    rig = usual.rig([name], [""])
    rig.chain.prepare(RATE, block, block)
    part = PART // block * block
    samples = tone(100.0, 3 * part, level_dbfs=-12.0)
    got = [run(rig, samples[:part], block)]
    for number, value in ((1, 1.0), (2, 0.0)):
        if change == "bypass":
            rig.bank.set("slot/1/bypass", value)
        else:
            rig.bank.set("slot/1/mix", 1.0 - value)
        got.append(run(rig, samples[number * part : (number + 1) * part], block))
    whole = np.concatenate(got)
    assert_no_clicks(whole, [part, 2 * part])
    assert np.abs(whole[-4800:]).max() > 0.001
    assert rig.telemetry.count("faults") == rig.telemetry.count("failed") == 0


@pytest.mark.parametrize(("name", "following"), list(pairwise([*NAMES, NAMES[0]])))
def test_a_change_for_another_does_not_click(name: str, following: str, usual: Stock) -> None:
    """There and back again, by new chains."""
    block = 480
    shared = SharedState()
    first = usual.rig([name], [""], 0, shared)
    host = host_of(first, block)
    part = PART // block * block
    changes = {part // block: (1, following), 2 * part // block: (2, name)}

    def change(number: int) -> None:
        if number in changes:
            page, other = changes[number]
            host.switch(usual.rig([other], [""], page, shared))

    heard = play(host, tone(100.0, 3 * part, level_dbfs=-12.0), block, change)
    assert_no_clicks(heard, [part, 2 * part])
    assert host.rig is not first
    assert host.telemetry.count("faults") == host.telemetry.count("failed") == 0


few = settings(max_examples=15, derandomize=True, deadline=None, database=None)
slot = st.sampled_from(NAMES)
trunk = st.lists(st.tuples(slot, st.just("")), max_size=2)
split = st.lists(st.tuples(slot, st.sampled_from("ab")), max_size=3)
rows = st.builds(lambda before, both, after: [*before, *both, *after], trunk, split, trunk)
blocks = st.sampled_from([1, 63, 64, 128, 480, 1000])
Row = list[tuple[str, str]]


def chain_of(stock: Stock, row: Row, block: int) -> Rig:
    gc.collect()
    rig = stock.rig([name for name, _ in row], [branch for _, branch in row])
    # Half of one branch and half of the other is the whole, but for the last bit.
    rig.bank.set("split/balance", 0.0)
    rig.chain.prepare(RATE, block, block)
    return rig


@few
@given(row=rows, block=blocks)
def test_an_impulse_through_any_chain_is_late_by_the_latency(plain: Stock, row: Row, block: int) -> None:
    rig = chain_of(plain, row, block)
    late = rig.chain.latency.samples
    got = np.abs(run(rig, impulse(4000 + late, at=1000, level=0.5), block))
    if any("44.1" in name for name, _ in row):
        # What is resampled rings before, too; and what is filtered once more has its peak a little later.
        assert abs(int(np.argmax(got)) - (1000 + late)) <= 1, row
    else:
        assert got[1000 + late] > 0.02, row
        assert got[: 1000 + late].max() < 1e-5, row


@few
@given(row=rows, block=blocks, one_by_one=st.booleans())
def test_bypass_of_any_chain_is_the_delayed_input_bit_for_bit(
    usual: Stock, row: Row, block: int, one_by_one: bool
) -> None:
    rig = chain_of(usual, row, block)
    for name in [f"slot/{place + 1}/bypass" for place in range(len(row))] if one_by_one else ["bypass"]:
        rig.bank.set(name, 1.0)
    rig.chain.reset()
    samples = noise(np.random.default_rng(1), 6000, level_dbfs=-30.0)
    late = rig.chain.latency.samples
    got = run(rig, samples, block)
    assert np.array_equal(got[late:], samples[: len(samples) - late])
    assert not got[:late].any()
