"""Pixels of the rendered clip: shaded capsules and faces over a floor, drawn only for the frames that are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from imu_video.errors import RecordingError
from imu_video.simulation.camera import Camera
from imu_video.simulation.person import Person, stream
from imu_video.simulation.scene import Shapes, add_body, add_props
from imu_video.simulation.session import PlacedBout


class RenderedVideo:
    """A FrameSource that renders frames of a session when they are read.

    Args:
        times: (F,) seconds of the frames.
        joints: (F, J, 3) metres.
        gaze: (F, 3) unit vectors out of the face.
        aim: (F, 3) points that the camera looks at.
        bouts: bouts of the session, for the props.
        person: the person, for colours and size.
        camera: view, light and room.
        seed: seed of the pixel noise.
    """

    def __init__(
        self,
        *,
        times: np.ndarray,
        joints: np.ndarray,
        gaze: np.ndarray,
        aim: np.ndarray,
        bouts: Sequence[PlacedBout],
        person: Person,
        camera: Camera,
        seed: str,
    ) -> None:
        self.camera = camera
        self._times, self._joints, self._gaze, self._aim = times, joints, gaze, aim
        self._bouts, self._person, self._seed = tuple(bouts), person, seed
        self._which = np.searchsorted([b.until for b in self._bouts[:-1]], times)

    @property
    def times(self) -> np.ndarray:
        """(F,) seconds of each frame."""
        return self._times

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Render frames, (len(indices), H, W, 3) uint8 RGB.

        Raises:
            RecordingError: an index beyond the video.
        """
        out = np.empty((len(indices), *self.camera.size, 3), dtype=np.uint8)
        for row, index in enumerate(indices):
            if not 0 <= index < len(self._times):
                raise RecordingError(
                    f"frame {index} is outside the rendered video, which has {len(self._times)} frames"
                )
            out[row] = self._render(int(index))
        return out

    def project(self, index: int) -> np.ndarray:
        """Pixels (J, 2) as (column, row) of the joints in one frame."""
        return self.camera.project(self._joints[index].astype(np.float64), self._aim[index])[0]

    def _render(self, index: int) -> np.ndarray:
        camera, bout = self.camera, self._bouts[self._which[index]]
        joints = self._joints[index].astype(np.float64)
        gaze, aim = self._gaze[index].astype(np.float64), self._aim[index]
        origin = np.array(bout.origin)
        eye = camera.position(aim)
        image = self._room(eye, origin[2] + bout.floor, joints)
        shapes = Shapes()
        # Half the width of what the camera sees at the person's distance, and a little more.
        reach = 0.5 * camera.size[1] / camera.focal * camera.distance * 1.25
        add_props(shapes, bout.props, origin, joints, gaze, eye, reach)
        add_body(shapes, joints, gaze, self._person.body, self._person["girth"], self._person.look)
        _draw(image, shapes, camera, aim)
        noise = self._noise
        shift = stream(self._seed, "frame", index).integers(0, noise.shape[1], 2)
        image = image * (255.0 * camera.gain) + np.roll(noise, tuple(shift), axis=(0, 1))
        return np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0)

    @cached_property
    def _noise(self) -> np.ndarray:
        return (stream(self._seed, "noise").normal(0, self.camera.noise, self.camera.size) + 0.5).astype(np.float32)

    @cached_property
    def _rays(self) -> np.ndarray:
        """(3, H, W) direction of each pixel in world axes."""
        height, width = self.camera.size
        right = (np.arange(width) - (width - 1) / 2) / self.camera.focal
        down = (np.arange(height) - (height - 1) / 2) / self.camera.focal
        local = np.stack(np.broadcast_arrays(right[None, :], down[:, None], 1.0))
        return np.einsum("ki,khw->ihw", self.camera.axes, local).astype(np.float32)

    @cached_property
    def _wall(self) -> np.ndarray:
        """(3, H, W) background above the floor: a wall that is lighter towards the top."""
        rise = np.clip(self._rays[2], 0, 0.6)
        return (self.camera.wall[:, None, None] * (0.82 + 0.3 * rise)).astype(np.float32)

    def _room(self, eye: np.ndarray, floor: float, joints: np.ndarray) -> np.ndarray:
        """Wall, patterned floor and the person's soft shadow, (3, H, W) float32 in 0..1."""
        rays, camera = self._rays, self.camera
        far = 14.0
        height = float(eye[2] - floor)
        # The camera does not roll, so each image row is a horizontal line of the floor and has one depth.
        steep = -rays[2, :, 0]
        first = int(np.searchsorted(steep, max(height, 0.2) / far))
        image = self._wall.copy()
        if first >= len(steep) or height <= 0.2:
            return image
        scale = (height / steep[first:])[:, None]
        x = rays[0, first:] * scale + np.float32(eye[0])
        y = rays[1, first:] * scale + np.float32(eye[1])
        light = (1.0 - 0.035 * scale).astype(np.float32)
        shade = np.broadcast_to(light, x.shape).copy()
        if camera.pattern != "plain":
            turn = np.float32(np.pi / camera.pattern_size)
            wave = np.sin(x * turn) if camera.pattern == "planks" else np.sin(x * turn) * np.sin(y * turn)
            clarity = np.float32(0.07) * np.exp(-0.12 * scale).astype(np.float32)
            shade += clarity * np.clip(wave * 6.0, -1, 1)
        pelvis = joints[0]
        above = max(float(pelvis[2] - floor), 0.3)
        if above < 1.6:
            spread = 1.0 / (0.1 + 0.1 * above)
            d2 = (x - np.float32(pelvis[0])) ** 2 + (y - np.float32(pelvis[1])) ** 2
            shade *= 1 - np.float32(0.35) * np.exp(-d2 * np.float32(spread))
        image[:, first:] = shade * camera.ground.astype(np.float32)[:, None, None]
        return image


def _draw(image: np.ndarray, shapes: Shapes, camera: Camera, aim: np.ndarray) -> None:
    """Paint all shapes into (3, H, W), far ones first."""
    count = len(shapes.starts)
    points = np.concatenate([np.array(shapes.starts), np.array(shapes.ends), *shapes.faces])
    projected, depths = camera.project(points, aim)
    pixels, depth = projected.tolist(), depths.tolist()
    light = (camera.axes @ camera.light).tolist()
    order: list[tuple[float, int, int]] = []
    for i in range(count):
        if min(depth[i], depth[count + i]) > 0.15:
            order.append((0.5 * (depth[i] + depth[count + i]) - shapes.nearer[i], 0, i))
    for j in range(len(shapes.faces)):
        corners = depth[2 * count + 4 * j : 2 * count + 4 * j + 4]
        if min(corners) > 0.15:
            order.append((sum(corners) / 4, 1, j))
    order.sort(reverse=True)
    for _, kind, i in order:
        if kind == 0:
            r0, r1 = shapes.radii[i]
            scale = camera.focal / depth[i], camera.focal / depth[count + i]
            widths = shapes.widths[i]
            _capsule(
                image,
                (*pixels[i], *pixels[count + i]),
                (r0 * scale[0], r1 * scale[1]),
                shapes.colours[i],
                (light[0], light[1], light[2]),
                camera.ambient,
                None
                if widths is None
                else (
                    *(camera.axes[:2] @ widths[0] * scale[0]).tolist(),
                    *(camera.axes[:2] @ widths[1] * scale[1]).tolist(),
                ),
            )
        else:
            lit = camera.ambient + (1 - camera.ambient) * max(float(shapes.normals[i] @ camera.light), 0.0)
            outline = pixels[2 * count + 4 * i : 2 * count + 4 * i + 4]
            _face(image, outline, shapes.face_colours[i] * min(1.0, 0.25 + 0.85 * lit))


def _capsule(
    image: np.ndarray,
    ends: tuple[float, float, float, float],
    radii: tuple[float, float],
    colour: np.ndarray,
    light: tuple[float, float, float],
    ambient: float,
    widths: tuple[float, float, float, float] | None,
) -> None:
    """Blend one rounded cone between two pixels, shaded as if it were round; ``widths`` at its ends make it a slab.

    Coordinates are (column, row) of both ends; the light is in camera axes (right, down, forward).
    """
    (ax, ay, bx, by), (ra, rb) = ends, radii
    wide_a = math.hypot(widths[0], widths[1]) if widths else 0.0
    wide_b = math.hypot(widths[2], widths[3]) if widths else 0.0
    reach_a, reach_b = ra + wide_a + 1, rb + wide_b + 1
    x0 = max(int(min(ax - reach_a, bx - reach_b)), 0)
    y0 = max(int(min(ay - reach_a, by - reach_b)), 0)
    x1 = min(int(max(ax + reach_a, bx + reach_b)) + 2, image.shape[2])
    y1 = min(int(max(ay + reach_a, by + reach_b)) + 2, image.shape[1])
    if x0 >= x1 or y0 >= y1:
        return
    # Python floats, unlike numpy float64 scalars, keep float32 arrays float32.
    qx = np.arange(x0, x1, dtype=np.float32)[None, :] - ax
    qy = np.arange(y0, y1, dtype=np.float32)[:, None] - ay
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy + 1e-6
    along = qx * (dx / length2) + qy * (dy / length2)
    np.minimum(np.maximum(along, 0.0, out=along), 1.0, out=along)
    ox, oy = qx - along * dx, qy - along * dy
    r = along * (rb - ra) + ra
    if widths:
        wx, wy = along * (widths[2] - widths[0]) + widths[0], along * (widths[3] - widths[1]) + widths[1]
        across = (ox * wx + oy * wy) / (wx * wx + wy * wy + 0.05)
        np.minimum(np.maximum(across, -1.0, out=across), 1.0, out=across)
        ox, oy = ox - across * wx, oy - across * wy
    distance2 = ox * ox + oy * oy
    cover = r - np.sqrt(distance2) + 0.5
    np.minimum(np.maximum(cover, 0.0, out=cover), 1.0, out=cover)
    inverse = 1.0 / np.maximum(r, 0.5)
    nx, ny = ox * inverse, oy * inverse
    if widths:  # round off the flat part
        bulge = across * (0.55 / (wide_a + ra))
        nx, ny = nx + bulge * wx, ny + bulge * wy
        facing = np.sqrt(np.maximum(1.0 - nx * nx - ny * ny, 0.0))
    else:
        facing = np.sqrt(np.maximum(1.0 - distance2 * inverse * inverse, 0.0))
    shade = np.maximum(nx * light[0] + ny * light[1] - facing * light[2], 0.0) * (1 - ambient) + (ambient + 0.1)
    # The silhouette darkens a little, which separates limbs of one colour.
    shade *= facing * 0.22 + 0.78
    patch = image[:, y0:y1, x0:x1]
    patch += cover * (shade * colour[:, None, None].astype(np.float32) - patch)


def _face(image: np.ndarray, corners: list[list[float]], colour: np.ndarray) -> None:
    """Blend one flat convex polygon given by its corners (column, row)."""
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    x0, y0 = max(int(min(xs)) - 1, 0), max(int(min(ys)) - 1, 0)
    x1, y1 = min(int(max(xs)) + 2, image.shape[2]), min(int(max(ys)) + 2, image.shape[1])
    if x0 >= x1 or y0 >= y1:
        return
    following = [*corners[1:], corners[0]]
    area = sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(corners, following, strict=True))
    if abs(area) < 0.5:
        return
    # Signed distances to the edges, positive inside.
    edges = []
    for p, q in zip(corners, following, strict=True):
        ex, ey = q[0] - p[0], q[1] - p[1]
        norm = math.copysign(1.0, area) / max(math.hypot(ex, ey), 1e-6)
        edges.append((-ey * norm, ex * norm, (ey * p[0] - ex * p[1]) * norm))
    a, b, c = np.array(edges, dtype=np.float32).T[:, :, None, None]
    columns = np.arange(x0, x1, dtype=np.float32)[None, None, :]
    rows = np.arange(y0, y1, dtype=np.float32)[None, :, None]
    cover = (a * columns + (b * rows + c)).min(axis=0) + 0.5
    np.minimum(np.maximum(cover, 0.0, out=cover), 1.0, out=cover)
    patch = image[:, y0:y1, x0:x1]
    patch += cover * (colour.astype(np.float32)[:, None, None] - patch)
