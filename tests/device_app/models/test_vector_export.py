"""The density of an exported task vector."""

from device_app.models.ledger import Edit
from device_app.models.vector_export import vector_of_edit


def test_the_density_is_that_of_the_active_version(ledger, vector):
    """`reweight` changes it, and `log` and `show` show the one of the active version."""
    made = vector("a", 0)
    with ledger.changing():
        edit = Edit(1, "adapt", ["a"], [ledger.store_vector(made)], "ties", {"lam": 0.6, "density": 0.5})
        ledger.promote(ledger.with_edit(edit), edit)
    assert vector_of_edit(ledger, 1).origin.density == 0.5
    with ledger.changing():
        ledger.promote(ledger.with_settings(1, density=0.2))
    assert vector_of_edit(ledger, 1).origin.density == 0.2
    assert vector_of_edit(ledger, 1, 0.3).origin.density == 0.3
