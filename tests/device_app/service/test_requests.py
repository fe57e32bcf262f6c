"""What the log and the metrics learn of each HTTP request."""

import asyncio

import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from device_app.service.http.requests import ReportRequests
from device_app.service.metrics import Metrics


@pytest.fixture
def ended():
    return []


@pytest.fixture
def client(ended):
    app = FastAPI()
    app.add_middleware(ReportRequests, report=ended.append)

    @app.get("/words/{word}", status_code=203)
    async def word(word: str):
        return word

    @app.get("/fails")
    async def fails():
        raise ZeroDivisionError

    return TestClient(app, raise_server_exceptions=False)


def test_an_answered_request_has_the_status_of_its_response_and_the_template_of_its_path(client, ended):
    client.get("/words/secret")
    assert [(one.method, one.route, one.status) for one in ended] == [("GET", "/words/{word}", 203)]
    assert ended[0].seconds >= 0


def test_a_path_without_a_route_is_not_reported_as_it_is(client, ended):
    client.get("/secret")
    assert [(one.route, one.status) for one in ended] == [("-", 404)]


def test_a_failure_has_status_500_as_the_response_that_the_server_sends(client, ended):
    assert client.get("/fails").status_code == 500
    assert [(one.route, one.status) for one in ended] == [("/fails", 500)]


@pytest.mark.parametrize("error", [ClientDisconnect, asyncio.CancelledError])
def test_a_request_without_a_response_that_did_not_fail_has_status_499(ended, error):
    async def app(scope, receive, send):
        raise error

    with pytest.raises(error):
        asyncio.run(ReportRequests(app, ended.append)({"type": "http", "method": "GET"}, None, None))
    assert [one.status for one in ended] == [499]


def test_metrics_count_a_failure_as_a_server_error():
    metrics, app = Metrics(), FastAPI()
    app.add_middleware(ReportRequests, report=metrics.count_request)

    @app.post("/fails")
    async def fails():
        raise ZeroDivisionError

    TestClient(app, raise_server_exceptions=False).post("/fails")
    assert 'asr_edge_requests_total{method="POST",route="/fails",status="500"} 1.0' in metrics.text(0, 0).decode()
