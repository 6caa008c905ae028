"""A security key (FIDO) in software, for OpenSSH's own client: a library as `SecurityKeyProvider`
wants it, made with the C compiler, that has a small Python program do the sums. As a real one it
waits to be touched, and as one that has been lost it is not found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.services import missing, need

_LIBRARY = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct enrolled {
    uint8_t flags;
    uint8_t *key; size_t key_len;
    uint8_t *handle; size_t handle_len;
    uint8_t *signature; size_t signature_len;
    uint8_t *certificate; size_t certificate_len;
    uint8_t *authdata; size_t authdata_len;
};
struct made {
    uint8_t flags; uint32_t counter;
    uint8_t *r; size_t r_len;
    uint8_t *s; size_t s_len;
};

static char *hex(const uint8_t *data, size_t size) {
    char *text = calloc(2 * size + 1, 1);
    for (size_t i = 0; i < size; i++) sprintf(text + 2 * i, "%02x", data[i]);
    return text;
}

static uint8_t *taken(FILE *from, size_t size) {
    uint8_t *data = calloc(size, 1);
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        if (fscanf(from, "%2x", &byte) != 1) return NULL;
        data[i] = byte;
    }
    return data;
}

uint32_t sk_api_version(void) { return VERSION; }

int sk_enroll(uint32_t kind, const uint8_t *challenge, size_t challenge_len,
              const char *application, uint8_t flags, const char *pin, void **options,
              struct enrolled **answer) {
    struct enrolled *it = calloc(1, sizeof *it);
    FILE *from = popen(PROGRAM " enroll", "r");
    it->flags = flags;
    it->key = taken(from, it->key_len = 32);
    it->handle = taken(from, it->handle_len = 32);
    it->signature = calloc(1, it->signature_len = 1);
    pclose(from);
    *answer = it;
    return it->key && it->handle ? 0 : -1;
}

int sk_sign(uint32_t kind, const uint8_t *data, size_t data_len, const char *application,
            const uint8_t *handle, size_t handle_len, uint8_t flags, const char *pin,
            void **options, struct made **answer) {
    struct made *it = calloc(1, sizeof *it);
    char line[16384];
    FILE *from;
    if (access(UNPLUGGED, F_OK) == 0) return -4;
    pid_t asked_by = getppid();
    for (int tries = 0; unlink(TOUCHED) != 0; tries++) {
        if (tries == 6000 || getppid() != asked_by) return -1;
        usleep(5000);
    }
    snprintf(line, sizeof line, PROGRAM " sign %s %s %s %u", hex(handle, handle_len),
             hex(data, data_len), hex((const uint8_t *)application, strlen(application)), flags);
    from = popen(line, "r");
    it->flags = flags;
    it->counter = 7;
    it->r = taken(from, it->r_len = 64);
    pclose(from);
    *answer = it;
    return it->r ? 0 : -1;
}

int sk_load_resident_keys(const char *pin, void **options, void ***keys, size_t *count) {
    return -2;
}
"""

_PROGRAM = """
import hashlib, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key
if sys.argv[1] == "enroll":
    key = Key.generate()
    print(key.public_key().public_bytes_raw().hex() + key.private_bytes_raw().hex())
else:
    handle, data, application = map(bytes.fromhex, sys.argv[2:5])
    counted = bytes([int(sys.argv[5])]) + (7).to_bytes(4, "big")
    hashes = [hashlib.sha256(text).digest() for text in (application, data)]
    print(Key.from_private_bytes(handle).sign(hashes[0] + counted + hashes[1]).hex())
"""

_VERSION = "0x000a0000"
"""Of the interface, as OpenSSH has had it since 8.9."""


class SecurityKey:
    """One that is plugged in. `library` is what OpenSSH is to be told."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.library = folder / "key.so"
        self._unplugged = folder / "unplugged"
        self._touched = folder / "touched"
        (folder / "key.c").write_text(_LIBRARY)
        (folder / "key.py").write_text(_PROGRAM)
        words = {
            "VERSION": _VERSION,
            "PROGRAM": f'"{sys.executable} {folder}/key.py"',
            "UNPLUGGED": f'"{self._unplugged}"',
            "TOUCHED": f'"{self._touched}"',
        }
        command = [need("gcc", "gcc libc6-dev"), "-shared", "-fPIC", "-w", "-o", str(self.library)]
        command += [f"-D{name}={value}" for name, value in words.items()]
        subprocess.run([*command, str(folder / "key.c")], check=True)

    def make_key(self, path: Path) -> None:
        """A key pair whose secret stays in the device: `path` holds what that is asked for."""
        command = [need("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519-sk", "-N", ""]
        command += ["-w", str(self.library), "-f", str(path)]
        made = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if made.returncode != 0:
            missing(f"OpenSSH makes no key with a library of version {_VERSION}: {made.stderr}")

    def touch(self) -> None:
        """Let it sign once."""
        self._touched.touch()

    def unplug(self) -> None:
        self._unplugged.touch()
