"""Stopping all ranks at the same place, when perhaps only some of them were told to, without a collective in the loop.

The main thread of every rank walks through the same sequence of units: each optimizer step, each batch of an
evaluation, each periodic checkpoint. Before a unit it calls `enter`. Whatever collectives lie between two calls of
`enter` belong to the unit before, so ranks that stop before the same unit have taken part in exactly the same
collectives. Which unit that is, is agreed on by the listeners, one thread per rank with a store client of its own:

1. A rank that is told to stop puts the request into the store; the first request stays. All listeners look for it.
2. On finding it, a listener takes its rank's lock, reads how many units its main thread has entered, and closes the
   door. Then it posts that number. From here on its main thread enters nothing without knowing the agreement.
3. When all numbers are there, every rank may enter units up to the largest of them, and none beyond.

Why ranks cannot part: a rank that has entered unit `k` says at least `k`, so the largest number is a unit that some
rank has entered and no rank has passed. Why this cannot deadlock: listeners need neither collectives nor their main
threads, so all numbers arrive while main threads are wherever they are; and a main thread that waits at the door for
the numbers is let in again if another one is inside the next unit and needs it there.

In the timed loop this costs one uncontended lock.

The store listens to whoever reaches its port. So every message is signed, what is not is ignored and noted once, and a
rank whose message was deleted or overwritten posts it again: others can delay an agreement or prevent it, not make one.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any, Protocol

from launchers.checked import parse_json, to_json
from vit_sweep.job.rank_log import say
from vit_sweep.job.train.signing import signed, verified
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, StopRequest

AGREE_S = 20.0
"""How long ranks may take to agree. Only a rank that is gone or stopped takes more than a second."""
_POLL_S = 0.5
_SOON_S = 0.02
_REQUEST = "vit_sweep/stop"


class Store(Protocol):
    """What is needed of a `torch.distributed.TCPStore` client."""

    def set_timeout(self, timeout: timedelta, /) -> None:
        """Bound every call."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys are there, at once."""

    def get(self, key: str, /) -> bytes:
        """The value of a key."""

    def set(self, key: str, value: str, /) -> None:
        """Set a key."""

    def compare_set(self, key: str, expected: Any, desired: str, /) -> bytes:
        """Set a key if it has the expected value, bytes (torch's types say text); empty: if it is not there."""


class StopAgreed(BaseException):
    """All ranks stop here. Not an `Exception`: nothing may swallow it."""

    def __init__(self, request: StopRequest) -> None:
        super().__init__(request.message)
        self.request = request


class Stopper:
    """One rank's side of the agreement. `request_stop` may be called by any thread, `enter` by the main one."""

    def __init__(self, *, rank: int, world_size: int, connect: Callable[[], Store], secret: bytes) -> None:
        """Begin to listen; `connect` opens a store client that nobody else uses: a call blocks its other users.

        `secret`: what the ranks of this job alone know.
        """
        self._connect, self._secret = connect, secret
        self._keys = [f"vit_sweep/at/{number}" for number in range(world_size)]
        self._own_key = self._keys[rank]
        self._noted: set[str] = set()
        self._lock = threading.Lock()
        self._entered, self._last = 0, 0
        self._asked = self._closed = False
        self._own_request: StopRequest | None = None
        self._request: StopRequest | None = None
        self._wake, self._agreed = threading.Event(), threading.Event()
        self._listener = threading.Thread(target=self._listen, name="stopper", daemon=True)
        self._listener.start()

    def request_stop(self, request: StopRequest) -> None:
        """Ask all ranks to stop as soon as they can agree where; the first request stays."""
        self._own_request = self._own_request or request
        self._wake.set()

    def enter(self) -> None:
        """Enter the next unit of work; raises `StopAgreed` if all ranks stop before it, `JobError` if they disagree."""
        with self._lock:
            if not self._asked:
                self._entered += 1
                return
        if not self._agreed.wait(AGREE_S) or self._request is None:
            raise JobError(
                Cause.COMMUNICATION, f"the ranks could not agree where to stop within {AGREE_S:g} s; nothing is saved"
            )
        if self._entered >= self._last:
            raise StopAgreed(self._request)
        self._entered += 1  # nobody else reads it any more

    def close(self) -> None:
        """End the listener. Only after a collective that follows the last unit, or when all is lost anyway."""
        self._closed = True
        self._wake.set()
        self._listener.join(timeout=2)

    def _listen(self) -> None:
        try:
            self._agree(self._connect())
        except Exception as error:  # a store that is gone; the collectives of the main thread will say why
            if not self._closed:
                say(f"no more stopping in good order: {error}")

    def _agree(self, store: Store) -> None:
        store.set_timeout(timedelta(seconds=AGREE_S))
        self._request = self._await_request(store)
        if self._request is None:
            return
        with self._lock:
            self._asked, entered = True, self._entered
        entries = {_REQUEST: to_json(self._request), self._own_key: str(entered)}
        pause = threading.Event()
        for turn in count():
            if self._closed:
                return
            for key, text in entries.items():
                # Not in every turn: a thousand ranks ask one store.
                if turn % round(_POLL_S / _SOON_S) == 0 and self._read(store, key) is None:
                    store.set(key, signed(self._secret, key, text))
            numbers = [self._get(store, key) for key in self._keys] if store.check(self._keys) else [None]
            if None not in numbers:
                self._last = max(int(number) for number in numbers if number is not None)
                self._agreed.set()
                return
            pause.wait(_SOON_S)

    def _await_request(self, store: Store) -> StopRequest | None:
        """The first request of any rank; None once this listener is closed."""
        while not self._closed:
            text = self._read(store, _REQUEST)
            if text is not None:
                return parse_json(StopRequest, text, source="the request to stop")
            if self._own_request is not None:
                # In place of nothing, or of what no rank wrote.
                stored = store.get(_REQUEST) if store.check([_REQUEST]) else b""
                if verified(self._secret, _REQUEST, stored) is None:
                    store.compare_set(_REQUEST, stored, signed(self._secret, _REQUEST, to_json(self._own_request)))
            self._wake.wait(_POLL_S)
        return None

    def _read(self, store: Store, key: str) -> str | None:
        """What a rank of this job left under `key`; None if there is nothing, or somebody else's."""
        return self._get(store, key) if store.check([key]) else None

    def _get(self, store: Store, key: str) -> str | None:
        """The same of a key that is there."""
        text = verified(self._secret, key, store.get(key))
        if text is None and key not in self._noted:
            self._noted.add(key)
            say(f"a message under {key} is not signed by a rank of this job; it is ignored")
        return text
