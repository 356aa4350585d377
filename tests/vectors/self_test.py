#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the table mixed_tags of dataplane/esp/crypto_self_test.c with python3-cryptography.

Message i of the burst has algorithm ALGORITHMS[i % 27], as crypto_self_test.c says.
"""
import struct

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, aead, algorithms, modes

ALGORITHMS = ["aes128gcm16", "aes256gcm16", "aes192gcm16", "chacha20poly1305"]
ALGORITHMS += ["aes128gmac", "aes192gmac", "aes256gmac"]
CIPHERS = ["aes128", "aes256", "aes128ctr", "aes256ctr", "null"]
HASHES = {
    "sha1": (hashes.SHA1, 20, 12),
    "sha256": (hashes.SHA256, 32, 16),
    "sha384": (hashes.SHA384, 48, 24),
    "sha512": (hashes.SHA512, 64, 32),
}
ALGORITHMS += [f"{cipher}-{auth}" for cipher in CIPHERS for auth in HASHES]
MATERIAL = bytes((17 * i + 3) & 0xFF for i in range(100))
NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
SPI, HIGH, LOW = b"\xfe\xed\xfa\xce", b"\xde\xad\xbe\xef", b"\xfe\xed\xfa\xce"
LENGTHS = [64, 16, 496, 112, 48, 1408, 128, 240]
N = 32


def cipher_of(name):
    """Name without the hash; key bytes."""
    name = name.split("-")[0]
    return name, 32 if name.startswith("chacha") else 0 if name == "null" else int(name[3:6]) // 8


def encrypted(cipher, text):
    encryptor = cipher.encryptor()
    return encryptor.update(text) + encryptor.finalize()


def tag(name, nonce, esn, text):
    cipher, size = cipher_of(name)
    key, iv = MATERIAL[:size], nonce[4:]
    aad = SPI + (HIGH if esn else b"") + LOW
    if "gcm" in cipher:
        return aead.AESGCM(key).encrypt(nonce, text, aad)[-16:]
    if "gmac" in cipher:
        return aead.AESGCM(key).encrypt(nonce, b"", aad + iv + text)
    if "chacha" in cipher:
        return aead.ChaCha20Poly1305(key).encrypt(nonce, text, aad)[-16:]
    salt = 0
    if cipher == "null":
        iv = b""
    elif "ctr" in cipher:
        salt = 4
        counter = nonce + struct.pack(">I", 1)  # RFC 3686 section 4
        text = encrypted(Cipher(algorithms.AES(key), modes.CTR(counter)), text)
    else:
        iv = encrypted(Cipher(algorithms.AES(key), modes.ECB()), bytes(4) + nonce)
        text = encrypted(Cipher(algorithms.AES(key), modes.CBC(iv)), text)
    digest, hmac_size, icv_size = HASHES[name.split("-")[1]]
    mac = hmac.HMAC(MATERIAL[size + salt : size + salt + hmac_size], digest())
    mac.update(SPI + LOW + iv + text + (HIGH if esn else b""))
    return mac.finalize()[:icv_size]


def main():
    state = 1
    for i in range(N):
        name = ALGORITHMS[i % len(ALGORITHMS)]
        size = LENGTHS[i % len(LENGTHS)]
        if name.startswith(("aes128-", "aes256-")) is False:
            size += 4 * (i % 4)
        text = bytearray()
        for _ in range(size):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            text.append(state >> 24)
        value = tag(name, NONCE[:-1] + bytes([i]), i % 4 >= 2, bytes(text))
        print(f'\t"{value.hex()}", /* {name} */')


main()
