"""One http(s) request: from which byte on, for which version of the file; nothing else is ever opened, also by redirects."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any

from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Answer", "ask", "checked_url"]

# Silence for so long (in seconds) means that nothing more will come.
_TIMEOUT = 30
_SCHEMES = ("http", "https")
_PARTIAL, _RANGE_NOT_SATISFIABLE = 206, 416
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says, and the bytes to come.

    start: the offset of the first byte. total: bytes of the whole file, where known. validator: what tells this version of
    the file from another, or empty.
    """

    start: int
    total: int | None
    validator: str
    body: HTTPResponse


def checked_url(url: str) -> str:
    """The URL without its fragment; DiskError unless it is a whole http(s) one."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_whole = parts.scheme.lower() in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or not (url.isascii() and url.isprintable()) or " " in url:
        raise DiskError(f"{url!r} is no http or https address")
    return parts._replace(fragment="").geturl()


def ask(url: str, position: int, validator: str) -> Answer:
    """Ask for the file from byte `position` on, if it is still the version of `validator`; else for the whole.

    Raises DiskError with the address and the status, or what else went wrong. The caller closes the body.
    """
    headers = {"User-Agent": "ckpt-surgeon", "Accept-Encoding": "identity"}
    if not position or not validator:
        return _answer(_open(url, headers), 0, url)
    try:
        response = _open(url, {**headers, "Range": f"bytes={position}-", "If-Range": validator})
    except DiskError as error:
        cause = error.__cause__
        if isinstance(cause, urllib.error.HTTPError) and cause.code == _RANGE_NOT_SATISFIABLE:
            return _answer(_open(url, headers), 0, url)
        raise
    return _answer(response, position, url)


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        response: HTTPResponse = _opener().open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise DiskError(f"the server answers {error.code} {error.reason}", where=url) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a redirect to what is no address
        reason = getattr(error, "reason", None) or error
        raise DiskError(f"no answer: {reason}", where=url, hint="check the address and the network") from error
    return response


def _answer(response: HTTPResponse, position: int, url: str) -> Answer:
    """The meaning of the headers; DiskError when they announce something else than the file."""
    try:
        start, total = _range(response, position, url)
    except BaseException:
        response.close()
        raise
    return Answer(start, total, _validator(response.headers), response)


def _range(response: HTTPResponse, position: int, url: str) -> tuple[int, int | None]:
    """The offset of the first byte to come and, where known, the bytes of the whole file."""
    headers = response.headers
    encoding = headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise DiskError(f"the server sends the file packed as {encoding}", where=url)
    if headers.get_content_type() == "text/html":
        raise DiskError("the server sends an HTML page, not a file", where=url, hint="the link may need a login or have moved")
    if response.status != _PARTIAL:
        return 0, _number(headers.get("Content-Length"))
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None or int(match[1]) != position:
        raise DiskError("the server sends another part of the file than was asked for", where=url)
    return position, _number(match[2])


def _validator(headers: HTTPMessage) -> str:
    """A strong ETag or a date; a weak ETag does not promise the same bytes."""
    etag: str = headers.get("ETag", "")
    date: str = headers.get("Last-Modified", "")
    return etag if etag and not etag.startswith("W/") else date


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https addresses only, and closes the answer of a server which names another."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The next request; DiskError for any other scheme."""
        return super().redirect_request(req, fp, code, msg, headers, checked_url(newurl))

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage) -> Any:
        """Follow one redirect; ValueError when it leads to what is no address."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except BaseException:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """An opener which knows nothing but http and https: no file:, no ftp:, no data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener
