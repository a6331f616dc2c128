"""Fenced code blocks of Markdown pages: found, and run or checked by their language."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from textwrap import dedent
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

import anyio
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w+-]*)")
COMMENT = re.compile(r"^ *<!-- (?P<word>continue|raises|skip|slice)(?:: (?P<text>.+?))? -->$")


@dataclass(frozen=True)
class Block:
    """One fenced block, with what the comment on the line before it says.

    ================================  ===========================================================
    ``<!-- continue -->``             a Python block that goes on in its predecessor's namespace
    ``<!-- raises: ValueError -->``   a Python block that ends with this exception
    ``<!-- skip: why -->``            a block that no test can run or check
    ``<!-- slice: file:name -->``     the lines of a tested file between ``--8<-- [start:name]``
                                      and ``--8<-- [end:name]``, word for word
    ================================  ===========================================================
    """

    page: Path
    line: int
    language: str
    text: str
    word: str = ""
    argument: str = ""


def blocks_of(page: Path) -> list[Block]:
    """Return the page's blocks, also those inside lists, tabs and admonitions.

    Raises:
        ValueError: A fence is not closed, or the comment above it is not one of `Block`'s.
    """
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        if not (start := FENCE.match(line)):
            continue
        body = []
        for _, inner in numbered:
            if inner.strip() == start["fence"]:
                break
            body.append(inner)
        else:
            msg = f"{page.name}:{number}: the block is not closed"
            raise ValueError(msg)
        above = lines[number - 2] if number > 1 else ""
        comment = COMMENT.match(above)
        if above.lstrip().startswith("<!--") and not comment:
            msg = f"{page.name}:{number - 1}: {above.strip()} steers nothing"
            raise ValueError(msg)
        word, argument = comment.group("word", "text") if comment else ("", "")
        text = dedent("\n".join(body)) + "\n"
        found.append(Block(page, number, start["language"], text, word, argument or ""))
    return found


def chains_of(page: Path) -> Iterator[list[Block]]:
    """Yield each block together with those before it that it continues."""
    chain: list[Block] = []
    for block in blocks_of(page):
        if block.language != "python":
            yield [block]
            continue
        if block.word == "continue" and not chain:
            msg = f"{page.name}:{block.line}: there is no block to continue"
            raise ValueError(msg)
        chain = [*chain, block] if block.word == "continue" else [block]
        yield chain


def slice_of(place: str, root: Path) -> str:
    """Return the named slice of a file, given as ``file:name``; nothing if there is none."""
    path, _, name = place.partition(":")
    if not (root / path).is_file():
        return ""
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    marks = [number for number, line in enumerate(lines) if f":{name}]" in line]
    return "\n".join(lines[marks[0] + 1 : marks[-1]]).rstrip() + "\n" if marks else ""


def run_python(chain: list[Block]) -> None:
    """Execute Python blocks one after the other in one new module; ``await`` may stand alone.

    Functions that are named as tests are called at the end, as pytest would.
    """
    module = ModuleType("documented")
    sys.modules[module.__name__] = module  # where dataclasses and annotations look names up
    try:
        for block in chain:
            # The empty lines make a traceback point to the page.
            source = "\n" * block.line + block.text
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code: CodeType = compile(source, str(block.page), "exec", flags, dont_inherit=True)
            execute(code, module, block.argument if block.word == "raises" else "")
        for name in [name for name in vars(module) if name.startswith("test_")]:
            call(vars(module)[name])
    finally:
        del sys.modules[module.__name__]


def execute(code: CodeType, module: ModuleType, expected: str) -> None:
    """Run a block, which must raise the exception of the expected name if there is one."""
    try:
        call(FunctionType(code, module.__dict__))
    except Exception as error:
        if type(error).__name__ != expected:
            raise
    else:
        if expected:
            msg = f"the block ended without {expected}"
            raise AssertionError(msg)


def call(function: FunctionType) -> None:
    """Call it, on an event loop if it has to be awaited."""
    if function.__code__.co_flags & inspect.CO_COROUTINE:
        anyio.run(function)
    else:
        function()


@dataclass(frozen=True)
class Project:
    """What the commands of a page may name.

    Args:
        root: Where ``./scripts/...`` is looked up.
        paths: The literals of the sources and examples, among them every URL path that is served.
        extras: The extras of the distribution.
    """

    root: Path
    paths: frozenset[str]
    extras: frozenset[str]

    def complaint(self, command: str) -> str:
        """Return what is wrong with a shell command, or nothing."""
        words = shlex.split(command, comments=True)
        match words:
            case []:
                return ""
            case [script, *_] if script.startswith(("./scripts/", ".ci/")):
                return "" if (self.root / script).is_file() else f"there is no {script}"
            case ["pip", "install", *requirements]:
                wrong = [word for word in requirements if not self.installable(word)]
                return f"nobody should install {', '.join(wrong)}" if wrong else ""
            case ["curl", *_]:
                urls = [word for word in words if "localhost" in word or "127.0.0.1" in word]
                unknown = [url for url in urls if not self.serves(url)]
                if urls and not unknown:
                    return ""
                return f"nothing serves {', '.join(unknown) or 'this'}"
        return f"nothing checks {words[0]!r}: mark the block with <!-- skip: why -->"

    def installable(self, requirement: str) -> bool:
        """Return whether this is our distribution with extras that exist, or somebody else's."""
        name, _, extras = requirement.rstrip("]").partition("[")
        if name == "probekit-health":
            return not extras or set(extras.split(",")) <= self.extras
        return name != "probekit"

    def serves(self, url: str) -> bool:
        """Return whether the URL's path, or one above it, stands in the sources or examples."""
        path = re.sub(r"^(\w+://)?[^/]+|[?#].*$", "", url).rstrip("/")
        while path and path not in self.paths:
            path = path.rpartition("/")[0]
        return bool(path)


def commands_of(block: Block) -> list[str]:
    """Return the block's commands: every line in ``bash``, those after a prompt in ``console``."""
    text = block.text.replace("\\\n", " ")
    if block.language == "bash":
        return text.splitlines()
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def check(chain: list[Block], project: Project) -> None:
    """Run the last block of the chain, or check what can be checked.

    Raises:
        AssertionError: The block promises something that does not hold, or nothing can check it.
    """
    block = chain[-1]
    if block.word == "skip":
        assert block.argument, "a skipped block says why: <!-- skip: why -->"
        return
    if block.word == "slice":
        assert block.text == slice_of(block.argument, project.root), (
            f"{block.page.name}:{block.line}: this is not what stands at {block.argument}: copy it"
        )
        return
    match block.language:
        case "python":
            run_python(chain)
        case "bash" | "console":
            commands = commands_of(block)
            assert commands, "no line begins with '$ '"
            complaints = [project.complaint(command) for command in commands]
            assert not any(complaints), "; ".join(filter(None, complaints))
        case "json":
            json.loads(block.text)
        case "yaml":
            list(yaml.safe_load_all(block.text))
        case "toml":
            tomllib.loads(block.text)
        case language:
            msg = f"no test knows the language {language!r}: mark the block with <!-- skip: why -->"
            raise AssertionError(msg)
