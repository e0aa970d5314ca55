"""SIGTERM and a hang-up do what Ctrl-C does; while a program starts, each ends it with one line."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from msst_jax.runtime.first_signals import SIGNALS
from msst_jax.runtime.interrupt import interrupt_event, signals_as_interrupts
from tests.helpers.commands import ROOT

CODES = [pytest.param(number, 128 + number, id=number.name) for number in SIGNALS]


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """A shell without job control starts its background jobs with Ctrl-C ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_python(program: str) -> tuple[int, str]:
    """A program of its own, in the folder of the package: (exit code, stderr)."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_signal_raises_keyboard_interrupt_and_names_the_exit_code(number: signal.Signals, code: int):
    before = [signal.getsignal(other) for other in SIGNALS]
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts() as received:
        signal.raise_signal(number)
    assert received.exit_code == code
    assert [signal.getsignal(other) for other in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_sets_the_event_of_a_loop_and_a_second_one_raises(number: signal.Signals):
    with signals_as_interrupts():
        with interrupt_event() as event:
            signal.raise_signal(number)
            assert event.is_set()
        with interrupt_event():
            signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)


def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_as_interrupts() as received:
        signal.raise_signal(signal.SIGHUP)
    assert received.number is None


def test_termination_is_heeded_where_ctrl_c_is_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts() as received:
        signal.raise_signal(signal.SIGTERM)
    assert received.exit_code == 143


class InterruptedOnDeletion:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def finalize_and_wait() -> None:
    InterruptedOnDeletion()
    threading.Event().wait(60)


def test_an_interrupt_in_a_finalizer_is_not_lost():
    with signals_as_interrupts(), pytest.raises(KeyboardInterrupt):
        finalize_and_wait()  # until the repeated one comes


@pytest.mark.parametrize(("number", "code"), CODES)
def test_exit_at_once_prints_its_line_even_where_exceptions_are_caught(number: signal.Signals, code: int):
    program = f"""
import signal
from msst_jax.runtime.first_signals import exit_at_once
exit_at_once("x: interrupted")
try:
    signal.raise_signal({int(number)})
except BaseException:
    pass
"""
    assert run_python(program) == (code, "x: interrupted\n")


def test_a_signal_during_a_restart_is_heeded_by_the_new_program():
    program = """
import os, signal, sys
from msst_jax.runtime.first_signals import hold_signals
hold_signals()
os.kill(os.getpid(), signal.SIGTERM)
again = "from msst_jax.runtime.first_signals import exit_at_once; exit_at_once('x: interrupted')"
os.execv(sys.executable, [sys.executable, "-c", again])
"""
    assert run_python(program) == (143, "x: interrupted\n")


def test_after_a_hang_up_output_to_the_terminal_goes_nowhere():
    ours, theirs = os.openpty()
    program = """
import signal, sys
from msst_jax.runtime.interrupt import signals_as_interrupts
with signals_as_interrupts() as received:
    try:
        print("ready", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("more", file=sys.stderr, flush=True)
        sys.exit(received.exit_code)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"ready")
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 129
