"""The processes of one training, as torchrun starts them; one process alone is the same with nothing to share.

Every rank works on some batches of a step, and gradients are summed over all, so that the step is the one that a single
process would take. Texts cross as bytes: nothing is pickled.
"""

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from ... import DuendeError
from .parts import library, short

JOIN_S = 300.0
BUCKET = 1 << 24
"""Numbers that are summed in one message."""


class Ranks:
    """rank of count processes, working on device: a GPU of its own each where there are any, else the processor.

    Entered, they wait for each other; DuendeError where they do not come together.
    """

    def __init__(self) -> None:
        torch = library("torch")
        try:
            self.rank, self.count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
            local = int(os.environ.get("LOCAL_RANK", "0"))
        except ValueError as error:
            raise DuendeError(f"RANK, WORLD_SIZE and LOCAL_RANK are torchrun's: {error}") from error
        if not 0 <= self.rank < self.count:
            raise DuendeError(f"RANK {self.rank} of {self.count}: start with torchrun")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if gpus and local >= gpus:
            raise DuendeError(f"process {local} of this machine has no GPU: --nproc-per-node {gpus} at most")
        self.device = f"cuda:{local}" if gpus else "cpu"
        self._distributed: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells how it goes."""
        return self.rank == 0

    def __enter__(self) -> Self:
        if self.count == 1:
            return self
        torch, distributed = library("torch"), library("torch.distributed")
        kind = "gloo"
        if self.device != "cpu":
            torch.cuda.set_device(self.device)
            kind = "nccl"
        try:
            distributed.init_process_group(kind, timeout=timedelta(seconds=JOIN_S))
        except (RuntimeError, ValueError) as error:
            raise DuendeError(f"the {self.count} processes do not come together: {short(error)}") from error
        self._distributed = distributed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._distributed is not None:
            self._distributed.destroy_process_group()
            self._distributed = None

    def share(self, batches: Sequence[Any]) -> list[tuple[int, Any]]:
        """This process' batches of a step, with their numbers."""
        return [(number, one) for number, one in enumerate(batches) if number % self.count == self.rank]

    def alike(self, tensors: Sequence[Any]) -> None:
        """Give every process the first one's values."""
        if self._distributed is not None:
            for one in tensors:
                self._distributed.broadcast(one.data, 0)

    def add_gradients(self, tensors: Sequence[Any]) -> None:
        """Sum every tensor's gradient over all processes, in messages of a bounded size."""
        if self._distributed is None:
            return
        torch = library("torch")
        reached = self.total([float(one.grad is not None) for one in tensors])
        waiting: list[Any] = []
        size = 0
        for one, ranks in zip(tensors, reached, strict=True):
            if not ranks:
                continue  # the optimiser leaves alone what no batch reached
            if one.grad is None:
                one.grad = torch.zeros_like(one)
            waiting.append(one.grad)
            size += one.grad.numel()
            if size >= BUCKET:
                self._add(waiting)
                waiting, size = [], 0
        if waiting:
            self._add(waiting)

    def _add(self, gradients: Sequence[Any]) -> None:
        torch = library("torch")
        flat = torch.cat([one.reshape(-1) for one in gradients])
        self._distributed.all_reduce(flat)
        start = 0
        for one in gradients:
            one.copy_(flat[start : start + one.numel()].view_as(one))
            start += one.numel()

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        if self._distributed is None:
            return list(numbers)
        held = library("torch").tensor(numbers, dtype=library("torch").float64, device=self.device)
        self._distributed.all_reduce(held)
        return [float(one) for one in held.cpu()]

    def lines(self, own: Sequence[str]) -> list[str]:
        """The lines of all processes, by rank, each once."""
        if self._distributed is None:
            return list(own)
        torch = library("torch")
        text = torch.tensor(list(json.dumps(list(own)).encode()), dtype=torch.uint8, device=self.device)
        length = torch.tensor([len(text)], device=self.device)
        lengths = [torch.zeros_like(length) for _ in range(self.count)]
        self._distributed.all_gather(lengths, length)
        longest = max(int(one) for one in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8, device=self.device)
        padded[: len(text)] = text
        texts = [torch.zeros_like(padded) for _ in range(self.count)]
        self._distributed.all_gather(texts, padded)
        found = [
            line
            for one, size in zip(texts, lengths, strict=True)
            for line in json.loads(bytes(one[: int(size)].cpu().tolist()))
        ]
        return list(dict.fromkeys(found))

    def wait(self) -> None:
        """Until all have come so far."""
        if self._distributed is not None:
            self.total([0.0])
