"""A console script: verbs, their flags, and what happens when one of them fails.

app = App("avsr", "read speech from lips, sound, or both", package="viseme.avsr")

@app.verb("transcribe", "the words of a video or sound file", arg("inputs", nargs="+"), device=True, json=True)
def transcribe(args): ...

@app.config_verb("train", "train a model")
def train(cfg): ...

main = app.main        # what [project.scripts] names
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from viseme.core import __version__
from viseme.core.errors import VisemeError

__all__ = ["App", "arg"]

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Argument:
    """One flag or positional, as `argparse.add_argument` takes it."""

    names: tuple[str, ...]
    options: dict[str, Any]


def arg(*names: str, **options: Any) -> Argument:
    """A flag or positional of a verb, as `argparse.add_argument` takes it."""
    return Argument(names, options)


DEVICE = arg("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
OUT = arg("--out", metavar="PATH", default=None, help="where to write the result; - or nothing is standard output")
JSON = arg("--json", action="store_true", help="one JSON object a line instead of text")
DEBUG = arg("--debug", action="store_true", help="show the whole traceback of an error")


@dataclass(frozen=True)
class Verb:
    """A verb: what it is called, what it takes, what it runs."""

    name: str
    help: str
    arguments: tuple[Argument, ...]
    run: Callable[[Any], int | None]
    takes_config: bool = False
    root: str = "config"
    description: str = ""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is one `--help` away."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


class App:
    """The console script of one package.

    Args:
        prog: its name, e.g. `avsr`.
        description: what the package is for, one line.
        package: the package whose `conf/` holds the Hydra groups of the verbs that take overrides.
        extras: optional modules that `doctor` looks for, with what each is for.
        translate: turns a command line as other software spells it into ours, before anything else looks at it.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        *,
        package: str | None = None,
        extras: dict[str, str] | None = None,
        translate: Callable[[list[str]], list[str]] | None = None,
    ) -> None:
        self.prog, self.description, self.package = prog, description, package
        self._translate = translate
        self.verbs: dict[str, Verb] = {}
        self._extras = extras or {}
        self.verb("doctor", "what is installed here, and what of it works", json=True)(self._doctor)

    def verb(
        self,
        name: str,
        help: str,
        *arguments: Argument,
        device: bool = False,
        out: bool = False,
        json: bool = False,
        description: str = "",
    ) -> Callable[[Callable[[Any], int | None]], Callable[[Any], int | None]]:
        """Register a verb on files; its function gets the `argparse.Namespace` and may return an exit code."""
        common = tuple(flag for flag, wanted in ((DEVICE, device), (OUT, out), (JSON, json)) if wanted)

        def register(run: Callable[[Any], int | None]) -> Callable[[Any], int | None]:
            self.verbs[name] = Verb(name, help, (*arguments, *common, DEBUG), run, description=description)
            return run

        return register

    def config_verb(
        self, name: str, help: str, *, root: str = "config", description: str = ""
    ) -> Callable[[Callable[[Any], int | None]], Callable[[Any], int | None]]:
        """Register a verb that takes Hydra overrides over `conf/<root>.yaml`; its function gets the `DictConfig`."""
        arguments = (
            arg("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides: recipe=demo trainer.devices=2"),
            arg("--print-config", action="store_true", help="print the composed configuration and stop"),
            DEBUG,
        )

        def register(run: Callable[[Any], int | None]) -> Callable[[Any], int | None]:
            self.verbs[name] = Verb(name, help, arguments, run, True, root, description)
            return run

        return register

    def parser(self, argv: Sequence[str] = ()) -> argparse.ArgumentParser:
        """The argparse parser of all verbs, with all that `--help` tells where `argv` asks for it."""
        asked = bool({"-h", "--help"} & set(argv))
        parser = Parser(prog=self.prog, description=self.description)
        parser.add_argument("--version", action="version", version=f"{self.prog} {__version__}")
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
        for verb in self.verbs.values():
            sub = verbs.add_parser(verb.name, help=verb.help, description=verb.description or verb.help)
            for argument in verb.arguments:
                sub.add_argument(*argument.names, **argument.options)
            if verb.takes_config:
                sub.formatter_class = argparse.RawDescriptionHelpFormatter
                sub.epilog = self._config_help(verb) if asked and verb.name in argv[:1] else None
        return parser

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line; returns the exit code and never raises."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if self._translate is not None:
            argv = self._translate(argv)
        try:
            args = self.parser(argv).parse_args(argv)
        except SystemExit as stop:  # argparse: --help, --version, or a wrong flag
            return int(stop.code or 0)
        return self._guard(self.verbs[args.verb], args)

    def surface(self) -> dict[str, list[str]]:
        """Every verb with its flags and positionals, for the test that freezes them."""
        return {
            name: sorted("/".join(argument.names) for argument in verb.arguments) for name, verb in self.verbs.items()
        }

    def _guard(self, verb: Verb, args: argparse.Namespace) -> int:
        try:
            return int(self._run(verb, args) or 0)
        except KeyboardInterrupt:
            print(f"{self.prog}: interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # the reader of our output has gone, as in `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            code, message = _explain(error)
            if args.debug:
                traceback.print_exc()
            print(f"{self.prog}: {message}", file=sys.stderr)
            return code

    def _run(self, verb: Verb, args: argparse.Namespace) -> int | None:
        if not verb.takes_config:
            return verb.run(args)
        from omegaconf import OmegaConf

        from .config import compose

        assert self.package is not None, "a verb with overrides needs the package that has conf/"
        cfg = compose(self.package, args.overrides, root=verb.root, missing_ok=args.print_config)
        if args.print_config:
            print(OmegaConf.to_yaml(cfg), end="")
            return 0
        return verb.run(cfg)

    def _config_help(self, verb: Verb) -> str:
        from .config import config_options

        assert self.package is not None
        groups = config_options(self.package)
        lines = [f"  {group}={'|'.join(options)}" for group, options in groups.items()]
        return "groups:\n" + "\n".join(lines) + "\n\n--print-config shows every key with its value."

    def _doctor(self, args: argparse.Namespace) -> int:
        from .doctor import doctor

        return doctor(self.prog, self._extras, as_json=args.json)


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and one line for an exception."""
    if isinstance(error, VisemeError):
        return USER_ERROR, _one_line(error)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        where = f"{error.filename}: " if error.filename is not None else ""
        return USER_ERROR, f"{where}{error.strerror or error}"
    if type(error).__name__ == "OutOfMemoryError":
        return (
            USER_ERROR,
            f"out of device memory: {_one_line(error)}. Try --device cpu, shorter input or smaller batches.",
        )
    return FAILED, f"internal error: {type(error).__name__}: {_one_line(error)} (--debug shows the traceback)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
