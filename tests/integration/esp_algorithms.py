# SPDX-License-Identifier: BSD-3-Clause
"""ESP with every algorithm of Roamgate by python3-cryptography, and what scapy calls them.

Sources: RFC 4303, 7634, 4543, 3602, 3686, 2404, 4868.
"""
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, aead, algorithms, modes

HASHES = {  # class, bytes of key and ICV, scapy's name
    "sha1": (hashes.SHA1, 20, 12, "HMAC-SHA1-96"),
    "sha256": (hashes.SHA256, 32, 16, "SHA2-256-128"),
    "sha384": (hashes.SHA384, 48, 24, "SHA2-384-192"),
    "sha512": (hashes.SHA512, 64, 32, "SHA2-512-256"),
}
CIPHERS = {  # bytes of key and salt, scapy's name, Linux's name
    "aes128gcm16": (16, 4, "AES-GCM", "rfc4106(gcm(aes))"),
    "aes192gcm16": (24, 4, "AES-GCM", "rfc4106(gcm(aes))"),
    "aes256gcm16": (32, 4, "AES-GCM", "rfc4106(gcm(aes))"),
    "chacha20poly1305": (32, 4, "CHACHA20-POLY1305", "rfc7539esp(chacha20,poly1305)"),
    "aes128gmac": (16, 4, None, "rfc4543(gcm(aes))"),
    "aes192gmac": (24, 4, None, "rfc4543(gcm(aes))"),
    "aes256gmac": (32, 4, None, "rfc4543(gcm(aes))"),
    "aes128": (16, 0, "AES-CBC", "cbc(aes)"),
    "aes256": (32, 0, "AES-CBC", "cbc(aes)"),
    "aes128ctr": (16, 4, "AES-CTR", "rfc3686(ctr(aes))"),
    "aes256ctr": (32, 4, "AES-CTR", "rfc3686(ctr(aes))"),
    "null": (0, 0, "NULL", "ecb(cipher_null)"),
}
ALGORITHMS = [c for c in CIPHERS if "gcm" in c or "poly" in c or "gmac" in c]
ALGORITHMS += [f"{c}-{h}" for c in CIPHERS if c not in ALGORITHMS for h in HASHES]


def material_bytes(algorithm):
    cipher, _, auth = algorithm.partition("-")
    return sum(CIPHERS[cipher][:2]) + (HASHES[auth][1] if auth else 0)


def linux_transform(algorithm, material):
    """What "ip xfrm state" wants."""
    cipher, _, auth = algorithm.partition("-")
    key, salt, _, name = CIPHERS[cipher]
    key = material[: key + salt]
    if not auth:
        return f'aead "{name}" 0x{key.hex()} 128'
    _, _, icv_bytes, _ = HASHES[auth]
    auth_key = material[len(key) :]
    encryption = f'enc "{name}" ' + (f"0x{key.hex()}" if key else '""')
    return f'auth-trunc "hmac({auth})" 0x{auth_key.hex()} {icv_bytes * 8} {encryption}'


class EspPeer:
    """One direction's key material with one algorithm; as pcap.EspKey, for all of them."""

    def __init__(self, spi, algorithm, material, esn=True):
        cipher, _, auth = algorithm.partition("-")
        key, salt, self.scapy_cipher, _ = CIPHERS[cipher]
        self.spi, self.algorithm, self.esn, self.cipher = spi, algorithm, esn, cipher
        self.key, self.salt = material[:key], material[key : key + salt]
        self.auth_key = material[key + salt :]
        self.hash = HASHES[auth] if auth else None
        self.cbc = cipher in ("aes128", "aes256")
        self.iv_bytes = 16 if self.cbc else 0 if cipher == "null" else 8
        self.block = 16 if self.cbc else 4
        self.icv_bytes = self.hash[2] if auth else 16
        aead_class = aead.ChaCha20Poly1305 if "chacha" in cipher else aead.AESGCM
        self.aead = None if auth else aead_class(self.key)

    def scapy(self):
        """Arguments of scapy's SecurityAssociation, or None if it has no such algorithm: no GMAC,
        and no extended sequence numbers with HMAC."""
        if not self.scapy_cipher or (self.hash and self.esn):
            return None
        names = {"crypt_algo": self.scapy_cipher, "crypt_key": self.key + self.salt}
        if self.hash:
            names |= {"auth_algo": self.hash[3], "auth_key": self.auth_key}
        return names

    def _covered(self, header, iv, text, high):
        """What GMAC and HMAC are computed over, in its two parts."""
        seq_high = struct.pack(">I", high) if self.esn else b""
        if self.hash:
            return header + iv + text + seq_high
        return header[:4] + seq_high + header[4:] + iv + text

    def _icv(self, header, iv, text, high):
        if not self.hash:
            covered = self._covered(header, iv, text, high)
            return self.aead.encrypt(self.salt + iv, b"", covered)
        mac = hmac.HMAC(self.auth_key, self.hash[0]())
        mac.update(self._covered(header, iv, text, high))
        return mac.finalize()[: self.icv_bytes]

    def _cipher(self, iv):
        if self.cbc:
            return Cipher(algorithms.AES(self.key), modes.CBC(iv))
        return Cipher(algorithms.AES(self.key), modes.CTR(self.salt + iv + b"\0\0\0\1"))

    def _is_aead_cipher(self):
        return self.aead and "gmac" not in self.cipher

    def seal(self, inner, sequence, iv=None, high=0, next_header=4, padding=None):
        """An ESP payload; padding: bytes in place of the right ones (RFC 4303 section 2.4)."""
        if padding is None:
            padding = bytes(range(1, 1 + -(len(inner) + 2) % self.block))
        text = inner + padding + bytes((len(padding), next_header))
        iv = os.urandom(self.iv_bytes) if iv is None else iv
        header = struct.pack(">II", self.spi, sequence & 0xFFFFFFFF)
        if self._is_aead_cipher():
            aad = self._covered(header, b"", b"", high)
            return header + iv + self.aead.encrypt(self.salt + iv, text, aad)
        if self.hash and self.cipher != "null":
            encryptor = self._cipher(iv).encryptor()
            text = encryptor.update(text) + encryptor.finalize()
        return header + iv + text + self._icv(header, iv, text, high)

    def open(self, packet, high=0):
        """The inner datagram as bytes, or None if the packet is not whole, ours and genuine."""
        esp = packet.payload
        least = 8 + self.iv_bytes + self.block + self.icv_bytes
        if len(esp) < least or struct.unpack_from(">I", esp)[0] != self.spi:
            return None
        header, iv, text = esp[:8], esp[8 : 8 + self.iv_bytes], esp[8 + self.iv_bytes :]
        if self._is_aead_cipher():
            aad = self._covered(header, b"", b"", high)
            try:
                text = self.aead.decrypt(self.salt + iv, text, aad)
            except InvalidTag:
                return None
        else:
            text, icv = text[: -self.icv_bytes], text[-self.icv_bytes :]
            if len(text) % self.block or icv != self._icv(header, iv, text, high):
                return None
            if self.hash and self.cipher != "null":
                decryptor = self._cipher(iv).decryptor()
                text = decryptor.update(text) + decryptor.finalize()
        padding, next_header = text[-2:]
        if next_header != 4 or text[len(text) - 2 - padding : -2] != bytes(range(1, padding + 1)):
            return None
        return text[: len(text) - 2 - padding]
