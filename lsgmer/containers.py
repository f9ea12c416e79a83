"""Where audio begins and ends in a file: streams that were joined, and how many frames a header really promises.

A decoder answers for the first stream of a joined file alone, takes an MP3 without a Xing header for as long as its
first bit rate suggests, and believes a WAV size that a program wrote before it knew better. Sources: the WAVE and AIFF
chunk formats (EA IFF 85), ISO 11172-3 and the Xing header, RFC 3533 (Ogg), RFC 9639 (FLAC).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

# Programs that write to a pipe cannot come back to fill in the size: they write 0 or one of the largest numbers,
# rounded down to whole frames.
STREAMED = 0x7FFF_0000
OGG_FIRST = 0x02  # the flag of the first page of a logical stream


class View(Protocol):
    """Bytes, or a file in memory."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Return some of them."""

    def find(self, sought: bytes, start: int = 0, /) -> int:
        """Return where `sought` is, at or after `start`; -1 where it is not."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a file: bytes `start` to `end`, with `prefix` in front when they need a header.

    `frames` is what the header promises, None where it does not say or the decoder knows better. `spare` is how many
    frames fewer are no sign of truncation: some programs count the header itself as audio.
    """

    start: int
    end: int
    prefix: bytes = b""
    frames: int | None = None
    spare: int = 0


def streams(view: View) -> tuple[Stream, ...]:
    """Return the streams of a file, one after another; a file of an unknown format is one stream."""
    head = view[0:12]
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return tuple(_chunked(view, b"RIFF", b"WAVE"))
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return tuple(_chunked(view, b"FORM", head[8:]))
    if head[:4] == b"OggS":
        return _split(view, _ogg_starts(view))
    tagged = _after_id3(view, 0)
    if view[tagged : tagged + 4] == b"fLaC":
        return _split(view, _flac_starts(view, tagged))
    if head[:3] == b"ID3" or _mp3_frame(view, 0) is not None:
        return _mp3(view) or (Stream(0, len(view)),)
    return (Stream(0, len(view)),)


def _split(view: View, starts: list[int]) -> tuple[Stream, ...]:
    return tuple(Stream(start, end) for start, end in zip(starts, [*starts[1:], len(view)], strict=True))


def _chunked(view: View, form: bytes, kind: bytes) -> Iterator[Stream]:
    """Yield the RIFF or IFF files of `view`. Their sizes may be wrong, so each ends where the next one starts."""
    starts, at = [0], view.find(form, 12)
    while at > 0:
        if view[at + 8 : at + 12] == kind:
            starts.append(at)
        at = view.find(form, at + 4)
    for whole in _split(view, starts):
        yield _wav(view, whole) if form == b"RIFF" else whole


def _wav(view: View, whole: Stream) -> Stream:
    """Return `whole` with the frames that its `data` chunk promises: libsndfile lowers them to what is there."""
    at, block = whole.start + 12, 0
    while at + 8 <= whole.end:
        name, size = struct.unpack("<4sI", view[at : at + 8])
        if name == b"data":
            there = whole.end - at - 8
            if not block or (size >= STREAMED and size > there) or (size == 0 and there < block):
                return whole
            if size == 0:
                header = view[whole.start : at + 4] + struct.pack("<I", there)
                return Stream(at + 8, whole.end, header, there // block)
            return Stream(whole.start, whole.end, frames=size // block, spare=-(-(at + 8 - whole.start) // block))
        if name == b"fmt " and size >= 16:
            body = view[at + 8 : at + 24]
            tag, block = struct.unpack_from("<H", body)[0], struct.unpack_from("<H", body, 12)[0]
            if tag not in (1, 3, 6, 7, 0xFFFE):  # in compressed formats a block is more than one frame
                return whole
        at += 8 + size + size % 2
    return whole


def _ogg_starts(view: View) -> list[int]:
    """Return where a chained Ogg file's links start: at a first page that follows a page that is none."""
    starts, at, before = [0], 0, True
    while (head := view[at : at + 27])[:4] == b"OggS" and len(head) == 27:
        first = bool(head[5] & OGG_FIRST)
        if first and not before:
            starts.append(at)
        before = first
        sizes = view[at + 27 : at + 27 + head[26]]
        at += 27 + len(sizes) + sum(sizes)
    return starts


def _flac_starts(view: View, start: int) -> list[int]:
    """Return where FLAC files start: at the marker, followed by the header of a STREAMINFO block."""
    starts, at = [start], view.find(b"fLaC", start + 4)
    while at > 0:
        if view[at + 4 : at + 8] in (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22"):
            starts.append(at)
        at = view.find(b"fLaC", at + 4)
    return starts


# MPEG audio, layer III: kbit/s by (version 1 or not), Hz by version bits, frames' samples and side information.
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


@dataclass(frozen=True, slots=True)
class _Mp3Frame:
    at: int
    size: int
    samples: int
    rate: int
    tag: int  # where a Xing header would be, counted from `at`
    promised: int | None  # frames by the Xing header in it


def _mp3(view: View) -> tuple[Stream, ...]:
    """Return the streams of an MP3 file; () for a file that is none.

    A stream starts at each frame with a Xing header. One that has none gets one in front, with the number of frames
    counted here; so does one whose header counts fewer frames than follow it.
    """
    frames = list(_mp3_frames(view))
    if len(frames) < 2:
        return ()
    starts = [i for i, frame in enumerate(frames) if frame.promised is not None]
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    found = []
    for first, last in zip(starts, [*starts[1:], len(frames)], strict=True):
        begin = 0 if first == 0 else frames[first].at
        end = len(view) if last == len(frames) else frames[last].at
        promised, count = frames[first].promised, last - first
        if promised is None:
            prefix = _xing(view, frames[first], count)
            found.append(Stream(frames[first].at, end, prefix, count * frames[first].samples, frames[first].samples))
        elif count - 1 > promised:
            after = frames[first + 1]
            prefix = _xing(view, after, count - 1)
            found.append(Stream(after.at, end, prefix, (count - 1) * after.samples, after.samples))
        else:
            found.append(Stream(begin, end))
    return tuple(found)


def _mp3_frames(view: View) -> Iterator[_Mp3Frame]:
    """Yield the frames of an MP3 file, past tags and whatever else is between them."""
    at = _after_id3(view, 0)
    while at + 4 <= len(view):
        frame = _mp3_frame(view, at)
        if frame is None or (at + frame.size + 4 <= len(view) and not _follows(view, at + frame.size)):
            at = _resume(view, at)
            if at < 0:
                return
            continue
        if at + frame.size > len(view):
            return
        yield frame
        at += frame.size


def _resume(view: View, at: int) -> int:
    """Return the next place after `at` where a frame, followed by another or the end, or a tag may start; -1: none."""
    if view[at : at + 3] == b"ID3":
        return max(_after_id3(view, at), at + 3)
    if view[at : at + 3] == b"TAG":
        return at + 128
    place = at
    while (place := view.find(b"\xff", place + 1)) >= 0:
        frame = _mp3_frame(view, place)
        if frame is not None and _follows(view, place + frame.size):
            return place
    return -1


def _follows(view: View, at: int) -> bool:
    """Return whether a frame, a tag or the end is at `at`."""
    return at >= len(view) or view[at : at + 3] in (b"ID3", b"TAG") or _mp3_frame(view, at) is not None


def _after_id3(view: View, at: int) -> int:
    """Return where the ID3v2 tags at `at` end."""
    while (head := view[at : at + 10])[:3] == b"ID3" and len(head) == 10:
        size = 0
        for byte in head[6:]:
            size = size << 7 | (byte & 0x7F)
        at += 10 + size + (10 if head[5] & 0x10 else 0)
    return at


def _mp3_frame(view: View, at: int) -> _Mp3Frame | None:
    head = view[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # the sync word and layer III
        return None
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or not 0 < bits < 15 or rate == 3:
        return None
    first, mono = version == 3, head[3] >> 6 == 3
    hertz, samples = _RATES[version][rate], 1152 if first else 576
    size = samples // 8 * 1000 * _KBITS[first][bits] // hertz + (head[2] >> 1 & 1)
    tag = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    promised = None
    xing = view[at + tag : at + tag + 12]
    if xing[:4] in (b"Xing", b"Info") and len(xing) == 12:
        promised = struct.unpack(">I", xing[8:])[0] if xing[7] & 1 else 0
    elif (vbri := view[at + 36 : at + 54])[:4] == b"VBRI" and len(vbri) == 18:
        promised = struct.unpack(">I", vbri[14:])[0]
    return _Mp3Frame(at, size, samples, hertz, tag, promised)


def _xing(view: View, like: _Mp3Frame, frames: int) -> bytes:
    """Return a frame that sounds like nothing, of the form of `like`, with a Xing header that counts `frames`."""
    head = bytearray(view[like.at : like.at + 4])
    head[1] |= 1  # no checksum
    head[2] = 0x90 | head[2] & 0x0C  # a bit rate whose frame has room for the header, and no padding
    content = bytes(head) + bytes(like.tag - 4) + b"Xing" + struct.pack(">II", 1, frames)
    frame = _mp3_frame(content, 0)
    return content + bytes(frame.size - len(content)) if frame else b""
