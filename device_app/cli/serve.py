"""serve and service: a local speech-to-text server; programs on other machines need a token."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.extras import need_packages
from device_app.service import ports

app = typer.Typer(help="Manage the service that 'asr-edge serve' runs.", no_args_is_help=True)
token = typer.Typer(help="Manage the tokens of clients on other machines.", no_args_is_help=True)
app.add_typer(token, name="token")

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the service, for HTTP and WebSockets.")]
Client = Annotated[str, typer.Argument(metavar="NAME", help="The client, such as the name of a machine.")]


def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Beyond 127.0.0.1, clients need a token (service token add); TLS is then on."
        ),
    ] = "127.0.0.1",
    port: Port = ports.HTTP,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name or address by which other machines reach this one; may repeat.",
            show_default="this machine's name",
        ),
    ] = None,
    wyoming_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for Wyoming (Home Assistant); 0 for none.")
    ] = ports.WYOMING,
    wyoming_peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Another machine in your network that may use Wyoming, which is not encrypted; may repeat.",
            show_default="only this machine",
        ),
    ] = None,
    model: options.Model = None,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="The log: text or JSON lines.")] = "text",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every request too, without content.")] = False,
) -> None:
    """Serve your model to other programs, offline, until interrupted.

    It speaks OpenAI's API for transcription, Wyoming (Home Assistant) and a WebSocket for live audio.
    """
    need_packages("serve")
    from device_app.paths import active_profile
    from device_app.service.models import Models
    from device_app.service.server import Address
    from device_app.service.server import serve as run
    from device_app.service.wyoming.server import WyomingAddress

    def announce(at: Address, wyoming: WyomingAddress) -> None:
        if wyoming.port and wyoming.peers:
            options.tell(f"Audio and text of {', '.join(wyoming.peers)} cross the network unencrypted (Wyoming).")
        wyoming_text = f"Wyoming: port {wyoming.port}" if wyoming.port else "no Wyoming"
        options.tell(f"Page: {at.url}/   OpenAI's API: {at.url}/v1   {wyoming_text}   Ctrl-C stops.")

    run(
        Address(host, port, tuple(name or ())),
        Models(model, active_profile() or None),
        wyoming=WyomingAddress(wyoming_port, tuple(wyoming_peer or ())),
        log_format=log_format,
        verbose=verbose,
        on_start=announce,
    )


@app.command()
def install(
    port: Port = ports.HTTP,
    wyoming_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for Wyoming.")] = ports.WYOMING,
    overwrite: options.Overwrite = False,
) -> None:
    """Write units of systemd, which start the service for your user when a program first connects.

    The service has the data folder and the profile of this command.
    """
    import sys

    need_packages("serve")
    from device_app.service.systemd import install_units, own_environment, units

    command = [sys.executable, "-m", "device_app", "serve"]
    folder = install_units(units(command, port, wyoming_port, own_environment()), overwrite=overwrite)
    options.tell(f"Written to {folder}. To start it now and after each login:")
    echo("systemctl --user daemon-reload", wraps=False)
    echo("systemctl --user enable --now asr-edge.socket asr-edge-wyoming.socket", wraps=False)


@token.command("add")
def token_add(name: Client) -> None:
    """Make a token for a client, and print it once."""
    from device_app.service.clients import Clients, service_folder

    echo(Clients(service_folder()).add(name))
    options.tell("The token is shown only now; the service keeps a hash of it.")


@token.command("list")
def token_list(as_json: options.Json = False) -> None:
    """List the clients with a token."""
    from device_app.service.clients import Clients, service_folder

    names = list(Clients(service_folder()).hashes())
    if as_json:
        print_json(names)
        return
    for name in names:
        echo(name)


@token.command("revoke")
def token_revoke(name: Client) -> None:
    """Lock a client out; its token stops working at once."""
    from device_app.service.clients import Clients, service_folder

    Clients(service_folder()).revoke(name)
    echo(f"The token of {name} no longer works.")
