"""Wording of messages."""

import pytest

from editing.errors import counted


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 hypotheses"), (1, "1 hypothesis"), (2, "2 hypotheses"), (1000, "1000 hypotheses")]
)
def test_a_number_has_the_matching_form_of_its_noun(count, shown):
    assert counted(count, "hypothesis", "hypotheses") == shown


def test_the_plural_of_most_nouns_has_an_s():
    assert [counted(n, "recording") for n in (1, 2)] == ["1 recording", "2 recordings"]
