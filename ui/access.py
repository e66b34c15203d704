"""An AUTH file: the OpenID Connect provider that vouches for people, and the lists of who may see the screen.

[auth] is what Streamlit calls so in its secrets.toml; [access] is ours. Opens without Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from medmm.config import Dials
from medmm.result import Role

_ROLES: tuple[Role, ...] = ("admin", "lead", "reader")
"""The highest first: the one that a person has who is on several lists."""
_SHORTEST = 32
"""Characters of a secret that signs cookies."""
_CALLBACK = "/oauth2callback"
"""Where Streamlit takes people back from the provider."""
_CLOCKS = timedelta(minutes=1)
"""How far the provider's clock may be ahead."""


class Provider(Dials):
    """[auth]: the OpenID Connect provider, as Streamlit's st.login asks for it."""

    redirect_uri: str
    """Address of the screen in a browser, with /oauth2callback at its end."""
    cookie_secret: str = Field(min_length=_SHORTEST, repr=False)
    """Signs the cookie of a login."""
    client_id: str
    client_secret: str = Field(repr=False)
    server_metadata_url: str
    """Ends in /.well-known/openid-configuration."""
    client_kwargs: dict[str, str] = Field(default_factory=dict)
    """What else is asked of the provider, such as another scope."""

    @field_validator("redirect_uri")
    @classmethod
    def _check_address(cls, address: str) -> str:
        """A login in clear could be read on its way, and whoever reads it is that person."""
        parts = urlsplit(address)
        if parts.path != _CALLBACK or not parts.hostname:
            raise ValueError("must be the address of the screen with /oauth2callback at its end")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")):
            raise ValueError("must begin with https://")
        return address


class Access(Dials):
    """[access]: who may see the screen, and as what. Somebody on no list sees nothing."""

    name: str = "email"
    """Claim that names a person; it is stored with all they do."""
    groups: str = ""
    """Claim with the groups of a person, or their only one; '' for none."""
    hours: float = Field(default=8.0, gt=0, le=24)
    """How long a login lasts."""
    reader: tuple[str, ...] = ()
    """Names and groups."""
    lead: tuple[str, ...] = ()
    """The same of those who may also adjudicate and take claims away."""
    admin: tuple[str, ...] = ()

    def role(self, claims: Mapping[str, Any]) -> Role | None:
        """The highest role of a person; None if they are on no list. Capitals do not matter."""
        found = claims.get(self.groups, ()) if self.groups else ()
        groups = [found] if isinstance(found, str) else found if isinstance(found, list | tuple) else ()
        words = {_same(word) for word in (self.named(claims), *groups) if isinstance(word, str) and word.strip()}
        return next((role for role in _ROLES if words & {_same(word) for word in getattr(self, role)}), None)

    def named(self, claims: Mapping[str, Any]) -> str:
        """The name of a person; empty if the provider gave none, or an e-mail address that it did not verify."""
        name = claims.get(self.name)
        if not isinstance(name, str) or (self.name == "email" and claims.get("email_verified") is False):
            return ""
        return _same(name)

    def until(self, claims: Mapping[str, Any]) -> datetime | None:
        """When a login ends, UTC; None if it says not when it began, or that it is to begin later."""
        began = claims.get("iat")
        if isinstance(began, bool) or not isinstance(began, int | float) or not math.isfinite(began):
            return None
        at = datetime.fromtimestamp(began, UTC)
        return None if at > datetime.now(UTC) + _CLOCKS else at + timedelta(hours=self.hours)


class Auth(Dials):
    """An AUTH file."""

    auth: Provider
    access: Access

    @property
    def host(self) -> str:
        """The host by which browsers know the screen."""
        return urlsplit(self.auth.redirect_uri).hostname or ""

    @property
    def address(self) -> str:
        """What people type into a browser."""
        return self.auth.redirect_uri.removesuffix(_CALLBACK)


def _same(word: str) -> str:
    """A name without what people write now one way and now another."""
    return word.strip().casefold()
