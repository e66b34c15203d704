"""Compressed frames without what may stand in them beside the picture: comments, EXIF, application segments, tails."""

from __future__ import annotations

_JPEG, _JPEG2000 = b"\xff\xd8", b"\xff\x4f"
_COMMENTS = {_JPEG: (0xFE,), _JPEG2000: (0x64,)}
_SCAN = {_JPEG: 0xDA, _JPEG2000: 0x90}
_COLOUR = {0xE0: b"JFIF\0", 0xE8: b"mrfx", 0xEE: b"Adobe"}
"""Application segments that say how colours are to be read (ITU-T T.871, T.87, T.872)."""
_LONGEST_COLOUR = 32
_END = b"\xff\xd9"


class NotPlainError(ValueError):
    """A frame that is no bare JPEG or JPEG 2000 codestream, or whose segments do not add up."""


def without_comments(frame: bytes) -> bytes:
    """Return a JPEG, JPEG-LS or JPEG 2000 codestream without comments and without bytes behind its end.

    Segments before the first scan (ITU-T T.81 B.1.1.4) or tile (T.800 A.4) are copied if they are needed to decode.

    Raises:
        NotPlainError: if it is anything else; decode it and store its values.
    """
    start, end = frame[:2], frame.rfind(_END)
    if start not in _SCAN or end < 0:
        raise NotPlainError
    kept, place = [start], 2
    while True:
        if place + 4 > end or frame[place] != 0xFF:
            raise NotPlainError
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        if marker == _SCAN[start]:
            return b"".join([*kept, frame[place : end + 2]])
        segment = frame[place : place + 2 + length]
        if length < 2 or len(segment) < 2 + length:
            raise NotPlainError
        if not _is_comment(start, marker, segment):
            kept.append(segment)
        place += 2 + length


def _is_comment(start: bytes, marker: int, segment: bytes) -> bool:
    """Whether a segment says nothing that a decoder needs."""
    if start == _JPEG and 0xE0 <= marker <= 0xEF:
        return not (segment[4:].startswith(_COLOUR.get(marker, b"-")) and len(segment) <= _LONGEST_COLOUR)
    return marker in _COMMENTS[start]
