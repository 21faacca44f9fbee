"""A whole host, played to a clock, under fire from all sides; and what it says afterwards."""

import os
import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from duende.engine.control.client import ask
from duende.engine.control.instances import InstanceInfo
from duende.engine.control.namespace import Value
from duende.engine.control.settings import ControlSetup, NetworkSettings, Settings
from duende.engine.control.supervisor import Supervisor
from duende.engine.messages import EngineSetup
from duende.presets.format import FORMAT, Preset
from duende.presets.library import Library
from fuzzing.targets import TARGETS
from stage import free_port
from waiting import PATIENCE_S, wait_until

CONNECTIONS = 8
ANSWERS = 1 << 16
LEFT_ALONE = (b"record", b"preset/save", b"preset/duplicate", b"subscribe")
"""What writes files, or makes others hear: a siege is about getting through, not about filling disks."""


@dataclass(frozen=True)
class Outcome:
    """taken: OSC packets that the host counted; others: HTTP requests and WebSocket frames that were sent.

    failed: messages that only a mistake in the program explains. samples: played meanwhile; late: blocks, as the
    host tells. restarts: of engine and control. grown_mib: memory of the control process.
    """

    taken: int
    malformed: int
    others: int
    failed: int
    samples: int
    late: int
    restarts: int
    grown_mib: float
    seconds: float


class SilentHost:
    """Parent, engine, spare and control as `duende live` has them, without a sound device; plays the wire."""

    def __init__(self, home: Path) -> None:
        os.environ["DUENDE_HOME"] = str(home)
        Library().save("wire", Preset(FORMAT, "wire", []), {})
        network = NetworkSettings(name="siege", osc_port=free_port(), http_port=free_port(), zeroconf=False)
        settings = Settings(preset="wire", network=network)
        self.info = InstanceInfo(os.getpid(), "siege", "127.0.0.1", network.osc_port or 0, network.http_port or 0)

        def control(folder: Path) -> bytes:
            return msgspec.json.encode(ControlSetup(str(folder), settings, None, {}, os.getpid()))

        self.supervisor = Supervisor(EngineSetup(state="", silent=True, block=256), control)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self.supervisor.run, args=(self._done,))
        self._thread.start()
        try:
            wait_until(self._answers, "the host answers", 2 * PATIENCE_S)
        except AssertionError:
            self.end()
            raise

    def _answers(self) -> bool:
        try:
            return bool(self.ask("ping"))
        except Exception:  # noqa: BLE001 - it is not up yet
            return False

    def ask(self, address: str, *values: Value) -> list[Value]:
        return ask(self.info, f"/duende/{address}", values, PATIENCE_S)

    @property
    def control_mib(self) -> float:
        """Memory that the control process has in use."""
        child = self.supervisor._control
        assert child is not None
        text = Path(f"/proc/{child.process.pid}/status").read_text()
        return float(text.partition("VmRSS:")[2].split()[0]) / 1024

    def end(self) -> None:
        self._done.set()
        self._thread.join(PATIENCE_S)


def besiege(host: SilentHost, count: int, seed: int = 1) -> Outcome:
    """Send so many hostile packets over TCP, and as many again by every other way; wait until they are taken."""
    rng = random.Random(seed)
    target = TARGETS["osc"]
    examples = [one for one in target.seeds() if not any(word in one for word in LEFT_ALONE)]
    packets: list[bytes] = []
    while len(packets) < count:
        packet = target.mutate(rng.choice(examples), rng)
        if not any(word in packet for word in LEFT_ALONE):
            packets.append(packet)
    health, shared = host.supervisor.health, host.supervisor.shared
    restarts, played = health.engine_restarts + health.control_restarts, shared.written
    before, late, memory = _counters(host), int(float(host.ask("status/late")[0] or 0)), host.control_mib
    began = time.monotonic()
    senders = [
        threading.Thread(target=_send, args=(host.info.osc_port, packets[place::CONNECTIONS]))
        for place in range(CONNECTIONS)
    ]
    senders.append(threading.Thread(target=_shower, args=(host.info.osc_port, packets)))
    others = count // 50
    senders.append(threading.Thread(target=_knock, args=(host.info.http_port, others, seed)))
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    after = _counters(host)
    return Outcome(
        after[0] - before[0],
        after[2] - before[2],
        others,
        after[5] - before[5],
        int(shared.written - played),
        int(float(host.ask("status/late")[0] or 0)) - late,
        health.engine_restarts + health.control_restarts - restarts,
        host.control_mib - memory,
        time.monotonic() - began,
    )


def _counters(host: SilentHost) -> list[int]:
    """packets, messages, malformed, unknown, refused, failed, limited, dropped."""
    return [int(float(value or 0)) for value in host.ask("status/osc")]


def _send(port: int, packets: list[bytes]) -> None:
    """Over TCP, sizes in front: nothing is lost, and the host decides how quickly it goes. Reads all answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE_S) as stream:
        ended = threading.Event()

        def read() -> None:
            with suppress(OSError):
                while stream.recv(ANSWERS):
                    pass
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        for packet in packets:
            stream.sendall(struct.pack(">i", len(packet)) + packet)
        # The other side has taken all once it sees the end behind it.
        stream.shutdown(socket.SHUT_WR)
        reader.join(10 * PATIENCE_S)
        assert ended.is_set()


def _shower(port: int, packets: list[bytes]) -> None:
    """The same by UDP, from some ports: what is too much is lost."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    for place, packet in enumerate(packets):
        with suppress(OSError):
            sockets[place % 4].sendto(packet, ("127.0.0.1", port))
    for one in sockets:
        one.close()


def _knock(port: int, count: int, seed: int) -> None:
    """HTTP and WebSockets."""
    rng = random.Random(seed)
    upgrade = next(one for one in TARGETS["http"].seeds() if b"Upgrade" in one)
    for place in range(count):
        target = TARGETS["http" if place % 2 else "websocket"]
        data = target.mutate(rng.choice(target.seeds()), rng)
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as stream:
            stream.sendall(data if place % 2 else upgrade + data)
            stream.shutdown(socket.SHUT_WR)
            stream.recv(ANSWERS)
