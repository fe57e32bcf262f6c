"""The page on another device: a token once, over TLS."""

import pytest

from device_app.remote.tls import CERTIFICATE, CERTIFICATE_KEY, make_certificate
from device_app.service.app import PUBLIC
from device_app.service.clients import Clients
from device_app.service.security import Access
from tests.device_app.service.page.conftest import ready


@pytest.mark.slow
def test_a_phone_signs_in_once_with_a_token_over_tls(serve, chromium, tmp_path):
    make_certificate(tmp_path, ["127.0.0.1"])
    files = {"ssl_certfile": str(tmp_path / CERTIFICATE), "ssl_keyfile": str(tmp_path / CERTIFICATE_KEY)}
    clients = Clients(tmp_path / "service")
    token = clients.add("phone")
    url = serve(Access(clients=clients, public=PUBLIC), **files)
    context = chromium.new_context(
        ignore_https_errors=True, viewport={"width": 390, "height": 844}, permissions=["microphone"]
    )
    page = context.new_page()
    page.goto(url)
    page.get_by_label("Token").fill("asr-edge-wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("This token does not work").wait_for()
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    page.wait_for_timeout(1000)
    page.click("#stop")
    page.wait_for_selector("#again")

    page = context.new_page()  # the browser remembers it, and no script can read it
    page.goto(url)
    page.wait_for_selector("#start")
    assert page.evaluate("document.cookie") == ""
    ready(page, "transcribe")
    page.click("#live-start")
    page.wait_for_selector("#live-start.recording")

    clients.revoke("phone")
    page.reload()
    page.get_by_label("Token").wait_for()
    context.close()
