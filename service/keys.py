"""API keys: what one is, the file that has them hashed, and who comes with which.

A key is `ntm_<id>_<secret>`: the id is no secret and names it in lists and logs, the secret has
256 bits. The file, which NTM_KEYS names and `ntm keys` writes, has a hash of each key, so that it
lets nobody in who reads it. No salt and no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.environ import SettingsError

Scope = Literal["read", "step", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "step", "admin")
KEY = re.compile(rb"ntm_([a-z2-7]{10})_([a-z2-7]{52})")
TENANT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
EVERYBODY = "default"  # whose the sessions are where there are no keys
FORMAT = 1
MAX_FILE_BYTES = 16 << 20
LOOK_S = 0.2  # how often the file is looked at, at most

log = logging.getLogger("ntm.keys")


class Identity(msgspec.Struct, frozen=True):
    """Who sends a request. key: its id; empty where there are no keys."""

    tenant: str
    scopes: frozenset[str]
    key: str = ""


ANYONE = Identity(EVERYBODY, frozenset(SCOPES))


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as the file has it. Times are Unix seconds."""

    id: Annotated[str, Meta(pattern=r"^[a-z2-7]{10}\Z")]
    tenant: Annotated[str, Meta(pattern=TENANT_PATTERN)]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]  # of the whole key
    created_at: float
    expires_at: float | None = None
    note: Annotated[str, Meta(max_length=200)] = ""


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys."""

    format: Literal[1]
    keys: tuple[Key, ...] = ()


def sha256(key: bytes) -> str:
    """What the file has of a key."""
    return hashlib.sha256(key).hexdigest()


def read_file(path: Path) -> KeyFile:
    """The keys of a file. Raises SettingsError for one that cannot be read or believed."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o002:
                raise SettingsError(f"{path}: expected a file that not everybody can write to")
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got more")
        found = msgspec.json.decode(data, type=KeyFile)
    except OSError as error:
        raise SettingsError(f"{path}: the keys cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected a file that `ntm keys` wrote: {error}") from error
    if len({key.id for key in found.keys}) < len(found.keys):
        raise SettingsError(f"{path}: two keys have one id")
    return found


class Keyring:
    """The keys of a file, as it is now: one that changes is read anew.

    A file that cannot be read any more leaves the last good keys in force, and is logged. Raises
    SettingsError at first.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        self._path, self._clock = path, clock
        self._seen = self._signature()
        self._keys = {key.id: key for key in read_file(path).keys}
        self._looked = clock()
        self.current = True

    def identify(self, given: bytes) -> Identity | None:
        """Whose key this is; None for one that is no key, unknown, revoked or expired."""
        self._look()
        found = KEY.fullmatch(given)
        key = None if found is None else self._keys.get(found[1].decode())
        # Compared also where there is none, so that an unknown id takes as long as a known one.
        fits = hmac.compare_digest(sha256(given), "0" * 64 if key is None else key.sha256)
        if key is None or not fits or not _is_in_force(key):
            return None
        return Identity(key.tenant, frozenset(key.scopes), key.id)

    def stands(self, identity: Identity) -> bool:
        """Is the key of one who was let in still in force, as it was then?"""
        self._look()
        key = self._keys.get(identity.key)
        return (
            key is not None
            and _is_in_force(key)
            and (key.tenant, frozenset(key.scopes)) == (identity.tenant, identity.scopes)
        )

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        seen = self._signature()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = {key.id: key for key in read_file(self._path).keys}
            self.current = True
            log.info("%s: %d keys are in force", self._path, len(self._keys))
        except SettingsError as error:
            self.current = False
            log.error("the keys stay as they were: %s", error)

    def _signature(self) -> tuple[int, int, int, int] | None:
        """What tells a file from what it was; None where there is none."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_in_force(key: Key) -> bool:
    return key.expires_at is None or key.expires_at > time()
