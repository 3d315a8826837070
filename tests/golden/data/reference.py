#!/usr/bin/env python3
"""Independent description of rankio's content, version 1; writes the golden vectors beside it.

Written from the definition, word by word and without any of the program's code, so that a vector
and the program agree only when both follow the definition. A line of a vector file holds seed,
compress_ratio, dedup_ratio, object id, version, object length, offset and the bytes there in
hexadecimal.

Usage: reference.py [--check]
"""

import math
import pathlib
import sys

BLOCK_WORDS = 512
POOL_BLOCKS = 256
MASK64 = (1 << 64) - 1
MASK128 = (1 << 128) - 1
GOLDEN = 0x9E3779B97F4A7C15
SILVER = 0x6A09E667F3BCC909
# Multiplier of the 128-bit multiplicative congruential generator in M. O'Neill's PCG family.
PCG_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def mix(z):
    """The finaliser of splitmix64."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


class Pcg64Mcg:
    """PCG XSL RR 128/64 (MCG): multiply, then fold the halves and rotate by the top six bits."""

    def __init__(self, state):
        self.state = state | 1

    def jump(self, words):
        self.state = self.state * pow(PCG_MULTIPLIER, words, 1 << 128) & MASK128
        return self

    def word(self):
        self.jump(1)
        folded = (self.state >> 64) ^ (self.state & MASK64)
        turn = self.state >> 122
        return ((folded >> turn) | (folded << (64 - turn))) & MASK64


class Content:
    """The bytes of one version of one object."""

    def __init__(self, pattern, seed, compress, dedup, identity, version, length):
        self.pattern, self.compress = pattern, compress
        halves = []
        for constant in (GOLDEN, SILVER):
            half = mix((seed + constant) & MASK64)
            half = mix((half + identity * constant) & MASK64)
            halves.append(mix((half + version * constant) & MASK64))
        self.low, self.high = halves
        blocks = -(-length // (BLOCK_WORDS * 8))
        self.distinct = max(1, math.ceil(blocks / dedup)) if dedup > 1 else None
        if pattern == "keyed_pool":
            low = mix(seed ^ GOLDEN)
            rng = Pcg64Mcg(mix(low) << 64 | low)
            self.pool = [rng.word() for _ in range(POOL_BLOCKS * BLOCK_WORDS)]

    def block(self, number):
        source = number % self.distinct if self.distinct else number
        share = math.floor((BLOCK_WORDS << 32) / self.compress + 0.5)
        entropy = ((source + 1) * share >> 32) - (source * share >> 32)
        count = BLOCK_WORDS if entropy >= BLOCK_WORDS else max(entropy - 1 - entropy // 32, 0)
        start = mix((self.low + source * GOLDEN) & MASK64)
        step = mix((self.high + source * SILVER) & MASK64) | 1
        if self.pattern == "pcg":
            rng = Pcg64Mcg(self.high << 64 | self.low).jump(source * BLOCK_WORDS)
            words = [rng.word() for _ in range(count)]
        else:
            first = (((start ^ step) * GOLDEN & MASK64) >> 56) * BLOCK_WORDS
            stream = [(start + i * step) & MASK64 for i in range(count)]
            words = [self.pool[first + i] ^ s ^ (s >> 32) for i, s in enumerate(stream)]
        motif = mix(start ^ ((step << 32 | step >> 32) & MASK64))
        words += [motif] * (BLOCK_WORDS - count)
        return b"".join(word.to_bytes(8, "little") for word in words)

    def bytes(self, offset, count):
        first, last = offset // 4096, (offset + count - 1) // 4096
        joined = b"".join(self.block(number) for number in range(first, last + 1))
        return joined[offset - first * 4096 :][:count]


# seed, compress_ratio, dedup_ratio, object id, version, object length, then (offset, count) pairs
CASES = [
    (0, 1.0, 1.0, 0, 0, 1 << 20, [(0, 64), (4088, 16), (1 << 40, 24)]),
    (42, 1.0, 1.0, 7, 0, 1 << 20, [(0, 32), (8192 + 3, 29), (4095, 2)]),
    (42, 1.0, 1.0, 7, 1, 1 << 20, [(0, 32)]),
    (MASK64, 1.0, 1.0, MASK64, 0xFFFFFFFF, MASK64, [(0, 32), (MASK64 - 4096, 32)]),
    (9, 2.0, 1.0, 3, 2, 1 << 20, [(1960, 48), (4091, 11), (12288 + 1971, 9)]),
    (9, 2.7, 1.0, 3, 2, 1 << 20, [(1448, 48), (4096 + 1448, 48), (8192 + 1448, 48)]),
    (9, 1000.0, 1.0, 3, 2, 1 << 20, [(0, 24), (4096, 24)]),
    (9, 1.0, 3.5, 3, 2, 41_000, [(0, 16), (3 * 4096, 16), (10 * 4096, 16)]),
    (9, 1.5, 2.0, 3, 2, 1 << 20, [(128 * 4096 + 2620, 64), (2620, 64)]),
]


def lines(pattern):
    for *settings, ranges in CASES:
        content = Content(pattern, *settings)
        for offset, count in ranges:
            yield " ".join(map(str, [*settings, offset, content.bytes(offset, count).hex()]))


def main():
    for pattern in ("keyed_pool", "pcg"):
        path = pathlib.Path(__file__).with_name(f"{pattern}.txt")
        text = "\n".join(lines(pattern)) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path.name} differs from the definition")


if __name__ == "__main__":
    main()
