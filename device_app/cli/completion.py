"""What the shell proposes for the values of options and arguments."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import typer

from device_app.paths import in_profile

OWN_OPTIONS = {"lam": "--lambda", "density": "--density"}  # settings of merge methods that are not given by --set


def profile_of(context: typer.Context) -> AbstractContextManager[None]:
    """Makes the profile of --profile the active one inside the block.

    The callback of the command line, which does this for commands, is not called for a completion.
    """
    name = context.find_root().params.get("profile_name")
    return nullcontext() if name is None else in_profile(name)


def complete_model(context: typer.Context, typed: str) -> list[str]:
    """The names of installed models that begin with what is typed."""
    from device_app.models.bundles import model_names

    with profile_of(context):
        return [name for name in model_names() if name.startswith(typed)]


def complete_domain(context: typer.Context, typed: str) -> list[str]:
    """The domains that begin with what is typed; none without a store, which a press of Tab does not create."""
    from device_app.data.store import Store
    from device_app.paths import data_folder

    with profile_of(context):
        if not (data_folder() / "store.sqlite3").is_file():
            return []
        with Store() as store:
            return [domain for domain in store.domains() if domain.startswith(typed)]


def complete_edit(context: typer.Context, typed: str) -> list[str]:
    """The numbers of edits that begin with what is typed, of the model of --model."""
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger

    with profile_of(context):
        ledger = Ledger(find_bundle(context.params.get("model")))
        return [str(edit.id) for edit in ledger.edits if str(edit.id).startswith(typed)]


def complete_profile(typed: str) -> list[str]:
    """The names of profiles that begin with what is typed."""
    from device_app.profiles import profiles

    return [name for name in profiles() if name.startswith(typed)]


def complete_host(context: typer.Context, typed: str) -> list[str]:
    """The URLs of trusted hosts that begin with what is typed."""
    from device_app.remote.trusted_hosts import hosts

    with profile_of(context):
        return [url for url in hosts() if url.startswith(typed)]


def complete_method(typed: str) -> list[str]:
    """The merge methods that begin with what is typed."""
    from editing.methods import METHODS

    return [name for name in METHODS if name.startswith(typed)]


def complete_setting(context: typer.Context, typed: str) -> list[str]:
    """The settings of --set that begin with what is typed.

    They are those of the merge method of --method, or else of the method of the edit that the command changes.
    """
    from editing.methods import METHODS

    method = METHODS.get(context.params.get("method") or _method_of_edit(context) or "ties")
    names = [] if method is None else [name for name in method.settings if name not in OWN_OPTIONS]
    return [f"{name}=" for name in names if name.startswith(typed)]


def _method_of_edit(context: typer.Context) -> str | None:
    """The merge method of the edit that a command without --method changes."""
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from editing.errors import AsrEdgeError

    edit = context.params.get("edit")
    if edit is None:
        return None
    try:
        with profile_of(context):
            return Ledger(find_bundle(context.params.get("model"))).edit(int(edit)).method
    except (AsrEdgeError, ValueError):
        return None
