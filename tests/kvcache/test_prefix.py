"""Names of what blocks hold."""

from hypothesis import given
from hypothesis import strategies as st

from sirocco.kvcache.prefix import next_name, root_name


def chain(root, *blocks):
    for token_ids in blocks:
        root = next_name(root, token_ids)
    return root


def test_a_name_stands_for_everything_from_the_first_token_on():
    root = root_name("account", "a")

    assert chain(root, [1, 2], [3, 4]) == chain(root, [1, 2], [3, 4])
    assert chain(root, [1, 2], [3, 4]) != chain(root, [1, 9], [3, 4])
    assert chain(root, [1, 2]) != chain(root, [1, 2], [1, 2])


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_owners_share_no_name(one, other):
    """Kinds are told apart from owners: ("ab", "c") is not ("a", "bc")."""
    assert (root_name(*one) == root_name(*other)) == (one == other)


def test_large_token_ids_are_told_apart():
    root = root_name("account", "a")

    assert chain(root, [2**31]) != chain(root, [2**31 + 1])
    assert chain(root, [1, 256]) != chain(root, [256, 1])
