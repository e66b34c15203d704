"""A small OpenID Connect provider on this machine, for tests of the login: it takes everybody for whom it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "medmm", "secret-of-the-client"
CODE_S = 3600


@dataclass
class Provider:
    """A provider that runs, and whom it vouches for."""

    address: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    """Of the next person who logs in, beside those that every login has; they win over those."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    nonces: dict[str, str] = field(default_factory=dict)
    """Code -> nonce of a login that was begun."""

    def metadata(self) -> dict[str, Any]:
        """What OpenID Connect Discovery 1.0, section 3, asks for."""
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def back(self, asked: Mapping[str, str]) -> str:
        """Where somebody goes from the login page, which asks for nothing."""
        code = uuid4().hex
        self.nonces[code] = asked.get("nonce", "")
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The ID token of a person, signed."""
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.address, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + CODE_S}
        claims |= {"nonce": self.nonces.pop(asked["code"])} | dict(self.claims)
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return {"access_token": uuid4().hex, "token_type": "Bearer", "expires_in": CODE_S, "id_token": signed}

    def auth(self, redirect_uri: str, access: str) -> str:
        """An AUTH file that names this provider; `access` is its other part."""
        return (
            f'[auth]\nredirect_uri = "{redirect_uri}"\ncookie_secret = "{uuid4().hex}"\nclient_id = "{CLIENT}"\n'
            f'client_secret = "{SECRET}"\nserver_metadata_url = "{self.address}/.well-known/openid-configuration"\n'
            f"[access]\n{access}\n"
        )


@contextmanager
def provider() -> Iterator[Provider]:
    """Run one on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", running.back(asked))
                self.end_headers()
            elif parts.path == "/keys":
                self._answer({"keys": [running.key.as_dict(private=False)]})
            else:
                self._answer(running.metadata())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(running.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, said: Mapping[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Provider(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def auth_file(folder: Path, running: Provider, port: int, access: str) -> Path:
    """Write the AUTH file of a screen that listens on a port of 127.0.0.1."""
    path = folder / "auth.toml"
    path.write_text(running.auth(f"http://127.0.0.1:{port}/oauth2callback", access), encoding="utf-8")
    return path
