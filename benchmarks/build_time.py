"""CPU-seconds that the compiler takes for the native library, by file and CPU target, one file at a time.

Run: python benchmarks/build_time.py [--compiler g++] (needs CMake and Ninja)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def compile_and_note(log: Path, command: list[str]) -> int:
    """Run the compiler, as CMake's launcher, and note its processor time beside the object's name."""
    status = subprocess.run(command, check=False).returncode
    spent = os.times()
    if "-c" in command:
        with log.open("a") as file:
            file.write(f"{spent.children_user + spent.children_system:.2f} {command[command.index('-o') + 1]}\n")
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="c++")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "seconds.txt"
        launcher = f"{sys.executable};{Path(__file__).resolve()};--note;{log}"
        options = [f"-DCMAKE_CXX_COMPILER={asked.compiler}", f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}"]
        subprocess.run(["cmake", "-S", ROOT, "-B", f"{folder}/b", "-G", "Ninja", *options], check=True, stdout=-3)
        log.unlink(missing_ok=True)  # what CMake itself tried
        subprocess.run(["cmake", "--build", f"{folder}/b", "--parallel", "1"], check=True, stdout=-3)
        seconds: dict[str, dict[str, float]] = defaultdict(dict)
        for line in log.read_text().splitlines():
            spent, name = line.split()
            target, _, file = name.removeprefix("CMakeFiles/").partition(".dir/")
            seconds[file.removeprefix("csrc/").removesuffix(".cpp.o")][target] = float(spent)
    targets = sorted({target for row in seconds.values() for target in row})
    print(f"{'file':20}" + "".join(f"{target:>20}" for target in targets))
    for name, row in sorted(seconds.items(), key=lambda pair: -sum(pair[1].values())):
        print(f"{name:20}" + "".join(f"{row[target]:20.1f}" if target in row else f"{'':20}" for target in targets))
    total = sum(sum(row.values()) for row in seconds.values())
    print(f"{total:.1f} CPU-seconds, {sum(map(len, seconds.values()))} files compiled")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--note"]:
        sys.exit(compile_and_note(Path(sys.argv[2]), sys.argv[3:]))
    main()
