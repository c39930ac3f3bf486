"""Rays against solids, and what the renderer makes of them, by hand formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.datasets.synth.geometry import Shape
from harness.datasets.synth.kit import Kit
from harness.datasets.synth.paint import PAINTS, Material, Patch, albedo
from harness.datasets.synth.palette import LOOKS, stuff
from harness.datasets.synth.render import BACKGROUND, Camera, Lamp, Scene, render

GREY = Material((0.5, 0.5, 0.5))
UNIT = st.floats(-1, 1, width=32)


def shape(form, half=(1, 1, 1), centre=(0, 0, 0), axes=None, taper=1.0):
    axes = np.eye(3, dtype=np.float32) if axes is None else axes
    return Shape(form, np.float32(centre), axes, np.float32(half), GREY, "thing", 1, taper=taper)


def shoot(solid, origin, direction):
    return float(solid.intersect(np.float32(origin), np.float32([direction]))[0])


@pytest.mark.parametrize(
    ("solid", "origin", "direction", "expected"),
    [
        (shape("box", (1, 2, 3)), (-5, 0, 0), (1, 0, 0), 4),
        (shape("box", (1, 2, 3)), (0, -5, 0), (0, 2, 0), 1.5),
        (shape("box", (1, 2, 3)), (-5, 2.1, 0), (1, 0, 0), np.inf),
        (shape("box", (1, 2, 3)), (5, 0, 0), (1, 0, 0), np.inf),
        (shape("ellipsoid", (1, 2, 3)), (0, 0, 10), (0, 0, -1), 7),
        (shape("ellipsoid", (1, 1, 1)), (0.6, 0, 10), (0, 0, -1), 9.2),
        (shape("frustum", (1, 1, 2)), (-5, 0, 1), (1, 0, 0), 4),
        (shape("frustum", (1, 1, 2)), (0.5, 0, 5), (0, 0, -1), 3),
        (shape("frustum", (2, 2, 1), taper=0.5), (-5, 0, 0), (1, 0, 0), 3.5),
        (shape("frustum", (2, 2, 1), taper=0.5), (1.5, 0, 5), (0, 0, -1), 5),
        (shape("capsule", (1, 1, 3)), (-5, 0, 1.9), (1, 0, 0), 4),
        (shape("capsule", (1, 1, 3)), (0, 0, 5), (0, 0, -1), 2),
        (shape("capsule", (1, 1, 3)), (-5, 0, 2.6), (1, 0, 0), 4.2),
    ],
)
def test_where_a_ray_meets_a_solid(solid, origin, direction, expected):
    assert shoot(solid, origin, direction) == pytest.approx(expected, rel=1e-5)


@given(
    st.sampled_from(["box", "ellipsoid", "frustum", "capsule"]),
    arrays(np.float32, 3, elements=st.floats(0.25, 2, width=32)),
    arrays(np.float32, 3, elements=UNIT),
    st.floats(-3, 3),
)
def test_hits_lie_on_the_surface_and_normals_face_outwards(form, half, aim, yaw):
    if form == "capsule":
        half = np.float32([half[0], half[0], half[0] + half[2]])
    kit = Kit("thing")
    kit.add(form, GREY, (0.3, -0.2, 0.1), 2 * half, taper=0.7)
    (solid,) = kit.placed((1, 2, 0), yaw, 1)
    origin = np.float32([9, -8, 5])
    direction = solid.centre + 0.5 * aim * half - origin
    t = shoot(solid, origin, direction)
    if not np.isfinite(t):
        return
    local = ((origin + t * direction - solid.centre) @ (solid.axes / solid.scale))[None]
    x, y, z = local[0]
    reach = solid.half[2] / solid.half[0] - 1
    distance = {
        "box": np.abs(local).max() - 1,
        "ellipsoid": np.linalg.norm(local) - 1,
        "frustum": max(np.hypot(x, y) - (0.85 - 0.15 * z), abs(z) - 1),
        "capsule": np.linalg.norm([x, y, z - np.clip(z, -reach, reach)]) - 1,
    }[form]
    assert distance == pytest.approx(0, abs=2e-3)
    normal = solid.normal(local.astype(np.float32))[0]
    assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-4)
    assert normal @ direction < 1e-2 * np.linalg.norm(direction)


def scene(shapes, pitch=0.0, **options):
    camera = Camera.looking((0, 0, 1.5), 0.0, pitch, 1.0)
    return Scene(shapes, camera, (Lamp(np.float32([0, 0, 2]), 1.0, 5.0),), 0.4, 0.0, **options)


def frame_of(kit, pitch=0.0, size=(20, 30)):
    return render(scene(kit.placed((0, 0, 0), 0, 1), pitch), size, np.random.default_rng(0))


def test_a_wall_ahead_has_constant_depth_and_faces_the_camera():
    kit = Kit("wall")
    kit.add("box", GREY, (0, 3.05, 1.5), (20, 0.1, 20))
    frame = frame_of(kit)
    np.testing.assert_allclose(frame.depth, 3, rtol=1e-5)
    np.testing.assert_allclose(frame.normals, np.broadcast_to([0, 0, -1], (20, 30, 3)), atol=1e-5)


def test_the_floor_below_a_tilted_camera():
    pitch = np.deg2rad(-40)
    kit = Kit("floor")
    kit.add("box", GREY, (0, 0, -0.05), (60, 60, 0.1))
    frame = frame_of(kit, pitch)
    # Up, (0, 0, 1), seen from a camera that looks down by 40 degrees: y is down, z is forward.
    expected = [0, -np.cos(pitch), np.sin(pitch)]
    np.testing.assert_allclose(frame.normals[5, 7], expected, atol=1e-5)
    # The labels' sample of a pixel lies a quarter pixel right of and below its middle.
    row, column = 12, 4
    y = (row + 0.75 - 10) / 30
    np.testing.assert_allclose(frame.depth[row, column], 1.5 / (np.sin(-pitch) + y * np.cos(pitch)), rtol=1e-4)


def test_where_nothing_is_there_is_sky():
    kit = Kit("thing")
    kit.ball(GREY, (0, 5, 1.5), (1, 1, 1))
    frame = frame_of(kit)
    assert frame.shape[0, 0] == BACKGROUND
    assert np.isinf(frame.depth[0, 0])
    assert frame.shape[10, 15] == 0
    assert frame.depth[10, 15] == pytest.approx(4.5, abs=0.05)


def test_a_thing_throws_a_shadow():
    floor, ball = Kit("floor"), Kit("ball")
    floor.add("box", GREY, (0, 3, -0.05), (20, 20, 0.1), casts=False)
    ball.ball(GREY, (0, 3, 1), (0.8, 0.8, 0.8))
    shapes = floor.placed((0, 0, 0), 0, 1)
    lamp = (Lamp(np.float32([0, 3, 3]), 1.0, 5.0),)
    views = []
    for things in (shapes, shapes + ball.placed((0, 0, 0), 0, 2)):
        camera = Camera.looking((0, 0, 1.5), 0.0, -0.45, 1.0)
        views.append(render(Scene(things, camera, lamp, 0.4, 0.0), (40, 60), np.random.default_rng(0)).image)
    below = 60 * (1.5 * np.cos(0.45) - 3 * np.sin(0.45)) / (3 * np.cos(0.45) + 1.5 * np.sin(0.45))
    row = int(20 + below)
    assert views[1][row, 30].mean() < 0.8 * views[0][row, 30].mean()
    assert views[1][row, 2].mean() > 0.95 * views[0][row, 2].mean()


@pytest.mark.parametrize("paint", sorted(PAINTS))
def test_every_paint_gives_a_varied_albedo(paint):
    rng = np.random.default_rng(0)
    uv = rng.uniform(-0.5, 0.5, (2000, 2)).astype(np.float32)
    patch = Patch(uv, np.full_like(uv, 0.5), np.ones(2000, np.float32))
    material = Material((0.6, 0.4, 0.2), paint, 0.1, 0.8, (0.1, 0.2, 0.7), seed=3)
    colour = albedo(material, patch)
    assert colour.shape == (2000, 3)
    assert colour.min() >= 0
    assert colour.max() <= 1
    assert colour.std(0).max() > 0.005


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_every_stuff_can_be_had_in_varied_tones(name):
    rng = np.random.default_rng(0)
    materials = [stuff(name, rng) for _ in range(3)]
    assert len({m.colour for m in materials}) == 3
    assert all(m.paint in PAINTS and min(m.colour) >= 0 and max(m.colour) <= 1 for m in materials)
