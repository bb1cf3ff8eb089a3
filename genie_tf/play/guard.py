"""Who is let in: only pages of this server, and visitors who know its token, if any."""

import re
import secrets
from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

from genie_tf.play.network import is_loopback

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://({_HOST.pattern})")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application in front of another.

    Without a token, requests must name this machine as their host, or a stranger's page
    could reach it under a name of its own (DNS rebinding). With one, they must bring it
    along: `?token=`, which becomes a cookie, or the header `Authorization: Bearer`.
    Pages of other sites are refused in both cases.

    Args:
        app: the application.
        token: what to know; None for a server that only this machine can reach.
        root_path: path that a proxy serves the application at, such as "/genie"; requests
            may have it or not.
        allowed_origins: addresses that proxies serve it at, such as
            "https://world.example.com", besides the host that a request names.
    """

    def __init__(
        self,
        app,
        token: str | None = None,
        root_path: str = "",
        allowed_origins: Sequence[str] = (),
    ):
        self._app = app
        self._token = token
        self._root_path = check_root_path(root_path)
        self._origins = [check_origin(origin) for origin in allowed_origins]
        self._hosts = [_ORIGIN.fullmatch(origin)[1] for origin in self._origins]
        # Whoever comes through a proxy with TLS need not have come to it by HTTP.
        is_https = [origin.startswith("https:") for origin in self._origins]
        self._is_secure = any(is_https) and all(is_https)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        scope = {**scope, "path": self._path(scope)}
        answer = self._refusal(scope) or self._redirection(scope) or self._app

        async def send_guarded(message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await answer(scope, receive, send_guarded)

    def _path(self, scope) -> str:
        """The path below the root path; "" where not even a slash follows it."""
        path, root = scope["path"], self._root_path
        is_below = path == root or path.startswith(f"{root}/")
        return path[len(root) :] if is_below else path

    def _refusal(self, scope) -> PlainTextResponse | None:
        """What a request hears that is not let in."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = _HOST.fullmatch(host)
        if not name:
            return _refuse(400, f"Expected the name of a host; received {host}.")
        is_known = is_loopback(name[1].strip("[]")) or host in self._hosts
        if self._token is None and not is_known:
            hosts = ", ".join([*_LOOPBACK, *self._hosts])
            return _refuse(403, f"Expected a host of {hosts}; received {host}.")
        origin = headers.get("origin", "").lower()
        if origin in ("", *self._origins):
            pass
        elif origin != "null" and not _ORIGIN.fullmatch(origin):
            return _refuse(400, f"Expected an origin; received {origin}.")
        elif origin.partition("://")[2] != host:
            return _refuse(403, f"Expected a page of {host}; received one of {origin}.")
        if not origin and _is_cross_site(scope, headers):
            return _refuse(403, f"Expected a page of {host}; received one of others.")
        if self._token is not None and not self._knows_token(scope, headers):
            expected = "the address that genie-play printed, with its token"
            return _refuse(401, f"Expected {expected}.")
        return None

    def _redirection(self, scope) -> RedirectResponse | None:
        """To the page, without the token in its address, which is written down."""
        if scope["type"] == "websocket":
            return None
        if scope["path"] == "":  # What the page asks for is relative to a folder.
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{self._root_path.split('/')[-1]}/?{query}", 303)
        tokens = _tokens_in_query(scope)
        if scope["path"] != "/" or not tokens:
            return None
        response = RedirectResponse("./", 303)
        if self._token in tokens:
            response.set_cookie(
                _cookie_name(scope),
                self._token,
                path=self._root_path or "/",
                secure=self._is_secure or scope["scheme"] == "https",
                httponly=True,
                samesite="strict",
            )
        return response

    def _knows_token(self, scope, headers: Headers) -> bool:
        offered = _tokens_in_query(scope)
        for cookies in headers.getlist("cookie"):
            for cookie in cookies.split(";"):
                name, _, value = cookie.strip().partition("=")
                if name == _cookie_name(scope):
                    offered.append(value)
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            offered.append(credentials.strip())
        token = self._token.encode()
        return any(secrets.compare_digest(token, text.encode()) for text in offered)


def check_root_path(path: str) -> str:
    """Return a path without a slash at its end.

    Raises:
        ValueError: if it is not a path that a proxy can serve at.
    """
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", path):
        raise ValueError(
            "The root path must have the form /genie, of letters, digits and . _ ~ -; "
            f"received {path}."
        )
    return path.rstrip("/")


def check_origin(origin: str) -> str:
    """Return an origin as browsers write it.

    Raises:
        ValueError: if it is not one of HTTP or HTTPS.
    """
    written = origin.lower().rstrip("/")
    scheme, _, host = written.partition("://")
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ValueError(
            "An allowed origin must have the form https://world.example.com; received "
            f"{origin}."
        )
    return written.removesuffix(":80" if scheme == "http" else ":443")


def _is_cross_site(scope, headers: Headers) -> bool:
    """Whether a browser says that another site's page asks, for more than this page."""
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate"
    is_page = headers.get("sec-fetch-dest") == "document"
    return not (is_link and is_page and scope["path"] in ("", "/"))


def _tokens_in_query(scope) -> list[str]:
    query = scope.get("query_string", b"").decode("latin-1")
    return parse_qs(query, keep_blank_values=True).get("token", [])


def _cookie_name(scope) -> str:
    """The name of the cookie: those of all ports of a host are sent to each of them."""
    _, port = scope.get("server") or ("", "")
    return f"genie_play_{port}"


def _refuse(status: int, sentence: str) -> PlainTextResponse:
    return PlainTextResponse(f"{sentence}\n", status)
