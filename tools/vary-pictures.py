#!/usr/bin/env python3
"""Makes more pictures for a classifier out of a few: every picture as it is, moved by one pixel in eight directions, turned by 12 degrees to the
left and to the right, and with noise in two draws. Labels stay. The same bytes each time.

    tools/vary-pictures.py IN.safetensors OUT.safetensors WHITE [COUNT SEED]

Both files: "pictures" u8 [n, side, side], 0 to WHITE, and "labels" u8 [n]. With COUNT so many of them, drawn by SEED. Needs no package."""
import json
import math
import random
import struct
import sys

ANGLE, NOISE = math.radians(12), 0.08  # NOISE: standard deviation, of WHITE


def read(path):
    data = open(path, "rb").read()
    size, = struct.unpack_from("<Q", data)
    head = json.loads(data[8:8 + size])
    for name in ("pictures", "labels"):
        if name not in head or head[name]["dtype"] != "U8":
            sys.exit(f"vary-pictures: {path}: holds no \"{name}\" of bytes")
    cut = lambda name: data[8 + size + head[name]["data_offsets"][0]:8 + size + head[name]["data_offsets"][1]]
    count, side, other = head["pictures"]["shape"]
    if side != other or head["labels"]["shape"] != [count]:
        sys.exit(f"vary-pictures: {path}: should hold [n, side, side] and [n], not {head['pictures']['shape']} and {head['labels']['shape']}")
    return cut("pictures"), cut("labels"), count, side


def write(path, pictures, labels, side):
    count = len(labels)
    head = json.dumps({"pictures": {"dtype": "U8", "shape": [count, side, side], "data_offsets": [0, len(pictures)]},
                       "labels": {"dtype": "U8", "shape": [count], "data_offsets": [len(pictures), len(pictures) + count]}}).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + pictures + labels)


def at(picture, side, y, x):  # outside is background
    return picture[y * side + x] if 0 <= y < side and 0 <= x < side else 0


def moved(picture, side, down, right):
    return bytes(at(picture, side, y - down, x - right) for y in range(side) for x in range(side))


def turned(picture, side, angle):  # around the middle, bilinear
    sin, cos, middle, out = math.sin(angle), math.cos(angle), (side - 1) / 2, []
    for y in range(side):
        for x in range(side):
            v, u = y - middle, x - middle
            from_y, from_x = middle + cos * v + sin * u, middle - sin * v + cos * u
            top, left = math.floor(from_y), math.floor(from_x)
            down, right = from_y - top, from_x - left
            value = sum((down if j else 1 - down) * (right if i else 1 - right) * at(picture, side, top + j, left + i)
                        for j in (0, 1) for i in (0, 1))
            out.append(round(value))
    return bytes(out)


def noisy(picture, white, generator):
    return bytes(min(max(round(v + generator.gauss(0, NOISE * white)), 0), white) for v in picture)


def main():
    if len(sys.argv) not in (4, 6):
        sys.exit(__doc__)
    pictures, labels, count, side = read(sys.argv[1])
    white, generator, out = int(sys.argv[3]), random.Random(1), []
    ways = [lambda p: p]
    ways += [lambda p, d=d, r=r: moved(p, side, d, r) for d in (-1, 0, 1) for r in (-1, 0, 1) if d or r]
    ways += [lambda p, a=a: turned(p, side, a) for a in (-ANGLE, ANGLE)]
    ways += [lambda p: noisy(p, white, generator)] * 2
    for way in ways:
        out += [way(pictures[i * side * side:(i + 1) * side * side]) for i in range(count)]
    labels *= len(ways)
    if len(sys.argv) == 6:
        drawn = random.Random(int(sys.argv[5])).sample(range(len(out)), int(sys.argv[4]))
        out, labels = [out[i] for i in drawn], bytes(labels[i] for i in drawn)
    write(sys.argv[2], b"".join(out), labels, side)


if __name__ == "__main__":
    main()
