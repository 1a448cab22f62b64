"""YAML without its traps.

Every scalar stays the text that was written, and the setting's type decides what it means. So the Norwegian
code `no` is no boolean, `1e-3` is a number, and `012` is twelve. What YAML shrugs at is refused: a key given
twice, a second document, a list that contains itself.
"""

from typing import Any

import yaml

from glossae.recipe.fields import NONE_WORDS, Raw


class BrokenYamlError(ValueError):
    """What is wrong with the text, with the line where there is one."""


def read(text: str) -> Raw:
    """What the one document in `text` holds; None if it is empty.

    Raises:
        BrokenYamlError: it is not YAML, holds several documents, gives a key twice, or runs in a circle.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _Reader().value(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise BrokenYamlError(f"line {mark.line + 1}: {reason}" if mark else reason) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BrokenYamlError(f"line {line}: {error.reason}") from error
    except RecursionError as error:
        raise BrokenYamlError("nested too deeply to be a recipe") from error


class _Reader:
    """Turns nodes into values. An alias is the very node that it names, so a node is read only once."""

    def __init__(self) -> None:
        self.values: dict[yaml.Node, Raw] = {}
        self.open: set[yaml.Node] = set()

    def value(self, node: yaml.Node) -> Raw:
        if node in self.open:
            raise _broken(node, "this contains itself")
        if node not in self.values:
            self.open.add(node)
            self.values[node] = self._read(node)
            self.open.remove(node)
        return self.values[node]

    def _read(self, node: yaml.Node) -> Raw:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(element) for element in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        assert isinstance(node, yaml.ScalarNode)
        text = str(node.value)
        is_none = node.style is None and (text == "" or text.lower() in NONE_WORDS)
        return None if is_none else text

    def _mapping(self, node: yaml.MappingNode) -> Raw:
        mapping: dict[str, Raw] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _broken(key_node, "a key must be a word")
            key = str(key_node.value)
            if key in mapping:
                raise _broken(key_node, f"the key '{key}' is given twice")
            mapping[key] = self.value(value_node)
        return mapping


def _broken(node: yaml.Node, reason: str) -> BrokenYamlError:
    return BrokenYamlError(f"line {node.start_mark.line + 1}: {reason}")


def write(value: dict[str, Any]) -> str:
    """`value` as YAML that `read` gives back, and that other readers of YAML understand the same way."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200))


class _Dumper(yaml.SafeDumper):
    def represent_text(self, data: str) -> yaml.ScalarNode:
        # PyYAML quotes what YAML would take for something other than text, but does not know our "none"
        style = '"' if data.lower() in NONE_WORDS else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def represent_row(self, data: list[Any]) -> yaml.SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_row)
