"""What the documents say of the code is what the code says."""

from editing.registry import METHODS
from tests.conftest import REPOSITORY


def methods_table():
    rows = ["| method | | settings | source | held to |", "|---|---|---|---|---|"]
    for method in METHODS.values():
        settings = ", ".join(f"{name.replace('lam', 'lambda')} {value}" for name, value in method.settings.items())
        rows.append(f"| `{method.name}` | {method.summary} | {settings} | {method.paper} | {method.oracle} |")
    return "\n".join(rows)


def test_the_table_of_merge_methods_is_that_of_the_registry():
    assert methods_table() in (REPOSITORY / "docs" / "adapt.md").read_text("utf-8")
