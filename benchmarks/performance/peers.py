"""The peers, from the registries into a folder of their own beside this package."""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / ".peers"
LITELLM: Final = FOLDER / "litellm" / "bin" / "litellm"
PORTKEY: Final = FOLDER / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"

LITELLM_PACKAGES: Final = ("litellm[proxy]", "uvloop", "httptools")

# With a newer node-server Portkey's streams fail.
PORTKEY_PACKAGE: Final = {
    "name": "stepwell-benchmark-peer",
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    "overrides": {"@hono/node-server": "1.13.5"},
}


def missing_peers(names: Iterable[str]) -> list[str]:
    """Return for each peer that is not there what to do."""
    files = {"litellm": LITELLM, "portkey": PORTKEY}
    return [
        f"{name} is not installed: benchmarks/run.py --install, or leave peers out with --no-peers"
        for name in names
        if name in files and not files[name].exists()
    ]


def install() -> None:
    """Install what is not there yet.

    Raises:
        subprocess.CalledProcessError: A package manager failed, and has said why.
    """
    for name, (there, how) in INSTALLERS.items():
        if there.exists():
            print(f"{name} is there", file=sys.stderr)
        else:
            print(f"installing {name}", file=sys.stderr)
            how()


def versions() -> dict[str, str]:
    """Return the versions of the peers that are there."""
    found = {}
    if PORTKEY.exists():
        package = json.loads(PORTKEY.parents[1].joinpath("package.json").read_text())
        found["portkey"] = str(package["version"])
    if LITELLM.exists():
        (folder,) = LITELLM.parents[1].glob("lib/python*/site-packages/litellm-*.dist-info")
        found["litellm"] = folder.name.removesuffix(".dist-info").partition("-")[2]
    return found


def _install_litellm() -> None:
    folder = LITELLM.parents[1]
    venv.create(folder, with_pip=True, clear=True)
    subprocess.run(
        [str(folder / "bin" / "pip"), "install", "--quiet", *LITELLM_PACKAGES], check=True
    )


def _install_portkey() -> None:
    folder = FOLDER / "portkey"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps(PORTKEY_PACKAGE))
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed: apt-get install nodejs npm")
    subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True
    )


INSTALLERS: Final[Mapping[str, tuple[Path, Callable[[], None]]]] = {
    "portkey": (PORTKEY, _install_portkey),
    "litellm": (LITELLM, _install_litellm),
}
