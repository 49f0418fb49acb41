"""The password of Redis from a file, so that it stands neither in a URL nor in an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis.credentials import CredentialProvider


class FileLogin(CredentialProvider):
    """Reads the file for every connection, so a password can be changed while servers run."""

    def __init__(self, path: Path, user: str | None) -> None:
        self._path, self._user = path, user

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The user, where there is one, and what the file has. Raises OSError."""
        password = self._path.read_text().rstrip("\r\n")
        return (password,) if self._user is None else (self._user, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """The same: a small file, read where a connection begins."""
        return self.get_credentials()


def with_login(options: dict[str, Any], password_file: str) -> dict[str, Any]:
    """A connection's options that log in with the file's password. Raises ValueError where the
    URL has one too."""
    if not password_file:
        return options
    if "password" in options:
        raise ValueError("NTM_REDIS_PASSWORD_FILE: expected NTM_STORE without a password")
    user = options.get("username")
    kept = {name: value for name, value in options.items() if name != "username"}
    return kept | {"credential_provider": FileLogin(Path(password_file), user)}
