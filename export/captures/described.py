"""What a capture's file says of itself, in words: for tables, for one of its own, and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...engine.graph_check import parse, read_bytes
from ...engine.waveform_spec import WaveformSpec, decode_waveform_spec, waveform_controls

UNKNOWN = "unknown"
Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class Described:
    """A capture of the library: its name there, and its file's size and spec, which nobody has checked."""

    name: str
    size_bytes: int
    spec: WaveformSpec

    @property
    def gear(self) -> str:
        """Make, model and kind of what was captured, as far as it is said."""
        tags = self.spec.tags
        named = " ".join(tags[key] for key in ("gear_make", "gear_model") if key in tags) or tags.get("based", "")
        kind = tags.get("gear_type", "").replace("_", " ")
        return plain(f"{named} ({kind})" if named and kind else named or kind)

    @property
    def tone(self) -> str:
        """What it sounds like, as its author says."""
        return plain(self.spec.tags.get("tone_type", "") or self.spec.tags.get("style", "")).replace("_", " ")

    @property
    def licence(self) -> str:
        return plain(self.spec.provenance.licence) or UNKNOWN

    @property
    def notes(self) -> list[str]:
        """What was assumed or left out when it was imported."""
        return [plain(note) for note in self.spec.provenance.notes]

    def columns(self) -> list[tuple[str, str]]:
        """Its line in a table: heading and text of each column."""
        spec = self.spec
        return [
            ("network", self.network),
            ("rate", f"{spec.sample_rate / 1000:g} kHz"),
            ("loudness", decibels(spec.loudness_db)),
            ("gain", "" if spec.gain is None else f"{spec.gain:.2f}"),
            ("gear", self.gear),
            ("tone", self.tone),
            ("knobs", " ".join(knob.name for knob in spec.knobs)),
            ("licence", self.licence),
            ("size", f"{self.size_bytes / 1024:.0f} KiB"),
        ]

    @property
    def network(self) -> str:
        """Its architecture, and how many widths it has where it is slimmable."""
        widths = len(self.spec.variants)
        return plain(self.spec.architecture) + (f", {widths} widths" if widths > 1 else "")

    def lines(self) -> list[tuple[str, str]]:
        """All that is known, for a table of its own."""
        spec, origin = self.spec, self.spec.provenance
        field_ms = 1000.0 * spec.receptive_field_samples / spec.sample_rate
        rows = [
            ("called", plain(spec.name)),
            ("network", f"{self.network}; hears back {spec.receptive_field_samples} samples ({field_ms:.1f} ms)"),
            ("sample rate", f"{spec.sample_rate:g} Hz"),
            ("loudness", decibels(spec.loudness_db, spec.loudness_measured) or UNKNOWN),
            ("gain", UNKNOWN if spec.gain is None else f"{spec.gain:.2f} (0: clean, 1: it compresses all)"),
            ("input level", _dbu(spec.input_level_dbu)),
            ("output level", _dbu(spec.output_level_dbu)),
            *((plain(key).replace("_", " "), plain(value)) for key, value in sorted(spec.tags.items())),
            ("author", plain(origin.author) or UNKNOWN),
            ("licence", self.licence),
            ("date", plain(origin.date) or UNKNOWN),
            ("imported from", f"{plain(origin.file)} ({plain(origin.format)}), sha256 {plain(origin.sha256)}"),
            ("made with", plain(origin.made_with) or UNKNOWN),
            *((f"measured {plain(key)}", f"{value:.6g}") for key, value in sorted(spec.quality.items())),
        ]
        for control in waveform_controls(spec):
            unit = f" {control.unit}" if control.unit else ""
            span = f"{control.minimum:g} to {control.maximum:g}{unit}, {control.default:g} at first"
            rows.append((f"control {plain(control.name)}", span))
        rows += [("note", note) for note in self.notes]
        rows.append(("file", f"{self.size_bytes} bytes"))
        return rows

    def as_json(self) -> dict[str, Json]:
        """All that is known, for programs; None for what is not."""
        spec, origin = self.spec, self.spec.provenance
        return {
            "name": self.name,
            "called": spec.name,
            "architecture": spec.architecture,
            "widths": len(spec.variants),
            "sample_rate": spec.sample_rate,
            "receptive_field_samples": spec.receptive_field_samples,
            "loudness_db": spec.loudness_db,
            "loudness_measured": spec.loudness_measured,
            "gain": spec.gain,
            "input_level_dbu": spec.input_level_dbu,
            "output_level_dbu": spec.output_level_dbu,
            "tags": dict(spec.tags),
            "knobs": [knob.name for knob in spec.knobs],
            "controls": [control.name for control in waveform_controls(spec)],
            "author": origin.author or None,
            "licence": origin.licence or None,
            "date": origin.date or None,
            "source": {"format": origin.format, "file": origin.file, "sha256": origin.sha256},
            "notes": list(origin.notes),
            "quality": dict(spec.quality),
            "bytes": self.size_bytes,
        }

    def has_tags(self, wanted: Sequence[str]) -> bool:
        """Whether each is a tag's value, or KEY=VALUE, or the author's name or the licence; case does not matter."""
        origin = self.spec.provenance
        tags = {**self.spec.tags, "author": origin.author, "licence": origin.licence}
        held = {_folded(value) for value in tags.values()}
        held |= {f"{_folded(key)}={_folded(value)}" for key, value in tags.items()}
        return all(_folded(one) in held for one in wanted)


def describe(name: str, path: Path) -> Described:
    """What the file of a capture says; DuendeError where it is none. Nothing in it is executed."""
    data = read_bytes(path)
    _, text = parse(data, path.name)
    return Described(name, len(data), decode_waveform_spec(text, path.name))


def plain(text: str) -> str:
    """A text from someone else's file on one line, without what a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def decibels(level: float | None, measured: bool = False) -> str:
    """A loudness in words; measured: here, and not by its author. Empty where it is not known."""
    if level is None:
        return ""
    return f"{level:.1f} dB" + (" (measured here)" if measured else "")


def _dbu(level: float | None) -> str:
    return UNKNOWN if level is None else f"{level:g} dBu at 0 dBFS"


def _folded(text: str) -> str:
    return plain(text).casefold().replace(" ", "_").replace("-", "_")
