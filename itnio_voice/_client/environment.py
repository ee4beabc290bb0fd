"""The account in the environment."""

import os

from .._http.credentials import Credentials, credentials_problem
from .._http.request import check_base_url

__all__ = ["credentials_from_env"]

_KEY, _SECRET, _BASE_URL = "ITNIO_API_KEY", "ITNIO_API_SECRET", "ITNIO_BASE_URL"


def credentials_from_env(alternative: str = "") -> tuple[Credentials, str | None]:
    """Return the credentials in the environment, and the base URL if it is set.

    `alternative` is added to the error for a variable that is not set: what else the caller accepts.

    Raises:
        ValueError: if the key or the secret is not set, or one of the variables is invalid.
    """
    missing = [name for name in (_KEY, _SECRET) if not os.environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        message = f"{' and '.join(missing)} {verb} not set: set {_KEY} and {_SECRET}{alternative}"
        raise ValueError(message)
    # The secret is not kept in a variable here: error reporters record the variables of a frame that raises.
    if problem := credentials_problem(os.environ[_KEY], os.environ[_SECRET], (_KEY, _SECRET)):
        raise ValueError(problem)
    base_url = os.environ.get(_BASE_URL) or None
    if base_url:
        check_base_url(base_url, _BASE_URL)
    return Credentials(os.environ[_KEY], os.environ[_SECRET]), base_url
