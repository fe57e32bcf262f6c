"""asr-edge host: fine-tune for other devices; and trust a host that does."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.terminal.outcome import REJECTED
from device_app.cli.terminal.reporter import terminal_context
from device_app.cli.terminal.table import print_table

app = typer.Typer(help="Fine-tune for other devices; trust a host that does.", no_args_is_help=True)
token = typer.Typer(help="Who may send jobs.", no_args_is_help=True)
fleet = typer.Typer(help="Merge what devices learnt.", no_args_is_help=True)
app.add_typer(token, name="token")
app.add_typer(fleet, name="fleet")

Url = Annotated[str, typer.Argument(metavar="URL", help="https://NAME:PORT")]


def need_host() -> None:
    import importlib.util

    from editing.errors import MissingDependencyError

    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "limits", "prometheus_client")):
        raise MissingDependencyError("a host needs more than is installed here: pip install 'asr-edge[host]'")


@app.command()
def init(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="By which devices reach it. [default: this machine's name]"),
    ] = None,
) -> None:
    """Make the host's keys: an authority and a certificate for TLS, and a key to sign with.

    Run again, it renews the certificate; devices need not trust it anew.
    """
    import socket

    need_host()
    from trainer.host.keys import make_keys
    from trainer.host.server import host_folder

    keys = make_keys(host_folder(), [*(names or [socket.gethostname()]), "localhost", "127.0.0.1"])
    typer.echo(keys.fingerprint)
    options.tell("This is its fingerprint: devices show it at 'asr-edge host trust URL', and it must be the same.")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8443,
    cert: Annotated[Path | None, typer.Option(help="A certificate of your own, PEM. [default: the host's]")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    no_tls: Annotated[bool, typer.Option("--no-tls", help="Plain http; on loopback only.")] = False,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Learn here, or on a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of the Ray cluster. [default: one on this machine]")
    ] = None,
    most_gb: Annotated[float, typer.Option(min=0.001, help="Of one domain.")] = 4.0,
    most_hours: Annotated[float, typer.Option(min=0.01, help="Of one fine-tuning.")] = 6.0,
    most_jobs: Annotated[int, typer.Option(min=1, help="That have not ended.")] = 1000,
    keep: Annotated[bool, typer.Option("--keep", help="Keep recordings when a job has ended.")] = False,
) -> None:
    """Fine-tune for devices, until it is interrupted. It goes on with jobs that it had before.

    Who comes from this machine needs no token where it listens on loopback alone.
    """
    from device_app.adaptation.local_training import need_torch
    from editing.errors import BadInputError

    need_host()
    need_torch()
    from trainer import executors as engines
    from trainer.host.limits import Limits
    from trainer.host.server import Address, own_signer
    from trainer.host.server import serve as run

    if (cert is None) != (key is None):
        raise BadInputError("a certificate and its key go together: --cert FILE --key FILE")
    where = Address(host, port, cert, key, tls=not no_tls)
    keys = own_signer(where)
    limits = Limits(archive_bytes=int(most_gb * 1e9), training_s=most_hours * 3600, jobs=most_jobs)
    options.tell(f"http{'' if no_tls else 's'}://{host}:{port}  {keys.fingerprint}")
    if keep:
        options.tell("Recordings are kept when a job has ended (--keep).")
    run(where, keys, engines.Ray(address) if engine == "ray" else engines.Local(), limits, keep=keep)


@token.command("add")
def token_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A device.")],
    group: Annotated[str, typer.Option(help="It shares task vectors with this group.")] = "",
) -> None:
    """Let a device in: prints its token, which is stored nowhere."""
    import re

    need_host()
    from editing.errors import BadInputError
    from trainer.host.server import open_database

    for text in (name, group):
        if text and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
            raise BadInputError(f"{text!r}: up to 64 letters, digits, dots, dashes and underscores")
    typer.echo(open_database().add_device(name, group))
    options.tell("Give it to the device: 'asr-edge host trust URL --token ...'. It is shown this once.")


@token.command("list")
def token_list(as_json: options.Json = False) -> None:
    """Show the devices that have a token, or had one."""
    need_host()
    from trainer.host.server import open_database

    devices = open_database().devices()
    if as_json:
        typer.echo(json.dumps([asdict(device) for device in devices], indent=2))
        return
    rows = [
        (d.name, d.fleet or "-", _day(d.created), "revoked " + _day(d.revoked) if d.revoked else "") for d in devices
    ]
    print_table([("device", "group", "since", ""), *rows], right=())


@token.command("revoke")
def token_revoke(name: Annotated[str, typer.Argument(metavar="NAME", help="A device.")]) -> None:
    """Let a device in no more."""
    need_host()
    from trainer.host.server import open_database

    open_database().revoke(name)
    options.tell(f"{name} is not let in any more.")


@app.command()
def trust(
    url: Url,
    token: Annotated[str | None, typer.Option(help="This device's; 'asr-edge host token add' made it.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="What it must be; then nothing is asked.")] = None,
) -> None:
    """Pin a host's keys on this device. Nothing is accepted from any other afterwards.

    Needs nothing but the device's own installation.
    """
    from dataclasses import replace

    from device_app.remote.client import HostClient, identity
    from device_app.remote.signatures import fingerprint as shown
    from device_app.remote.trusted_hosts import Host, checked_url, hosts, save_host
    from editing.errors import BadInputError

    url = checked_url(url)
    found = identity(url)
    now = shown(found["key"], found["authority"])
    known = hosts().get(url)
    is_same = known is not None and shown(known.key, known.authority) == now
    if fingerprint is not None and fingerprint != now:
        raise BadInputError(f"{url}: has the fingerprint {now}, not the one you gave; nothing was changed")
    if fingerprint is None and not is_same:
        if known is not None:
            options.tell(f"! {url} has other keys than before. If its owner did not change them, this is someone else.")
        options.tell(f"{url} has the fingerprint {now}; 'asr-edge host init' has shown it there.")
        typer.confirm("Is it the same?", abort=True, err=True)
    host = replace(known, token=token or known.token) if known and is_same else Host(url, **found, token=token or "")
    with HostClient(host, options.tell, retry_s=10.0) as client:
        client.jobs()  # by TLS with the pinned authority, and with the token
    save_host(host)
    options.tell(f"{url} is trusted. 'asr-edge adapt --domain NAME --on {url}' learns there.")


@app.command()
def forget(url: Url) -> None:
    """Trust a host no more, and forget the token."""
    from device_app.remote.trusted_hosts import remove_host

    remove_host(url)
    options.tell(f"{url} is not trusted any more.")


@fleet.command("merge")
def fleet_merge(
    group: Annotated[str, typer.Option(help="Whose vectors.")],
    method: options.Method = "ties",
    density: options.Density = None,
    others: options.Settings = None,
    tolerance: options.Tolerance = 1.0,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Merge the vectors that a group's devices gave; leave out what is broken or harms; offer the rest, signed.

    Exit code 3: general speech would be recognised worse, and nothing is offered.
    """
    need_host()
    from device_app.models.bundles import find_bundle
    from trainer.host.fleet import merge_fleet
    from trainer.host.keys import signer
    from trainer.host.server import host_folder, open_database

    merge = options.merge_settings(None, density, method, others)
    report = merge_fleet(
        open_database(),
        host_folder(),
        signer(host_folder()),
        group,
        find_bundle(model),
        merge,
        tolerance=tolerance / 100,
        context=terminal_context(threads),
    )
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
    else:
        rows = [
            (one.device, f"{one.norm:.2f}", f"{one.cosine:+.2f}", _points(one.without), one.left_out or "merged")
            for one in report.judged
        ]
        print_table([("device", "norm", "cosine", "without it", ""), *rows], right=range(1, 4))
        typer.echo(
            f"General speech: WER {report.general_speech_before:.1%} before, {report.general_speech_after:.1%} with it."
        )
    for reason in report.reasons:
        options.tell(f"! {reason}")
    if report.reasons:
        raise typer.Exit(REJECTED)
    options.tell(f"{group} is offered it: 'asr-edge fleet pull --on URL' on each device.")


def _points(points: float | None) -> str:
    return "" if points is None else f"{points:+.1f}"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
