"""Hydra configurations of a package: composed from its `conf/` by overrides, without Hydra taking over the process."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from viseme.core.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["compose", "config_dir", "config_keys", "config_options", "typed"]

T = TypeVar("T")


def config_dir(package: str) -> Path:
    """Where the package keeps its Hydra groups."""
    path = Path(str(importlib.resources.files(package) / "conf"))
    if not path.is_dir():
        raise ConfigError("the package has no conf/ directory", path=path)
    return path


def typed(kind: type[T], cfg: Any) -> T:
    """A group of a configuration as the dataclass that describes it.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), cfg))
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    assert isinstance(made, kind)
    return made


def compose(
    package: str, overrides: Sequence[str] = (), *, root: str = "config", missing_ok: bool = False
) -> DictConfig:
    """The configuration `conf/<root>.yaml` of a package under `overrides`.

    The group option `trainer: base` is core's typed `TrainerConfig`: package files build on it.

    Args:
        package: `viseme.avsr`.
        overrides: Hydra's grammar: `recipe=demo data.root=/data +new.key=1 ~old`.
        root: name of the primary configuration.
        missing_ok: leave mandatory values (`???`) unset instead of refusing.

    Raises:
        ConfigError: an unknown key or option (with what comes near), a wrong type, a mandatory value not given.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        cfg = _compose(package, overrides, root)
        if not missing_ok:
            if missing := sorted(OmegaConf.missing_keys(cfg)):
                raise ConfigError(
                    f"no value for {', '.join(missing)}", hint=f"Give it on the command line: {missing[0]}=..."
                )
            OmegaConf.resolve(cfg)
    except YAMLError as error:
        raise ConfigError(f"a configuration file is not YAML: {' '.join(str(error).split())}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, package, overrides, root) from error
    return cfg


def _compose(package: str, overrides: Sequence[str], root: str) -> DictConfig:
    """What Hydra makes of it, with Hydra's own errors."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    from viseme.core.training.config import TrainerConfig

    ConfigStore.instance().store(group="trainer", name="base", node=TrainerConfig)
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir(package))):
        return hydra_compose(root, overrides=[quoted(text) for text in overrides])


def quoted(override: str) -> str:
    """The override with its value in quotes where Hydra's grammar needs them: `path=run/epoch=3.ckpt`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    if not equals or value[:1] in ("", "[", "{", "'", '"', "$"):
        return override
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{escaped}'"
    return override


def config_keys(package: str, overrides: Sequence[str] = (), *, root: str = "config") -> list[str]:
    """Every key of the composed configuration, dotted and sorted."""
    return _keys(compose(package, overrides, root=root, missing_ok=True))


def _keys(cfg: DictConfig) -> list[str]:
    from omegaconf import OmegaConf

    keys: list[str] = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        else:
            keys.append(path)

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return sorted(keys)


def config_options(package: str) -> dict[str, list[str]]:
    """The groups of a package and what each may be set to, e.g. `{"recipe": ["demo", "vsr_lrs3"]}`."""
    root = config_dir(package)
    groups: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.yaml")):
        if path.parent != root and not path.name.startswith("_"):
            groups.setdefault(path.parent.relative_to(root).as_posix(), []).append(path.stem)
    return groups


def _explain(error: Exception, package: str, overrides: Sequence[str], root: str) -> ConfigError:
    """Hydra's paragraph as one line, with the key or option that was probably meant."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None and str(error.__cause__):
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()]
    groups = config_options(package)
    # An option of a group that does not exist: Hydra names it as 'group/option'.
    if (match := re.search(r"Could not find '([\w./-]+)/([^/']+)'", str(error))) and match[1] in groups:
        return ConfigError(
            f"there is no {match[1]} {match[2]!r}",
            expected=" or ".join(groups[match[1]]),
            hint=_near(match[2], groups[match[1]]),
        )
    # A key that does not exist: whichever override is neither a key, the head of one, nor a group.
    known = _known_keys(package, overrides, root) | set(groups)
    for override in overrides:
        key = override.partition("=")[0].lstrip("~+").split("@")[0]
        if override.startswith(("+", "~")) or "=" not in override or key in known:
            continue
        return ConfigError(f"there is no key {key!r}", hint=_near(key, sorted(known)))
    noise = ("full_key:", "object_type=", "Set the environment", "See https", "3. To sweep")
    told = [line for line in lines if not line.startswith(noise)]
    return ConfigError(" ".join(dict.fromkeys(told))[:400])


def _known_keys(package: str, overrides: Sequence[str], root: str) -> set[str]:
    """Keys, and heads of keys, under the overrides that choose group options, where those are right."""
    choices = [text for text in overrides if text.partition("=")[0].split("@")[0] in config_options(package)]
    for attempt in (choices, []):
        try:
            keys = _keys(_compose(package, attempt, root))  # not `compose`, which explains errors
        except Exception:  # whatever is wrong with the configuration is what is being explained
            continue
        return set(keys) | {parent for key in keys for parent in _parents(key)}
    return set()


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _near(word: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    close += [choice for choice in choices if choice.split(".")[-1] == word.split(".")[-1] and choice not in close][:3]
    return f"Did you mean {' or '.join(close)}?" if close else "--print-config lists every key."
