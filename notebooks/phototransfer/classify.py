"""The command behind `make classify`: photos classified with the saved model of a run.

    python -m phototransfer.classify cat.jpg holiday/ 'phone/**/*.jpg' photos.zip --run lucy --csv answers.csv

The exit status is 0 if at least one photo was classified, 1 if none was, and 2 if the command cannot be carried out.
"""

import argparse
import contextlib
import glob
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phototransfer.commands import command
from phototransfer.console import allow_any_text, plural, quiet_tensorflow, short_name
from phototransfer.files import atomic_write
from phototransfer.paths import archive_kind, find_path, find_run, working_folder

if TYPE_CHECKING:
    import pandas as pd

# TensorFlow is imported where it is used: it takes seconds, and a wrong argument is named first.

_STANDARD_OUTPUT = "-"
_ARCHIVES = ("a zip archive", "a tar archive")
#: What Keras imports if it can, for functions that are not used here. It takes as long as a third of TensorFlow.
_OPTIONAL = ("IPython", "matplotlib", "sklearn")
_LONGEST_NAME = 44  # characters of a file's name or a class on the screen


@dataclass(frozen=True)
class _Photos:
    """What is classified in one go: `paths`, and the names of the files in the table, None for those of `classify`."""

    paths: list[Path]
    names: list[str] | None


def main(arguments: Sequence[str]) -> int:
    """Classify photos as the arguments say, and return the exit status."""
    allow_any_text()
    options = _parser().parse_args(arguments)
    if problem := _wrong_options(options):
        print(f"Stopped: {problem}", file=sys.stderr)
        return 2
    try:
        with contextlib.ExitStack() as until_the_end:
            run = find_run(options.run)
            photos = [found for text in options.photos for found in _find_photos(text, until_the_end)]
            answers = _classify(run, photos)
    except (OSError, ValueError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    try:
        _write(answers, options, run.name)
    except BrokenPipeError:  # `… | head` has read enough
        sys.stderr.close()
    except OSError as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 2
    return 0 if answers["label"].notna().any() else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m phototransfer.classify",
        description="Classify photos with the saved model of a run.",
        epilog="In a checkout of the project: make classify PHOTO=cat.jpg RUN=lucy",
    )
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help="a photo, a folder, a zip or tar archive, or a pattern in quotes such as 'phone/**/*.jpg'",
    )
    parser.add_argument("--run", metavar="RUN", help="name or folder of a run; without it, the newest run in models/")
    for kind in ("csv", "json"):
        parser.add_argument(
            f"--{kind}",
            nargs="?",
            const=_STANDARD_OUTPUT,
            metavar="FILE",
            help=f"write the answers as {kind.upper()} to FILE, or to standard output instead of the table",
        )
    return parser


def _wrong_options(options: argparse.Namespace) -> str | None:
    """Return what is wrong: an empty argument, or an output file of another kind, which may be a photo."""
    if not all(text.strip() for text in options.photos):
        example = command("classify", "cat.jpg")
        return f"PHOTO is empty. Give a photo, a folder, a pattern or an archive: {example}"
    if options.csv == options.json == _STANDARD_OUTPUT:
        return "--csv and --json cannot both write to standard output. Give one of them a file: --json answers.json"
    for kind in ("csv", "json"):
        target = getattr(options, kind)
        if target in (None, _STANDARD_OUTPUT):
            continue
        if Path(target).suffix.lower() != f".{kind}":
            return (
                f"--{kind} writes a file, and its name must end in .{kind}, got {target!r}. For standard output, give "
                f"the photos first: python -m phototransfer.classify PHOTO --{kind}"
            )
        if not (working_folder() / target).parent.is_dir():
            return f"--{kind} {target}: there is no folder {(working_folder() / target).parent}"
    return None


def _find_photos(text: str, until_the_end: contextlib.ExitStack) -> Iterator[_Photos]:
    """Yield what an argument means: a photo or a folder, the content of an archive, or the matches of a pattern.

    Raises
    ------
    FileNotFoundError
        There is no such file or folder, or nothing matches.
    ValueError
        The archive cannot be unpacked.
    """
    path = find_path(text)
    if path.is_file() and archive_kind(path) in _ARCHIVES:
        folder = Path(until_the_end.enter_context(_temporary_folder())) / "photos"
        from phototransfer.photos.archives import unpack

        with contextlib.redirect_stdout(sys.stderr):
            unpack(path, folder)
        yield _Photos([folder], None)
    elif path.exists():
        yield _Photos([path], None)
    elif glob.has_magic(text):
        yield from _matches(path)
    else:
        raise FileNotFoundError(
            f"There is no photo, folder or archive {text!r} in {working_folder()}. For several photos, name their "
            "folder or a pattern in quotes, such as 'holiday/*.jpg'."
        )


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="phototransfer-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _matches(pattern: Path) -> Iterator[_Photos]:
    """Yield the files that match a pattern, and the folders whose content does not match it as well."""
    found = sorted(Path(match) for match in glob.glob(str(pattern), recursive=True))
    files = [path for path in found if path.is_file()]
    folders = [path for path in found if path.is_dir()]
    if "**" in pattern.parts:
        folders = []  # their files match, too
    if not files and not folders:
        raise FileNotFoundError(f"No photo matches {str(pattern)!r}.")
    fixed = Path(*pattern.parts[: next(n for n, part in enumerate(pattern.parts) if glob.has_magic(part))])
    if files:
        yield _Photos(files, [path.relative_to(fixed).as_posix() for path in files])
    for folder in folders:
        yield _Photos([folder], None)


def _classify(run: Path, photos: Sequence[_Photos]) -> "pd.DataFrame":
    """Return the answers of the model of a run, see `network.classify`."""
    with quiet_tensorflow(), _hidden(*_OPTIONAL):
        import keras  # noqa: F401
    import pandas as pd

    from phototransfer.network.classify import classify, load_run

    with contextlib.redirect_stdout(sys.stderr):
        model, classes = load_run(run)
        tables = []
        for group in photos:
            table = classify(model, classes, *group.paths, announce=False)
            tables.append(table if group.names is None else table.assign(file=group.names))
    return pd.concat(tables, ignore_index=True)


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let imports of packages fail in the block, unless they have been imported before."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None means: cannot be imported
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _write(answers: "pd.DataFrame", options: argparse.Namespace, run: str) -> None:
    """Write the files that were asked for, and the table unless standard output has one of them."""
    texts = {"csv": answers.to_csv(index=False), "json": _to_json(answers)}
    targets = {kind: getattr(options, kind) for kind in texts if getattr(options, kind) is not None}
    messages = sys.stderr if _STANDARD_OUTPUT in targets.values() else sys.stdout
    if messages is sys.stdout and not answers.empty:
        print(_to_text(answers, run), flush=True)
    for kind, target in targets.items():
        if target == _STANDARD_OUTPUT:
            # A file name that is not UTF-8 has lone surrogates.
            sys.stdout.write(texts[kind].encode("utf-8", "backslashreplace").decode())
            sys.stdout.flush()
            continue
        path = working_folder() / target
        with atomic_write(path) as partial:
            partial.write_text(texts[kind], encoding="utf-8", errors="backslashreplace", newline="")
        print(f"Written: {path}", file=messages)


def _to_json(answers: "pd.DataFrame") -> str:
    """Return the answers as a list of objects, with null for what is missing."""
    return answers.to_json(orient="records", indent=1, force_ascii=False, double_precision=6) + "\n"


def _to_text(answers: "pd.DataFrame", run: str) -> str:
    """Return the answers as a table for the screen, with the run's name and what "unlike" means if it occurs."""
    rows = [("file", "label", "probability", "")]
    for file, label, probability, reason in zip(
        answers["file"], answers["label"], answers["probability"], answers["reason"], strict=True
    ):
        classified = isinstance(label, str)
        answer = (_shown(label), f"{probability:.2f}") if classified else ("–", "–")
        rows.append((_shown(file), *answer, _shown(reason, 200)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{file:<{widths[0]}}  {label:<{widths[1]}}  {probability:>{widths[2]}}  {note}".rstrip()
        for file, label, probability, note in rows
    ]
    count = int(answers["label"].notna().sum())
    lines += ["", f"{plural(count, 'photo')} of {plural(len(answers), 'file')} classified with the run {run}."]
    if answers["unlike"].fillna(False).any():
        lines.append(
            "Unlike the training photos: further from them than almost any photo of their kind. Do not trust the label."
        )
    return "\n".join(lines)


def _shown(text: str, length: int = _LONGEST_NAME) -> str:
    """Return text from outside in one line of printable characters, so that no name can control the terminal."""
    printable = "".join(character if character.isprintable() else "�" for character in text)
    return short_name(printable, length)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
