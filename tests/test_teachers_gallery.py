"""Several transfers on one page: every sound with its measures and cost, and the reason of those that could not be."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende import DuendeError
from duende.export.listen import find_pairs
from duende.export.provenance import read_provenance
from duende.export.teachers.files import StyleFile
from duende.export.teachers.gallery import Gallery, compared, gallery, swept
from duende.export.teachers.teacher import Job
from duende.export.teachers.transfer import Choice, Options
from signals import noise, tone
from systems import RATE, PlainSettings, PlainSystem, registered

pytestmark = pytest.mark.train
pytest.importorskip("torch")
pytest.importorskip("matplotlib")


@pytest.fixture
def pair(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, StyleFile]:
    soundfile.write(tmp_path / "content.wav", tone(220.0, 3 * RATE // 2, rate_hz=RATE), RATE)
    soundfile.write(tmp_path / "style <b>.wav", noise(rng, 2 * RATE, level_dbfs=-20.0), RATE)
    return tmp_path / "content.wav", StyleFile(tmp_path / "style <b>.wav")


def chooser(system: PlainSystem) -> Callable[[str], Choice]:
    return lambda name: Choice(system, name, system.forms[name])


def test_a_page_of_a_sweep_with_one_that_fails(
    tmp_path: Path, pair: tuple[Path, StyleFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sound(job: Job) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        if len(system.jobs) == 2:
            raise DuendeError("no more <memory>")
        return np.asarray(0.3 * job.content, dtype=np.float32)

    system = PlainSystem(sound)
    rows = swept([("", chooser(system)("faithful"))], ["gain=1,2,4"])
    begun: list[str] = []
    kept = tmp_path / "kept"
    with registered(system, monkeypatch):
        found = gallery(pair[0], [pair[1]], tmp_path / "page.html", rows, begin=begun.append, sounds=kept)
    (heard,) = find_pairs(kept)
    assert set(heard.results) == {"gain=1", "gain=4"}
    origin = read_provenance(heard.results["gain=4"])
    assert origin is not None
    assert [one.role for one in origin.sources] == ["content", "style"]
    assert read_provenance(heard.content) is None
    assert begun == ["gain=1", "gain=2", "gain=4"]
    assert found.made == 2
    assert found.refused == {"gain=2": "no more <memory>"}
    assert found.measures["gain=1"]["chroma"] == pytest.approx(1.0, abs=0.01)
    text = (tmp_path / "page.html").read_text()
    assert len(re.findall("<audio ", text)) == 4
    assert len(re.findall("<img ", text)) == 2
    assert "no more &lt;memory&gt;" in text
    assert "style &lt;b&gt;.wav" in text
    assert "onset F1" in text
    assert "<svg" in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not re.search(r"<script", text)


def test_where_nothing_can_be_made_there_is_no_page(
    tmp_path: Path, pair: tuple[Path, StyleFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Job) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        raise DuendeError("no memory")

    system = PlainSystem(fail)
    rows = compared("faithful,repaired", chooser(system))
    before = sorted(tmp_path.iterdir())
    with (
        registered(system, monkeypatch),
        pytest.raises(DuendeError, match="plain:faithful: no memory; plain:repaired: no memory"),
    ):
        gallery(pair[0], [pair[1]], tmp_path / "page.html", rows)
    with pytest.raises(DuendeError, match=r"name a file ending in \.html"):
        gallery(pair[0], [pair[1]], tmp_path / "page.wav", rows)
    with pytest.raises(DuendeError, match="--checkpoint is for one transfer"):
        gallery(pair[0], [pair[1]], tmp_path / "p.html", rows, Options(checkpoint=tmp_path / "state"))
    assert sorted(tmp_path.iterdir()) == before


def test_sweeps_multiply_and_are_bounded() -> None:
    choose = chooser(PlainSystem())
    rows = swept(compared("faithful, repaired", choose), ["gain=1,2", "iterations=5,6"])
    assert [title for title, _ in rows][:2] == [
        "plain:faithful gain=1 iterations=5",
        "plain:faithful gain=1 iterations=6",
    ]
    assert len(rows) == 8
    assert rows[-1][1].settings == PlainSettings(gain=2.0, iterations=6)
    assert rows[-1][1].form == "repaired"
    for sweeps, message in (
        (["gain=" + ",".join(map(str, range(1, 70)))], "more than 64 sounds"),
        (["gain"], "--sweep 'gain': write NAME=VALUE,VALUE"),
        (["gain="], "--sweep 'gain=': write NAME=VALUE,VALUE"),
        (["colour=1"], "teacher plain has no setting 'colour'"),
        (["gain=1000"], "gain 1000 is out of range"),
    ):
        with pytest.raises(DuendeError, match=message):
            swept([("", choose("faithful"))], sweeps)
    with pytest.raises(DuendeError, match="plain:faithful is there twice"):
        compared("faithful,faithful", choose)
    with pytest.raises(DuendeError, match="name teachers"):
        compared(" , ", choose)


def test_rows_that_were_made_are_not_made_again(
    tmp_path: Path, pair: tuple[Path, StyleFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = PlainSystem(lambda job: 0.3 * job.content)

    def page(name: str, sweep: str) -> Gallery:
        rows = swept([("", chooser(system)("faithful"))], [sweep])
        with registered(system, monkeypatch):
            return gallery(pair[0], [pair[1]], tmp_path / name, rows, store=tmp_path / "store")

    first = page("one.html", "gain=1,2")
    again = page("two.html", "gain=1,2,4")
    assert [job.seed for job in system.jobs] == [1, 1, 1]
    assert (first.made, again.made) == (2, 3)
    assert again.measures["gain=2"] == first.measures["gain=2"]
