"""Who is let in, by HTTP and by WebSocket."""

import http.client

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

TOKEN = "a-token"


def get(port: int, path: str = "/", **headers) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_let_in(serve, name):
    response = get(serve(), Host=f"{name}:80", Origin=f"http://{name}:80")
    assert response.status == 200 and "<title>genie</title>" in response.text
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", ""])
def test_other_names_of_this_machine_are_refused(serve, host):
    response = get(serve(), Host=host)
    assert response.status == 403
    assert response.text == (
        f"Expected a host of localhost, 127.0.0.1, ::1; received {host}.\n"
    )


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1"]
)
def test_pages_of_others_are_refused(serve, origin):
    port = serve()
    response = get(port, Origin=origin)
    assert response.status == 403
    sentence = f"Expected a page of 127.0.0.1:{port}; received one of {origin}.\n"
    assert response.text == sentence
    with pytest.raises(InvalidStatus) as error:
        connect(f"ws://127.0.0.1:{port}/play", origin=origin)
    assert error.value.response.status_code == 403
    assert error.value.response.body.decode() == sentence


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?token=", {}),
        ("/?token=wrong", {}),
        ("/", {"Cookie": "genie_play=wrong"}),
        ("/", {"Cookie": "genie_play"}),
        ("/", {"Authorization": "Bearer é"}),
        ("/main.js", {}),
        ("/recordings/x.gif", {}),
    ],
)
def test_a_token_is_needed(serve, path, headers):
    response = get(serve(token=TOKEN), path, **headers)
    assert response.status == 401
    assert response.text == (
        "Expected the address that genie-play printed, with its token.\n"
    )


def test_a_token_becomes_a_cookie(serve, open_page):
    port = serve(token=TOKEN)
    response = get(port, f"/?token={TOKEN}", Host="anywhere.example")
    assert (response.status, response.headers["Location"]) == (303, "/")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    cookie = cookie.split(";")[0]
    assert get(port, Cookie=cookie).status == 200
    assert get(port, Authorization=f"Bearer {TOKEN}").status == 200
    open_page(port, additional_headers={"Cookie": cookie})
    with pytest.raises(InvalidStatus) as error:
        connect(f"ws://127.0.0.1:{port}/play")
    assert error.value.response.status_code == 401


@pytest.mark.parametrize(
    "path", ["/../server.py", "/%2e%2e/server.py", "/prompts/..%2f"]
)
def test_only_the_page_is_served(serve, path):
    assert get(serve(), path).status == 404
