#!/usr/bin/env python3
"""Makes lexicon.zst from the sources that README.md names.

    build.py SSA.sqlite CENSUS_2010.csv GEONAMES_US.json COUNTIES.json WORDS_SMALL WORDS WORDS_LARGE OUT

The result, before compression, is a run of entries in order: the length of the prefix shared with the entry before (u8), the
length of the rest (u8), the rest (ASCII, lower case, one space between the words of a place), and a little-endian u16 of
flags: bits 0-2 weight as a given name, 3-5 as a family name, 6-7 as an English word, 8-9 as a place.
"""
import csv
import json
import math
import re
import sqlite3
import struct
import sys
import unicodedata

import zstandard

GIVEN_LEAST, FAMILY_LEAST = 150, 150


def fold(text):
    """ASCII letters and single spaces; what a reader's eye takes for the same word."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z ]", "", re.sub(r"[-/]", " ", text)).strip()


def weight(count, least):
    """1 to 7, by powers of four over the least count."""
    return min(7, 1 + int(math.log(count / least, 4)))


def main():
    ssa, census, places, counties, small, medium, large, out = sys.argv[1:]
    flags = {}

    def add(word, shift, value, width):
        if not word or len(word) > 40:
            return
        mask = (1 << width) - 1
        old = flags.get(word, 0)
        if (old >> shift) & mask < value:
            flags[word] = old & ~(mask << shift) | value << shift

    for name, count in sqlite3.connect(ssa).execute("select name, sum(births) from usNameData group by name"):
        if count >= GIVEN_LEAST and len(name) > 1:
            add(fold(name), 0, weight(count, GIVEN_LEAST), 3)
    for row in csv.DictReader(open(census)):
        if row["name"] and row["name"] != "ALL OTHER NAMES" and int(row["count"]) >= FAMILY_LEAST and len(row["name"]) > 1:
            add(fold(row["name"]), 3, weight(int(row["count"]), FAMILY_LEAST), 3)
    for level, path in ((1, large), (2, medium), (3, small)):
        for line in open(path, encoding="utf-8"):
            word = line.strip()
            if re.fullmatch(r"[a-z]{2,}", word):
                add(word, 6, level, 2)
    for place in json.load(open(places)).values():
        if place["countrycode"] == "US":
            population = place["population"]
            add(fold(place["name"]), 8, 3 if population >= 50_000 else 2 if population >= 5_000 else 1, 2)
    for county in json.load(open(counties)):
        name = re.sub(r" (County|Parish|Borough|Census Area|Municipio|city)$", "", county["name"])
        add(fold(name), 8, 1, 2)

    body, before = bytearray(), b""
    for word in sorted(flags):
        text = word.encode()
        shared = 0
        while shared < min(len(text), len(before)) and text[shared] == before[shared]:
            shared += 1
        body += bytes((shared, len(text) - shared)) + text[shared:] + struct.pack("<H", flags[word])
        before = text
    packed = zstandard.ZstdCompressor(level=19).compress(bytes(body))
    open(out, "wb").write(packed)
    print(len(flags), "entries,", len(body), "bytes,", len(packed), "compressed")


if __name__ == "__main__":
    main()
