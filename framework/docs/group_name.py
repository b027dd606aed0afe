import hashlib
import re


def group_name(prefix, text):
    prefix, text = prefix.encode(), str(text).encode()
    escape = lambda byte: b".%02x" % ord(byte[0])
    name = re.sub(rb"[^A-Za-z0-9_.-]", escape, prefix) + re.sub(rb"[^A-Za-z0-9_-]", escape, text)
    if not 0 < len(name) < 100:
        name = name[:33] + b"._" + hashlib.sha256(prefix + text).hexdigest().encode()
    return name.decode()
