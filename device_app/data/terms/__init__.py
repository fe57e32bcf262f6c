"""Words and phrases that a recogniser is to expect, and the list of them in the data folder."""

from device_app.data.terms.term_list import (
    FILE,
    Replacement,
    Term,
    TermList,
    change_terms,
    normalise_term,
    read_term_list,
    read_terms,
    stored_terms,
    written_terms,
)

__all__ = [
    "FILE",
    "Replacement",
    "Term",
    "TermList",
    "change_terms",
    "normalise_term",
    "read_term_list",
    "read_terms",
    "stored_terms",
    "written_terms",
]
