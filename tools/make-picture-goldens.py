#!/usr/bin/env python3
"""Makes tests/goldens/pictures: small files of each kind as other programs write them, NAME, and what Pillow makes of each, NAME.ppm:
upright (ImageOps.exif_transpose), on white where it is transparent. NAME.txt is the text of EXIF's comment.

    tools/make-picture-goldens.py [OUT]

Needs pillow and numpy (made with pillow 13.0)."""
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/goldens/pictures"
ORIENTATION, EXIF, COMMENT = 0x0112, 0x8769, 0x9286
W, H = 24, 16


def colours():
    """No two corners, rows or columns alike; smooth, so that JPEG keeps it."""
    y, x = np.mgrid[0:H, 0:W]
    return np.dstack([255 * x // (W - 1), 255 * y // (H - 1), 128 + 5 * x - 7 * y]).clip(0, 255).astype(np.uint8)


def opacity():
    y, x = np.mgrid[0:H, 0:W]
    return np.where(x < 4, 0, np.where(y < 3, 255, (9 * x + 4 * y).clip(0, 255))).astype(np.uint8)


def tiff(entries, order, comment=None):
    """A block of tags (tag, type, value); `comment` goes into a directory of EXIF's own."""
    o = "<" if order == "II" else ">"
    entries = sorted(entries + ([(EXIF, 4, None)] if comment is not None else []))
    after = 8 + 2 + 12 * len(entries) + 4
    out = order.encode() + struct.pack(o + "HIH", 42, 8, len(entries))
    for tag, kind, value in entries:
        value = after if value is None else value
        out += struct.pack(o + "HHI", tag, kind, 1) + (struct.pack(o + "HH", value, 0) if kind == 3 else struct.pack(o + "I", value))
    out += struct.pack(o + "I", 0)
    if comment is not None:
        out += struct.pack(o + "HHHII", 1, COMMENT, 7, len(comment), after + 2 + 12 + 4) + struct.pack(o + "I", 0) + comment
    return out


def save(name, image, **options):
    image.save(OUT / name, **options)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(name, samples, colour_type):
    """16 bits a sample, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, colour_type, 0, 0, 0)
    (OUT / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def oriented(rgb):
    for turn in range(1, 9):
        order = "II" if turn % 2 else "MM"
        block = tiff([(0x010F - 1, 4, 7), (ORIENTATION, 3, turn)], order)
        save(f"turned{turn}.jpg", rgb, quality=95, subsampling=0, exif=b"Exif\0\0" + block)
        if turn > 1:
            save(f"turned{turn}.png", rgb, exif=block)
    save("turned6.webp", rgb, lossless=True, exif=tiff([(ORIENTATION, 3, 6)], "II"))
    save("long-number.png", rgb, exif=tiff([(ORIENTATION, 4, 5)], "II"))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    save("xmp.jpg", rgb, quality=95, subsampling=0, xmp=xmp)
    info = PngImagePlugin.PngInfo()
    block = b"Exif\0\0" + tiff([(ORIENTATION, 3, 3)], "MM")
    digits = block.hex()
    lines = "\n".join(digits[i:i + 72] for i in range(0, len(digits), 72))
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8d}\n{lines}\n", zip=True)
    save("raw-profile.png", rgb, pnginfo=info)


def transparent(rgb):
    alpha = Image.fromarray(opacity())
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    save("rgba.png", rgba)
    save("rgba-turned.png", rgba, exif=tiff([(ORIENTATION, 3, 7)], "MM"))
    save("grey-alpha.png", Image.merge("LA", (rgb.convert("L"), alpha)))
    save("opaque.png", Image.merge("RGBA", (*rgb.split(), Image.new("L", rgb.size, 255))))
    palette = rgb.quantize(8)
    save("palette.png", palette, transparency=bytes([0, 40, 128, 255, 255, 200, 255, 90]))
    clear = np.array(rgb)
    clear[4:9, 5:11] = (7, 8, 9)
    save("clear-colour.png", Image.fromarray(clear), transparency=(7, 8, 9))
    save("rgba.webp", rgba, lossless=True, exact=True)
    wide = np.dstack([colours(), opacity()]).astype(np.uint16) * 257
    png16("rgba16.png", wide, 6)
    png16("grey16.png", wide[..., :1], 0)


def pnm(rgb):
    grey, bits = rgb.convert("L"), rgb.convert("1")
    save("bits.pbm", bits)
    save("grey.pgm", grey)
    save("rgb.ppm", rgb)
    a, g, b = np.array(rgb), np.array(grey), np.array(bits)
    (OUT / "bits-text.pbm").write_text(f"P1\n# a comment\n{W} {H}\n" + "\n".join("".join("01"[not v] for v in row) for row in b) + "\n")
    (OUT / "grey-text.pgm").write_text(f"P2 {W} {H} # and one here\n255\n" + "\n".join(" ".join(map(str, row)) for row in g))
    (OUT / "rgb-text.ppm").write_text(f"P3\n{W} {H}\n15\n" + " ".join(str(v // 17) for v in a.reshape(-1)))
    (OUT / "rgb16.ppm").write_bytes(f"P6\n{W} {H}\n65535\n".encode() + (a.astype(">u2") * 257).tobytes())


def texts(rgb):
    text = "a café, 東京 🚀\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Seed: 18446744073709551615, Size: 24x16"
    for name, order, comment in (("comment-big.jpg", "MM", b"UNICODE\0" + text.encode("utf-16-be")),
                                 ("comment-little.jpg", "II", b"UNICODE\0" + text.encode("utf-16-le")),
                                 ("comment-mixed.jpg", "II", b"UNICODE\0" + text.encode("utf-16-be")),
                                 ("comment-utf8.jpg", "MM", b"\0" * 8 + text.encode()),
                                 ("comment.webp", "MM", b"UNICODE\0" + text.encode("utf-16-be"))):
        options = {"lossless": True} if name.endswith("webp") else {"quality": 95, "subsampling": 0}
        save(name, rgb, exif=b"Exif\0\0" + tiff([], order, comment), **options)
        (OUT / (name + ".txt")).write_text(text, encoding="utf-8")
    ascii_text = "a cat\nSteps: 4, Seed: 7"
    save("comment-ascii.jpg", rgb, quality=95, subsampling=0, exif=b"Exif\0\0" + tiff([], "II", b"ASCII\0\0\0" + ascii_text.encode()))
    (OUT / "comment-ascii.jpg.txt").write_text(ascii_text)
    save("comment-segment.jpg", rgb, quality=95, subsampling=0, comment=ascii_text)
    (OUT / "comment-segment.jpg.txt").write_text(ascii_text)


def expect(path):
    image = Image.open(path)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I"):
        image = Image.fromarray((np.array(image) // 257).astype(np.uint8))
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    Image.alpha_composite(white, rgba).convert("RGB").save(str(path) + ".ppm")


OUT.mkdir(parents=True, exist_ok=True)
picture = Image.fromarray(colours())
for make in (oriented, transparent, pnm, texts):
    make(picture)
for found in sorted(OUT.iterdir()):
    if not found.name.endswith(".txt") and found.name.count(".") == 1:
        expect(found)
