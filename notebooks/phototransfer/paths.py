"""Where the paths in the settings (DATASET, RELABEL, PREDICT, WEIGHTS) lead to, and the name of a run."""

import difflib
import mimetypes
import os
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from phototransfer import files
from phototransfer.commands import command, install_command
from phototransfer.console import shorten_list

#: The folder in which the command was typed, for a notebook that runs in another one.
CWD_VARIABLE = "PHOTOTRANSFER_CWD"
#: Where a command that runs the notebook wants to find the name of the run's folder.
RUN_NAME_FILE = "PHOTOTRANSFER_RUN_NAME_FILE"
NOTEBOOK = (Path(__file__).parents[1] if files.CHECKOUT else files.PROJECT) / "transfer_learning.ipynb"
#: Names of data sets that need no folder: they are drawn or downloaded.
MADE = ("sample", "cats_and_dogs", "stanford_dogs")
#: What is written into `data/<name>/` and never read as photos.
DERIVED = ("prepared", "features", "skipped.csv", "source.json", ".lock")
NARROW = "-narrow"  # ending of the names of figures for the screen of a phone
SUSPECTS = "suspects.csv"  # in the folder of a run: photos whose labels may be wrong, for a person to correct
#: The columns of it that say which photo has which class; a person fills in the last.
CORRECTION_COLUMNS = ("original", "digest", "correct_label")
#: Folders in data/<name>/ with photos that this package put there.
DOWNLOAD, UNPACKED, MIRROR = "download", "unpacked", "mirror"
MIRRORED = "mirror.jsonl"  # in data/<name>/: what was fetched into MIRROR

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_NO_STORES = ("file", "http", "https")  # a folder of this computer, and the web, which has no list of files
_QUOTES = {('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("‘", "’"), ("«", "»"), ("`", "`")}
_TABLES = (".csv", ".tsv", ".txt", ".json", ".xlsx", ".xls", ".ods", ".xml", ".parquet")
_OTHER_ARCHIVES = {
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"


def find_path(text: str | Path) -> Path:
    """Return a path from the settings: absolute, relative to where the command was typed, or else to the project.

    The notebook runs in `notebooks/`, so that "data/cat.jpg" in its settings cell means the one in the project.

    Raises
    ------
    ValueError
        It is the address of an object store.
    """
    if address_of(str(text)):
        raise ValueError(f"{text!r} is an address, which only DATASET can be. Download it, and give its path")
    found = _existing(str(text), [working_folder(), files.PROJECT])
    return found[0] if found else working_folder() / text


def working_folder() -> Path:
    """Return the folder that relative paths start from: the one in which the command was typed."""
    return Path(os.environ.get(CWD_VARIABLE) or Path.cwd())


def saved_runs() -> list[Path]:
    """Return the folders in models/ of runs that have a saved model, the newest first."""
    models = [path for path in files.MODELS.glob("*/model.keras") if not path.parent.name.startswith(".")]
    models.sort(key=lambda path: (-files.stamp(path).mtime_ns, path))
    return [path.parent for path in models if has_saved_model(path.parent)]


def has_saved_model(run: Path) -> bool:
    """Return whether the folder of a run has a model and the names of its classes."""
    return (run / "model.keras").is_file() and (run / "labels.json").is_file()


def find_run(run: str | None) -> Path:
    """Return the folder of a run that has a saved model.

    Parameters
    ----------
    run : str, optional
        Its name in models/, or the path of its folder or of its model.keras. The newest run if None or empty.

    Raises
    ------
    FileNotFoundError
        There is no such run, or it has no saved model. The message lists the runs there are.
    """
    runs = saved_runs()
    if not run:
        if runs:
            return runs[0]
        raise FileNotFoundError(
            f"There is no run with a saved model in {files.MODELS} yet. Train one first: {command('run')}"
        )
    path = files.MODELS / run
    if not path.is_dir():
        path = find_path(run)
    if path.name == "model.keras" and path.is_file():
        path = path.parent
    if has_saved_model(path):
        return path
    names = shorten_list([folder.name for folder in runs], 10)
    choice = f"The runs with a saved model: {names}." if runs else f"No run has a saved model yet: {command('run')}"
    if not path.is_dir():
        raise FileNotFoundError(f"There is no run {run!r} in {files.MODELS}, and no folder of this name. {choice}")
    raise FileNotFoundError(
        f"The run {run!r} has no saved model ({path} has no model.keras with labels.json): it stopped before. Run it "
        f"again, or use another. {choice}"
    )


def find_dataset(dataset: str, made: Collection[str] = MADE) -> Path:
    """Return the folder or the archive that `DATASET` names.

    A name means a folder in data/, one of `made`, or else a path. A path starts where the command was typed, or else in
    the project or in data/.

    Returns
    -------
    Path
        A folder with files in it, a zip or tar archive, or data/<name> for one of `made` that is not there yet.

    Raises
    ------
    FileNotFoundError
        There is nothing, or not any more. The message lists what there is.
    ValueError
        There are two folders of this name, or what is there cannot be used.
    """
    name = _spellings(dataset)[1].strip().rstrip("/\\")
    is_name = bool(name) and not set(name) & set("/\\") and name not in (".", "..", "~")
    places = [working_folder(), files.PROJECT]
    if is_name:
        places.insert(0, files.DATA)
    elif not name.startswith("."):
        places.append(files.DATA)
    found = _existing(dataset, places, {files.DATA / known for known in made}) if dataset.strip() else []
    if not found:
        raise FileNotFoundError(_not_found(dataset, made))
    path, here = found[0], working_folder() / name
    if path.name in made and path.parent == files.DATA and not has_own_photos(path):
        photos = path / DOWNLOAD
    else:
        path = photos = recorded_folder(path) or path
        _check_dataset(dataset, path)
    in_data = is_name and found[0].parent == files.DATA
    if in_data and here in found and here.resolve() not in (photos.resolve(), found[0].resolve()):
        raise ValueError(
            f"DATASET = {dataset!r} can mean {found[0]} or {here}. Give the path of the one you mean: "
            f'DATASET = "{found[0]}" or DATASET = "{here}".'
        )
    return path


def address_of(text: str) -> str | None:
    """Return the address of an object store, such as "s3://bucket/photos", if the text is one, without its last "/"."""
    plain = _without_quotes(text)
    match = _ADDRESS.match(plain)
    if match is None or match[1].lower() in _NO_STORES:
        return None
    return f"{match[1].lower()}://{plain[match.end() :].rstrip('/')}"


def check_address(address: str) -> None:
    """Raise a ValueError if an address cannot be used; the store is not asked."""
    protocol, _, place = address.partition("://")
    try:
        from fsspec.registry import get_filesystem_class
    except ImportError as error:
        raise ValueError(
            f"DATASET = {address!r} needs fsspec and the client of the store: {install_command('remote')}. Or copy "
            "the photos to a folder, and give its path."
        ) from error
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        raise ValueError(
            f"DATASET = {address!r} needs a package ({error}). For s3:// and gs://: {install_command('remote')}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"DATASET = {address!r}: there is no kind of store {protocol + '://'!r}. Amazon S3 and those like it are "
            "s3://, Google Cloud Storage is gs://; the others are those of fsspec."
        ) from error
    if not place:
        raise ValueError(f'DATASET = {address!r} names no bucket. Write it as "{protocol}://bucket/folder".')
    if "@" in place.partition("/")[0] and ":" in place.partition("@")[0]:
        raise ValueError(
            f"DATASET has a password in it ({protocol}://…@{place.partition('@')[2]}), which would be in the report of "
            "each run. Give it to the store in another way: docs/scaling.md."
        )


def check_dataset(text: str) -> None:
    """Raise an error if `DATASET` names no photos; the objects of a store are looked for when they are fetched."""
    if address := address_of(text):
        check_address(address)
    else:
        find_dataset(text)


def find_corrections(text: str) -> tuple[list[Path], bool]:
    """Return the tables of corrections that `RELABEL` may mean.

    Returns
    -------
    list of Path
        The file that it names. A bare "suspects.csv" that is not there means those in models/, newest first.
    bool
        Whether they are those in models/, of which each belongs to the data set of its run.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        There is no such file.
    """
    path = find_path(text)
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder. Give the file in it: RELABEL = "{path / SUSPECTS}"')
    if path.is_file():
        return [path], False
    if text.strip() != SUSPECTS:
        raise FileNotFoundError(f"there is no file {path}")
    found = sorted(files.MODELS.glob(f"*/{SUSPECTS}"), key=lambda table: files.stamp(table).mtime_ns, reverse=True)
    if not found:
        raise FileNotFoundError(
            f"there is no file {path}, and no run in {files.MODELS} has a {SUSPECTS}. A run with RELABEL = None and "
            "CHECKS = True writes one"
        )
    return found, True


def check_relabel(text: str | None) -> None:
    """Raise a ValueError if `RELABEL` names no table of corrections; its rows are checked with the photos."""
    if text is None:
        return
    tables, of_runs = find_corrections(text)
    if of_runs:  # the data set decides which one
        return
    with tables[0].open("rb") as file:
        head = file.read(4096)
    if head.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        raise ValueError(f"{tables[0]} is not a CSV file but a workbook: save it as CSV, and give that file")
    # In UTF-16, as Excel writes "Unicode text", every second byte of these names is zero.
    if missing := [name for name in CORRECTION_COLUMNS if name.encode() not in head.replace(b"\0", b"").lower()]:
        raise ValueError(
            f"{tables[0]} has no column {' and no column '.join(missing)}. Give a {SUSPECTS} that this notebook wrote, "
            "with its first line, saved as CSV"
        )


def check_weights(text: str | None) -> None:
    """Raise a ValueError if `WEIGHTS` names a file that is no weights file of Keras."""
    if text is None or text == "imagenet":
        return
    path = find_path(text)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    kind = _weights_problem(path)
    if kind:
        raise ValueError(f"{path} is {kind}. Weights files of Keras end in .weights.h5, .h5 or .keras")


def check_predict(text: str | None) -> None:
    """Raise a ValueError if `PREDICT` names nothing that can be classified."""
    if text is None:
        return
    path = find_path(text)
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    if path.is_dir():
        if reason := _unusable_folder(path):
            raise ValueError(f"the folder {path} {reason}")
    elif archive := archive_kind(path):
        raise ValueError(f"{path} is {archive}: unpack it first, and give the folder")


def archive_kind(path: Path) -> str | None:
    """Return "a zip archive", "a tar archive" or another kind by the content of a file, None if it is no archive."""
    try:
        if zipfile.is_zipfile(path):
            return "a zip archive"
        with path.open("rb") as file:
            head = file.read(16)
        for magic, kind in _OTHER_ARCHIVES.items():
            if head.startswith(magic):
                return kind
        return "a tar archive" if tarfile.is_tarfile(path) else None
    except OSError:
        return None


def has_own_photos(home: Path) -> bool:
    """Return whether a folder under data/ has content that was not written there by this package."""
    visible = {path.name for path in home.glob("[!.]*")}
    return not visible <= {*DERIVED, DOWNLOAD, UNPACKED, MIRROR, MIRRORED}


def read_record(home: Path) -> dict[str, object]:
    """Return what `source.json` in a folder under data/ says about its photos, {} if there is none."""
    match files.read_json(home / "source.json"):
        case None:
            return {}
        case {"folder": str()} as record:
            return record
    raise ValueError(f"{home / 'source.json'} was not written by this notebook. Rename it or delete it.")


def recorded_folder(home: Path) -> Path | None:
    """Return the folder that a home without photos of its own belongs to, so that its name is enough next time.

    None if it is that of photos in an object store, whose address its record has.
    """
    if home.parent != files.DATA or not home.is_dir():
        return None
    record = read_record(home)
    folder = str(record.get("folder", ""))
    if not folder or "address" in record or folder == str(home.resolve()) or has_own_photos(home):
        return None
    archive = Path(str(record.get("archive", folder)))
    if archive.is_file():  # it may have changed since it was unpacked
        return archive
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The photos of DATASET = {home.name!r} were in {folder}, which does not exist now. Connect its disk, give "
            f"the new path of the folder, or delete {home}, which is computed again."
        )
    return Path(folder)


def _without_quotes(text: str) -> str:
    plain = text.strip()
    for opening, closing in _QUOTES:
        if len(plain) > 2 and plain.startswith(opening) and plain.endswith(closing):
            plain = plain[1:-1].strip()
    return plain


def _spellings(text: str) -> list[str]:
    """Return what a typed or pasted text may mean as a path, the likeliest first.

    Without the spaces and quotes around it, with ~ and variables replaced, a file:// address as a path, without the
    backslashes of a shell before spaces, with / for the \\ of Windows, and in the other Unicode form of its letters.
    """
    plain = _without_quotes(text)
    if plain.lower().startswith("file:"):
        plain = unquote(urlsplit(plain).path)
    plain = os.path.expandvars(os.path.expanduser(plain))
    spellings = [os.path.expanduser(text), plain, re.sub(r"\\(.)", r"\1", plain), plain.replace("\\", "/")]
    if drive := re.match(r"/?([A-Za-z]):[\\/]", plain):  # a Windows path in WSL
        spellings.append(f"/mnt/{drive[1].lower()}/" + plain[drive.end() :].replace("\\", "/"))
    spellings += [unicodedata.normalize(form, spelling) for form in ("NFC", "NFD") for spelling in spellings]
    return spellings


def _existing(text: str, places: Sequence[Path], known: Collection[Path] = ()) -> list[Path]:
    """Return the paths that exist or are in `known`, for each spelling in each place."""
    paths = [place / spelling for spelling in _spellings(text) for place in places]
    return [path for path in paths if os.path.exists(path) or path in known]


def _not_found(dataset: str, made: Collection[str]) -> str:
    here = [path.name for path in sorted(files.DATA.glob("[!._]*")) if path.is_dir() or archive_kind(path)]
    close = difflib.get_close_matches(dataset.strip().lower(), [name.lower() for name in [*here, *made]], 1)
    meant = [name for name in [*here, *made] if name.lower() in close]
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    if re.match(r"\w+://", dataset.strip()):
        hint = " It is a web address: download it, and give the file or the folder."
    return (
        f"No photos for DATASET = {dataset!r}: not in {files.DATA}, {files.PROJECT} or {working_folder()}, nor a "
        f"download.{hint} In data/: {shorten_list(here, 10) or 'nothing'}; downloads: "
        f"{', '.join(name for name in made if name != 'sample')}; drawn here: sample."
    )


def _check_dataset(dataset: str, path: Path) -> None:
    """Raise a ValueError if a path is neither a folder with files nor an archive that can be unpacked."""
    wanted = "Give a folder of photos with one folder per class, or a zip or tar archive of it."
    if path.is_dir():
        if files.DATA.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"{path} contains this project's own {files.DATA}. Give a folder that contains only photos."
            )
        if reason := _unusable_folder(path):
            raise ValueError(f"DATASET = {dataset!r}: the folder {path} {reason}. {wanted}")
        return
    if not path.is_file():
        raise ValueError(f"DATASET = {dataset!r}: {path} is not a file or folder. {wanted}")
    if path.suffix.lower() in _TABLES:
        raise ValueError(
            f"DATASET = {dataset!r} is a table or text. Give the folder of its photos; a table of labels in it is "
            f'found: DATASET = "{path.parent}".'
        )
    if (mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
        raise ValueError(f"DATASET = {dataset!r} is a single photo. {wanted} Its own folder is {path.parent}.")
    kind = archive_kind(path)
    if kind is None:
        kind = "not a folder, and not an archive that can be unpacked"
    elif kind in ("a zip archive", "a tar archive"):
        return
    raise ValueError(f"DATASET = {dataset!r}: {path} is {kind}. Unpack it first, and give the folder.")


def _unusable_folder(folder: Path) -> str | None:
    """Return what prevents the use of a folder: it is closed, or has nothing that may be a photo."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    for _, _, names in os.walk(folder, followlinks=True):
        if any(not name.startswith(".") for name in names):
            return None
    return "has no files in it"


def _weights_problem(path: Path) -> str | None:
    """Return what a file is if Keras cannot read weights from it, else None."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if head.startswith(_HDF5):
            missing = _hdf5_size(head) - path.stat().st_size
            if missing > 0:
                return f"cut short ({missing:,} bytes are missing): download it again"
            return None if path.suffix in (".h5", ".hdf5") else "an HDF5 file, and its name does not say so"
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if "model.weights.h5" in names:
                return None if path.suffix.lower() == ".keras" else "a model of Keras, and its name does not say so"
            return "a PyTorch file" if any(name.endswith("data.pkl") for name in names) else "a zip archive"
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"
    if head.lstrip().startswith(b"<"):
        return "a web page: the download did not work"
    return f"not a weights file (it begins with {head[:8]!r})" if head else "empty"


def _hdf5_size(head: bytes) -> int:
    """Return the size in bytes that an HDF5 file should have: the end-of-file address in its superblock."""
    position = {0: 40, 1: 44}.get(head[8], 28)
    return int.from_bytes(head[position : position + 8], "little")
