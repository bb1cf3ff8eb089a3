"""Exchanges between chips are found in programs, with their bytes and calls."""

import pytest

from genie_tf.training.hlo import Collective, find_collectives

# As XLA writes programs for TPUs, without most attributes.
PROGRAM = """\
HloModule jit_step, is_scheduled=true, num_partitions=4

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  ROOT %add = f32[]{:T(128)} add(%a, %b)
}

%all-reduce-scatter.1 (p: f32[8,128]) -> f32[2,128] {
  %all-reduce.2 = f32[8,128]{1,0:T(8,128)} all-reduce(%p), channel_id=3, \
replica_groups=[1,4]<=[4], to_apply=%sum
  ROOT %slice = f32[2,128]{1,0:T(8,128)} dynamic-slice(%all-reduce.2, %i)
}

%start.5 (p: bf16[32,64]) -> bf16[128,64] {
  ROOT %all-gather.5 = bf16[128,64]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=5, \
replica_groups=[1,4]<=[4], dimensions={0}
}

%done.5 (p: bf16[32,64]) -> bf16[128,64] {
  ROOT %all-gather.6 = bf16[128,64]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=5, \
replica_groups=[1,4]<=[4], dimensions={0}
}

%body (state: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %fusion.1 = bf16[128,64]{1,0} fusion(%x), kind=kCustom, calls=%start.5
  %fusion.2 = bf16[128,64]{1,0} fusion(%x), kind=kCustom, calls=%done.5
  %fusion.3 = f32[2,128]{1,0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
}

%condition (state: (s32[], f32[8,128])) -> pred[] {
  %limit = s32[]{:T(128)} constant(12)
  ROOT %less = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

ENTRY %main_spmd (x: f32[8,128]) -> f32[8,128] {
  %both = (f32[8,128]{1,0:T(8,128)}, /*index=1*/s8[16]{0}) all-reduce(%x, %z), \
channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%sum
  %while.1 = (s32[], f32[8,128]) while(%init), condition=%condition, body=%body
  %while.2 = (s32[], f32[8,128]) while(%init), condition=%unknown, body=%inner, \
backend_config={"known_trip_count":{"n":"3"}}
  %start = (f32[4]{0}, f32[4]{0}, u32[]{:S(2)}, u32[]{:S(2)}) \
collective-permute-start(%x), channel_id=7, source_target_pairs={{0,1},{1,0}}
  %done = f32[4]{0} collective-permute-done(%start)
}

%inner (state: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %scattered = f32[2,128]{1,0} reduce-scatter(%x), channel_id=8, \
replica_groups=[1,4]<=[4], dimensions={0}, to_apply=%sum
}
"""


@pytest.mark.parametrize(
    ("kind", "sent", "calls"),
    [
        # Twice half of the result, of two arrays.
        ("all-reduce", 2 * (8 * 128 * 4 + 16) / 2, 1),
        # In a loop, and split in two parts.
        ("all-gather", 128 * 64 * 2 * 3 / 4, 12),
        # Each chip keeps its share of the sum.
        ("all-reduce", 8 * 128 * 4 * 3 / 4, 12),
        ("reduce-scatter", 8 * 128 * 4 * 3 / 4, 3),
        ("collective-permute", 4 * 4, 1),
    ],
)
def test_collective_is_found(kind, sent, calls):
    assert Collective(kind, sent, calls) in find_collectives(PROGRAM)


def test_each_collective_is_found_once():
    assert len(find_collectives(PROGRAM)) == 5


def test_program_of_one_chip_has_no_collectives():
    assert find_collectives("ENTRY %main (x: f32[2]) -> f32[2] {\n}\n") == []
