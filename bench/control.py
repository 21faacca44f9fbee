"""What control costs and how quick it is, on JACK's dummy driver; writes bench/control.md.

python bench/control.py [SECONDS OF FLOOD] [RUNS]. Three things: the time from an OSC message to the changed sound; how
many blocks come late while 5 000 messages a second come in and eight subscribers get meters, beside the same without,
and beside a callback that only copies; and that nothing is lost over TCP and WebSockets.
"""

import asyncio
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import scipy.stats

# In front: this folder, too, has a module `models`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from duende.engine.bench import machine
from duende.engine.control.client import ask
from duende.engine.control.framing import Framing
from duende.engine.control.osc import decode, encode
from jackd import Server
from sessions import tiny_library
from test_show import Program

PERIOD = 128
CHANGES = 200
RATE_PER_S, SUBSCRIBERS = 5000, 8
RELIABLE = 5000
FLOOD_S, RUNS = 60.0, 5


class Tone:
    """A JACK client that plays a sine into the host."""

    def __init__(self, server: Server) -> None:
        for key in ("JACK_DEFAULT_SERVER", "JACK_NO_START_SERVER"):
            os.environ[key] = server.environment[key]
        import jack

        self._jack = jack
        self.client = jack.Client("tone", no_start_server=True)
        self._port = self.client.outports.register("out")
        self._sine = 0.2 * np.sin(2.0 * np.pi * 375.0 * np.arange(PERIOD) / 48000.0).astype(np.float32)
        self.client.set_process_callback(self._play)
        self.client.activate()
        until = time.monotonic() + 10.0
        while not (inputs := self.client.get_ports("PortAudio.*", is_audio=True, is_input=True)):
            assert time.monotonic() < until
            time.sleep(0.05)
        for source in self.client.get_all_connections(inputs[0]):
            self.client.disconnect(source, inputs[0])
        self.client.connect(self._port, inputs[0])

    def _play(self, frames: int) -> None:
        self._port.get_array()[:] = self._sine[:frames]

    def close(self) -> None:
        self.client.deactivate()
        self.client.close()


def latency(program: Program) -> list[float]:
    """Milliseconds from sending a message to the first block in the output ring whose level is another by 1 dB."""
    shared, sock = program.shared, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    target, times = (program.info.address, program.info.osc_port), []
    rng = np.random.default_rng(1)
    quiet = False
    for _ in range(CHANGES):
        time.sleep(0.1 + 0.01 * float(rng.random()))
        start = shared.written
        steady = _level(shared.wet, start)
        quiet = not quiet
        sent = time.perf_counter()
        sock.sendto(encode("/duende/output/gain", [-20.0 if quiet else 0.0], "f"), target)
        while time.perf_counter() - sent < 0.5:
            if shared.written > start:
                start = shared.written
                if abs(_level(shared.wet, start) - steady) > 1.0:
                    times.append(1000.0 * (time.perf_counter() - sent))
                    break
            time.sleep(0.0001)
    sock.close()
    return times


def _level(ring: "np.ndarray[tuple[int], np.dtype[np.float32]]", end: int) -> float:
    places = np.arange(end - PERIOD, end) % len(ring)
    return float(10.0 * np.log10(np.mean(ring[places].astype(np.float64) ** 2) + 1e-12))


def flood(host: str, port: int, seconds: float) -> None:
    """Send RATE_PER_S messages a second to twenty addresses."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    addresses = ["/duende/mix", "/duende/amount", "/duende/output/gain", "/duende/slot/1/style0", "/duende/slot/1/mix"]
    packets = [encode(address, [value / 4.0], "f") for address in addresses for value in range(4)]
    begun, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - begun) < seconds:
        while sent < now * RATE_PER_S:
            sock.sendto(packets[sent % len(packets)], (host, port))
            sent += 1
        time.sleep(0.002)


def listen(port: int, heard: "multiprocessing.Queue[int]", seconds: float) -> None:
    """Subscribe eight times, and count what comes."""
    socks = []
    for _ in range(SUBSCRIBERS):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.2)
        sock.sendto(encode("/duende/subscribe", [0, "", 600.0], "isf"), ("127.0.0.1", port))
        socks.append(sock)
    counts = [0] * SUBSCRIBERS

    def count(number: int) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                packet = socks[number].recv(65536)
            except TimeoutError:
                continue
            counts[number] += sum(message.address == "/duende/meter" for message in decode(packet))

    threads = [threading.Thread(target=count, args=(number,)) for number in range(SUBSCRIBERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard.put(min(counts))


def copying(environment: dict[str, str], seconds: float) -> float:
    """Xruns per 100 000 blocks of a callback that only copies, in a process of its own."""
    code = (
        "import sounddevice as sd, time\n"
        "n = [0, 0]\n"
        "def copy(a, b, frames, when, flags):\n"
        "    b[:] = a\n    n[0] += 1\n    n[1] += bool(flags.input_overflow or flags.output_underflow)\n"
        f"with sd.Stream(device='system', samplerate=48000, blocksize={PERIOD}, channels=1, callback=copy):\n"
        f"    time.sleep({seconds})\n"
        "print(n[0], n[1])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    blocks, late = map(int, out.stdout.split())
    return 1e5 * late / max(1, blocks)


def playing(program: Program, seconds: float, flooded: bool) -> tuple[float, float, int]:
    """Xruns and late blocks per 100 000, and the fewest meters that a subscriber got per second."""
    context = multiprocessing.get_context("spawn")
    heard: multiprocessing.Queue[int] = context.Queue()
    helpers = []
    if flooded:
        helpers.append(context.Process(target=listen, args=(program.info.osc_port, heard, seconds)))
        helpers.append(context.Process(target=flood, args=(program.info.address, program.info.osc_port, seconds)))
    for helper in helpers:
        helper.start()
    if flooded:
        time.sleep(1.0)
    before = _counts(program)
    time.sleep(seconds - 2.0)
    after = _counts(program)
    meters = heard.get() / seconds if flooded else 0
    for helper in helpers:
        helper.join()
    blocks = max(1, after[0] - before[0])
    return 1e5 * (after[1] - before[1]) / blocks, 1e5 * (after[2] - before[2]) / blocks, round(meters)


def _counts(program: Program) -> tuple[int, int, int]:
    from duende.engine.telemetry import Telemetry

    count = Telemetry(program.shared).count
    return count("callbacks"), max(count("input_xruns"), count("output_xruns")), count("late")


def reliable_tcp(program: Program) -> int:
    """How many of so many orders were answered."""
    framing, answered = Framing(), 0
    with socket.create_connection((program.info.address, program.info.osc_port), timeout=20.0) as connection:

        def send() -> None:
            for number in range(RELIABLE):
                connection.sendall(framing.frame(encode("/duende/mix", [number / RELIABLE, f"#{number}"], "fs")))

        thread = threading.Thread(target=send)
        thread.start()
        reading = Framing()
        while answered < RELIABLE and (data := connection.recv(65536)):
            for packet in reading.feed(data):
                answered += sum(message.address == "/duende/reply" for message in decode(packet))
        thread.join()
    return answered


async def reliable_websocket(program: Program) -> int:
    """The same over a WebSocket."""
    import websockets

    answered = 0
    async with websockets.connect(f"ws://{program.info.address}:{program.info.http_port}/") as client:

        async def send() -> None:
            for number in range(RELIABLE):
                await client.send(encode("/duende/mix", [number / RELIABLE, f"#{number}"], "fs"))

        sending = asyncio.create_task(send())
        while answered < RELIABLE:
            frame = await asyncio.wait_for(client.recv(), 20.0)
            if isinstance(frame, bytes):
                answered += sum(message.address == "/duende/reply" for message in decode(frame))
        await sending
    return answered


def interval(values: list[float]) -> str:
    """Mean and half the width of its 95 % confidence interval (Student's t)."""
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.0f} +- {half:.0f}"


def main() -> None:
    """Measure, and write the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else FLOOD_S
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    server = Server(f"duende-bench-{os.getpid()}", PERIOD)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        tiny_library(home)
        program = Program(server, home)
        time.sleep(3.0)
        tone = Tone(server)
        times = latency(program)
        tone.close()
        tcp, websocket = reliable_tcp(program), asyncio.run(reliable_websocket(program))
        ask(program.info, "/duende/mix", [1.0])
        plain, loaded, idle, meters = [], [], [], []
        for _ in range(runs):
            plain.append(playing(program, seconds, flooded=False))
            loaded.append(playing(program, seconds, flooded=True))
            idle.append(copying(server.environment, seconds))
            meters.append(loaded[-1][2])
        program.end()
    server.stop()
    found = machine()
    p50, p99 = np.percentile(times, [50.0, 99.0])
    text = f"""<!-- made by bench/control.py -->

# Control

JACK's dummy driver at 48 kHz, blocks of {PERIOD} (2.67 ms); {found["cores"]} cores, {found["processor"]}.

| what | figure |
|---|---|
| OSC message sent to output level changed by 1 dB | p50 {p50:.1f} ms, p99 {p99:.1f} ms ({len(times)} of {CHANGES}) |
| orders with a receipt answered over TCP | {tcp} of {RELIABLE} |
| orders with a receipt answered over a WebSocket | {websocket} of {RELIABLE} |
| meters that the worst of {SUBSCRIBERS} subscribers got under the flood | {min(meters)} per second |

Blocks in 100 000 that were not in time, {runs} interleaved runs of {seconds:g} s each, mean and 95 % confidence:

| | flagged by the device | longer than a period |
|---|---|---|
| a callback that only copies, alone | {interval(idle)} | |
| duende | {interval([one[0] for one in plain])} | {interval([one[1] for one in plain])} |
| duende, {RATE_PER_S} messages per second, {SUBSCRIBERS} subscribers | {interval([one[0] for one in loaded])} | \
{interval([one[1] for one in loaded])} |
"""
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
