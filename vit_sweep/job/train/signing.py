"""Messages that the ranks of one job leave in a place where others can write too: signed, or nobody's. Pure.

torch's store asks nobody who they are: whoever reaches its port may read, write and delete every key.
"""

import hashlib
import hmac


def signed(secret: bytes, key: str, text: str) -> str:
    """`text` with its signature (HMAC-SHA256), which holds under this key only."""
    return f"{_signature(secret, key, text)} {text}"


def verified(secret: bytes, key: str, message: bytes) -> str | None:
    """The text of a signed message; None if nobody who knows the secret wrote it under this key."""
    signature, _, text = message.decode(errors="replace").partition(" ")
    is_ours = hmac.compare_digest(signature.encode(), _signature(secret, key, text).encode())
    return text if is_ours else None


def _signature(secret: bytes, key: str, text: str) -> str:
    return hmac.new(secret, f"{key} {text}".encode(), hashlib.sha256).hexdigest()
