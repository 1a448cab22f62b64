"""What `run.json` has of a run's files, for runs that tests write or change by hand."""

import json
from pathlib import Path
from typing import Any

from glossae.files import file_sha256, tensors_sha256, write_tensors
from glossae.sae.formats.reading import Tensors


def record(folder: Path, **more: Any) -> None:
    """Write `run.json` anew: every file of a stage's folder is the stage's, and recipe and results are the run's.

    Args:
        folder: the run's.
        more: other keys of `run.json`; what it has is kept.
    """
    path = folder / "run.json"
    said = (json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}) | more
    said["recipe"] = file_sha256(folder / "recipe.yaml")
    if (folder / "results.json").is_file():
        said["results"] = file_sha256(folder / "results.json")
    stages = said.setdefault("stages", {})
    for stage, facts in stages.items():
        stages[stage] = facts | {
            "files": {
                file.relative_to(folder / stage).as_posix(): file_sha256(file)
                for file in sorted((folder / stage).rglob("*"))
                if file.is_file() and not {"parts", "checkpoints"} & set(file.relative_to(folder).parts)
            }
        }
    path.write_text(json.dumps(said), encoding="utf-8")


def change_sae(path: Path, within: str | None = None, **changes: Any) -> None:
    """Change what the header of a `sae.safetensors` says, and its hash with it; `...` takes a key out."""
    tensors = Tensors.read(path)
    said = json.loads(tensors.header["glossae"])
    group = said if within is None else said[within]
    group |= changes
    for key in [key for key, value in group.items() if value is ...]:
        del group[key]
    write_sae(path, said, tensors.tensors)


def write_sae(path: Path, said: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write a `sae.safetensors` of this header and these tensors, whatever they are."""
    said = {key: value for key, value in said.items() if key != "sha256"}
    digest = tensors_sha256(json.dumps(said, ensure_ascii=False), tensors)
    write_tensors(path, tensors, {"glossae": json.dumps(said | {"sha256": digest}, ensure_ascii=False)})


def header_of(path: Path) -> dict[str, Any]:
    """What the header of a `sae.safetensors` says."""
    said: dict[str, Any] = json.loads(Tensors.read(path).header["glossae"])
    return said
