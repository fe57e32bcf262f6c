"""Tables: columns where they fit, one paragraph a row on a terminal that is too narrow."""

import io

import pytest

from device_app.cli.terminal.table import print_table

ROWS = [("edit", "domain", "WER"), (1, "kitchen", "12.0%"), (2, "the telephone exchange", "")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    def shown(columns, output):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdout", output)
        print_table(ROWS, right={0, 2})
        return output.getvalue()

    return shown


def test_columns_are_aligned_where_they_fit(shown):
    assert shown(80, Terminal()) == (
        "edit  domain                    WER\n   1  kitchen                 12.0%\n   2  the telephone exchange\n"
    )


def test_a_narrow_terminal_gets_a_paragraph_for_each_row(shown):
    assert shown(30, Terminal()) == (
        "edit    1\ndomain  kitchen\nWER     12.0%\n\nedit    2\ndomain  the telephone exchange\n"
    )


def test_a_file_gets_columns_of_any_width(shown):
    assert shown(30, io.StringIO()) == shown(80, Terminal())
