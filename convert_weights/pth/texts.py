"""Texts of a file in messages."""


def shown(found: object, limit: int = 60) -> str:
    """Something that a file holds, as its beginning on one line: of at most `limit` characters, all of them ASCII."""
    text = ascii(found)[1:-1] if isinstance(found, str) else ascii(found)
    return text if len(text) <= limit else f"{text[:limit]}..."
