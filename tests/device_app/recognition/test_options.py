"""Decoding options that no decoder can use are refused when they are made."""

import pytest

from device_app.recognition.options import DecodingOptions
from editing.errors import BadInputError


@pytest.mark.parametrize("beam", [0, -3, 65, 1_000_000, 2.0, True, "a"])
def test_a_beam_is_a_whole_number_from_1_to_64(beam):
    with pytest.raises(BadInputError, match="expected a whole number from 1 to 64"):
        DecodingOptions(beam=beam)


@pytest.mark.parametrize("keyterms", ["hello", [5]])
def test_keyterms_are_a_list_of_texts(keyterms):
    with pytest.raises(BadInputError, match="must be a list of words and phrases"):
        DecodingOptions(keyterms=keyterms)


def test_usable_options_are_accepted():
    assert DecodingOptions(beam=1, keyterms=["Karlsruhe"]).beam == 1
    assert DecodingOptions(beam=64).keyterms == ()
