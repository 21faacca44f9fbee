"""The parts of control that work on a session, made for each other, and the one list of addresses that they offer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .commands import session_nodes
from .dispatch import Dispatcher
from .meters import Meters
from .midi import Midi
from .midi_map import MidiMap
from .namespace import Namespace, Node
from .news import News
from .played import Played
from .recorder import Recorder
from .session import Session
from .shelf import Shelf
from .spectrum import Spectrum
from .tempo import Tempo
from .tuner import Tuner


@dataclass
class Parts:
    """What `build` makes. Subscriptions, which need a transport, join the dispatcher later."""

    session: Session
    namespace: Namespace
    news: News
    dispatcher: Dispatcher
    meters: Meters
    tempo: Tempo
    tuner: Tuner
    recorder: Recorder
    midi: Midi
    spectrum: Spectrum
    played: Played
    shelf: Shelf

    @classmethod
    def build(
        cls,
        session: Session,
        wake: Callable[[Callable[[], None]], object],
        safety: int = 0,
        bindings: MidiMap | None = None,
    ) -> "Parts":
        """wake: has a function called in the event loop's thread. safety: blocks of extra delay of the engine."""
        namespace, news = Namespace(), News()
        meters = Meters(session, safety)

        def rate() -> float:
            return meters.rate

        tempo = Tempo(session, news)
        return cls(
            session,
            namespace,
            news,
            Dispatcher(namespace),
            meters,
            tempo,
            Tuner(session, rate, news),
            Recorder(session, rate, news),
            Midi(namespace, tempo, news, bindings or MidiMap(), wake),
            Spectrum(session, rate),
            Played(session, rate),
            Shelf(session, news),
        )

    def nodes(self) -> Sequence[Node]:
        """Every address that there is now."""
        heard = (self.tuner, self.recorder, self.played, self.meters, self.spectrum)
        offering = (self.tempo, *heard, self.midi, self.shelf, self.dispatcher)
        return [*session_nodes(self.session), *(node for part in offering for node in part.nodes())]

    def renew(self) -> None:
        """Bring the addresses into force that there are now."""
        self.namespace.replace(self.nodes())
