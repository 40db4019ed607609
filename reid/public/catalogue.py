"""The list of public models, ``models.yaml`` beside this file."""

from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from reid.errors import UsageError

__all__ = ["PublicFile", "PublicModel", "public_model", "public_models"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublicFile(_Frozen):
    """One file of a model. A hash is one that is documented in public for this address; None says that there
    is none.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    url: str = Field(pattern=r"^https://")
    bytes: int | None = Field(default=None, gt=0)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    sha384: str | None = Field(default=None, pattern=r"^[0-9a-f]{96}$")

    @property
    def digest(self) -> tuple[str, str] | None:
        """The kind of hash for ``hashlib`` and the hash; None where no hash is published."""
        if self.sha256:
            return "sha256", self.sha256
        return ("sha384", self.sha384) if self.sha384 else None


class PublicModel(_Frozen):
    """A model that somebody published."""

    kind: Literal["embedder", "detector"]
    about: str
    publisher: str
    licence: str
    input: str
    # where a hash comes from, if not from the publisher's own list
    hash_from: str = ""
    # what to do with it, with {folder} for where the files are
    use: str
    files: tuple[PublicFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where one is not known."""
        sizes = [file.bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@cache
def public_models() -> dict[str, PublicModel]:
    """All public models by name."""
    text = files("reid.public").joinpath("models.yaml").read_text("utf-8")
    listed = yaml.safe_load(text)
    return TypeAdapter(dict[str, PublicModel]).validate_python(listed["models"])


def public_model(name: str) -> PublicModel:
    """One of them.

    Raises:
        UsageError: there is none of that name.
    """
    known = public_models()
    if name not in known:
        raise UsageError(f"no public model is named {name!r}: `reid models list` names them")
    return known[name]
