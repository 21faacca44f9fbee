"""Set the amount of style, then show the input's and the output's level until Ctrl-C.

python examples/python/meters.py --amount 0.8
"""

import argparse
import time

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
from pythonosc.udp_client import SimpleUDPClient

RENEW_S = 20.0


def show(address: str, *values: object) -> None:
    if address == "/duende/meter":
        print(f"in {values[0]:6.1f} dBFS   out {values[2]:6.1f} dBFS", flush=True)
    else:
        print(address.removeprefix("/duende/"), *values, flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=7700)
    options.add_argument("--amount", type=float, default=0.8)
    options.add_argument("--seconds", type=float, default=float("inf"))
    chosen = options.parse_args()

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(show)
    # Any free port, on all networks: duende answers to the one that it is told.
    with BlockingOSCUDPServer(("0.0.0.0", 0), dispatcher) as server:
        server.timeout = 0.5
        client = SimpleUDPClient(chosen.host, chosen.port)
        client.send_message("/duende/amount", chosen.amount)
        end, renew = time.monotonic() + chosen.seconds, 0.0
        while time.monotonic() < end:
            if time.monotonic() >= renew:
                client.send_message("/duende/subscribe", server.server_address[1])
                renew = time.monotonic() + RENEW_S
            server.handle_request()
        client.send_message("/duende/unsubscribe", server.server_address[1])


if __name__ == "__main__":
    main()
