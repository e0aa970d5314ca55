"""Seconds predicted from the text of a program: operations, bytes and waits are those of its instructions."""

import pytest

from benchmarks.plans.__main__ import seconds_table
from benchmarks.plans.seconds import Card, Part, parts_of_text

CARD = Card(products={"tf32": 1e9, "f32": 1e8, "bf16": 2e9}, memory=1e6, launch=1e-6, wait=1e-3)

HLO = """HloModule jit_step

%fused_update (p0: f32[10,4], p1: f32[1,4], p2: s32[]) -> f32[10,4] {
  %p0 = f32[10,4]{1,0} parameter(0)
  %p1 = f32[1,4]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  ROOT %update = f32[10,4]{1,0} dynamic-update-slice(%p0, %p1, %p2, %p2)
}

%fused_slice (p0: f32[10,4], p1: s32[]) -> f32[1,4] {
  %p0 = f32[10,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  ROOT %slice = f32[1,4]{1,0} dynamic-slice(%p0, %p1, %p1), dynamic_slice_sizes={1,4}
}

%fused_sum (p0: f32[4]) -> f32[4] {
  %p0 = f32[4]{0} parameter(0)
  ROOT %sum = f32[4]{0} add(%p0, %p0)
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %scaled = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_sum
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %scaled)
}

%condition (p: (s32[], f32[4])) -> pred[] {
  %p = (s32[], f32[4]{0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (image: f32[1,8,8,3], kernel: f32[5,3,3,3], history: f32[10,4], pair: f32[1,4]) -> f32[4] {
  %image = f32[1,8,8,3]{3,2,1,0} parameter(0)
  %kernel = f32[5,3,3,3]{3,2,1,0} parameter(1)
  %history = f32[10,4]{1,0} parameter(2)
  %pair = f32[1,4]{1,0} parameter(3)
  %index = s32[] constant(3)
  %conv = (f32[1,8,8,5]{3,2,1,0}, u8[999]{0}) custom-call(%image, %kernel), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/jvp()/conv"}
  %out = f32[1,8,8,5]{3,2,1,0} get-tuple-element(%conv), index=0
  %back = (f32[1,8,8,3]{3,2,1,0}, u8[0]{0}) custom-call(%out, %kernel), window={size=3x3 pad=1_1x1_1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput", metadata={op_name="transpose(jvp())"}
  %flat = f32[64,5]{1,0} bitcast(%out)
  %gram = (f32[5,5]{1,0}, s8[99]{0}) custom-call(%flat, %flat), custom_call_target="__cublas$lt$matmul", \
metadata={op_name="jvp()/dot"}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":\
{"lhs_contracting_dimensions":["0"],"rhs_contracting_dimensions":["0"]}}}
  %kept = f32[10,4]{1,0} fusion(%history, %pair, %index), kind=kLoop, calls=%fused_update
  %one = f32[1,4]{1,0} fusion(%kept, %index), kind=kLoop, calls=%fused_slice
  %start = (s32[], f32[4]{0}) tuple(%index, %pair)
  %open = (s32[], f32[4]{0}) while(%start), condition=%condition, body=%body
  ROOT %end = f32[4]{0} get-tuple-element(%open), index=1
}
"""


def parts(exact: bool = False) -> dict[str, Part]:
    return parts_of_text(HLO, CARD, exact=exact, trips=7)


def test_a_convolution_and_its_gradient_count_two_operations_for_each_weight_and_pixel() -> None:
    convolutions = parts()["convolutions"]
    assert convolutions.kernels == 2
    assert convolutions.operations == 2 * 2 * 8 * 8 * 5 * 3 * 3 * 3
    assert convolutions.bytes == 2 * 4 * (8 * 8 * 3 + 5 * 3 * 3 * 3 + 8 * 8 * 5)  # without the work space


def test_a_product_counts_two_operations_for_each_term_of_its_sums() -> None:
    assert parts()["Gram matrices and their gradient"].operations == 2 * 5 * 5 * 64


def test_a_history_updated_in_place_or_sliced_moves_only_the_slice() -> None:
    optimizer = parts()["optimizer"]
    update, one, trips = 16 + 16 + 4, 16 + 16 + 4, 7 * (16 + 16)
    assert optimizer.bytes == update + one + trips


def test_a_loop_of_unknown_length_makes_the_host_wait_before_each_trip() -> None:
    waits = parts()["waits of the host"]
    assert waits.waits == 7
    assert waits.seconds == pytest.approx(7e-3)
    assert parts()["optimizer"].kernels == 2 + 7


def test_a_kernel_takes_the_longer_of_products_and_memory_and_exact_products_are_slower() -> None:
    card = CARD._replace(memory=1e12)
    rounded, exact = (parts_of_text(HLO, card, exact=exact, trips=1)["convolutions"] for exact in (False, True))
    assert rounded.seconds == pytest.approx(rounded.operations / 1e9)
    assert exact.seconds == pytest.approx(10 * rounded.seconds)
    assert parts()["convolutions"].seconds == pytest.approx(parts()["convolutions"].bytes / 1e6)


def test_table_of_seconds_has_a_column_for_every_kind_and_their_sum() -> None:
    table = seconds_table({"a": {"x": Part(1, 0, 2e9, 3e9, 0.5)}, "b": {"x": Part(1, 0, 0, 0, 0.25), "y": Part(2)}})
    head, _, first, second = table.splitlines()
    assert head == "| 320 evaluations, s | x | y | all | GFLOP each | GB each | kernels | waits |"
    assert first == "| a | 160.00 | 0.00 | 160.00 | 2 | 3.0 | 1 | 0 |"
    assert second == "| b | 80.00 | 0.00 | 80.00 | 0 | 0.0 | 3 | 0 |"
