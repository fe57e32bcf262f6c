"""Names of domains and speakers: which are refused, and what the message says."""

import pytest

from device_app.data.names import GUARD_SET, checked_name, is_reserved
from editing.errors import BadInputError


@pytest.mark.parametrize(
    "name", ["me", "Anna", "kitchen 2", "General", "speech", "general speeches", "普通话", "общая речь"]
)
def test_ordinary_names_are_accepted(name):
    assert checked_name(name, "domain") == name


@pytest.mark.parametrize(
    "name",
    [
        GUARD_SET,
        "General Speech",
        "general  speech",
        "general-speech",
        "general_speech.",
        "generalspeech",
        "generaI speech",  # a capital I
        "genera1 speech",
        "g\N{CYRILLIC SMALL LETTER IE}n\N{CYRILLIC SMALL LETTER IE}ral speech",
        "GЕNЕRАL SРЕЕСН",  # noqa: RUF001 (Cyrillic wherever it looks the same)
        "général speech",
        "ｇｅｎｅｒａｌ ｓｐｅｅｃｈ",  # noqa: RUF001 (full width)
        "𝐠𝐞𝐧𝐞𝐫𝐚𝐥 speech",  # noqa: RUF001 (mathematical bold)
    ],
)
def test_no_domain_can_be_mistaken_for_the_guard_set(name):
    assert is_reserved(name)
    with pytest.raises(BadInputError, match="the name of the recordings that every edit is checked on; choose another"):
        checked_name(name, "domain")
    assert checked_name(name, "speaker") == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "the name of a domain is empty; give it one, such as 'me'"),
        ("  ", "the name of a domain is empty; give it one, such as 'me'"),
        (" me ", "the name of the domain ' me ' begins or ends with a space; write 'me'"),
        ("a/b", "'a/b' cannot be the name of a domain: up to 100 printable characters without / or \\"),
        ("a\N{ZERO WIDTH SPACE}b", "'a\\u200bb' cannot be the name of a domain: up to 100 printable characters"),
        ("x" * 101, f"'{'x' * 100}' cannot be the name of a domain: up to 100 printable characters"),
        ("general-speech", "'general-speech' looks like 'general speech', which is the name of the recordings"),
        ("general speech", "'general speech' is the name of the recordings that every edit is checked on"),
    ],
)
def test_the_message_says_what_to_change(name, message):
    with pytest.raises(BadInputError) as error:
        checked_name(name, "domain")
    assert str(error.value).startswith(message)


def test_the_name_that_earlier_versions_stored_is_reserved():
    from editing.former_names import DOMAINS

    (former,) = DOMAINS
    for name in (former, former.title()):
        with pytest.raises(
            BadInputError, match="is reserved: earlier versions called the recordings of general speech so"
        ):
            checked_name(name, "domain")
