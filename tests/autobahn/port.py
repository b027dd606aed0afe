#!/usr/bin/env python3
"""port.py SITE_PACKAGES: rewrites an installed autobahntestsuite 25.10.1, which is Python 2 source, in place, so that
`wstest -m fuzzingclient` runs on Python 3. Running it again changes nothing.

Payloads stay as in Python 2: a `str` of the code points 0 to 255 ("latin-1 bytes"). A mixin in fuzzing.py converts
between str and bytes, both when the cases call autobahn and when autobahn calls the cases. fissix is the lib2to3 that
Python had up to 3.12."""
import pathlib, re, sys, warnings
warnings.simplefilter("ignore")
from fissix.refactor import RefactoringTool

root = pathlib.Path(sys.argv[1]) / "autobahntestsuite"
FIX = ["print", "has_key", "except", "raise", "xrange", "unicode", "exec", "import", "repr", "ne", "next", "dict", "numliterals", "map", "filter", "zip"]
tool = RefactoringTool(["fissix.fixes.fix_" + f for f in FIX])

def sub(s, a, b, n=1):
    assert a in s, a
    return s.replace(a, b)

for p in sorted(root.rglob("*.py")):
    if "wamp" in p.name or "wamp" in p.parent.name or p.name in ("rinterfaces.py", "testdb.py", "testrun.py", "wsperfcontrol.py", "wsperfmaster.py"):
        continue
    s = p.read_text("latin-1")  # so non-ASCII literals become latin-1 "bytes" too
    if "# ported to py3" in s: continue
    s = s.expandtabs(8)
    s = str(tool.refactor_string(s if s.endswith("\n") else s + "\n", str(p)))
    s = s.replace("binascii.b2a_hex(", "_hx(")
    n = p.relative_to(root).as_posix()
    if n == "fuzzing.py":
        s = sub(s, "dd.decode('utf8', errors = 'replace' if replace else 'strict')", "_u8(dd, replace)")
        s = sub(s, "p = ''.join(payload)", "p = _l1(b''.join(payload))")
        s = sub(s, "asciiLogData(payload)),\n                              frameHeader.opcode", "asciiLogData(_l1(payload))),\n                              frameHeader.opcode")
        s = sub(s, "class FuzzingProtocol:", "@@MIX@@\n\nclass FuzzingProtocol(Py3Bridge):")
        s = s.replace("@@MIX@@", '''
class Py3Bridge:
   """str (latin-1) <-> bytes at the border to autobahn"""
   def sendFrame(self, *a, **k):
      if isinstance(k.get("payload"), str): k["payload"] = k["payload"].encode("latin-1")
      return super().sendFrame(*a, **k)
   def sendMessage(self, payload, *a, **k): return super().sendMessage(_b(payload), *a, **k)
   def sendMessageFrame(self, payload, *a, **k): return super().sendMessageFrame(_b(payload), *a, **k)
   def sendMessageFrameData(self, payload, *a, **k): return super().sendMessageFrameData(_b(payload), *a, **k)
   def sendPing(self, payload = None): return super().sendPing(_b(payload))
   def sendPong(self, payload = None): return super().sendPong(_b(payload))
   def sendData(self, data, *a, **k): return super().sendData(_b(data), *a, **k)
   def sendCloseFrame(self, code = None, reasonUtf8 = None, isReply = False):
      return super().sendCloseFrame(code, _b(reasonUtf8), isReply)
''')
        s = sub(s, "self.runCase.onMessage(msg, binary)", "self.runCase.onMessage(_l1(msg), binary)")
        s = sub(s, "self.runCase.onPong(payload)", "self.runCase.onPong(_l1(payload))")
        s = s.replace("open(os.path.join(outdir, report_filename), 'w')", "open(os.path.join(outdir, report_filename), 'w', encoding = 'utf-8')")
        s = re.sub(r"(f\.write\(.*)\.encode\(['\"]utf-?8['\"]\)\)", r"\1)", s)
        s = s.replace("json.dumps(case, sort_keys", "json.dumps(_js(case), sort_keys")
    s = s.replace("from . import serializer\n", "")
    if n == "case/case.py":
        s = sub(s, "return pickle.dumps(obj1) == pickle.dumps(obj2)", "return obj1 == obj2")
    s = s.replace("(object, Case, )", "(Case, )").replace("from .case9_9_1 import *", "")
    if n == "case/case6_x_x.py":
        s = sub(s, "v.validate(vss[:i])", "v.validate(_b(vss[:i]))")
    if n == "case/case10_1_1.py":
        s = sub(s, "len(self.payload) / self", "len(self.payload) // self")
    if n == "case/case12_x_x.py":
        s = s.replace('"COUNT": s[1]', '"COUNT": int(os.environ.get("AUTOBAHN_COUNT", s[1]))')
        s = sub(s, "def onMessage(self, msg, binary):\n", "def onMessage(self, msg, binary):\n   msg = _b(msg)\n")
        s = sub(s, "msg = ''", "msg = '' if not self.TESTDATA['binary'] else b''")
    s = re.sub(r"^from __future__ .*\n", "", s, flags=re.M)
    helper = "from autobahntestsuite._py3 import _b, _l1, _hx, _u8, _js\n"
    # Put the import of the helpers after the blank lines and comments at the top of the file.
    lines = s.split("\n"); i = 0
    while i < len(lines) and (not lines[i].strip() or lines[i].startswith("#")): i += 1
    lines.insert(i, "# ported to py3\n" + (helper if n != "__init__.py" else ""))
    p.write_text("\n".join(lines), "utf-8")

(root / "_py3.py").write_text('''
import binascii
def _b(x): return x.encode("latin-1") if isinstance(x, str) else x
def _l1(x): return x.decode("latin-1") if isinstance(x, (bytes, bytearray)) else x
def _hx(x):
   if isinstance(x, int): x = bytes([x])
   return binascii.b2a_hex(_b(x)).decode("ascii")
def _u8(x, replace): return _b(x).decode("utf8", errors = "replace" if replace else "strict")
def _js(x):
   if isinstance(x, (bytes, bytearray)): return x.decode("latin-1")
   if isinstance(x, dict): return {_js(k): _js(v) for k, v in x.items()}
   if isinstance(x, (list, tuple)): return [_js(v) for v in x]
   return x
''')

# autobahn 0.10.9 itself still has two divisions that must give an integer.
p = root.parent / "autobahn/websocket/protocol.py"
s = p.read_text("utf-8")
t = s.replace("int(payload_len / pl)", "int(payload_len // pl)").replace("payload_len / len(payload)", "payload_len // len(payload)")
if t != s: p.write_text(t, "utf-8")
