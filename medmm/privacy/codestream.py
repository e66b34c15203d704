"""Compressed frames without what may stand in them beside the picture: comments, EXIF, application segments, tails."""

from __future__ import annotations

import re

_JPEG, _JPEG2000 = b"\xff\xd8", b"\xff\x4f"
_COMMENT = {_JPEG: 0xFE, _JPEG2000: 0x64}
_SCAN = {_JPEG: 0xDA, _JPEG2000: 0x90}
_TABLES = {
    _JPEG: frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xF7, 0xF8}) - {0xC8},
    _JPEG2000: frozenset({*range(0x50, 0x54), *range(0x55, 0x5A), *range(0x5C, 0x62), 0x63}),
}
"""Segments that a decoder needs (ITU-T T.81 B.1.1.3, T.87 C.1.1, T.800 A.2)."""
_COLOUR = {0xE0: b"JFIF\0", 0xE8: b"mrfx", 0xEE: b"Adobe"}
"""Application segments that say how colours are to be read (ITU-T T.871, T.87, T.872)."""
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x02\x00\x00\x01\x00\x01\x00\x00"
_SOD, _END = b"\xff\x93", b"\xff\xd9"
_NEXT = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""A marker in or behind a scan that is none for a restart; in JPEG-LS 0xFF 0x00 to 0x7F are data."""


class NotPlainError(ValueError):
    """A frame that is no bare JPEG or JPEG 2000 codestream, or whose segments do not add up."""


def without_comments(frame: bytes) -> bytes:
    """Return a JPEG, JPEG-LS or JPEG 2000 codestream without comments and without bytes behind its end.

    Segments before the first scan (ITU-T T.81 B.1.1.4) or tile (T.800 A.4) are copied if they are needed to decode;
    from there on the codestream is copied to its end, if it holds nothing but scans or tiles and their tables.

    Raises:
        NotPlainError: if it is anything else; decode it and store its values.
    """
    start = frame[:2]
    if start not in _SCAN:
        raise NotPlainError
    kept, place = [start], 2
    while True:
        marker, behind = _segment(frame, place)
        if marker == _SCAN[start]:
            end = _end_of_scans(frame, place) if start == _JPEG else _end_of_tiles(frame, place)
            return b"".join([*kept, frame[place:end]])
        if start == _JPEG and 0xE0 <= marker <= 0xEF:
            kept.append(_colour(marker, frame[place:behind]))
        elif marker in _TABLES[start]:
            kept.append(frame[place:behind])
        elif marker != _COMMENT[start]:
            raise NotPlainError
        place = behind


def _segment(frame: bytes, place: int) -> tuple[int, int]:
    """Return the marker at a place, and where its segment ends."""
    length = int.from_bytes(frame[place + 2 : place + 4], "big")
    if frame[place : place + 1] != b"\xff" or length < 2 or place + 2 + length > len(frame):
        raise NotPlainError
    return frame[place + 1], place + 2 + length


def _colour(marker: int, segment: bytes) -> bytes:
    """Return what an application segment says of colours, and nothing else; b'' if it says nothing of them."""
    if not segment[4:].startswith(_COLOUR.get(marker, b"-")):
        return b""
    if marker == 0xE0:
        return _JFIF
    if len(segment) != {0xE8: 9, 0xEE: 16}[marker]:
        raise NotPlainError
    return segment if marker == 0xE8 else segment[:9] + b"\0\x64\0\0\0\0" + segment[15:]


def _end_of_scans(frame: bytes, place: int) -> int:
    """Return where a JPEG ends: behind the first EOI after its scans and the tables between them."""
    while frame[place : place + 2] != _END:
        marker, place = _segment(frame, place)
        if marker != _SCAN[_JPEG] and marker not in _TABLES[_JPEG]:
            raise NotPlainError
        if marker == _SCAN[_JPEG]:
            found = _NEXT.search(frame, place)
            if found is None:
                raise NotPlainError
            place = found.start()
    return place + 2


def _end_of_tiles(frame: bytes, place: int) -> int:
    """Return where a JPEG 2000 codestream ends: behind the EOC after its last tile-part (ITU-T T.800 A.4.2)."""
    while frame[place : place + 2] != _END:
        marker, header = _segment(frame, place)
        if marker != _SCAN[_JPEG2000] or header != place + 12:
            raise NotPlainError
        length = int.from_bytes(frame[place + 6 : place + 10], "big")
        while frame[header : header + 2] != _SOD:
            marker, header = _segment(frame, header)
            if marker not in _TABLES[_JPEG2000]:
                raise NotPlainError
        behind = place + length if length else frame.find(_END, header)
        if not header + 2 <= behind <= len(frame):
            raise NotPlainError
        place = behind
    return place + 2
