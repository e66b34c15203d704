"""What a compressed frame itself says of its size; a decoder would believe it, whatever the DICOM header declares."""

import struct

_JPEG = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_COD, _SOT = 0x52, 0x90
"""Second byte of the markers of the coding style and of the first tile (ISO/IEC 15444-1 A.6.1, A.4.2)."""
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Second byte of SOF0 to SOF15 (ITU-T T.81 B.1.1.3; DHT, JPG and DAC lie between) and of JPEG-LS (T.87 C.1.1)."""


def coded_size(frame: bytes) -> tuple[int, int, int]:
    """Return (rows, columns, samples a pixel) of a JPEG, JPEG-LS or JPEG 2000 frame.

    Raises:
        ValueError: if the frame is none of them, or ends before it says so.
    """
    try:
        if frame.startswith(_JPEG):
            return _jpeg_size(frame)
        start = frame.index(_JPEG_2000)
        right, bottom, left, top = struct.unpack_from(">4L", frame, start + 8)  # SIZ, ISO/IEC 15444-1 A.5.1
        (samples,) = struct.unpack_from(">H", frame, start + 40)
    except (struct.error, IndexError):
        raise ValueError("the frame is cut short") from None
    return bottom - top, right - left, samples


def _jpeg_size(frame: bytes) -> tuple[int, int, int]:
    """Walk the segments up to the start of frame (ITU-T T.81 B.2.2)."""
    place = 2
    while True:
        if frame[place] != 0xFF:
            raise ValueError("a segment does not start with a marker")
        marker = frame[place + 1]
        if marker in _START_OF_FRAME:
            rows, columns, samples = struct.unpack_from(">2HB", frame, place + 5)
            return rows, columns, samples
        # A marker may be preceded by any number of fill bytes.
        place += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", frame, place + 2)[0]


def halvings(frame: bytes) -> int:
    """Return how often the size of a frame can be halved in decoding; 0 of what is no bare JPEG 2000 codestream.

    That is the number of its wavelet decompositions: ISO/IEC 15444-1 A.6.1, table A.20.
    """
    place = 2
    try:
        while frame.startswith(_JPEG_2000) and frame[place + 1] != _SOT:
            if frame[place + 1] == _COD:
                return frame[place + 9]
            place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    except (struct.error, IndexError):
        return 0  # whoever decodes it says that it is cut short
    return 0
