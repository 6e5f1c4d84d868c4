"""Runs a page as its reader would: from the top, in an empty folder, in one session."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from cli import main

from .pages import Block, Command, blocks_of, commands_of, matches

NOT_RUN = ("make", "pip", "git", "sudo", "apt-get")
"""Commands that set a machine up: they are shown and never run here. `make demo` and `make test`
are what the project's own tests and its CI run."""

RUN = (
    "eventstore",
    "echo",
    "cat",
    "cp",
    "mv",
    "rm",
    "ls",
    "head",
    "tail",
    "wc",
    "printf",
    "python",
)
"""Commands that a page may run; any other is a mistake in the page, or belongs to `NOT_RUN`."""

SECONDS_MAX = 60
"""For one command in a shell, on a machine under load."""

PAGE_MODULE = "page"
"""The module that a page's Python runs in."""


class Page:
    """One page's run: the folder it works in is the current one."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.module = ModuleType(PAGE_MODULE)
        self.environment = _environment(folder)
        self.code = 0

    def run(self) -> int:
        """Runs all blocks; returns how many there were. Raises AssertionError where the page is
        wrong, and whatever its code raises."""
        blocks, before = blocks_of(self.path), _open_stores()
        with _imports(self.module, self.folder), asyncio.Runner() as runner:
            for block in blocks:
                if block.title is not None:
                    file = self.folder / block.title
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(f"{block.body}\n")
                elif block.language == "python":
                    self._python(block, runner)
                elif block.language == "console":
                    self._console(block)
                if block.language == "json":
                    json.loads(block.body)
                elif block.language == "jsonl":
                    [json.loads(line) for line in block.body.splitlines()]
        left = _open_stores() - before
        assert not left, f"{self.path}: leaves a store open ({', '.join(t.name for t in left)})"
        return len(blocks)

    def _python(self, block: Block, runner: asyncio.Runner) -> None:
        # Line numbers and file are those of the page, so that tracebacks, and reducers that look
        # at their own source, find it there.
        source = "\n" * (block.line - 1) + block.body
        code = compile(source, str(self.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, vars(self.module)))  # noqa: S307 - the page's own code
            else:
                exec(code, vars(self.module))  # noqa: S102 - the page's own code
        self._compare(block.line, block.printed or "", printed.getvalue())

    def _console(self, block: Block) -> None:
        commands = commands_of(block)
        for command, following in zip(commands, [*commands[1:], None], strict=True):
            if command.text.split()[0] in NOT_RUN:
                continue
            printed = self._command(command)
            self._compare(command.line, command.output, printed)
            # A command that fails must say so: the page shows its exit code next.
            told = following is not None and following.text == "echo $?"
            assert self.code == 0 or told, self._said(
                command.line, f"exit code {self.code}, and no `echo $?` behind it"
            )

    def _command(self, command: Command) -> str:
        exported = re.fullmatch(r"export (\w+)=(\S+)", command.text)
        if exported:
            self.environment[exported[1]] = exported[2]
            os.environ[exported[1]] = exported[2]
            return ""
        first = command.text.split()[0]
        assert first in RUN, self._said(command.line, f"{first!r} is in no list")
        words = _plain_words(command.text)
        if first == "eventstore" and words is not None:
            return self._in_process(words[1:])
        shell = subprocess.run(
            ["/bin/bash", "-c", f"(exit {self.code})\n{command.text}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        self.code = shell.returncode
        return shell.stdout

    def _in_process(self, arguments: list[str]) -> str:
        """The command without the half second that a process takes to start."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            self.code = int(main(arguments))
        return printed.getvalue()

    def _compare(self, line: int, expected: str, printed: str) -> None:
        assert matches(expected, printed), self._said(
            line, f"the page says\n{expected}\n-- and it prints\n{printed}"
        )

    def _said(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {what}"


def _open_stores() -> set[threading.Thread]:
    """An open store has a thread that bears its name."""
    return {each for each in threading.enumerate() if each.name.startswith("eventstore ")}


def _plain_words(text: str) -> list[str] | None:
    """The words of a command line; None where it takes a shell to find them."""
    unquoted = re.sub(r"'[^']*'|\"[^\"$`\\]*\"", "", text)
    if re.search(r"[|&;<>()$`*?~\\{}#]", unquoted):
        return None
    import shlex

    return shlex.split(text)


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    scripts = Path(sys.executable).parent
    return {
        **kept,
        "PATH": f"{scripts}{os.pathsep}{kept.get('PATH', '')}",
        "HOME": str(folder),
    }


@contextlib.contextmanager
def _imports(module: ModuleType, folder: Path) -> Iterator[None]:
    """The page's module can be found by name, as can files that the page shows; afterwards
    everything is as before."""
    before = set(sys.modules)
    sys.modules[module.__name__] = module
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            place = getattr(sys.modules[name], "__file__", None) or ""
            if name == module.__name__ or place.startswith(str(folder)):
                del sys.modules[name]
