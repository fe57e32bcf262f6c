"""asr-edge host: fine-tunes for other devices, and manages trust in hosts."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import ask, echo, print_json
from device_app.cli.terminal.outcome import REJECTED
from device_app.cli.terminal.reporter import terminal_context
from device_app.cli.terminal.table import print_table
from device_app.extras import need_packages
from editing.errors import counted

if TYPE_CHECKING:
    from trainer.host.fleet.report import Report

app = typer.Typer(help="Fine-tune for other devices; trust a host that does so.", no_args_is_help=True)
token = typer.Typer(help="Manage the tokens of devices.", no_args_is_help=True)
fleet = typer.Typer(help="Merge the task vectors of a group of devices.", no_args_is_help=True)
score = typer.Typer(help="Manage held-out speech of a group, on which contributions are scored.", no_args_is_help=True)
app.add_typer(token, name="token")
app.add_typer(fleet, name="fleet")
fleet.add_typer(score, name="score")

Url = Annotated[str, typer.Argument(metavar="URL", help="https://NAME:PORT")]


@app.command()
def init(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Names or addresses by which devices reach the host.",
            show_default="this machine's name",
        ),
    ] = None,
) -> None:
    """Create the host's keys: an authority and a certificate for TLS, and a signing key.

    Run again, it renews the certificate; devices still trust the host.
    """
    import socket

    need_packages("host")
    from trainer.host.keys import make_keys
    from trainer.host.server import host_folder

    keys = make_keys(host_folder(), [*(names or [socket.gethostname()]), "localhost", "127.0.0.1"])
    echo(keys.fingerprint)
    options.tell("This is the host's fingerprint. 'asr-edge host trust URL' on a device must show the same one.")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8443,
    cert: Annotated[Path | None, typer.Option(help="Your own certificate (PEM).", show_default="the host's")] = None,
    key: Annotated[Path | None, typer.Option(help="The key of --cert (PEM).")] = None,
    no_tls: Annotated[bool, typer.Option("--no-tls", help="Plain HTTP; only on loopback.")] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Fine-tune on this machine or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Ray cluster.", show_default="one on this machine")
    ] = None,
    max_gb: Annotated[float, typer.Option(min=0.001, help="Size limit of a dataset.")] = 4.0,
    max_hours: Annotated[float, typer.Option(min=0.01, help="Time limit of a fine-tuning.")] = 6.0,
    max_jobs: Annotated[int, typer.Option(min=1, help="Limit of unfinished jobs.")] = 1000,
    keep: Annotated[bool, typer.Option("--keep", help="Keep recordings after a job has ended.")] = False,
    proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A reverse proxy, whose X-Forwarded-For names the client; may repeat."),
    ] = None,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="The log: text or JSON lines.")] = "text",
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log every request too, without content; not only problems.")
    ] = False,
) -> None:
    """Fine-tune for devices until interrupted. Unfinished jobs resume at the next start.

    On loopback, clients need no token.
    """
    import ipaddress

    from editing.errors import BadInputError

    need_packages("host")
    need_packages("train")
    from trainer import executors
    from trainer.host.limits import Limits
    from trainer.host.server import Address, Logging, open_signer
    from trainer.host.server import serve as run

    if (cert is None) != (key is None):
        raise BadInputError("--cert and --key must be given together")
    for one in proxy or ():
        try:
            ipaddress.ip_address(one)
        except ValueError:
            raise BadInputError(f"--proxy {one!r}: must be an IP address") from None
    endpoint = Address(host, port, cert, key, tls=not no_tls, proxies=tuple(proxy or ()))
    keys = open_signer(endpoint)
    limits = Limits(archive_bytes=int(max_gb * 1e9), training_s=max_hours * 3600, jobs=max_jobs)
    options.tell(f"http{'' if no_tls else 's'}://{host}:{port}  {keys.fingerprint}")
    if keep:
        options.tell("Recordings are kept after a job has ended (--keep).")
    run(
        endpoint,
        keys,
        executors.RayExecutor(address) if engine == "ray" else executors.LocalExecutor(),
        limits,
        keep=keep,
        logging=Logging(log_format, verbose),
    )


@token.command("add")
def token_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The device's name.")],
    group: Annotated[str, typer.Option(help="The group with which it shares task vectors.")] = "",
) -> None:
    """Add a device and print its token. The host stores only the token's hash."""
    need_packages("host")
    from trainer.host.server import open_database

    for text in filter(None, (name, group)):
        _check_name(text)
    echo(open_database().add_device(name, group))
    options.tell("Enter it on the device: 'asr-edge host trust URL --token ...'. It is shown only once.")


@token.command("list")
def token_list(as_json: options.Json = False) -> None:
    """List the devices and their tokens' states."""
    need_packages("host")
    from trainer.host.server import open_database

    devices = open_database().devices()
    if as_json:
        print_json([asdict(device) for device in devices])
        return
    rows = [
        (d.name, d.fleet or "-", _day(d.created), "revoked " + _day(d.revoked) if d.revoked else "") for d in devices
    ]
    print_table([("device", "group", "since", ""), *rows], right=())


@token.command("revoke")
def token_revoke(name: Annotated[str, typer.Argument(metavar="NAME", help="The device's name.")]) -> None:
    """Revoke a device's token."""
    need_packages("host")
    from trainer.host.server import open_database

    open_database().revoke(name)
    options.tell(f"The token of {name} is revoked.")


@app.command()
def trust(
    url: Url,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="ASR_EDGE_TOKEN", help="This device's token, from 'asr-edge host token add'.", show_envvar=True
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read the token from a file; - asks for it, or reads standard input."),
    ] = None,
    fingerprint: Annotated[str | None, typer.Option(help="The expected fingerprint; then nothing is asked.")] = None,
) -> None:
    """Trust a host: store its keys on this device. Afterwards, vectors signed with other keys are refused.

    Needs no extra packages.
    """
    from dataclasses import replace

    from device_app.remote.client import HostClient, identity
    from device_app.remote.signatures import fingerprint as fingerprint_of
    from device_app.remote.tokens import read_token
    from device_app.remote.trusted_hosts import Host, checked_url, hosts, save_host
    from editing.errors import BadInputError

    url = checked_url(url)
    token = read_token(token_file) if token_file is not None else token
    keys = identity(url)
    current = fingerprint_of(keys["key"], keys["authority"])
    known = hosts().get(url)
    is_same = known is not None and fingerprint_of(known.key, known.authority) == current
    if fingerprint is not None and fingerprint != current:
        raise BadInputError(f"{url}: has the fingerprint {current}, not the one you gave; nothing was changed")
    if fingerprint is None and not is_same:
        if known is not None:
            options.tell(
                f"! The keys of {url} have changed. If its owner did not change them, this may be another machine."
            )
        options.tell(
            f"{url} has the fingerprint {current}. Compare it with the one that 'asr-edge host init' printed there."
        )
        ask("Is it the same?", abort=True)
    host = replace(known, token=token or known.token) if known and is_same else Host(url, **keys, token=token or "")
    with HostClient(host, options.tell, retry_s=10.0) as client:
        client.jobs()  # checks TLS with the pinned authority, and the token
    save_host(host)
    options.tell(f"{url} is trusted. 'asr-edge adapt --domain NAME --on {url}' fine-tunes there.")


@app.command()
def forget(url: Url) -> None:
    """Remove a trusted host and its token."""
    from device_app.remote.trusted_hosts import remove_host

    remove_host(url)
    options.tell(f"{url} is no longer trusted.")


Group = Annotated[str, typer.Option(help="A group of devices.")]


@fleet.command("merge")
def fleet_merge(
    group: Annotated[str, typer.Option(help="The group whose vectors are merged.")],
    method: options.Method = "ties",
    density: options.Density = None,
    others: options.Settings = None,
    min_devices: Annotated[
        int, typer.Option(min=1, help="Merge nothing below this number of different vectors. With 5, one may be wrong.")
    ] = 5,
    tolerance: options.Tolerance = options.DEFAULT_TOLERANCE,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Merge the vectors that a group's devices contributed, without harmful ones, and offer the result, signed.

    Exit code 3: the vectors disagree, or the WER would rise, and nothing is offered.
    """
    need_packages("host")
    from device_app.models.bundles import find_bundle
    from trainer.host.fleet.merge import merge_fleet
    from trainer.host.keys import signer
    from trainer.host.server import host_folder, open_database

    merge = options.merge_settings(None, density, method, others)
    database, base = open_database(), find_bundle(model)
    report = merge_fleet(
        database,
        host_folder(),
        signer(host_folder()),
        group,
        base,
        merge,
        tolerance=options.gate_policy(tolerance, force=False, dry_run=False).tolerance,
        context=terminal_context(threads),
        min_devices=min_devices,
    )
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)
    for reason in report.reasons:
        options.tell(f"! {reason}")
    if report.reasons:
        if database.offered(group, base.weights_hash):
            options.tell(f"The vector of an earlier merge is still offered to {group}.")
        raise typer.Exit(REJECTED)
    if report.group_speech_after is None:
        options.tell(
            "! The host has no held-out speech of this group, so vectors from mislabelled recordings were not looked "
            f"for: 'asr-edge host fleet score add MANIFEST --group {group}'."
        )
    options.tell(
        f"The merged vector is offered to {group}: run 'asr-edge fleet pull --group {group} --on URL' on each device."
    )


def _print_report(report: Report) -> None:
    rows = [
        (
            one.device,
            f"{one.norm:.2f}",
            f"{one.cosine:+.2f}",
            "" if one.group_speech is None else f"{one.group_speech:.1%}",
            "" if one.without is None else f"{one.without:+.1f}",
            one.left_out or (f"counted once with {one.copy_of}" if one.copy_of else "merged"),
        )
        for one in report.judged
    ]
    print_table([("device", "norm", "cosine", "WER alone", "WER without it", ""), *rows], right=range(1, 5))
    for name, before, after in (
        ("General speech", report.general_speech_before, report.general_speech_after),
        ("The group's held-out speech", report.group_speech_before, report.group_speech_after),
    ):
        if before is not None and after is not None:
            echo(f"{name}: WER {before:.1%} before, {after:.1%} after the merge.")


@score.command("add")
def score_add(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Recordings with texts that devices never had.")],
    group: Group,
) -> None:
    """Copy recordings into the held-out speech of a group; of a manifest with splits, only the held-out ones."""
    need_packages("host")
    from trainer.host.fleet.score_set import add_speech
    from trainer.host.server import host_folder

    _check_name(group)
    found = add_speech(host_folder(), group, manifest)
    options.tell(f"{group} has {counted(found.utterances, 'held-out utterance')} with {counted(found.words, 'word')}.")


@score.command("list")
def score_list(as_json: options.Json = False) -> None:
    """List the groups with held-out speech."""
    need_packages("host")
    from trainer.host.fleet.score_set import score_sets
    from trainer.host.server import host_folder

    found = score_sets(host_folder())
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [(one.group, str(one.utterances), str(one.words)) for one in found]
    print_table([("group", "utterances", "words"), *rows], right=(1, 2))


@score.command("remove")
def score_remove(group: Group, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete the held-out speech of a group."""
    need_packages("host")
    from trainer.host.fleet.score_set import remove_speech
    from trainer.host.server import host_folder

    _check_name(group)
    if not yes:
        ask(f"Delete the held-out speech of {group}?", abort=True)
    remove_speech(host_folder(), group)
    options.tell(f"The held-out speech of {group} is deleted.")


def _check_name(name: str) -> None:
    """Checks the name of a device or group.

    Raises:
        BadInputError: it cannot be the name of a device or group.
    """
    import re

    from editing.errors import BadInputError

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise BadInputError(f"{name!r}: must be 1 to 64 letters, digits, dots, dashes or underscores")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
