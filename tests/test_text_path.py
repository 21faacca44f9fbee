"""The whole way: a sentence, a sound, a style, a preset, a guitar played through it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from duende.commands.app import app  # noqa: E402
from duende.engine.preset import load_rig  # noqa: E402
from duende.engine.render import render_array  # noqa: E402
from duende.export import forge as forging  # noqa: E402
from duende.export.distill import DistillConfig  # noqa: E402
from duende.export.pluck import demo_phrase  # noqa: E402
from duende.export.provenance import read_provenance  # noqa: E402
from duende.presets.library import Library  # noqa: E402

pytestmark = pytest.mark.train

RATE = 48000
SMALL = DistillConfig(
    pieces=6,
    seconds=1.2,
    run_in_seconds=0.6,
    plain_pieces=2,
    plain_seconds=1.2,
    steps=6,
    warm_up=2,
    average=0.8,
    filter_banks=1,
    check_every=3,
)


def test_a_sentence_becomes_a_preset_that_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path / "home"))
    request_of = forging.ForgeRequest
    # As the command asks for it, but for a training of seconds.
    monkeypatch.setattr(
        forging, "ForgeRequest", lambda *given, **named: replace(request_of(*given, **named), config=SMALL)
    )
    words = "acoustic bright distortion string"
    command = ["forge", "--prompt", words, "--name", "bowed", "--steps", "6"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    origin = read_provenance(tmp_path / "home" / "prompts" / "bowed.wav")
    assert origin is not None
    assert origin.sources[0].name == words
    guitar = demo_phrase(RATE)[: 3 * RATE]
    played = render_array(load_rig(Library().find("bowed")), guitar, RATE)[: len(guitar)]
    assert np.isfinite(played).all()
    assert np.sqrt(np.mean((played[:, 0] if played.ndim > 1 else played) ** 2)) > 1e-3
    again = CliRunner().invoke(app, command)
    assert "--force" in str(again.exception)
    both = CliRunner().invoke(app, ["forge", "clip.wav", "--prompt", words, "--name", "other"])
    assert "not both" in str(both.exception)
    neither = CliRunner().invoke(app, ["forge", "--name", "other"])
    assert "give recordings" in str(neither.exception)
