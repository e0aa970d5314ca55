"""The processes of a run on several hosts watch each other: if one dies, or ends alone, all end, with a line each.

Each process writes a sign of life into the store of the coordinator, which is process 0, every second. Process 0 reads
them and leaves its verdict there; the others read that. The collectives themselves would wait forever, or fail with the
trace of a library.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

BEAT = 1.0  # seconds between two signs of life
DEAD_AFTER = 15  # beats without one: a process that holds Python's lock for as long is rare
GRACE_ALONE = 3  # beats that the others run on after one has ended alone
GRACE = 60  # beats that the others have after an error that they may share, as they finish their writes
READ_BY = 4  # beats that process 0, with the store, outlives its verdict
EXIT_HOST_LOST = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed
WAY_OUT = "start the same command on all hosts: it continues from the newest checkpoint"

SIGNS, VERDICT = "msst_jax/signs", "msst_jax/verdict"


class Store(Protocol):
    """What is used of JAX's client for the coordinator."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        """Sets a value."""

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        """All (key, value) below a folder."""


class Sign(NamedTuple):
    """What a process says of itself."""

    beat: int
    host: str
    code: int | None = None
    """Exit code, once it ends."""
    alone: bool = False
    """Whether it ends for a reason that the others do not know."""


class Verdict(NamedTuple):
    """How the run ends."""

    line: str
    """"" = all processes have ended by themselves."""
    code: int
    """With no line: that of one that has ended alone, and so without taking leave of JAX's coordinator; 0 = none."""


class Judge:
    """Process 0's view of all processes. Time is counted in its own beats, so that one that was suspended is fair."""

    def __init__(self, count: int):
        self._silent = dict.fromkeys(range(1, count), 0)
        self._last: dict[int, Sign] = {}
        self._since_end = 0

    def look(self, signs: Mapping[int, Sign]) -> Verdict | None:
        """The verdict after another beat; None while all is well."""
        for process in self._silent:
            sign = signs.get(process)
            ended = sign is not None and sign.code is not None
            moved = sign is not None and sign != self._last.get(process)
            self._silent[process] = 0 if ended or moved else self._silent[process] + 1
        self._last.update(signs)
        if dead := [process for process, beats in self._silent.items() if beats >= DEAD_AFTER]:
            return lost(dead[0], self._last[dead[0]].host if dead[0] in self._last else "")
        return self._verdict_on_ends(signs)

    def _verdict_on_ends(self, signs: Mapping[int, Sign]) -> Verdict | None:
        ends = {process: sign for process, sign in signs.items() if sign.code is not None}
        if len(ends) > len(self._silent):
            return Verdict("", next((sign.code or 0 for sign in ends.values() if sign.alone), 0))
        failed = [(process, sign) for process, sign in ends.items() if sign.code]
        if not failed:
            return None
        self._since_end += 1
        process, first = next(((number, sign) for number, sign in failed if sign.alone), failed[0])
        if self._since_end < (GRACE_ALONE if first.alone else GRACE):
            return None
        assert first.code is not None
        return Verdict(f"{_name(process, first.host)} has ended with exit code {first.code}; {WAY_OUT}", first.code)


def lost(process: int, host: str) -> Verdict:
    """The verdict on a process that has died."""
    return Verdict(f"{_name(process, host)} has died; {WAY_OUT}", EXIT_HOST_LOST)


def _name(process: int, host: str) -> str:
    return f"process {process}{f' ({host})' if host else ''}"


class Watch:
    """The watch of one process.

    Attributes:
      settled: set once there is a verdict.
    """

    def __init__(self, index: int, count: int, end: Callable[[Verdict], None]):
        """Watches nothing yet.

        Args:
          index: of this process.
          count: of all processes.
          end: ends this process, from a thread.
        """
        self.settled = threading.Event()
        self._index = index
        self._judge = Judge(count) if index == 0 else None
        self._end = end
        self._sign = Sign(0, socket.gethostname())
        self._coordinator = ""  # its host
        self._verdict: Verdict | None = None
        self._leaving = False
        self._together: bool | None = None  # once this process has left
        self._store: Store | None = None
        self._beating = threading.Lock()
        self._answered = threading.Event()
        self._stopped = threading.Event()

    def start(self, store: Store) -> None:
        """Begins to watch."""
        self._store = store
        threading.Thread(target=self._run, daemon=True, name="watch").start()
        if self._index > 0:
            threading.Thread(target=self._run_deadline, daemon=True, name="watch").start()

    def beat(self) -> None:
        """One sign of life, and a look at the others; ends this process if there is a verdict."""
        assert self._store
        with self._beating:
            self._sign = self._sign._replace(beat=self._sign.beat + 1)
            self._store.key_value_set(f"{SIGNS}/{self._index}", json.dumps(self._sign), allow_overwrite=True)
            verdict = self._judge_all() if self._judge else self._read_verdict()
        if verdict and not self.settled.is_set():
            self._settle(verdict)

    def coordinator_lost(self) -> bool:
        """Ends this process, since process 0 is gone; False if it may go, as this process is leaving too."""
        if self._leaving or self._store is None:
            return False
        self._settle(lost(0, self._coordinator))
        return True

    def await_end(self) -> None:
        """Waits as long as a verdict on a host that has just died takes; if there is one, it ends the process here."""
        if self.settled.wait((DEAD_AFTER + GRACE_ALONE) * BEAT):
            threading.Event().wait()

    def leave(self, code: int, *, alone: bool) -> bool:
        """Says that this process ends, and waits for the others if it ends with an error.

        Returns:
          Whether all end, so that they can take leave of JAX's coordinator together.
        """
        if self._together is None:
            self._leaving = True
            self._together = self._leave(code, alone)
            self._stopped.set()
        return self._together

    def _leave(self, code: int, alone: bool) -> bool:
        with self._beating:
            self._sign = self._sign._replace(code=code, alone=alone)
        try:
            self.beat()
        except Exception:  # the store has gone: nobody can be told
            return False
        if not code:
            return True
        if self._judge or not alone:
            self.settled.wait((GRACE + DEAD_AFTER) * BEAT)
        together = self._verdict == Verdict("", 0)
        if self._judge and not together:
            self._stopped.wait(READ_BY * BEAT)
        return together

    def _signs(self) -> dict[int, Sign]:
        assert self._store
        found = self._store.key_value_dir_get(SIGNS)
        return {int(key.rpartition("/")[2]): Sign(*json.loads(text)) for key, text in found}

    def _judge_all(self) -> Verdict | None:
        assert self._judge
        assert self._store
        signs = self._signs()
        verdict = self._judge.look(signs)
        if verdict and not self.settled.is_set():
            self._store.key_value_set(f"{VERDICT}/0", json.dumps(verdict), allow_overwrite=True)
        return verdict

    def _read_verdict(self) -> Verdict | None:
        assert self._store
        if not self._coordinator:
            first = self._signs().get(0)
            self._coordinator = first.host if first else ""
        found = self._store.key_value_dir_get(VERDICT)
        return Verdict(*json.loads(found[0][1])) if found else None

    def _settle(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self.settled.set()
        if verdict.line and not self._leaving:
            self._end(verdict)

    def _run(self) -> None:
        while not self._stopped.wait(BEAT):
            try:
                self.beat()
            except Exception:  # the store does not answer: the relay or the deadline sees to it
                continue
            self._answered.set()

    def _run_deadline(self) -> None:
        """Ends this process if process 0 does not answer any more, as after a power cut."""
        silent = 0
        while not self._stopped.wait(BEAT):
            silent = 0 if self._answered.is_set() else silent + 1
            self._answered.clear()
            if silent >= DEAD_AFTER:
                self.coordinator_lost()
                return


def end_process(say: Callable[[str], None], outlive: bool) -> Callable[[Verdict], None]:
    """What ends this process on a verdict: says it, and leaves out all cleaning up, which would wait for the others.

    Args:
      say: prints a line.
      outlive: whether the others must still read the verdict of this process.
    """

    def end(verdict: Verdict) -> None:
        say(verdict.line)
        if outlive:
            threading.Event().wait(READ_BY * BEAT)
        os._exit(verdict.code)

    return end
