"""What people call PCI devices: from the list that most systems have."""

FILES = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids")
LONGEST = 8 << 20


def name(files, vendor, device):
    """The name of a device in the first of these files that is there, None if it stands in none.
    What people call it stands in brackets, after what its chip is called."""
    for path in files:
        try:
            with open(path, "rb") as file:
                data = b"\n" + file.read(LONGEST)
        except OSError:
            continue
        begin = data.find(b"\n%s  " % vendor.encode("ascii"))
        at = data.find(b"\n\t%s  " % device.encode("ascii"), begin) if begin >= 0 else -1
        if at < 0:
            return None
        # The next vendor begins with the next line that is not indented and no comment.
        between = data[begin + 1 : at].split(b"\n")
        if any(line[:1] not in (b"\t", b"#", b"") for line in between[1:]):
            return None
        found = data[at + 8 : at + 400].split(b"\n")[0].decode("utf-8", "replace").strip()
        opened = found.rfind("[")
        return found[opened + 1 : -1] if opened >= 0 and found.endswith("]") else found or None
    return None
