"""Runs cases.json through llama.cpp's own validator: `check.py PROGRAM`.

PROGRAM is llama.cpp's tests/test-gbnf-validator.cpp, linked to its static libraries. Where it disagrees with a case, that is
printed, and the program fails. Of the refused grammars those are left out that llama.cpp takes (`llama_cpp` is not "refused").

Last run: 2026-11-22, llama.cpp of llama-cpp-python 0.3.36, no disagreement.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

cases = json.loads((pathlib.Path(__file__).parent / "cases.json").read_text())
folder = pathlib.Path(tempfile.mkdtemp())
checked = wrong = 0


def verdict(grammar, text):
    (folder / "grammar").write_bytes(grammar.encode())
    (folder / "text").write_bytes(text.encode())
    run = subprocess.run(
        [sys.argv[1], folder / "grammar", folder / "text"], capture_output=True, text=True, errors="replace", timeout=20
    )
    if "is valid according" in run.stdout:
        return "yes"
    return "no" if "is invalid according" in run.stdout else "refused"


for case in cases:
    expected = [("yes", text) for text in case.get("yes", [])] + [("no", text) for text in case.get("no", [])]
    if case.get("llama_cpp") == "refused":
        expected = [("refused", "a")]
    for wanted, text in expected:
        checked += 1
        found = verdict(case["grammar"], text)
        if found != wanted:
            wrong += 1
            print(f"{found}, not {wanted}: {text!r} under\n{case['grammar']}\n")
print(f"{checked} verdicts, {wrong} disagreements")
sys.exit(wrong > 0)
