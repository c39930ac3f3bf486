"""People made of capsules, in a random pose, with the part names of PASCAL-Part."""

import numpy as np

from harness.datasets.synth.kit import Kit
from harness.datasets.synth.paint import Floats, Material
from harness.datasets.synth.palette import stuff

BONES = {"uarm": 0.29, "larm": 0.26, "uleg": 0.43, "lleg": 0.42}
"""Lengths in metres of a person 1.72 m tall."""

HIP, SHOULDER, HEAD = 0.92, 1.42, 1.62


def person(rng: np.random.Generator, *, seated: bool = False) -> Kit:
    """Return a person who faces +y; seated, the hips are at z = 0.92 all the same."""
    kit = Kit("person")
    skin, shirt, trousers = (stuff(name, rng) for name in ("skin", "shirt", "trousers"))
    # Torso: chest, shoulders, hips.
    kit.ball(shirt, (0, 0, 1.22), (0.36, 0.23, 0.60), part="torso")
    kit.limb(shirt, (-0.13, 0, SHOULDER - 0.04), (0.13, 0, SHOULDER - 0.04), 0.085, part="torso")
    kit.limb(trousers, (-0.07, 0, HIP + 0.04), (0.07, 0, HIP + 0.04), 0.12, part="torso")
    # Head: neck, skull, hair that is long on two of five.
    hair = stuff("hair", rng)
    long = rng.random() < 0.4
    kit.limb(skin, (0, 0, SHOULDER), (0, 0.01, HEAD - 0.08), 0.055, part="neck")
    kit.ball(skin, (0, 0.01, HEAD), (0.185, 0.21, 0.25), part="head")
    kit.ball(hair, (0, -0.025, HEAD + 0.035), (0.21, 0.21, 0.23), part="hair")
    if long:
        kit.limb(hair, (0, -0.07, HEAD), (0, -0.08, HEAD - 0.16), 0.08, part="hair")
    for side in ("l", "r"):
        sign = -1.0 if side == "l" else 1.0
        sleeve = shirt if rng.random() < 0.5 else skin
        _arm(kit, side, sign, shirt, sleeve, skin, rng)
        _leg(kit, side, sign, trousers, stuff("shoe", rng), rng, seated=seated)
    return kit


def _arm(
    kit: Kit, side: str, sign: float, shirt: Material, sleeve: Material, skin: Material, rng: np.random.Generator
) -> None:
    start = np.array([sign * 0.21, 0, SHOULDER - 0.03])
    # Most arms hang, some are raised to the side; the elbow bends forwards.
    lift, swing = rng.choice([0.12, 0.5, 1.4, 2.2], p=[0.5, 0.25, 0.15, 0.1]), rng.normal(0.1, 0.35)
    elbow = start + BONES["uarm"] * _direction(lift, swing, sign)
    bend = lift + rng.uniform(-0.1, 0.9)
    hand = elbow + BONES["larm"] * _direction(bend, swing + abs(rng.normal(0.4, 0.4)), sign)
    kit.limb(shirt, start, elbow, 0.058, part=f"{side}uarm")
    kit.limb(sleeve, elbow, hand, 0.047, part=f"{side}larm")
    kit.ball(skin, hand + 0.05 * (hand - elbow) / BONES["larm"], (0.10, 0.10, 0.12), part=f"{side}hand")


def _leg(
    kit: Kit, side: str, sign: float, cloth: Material, shoe: Material, rng: np.random.Generator, *, seated: bool
) -> None:
    start = np.array([sign * 0.095, 0, HIP])
    # Radians forwards: seated thighs are almost level.
    swing = 1.5 if seated else float(rng.normal(0, 0.22))
    spread = abs(float(rng.normal(0.06, 0.06)))
    knee = start + BONES["uleg"] * _direction(spread, swing, sign)
    # A knee only bends backwards.
    foot = knee + BONES["lleg"] * _direction(spread * 0.5, 0.05 if seated else swing - abs(rng.normal(0, 0.25)), sign)
    kit.limb(cloth, start, knee, 0.085, part=f"{side}uleg")
    kit.limb(cloth, knee, foot, 0.065, part=f"{side}lleg")
    toe = foot + np.array([sign * 0.02, 0.13, -0.03])
    kit.limb(shoe, foot + np.array([0, 0, -0.03]), toe, 0.048, part=f"{side}foot")


def _direction(lift: float, swing: float, sign: float) -> Floats:
    """Return the unit vector of a bone: 0, 0 hangs down, lift moves it sideways, swing forwards."""
    return np.array([sign * np.sin(lift), np.cos(lift) * np.sin(swing), -np.cos(lift) * np.cos(swing)], np.float32)
