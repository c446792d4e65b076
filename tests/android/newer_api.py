#!/usr/bin/env python3
"""Classes of an android.jar with members that it is too old for, to compile against:

    newer_api.py android.jar newer_api.txt OUT

Writes into the folder OUT, to be put before the jar on the class path, each class of the list: the jar's with the members appended,
or a new one where the jar has none. Nothing of it can run: methods have no code. What the jar has already is left as it is.
"""
import os
import struct
import sys
import zipfile

PUBLIC, STATIC, FINAL, NATIVE, INTERFACE = 0x1, 0x8, 0x10, 0x100, 0x200
UTF8 = 1
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
WIDE = (5, 6)  # take two numbers of the pool


def new_class(name):
    """A public class without anything, whose super class is Object."""
    def utf8(text):
        return struct.pack(">BH", UTF8, len(text)) + text.encode()
    pool = utf8(name) + struct.pack(">BH", 7, 1) + utf8("java/lang/Object") + struct.pack(">BH", 7, 3)
    return struct.pack(">IHHH", 0xCAFEBABE, 0, 52, 5) + pool + struct.pack(">HHHHHHH", PUBLIC | 0x20, 2, 4, 0, 0, 0, 0)


class ClassFile:
    """The parts between which something is appended."""

    def __init__(self, data):
        magic, self.minor, self.major, self.pool_count = struct.unpack_from(">IHHH", data)
        assert magic == 0xCAFEBABE
        at = 10
        strings = {}
        number = 1
        while number < self.pool_count:
            tag = data[at]
            if tag == UTF8:
                size = struct.unpack_from(">H", data, at + 1)[0]
                strings[number] = data[at + 3:at + 3 + size].decode("utf-8", "replace")
                at += 3 + size
            else:
                at += 1 + SIZES[tag]
            number += 2 if tag in WIDE else 1
        self.pool = data[10:at]
        interfaces = struct.unpack_from(">H", data, at + 6)[0]
        self.head = data[at:at + 8 + 2 * interfaces]
        self.is_interface = bool(struct.unpack_from(">H", data, at)[0] & INTERFACE)
        at += len(self.head)
        self.has = set()
        self.members = []  # fields, methods: [count, bytes]
        for _ in range(2):
            count = struct.unpack_from(">H", data, at)[0]
            begin = at = at + 2
            for _ in range(count):
                _, name, kind, attributes = struct.unpack_from(">HHHH", data, at)
                self.has.add((strings[name], strings[kind]))
                at += 8
                for _ in range(attributes):
                    at += 6 + struct.unpack_from(">I", data, at + 2)[0]
            self.members.append([count, data[begin:at]])
        self.tail = data[at:]

    def text(self, text):
        self.pool += struct.pack(">BH", UTF8, len(text)) + text.encode()
        self.pool_count += 1
        return self.pool_count - 1

    def add(self, name, kind, static):
        is_method = kind.startswith("(")
        if (name, kind) in self.has:
            return
        if is_method and self.is_interface:
            raise ValueError(f"{name}: methods of interfaces are not made")
        flags = PUBLIC | (NATIVE | (STATIC if static else 0) if is_method else STATIC | FINAL)
        members = self.members[is_method]
        members[0] += 1
        members[1] += struct.pack(">HHHH", flags, self.text(name), self.text(kind), 0)

    def data(self):
        out = struct.pack(">IHHH", 0xCAFEBABE, self.minor, self.major, self.pool_count) + self.pool + self.head
        for count, members in self.members:
            out += struct.pack(">H", count) + members
        return out + self.tail


def main(jar, table, folder):
    classes = {}
    with zipfile.ZipFile(jar) as archive, open(table, encoding="utf-8") as lines:
        for line in lines:
            words = line.split("#")[0].split()
            if not words:
                continue
            _, name, member, kind = words[:4]
            if name not in classes:
                try:
                    data = archive.read(name + ".class")
                except KeyError:
                    data = new_class(name)
                classes[name] = ClassFile(data)
            classes[name].add(member, kind, words[4:] == ["static"])
    for name, made in classes.items():
        path = os.path.join(folder, name + ".class")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(made.data())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"newer_api.py: {error}")
