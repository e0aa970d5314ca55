"""A signal to one of several hosts is known to all after the step that it came before, and changes no number."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.runtime.interrupt import InterruptEvent
from msst_jax.training.step import data_parallel
from msst_jax.training.stopping import STOP, AgreedStop, OwnStop, stop_of_run


def step(state: Any, frozen: Any, batch: Any) -> Any:
    return state + frozen, {"loss": jnp.float32(3)}


def test_all_hosts_stop_after_the_step_before_which_one_of_them_was_told():
    event = InterruptEvent()
    stop = AgreedStop(event)
    mapped, devices = data_parallel(stop.attach(step)), jax.local_device_count()
    batch, received = stop.with_batch(np.zeros((devices, 1), np.float32))
    assert received.tolist() == [0] * devices
    received[-1] = 15  # as if the last device were another host's, which was told
    for signals, expected in ((np.zeros_like(received), 0), (received, 15), (np.zeros_like(received), 15)):
        state, terms = mapped(jnp.float32(1), jnp.float32(1), (batch, signals))
        assert stop.number in (0, 15)
        assert stop.observe(terms) == {"loss": 3}
        assert stop.number == expected
        assert state == 2
    event.number = 2
    assert stop.with_batch(batch)[1].tolist() == [2] * devices
    assert STOP in terms


def test_a_run_on_one_host_keeps_its_program_and_stops_at_its_own_signal():
    event = InterruptEvent()
    stop = stop_of_run(event)
    assert isinstance(stop, OwnStop)
    assert stop.attach(step) is step
    assert stop.number == 0
    event.number = 15
    assert stop.number == 15
