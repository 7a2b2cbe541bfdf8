"""Frames of a video file, each verified against its presentation time; clips and their codec are in mp4.py.

A container lists one packet per frame, in decoding order, with the time at which the frame is shown. A reader that
counts what comes out of a decoder is wrong as soon as frames are dropped (leading frames of an open GOP), delayed
(B-frames) or hidden (edit lists). Here a frame is delivered only if it leaves the decoder with the time that the
container gives for its number, in increasing order, and with no damage since the key frame from which it was decoded.

Packets without usable time stamps (AVI with B-frames, two fields in two packets) do not list the frames. Such a file
is decoded once from its start to number them, and is always read from its start.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from imu_video.modalities.video_packets import VideoFault, VideoPackets, decoder_faults, understood

_PROBE = 16  # frames decoded when a file is opened, to see that its packets list them
_EARLIER = (0, 1, 8)  # key frames to go back for a frame that needs more than the nearest one (gradual refresh)
_NEVER = 1 << 62  # later than any time stamp or position


class VideoPictures:
    """Frames of a video by number, in the order in which they are shown; turned upright, not deinterlaced.

    Args:
        source: path of a file, or the bytes of one.

    Attributes:
        times: (F,) float64 seconds of each frame after the first one, increasing; where an edit list cuts into the
            video, after the start of the list.
        notes: facts for users: other streams, frames that cannot be decoded.

    Raises:
        VideoFault: not a readable video, or its frames have no trustworthy times.
    """

    def __init__(self, source: str | bytes) -> None:
        self._packets = VideoPackets(source)
        self._ready: deque[Any] = deque()
        self._next: int | None = None  # lowest frame that may leave the decoder next; None: it has to be started
        self._stamps: list[Any] = []  # presentation time with which each frame leaves the decoder
        self._number: dict[int, int] = {}  # of each of these
        self._keys: list[tuple[int, int]] = []  # (presentation time, position) of the key frames, increasing
        self._floor_first = -_NEVER  # no frame before it is decoded from the first key frame
        self._whole = False  # frames are numbered by decoding from the start
        self._whole = not self._list()
        shown_at = self._count() if self._whole else self._stamps
        self.times: np.ndarray = (np.array(shown_at, np.float64) - self._zero(shown_at[0])) * float(self._packets.base)
        self.notes = tuple(self._packets.notes)

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def height(self) -> int:
        """Rows of a frame as stored, in pixels."""
        return int(self._packets.codec.height)

    @property
    def width(self) -> int:
        """Columns of a frame as stored, in pixels."""
        return int(self._packets.codec.width)

    def read(self, indices: Sequence[int], *, make: Callable[..., np.ndarray] = np.empty) -> np.ndarray:
        """Decode frames.

        Args:
            indices: numbers of frames, in any order, repeats allowed.
            make: makes the array to fill from its shape and type.

        Returns:
            (F, H, W, 3) uint8 RGB.

        Raises:
            VideoFault: a frame is damaged or not at its time, or of another size than the others.
            IndexError: no such frame, or none requested.
        """
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(int(index), []).append(place)
        wanted = sorted(places)
        if not wanted:
            raise IndexError("no frames requested")
        if wanted[0] < 0 or wanted[-1] >= len(self):
            outside = [i for i in wanted if not 0 <= i < len(self)]
            raise IndexError(f"frames {outside} requested, the video has frames 0..{len(self) - 1}")
        out: np.ndarray | None = None
        for index in wanted:
            frame = self._picture(index)
            with understood(f"frame {index} of {len(self)} cannot be converted to RGB"):
                picture = _upright(frame)
            if out is None:
                out = make((len(indices), *picture.shape), np.uint8)
            elif out.shape[1:] != picture.shape:
                seen, expected = (f"{shape[1]} x {shape[0]}" for shape in (picture.shape, out.shape[1:]))
                raise VideoFault(
                    f"frame {index} of {len(self)} has {seen} pixels, expected {expected}",
                    at=float(self.times[index]),
                )
            for place in places[index]:
                out[place] = picture
        assert out is not None
        return out

    # ----------------------------------------------------------------------------------------------- list of frames

    def _list(self) -> bool:
        """List the frames from the packets; False where these do not list them."""
        listed = self._packets.listed
        if any(packet.pts is None for packet in listed) or len(self._packets.position_of) < len(listed):
            return False
        self._keys = sorted(
            (listed[i].pts or 0, i) for i in [i for i, packet in enumerate(listed) if packet.key] or [0]
        )
        before = min(position for _, position in self._keys)
        self._set(sorted(packet.pts or 0 for packet in listed[before:] if packet.shown))
        if not self._stamps:
            raise VideoFault("none of its frames is shown", remedy="copy")
        if before:
            self._packets.notes.append(f"{before} frames before its first key frame are left out")
        return self._packets.in_memory or self._leads()

    def _leads(self) -> bool:
        """Whether the first frames that are decoded are the first ones listed.

        Frames shown before the first key frame refer to what was cut off before it. They leave the list unless the
        decoder makes every one of them without damage.
        """
        leading = bisect_left(self._stamps, self._keys[0][0])
        seen = self._run(_PROBE + leading)
        if leading and (len(seen) < leading or seen[0] > 0):
            self._packets.notes.append(
                f"{leading} frames refer to a part that was cut off before the first one: left out"
            )
            self._floor_first = self._keys[0][0]
            self._set(self._stamps[leading:])
            seen = self._run(_PROBE)
        damaged = self._damaged_from < _NEVER  # reported where it is met: it is no reason to number the frames
        return seen == list(range(len(seen))) and (damaged or len(seen) >= min(_PROBE, len(self)))

    def _run(self, most: int) -> list[int]:
        """Numbers of the first frames from the first key frame; ends at damage and at a contradiction to the list."""
        seen: list[int] = []
        self._start(0)
        try:
            while len(seen) < min(most, len(self)) and (found := self._decode()) and found[2]:
                seen.append(found[0])
        except VideoFault:
            self._next = None
            return [-1]
        return seen

    def _set(self, stamps: list[int]) -> None:
        self._stamps = stamps
        self._number = {stamp: i for i, stamp in enumerate(stamps)}

    def _count(self) -> list[int]:
        """Number the frames by decoding all of them; returns the tick at which each is shown."""
        self._keys, self._floor_first = [(-_NEVER, 0)], -_NEVER
        self._stamps = []
        self._start(0)
        while (frame := self._frame()) is not None:
            if self._damaged_from < _NEVER:
                raise VideoFault(f"frame {len(self)} is damaged, and the file has no times to find the next one")
            self._stamps.append(frame.pts)
        self._next = None
        chunks = [packet.dts for packet in self._packets.listed if packet.dts is not None]
        for shown_at in (self._stamps, chunks if self._packets.container == "avi" else []):
            # AVI stores no presentation times, but one frame per chunk at a constant rate: the n-th is shown n-th.
            rising = None not in shown_at and all(a < b for a, b in pairwise(shown_at))
            if self._stamps and len(shown_at) == len(self) and rising:
                return list(shown_at)
        raise VideoFault("the times of its frames are unknown: their time stamps do not increase")

    def _zero(self, first: int) -> int:
        """Tick of time 0: the first frame, or the start of an edit list that cuts into the video before it."""
        start = self._packets.stream.start_time
        cut = not self._whole and any(not packet.shown for packet in self._packets.listed)
        return int(start) if cut and start is not None and start <= first else first

    # -------------------------------------------------------------------------------------------------------- decoding

    def _picture(self, index: int) -> Any:
        """The undamaged frame of a number, decoded from the nearest key frame or, where that fails, an earlier one."""
        nearest = 0
        if not self._whole:
            nearest = max(bisect_right(self._keys, (self._stamps[index], _NEVER)) - 1, 0)
        for key in dict.fromkeys(max(nearest - earlier, 0) for earlier in _EARLIER):
            continues = self._next is not None and self._first_of(key) <= self._next <= index
            if key != nearest or not continues or self._damaged_from < _NEVER:
                self._start(key)
            try:
                found = self._decode()
                while found is not None and found[0] < index:
                    found = self._decode()
            except VideoFault:
                self._next = None
                continue
            if found is not None and found[0] == index and found[2]:
                return found[1]
            self._next = None
        raise VideoFault(f"frame {index} of {len(self)} is damaged or missing", at=float(self.times[index]))

    def _first_of(self, key: int) -> int:
        """Number of the first frame that is decoded from a key frame."""
        return bisect_left(self._stamps, self._floor_of(key)) if not self._whole else 0

    def _floor_of(self, key: int) -> int:
        return self._keys[key][0] if key else self._floor_first

    def _start(self, key: int) -> None:
        """Let the decoder begin at a key frame."""
        self._packets.start(self._keys[key][1])
        self._ready.clear()
        self._drained = False
        self._damaged_from = _NEVER  # position of the first damaged packet: what follows may refer to it
        self._floor = self._floor_of(key)
        self._next = self._first_of(key)

    def _decode(self) -> tuple[int, Any, bool] | None:
        """The next frame with its number, and whether it is undamaged; None at the end.

        Raises:
            VideoFault: the frame contradicts the list of frames.
        """
        while (frame := self._frame()) is not None:
            assert self._next is not None
            if self._whole:
                number: int | None = self._next
                if self._next >= len(self) or frame.pts != self._stamps[self._next]:
                    number = None
            elif frame.pts is not None and frame.pts < self._floor:
                continue  # a leading frame of an open GOP, which refers to packets before the key frame
            else:
                number = self._number.get(frame.pts)
            if number is None or number < self._next:
                raise VideoFault("a decoded frame contradicts the time stamps of the packets")
            self._next = number + 1
            intact = self._damaged_from == _NEVER if self._whole else self._position(frame.pts) < self._damaged_from
            return number, frame, intact
        return None

    def _frame(self) -> Any:
        """The next frame that leaves the decoder; None at the end."""
        while not self._ready:
            if self._drained:
                return None
            packet = self._packets.next()
            self._drained = packet is None
            try:
                self._ready.extend(self._packets.codec.decode(packet))
            except decoder_faults():
                self._note_damage(None if packet is None else packet.pts)
        frame = self._ready.popleft()
        if frame.is_corrupt:
            self._note_damage(frame.pts)
        return frame

    def _note_damage(self, stamp: int | None) -> None:
        if stamp is None or stamp >= self._floor:
            self._damaged_from = min(self._damaged_from, self._position(stamp))

    def _position(self, stamp: int | None) -> int:
        """Position in decoding order of the packet with a time stamp; the first one where it is not known."""
        return self._packets.position_of.get(stamp, 0)


def _upright(frame: Any) -> np.ndarray:
    """A frame as (H, W, 3) uint8 RGB, turned by the multiple of a right angle that its display matrix names."""
    picture: np.ndarray = frame.to_ndarray(format="rgb24", threads=1)
    quarters = round(frame.rotation / 90) % 4
    return np.rot90(picture, quarters) if quarters else picture
