"""The report: one file that holds everything, says nothing that was not measured, and runs nothing."""

import base64
import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from duende import DuendeError
from duende.engine.bench import BlockTimes
from duende.engine.host import LatencyReport
from duende.engine.spec import Clip
from duende.export.evaluate import PRESET, Evaluation, GainChange, PickUp, Take
from duende.export.measures import FLOOR, MATCHED_EQ, UNTOUCHED, Measures
from duende.export.report import loss_curves, provenance_rows, render_html, write_report
from models import build, tiny_weights
from signals import RATE_HZ, noise, tone

pytestmark = pytest.mark.train

Float32 = npt.NDArray[np.float32]

NASTY = "<script>alert('x')</script>\"&'"
VOID = {"meta", "img", "line", "path"}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """One take of which the preset's row misses the onsets alone; names that must be escaped."""
    rng = np.random.default_rng(440)
    sounds = {
        UNTOUCHED: tone(220.0, RATE_HZ // 2),
        MATCHED_EQ: 3.0 * tone(440.0, RATE_HZ // 2, level_dbfs=0.0),
        PRESET: noise(rng, RATE_HZ // 2, level_dbfs=-20.0),
    }
    eq = Measures(1.0, 0.5, 0.9, 0.8, 1.0, 0.9, 0.4, 0.0, np.nan, 1.0, 1.0)
    rows = {
        UNTOUCHED: replace(eq, style_distance=4.0, style_ratio=4.0),
        MATCHED_EQ: eq,
        FLOOR: Measures(0.04, 0.2),
        PRESET: replace(eq, onset_f1=0.5, style_ratio=0.345, envelope_ratio=0.3),
    }
    gains = (GainChange(-12.0, -12.0, -50.0, 0.01), GainChange(12.0, 12.0, -60.0, 0.0))
    described: dict[str, dict[str, float | None]] = {
        UNTOUCHED: {"centroid_hz": 512.0, "inharmonicity": None},
        PRESET: {"centroid_hz": 1024.0, "inharmonicity": 0.25},
    }
    take = Take(0.5, rows, PickUp(-60.0, -62.0, -70.0, -65.0), gains, -240.0, 1.5, sounds, described)
    spec = build(tiny_weights(width=4, dilations=(1,)))[1]
    clips = [Clip(f"cello {NASTY}", "an author", "CC BY 4.0", "somewhere", 8.0)]
    origin = type(spec.provenance)(clips, "none", "strings", {"gram": 1.5}, 500, 7, "duende", "2000-01-01", "CC BY 4.0")
    from msgspec.structs import replace as with_fields

    return Evaluation(
        name=f"cello {NASTY}",
        style=f"clip {NASTY}.wav",
        sample_rate=RATE_HZ,
        values={f"slot/1/{NASTY}": 0.25},
        takes={f"take {NASTY}": take},
        style_share=0.8,
        style_clip=tone(330.0, RATE_HZ // 2),
        latency=LatencyReport(None, 0.0, ((f"slot {NASTY}", 2.67),), 128),
        real_time_factor=21.5,
        times=BlockTimes("preset", 128, 2667.0, 300, 400.0, 600.0, 700.0, 800.0, 0, 0, 2.67),
        models=(with_fields(spec, provenance=origin),),
        notices=[f"note {NASTY}"],
    )


class Page(HTMLParser):
    """Tags in order, their attributes, and whether every tag is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def data(self, tag: str, kind: str) -> list[bytes]:
        """The decoded sources of all tags of a kind."""
        found = []
        for attributes in self.of(tag):
            head, _, code = str(attributes["src"]).partition(",")
            assert head == f"data:{kind};base64"
            found.append(base64.b64decode(code, validate=True))
        return found


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> Page:
    history = [{"step": 10.0 * n, f"gram {NASTY}": 1.0 / (n + 1)} for n in range(50)]
    return Page(render_html(evaluation, history))


def test_the_page_is_whole_and_loads_and_runs_nothing(page: Page) -> None:
    assert page.open == []
    assert {"script", "link", "iframe", "object", "a"}.isdisjoint(tag for tag, _ in page.tags)
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("href", "srcset", "style")
            if name == "src":
                assert str(value).startswith("data:")
    assert "url(" not in page.text
    assert "@import" not in page.text
    (policy,) = (tag["content"] for tag in page.of("meta") if "http-equiv" in tag)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_text_is_escaped(page: Page) -> None:
    for label in ("cello ", "clip ", "take ", "slot ", "note ", "gram ", "slot/1/"):
        assert f"{label}{NASTY}" in page.text, label


def test_the_sounds_are_in_it_bit_near_and_one_gain_keeps_their_balance(page: Page, evaluation: Evaluation) -> None:
    players = [soundfile.read(io.BytesIO(data), dtype="float32") for data in page.data("audio", "audio/flac")]
    (take,) = evaluation.takes.values()
    wanted = [evaluation.style_clip, *(take.sounds[name] for name in (UNTOUCHED, PRESET, MATCHED_EQ))]
    gains = [1.0, *[0.97 / 3.0] * 3]
    assert len(players) == 4
    for (audio, rate), original, gain in zip(players, wanted, gains, strict=True):
        assert rate == RATE_HZ
        assert np.abs(audio - gain * original).max() < 1e-4
    labels = [tag["aria-label"] for tag in page.of("audio")]
    assert labels == [
        f"style: clip {NASTY}.wav",
        f"input: take {NASTY}",
        f"output: cello {NASTY}",
        "for comparison: matched EQ",
    ]


def test_the_spectrograms_are_in_it(page: Page) -> None:
    (picture,) = page.data("img", "image/png")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000
    assert "spectrograms of input, style, output" in str(page.of("img")[0]["alt"])


def test_figures_and_verdicts_are_those_that_were_measured(page: Page, evaluation: Evaluation) -> None:
    text = " ".join(page.text.split())
    assert "10 of 11 figures reached" in text
    assert re.search(r"median ?0\.345 ?≤ ?0\.4 ?reached", text)
    assert re.search(r"onset F1, take .*? ?0\.5 ?≥ ?0\.95 ?missed", text)
    for figure in ("in -60.0, alone -62.0, after playing -70.0", "21.5 x real time", "2.67 ms", "p99 600 us"):
        assert figure in text, figure
    for origin in ("an author", "CC BY 4.0", "500, 7", "gram 1.5", "somewhere"):
        assert origin in text, origin
    assert ("licence", "CC BY 4.0") in provenance_rows(evaluation.models[0])
    silent = replace(evaluation, takes={k: replace(v, pick_up=None) for k, v in evaluation.takes.items()})
    assert "9 of 10 figures reached (1 without an answer)" in " ".join(Page(render_html(silent)).text.split())


def test_loss_curves_fall_where_the_loss_falls() -> None:
    history = [{"step": float(n), "a": 100.0 * 0.9**n, "b": 1.0, "c": float("nan")} for n in range(1000)]
    history[5].pop("b")
    figures = loss_curves(history)
    assert len(figures) == 2
    assert "a: 100 to " in figures[0]
    assert "logarithmic" in figures[0]
    assert "logarithmic" not in figures[1]
    (path,) = re.findall(r' d="M([^"]+)"', figures[0])
    points = np.array([[float(value) for value in point.split()] for point in path.split("L")])
    assert len(points) <= 301
    assert (np.diff(points[:, 0]) > 0.0).all()
    assert (np.diff(points[:, 1]) > 0.0).all()
    # On the logarithmic axis an exponential is a straight line.
    assert np.abs(np.diff(points[:, 1], 2)[:-1]).max() < 0.25
    assert "step 999" in figures[0]
    assert loss_curves([]) == loss_curves([{"step": 1.0, "a": 2.0}]) == []
    related = [{"step": step, "correlation": value} for step, value in ((0.0, 0.01), (1.0, 0.5), (2.0, 0.9))]
    assert "logarithmic" in loss_curves(related)[0]
    assert "logarithmic" not in loss_curves(related, ["correlation"])[0]


def test_descriptors_stand_under_a_fold(evaluation: Evaluation) -> None:
    text = render_html(evaluation)
    fold = text.partition("<details><summary>Descriptors</summary>")[2].partition("</details>")[0]
    assert "<tr><th>centroid hz</th><td>1.02e+03</td><td>512</td></tr>" in fold
    assert "<tr><th>inharmonicity</th><td>0.25</td><td>-</td></tr>" in fold
    bare = {name: replace(take, described={}) for name, take in evaluation.takes.items()}
    assert "<details>" not in render_html(replace(evaluation, takes=bare))


def test_it_is_written_at_once_to_a_file_or_into_a_folder(tmp_path: Path, evaluation: Evaluation) -> None:
    plain = replace(evaluation, name="cello")
    assert write_report(tmp_path / "a.HTML", plain) == tmp_path / "a.HTML"
    assert write_report(tmp_path / "reports", plain) == tmp_path / "reports" / "cello.html"
    odd = write_report(tmp_path / "reports", evaluation)
    assert odd.parent == tmp_path / "reports"
    assert re.fullmatch(r"[\w-]+\.html", odd.name)
    assert (tmp_path / "a.HTML").read_text(encoding="utf-8") == render_html(plain)
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []


def test_without_matplotlib_nothing_is_written(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DuendeError, match=r"pip install duende\[plot\]"):
        write_report(tmp_path / "a.html", evaluation)
    assert list(tmp_path.iterdir()) == []
