"""OSC messages carried out: checked against the tree of addresses, answered, counted; nothing that comes in raises.

- `/x values...` sets or does; `/x` alone asks, where x can be read, and is answered on the same address.
- A last argument `#id` (at most MAX_RECEIPT characters) asks for a receipt: when it is done, the sender gets
  `/duende/reply s:address s:id values...`.
- What fails is answered with `/duende/error s:address s:code s:text [s:id]`, code being one of CODES.
- Patterns (`/duende/slot/*/bypass`) set and ask what can be read; commands need their own address.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace

from ... import DuendeError, __version__
from .namespace import PREFIX, Answer, Namespace, Node, RefusedError, Value, Values
from .osc import bundles, decode, encode
from .patterns import is_pattern, matches
from .peer import Peer

ERROR = f"{PREFIX}/error"
REPLY = f"{PREFIX}/reply"
PING = f"{PREFIX}/ping"
COUNTERS = f"{PREFIX}/status/osc"

CODES = ("unknown", "type", "range", "refused", "malformed", "limit", "failed")
COUNTED = ("packets", "messages", "malformed", "unknown", "refused", "failed", "limited", "dropped")
"""What /duende/status/osc counts, in this order: `refused` for codes type, range and refused; `dropped` are packets
that a slow receiver was not sent."""

MAX_WORK = 4096
"""Nodes that one packet may reach, with patterns: what is over is refused."""
MAX_WAITING = 128
"""Orders that may be under way at a time."""
MAX_PATTERNS = 64
MAX_RECEIPT = 64
_PATTERN_WORK = 32
_TEXT = 240
_COUNTER_OF = {"type": "refused", "range": "refused", "limit": "limited"}

log = logging.getLogger(__name__)

Handler = Callable[[Values, Peer], Answer]


@dataclass(frozen=True)
class _Request:
    """A message being carried out: from whom, under which address, and what is to be answered."""

    peer: Peer
    address: str
    receipt: str | None
    answers: list[bytes]


@dataclass
class Dispatcher:
    """Carries out OSC packets on the addresses of a namespace, in the event loop's thread.

    counters: how often what happened, by the names in COUNTED; transports count here, too.
    written:  told the address of a node that holds another value after a message than before it, or than was sent.
    """

    namespace: Namespace
    counters: Counter[str] = field(default_factory=Counter)
    written: list[Callable[[str], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._offered: list[Node] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._faulty: set[str] = set()
        self._matched: dict[str, list[str]] = {}
        self._matched_of: dict[str, Node] | None = None

    def offer(self, node: Node, handler: Handler) -> None:
        """Let an address be carried out by a function that is told who sent; give `nodes` to the namespace, too."""
        self._handlers[node.address] = handler
        self._offered.append(replace(node, write=_needs_sender))

    def nodes(self) -> list[Node]:
        """The addresses that come with OSC itself, for the namespace: those offered, ping and the counters."""
        return [
            *self._offered,
            Node(PING, "s", "answers with the version: is anybody there?", read=lambda: [__version__]),
            Node(
                COUNTERS,
                "i" * len(COUNTED),
                f"counted since the start: {', '.join(COUNTED)}",
                read=lambda: [self.counters[name] for name in COUNTED],
            ),
        ]

    def receive(self, packet: bytes, peer: Peer) -> int:
        """Carry out a packet and answer its sender; never raises. Returns the work: about one per node reached."""
        self.counters["packets"] += 1
        whole = _Request(peer, "", None, [])
        work = 1 + len(packet) // 1024
        try:
            messages = decode(packet)
        except DuendeError as error:
            messages = []
            self._fail(whole, "malformed", str(error))
        for message in messages:
            self.counters["messages"] += 1
            if message.address in (ERROR, REPLY):
                continue  # two hosts that answer each other's errors would never end
            values, receipt = _without_receipt(message.values)
            request = replace(whole, address=message.address, receipt=receipt)
            if work > MAX_WORK:
                self._fail(request, "limit", f"a packet may reach {MAX_WORK} addresses: send several")
                break
            work += self._find(message.address, values, request)
        self._send(whole)
        return work

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- finding the nodes ---------------------------------------------------------------------------------------

    def _find(self, address: str, values: Values, request: _Request) -> int:
        node = self.namespace.nodes.get(address)
        if node is not None:
            self._carry_out(node, values, request)
            return 1
        if not is_pattern(address):
            self._fail(request, "unknown", f"{address:.80}: no such address (OSCQuery or docs/osc.md lists them)")
            return 1
        try:
            nodes = [self.namespace.nodes[one] for one in self._match(address)]
        except DuendeError as error:
            self._fail(request, "malformed", str(error))
            return _PATTERN_WORK
        reached = [node for node in nodes if node.access == 3 or (node.access == 1 and not values)]
        if not reached:
            what = "set" if values else "asked"
            self._fail(request, "unknown", f"{address:.80}: matches nothing that can be {what} (commands: one by one)")
        for node in reached:
            self._carry_out(node, values, replace(request, address=node.address, receipt=None))
        if reached and request.receipt is not None:
            self._answer(request, REPLY, [address, request.receipt, len(reached)])
        return _PATTERN_WORK + len(reached)

    def _match(self, pattern: str) -> list[str]:
        if self._matched_of is not self.namespace.nodes:
            self._matched, self._matched_of = {}, self.namespace.nodes
        if pattern not in self._matched:
            if len(self._matched) >= MAX_PATTERNS:
                del self._matched[next(iter(self._matched))]
            self._matched[pattern] = matches(pattern, self.namespace.nodes)
        return self._matched[pattern]

    # -- carrying out --------------------------------------------------------------------------------------------

    def _carry_out(self, node: Node, arguments: Values, request: _Request) -> None:
        try:
            if not arguments and node.read is not None:
                values = node.read()
                if request.receipt is None:
                    self._answer(request, node.address, values, node.types)
                else:
                    self._answer(request, REPLY, [node.address, request.receipt, *values], "ss" + node.types)
            elif node.write is None:
                what = "asked" if node.access else "subscribed to"
                raise RefusedError("refused", f"{node.address}: it can only be {what}")
            else:
                self._write(node, arguments, request)
        except DuendeError as error:
            self._refuse(request, error)
        except Exception as error:  # noqa: BLE001 - goes to the log and to the sender
            self._fault(request, error)

    def _write(self, node: Node, arguments: Values, request: _Request) -> None:
        values = node.check(arguments)
        before = _read(node)
        handler = self._handlers.get(node.address)
        if handler is not None:
            result = handler(values, request.peer)
        else:
            assert node.write is not None
            result = node.write(values)
        if result is None or isinstance(result, Sequence):
            self._done(node, arguments, before, result, request)
        elif len(self._tasks) < MAX_WAITING:
            task = asyncio.get_running_loop().create_task(self._finish(node, arguments, before, result, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: _give_up(result))
        else:
            _give_up(result)
            raise RefusedError("limit", f"{node.address}: {MAX_WAITING} orders are under way; wait for their replies")

    async def _finish(
        self, node: Node, arguments: Values, before: Values | None, work: Awaitable[Values | None], request: _Request
    ) -> None:
        late = replace(request, answers=[])
        try:
            self._done(node, arguments, before, await work, late)
        except DuendeError as error:
            self._refuse(late, error)
        except Exception as error:  # noqa: BLE001 - goes to the log and to the sender
            self._fault(late, error)
        self._send(late)

    def _done(
        self, node: Node, arguments: Values, before: Values | None, result: Values | None, request: _Request
    ) -> None:
        after = _read(node)
        if after is not None and (after != before or not _is_same(after, arguments)):
            for listener in self.written:
                listener(node.address)
        if request.receipt is not None:
            values, types = (result, "") if result is not None else (after or [], node.types)
            self._answer(request, REPLY, [node.address, request.receipt, *values], "ss" + types)

    # -- answering -----------------------------------------------------------------------------------------------

    def _answer(self, request: _Request, address: str, values: Values, types: str = "") -> None:
        request.answers.append(encode(address, values, types))

    def _refuse(self, request: _Request, error: DuendeError) -> None:
        self._fail(request, error.code if isinstance(error, RefusedError) else "refused", str(error))

    def _fault(self, request: _Request, error: Exception) -> None:
        """Report what only a mistake in this program explains: to its log, once for each address, and to the sender."""
        if request.address not in self._faulty:
            self._faulty.add(request.address)
            log.error("OSC: %s failed", request.address, exc_info=error)
        self._fail(request, "failed", f"{request.address:.80}: a fault of the host; its log tells more")

    def _fail(self, request: _Request, code: str, text: str) -> None:
        self.counters[_COUNTER_OF.get(code, code)] += 1
        receipt = [] if request.receipt is None else [request.receipt]
        line = " ".join(text.split())[:_TEXT]
        self._answer(request, ERROR, [request.address[:_TEXT], code, line, *receipt])

    def _send(self, request: _Request) -> None:
        for packet in bundles(request.answers):
            request.peer.send(packet)


def _without_receipt(values: Values) -> tuple[Values, str | None]:
    last = values[-1] if values else None
    if isinstance(last, str) and last.startswith("#") and len(last) <= MAX_RECEIPT:
        return values[:-1], last
    return values, None


def _read(node: Node) -> Values | None:
    """What a node holds; None where it cannot be read, or not now."""
    try:
        return None if node.read is None else list(node.read())
    except DuendeError:
        return None


def _is_same(held: Values, sent: Values) -> bool:
    """Whether a node holds what it was sent, as far as a float of OSC goes."""
    return len(held) == len(sent) and all(map(_is_close, held, sent))


def _is_close(held: Value, sent: Value) -> bool:
    if isinstance(held, int | float) and isinstance(sent, int | float):
        return math.isclose(held, sent, rel_tol=1e-6, abs_tol=1e-6)
    return held == sent


def _give_up(work: Awaitable[Values | None]) -> None:
    """End work that nobody will wait for; what is done already stays done."""
    if isinstance(work, Coroutine):
        work.close()
    elif isinstance(work, asyncio.Future):
        work.cancel()


def _needs_sender(values: Values) -> Answer:
    raise DuendeError("this needs to know who asks: send it over OSC or a WebSocket")
