"""Which columns of a table give the class, the split, and what keeps photos together."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from phototransfer.console import shorten_list
from phototransfer.photos.layout.class_names import map_one_to_one, name_key
from phototransfer.photos.layout.tree import split_word, word_set

_WORDS = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_PARTS = re.compile(r"[|;,+&/]|\s+")
_EMPTY = {"", "nan", "NaN", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>"}  # "None" may be a class


_CLASS_WORDS = word_set(
    "label labels class classes target y breed category categories species diagnosis diagnose dx classname "
    "classid labelid labelname gt truth taxon taxonomy classe clase klasse kategorie categoria etiqueta rasse "
    "raza razza race espece especie specie bezeichnung groundtruth"
)
_LIKELY_WORDS = word_set(
    "type kind variety cultivar disease genus family order level grade stage severity condition finding findings "
    "emotion expression style scene object animal plant fruit flower defect material quality pathology tag tags "
    "result outcome subtype group cell art typ tipo name scientific common individual identity whale"
)
#: They say only in which form the class is given: class_name, label_id, target_idx.
_FORM_WORDS = word_set("name names id ids idx index code num number no nr str string text desc description encoded int")
_OTHER_WORDS = word_set(
    "width height w h x y xmin xmax ymin ymax x1 x2 y1 y2 roi bbox box boxes area size age confidence conf score "
    "prob probability lat latitude lon long longitude date time timestamp year month day url link path file "
    "filename caption comment comments note notes sex gender side laterality view position site localization "
    "location place country city camera device photographer annotator author owner source license licence split "
    "set subset partition usage phase fold weight price count male female hash md5 rights user rater reader "
    "quality_score title id uid uuid index"
)
_GROUP_WORDS = [  # those that hold more photos together first
    *("patient", "subject", "person", "participant", "proband", "identity", "individual", "animal", "whale", "owner"),
    *("case", "lesion", "specimen", "study", "exam", "series", "session", "visit", "video", "clip", "movie", "film"),
    *("sequence", "seq", "burst", "track", "slide", "group", "scene", "event", "plot"),
]
_SPLIT_HEADERS = {"split", "set", "subset", "partition", "usage", "phase", "dataset", "fold"}
_MOST_NUMBERS = 30  # different numbers in a column whose name does not say that they are classes
_LONGEST_NAME = 80  # characters, of classes on average
_ONE_CLASS = 0.7  # of the lines have a single 1 in columns of which each is a class
CERTAIN, LIKELY, POSSIBLE, UNLIKELY = 3, 2, 1, 0


@dataclass(frozen=True)
class Classes:
    """A column (or several with 0 and 1) that may give the class of each line."""

    columns: tuple[str, ...]
    labels: list[list[str]]  #: of each line, the classes; none if the cell is empty
    certain: int  #: CERTAIN, LIKELY, POSSIBLE or UNLIKELY
    numeric: bool = False

    @property
    def title(self) -> str:
        one_hot = " (one-hot)" if len(self.columns) > 1 else ""
        return shorten_list(self.columns, 8) + one_hot

    def describe(self) -> str:
        """Return the column with some of its classes."""
        values = list(dict.fromkeys(label for labels in self.labels for label in labels))
        return f'"{self.title}" ({shorten_list(values, 3)})'


@dataclass(frozen=True)
class ClassColumns:
    """The column to use, or a question, or neither if no column has classes."""

    chosen: Classes | None = None
    several: list[Classes] = field(default_factory=list)  #: equally good
    not_used: dict[str, str] = field(default_factory=dict)  #: column → why


def is_empty(cell: str) -> bool:
    """Return whether a cell is empty, or holds what programs write for an empty one."""
    return cell.strip() in _EMPTY


def words_in(header: str) -> list[str]:
    """Return the words in the name of a column, in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", header).encode("ascii", "ignore").decode()
    return [word.lower() for word in _WORDS.findall(plain)]


def find_classes(columns: Mapping[str, Sequence[str]], names: Sequence[str]) -> ClassColumns:
    """Choose the column of the class by its name and by what is in it.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        The cells of each column in the lines that name a photo, without the column of names.
    names : sequence of str
        The name of the photo in each line.
    """
    not_used = {}
    candidates = []
    binary = {}
    only_one = len(columns) == 1
    for column, cells in columns.items():
        reason = _why_no_classes(column, cells, names)
        if not reason and not only_one and _is_binary(cells) and header_rank(column) < CERTAIN:
            binary[column] = cells
        elif reason:
            not_used[column] = reason
        else:
            candidates.append(_rate(column, cells, only_one=only_one))
    one_hot = _find_one_hot(binary) if len(binary) > 1 else []
    candidates += one_hot
    in_one_hot = {name for found in one_hot for name in found.columns}
    candidates += [_rate(column, cells) for column, cells in binary.items() if column not in in_one_hot]
    best = max((found.certain for found in candidates), default=UNLIKELY)
    top = [found for found in candidates if found.certain == best]
    rest = [found for found in candidates if found.certain < best]
    if best > UNLIKELY:
        top = _without_other_spellings(top, rest)
    not_used |= {found.title: "another column is the class" for found in rest if found not in top}
    if len(top) == 1 and best > UNLIKELY:
        return ClassColumns(chosen=top[0], not_used=not_used)
    return ClassColumns(several=top, not_used=not_used)


def _rate(column: str, cells: Sequence[str], *, only_one: bool = False) -> Classes:
    """Return the classes in a column, and how certain it is that they are: beside other columns, numbers are not."""
    found = read_classes(column, cells, header_rank(column))
    if only_one:
        return replace(found, certain=max(found.certain, POSSIBLE))
    return replace(found, certain=UNLIKELY) if found.numeric and found.certain == POSSIBLE else found


def read_classes(column: str, cells: Sequence[str], certain: int = CERTAIN) -> Classes:
    """Return the classes of each line from the cells of one column."""
    distinct = {cell: unicodedata.normalize("NFC", cell.strip()) for cell in set(cells)}
    known = [text for cell, text in distinct.items() if not is_empty(cell)]
    if known and all(_WHOLE.fullmatch(text) or text.lstrip("+-").isdigit() for text in known):  # 1.0 is 1
        distinct = {cell: match[1] if (match := _WHOLE.fullmatch(text)) else text for cell, text in distinct.items()}
    all_names = {name_key(text) for text in known}
    parts = {cell: [] if is_empty(cell) else _split_classes(text, all_names) for cell, text in distinct.items()}
    return Classes((column,), [parts[cell] for cell in cells], certain, all(_NUMBER.fullmatch(text) for text in known))


def _find_one_hot(binary: Mapping[str, Sequence[str]]) -> list[Classes]:
    """Find columns of 0 and 1 of which each is a class: neighbours with a single 1 in (nearly) every line.

    Returns
    -------
    list of Classes
        Several if there is more than one such group of columns.
    """
    columns = {name: _ones(cells) for name, cells in binary.items()}
    names = list(columns)
    found = []
    start = 0
    while start < len(names):
        end = _end_of_one_hot(columns, names, start)
        if end:
            found.append(_of_ones({name: columns[name] for name in names[start:end]}))
        start = end or start + 1
    rows = list(zip(*columns.values(), strict=True))
    single = sum(sum(row) == 1 for row in rows)
    empty = sum(not any(row) for row in rows)
    likely = {name: cells for name, cells in columns.items() if not set(words_in(name)) & _OTHER_WORDS}
    if not found and len(likely) > 2 and single >= _ONE_CLASS * len(rows) and empty < 0.1 * len(rows):
        found.append(_of_ones(likely))
    return found


def find_group(
    columns: Mapping[str, Sequence[str]], names: Sequence[str], classes: Classes
) -> tuple[str | None, dict[str, str]]:
    """Return the column that says which photos belong together (patient, lesion, video), and why others do not."""
    not_used = {}
    for word in _GROUP_WORDS:
        for column, cells in columns.items():
            if not _has_word(column, word):
                continue
            groups = {name: cell for name, cell in zip(names, cells, strict=True) if not is_empty(cell)}
            different = len(set(groups.values()))
            if different == len(groups):
                not_used[column] = "no two photos have the same value"
            elif different < 2:
                not_used[column] = "it has one value in all lines"
            elif _same_classes(read_classes(column, cells), classes):
                not_used[column] = "it is the same as the class"
            else:
                return column, not_used
    return None, not_used


def find_split(columns: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, str]] | None:
    """Return the column that says the split, and the split of each of its values, "" for photos to predict."""
    for column, cells in columns.items():
        words = words_in(column)
        values = {cell for cell in set(cells) if not is_empty(cell)}
        if not values or len(values) > 10:
            continue
        splits = {value: split_word(value) for value in values}
        named = bool(_SPLIT_HEADERS & set(words)) and not set(words) & _CLASS_WORDS
        said = split_word("_".join(word for word in words if word != "is"))
        if "is" in words and said in ("train", "test") and _is_binary(values):  # is_training_image, is_test
            other = "test" if said == "train" else "train"
            splits = {value: said if value.lower() in ("1", "1.0", "true") else other for value in values}
            named = True
        kinds = set(splits.values())
        if None not in kinds and (named or (len(kinds) > 1 and "train" in kinds)):
            return column, {value: "" if split in (None, "unlabelled") else split for value, split in splits.items()}
    return None


def header_rank(column: str) -> int:
    words = words_in(column)
    meaning = [word for word in words if word not in _FORM_WORDS] or words
    if not meaning:
        return POSSIBLE
    joined = "".join(words)
    if joined in _CLASS_WORDS or (len(meaning) == 1 and meaning[0] in _CLASS_WORDS):
        return CERTAIN
    if meaning[-1] in _OTHER_WORDS or joined in _OTHER_WORDS:
        return UNLIKELY
    if meaning[-1] in _CLASS_WORDS:  # dog_breed, Finding Labels
        return CERTAIN
    if {"scientific", "common"} & set(words) and "name" in words:
        return CERTAIN
    if any(_has_word(column, word) for word in _GROUP_WORDS) and meaning[-1] not in _LIKELY_WORDS:
        return UNLIKELY
    if words[-1] in ("id", "no", "nr") and meaning[-1] not in _LIKELY_WORDS:  # user_id
        return UNLIKELY
    return LIKELY if meaning[-1] in _LIKELY_WORDS and not set(words) & _CLASS_WORDS else POSSIBLE


def _has_word(column: str, word: str) -> bool:
    words = words_in(column)
    return word in words or word + "id" in words


def _why_no_classes(column: str, cells: Sequence[str], names: Sequence[str]) -> str:
    """Return why a column does not hold classes, judging by its cells; "" if it may."""
    pairs = {(name, cell.strip()) for name, cell in zip(names, cells, strict=True) if not is_empty(cell)}
    counts = Counter(cell for _, cell in pairs)
    photos = len({name for name, _ in pairs})
    rank = header_rank(column)
    numbers = all(_NUMBER.fullmatch(cell) for cell in counts)
    if not counts:
        return "it is empty"
    if numbers and not all(_WHOLE.fullmatch(cell) or cell.lstrip("+-").isdigit() for cell in counts):
        return "it has numbers with decimals"
    weak = rank < CERTAIN or set(words_in(column)) <= {"target", "y"}
    if numbers and weak and len(counts) > _MOST_NUMBERS:
        return f"it has many different numbers ({len(counts):,})"
    few = max(photos / 2, min(photos - 1, 5)) if rank < CERTAIN else photos - 1
    if len(counts) > few and photos > 4:
        return "hardly any value is repeated"
    if len(counts) < 2 and rank < CERTAIN and photos > 4:
        return "it has one value in all lines"
    if sum(map(len, counts)) > _LONGEST_NAME * len(counts):
        return "it has long texts"
    if rank == UNLIKELY and numbers and len(counts) > 2:
        return "it has numbers"
    return ""


def _is_binary(cells: Iterable[str]) -> bool:
    values = {cell.strip().lower() for cell in set(cells)}
    return values <= {"0", "1", "0.0", "1.0"} or values <= {"true", "false"}


def _end_of_one_hot(columns: Mapping[str, Sequence[bool]], names: list[str], start: int) -> int:
    """Return the end of the longest run of columns from `start` with a single 1 in every line; 0 for none."""
    count = [0] * len(columns[names[start]])
    end = 0
    for number in range(start, len(names)):
        count = [before + cell for before, cell in zip(count, columns[names[number]], strict=True)]
        if max(count) > 1:
            break
        if number > start and min(count) == 1 and any(columns[names[number]]):
            end = number + 1
    return end


def read_one_hot(columns: Mapping[str, Sequence[str]]) -> Classes:
    """Return the classes of each line from columns of 0 and 1 of which each is a class."""
    return _of_ones({name: _ones(cells) for name, cells in columns.items()})


def _ones(cells: Sequence[str]) -> list[bool]:
    return [cell.strip().lower() in ("1", "1.0", "true") for cell in cells]


def _of_ones(columns: Mapping[str, Sequence[bool]]) -> Classes:
    rows = zip(*columns.values(), strict=True)
    labels = [[name for name, cell in zip(columns, row, strict=True) if cell] for row in rows]
    return Classes(tuple(columns), labels, LIKELY)


def _without_other_spellings(top: list[Classes], rest: list[Classes]) -> list[Classes]:
    """Of columns that name the same classes, such as class_id and class_name, keep the one with words."""
    kept: list[Classes] = []
    for found in sorted(top, key=lambda found: found.numeric):
        if not any(_same_classes(found, other) for other in kept):
            kept.append(found)
    if len(kept) == 1 and kept[0].numeric:
        readable = [found for found in rest if not found.numeric and found.certain > UNLIKELY]
        kept = [found for found in readable if _same_classes(found, kept[0])][:1] or kept
    return kept


def _same_classes(one: Classes, other: Classes) -> bool:
    """Return whether two columns map one to one."""
    pairs = {(tuple(a), tuple(b)) for a, b in zip(one.labels, other.labels, strict=True) if a and b}
    return len(pairs) > 1 and map_one_to_one(pairs)


def _split_classes(text: str, all_names: set[str]) -> list[str]:
    """Return the classes in a cell: "Edema|Effusion" is two if its parts are classes elsewhere."""
    parts = [part.strip() for part in _PARTS.split(text) if part.strip()]
    if len(parts) < 2:
        return [text]
    known = [name_key(part) in all_names for part in parts]
    several = any(known) if {"|", ";"} & set(text) else all(known)
    return parts if several else [text]
