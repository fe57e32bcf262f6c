"""Sets up an emulated 64-bit ARM machine with asr-edge's dependencies, then bakes and transcribes there.

    sudo python scripts/aarch64.py FOLDER [--onnxruntime 1.27.0] [--cpu cortex-a76]

Needs Debian's packages qemu-user-static and debootstrap, root for debootstrap, pip, and the registries that pip
and debootstrap are configured for. FOLDER gets `root` (Debian's arm64 packages of Python, unpacked and not
installed), `site` (aarch64 wheels), and `python`, an interpreter that runs this checkout:

    FOLDER/python -m device_app transcribe talk.flac
    QEMU_CPU=cortex-a72 FOLDER/python -m device_app transcribe talk.flac

cortex-a76 is the processor of a Raspberry Pi 5, cortex-a72 that of a Raspberry Pi 4. QEMU translates user-space
instructions; system calls go to the kernel of this machine. Steps that are done already are skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SUITE = "bookworm"  # of Raspberry Pi OS when this was measured
PYTHON = "3.11"  # of that suite
GLIBC = 36  # of that suite: 2.36, so wheels for manylinux_2_36 and older run
ONNXRUNTIME = "1.27.0"  # 1.32.0 crashes at import under QEMU 7.2, with every emulated processor
QEMU = "qemu-aarch64-static"
SAMPLE = REPOSITORY / "device_app" / "assets" / "recordings" / "ss-noservice.flac"
SAMPLE_SAYS = "not in service"

# -S: the packages of this machine's own Python are not for the emulated one.
INTERPRETER = """\
#!/bin/sh
QEMU_CPU="${{QEMU_CPU:-{cpu}}}" PYTHONPATH='{path}' PYTHONPYCACHEPREFIX='{folder}/cache' \\
    exec {qemu} -L '{folder}/root' '{folder}/root/usr/bin/python{python}' -S "$@"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--onnxruntime", default=ONNXRUNTIME, help=f"version; default {ONNXRUNTIME}")
    parser.add_argument("--cpu", default="cortex-a76", help="QEMU's name of the processor; max has every extension")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if "'" in f"{folder}{REPOSITORY}":
        sys.exit("aarch64: the names of the folders must have no quotation mark")
    if missing := [tool for tool in (QEMU, "debootstrap", "dpkg") if shutil.which(tool) is None]:
        sys.exit(f"aarch64: {', '.join(missing)} missing; apt install qemu-user-static debootstrap")
    folder.mkdir(parents=True, exist_ok=True)
    unpack_debian(folder / "root")
    install_wheels(folder / "site", arguments.onnxruntime)
    path = os.pathsep.join(map(str, (REPOSITORY, folder / "site")))
    interpreter = folder / "python"
    interpreter.write_text(
        INTERPRETER.format(cpu=arguments.cpu, path=path, folder=folder, qemu=QEMU, python=PYTHON), "utf-8"
    )
    interpreter.chmod(0o755)
    check(interpreter)


def unpack_debian(root: Path) -> None:
    """Unpacks Debian's arm64 packages of Python and what it needs, without running their scripts."""
    if root.exists():
        return
    if os.geteuid() != 0:
        sys.exit("aarch64: debootstrap must run as root")
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        downloaded, partial = Path(scratch) / "debootstrap", Path(scratch) / "root"
        packages = ["--variant=minbase", "--include=python3,libstdc++6"]  # libstdc++: the wheels need it
        run("debootstrap", "--foreign", "--arch=arm64", *packages, SUITE, downloaded)
        archives = sorted((downloaded / "var" / "cache" / "apt" / "archives").glob("*.deb"))
        for archive in archives:
            run("dpkg", "-x", archive, partial)
        partial.rename(root)
    print(f"{len(archives)} Debian packages unpacked in {root}", flush=True)


def install_wheels(site: Path, onnxruntime: str) -> None:
    """Unpacks aarch64 wheels of the dependencies in pyproject.toml; source distributions are refused."""
    if site.exists():
        return
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [one for one in project["dependencies"] if not one.startswith("onnxruntime")]
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, GLIBC + 1)]
    with tempfile.TemporaryDirectory(dir=site.parent) as scratch:
        target = Path(scratch) / "site"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        chosen = ["--only-binary=:all:", f"--python-version={PYTHON}", *platforms, f"--target={target}"]
        run(*pip, *chosen, *needed, f"onnxruntime=={onnxruntime}")
        target.rename(site)
    print(f"wheels unpacked in {site}", flush=True)


def check(interpreter: Path) -> None:
    """Bakes the embedded model anew, and transcribes a bundled recording with it."""
    versions = "import platform, onnxruntime; print(platform.machine(), 'ONNX Runtime', onnxruntime.__version__)"
    run(interpreter, "-c", versions)
    with tempfile.TemporaryDirectory() as home:
        command = [str(interpreter), "-m", "device_app", "transcribe", "--threads", "1", str(SAMPLE)]
        environment = {**os.environ, "ASR_EDGE_HOME": home}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    print(done.stdout, end="")
    if done.returncode or SAMPLE_SAYS not in done.stdout.lower():
        sys.exit(f"aarch64: the transcript of {SAMPLE.name} must contain {SAMPLE_SAYS!r}")


def run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"aarch64: {command[0]} failed with exit code {done.returncode}")


if __name__ == "__main__":
    main()
