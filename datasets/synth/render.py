"""Rendering: shapes, a camera and lamps to a picture with depth, normals and shape numbers.

The picture is traced at twice the size and averaged; depth, normals and labels are one sample per pixel,
because an average of two labels is no label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from harness.datasets.synth.geometry import Shape, dot
from harness.datasets.synth.paint import Floats, Patch, albedo, noise

OVERSAMPLING = 2
BACKGROUND = -1
"""Shape number where a ray meets nothing."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: In the world, [3].
        rotation: Rows are the camera's right, down and forward in the world, [3, 3].
        focal: Focal length in widths of the picture.
    """

    position: Floats
    rotation: Floats
    focal: float

    @staticmethod
    def looking(position: Sequence[float] | Floats, yaw: float, pitch: float, focal: float) -> "Camera":
        """Return a camera without roll.

        Args:
            position: In the world, [3].
            yaw: Heading in radians, 0 along +y, growing towards +x.
            pitch: Radians above the horizon.
            focal: Focal length in widths of the picture.
        """
        # Heading 0 looks along +y; right and down follow, so that the rows are orthonormal.
        forward = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)], np.float32)
        right = np.array([np.cos(yaw), -np.sin(yaw), 0], np.float32)
        rotation = np.stack([right, np.cross(forward, right), forward])
        return Camera(np.asarray(position, np.float32), rotation.astype(np.float32), focal)


@dataclass(frozen=True)
class Lamp:
    """A light.

    Attributes:
        position: In the world, [3]; a sun is very far away.
        strength: Brightness of a white surface facing it (without fall-off).
        falloff: Distance in metres at which the brightness has halved; infinity for a sun.
    """

    position: Floats
    strength: float
    falloff: float


@dataclass(frozen=True)
class Scene:
    """Everything a picture is made of.

    Attributes:
        shapes: Solids; their position in the list is their number in a `Frame`.
        camera: Where it is seen from.
        lamps: The first one throws shadows.
        ambient: Light from everywhere.
        noise: Standard deviation of the sensor noise, grey levels.
        sky: Colours at the horizon and overhead, for rays that meet nothing; [2, 3].
        exposure: Mean brightness of the picture after gamma, 0 to 1.
        gain: Factor from radiance to linear brightness; None for the one that gives the exposure. A clip keeps the gain
            of its first frame, or one thing that moves would change every pixel.
    """

    shapes: Sequence[Shape]
    camera: Camera
    lamps: Sequence[Lamp]
    ambient: float
    noise: float
    sky: Floats = field(default_factory=lambda: np.zeros((2, 3), np.float32))
    exposure: float = 0.45
    gain: float | None = None


@dataclass(frozen=True)
class Frame:
    """One rendered picture.

    Attributes:
        image: uint8 [H, W, 3].
        depth: Distance along the optical axis in metres, float32 [H, W]; infinity in the sky.
        normals: Unit vectors in the camera frame (x right, y down, z towards the scene) that face the
            camera, float32 [H, W, 3]; (0, 0, -1) in the sky.
        shape: Number of the shape in the scene, `BACKGROUND` in the sky; int32 [H, W].
        fine_shape: The same at `OVERSAMPLING` times the size.
        gain: Factor from radiance to linear brightness that it was exposed with.
    """

    image: NDArray[np.uint8]
    depth: Floats
    normals: Floats
    shape: NDArray[np.int32]
    fine_shape: NDArray[np.int32]
    gain: float


def render(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> Frame:
    """Render a scene.

    Args:
        scene: What to render.
        size: (height, width) of the picture.
        rng: Draws the sensor noise.
    """
    # Everything is traced at the fine size.
    fine = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    rays = _rays(scene.camera, fine)
    depth, shape = _trace(scene, rays, fine)
    colour, normals, points = _surfaces(scene, rays, depth, shape, fine)
    light = _light(scene, normals, points, shape, fine)
    image, gain = _expose(scene, colour * light, fine, rng)
    # One of each 2 x 2 samples: an average of two depths or labels lies on neither surface.
    pick = (slice(1, None, OVERSAMPLING), slice(1, None, OVERSAMPLING))
    # World to camera: rows of the rotation are right, down, forward. [h, w, 3]
    facing = (normals @ scene.camera.rotation.T).reshape(*fine, 3)[pick]
    return Frame(
        image=image,
        depth=np.ascontiguousarray(depth.reshape(fine)[pick]),
        normals=np.ascontiguousarray(facing),
        shape=np.ascontiguousarray(shape.reshape(fine)[pick]),
        fine_shape=shape.reshape(fine),
        gain=gain,
    )


def pixel_rays(camera: Camera, size: tuple[int, int]) -> Floats:
    """Return the rays of the samples that depth, normals and shapes are, with unit depth, [H, W, 3]."""
    fine = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    return _rays(camera, fine).reshape(*fine, 3)[1::OVERSAMPLING, 1::OVERSAMPLING]


def _rays(camera: Camera, size: tuple[int, int]) -> Floats:
    """Return ray directions in the world with unit depth along the optical axis, [H * W, 3]."""
    # Pixel centres at half integers, the optical axis through the middle.
    focal = camera.focal * size[1]
    x = (np.arange(size[1], dtype=np.float32) + 0.5 - size[1] / 2) / focal
    y = (np.arange(size[0], dtype=np.float32) + 0.5 - size[0] / 2) / focal
    directions = np.stack([*np.meshgrid(x, y), np.ones(size, np.float32)], -1).reshape(-1, 3)
    return (directions @ camera.rotation).astype(np.float32)


def _window(shape: Shape, camera: Camera, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Return the rows and columns that the shape can cover, or None when it is out of sight."""
    # The eight corners of its box in the camera frame. [8, 3]
    corners = (shape.corners() - camera.position) @ camera.rotation.T
    if corners[:, 2].max() < 0.05:
        return None
    # Partly behind the camera: the projection below would turn inside out.
    if corners[:, 2].min() < 0.05:
        return slice(0, size[0]), slice(0, size[1])
    focal = camera.focal * size[1]
    x = corners[:, 0] / corners[:, 2] * focal + size[1] / 2
    y = corners[:, 1] / corners[:, 2] * focal + size[0] / 2
    left, right = max(int(x.min()), 0), min(int(x.max()) + 2, size[1])
    top, bottom = max(int(y.min()), 0), min(int(y.max()) + 2, size[0])
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)


def _trace(scene: Scene, rays: Floats, size: tuple[int, int]) -> tuple[Floats, NDArray[np.int32]]:
    """Return depth and number of the nearest shape of every ray, [H * W] each."""
    depth = np.full(size, np.inf, np.float32)
    number = np.full(size, BACKGROUND, np.int32)
    grid = rays.reshape(*size, 3)
    # A depth buffer: shape by shape, each in the window that it can cover.
    for index, shape in enumerate(scene.shapes):
        window = _window(shape, scene.camera, size)
        if window is None:
            continue
        part = grid[window]
        hit = shape.intersect(scene.camera.position, part.reshape(-1, 3)).reshape(part.shape[:2])
        closer = hit < depth[window]
        depth[window][closer] = hit[closer]
        number[window][closer] = index
    return depth.ravel(), number.ravel()


def _surfaces(
    scene: Scene, rays: Floats, depth: Floats, number: NDArray[np.int32], size: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Return albedo, world normals facing the camera and world points, [H * W, 3] each."""
    colour = np.zeros_like(rays)
    open_air = number == BACKGROUND
    colour[open_air] = _sky(scene, rays[open_air])
    normals = np.broadcast_to(-scene.camera.rotation[2], rays.shape).copy()
    points = scene.camera.position + rays * np.where(np.isfinite(depth), depth, 0)[:, None]
    # Pixels by the shape they show, so that each painter is called once.
    order = np.argsort(number, kind="stable")
    present, start = np.unique(number[order], return_index=True)
    for index, rows in zip(present, np.split(order, start[1:]), strict=True):
        if index == BACKGROUND:
            continue
        shape = scene.shapes[index]
        local = ((points[rows] - shape.centre) @ (shape.axes / shape.scale)).astype(np.float32)
        # Normals face the camera: interiors of boxes are seen from inside.
        n = shape.normal(local)
        towards = dot(n, rays[rows])
        normals[rows] = n * -np.sign(towards)[:, None]
        uv, half = shape.surface(local)
        # Size of a pixel on the surface; textures finer than two of them fade to their mean.
        pixel = depth[rows] / (scene.camera.focal * size[1]) / np.maximum(-towards, 0.1) * OVERSAMPLING
        fade = np.clip(shape.material.period / (2 * pixel) - 0.5, 0, 1)
        colour[rows] = albedo(shape.material, Patch(uv.astype(np.float32), half, fade.astype(np.float32)))
    return colour, normals.astype(np.float32), points.astype(np.float32)


def _sky(scene: Scene, rays: Floats) -> Floats:
    """Return the colour of the sky with clouds along every ray, [H * W, 3]."""
    up = np.clip(rays[:, 2] / np.sqrt(dot(rays, rays)) * 2, 0, 1)[:, None]
    sky = scene.sky[0] + (scene.sky[1] - scene.sky[0]) * up
    # Clouds lie on a plane overhead: the farther towards the horizon, the denser.
    plane = rays[:, :2] / (np.maximum(rays[:, 2:], 0) + 0.15)
    cloud = np.clip(noise(plane * 0.9, 5) + 0.5 * noise(plane * 2.1, 6) - 0.8, 0, 0.6)[:, None]
    clouded: Floats = (sky + (scene.sky[0] - sky) * cloud).astype(np.float32)
    return clouded


def _light(scene: Scene, normals: Floats, points: Floats, number: NDArray[np.int32], size: tuple[int, int]) -> Floats:
    """Return the light that falls on every point, [H * W, 1]."""
    # Surfaces that face upwards see more of the surroundings.
    light = scene.ambient * (0.85 + 0.15 * normals[:, 2])
    gloss = np.zeros_like(light)
    gloss_of = np.array([s.material.gloss for s in scene.shapes] + [0.0], np.float32)
    eye = points - scene.camera.position
    eye = eye / np.maximum(np.sqrt(dot(eye, eye)), 1e-6)[:, None]
    for k, lamp in enumerate(scene.lamps):
        way = lamp.position - points
        distance = np.sqrt(dot(way, way))
        way = way / distance[:, None]
        # Lambert: the cosine to the lamp, with a fall-off of 1 / (1 + (d / falloff)^2).
        facing = np.maximum(dot(normals, way), 0)
        power = lamp.strength / (1 + (distance / lamp.falloff) ** 2)
        seen = _visibility(scene, lamp, points, normals, size) if k == 0 else 1.0
        light = light + power * facing * seen
        # Phong: the cosine between the mirrored beam and the way back to the eye, to the 24th power.
        mirror = dot(way, eye) - 2 * facing * dot(normals, eye)
        gloss = gloss + power * seen * np.clip(mirror, 0, 1) ** 24
    # The last entry, index -1, is the sky, which shines itself.
    glow = np.array([s.material.glow for s in scene.shapes] + [1.0], np.float32)
    shining = np.where(number == BACKGROUND, 0, light + gloss_of[number] * gloss)
    return (shining + glow[number])[:, None].astype(np.float32)


def _visibility(scene: Scene, lamp: Lamp, points: Floats, normals: Floats, size: tuple[int, int]) -> Floats:
    """Return how much of the lamp every point sees, [H * W]; found at the size of the picture and softened."""
    # Shadows are soft, so that a quarter of the points is enough.
    coarse = (slice(1, None, OVERSAMPLING), slice(1, None, OVERSAMPLING))
    p = points.reshape(*size, 3)[coarse].reshape(-1, 3)
    n = normals.reshape(*size, 3)[coarse].reshape(-1, 3)
    rows = np.flatnonzero(dot(n, lamp.position - p) > 0)
    # A centimetre off the surface, or a surface would shade itself.
    beams = (p + np.float32(0.01) * n - lamp.position)[rows]
    length = np.sqrt(dot(beams, beams))
    heading = beams / length[:, None]
    lit = np.ones(len(rows), bool)
    for shape in scene.shapes:
        if shape.casts:
            # Only points behind the bounding ball of a shape, and not in shadow yet, are tried.
            near = np.flatnonzero(_in_cone(shape, lamp.position, heading, length) & lit)
            if near.size:
                lit[near] = shape.intersect(lamp.position, beams[near]) >= 0.999
    blocked = np.zeros(len(p), bool)
    blocked[rows[~lit]] = True
    seen = 1 - blocked.reshape(size[0] // OVERSAMPLING, size[1] // OVERSAMPLING).astype(np.float32)
    soft = uniform_filter(seen.repeat(OVERSAMPLING, 0).repeat(OVERSAMPLING, 1), 5, mode="nearest")
    return soft.ravel()


def _in_cone(shape: Shape, apex: Floats, heading: Floats, length: Floats) -> NDArray[np.bool_]:
    """Return which points lie behind or in the bounding ball of the shape, seen from the apex.

    Args:
        shape: The shape.
        apex: Where the beams start, [3].
        heading: Unit vectors from the apex to the points, [N, 3].
        length: Distances from the apex to the points, [N].
    """
    axis = shape.centre - apex
    distance = float(np.sqrt(axis @ axis))
    radius = float(np.sqrt(shape.half @ shape.half)) * max(1.0, shape.taper)
    if distance <= radius:
        return np.ones(len(heading), bool)
    # Cosine of the half angle under which the ball is seen from the apex.
    cosine = np.float32(np.sqrt(1 - (radius / distance) ** 2))
    return (heading @ (axis / np.float32(distance)) >= cosine) & (length > distance - radius)


def _expose(
    scene: Scene, radiance: Floats, size: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], float]:
    """Average the fine samples, choose the exposure, apply gamma 2.2 and add sensor noise; return the gain, too."""
    k = OVERSAMPLING
    # [h, 2, w, 2, 3] averaged over the fine samples of each pixel.
    linear = radiance.reshape(size[0] // k, k, size[1] // k, k, 3).mean((1, 3))
    # The exposure is chosen in the linear domain so that the mean after gamma is as asked for.
    gain = scene.exposure**2.2 / max(float(linear.mean()), 1e-3) if scene.gain is None else scene.gain
    linear = linear * gain
    grey = 255 * np.clip(linear, 0, 1) ** (1 / 2.2)
    grey = grey + scene.noise * rng.standard_normal(grey.shape, np.float32)
    image: NDArray[np.uint8] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return image, gain
