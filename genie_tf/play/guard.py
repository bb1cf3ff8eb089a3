"""Access control: admits only this server's pages, and clients with its token, if any."""

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
    """ASGI middleware that rejects requests from other sites and without the token.

    Without a token, the `Host` of a request must be this machine; otherwise another
    site's page could reach the server under its own host name (DNS rebinding). With a
    token, each request must carry it: as `?token=`, which becomes a cookie, or in the
    header `Authorization: Bearer`. Pages of other sites are rejected in both cases.

    Args:
        app: ASGI application to protect.
        token: secret that requests must carry; None if only this machine can connect.
        root_path: path at which a proxy serves the application, such as "/genie";
            requests can include it or not.
        allowed_origins: origins at which proxies serve the application, such as
            "https://world.example.com", in addition to the request's own host.
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
        # Behind a proxy with TLS, requests reach this server over plain HTTP.
        is_https = [origin.startswith("https:") for origin in self._origins]
        self._is_secure = any(is_https) and all(is_https)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        scope = {**scope, "path": self._path(scope)}
        app = self._refuse(scope) or self._redirect(scope) or self._app

        async def send_guarded(message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await app(scope, receive, send_guarded)

    def _path(self, scope) -> str:
        """Return the path below the root path; "" if no slash follows the root path."""
        path, root = scope["path"], self._root_path
        is_below = path == root or path.startswith(f"{root}/")
        return path[len(root) :] if is_below else path

    def _refuse(self, scope) -> PlainTextResponse | None:
        """Return the error for a request that is not allowed, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = _HOST.fullmatch(host)
        if not name:
            return _error(400, f"Expected a host name; received {host}.")
        is_known = is_loopback(name[1].strip("[]")) or host in self._hosts
        if self._token is None and not is_known:
            hosts = ", ".join([*_LOOPBACK, *self._hosts])
            return _error(403, f"The host must be one of {hosts}; received {host}.")
        origin = headers.get("origin", "").lower()
        expected = f"Expected a request from a page of {host}"
        if origin in ("", *self._origins):
            pass
        elif origin != "null" and not _ORIGIN.fullmatch(origin):
            return _error(400, f"Expected an origin; received {origin}.")
        elif origin.partition("://")[2] != host:
            return _error(403, f"{expected}; received one from {origin}.")
        if not origin and _is_cross_site(scope, headers):
            return _error(403, f"{expected}; received one from another site.")
        if self._token is not None and not self._has_token(scope, headers):
            expected = "the address that genie-play printed, with its token"
            return _error(401, f"Expected {expected}.")
        return None

    def _redirect(self, scope) -> RedirectResponse | None:
        """Return a redirect to the page if the URL has a token or lacks a slash.

        Browsers log URLs, so the token must not stay in one.
        """
        if scope["type"] == "websocket":
            return None
        if scope["path"] == "":  # The page's relative links need a trailing slash.
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

    def _has_token(self, scope, headers: Headers) -> bool:
        received = _tokens_in_query(scope)
        for cookies in headers.getlist("cookie"):
            for cookie in cookies.split(";"):
                name, _, value = cookie.strip().partition("=")
                if name == _cookie_name(scope):
                    received.append(value)
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            received.append(credentials.strip())
        token = self._token.encode()
        return any(secrets.compare_digest(token, text.encode()) for text in received)


def check_root_path(path: str) -> str:
    """Return a root path without its trailing slash.

    Raises:
        ValueError: if a proxy cannot serve at this path.
    """
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", path):
        raise ValueError(
            "The root path must have the form /genie, with only letters, digits and "
            f". _ ~ -; received {path}."
        )
    return path.rstrip("/")


def check_origin(origin: str) -> str:
    """Return an origin as browsers write it.

    Raises:
        ValueError: if it is not an HTTP or HTTPS origin.
    """
    normalized = origin.lower().rstrip("/")
    scheme, _, host = normalized.partition("://")
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ValueError(
            "An allowed origin must have the form https://world.example.com; received "
            f"{origin}."
        )
    return normalized.removesuffix(":80" if scheme == "http" else ":443")


def _is_cross_site(scope, headers: Headers) -> bool:
    """Return whether a browser reports that another site requests more than a link."""
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate"
    is_page = headers.get("sec-fetch-dest") == "document"
    return not (is_link and is_page and scope["path"] in ("", "/"))


def _tokens_in_query(scope) -> list[str]:
    query = scope.get("query_string", b"").decode("latin-1")
    return parse_qs(query, keep_blank_values=True).get("token", [])


def _cookie_name(scope) -> str:
    """Return the cookie's name, with the port: all ports of a host share cookies."""
    _, port = scope.get("server") or ("", "")
    return f"genie_play_{port}"


def _error(status: int, message: str) -> PlainTextResponse:
    return PlainTextResponse(f"{message}\n", status)
