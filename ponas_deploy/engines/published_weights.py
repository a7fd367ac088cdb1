"""Where the authors of a space published a supernet's weights, and this user's copies of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.engines.weights_files import has_torch
from ponas_deploy.errors import PonasError
from ponas_deploy.files.contents import weights_contents
from ponas_deploy.files.download import Remote, download, downloaded
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import Advance
from searchspace.spaces import SPACES, build_space
from searchspace.zoo import published_network

_OFA = "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets/ofa_mbv3_d234_e346_k357"

PUBLISHED = {"ofa-mbv3": Remote(f"{_OFA}_w1.0"), "ofa-mbv3-w1.2": Remote(f"{_OFA}_w1.2")}
"""By space. The addresses are those in the authors' code (github.com/mit-han-lab/once-for-all @f03b267),
which says neither sizes nor hashes; the files could not be had when this was written."""


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """The weights of a space: address, size and SHA-256 where they are known, and the copy that is here.

    `url` is None where its authors published none. `file` is None where nothing was downloaded; then `sha256`
    is what the file is expected to have, else what it has.
    """

    space: str
    url: str | None
    bytes: int | None
    sha256: str | None
    file: str | None


def published_weights(space: str) -> PublishedWeights:
    """Where the weights of a space are had; UnknownNameError for an unknown space."""
    name = build_space(space).name
    if name not in PUBLISHED:
        return PublishedWeights(name, None, None, None, None)
    remote = PUBLISHED[name]
    if found := downloaded(remote, folder()):
        path = folder() / remote.name
        return PublishedWeights(name, remote.url, path.stat().st_size, found, str(path))
    return PublishedWeights(name, remote.url, remote.bytes, remote.sha256, None)


def download_weights(space: str, advance: Advance) -> PublishedWeights:
    """The weights of a space, downloaded where they are not here yet; see `files.download`."""
    found = published_weights(space)
    if found.url is None:
        known = ", ".join(name for name in SPACES if name in PUBLISHED)
        raise PonasError(
            f"the authors of space '{found.space}' published no weights that are known here: known are"
            f" {known}."
        )
    if found.file is None:
        download(PUBLISHED[found.space], folder(), weights_contents, advance)
    return published_weights(found.space)


def trained_weights(space: str) -> str:
    """How an engine of a space gets trained weights, in one line for people."""
    found = published_weights(space)
    if found.url is None:
        how = f"train specialized {space}" if published_network(space) else f"train --space {space}"
        return f"trained weights: `ponas {how}` makes some, then --weights FILE"
    extra = "" if has_torch() else " (reading it needs the extra 'train')"
    if found.file:
        return f"trained weights are downloaded already: --weights {found.file}{extra}"
    return f"trained weights: `ponas weights --space {space} --download`, then --weights FILE{extra}"


def folder() -> Path:
    """Where downloaded weights lie in the user's store."""
    return home() / "downloads"
