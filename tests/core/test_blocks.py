from hypothesis import given
from hypothesis import strategies as st

from friedel.core.blocks import cut_blocks


@given(n_items=st.integers(0, 200), size=st.integers(1, 50), groups=st.integers(1, 5))
def test_every_item_is_in_one_block_of_its_group(n_items: int, size: int, groups: int) -> None:
    blocks = cut_blocks(n_items, size, groups)
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert [item for block in blocks for item in range(block.start, block.stop)] == list(range(n_items * groups))
    assert all(1 <= len(block) <= size for block in blocks)
    assert all(block.start // n_items == (block.stop - 1) // n_items for block in blocks)
