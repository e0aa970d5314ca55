"""The watch of the processes of a run: who is said to have died, how long the others are waited for, and the relay."""

import json
import socket
import threading

import pytest

from msst_jax.runtime import hosts
from msst_jax.runtime.hosts import (
    DEAD_AFTER,
    EXIT_HOST_LOST,
    GRACE,
    GRACE_ALONE,
    WAY_OUT,
    Judge,
    Sign,
    Verdict,
    Watch,
)
from msst_jax.runtime.relay import relay_to

DEAD = Verdict(f"process 1 (host1) has died; {WAY_OUT}", EXIT_HOST_LOST)


class Memory:
    """A coordinator's store."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        assert allow_overwrite or key not in self.values
        self.values[key] = value

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.values.items() if name.startswith(f"{key}/")]


def signs(beat: int, **codes: Sign) -> dict[int, Sign]:
    """Three processes that live, but for those given as p1=..."""
    living = {process: Sign(beat, f"host{process}") for process in range(3)}
    return {**living, **{int(name[1:]): sign for name, sign in codes.items()}}


def test_a_process_that_is_silent_for_long_enough_has_died_and_none_that_speaks():
    judge = Judge(3)
    for beat in range(3 * DEAD_AFTER):
        assert judge.look(signs(beat)) is None
    verdicts = [judge.look(signs(1000 + beat, p1=Sign(5, "host1"))) for beat in range(DEAD_AFTER + 1)]
    assert verdicts == [None] * DEAD_AFTER + [DEAD]


def test_a_process_that_never_speaks_has_died():
    judge = Judge(2)
    found = [judge.look({0: Sign(beat, "host0")}) for beat in range(DEAD_AFTER)]
    assert found[-1] == Verdict(f"process 1 has died; {WAY_OUT}", EXIT_HOST_LOST)


@pytest.mark.parametrize(("alone", "grace"), [(True, GRACE_ALONE), (False, GRACE)])
def test_others_are_ended_after_one_that_ended_with_an_error_but_have_time_to_end_by_themselves(alone, grace):
    judge, end = Judge(3), Sign(7, "host1", 143, alone)
    verdicts = [judge.look(signs(beat, p1=end)) for beat in range(grace)]
    assert verdicts == [None] * (grace - 1) + [
        Verdict(f"process 1 (host1) has ended with exit code 143; {WAY_OUT}", 143)
    ]


def test_processes_that_all_end_end_without_a_word():
    ended = {f"p{process}": Sign(1, "", 2) for process in range(3)}
    assert Judge(3).look(signs(1, **ended)) == Verdict("", 0)


def test_a_process_that_has_finished_is_neither_dead_nor_ends_the_others():
    judge = Judge(3)
    for beat in range(2 * GRACE):
        assert judge.look(signs(beat, p1=Sign(5, "host1", 0))) is None


def watched(index: int, store: Memory, ended: list[Verdict]) -> Watch:
    """A watch whose beats are the test's own."""
    watch = Watch(index, 2, ended.append)
    watch._store = store
    return watch


def test_the_verdict_of_process_0_ends_every_process_once():
    store, ended = Memory(), ([], [])
    watches = [watched(index, store, ended[index]) for index in range(2)]
    for watch in watches:
        watch.beat()
    store.values["msst_jax/signs/1"] = json.dumps(Sign(3, "host1"))
    for _ in range(2 * DEAD_AFTER):
        watches[0].beat()
    watches[1].beat()
    watches[1].beat()
    assert ended == ([DEAD], [DEAD])


def test_where_another_process_has_ended_alone_none_waits_for_it_to_take_leave(monkeypatch: pytest.MonkeyPatch):
    """As after a SIGTERM to all hosts before the first step: JAX's coordinator would abort process 0 in the end."""
    monkeypatch.setattr(hosts, "BEAT", 0.0)
    store, ended = Memory(), []
    watches = [watched(index, store, ended) for index in range(2)]
    assert not watches[1].leave(143, alone=True)
    assert not watches[0].leave(143, alone=True)
    assert ended == []


def test_a_lost_coordinator_ends_a_process_that_trains_and_not_one_that_leaves():
    store, ended = Memory(), []
    first, second = watched(0, store, []), watched(1, store, ended)
    first.beat()
    second.beat()
    assert second.coordinator_lost()
    assert ended == [Verdict(f"process 0 ({socket.gethostname()}) has died; {WAY_OUT}", EXIT_HOST_LOST)]
    assert second.leave(0, alone=False)
    assert not second.coordinator_lost()
    assert len(ended) == 1


def test_the_relay_passes_both_ways_and_keeps_the_near_end_open_when_the_far_one_breaks():
    lost = threading.Event()

    def on_lost() -> bool:
        lost.set()
        return True

    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = relay_to(f"127.0.0.1:{server.getsockname()[1]}", on_lost).split(":")
        with socket.create_connection((host, int(port))) as near:
            far, _ = server.accept()
            near.sendall(b"ask")
            assert far.recv(3) == b"ask"
            far.sendall(b"answer")
            assert near.recv(6) == b"answer"
            far.close()
            assert lost.wait(60)
            near.setblocking(False)
            with pytest.raises(BlockingIOError):
                near.recv(1)


def test_the_relay_closes_the_near_end_while_the_coordinator_does_not_listen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    host, near_port = relay_to(f"127.0.0.1:{port}", lambda: True).split(":")
    with socket.create_connection((host, int(near_port))) as near:
        assert near.recv(1) == b""


def test_a_connection_that_the_near_end_closes_is_not_lost():
    lost: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = relay_to(f"127.0.0.1:{server.getsockname()[1]}", lambda: bool(lost.append(True))).split(":")
        with socket.create_connection((host, int(port))):
            far, _ = server.accept()
        assert far.recv(1) == b""  # the relay has closed it, and with it both directions
        far.close()
        for thread in [thread for thread in threading.enumerate() if thread.name == "relay passing"]:
            while not thread.is_alive() and thread in threading.enumerate():
                pass  # it is being started, and cannot be joined yet
            thread.join(60)
    assert not lost
