"""Control's end of the way to the engine: orders with a number, and the answers that belong to them."""

import asyncio
from collections.abc import Callable

from ... import DuendeError
from ..messages import Done, Lost, Message, Notice, Opened, Play, Played, Preload, Refused

ANSWER_S = 30.0


class RemoteEngine:
    """Sends orders to the parent, which passes them on. All in the event loop's thread.

    send: puts a message into the pipe. told: is given what nobody asked for: `Opened`, `Lost` and `Notice`.
    """

    def __init__(self, send: Callable[[Message], None], told: Callable[[Opened | Lost | Notice], None]) -> None:
        self._send, self._told = send, told
        self._waiting: dict[int, asyncio.Future[Played | Done]] = {}

    async def ask(self, order: Play | Preload) -> Played | Done:
        """Carry out an order; DuendeError if the engine refuses, is restarted meanwhile, or does not answer."""
        answer: asyncio.Future[Played | Done] = asyncio.get_running_loop().create_future()
        self._waiting[order.request] = answer
        self._send(order)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise DuendeError(f"the engine did not answer within {ANSWER_S:g} s: try again") from None
        finally:
            del self._waiting[order.request]

    def hear(self, message: Message) -> None:
        """A message from the parent."""
        if isinstance(message, Played | Done | Refused):
            answer = self._waiting.get(message.request)
            if answer is None or answer.done():
                return
            if isinstance(message, Refused):
                answer.set_exception(DuendeError(message.text))
            else:
                answer.set_result(message)
        elif isinstance(message, Opened | Lost | Notice):
            self._told(message)
