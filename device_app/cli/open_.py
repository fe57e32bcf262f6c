"""asr-edge open: the page in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo
from device_app.cli.serve import Port
from device_app.extras import need_packages
from device_app.service import ports


def open_(
    port: Port = ports.HTTP,
    browser: Annotated[bool, typer.Option(help="Open the page; otherwise only print its address.")] = True,
    model: options.Model = None,
) -> None:
    """Open the page on which you record, correct and learn; starts the service if it is not running."""
    need_packages("serve")
    from device_app.service.page.opening import open_browser, start_service

    url = start_service(port, model, options.tell)
    echo(url)
    if browser and not open_browser(url):
        options.tell("No browser was found; open this address in one.")
