"""The one mistake in encoding that can be undone with certainty: Windows-1252 read as Latin-1."""

from __future__ import annotations

# U+0081, 8D, 8F, 90 and 9D are no character in cp1252; they stay, and validation puts the row aside.
MENDED = {byte: bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in range(0x80, 0xA0)}


def mend(text: str) -> str:
    """Return `text` with each C1 control (U+0080 to U+009F, never written on purpose) as the cp1252 character it was.

    Mend before stripping or splitting: Python takes U+0085, cp1252's ellipsis, for a space.
    """
    return text.translate(MENDED)
