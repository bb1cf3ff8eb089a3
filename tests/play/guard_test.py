"""Tests of access control, over HTTP and WebSocket."""

import contextlib
import http.client
import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from genie_tf.play.guard import Guard, check_origin, check_root_path

TOKEN = "a-token"


def get(port: int, path: str = "/", **headers) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def get_raw(port: int, request: bytes) -> bytes:
    """Return the answer to a request that HTTP clients would not send."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
        return answer


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "127.0.0.2", "localhost", "LocalHost", "[::1]"]
)
def test_this_machine_is_allowed(port, name):
    response = get(port, Host=f"{name}:80", Origin=f"http://{name}:80")
    assert response.status == 200 and "<title>genie</title>" in response.text
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
def test_other_host_names_are_rejected(port, host):
    response = get(port, Host=host)
    assert response.status == 403
    assert response.text == (
        f"The host must be one of localhost, 127.0.0.1, ::1; received {host}.\n"
    )


@pytest.mark.parametrize(
    "host", ["[", "", "127.0.0.1:port", "a b", "me@127.0.0.1", "\xff", "127.0.0.1/x"]
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_malformed_hosts_are_rejected(port, token_port, host, token):
    response = get(token_port if token else port, Host=host)
    assert response.status == 400
    assert response.text == f"Expected a host name; received {host}.\n"


@pytest.mark.parametrize(
    "origin", ["http://[", "nonsense", "http://", "http://a:b", "\xff", "http://a/b"]
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_malformed_origins_are_rejected(port, token_port, origin, token):
    port = token_port if token else port
    response = get(port, Origin=origin, Authorization=f"Bearer {TOKEN}")
    assert response.status == 400
    assert response.text == f"Expected an origin; received {origin}.\n"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1"]
)
def test_pages_of_other_sites_are_rejected(port, origin):
    response = get(port, Origin=origin)
    assert response.status == 403
    sentence = (
        f"Expected a request from a page of 127.0.0.1:{port}; received one from "
        f"{origin}.\n"
    )
    assert response.text == sentence
    with pytest.raises(InvalidStatus) as error:
        connect(f"ws://127.0.0.1:{port}/play", origin=origin)
    assert error.value.response.status_code == 403
    assert error.value.response.body.decode() == sentence


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_are_rejected_without_origin(port, site):
    for path in ("/", "/main.js", "/prompts/canyon.png"):
        response = get(port, path, **{"Sec-Fetch-Site": site})
        assert response.status == 403
        sentence = (
            f"Expected a request from a page of 127.0.0.1:{port}; received one from "
            "another site.\n"
        )
        assert response.text == sentence


def test_links_on_other_sites_lead_only_to_page(port):
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert get(port, "/", **headers).status == 200
    assert get(port, "/main.js", **headers).status == 403
    frame = {**headers, "Sec-Fetch-Dest": "iframe"}
    assert get(port, "/", **frame).status == 403
    for site in ("none", "same-origin"):
        assert get(port, "/main.js", **{"Sec-Fetch-Site": site}).status == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?token=", {}),
        ("/?token=wrong", {}),
        ("/", {"Cookie": "genie_play=wrong"}),
        ("/", {"Cookie": "genie_play"}),
        ("/", {"Cookie": 'genie_play_PORT=\xf0\x9f\x98\x80; {}[]=;;="x'}),
        ("/?token=%F0%9F%98%80", {}),
        ("/?token=%ff%ed%a0%80", {}),
        ("/?%ff=%ff&token&token=%00", {}),
        ("/", {"Authorization": "Bearer é"}),
        ("/", {"Authorization": TOKEN}),
        ("/", {"Authorization": f"Basic {TOKEN}"}),
        ("/main.js", {}),
        ("/recordings/x.gif", {}),
    ],
)
def test_token_is_required(token_port, path, headers):
    headers = {
        name: text.replace("PORT", str(token_port)) for name, text in headers.items()
    }
    response = get(token_port, path, **headers)
    assert response.status == 401
    assert response.text == (
        "Expected the address that genie-play printed, with its token.\n"
    )


def test_token_becomes_cookie(token_port, open_page):
    response = get(token_port, f"/?token={TOKEN}", Host="anywhere.example")
    assert (response.status, response.headers["Location"]) == (303, "./")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert "Secure" not in cookie
    cookie = cookie.split(";")[0]
    assert get(token_port, Cookie=cookie).status == 200
    open_page(token_port, additional_headers={"Cookie": cookie})
    with pytest.raises(InvalidStatus) as error:
        connect(f"ws://127.0.0.1:{token_port}/play")
    assert error.value.response.status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_is_accepted_in_header(token_port, scheme):
    response = get(token_port, Authorization=f"{scheme} {TOKEN}")
    assert response.status == 200


def test_servers_on_one_host_have_separate_cookies(serve):
    ports, tokens = [serve(token="first"), serve(token="second")], ["first", "second"]
    cookies = [
        get(port, f"/?token={token}").headers["Set-Cookie"].split(";")[0]
        for port, token in zip(ports, tokens, strict=True)
    ]
    names = {cookie.split("=")[0] for cookie in cookies}
    assert names == {f"genie_play_{port}" for port in ports}
    for port in ports:
        assert get(port, Cookie="; ".join(cookies)).status == 200


@pytest.mark.parametrize("others", ["a=b", "odd", '{"x": [1]}=2', '"', "=", "é=\xff"])
@pytest.mark.parametrize("form", ["{others}; {cookie}", "{cookie};{others}"])
def test_cookies_of_other_programs_are_ignored(token_port, others, form):
    cookie = f"genie_play_{token_port}={TOKEN}"
    assert (
        get(token_port, Cookie=form.format(others=others, cookie=cookie)).status == 200
    )


def test_wrong_token_in_url_keeps_valid_cookie(token_port):
    response = get(token_port, "/?token=old", Cookie=f"genie_play_{token_port}={TOKEN}")
    assert (response.status, response.headers["Location"]) == (303, "./")
    assert "Set-Cookie" not in response.headers


# Behind a proxy.


@pytest.mark.parametrize("token", [None, TOKEN])
def test_proxy_can_keep_or_replace_host(serve, open_page, token):
    origin = "https://world.example.com"
    port = serve(token=token, allowed_origins=[origin])
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for host in ("world.example.com", f"127.0.0.1:{port}"):
        assert get(port, Host=host, Origin=origin, **bearer).status == 200
    open_page(port, origin=origin, additional_headers=bearer)
    other = get(port, Origin="http://world.example.com", **bearer)
    assert other.status == 403
    assert get(port, Host="other.example.com", **bearer).status == (
        200 if token else 403
    )


def test_page_works_at_root_path(serve):
    port = serve(token=TOKEN, root_path="/genie/")
    response = get(port, f"/genie?token={TOKEN}")
    assert response.headers["Location"] == f"genie/?token={TOKEN}"
    response = get(port, f"/genie/?token={TOKEN}")
    assert response.headers["Location"] == "./"
    cookie, *attributes = response.headers["Set-Cookie"].split("; ")
    assert "Path=/genie" in attributes
    # Some proxies remove the root path, and some do not.
    for path in ("/", "/genie/", "/main.js", "/genie/main.js"):
        assert get(port, path, Cookie=cookie).status == 200
    assert get(port, "/genies/main.js", Cookie=cookie).status == 404


@pytest.mark.parametrize(
    ("origins", "headers", "is_secure"),
    [
        ([], {"X-Forwarded-Proto": "https"}, True),
        ([], {"X-Forwarded-Proto": "http"}, False),
        (["https://a.example"], {}, True),
        (["https://a.example", "http://a.example"], {}, False),
    ],
)
def test_cookies_behind_tls_are_secure(serve, origins, headers, is_secure):
    port = serve(token=TOKEN, allowed_origins=origins)
    response = get(port, f"/?token={TOKEN}", **headers)
    assert ("Secure" in response.headers["Set-Cookie"]) == is_secure


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://World.example.com/", "https://world.example.com"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://[::1]:8888", "http://[::1]:8888"),
    ],
)
def test_origins_are_normalized(origin, expected):
    assert check_origin(origin) == expected


@pytest.mark.parametrize(
    "origin",
    ["", "*", "world.example.com", "ftp://a", "https://a/b", "https://a:b", "https://"],
)
def test_invalid_origins_are_rejected(origin):
    with pytest.raises(ValueError) as error:
        Guard(None, allowed_origins=[origin])
    assert str(error.value) == (
        "An allowed origin must have the form https://world.example.com; received "
        f"{origin}."
    )


@pytest.mark.parametrize("path", ["genie", "/a//b", "//", "/a b", "/é", "/a?b"])
def test_invalid_root_paths_are_rejected(path):
    with pytest.raises(ValueError) as error:
        check_root_path(path)
    assert str(error.value) == (
        "The root path must have the form /genie, with only letters, digits and "
        f". _ ~ -; received {path}."
    )


# Malformed requests.


@pytest.mark.parametrize(
    "path",
    [
        *("/../server.py", "/%2e%2e/server.py", "/prompts/..%2f", "/%00", "/%ff"),
        *("/prompts/%00.png", "/prompts/%ff.png", "/recordings/%ff.gif", "//", "/é"),
        *("/recordings/%00.%00", "/" + "a" * 5_000, "/play", "/a\\b"),
    ],
)
def test_other_files_are_not_served(port, path):
    answer = get_raw(port, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    assert answer.split()[1] in (b"404", b"400")


UPGRADE = b"GET /play HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: "


@pytest.mark.parametrize(
    "request_",
    [
        *(b"\xff\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"),
        *(
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        UPGRADE + b"websocket\r\n\r\n",
        UPGRADE + b"websocket\r\nSec-WebSocket-Key: \xff\r\n\r\n",
        UPGRADE + b"websocket\r\nSec-WebSocket-Extensions: \xff\r\n\r\n",
        UPGRADE + b"websocket, \xff\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
        UPGRADE.replace(b"upgrade\r", b"upgrade, \xff\r") + b"websocket\r\n\r\n",
        UPGRADE + b"h2c\r\n\r\n",
        UPGRADE + b"websocket\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
        UPGRADE + b"websocket\r\n" + b"X: x\r\n" * 1_000 + b"\r\n",
    ],
)
def test_malformed_requests_log_no_traceback(port, caplog, request_):
    answer = get_raw(port, request_)
    assert not answer or answer.split()[1].startswith(b"4")
    assert not caplog.records
