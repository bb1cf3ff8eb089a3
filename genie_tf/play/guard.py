"""Who is let in: pages of this server alone, and visitors who know its token, if any."""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

_COOKIE = "genie_play"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
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
        token: what to know; None for a server that this machine alone can reach.
    """

    def __init__(self, app, token: str | None = None):
        self._app = app
        self._token = token

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal:
            status, reason = refusal
            response = PlainTextResponse(f"{reason}\n", status)
            return await response(scope, receive, send)

        async def send_guarded(message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self._app
        if scope["type"] == "http" and scope["path"] == "/" and _in_query(scope):
            # Out of the address line, and of what is written down of it.
            app = RedirectResponse("/", 303)
            app.set_cookie(_COOKIE, _in_query(scope), httponly=True, samesite="strict")
        await app(scope, receive, send_guarded)

    def _refusal(self, scope, headers: Headers) -> tuple[int, str] | None:
        """The status and the sentence of a request that is not let in."""
        host = headers.get("host", "")
        if self._token is None and _name(host) not in _LOOPBACK:
            return 403, f"Expected a host of {', '.join(_LOOPBACK)}; received {host}."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, f"Expected a page of {host}; received one of {origin}."
        if self._token is not None and not self._knows_token(scope, headers):
            return 401, "Expected the address that genie-play printed, with its token."
        return None

    def _knows_token(self, scope, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = {}
        offered = [
            _in_query(scope),
            cookies[_COOKIE].value if _COOKIE in cookies else "",
            headers.get("authorization", "").removeprefix("Bearer "),
        ]
        token = self._token.encode()
        return any(secrets.compare_digest(token, text.encode()) for text in offered)


def _in_query(scope) -> str:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return query.get("token", [""])[0]


def _name(host: str) -> str:
    """A host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
