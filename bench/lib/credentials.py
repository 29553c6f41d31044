"""Credentials that scenarios with policies send, and the files by which proxies know them."""

import base64
import hashlib
import json
import subprocess
import time
from pathlib import Path

KEY = "bench-key-" + "0123456789abcdef" * 3
USER, PASSWORD = "ann", "correct horse"
VALID_SECONDS = 24 * 3600
COORDINATE = 32
"""The bytes of a coordinate of P-256, and of each half of a signature by it."""


def make(folder: Path) -> dict[str, object]:
    """Makes the files in a folder. Returns what {{name}} stands for: the files' paths, and values of fields."""
    key = folder / "token.pem"
    _run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    files = {
        "jwks": json.dumps({"keys": [_public(key)]}),
        "api_keys": f"- {{ id: acme, key: sha256:{hashlib.sha256(KEY.encode()).hexdigest()} }}\n",
        "users": f"{USER}:{_run('openssl', 'passwd', '-5', PASSWORD).decode().strip()}\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {name: folder / name for name in files} | {
        "token": _token(key, folder),
        "api_key": KEY,
        "basic": basic,
    }


def _public(key: Path) -> dict[str, str]:
    point = _run("openssl", "ec", "-in", str(key), "-pubout", "-outform", "DER")[-2 * COORDINATE :]
    x, y = _base64url(point[:COORDINATE]), _base64url(point[COORDINATE:])
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": x, "y": y}


def _token(key: Path, folder: Path) -> str:
    now = int(time.time())
    claims = {"iss": "https://id.bench", "aud": "bench", "sub": USER, "iat": now, "exp": now + VALID_SECONDS}
    parts = [json.dumps(part).encode() for part in ({"alg": "ES256", "kid": "1"}, claims)]
    signed = ".".join(map(_base64url, parts))
    (folder / "signed").write_text(signed)
    signature = _run("openssl", "dgst", "-sha256", "-sign", str(key), str(folder / "signed"))
    return f"{signed}.{_base64url(fixed_length(signature))}"


def fixed_length(signature: bytes) -> bytes:
    """An ECDSA signature in the form of tokens (RFC 7518 §3.4): both numbers, from that of openssl, which is DER."""
    numbers, at = b"", 2
    for _ in range(2):
        length = signature[at + 1]
        number = signature[at + 2 : at + 2 + length].lstrip(b"\0")
        numbers += number.rjust(COORDINATE, b"\0")
        at += 2 + length
    return numbers


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout
