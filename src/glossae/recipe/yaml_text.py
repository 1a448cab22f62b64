"""YAML in which every scalar stays text, so that the type of a setting decides what it means.

The Norwegian code `no` is no boolean, `1e-3` is a number, and `012` is twelve. A key that is given twice, a second
document and a list that contains itself are refused.
"""

from pathlib import Path
from typing import Any

import yaml

from glossae.errors import GlossaeError
from glossae.files import read_bytes
from glossae.recipe.fields import NONE_WORDS, Raw

MOST = 2**18
"""Bytes of the largest recipe; PyYAML reads about 100 kB a second."""


def read(path: Path) -> Raw:
    """The content of a YAML file; None if it is empty.

    Raises:
        GlossaeError: it is larger than `MOST` bytes or no YAML, holds several documents, gives a key twice, or contains
            itself.
        OSError: it cannot be read.
    """
    if not path.exists():
        raise GlossaeError(f"{path}: no such file")
    data = read_bytes(path, MOST)
    try:
        content: Raw = yaml.load(data.decode("utf-8-sig"), Loader=_Loader)
        return content
    except UnicodeDecodeError as error:
        line, reason = data.count(b"\n", 0, error.start), "is not UTF-8 text"
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        reason = ", ".join(filter(None, (error.context, error.problem)))
    except yaml.reader.ReaderError as error:
        line, reason = data.decode("utf-8-sig").count("\n", 0, error.position), error.reason
    except RecursionError:
        line, reason = 0, "nested too deeply to be a recipe"
    raise GlossaeError(f"{path}: line {line + 1}: {reason}")


class _Loader(yaml.BaseLoader):
    """PyYAML's loader of text, with our words for none, and keys that are given once."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        return None if node.style is None and text.lower() in ("", *NONE_WORDS) else text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[str, Raw] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in mapping:
                problem = f"the key '{key.value}' is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            mapping[key.value] = self.construct_object(value, deep=deep)
        return mapping


def write(value: dict[str, Any]) -> str:
    """`value` as YAML that `read` gives back, and that other readers of YAML understand the same way."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200))


class _Dumper(yaml.SafeDumper):
    def represent_text(self, data: str) -> yaml.ScalarNode:
        # PyYAML quotes what YAML would take for something other than text, but does not know our "none"
        return self.represent_scalar(
            "tag:yaml.org,2002:str", data, style='"' if data.lower() in NONE_WORDS else None
        )

    def represent_row(self, data: list[Any]) -> yaml.SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_row)
