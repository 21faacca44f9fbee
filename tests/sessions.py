"""Sessions for tests of control: a library of tiny presets, and an engine that answers at once."""

from collections.abc import Callable
from pathlib import Path

from duende.engine.control.session import Session
from duende.engine.messages import Done, Play, Played, Preload
from duende.engine.shared import SharedState
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import Library
from models import tiny_model, tiny_weights


class QuickEngine:
    """Carries out every order at once.

    orders: those it was given; failure: what it refuses the next with; notices: what it says of each chain;
    meanwhile: what happens while it carries out an order.
    """

    def __init__(self) -> None:
        self.orders: list[Play | Preload] = []
        self.failure: Exception | None = None
        self.notices: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    async def ask(self, order: Play | Preload) -> Played | Done:
        self.orders.append(order)
        self.meanwhile()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if isinstance(order, Preload):
            return Done(order.request)
        return Played(
            order.request,
            order.page,
            0,
            [128] * len(order.slots),
            True,
            0.02,
            list(self.notices),
            [s.branch for s in order.slots],
        )


def tiny_library(folder: Path) -> Library:
    """Presets `duo` (a morph of style0 and style1), `solo` (one style) and `wire` (no slot)."""
    library = Library(folder / "presets", folder / "none")
    for name, styles in (("duo", 2), ("solo", 1)):
        (folder / name).mkdir(parents=True)
        model = tiny_model(folder / name, tiny_weights(styles=styles))
        preset = Preset(FORMAT, name, [SlotPreset("style", f"{name}.onnx", values={"amount": 0.75})])
        library.save(name, preset, {f"{name}.onnx": model.path.read_bytes()})
    library.save("wire", Preset(FORMAT, "wire", []), {})
    return library


def tiny_session(folder: Path, memory: Path | None = None) -> Session:
    """A session on that library; nothing plays yet (`await session.load("duo")`)."""
    return Session(SharedState(), QuickEngine(), tiny_library(folder), memory)
