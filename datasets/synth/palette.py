"""Looks of the stuffs: colours and texture by name, with a little variation from thing to thing."""

from dataclasses import dataclass

import numpy as np

from harness.datasets.synth.paint import Colour, Material


@dataclass(frozen=True)
class Look:
    """The family of materials of one stuff.

    Attributes:
        colours: sRGB hex colours to choose from, separated by spaces.
        paint: Name of the texture.
        period: Size of the texture's features, metres.
        contrast: Strength of the texture.
        second: sRGB hex colours of the texture's other colour.
        gloss: Strength of highlights.
        glow: Own light.
    """

    colours: str
    paint: str = "plain"
    period: float = 0.2
    contrast: float = 0.3
    second: str = "202020"
    gloss: float = 0.0
    glow: float = 0.0


def stuff(name: str, rng: np.random.Generator) -> Material:
    """Return one material of the stuff called `name`."""
    look = LOOKS[name]
    tint = rng.normal(1, 0.05, 3) * rng.normal(1, 0.06)
    return Material(
        colour=_pick(look.colours, rng, tint),
        paint=look.paint,
        period=look.period * float(rng.uniform(0.85, 1.2)),
        contrast=look.contrast * float(rng.uniform(0.8, 1.2)),
        second=_pick(look.second, rng, tint),
        gloss=look.gloss,
        glow=look.glow,
        seed=int(rng.integers(1 << 16)),
    )


def _pick(colours: str, rng: np.random.Generator, tint: np.ndarray) -> Colour:
    """Return one of the hex colours as linear RGB, tinted."""
    chosen = str(rng.choice(colours.split()))
    srgb = np.array([int(chosen[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    red, green, blue = (float(v) for v in np.clip(srgb**2.2 * tint, 0, 0.95))
    return red, green, blue


LOOKS: dict[str, Look] = {
    # Rooms.
    "wall": Look("ddd3bd cfd6cf c9d3de e2d8cc d8c9b8", "plain", 0.6, 0.12),
    "wallpaper": Look("d9cfae c8d2c4 d6c3bb", "stripes", 0.3, 0.35, "c4b48e b2bfae c4a89c"),
    "wall tiles": Look("d4e0e2 dfe3da", "tiles", 0.2, 0.3, "a9b4b6"),
    "ceiling": Look("f2f1ec ecedee", "plain", 0.8, 0.06),
    "parquet": Look("a8763f 8f5f33 b98b55", "planks", 0.11, 0.5, gloss=0.15),
    "carpet": Look("8d8577 7d828a 96806a", "rough", 0.05, 0.6, "5c564c"),
    "floor tiles": Look("b7b0a2 9fa6a8", "tiles", 0.33, 0.5, "6e6a62", gloss=0.15),
    # Furniture.
    "bedding": Look("4c6fb0 5a7fc4 3f6aa0", "stripes", 0.22, 0.55, "8fb0e0 c9d7ee"),
    "sheet": Look("8fb0e0 a5bfe6", "plain", 0.3, 0.15),
    "bed frame": Look("5a3a22 6b4528", "wood", 0.5, 0.4),
    "pillow": Look("f0e4ea eadfe8", "plain", 0.1, 0.2),
    "cushion": Look("e8c8d8 f0d8e4", "plain", 0.1, 0.2),
    "sofa cloth": Look("7a2430 8a2f33 6c1f38", "rough", 0.03, 0.5, "4a1420"),
    "chair": Look("d2601e c8551c e07428", "rough", 0.04, 0.35, "a03c10"),
    "chair leg": Look("2a2a2c 3a3230"),
    "table": Look("d8b070 cfa562", "wood", 0.6, 0.35, gloss=0.2),
    "desk": Look("c9a23e bf9636", "wood", 0.7, 0.3, gloss=0.1),
    "cabinet": Look("8a5a3a 96643f 7d4f33", "doors", 0.5, 0.8, "3a2416"),
    "wall cabinet": Look("9a6a42 a37048", "doors", 0.45, 0.8, "42291a"),
    "dresser": Look("5e2c1c 68321f", "drawers", 0.24, 0.9, "c8a860"),
    "night stand": Look("4a3020 52341f", "drawers", 0.22, 0.9, "d0b070"),
    "bookcase": Look("3f2b1d 4a3222", "wood", 0.4, 0.3),
    "books": Look("808080", "books", 0.045, 1.0),
    "shelf board": Look("e6e0d0 eeeade", "plain", 0.3, 0.1),
    "lamp shade": Look("ffe9a8 ffe2a0", "plain", 0.2, 0.1, glow=1.1),
    "lamp foot": Look("4a4030 2c2a28", gloss=0.5),
    "television": Look("0e0f12 15171c", "screen", 0.02, 0.10, "3a4a60", gloss=0.4),
    "fridge": Look("b8bec4 c4c8cc", "drawers", 0.95, 0.6, "5e646a", gloss=0.4),
    "counter": Look("55585c 4c4a50", "rough", 0.03, 0.9, "9a9a98", gloss=0.3),
    "porcelain": Look("f4f6f6 eef0f2", "plain", 0.4, 0.04, gloss=0.5),
    "bath": Look("e6f0f2 e0eaf0", "plain", 0.4, 0.04, gloss=0.5),
    "steel": Look("8e979e 9aa2a8", "plain", 0.1, 0.2, gloss=0.6),
    "cardboard": Look("b98a58 c29560", "label", 0.2, 0.8, "dcc8a0"),
    "bag": Look("2e5a3a 35663f", "rough", 0.03, 0.4, "18301e"),
    "paper": Look("f6f6f2 f0f2f4", "scribble", 0.04, 0.5, "505058"),
    "clothes": Look("9a4a9a 3f8a8a 8a7a2a", "folds", 0.09, 0.45),
    "towel": Look("3fb0b0 e078a0 48b8a0", "stripes", 0.12, 0.3, "e8f4f4"),
    # On walls and floors.
    "door": Look("a8581f b2642a 9c5220", "panels", 0.2, 0.55, "5a2c0c"),
    "door frame": Look("e4dccb eae4d6"),
    "knob": Look("d8b860", gloss=0.8),
    "window": Look("f0efe8 e6e2d6", "panes", 0.05, 1.0, glow=0.7),
    "picture": Look("1e1814 6a4a20 2a2a2e", "art", 0.035, 1.0),
    "mirror": Look("8fa4b4 9cb0bc", "screen", 0.035, 0.45, "dce8f0", gloss=0.6),
    "whiteboard": Look("f4f8fa f0f4f8", "scribble", 0.13, 0.8, "3858a0"),
    "curtain": Look("4f7a34 5c8a3a 486e30", "folds", 0.16, 0.55),
    "blinds": Look("dcd0a6 d2c69c", "slats", 0.08, 0.7),
    "shower curtain": Look("bfe0dc c8d8ec", "dots", 0.16, 0.7, "3a7ab0 3a9a90"),
    "rug": Look("7a1f2a 1f3a6a 6a2a1a", "rug", 0.14, 0.85, "d8b878 e0cfa0"),
    "bath mat": Look("6a8ac0 58a078", "rug", 0.1, 0.5, "e6eef4"),
    # People and their clothes.
    "skin": Look("e0ac88 c68e68 8a5a3c f0c4a4"),
    "hair": Look("2a1c12 5a3a1c 1a1614 a07a3a", "rough", 0.03, 0.5, "100c08"),
    "shirt": Look("c83a3a 3a62c8 e8e4da 3a9a5a d8a030 7a3a9a", "stripes", 0.12, 0.25, "f0f0f0 303030"),
    "trousers": Look("2c3a5c 3c3a36 6a5a42 20242c", "rough", 0.05, 0.3, "14161c"),
    "shoe": Look("1c1814 5a3018 d8d8d8"),
    # Out of doors.
    "grass": Look("4f7a2c 5c8430 46702a", "rough", 0.16, 0.75, "8a9a48 2c4a1a"),
    "ground": Look("9a7a52 a88a60", "rough", 0.2, 0.7, "6a5236"),
    "road": Look("5c5e62 686868", "rough", 0.1, 0.5, "46484c"),
    "road line": Look("e0e0d4"),
    "sand": Look("d4bf8c c8b282", "rough", 0.2, 0.5, "a8925e"),
    "water": Look("2c5a78 34687c 2a6a86", "water", 0.5, 0.8, "7ab0c4"),
    "building": Look("b08a6a a89a88 94604a 9aa0a6", "facade", 1.5, 1.0, "4a6a84 5a7a90"),
    "brick": Look("9a5236 a8603c", "bricks", 0.3, 0.5, "c8b8a0"),
    "trunk": Look("4a3624 5a4430", "wood", 0.2, 0.6),
    "leaves": Look("2c5a1e 3a6a24 4a7430", "rough", 0.25, 0.9, "6a8a34 163a10"),
    "rail": Look("6a5a4c 8a8a8e", gloss=0.4),
    # Things that the VOC classes are made of.
    "fuselage": Look("e8ecf0 d8dee6", "stripes", 3.0, 0.25, "3a5aa0", gloss=0.4),
    "wing": Look("b8c2cc c4ccd4", gloss=0.4),
    "tyre": Look("16161a 1e1e20"),
    "hub": Look("a8acb0", gloss=0.5),
    "bike frame": Look("d02828 2870d0 28a050", gloss=0.4),
    "feathers": Look("d8b020 3a78c8 c84830", "rough", 0.05, 0.5, "6a4a20 204a80"),
    "beak": Look("e08a20"),
    "hull": Look("f0f0ee 9a3028 e8e4d4", "stripes", 9.0, 0.3, "2a4a80"),
    "sail": Look("f6f2e4 fafaf6", "stripes", 1.2, 0.25, "d05040"),
    "mast": Look("8a6a42"),
    "glass": Look("2a7a3a 1f6a4a 7a4a18", gloss=0.9),
    "sticker": Look("f0e6c8", "label", 0.1, 0.9, "c83a2a"),
    "bus body": Look("e0b020 d04a28 e8c838", "coach", 1.3, 1.0, "26343e", gloss=0.3),
    "car body": Look("c02028 2050a8 d8d8dc 20242a 3a8a5a", gloss=0.7),
    "car glass": Look("28363f", gloss=0.7),
    "headlight": Look("fffbe0", glow=0.5),
    "cat fur": Look("d08a3a 8a8a8a c87c30", "stripes", 0.07, 0.45, "7a4a1c 505050"),
    "cowhide": Look("f0ece4", "cowhide", 0.32, 1.0, "2a1e18 6a3a20"),
    "dog fur": Look("8a5a30 c8a070 3a2a20", "rough", 0.05, 0.5, "5a3818"),
    "horse coat": Look("6a3418 7a4424 4a2814", "rough", 0.1, 0.3, "3a1c0c", gloss=0.2),
    "mane": Look("1c120c 2c1c10"),
    "wool": Look("ece4d2 e4dcc8", "rough", 0.06, 0.7, "a8a08c"),
    "sheep skin": Look("3a3230 d8c8b0"),
    "pot": Look("b0582c a84e28"),
    "plant": Look("3f9a30 50a83a", "rough", 0.05, 0.7, "1f5a18"),
    "sofa blue": Look("4a5a8a 8a4a3a 5a7a6a", "rough", 0.04, 0.4, "2a3454"),
    "dining wood": Look("b8844a a87440", "wood", 0.5, 0.4, gloss=0.2),
    "chair wood": Look("c89850 8a4a20", "wood", 0.3, 0.4),
    "plate": Look("f4f4f0", gloss=0.5),
    "train body": Look("2a7a4a a82830 e0e2e4", "coach", 1.9, 1.0, "1c2830", gloss=0.3),
    "monitor": Look("1c2028", "screen", 0.03, 0.5, "4a86c0", gloss=0.4, glow=0.4),
    "plastic": Look("26262a 4a4a50", gloss=0.3),
    "headboard": Look("5a3a22", "wood", 0.5, 0.4),
}
"""Every stuff by name."""
