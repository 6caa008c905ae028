# The head of the built agent: everything above the embedded modules. build.py copies this file to
# the top and appends each module of the package as comments, so that Python compiles no more than
# these lines at a start. Compiled modules are kept beside the file, one cache an interpreter; a
# cache that is missing, torn or foreign is made again, and one that cannot be written is done
# without.
import marshal
import sys

PACKAGE = "traindeck_agent"


class Modules:
    """The package's modules, from the cache or from this file's own comments."""

    def __init__(self, path):
        self.path = path
        self.version = "development"
        name = path.rpartition("/")[2]
        if name.startswith("agent-") and name.endswith(".py") and len(name) == 25:
            self.version = name[6:22]
        self.codes = self._cached()
        if self.codes is None:
            self.codes = self._compiled()
            self._keep()

    def _header(self):
        magic = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
        return b"TDC1" + magic + self.version.encode()

    def _cache_path(self):
        return "%s.%s.cache" % (self.path[:-3], sys.implementation.cache_tag)

    def _cached(self):
        import binascii
        import posix

        try:
            fd = posix.open(self._cache_path(), posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        except OSError:
            return None
        try:
            info = posix.fstat(fd)
            if info.st_uid not in (posix.getuid(), 0) or info.st_mode & 0o022:
                return None
            data = b""
            while len(data) < info.st_size:
                more = posix.read(fd, info.st_size)
                if not more:
                    break
                data += more
        except OSError:
            return None
        finally:
            posix.close(fd)
        head = self._header()
        body = data[len(head) + 4 :]
        crc = binascii.crc32(body) & 0xFFFFFFFF
        if data[: len(head) + 4] != head + crc.to_bytes(4, "little"):
            return None
        return marshal.loads(body)  # noqa: S302

    def _compiled(self):
        sources = {}
        lines = None
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("#@ "):
                    lines = sources[line[3:].strip()] = []
                elif lines is not None and line.startswith("#:"):
                    lines.append(line[3:] or "\n")
        codes = {}
        for name, text in sources.items():
            where = "%s/%s.py" % (self.path, name)
            code = compile("".join(text), where, "exec", dont_inherit=True, optimize=2)
            codes[name] = marshal.dumps(code)
        return codes

    def _keep(self):
        if self.version == "development":
            return
        import binascii
        import os

        body = marshal.dumps(self.codes)
        crc = binascii.crc32(body) & 0xFFFFFFFF
        temporary = "%s.%d" % (self._cache_path(), os.getpid())
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(self._header() + crc.to_bytes(4, "little") + body)
                os.rename(temporary, self._cache_path())
            except OSError:
                os.unlink(temporary)
        except OSError:
            pass

    def find_spec(self, fullname, path=None, target=None):
        name = fullname[len(PACKAGE) + 1 :] or "__init__"
        if fullname.split(".")[0] != PACKAGE or name not in self.codes:
            return None
        kind = sys.modules["_frozen_importlib"].ModuleSpec
        package = name == "__init__" or any(other.startswith(name + ".") for other in self.codes)
        return kind(fullname, self, origin=self.path, is_package=package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__[len(PACKAGE) + 1 :] or "__init__"
        exec(marshal.loads(self.codes[name]), module.__dict__)  # noqa: S102, S302
        if name == "__init__":
            module.FILE = self.path
            module.VERSION = self.version


def main():
    path = __file__
    if not path.startswith("/"):
        import posix

        path = "%s/%s" % (posix.getcwd(), path)
    sys.meta_path.insert(0, Modules(path))
    from traindeck_agent import verbs

    return verbs.main(sys.argv[1:])


if __name__ == "__main__":
    import posix

    # Nothing is buffered: the interpreter need not be taken apart.
    posix._exit(main())
