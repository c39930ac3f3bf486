"""Mutations of bytes, the same for the same seed: blind ones, and ones that get past checksums and compression."""

import gzip
import random
import struct
import zlib

_INTERESTING = (0, 1, 2, 3, 5, 14, 15, 17, 20, 21, 100, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_TEXTS = (
    b"..",
    b"/",
    b"\\",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1b[31m",
    b"[red]",
    b"=1+1",
    b"NaN",
    b"1e999",
    b"-1",
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with one to twenty random changes; never longer than by a few hundred bytes."""
    held = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 20))):
        _change(held, rng)
    return bytes(held)


def _change(held: bytearray, rng: random.Random) -> None:
    if not held:
        held += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40)))
        return
    # Headers decide how the rest is read: every third change is near the beginning.
    at = rng.randrange(min(len(held), 200) if rng.random() < 0.35 else len(held))
    size = rng.choice((1, 1, 2, 4, 8, 16, 64, 200))
    match rng.randrange(10):
        case 0:
            held[at] ^= 1 << rng.randrange(8)
        case 1:
            held[at] = rng.randrange(256)
        case 2:  # a number, where formats keep theirs
            at -= at % 4
            held[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(_INTERESTING))
        case 3:
            held[at : at + 2] = struct.pack(rng.choice("<>") + "H", rng.choice(_INTERESTING) & 0xFFFF)
        case 4:
            del held[at : at + size]
        case 5:
            held[at:at] = held[at : at + size]
        case 6:
            held[at:at] = bytes(rng.randrange(256) for _ in range(size))
        case 7:
            held[at : at + size] = bytes(len(held[at : at + size]))
        case 8:
            del held[at:]
        case _:
            held[at:at] = rng.choice(_TEXTS)


def mutated_png(data: bytes, rng: random.Random) -> bytes:
    """Mutate one chunk of a PNG file, its pixels before compression, and mend the checksums."""
    out, at, chunks = [data[:8]], 8, []
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    chosen = rng.randrange(len(chunks))
    for k, (kind, body) in enumerate(chunks):
        if k == chosen:
            body = zlib.compress(mutated(zlib.decompress(body), rng)) if kind == b"IDAT" else mutated(body, rng)
        out.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(out)


def mutated_mat(data: bytes, rng: random.Random) -> bytes:
    """Mutate the first variable of a MATLAB v5 file below its compression."""
    kind, size = struct.unpack_from("<II", data, 128)
    if kind != 15:
        return data[:128] + mutated(data[128:], rng)
    body = zlib.compress(mutated(zlib.decompress(data[136 : 136 + size]), rng))
    return data[:128] + struct.pack("<II", 15, len(body)) + body


def mutated_gzip(data: bytes, rng: random.Random) -> bytes:
    """Mutate a file below its compression."""
    return gzip.compress(mutated(gzip.decompress(data), rng), mtime=0)
