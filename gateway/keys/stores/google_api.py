"""Requests to a REST API of Google Cloud, with a token that google-auth fetches and renews. It blocks.

Credentials are those of the environment: a service account's file in GOOGLE_APPLICATION_CREDENTIALS, or the machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.keys.sources.store_failure import StoreCause, StoreFailed, need_extra

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CAUSES = {
    401: (StoreCause.LOGIN, "does not accept the credentials; check the key or the pod's identity"),
    403: (StoreCause.FORBIDDEN, "does not allow it to these credentials; grant the rights that its guide lists"),
    404: (StoreCause.NO_SUCH_PATH, "knows no such resource; check the name"),
}


class GoogleApi:
    """One API, such as https://cloudkms.googleapis.com."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        connections: int,
        causes: Mapping[int, tuple[StoreCause, str]] = _CAUSES,
    ) -> None:
        """Look for credentials. Raises: StoreFailed.

        Args: `timeout_s`: of a request and of the token that it may need first; `causes`: what a status means; `{path}`
        in it is replaced by what was asked.
        """
        need_extra("gcp", "google.auth", "requests")
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession, Request

        from gateway.keys.stores.bounded_answers import BoundedAdapter

        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).netloc
        self._timeout_s = timeout_s
        self._causes = causes
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except (GoogleAuthError, OSError, ValueError):
            raise StoreFailed(
                StoreCause.LOGIN,
                "finds no Google credentials; set GOOGLE_APPLICATION_CREDENTIALS or give the pod an identity",
            ) from None
        login = Request()
        self._session: Any = AuthorizedSession(  # type: ignore[no-untyped-call]
            credentials, refresh_timeout=timeout_s, auth_request=login
        )
        BoundedAdapter(max_retries=3).mount_on(login.session)  # as many as google-auth's own
        BoundedAdapter(pool_maxsize=connections).mount_on(self._session)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON object of the answer. `path`: below /v1/. Raises: StoreFailed."""
        from google.auth.exceptions import GoogleAuthError, TransportError

        from gateway.keys.stores.http_failures import Failure, failure_of

        try:
            answer = self._session.request(
                method,
                f"{self._base_url}/v1/{path}",
                json=body,
                timeout=self._timeout_s,
                max_allowed_time=self._timeout_s,
                allow_redirects=False,
            )
            content = answer.json() if answer.status_code == 200 else {}
        except TransportError as error:
            if isinstance(error.__cause__, Failure):
                raise failure_of(error.__cause__, "the token endpoint of Google") from None
            raise StoreFailed(StoreCause.UNREACHABLE, "the token endpoint of Google cannot be reached") from None
        except GoogleAuthError:
            raise StoreFailed(
                StoreCause.LOGIN, "Google refuses the credentials; check the key or the pod's identity"
            ) from None
        except Failure as error:
            raise failure_of(error, self._host) from None
        except ValueError:
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{self._host} does not answer in JSON") from None
        if answer.status_code != 200:
            cause, text = self._causes.get(
                answer.status_code, (StoreCause.UNUSABLE_ANSWER, f"answers {answer.status_code}, which cannot be used")
            )
            raise StoreFailed(cause, f"{self._host} {text.replace('{path}', path)}")
        if not isinstance(content, dict):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{self._host} does not answer with an object")
        return content
