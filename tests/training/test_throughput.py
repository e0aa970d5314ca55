"""The cost of a step: operations of a photo on any number of devices, and the share of the peak they are done at."""

import jax
import pytest

from msst_jax.training.step import data_parallel, shard_batch
from msst_jax.training.throughput import StepCost, step_cost
from tests.helpers.training_runs import Points, line_options, line_task
from tests.helpers.training_steps import start


@pytest.mark.parametrize("devices", [1, 4])
def test_the_operations_of_a_photo_do_not_depend_on_the_devices(devices: int):
    state, step = start(line_options(), line_task())
    used = jax.devices()[:devices]
    arguments = (state, line_task().frozen, shard_batch(next(Points(8)), devices))
    cost = step_cost(data_parallel(step, used), arguments, 8, used)
    assert cost.flops_per_photo == 2 * 3 * 2  # the product with the slopes, and its gradient by them
    assert cost.peak is None


def test_utilization_is_the_share_of_the_peak():
    assert StepCost(2e9, 1e12, 1).utilization(100.0) == {"mfu": 0.2}
    assert StepCost(2e9, None, 1).utilization(100.0) == {}
