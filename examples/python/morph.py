"""Morph between the first four styles of the preset on a circle, once every few seconds, until Ctrl-C.

python examples/python/morph.py --period 8
"""

import argparse
import math
import time

from pythonosc.udp_client import SimpleUDPClient

STEPS_PER_S = 50


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=7700)
    options.add_argument("--period", type=float, default=8.0, help="seconds for a turn")
    options.add_argument("--seconds", type=float, default=float("inf"))
    chosen = options.parse_args()

    client = SimpleUDPClient(chosen.host, chosen.port)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < chosen.seconds:
        angle = 2.0 * math.pi * passed / chosen.period
        client.send_message("/duende/style/xy", [0.5 + 0.5 * math.cos(angle), 0.5 + 0.5 * math.sin(angle)])
        time.sleep(1.0 / STEPS_PER_S)


if __name__ == "__main__":
    main()
