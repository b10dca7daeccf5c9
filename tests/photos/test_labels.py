"""Tables of labels are read as their owners meant them, or end in a question."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototransfer.photos.labels import LabelChoice, TableLabels, parse_choice, read_label_tables

PHOTOS = ["photos/1.jpg", "photos/2.jpg", "photos/3.png"]
KINDS = ["cat", "dog", "cat", "cat", "dog", "dog", "cat", "dog"]


def read(
    folder: Path, photos: Iterable[str], choice: str | None = None, **tables: str | bytes | list[str]
) -> TableLabels | None:
    """Read tables, each given by its name with "__" for the dot; lists are lines."""
    paths = []
    for name, content in tables.items():
        paths.append(PurePosixPath(name.replace("__", ".").replace("_in_", "/")))
        text = "\n".join(content) if isinstance(content, list) else content
        (folder / paths[-1]).parent.mkdir(parents=True, exist_ok=True)
        (folder / paths[-1]).write_bytes(text if isinstance(text, bytes) else text.encode())
    chosen = parse_choice(choice) if choice else None
    return read_label_tables(folder, sorted(paths), [PurePosixPath(photo) for photo in photos], chosen)


def labels(result: TableLabels | None) -> dict[str, str]:
    assert result is not None and not result.question, result
    return {str(path): row.label for path, row in result.labels.items()}


def lines(header: str, row: str, count: int = 8, start: int = 0) -> list[str]:
    """Return a header and lines; in `row`, {n} is a number, {kind} a class, {code} its number."""
    rows = [header]
    for n in range(start, start + count):
        kind = KINDS[n % 8]
        rows.append(row.format(n=n, kind=kind, code=KINDS.index(kind), half=n // 2, bit=n % 2, big=n * 37 % 101))
    return rows


def numbered(pattern: str, count: int = 8) -> dict[str, str]:
    return {pattern.format(n): KINDS[n % 8] for n in range(count)}


# The text of a table


@pytest.mark.parametrize(
    "csv",
    [
        "id,breed\n1,cat\n2,dog\n3,cat\n",
        "1,cat\n2,dog\n3,cat",
        "id,breed\r\n1.jpg,cat\r\n2.jpg,dog\r\n3.png,cat\r\n",
        "id,breed\r1,cat\r2,dog\r3,cat\r",
        "\ufeffid,breed\n1,cat\n2,dog\n3,cat\n",
        "\ufeff1,cat\n2,dog\n3,cat\n",
        "id;breed\n1;cat\n2;dog\n3;cat\n",
        "sep=;\nid;breed\n1;cat\n2;dog\n3;cat\n",
        "id\tbreed\n1\tcat\n2\tdog\n3\tcat\n",
        "id|breed\n1|cat\n2|dog\n3|cat\n",
        'id,breed,note\n"1","cat","two\nlines, and a ""quote"""\n2,dog,\n3,cat\n',
        '"the\nid",breed\n1,cat\n2,dog\n3,cat\n',
        "id,breed\nphotos/1.jpg,cat\n./photos/2.jpg,dog\nphotos\\3.png,cat\n",
        "id,breed\nphotos/1,cat\nphotos/2,dog\nphotos/3,cat\n",
        "id,breed\n 1 , cat \n2,dog\n\n3,cat\n\n",
        "id,breed\n1,cat\n1,cat\n2,dog\n3,cat\n3.png,cat\n",
        "id,breed\n1,cat,\n2,dog,\n3,cat,\n",
        "My cats\n\nid,breed\n1,cat\n2,dog\n3,cat\n",
        "id breed\n1 cat\n2 dog\n3 cat\n".replace(" ", "\t"),
        "id,breed\n1.0,cat\n2.0,dog\n3.0,cat\n",
        "id,breed\n001,cat\n002,dog\n003,cat\n",
        "9,dog\n1,cat\n2,dog\n3,cat\n",
        "file,id,breed\n/content/1.jpg,7,cat\n/content/2.jpg,8,dog\n/content/3.png,9,cat\n",
        "id,breed\n1,cat\n2,dog\n3,cat\n".encode("utf-16"),
        "\ufeffid,breed\n1,cat\n2,dog\n3,cat\n".encode("utf-16-be"),
    ],
)
def test_tables_as_programs_write_them(tmp_path, csv):
    result = read(tmp_path, PHOTOS, labels__csv=csv)
    assert labels(result) == dict(zip(PHOTOS, ["cat", "dog", "cat"], strict=True))
    assert not result.reasons and result.unmatched in ([], ["9"])


def test_a_list_with_spaces(tmp_path):
    text = ["# name class", *(f"{path} {kind}" for path, kind in numbered("images/a {}.jpg").items())]
    assert labels(read(tmp_path, numbered("images/a {}.jpg"), train__txt=text)) == numbered("images/a {}.jpg")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_accents_as_excel_saves_them(tmp_path, encoding):
    csv = "id,race\nété.jpg,chien épagneul\n2,chat\n".encode(encoding)
    result = read(tmp_path, ["e\u0301te\u0301.jpg", "2.png"], labels__csv=csv)
    assert labels(result) == {"e\u0301te\u0301.jpg": "chien épagneul", "2.png": "chat"}


def test_unusual_names(tmp_path):
    names = ['it\'s, "odd".jpg', "-rf.jpg", "100%.jpg", "two\nlines.jpg", "🐶 dog.jpg"]
    csv = "id,breed\n" + "".join('"{}",pet\n'.format(name.replace('"', '""')) for name in names)
    assert labels(read(tmp_path, names, labels__csv=csv)) == dict.fromkeys(names, "pet")


@pytest.mark.parametrize(
    "csv", ["", "just a name\nanother\n", "\n\n", "id,breed\n", "\0\0\n\0", "a,b\nc,d\n", "1.jpg\n2.jpg"]
)
def test_what_is_no_table_of_labels(tmp_path, csv):
    assert read(tmp_path, PHOTOS, labels__csv=csv, readme__txt=csv) is None


@pytest.mark.parametrize("count", [2, 30_000])
def test_a_quotation_mark_that_is_never_closed(tmp_path, count):
    csv = 'id,breed\n1,"cat\n' + "".join(f"{number},cat\n" for number in range(count))
    assert 'single "' in read(tmp_path, PHOTOS, labels__csv=csv).question
    assert read(tmp_path, PHOTOS, prices__csv=csv) is None


@given(st.binary(max_size=200) | st.text('1,;\n"\t cat.jpg/\\', max_size=80).map(str.encode))
def test_any_text_is_read_or_left(tmp_path_factory, data):
    result = read(tmp_path_factory.mktemp("any"), PHOTOS, labels__csv=data, x__txt=data)
    assert result is None or all(row.label for row in result.labels.values())


# Which column names the photos


@pytest.mark.parametrize(
    ("header", "row", "photo", "column"),
    [
        (",file,label", "{n},IMG_{n:04d}.jpg,{kind}", "images/IMG_{:04d}.jpg", "file"),
        ("label,file", "{kind},{n}.jpg", "images/{}.jpg", "file"),
        ("Unnamed: 0,name,label", "{n},{n}.jpg,{kind}", "{}.jpg", "name"),
        (",label", "{n},{kind}", "{}.jpg", "column 1"),
        ("index,age,photo,label", "{n},{big},p{n},{kind}", "p{}.jpg", "photo"),
        ("url,image_id,label", "https://x.org/get?n={n},a{n},{kind}", "a{}.jpg", "image_id"),
        ("url,label", "https://x.org/some%20pets/a{n}.jpg?size=2,{kind}", "a{}.jpg", "url"),
        ("what,which", "{kind},k{n}.png", "in/k{}.png", "which"),
        ("id,filename,label", "{n},a{n}.jpg,{kind}", "a{}.jpg", "filename"),
    ],
)
def test_the_column_of_photos_is_the_one_that_matches(tmp_path, header, row, photo, column):
    result = read(tmp_path, numbered(photo), labels__csv=lines(header, row))
    assert labels(result) == numbered(photo)
    assert result.file_column == column


def test_two_columns_with_different_photos_are_asked(tmp_path):
    photos = [f"{n}_{side}.jpg" for n in range(8) for side in ("left", "right")]
    table = lines("Left-Fundus,Right-Fundus,label", "{n}_left.jpg,{n}_right.jpg,{kind}")
    result = read(tmp_path, photos, labels__csv=table)
    assert "Left-Fundus" in result.question and "Right-Fundus" in result.question and not result.labels
    answered = read(tmp_path, photos, "labels.csv: Right-Fundus, label", labels__csv=table)
    assert labels(answered) == numbered("{}_right.jpg")


# How names match


@pytest.mark.parametrize(
    ("written", "photo"),
    [
        ("images/{n}.jpg", "images/{}.jpg"),
        ("pets/images/{n}.jpg", "images/{}.jpg"),
        ("images/{n}.jpg", "pets/all/images/{}.jpg"),
        ("/content/drive/{n}.jpg", "images/{}.jpg"),
        ("C:\\Users\\me\\pets\\{n}.jpg", "images/{}.jpg"),
        ("s3://bucket/pets/{n}.jpg", "images/{}.jpg"),
        ("../input/{n}.jpg", "images/{}.jpg"),
        ("IMG_{n}.JPG", "img_{}.jpg"),
        ("Images/{n}.jpg", "images/{}.jpg"),
        ("{n}.png", "{}.jpg"),
        ("{n}", "images/{}.jpg"),
        ("{n}", "images/{:06d}.jpg"),
        ("{n}.0", "{:03d}.jpg"),
        (" {n} ", "{}.jpg"),
        ("cat.{n}", "cat.{}.jpg"),
        ("e\u0301{n}.jpg", "é{}.jpg"),
        ("{n}.dcm", "images/{}.png"),
    ],
)
def test_names_match(tmp_path, written, photo):
    result = read(tmp_path, numbered(photo), train__csv=lines("path,label", f"{written},{{kind}}"))
    assert labels(result) == numbered(photo)
    assert result.matched_by and result.lines == 8 and not result.unmatched


def test_folders_in_names_count(tmp_path):
    photos = [f"photos/{kind}/{n}.jpg" for kind in "ab" for n in range(8)]
    table = lines("path,label", "D:\\pets\\a\\{n}.jpg,x{bit}") + lines("", "D:\\pets\\b\\{n}.jpg,y{bit}")[1:]
    expected = {f"photos/{kind}/{n}.jpg": f"{'x' if kind == 'a' else 'y'}{n % 2}" for kind in "ab" for n in range(8)}
    assert labels(read(tmp_path, photos, labels__csv=table)) == expected


def test_a_name_is_not_found_in_another_folder_than_it_says(tmp_path):
    table = ["path,label", *(f"cat/{n}.jpg,cat" for n in range(9)), *(f"dog/{n}.jpg,dog" for n in range(5))]
    photos = [f"cat/{n}.jpg" for n in range(5)] + [f"dog/{n}.jpg" for n in range(9)]
    result = read(tmp_path, photos, labels__csv=table)
    assert labels(result) == {f"{kind}/{n}.jpg": kind for kind in ("cat", "dog") for n in range(5)}
    assert result.unmatched == [f"cat/{n}.jpg" for n in range(5, 9)]


def test_a_name_in_two_folders_is_ambiguous(tmp_path):
    csv = "id,breed\n1,cat\n2,dog\nb/3.jpg,dog\n"
    photos = ["a/1.jpg", "b/1.jpg", "a/2.jpg", "a/2.png", "a/3.jpg", "b/3.jpg"]
    result = read(tmp_path, photos, labels__csv=csv)
    assert labels(result) == {"a/2.jpg": "dog", "a/2.png": "dog", "b/3.jpg": "dog"}
    assert {str(path) for path in result.reasons} == {"a/1.jpg", "b/1.jpg"}


def test_two_lines_that_mean_one_photo(tmp_path):
    table = [*lines("path,label", "x/{n}.jpg,{kind}"), "y/7.jpg,cat", "A.jpg,cat", "a.jpg,dog"]
    result = read(tmp_path, [*numbered("{}.jpg"), "a.jpg"], labels__csv=table)
    assert labels(result) == {name: kind for name, kind in numbered("{}.jpg").items() if name != "7.jpg"} | {
        "a.jpg": "dog"
    }
    assert PurePosixPath("7.jpg") in result.reasons


@pytest.mark.parametrize("table", ["train__csv", "labels__csv", "train_labels__csv", "train_in_labels__csv"])
def test_names_that_train_and_test_share_mean_the_training_photos(tmp_path, table):
    photos = [*numbered("train/{}.jpg"), *(f"test/{n}.jpg" for n in range(5))]
    result = read(tmp_path, photos, **{table: lines("id,label", "{n}.jpg,{kind}")})
    assert labels(result) == numbered("train/{}.jpg") and not result.reasons


def test_a_table_of_training_photos_gives_no_label_to_test_photos(tmp_path):
    photos = [*numbered("train/{}.jpg", 4), *(f"test/{n}.jpg" for n in range(8))]
    assert labels(read(tmp_path, photos, train__csv=lines("id,label", "{n},{kind}"))) == numbered("train/{}.jpg", 4)


def test_no_path_in_a_table_is_opened(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or read_bytes(self))
    read(folder, ["a.jpg"], labels__csv="id,label\n../../secret.jpg,cat\n/etc/passwd,dog\na.jpg,cat\n")
    assert opened == [folder / "labels.csv"]


def test_a_table_of_labels_that_names_no_photo(tmp_path):
    result = read(tmp_path, ["x.jpg"], labels__csv=lines("image,label", "dsc{n}.jpg,{kind}"))
    assert "dsc0.jpg" in result.question and '"x"' in result.question and len(result.unmatched) == 8
    assert read(tmp_path, ["x.jpg"], results__csv=lines("epoch,loss", "{n},0.{n}")) is None


# Which column is the class


@pytest.mark.parametrize(
    ("header", "row", "column"),
    [
        ("image_id,height,label", "p{n},{big},{kind}", "label"),
        ("height,width,image_id,dog_breed", "{big},{bit},p{n},{kind}", "dog_breed"),
        ("filename,width,height,class,xmin,ymin", "p{n}.jpg,640,480,{kind},{big},{n}", "class"),
        ("image_id,label,variety,age", "p{n},{kind},ADT4{bit},{big}", "label"),
        ("id,sex,age_approx,diagnosis", "p{n},m{bit},{big},{kind}", "diagnosis"),
        ("id,class_id,class_name", "p{n},{code},{kind}", "class_name"),
        ("id,Confidence,Species", "p{n},0.{big},{kind}", "Species"),
        ("Image,Id", "p{n},{kind}", "Id"),
        ("file,what", "p{n},{kind}", "what"),
        ("ImageID,Source,LabelName,Confidence", "p{n},v{bit},{kind},1", "LabelName"),
        ("id,Klasse,Ort", "p{n},{kind},{bit}", "Klasse"),
        ("image_url,taxon_id,scientific_name,common_name,user_id", "p{n},{code},{kind},the {kind},{half}", ""),
        ("fname,type,note", "p{n},{kind},text {n}", "type"),
        ("photo,sub_category,category", "p{n},{n},{kind}", "category"),
        ("image_id,label,is_blurry,is_dark", "p{n},{kind},{bit},1", "label"),
    ],
)
def test_the_column_of_the_class(tmp_path, header, row, column):
    result = read(tmp_path, numbered("p{}.jpg"), metadata__csv=lines(header, row))
    assert {label.removeprefix("the ") for label in labels(result).values()} == {"cat", "dog"}
    assert result.class_column == column or not column


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,species,breed", "p{n},{kind},{bit}"),
        ("id,Eyes,Face,Near,Pawpularity", "p{n},{bit},1,0,{big}"),
        ("image,target", "p{n},{n}.5"),
        ("image,caption", "p{n},a photo of number {n}"),
        ("image,width,height", "p{n},{big},{n}"),
        ("image,sex,side", "p{n},{kind},s{bit}"),
        ("image,melanoma,keratosis", "p{n},{bit},0"),
    ],
)
def test_what_cannot_be_decided_is_asked(tmp_path, header, row):
    result = read(tmp_path, numbered("p{}.jpg"), metadata__csv=lines(header, row))
    assert not result.labels and 'Set LABELS = "metadata.csv: ' in result.question
    column = header.split(",")[1]
    assert column in result.question
    answer = f"metadata.csv: {header.split(',')[0]}, {column}"
    assert len(labels(read(tmp_path, numbered("p{}.jpg"), answer, metadata__csv=lines(header, row)))) == 8


@pytest.mark.parametrize("many", [60, 200])
def test_many_different_numbers_are_no_classes(tmp_path, many):
    table = ["image,Pawpularity", *(f"p{n},{n * 7 % 100 // 2}" for n in range(many))]
    assert "numbers" in read(tmp_path, numbered("p{}.jpg", many), train__csv=table).question


@pytest.mark.parametrize("number", ["{}", "{}.0", "{}."])
def test_numbers_as_classes(tmp_path, number):
    table = ["id_code,diagnosis", *(f"p{n},{number.format(n % 5)}" for n in range(20))]
    assert set(labels(read(tmp_path, numbered("p{}.jpg", 20), train__csv=table)).values()) == set("01234")


@pytest.mark.parametrize(("one", "zero"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
@pytest.mark.parametrize("columns", ["healthy,rust,scab", "0,1,2"])
@pytest.mark.parametrize("sex", [False, True])
def test_one_hot_columns(tmp_path, one, zero, columns, sex):
    rows = [f"image{',sex' * sex},{columns}"]
    for n in range(12):
        rows.append(
            ",".join([f"p{n}.jpg", *([str(n // 5 % 2)] * sex), *(one if n % 3 == k else zero for k in range(3))])
        )
    result = read(tmp_path, numbered("p{}.jpg", 12), train__csv=rows)
    assert labels(result) == {f"p{n}.jpg": columns.split(",")[n % 3] for n in range(12)}
    assert "one-hot" in result.class_column


def test_lines_with_several_ones_have_several_classes(tmp_path):
    rows = [
        "filename, cat, dog, hen",
        *(f"p{n}.jpg,{','.join(str(int(n % 3 == k)) for k in range(3))}" for n in range(9)),
    ]
    rows += ["p9.jpg,1,1,0"]
    result = read(tmp_path, numbered("p{}.jpg", 10), _classes__csv=rows)
    assert len(labels(result)) == 9 and "cat, dog" in result.reasons[PurePosixPath("p9.jpg")]


def test_two_sets_of_one_hot_columns_are_asked(tmp_path):
    rows = ["image,cat,dog,day,dusk,night"]
    rows += [f"p{n},{n % 2},{1 - n % 2},{','.join(str(int(n % 3 == k)) for k in range(3))}" for n in range(12)]
    assert "day" in read(tmp_path, numbered("p{}.jpg", 12), labels__csv=rows).question


@pytest.mark.parametrize("several", ["Edema|Mass", "Edema;Mass", '"Edema, Mass"', "Edema Mass", "Hernia|Mass"])
def test_several_classes_in_one_cell(tmp_path, several):
    rows = ["Image Index,Finding Labels", *(f"p{n},{('Edema', 'Mass', 'No Finding')[n % 3]}" for n in range(9))]
    result = read(tmp_path, numbered("p{}.jpg", 10), Data_Entry__csv=[*rows, f"p9,{several}"])
    assert len(labels(result)) == 9 and "several" in result.reasons[PurePosixPath("p9.jpg")]


def test_a_class_of_two_words_is_one_class(tmp_path):
    rows = ["id,label", *(f"p{n},{('dog', 'hot dog', 'black-and-white dog')[n % 3]}" for n in range(9))]
    assert set(labels(read(tmp_path, numbered("p{}.jpg", 9), labels__csv=rows)).values()) == {
        *("dog", "hot dog", "black-and-white dog")
    }


def test_several_boxes_in_one_photo(tmp_path):
    rows = ["filename,xmin,ymin,class", *(f"p{n % 8}.jpg,{n},{n * 7},{KINDS[n % 8]}" for n in range(24))]
    assert labels(read(tmp_path, numbered("p{}.jpg"), annotations__csv=rows)) == numbered("p{}.jpg")


def test_each_type_of_line_that_gives_no_class(tmp_path):
    csv = "id,breed\n1,cat\n2,cat\n2,dog\n3,\nghost,cat\nonly one column\n,cat\nghost,dog\n"
    csv += "5,cat\n5,\n6,nan\n7,None\n8,Cat \n8,cat\n"
    result = read(tmp_path, [f"{n}.jpg" for n in range(1, 9)], labels__csv=csv)
    assert {path: label.lower() for path, label in labels(result).items()} == {
        "1.jpg": "cat",
        "7.jpg": "none",
        "8.jpg": "cat",
    }
    reasons = {path.name: reason for path, reason in result.reasons.items()}
    assert reasons.keys() == {"2.jpg", "3.jpg", "5.jpg", "6.jpg"}
    assert "cat, dog" in reasons["2.jpg"] and "empty" in reasons["3.jpg"] and "(none), cat" in reasons["5.jpg"]
    assert result.unmatched == ["ghost", "only one column"]


# What keeps photos together, and splits


@pytest.mark.parametrize(
    "header", ["lesion_id", "patient", "Patient ID", "subjectId", "case_no", "video", "burst", "StudyUID"]
)
def test_a_column_that_keeps_photos_together(tmp_path, header):
    result = read(tmp_path, numbered("p{}.jpg"), labels__csv=lines(f"image,{header},label", "p{n},g{half},{kind}"))
    assert labels(result) == numbered("p{}.jpg") and result.group_column == header
    assert {row.group for row in result.labels.values()} == {"g0", "g1", "g2", "g3"}


@pytest.mark.parametrize(("header", "row"), [("patient_id", "{n}"), ("location", "{half}"), ("series", "{kind}")])
def test_a_column_that_does_not(tmp_path, header, row):
    table = lines(f"image,{header},label", f"p{{n}},{row},{{kind}}")
    assert read(tmp_path, numbered("p{}.jpg"), labels__csv=table).group_column is None


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("split", ("train", "val", "test")),
        ("Usage", ("Training", "PublicTest", "PrivateTest")),
        ("part", ("TRAIN", "valid", "test")),
        ("is_train", ("1", "0", "0")),
    ],
)
def test_a_column_of_splits(tmp_path, header, words):
    rows = [f"image,label,{header}", *(f"p{n},{KINDS[n % 8]},{words[n % 3]}" for n in range(12))]
    result = read(tmp_path, numbered("p{}.jpg", 12), labels__csv=rows)
    assert labels(result) == numbered("p{}.jpg", 12) and result.split_column == header
    splits = [row.split for row in result.labels.values()]
    assert splits[0] == "train" and splits[2] == "test" and splits[1] in ("val", "test")


def test_splits_from_the_names_of_tables(tmp_path):
    parts = {"train__csv": 0, "val__csv": 1, "test__csv": 2}
    tables = {name: lines("image,label", "p{n}.jpg,{kind}", 8, 8 * start) for name, start in parts.items()}
    result = read(tmp_path, numbered("p{}.jpg", 24), **tables)
    assert labels(result) == numbered("p{}.jpg", 24)
    assert [result.labels[PurePosixPath(f"p{n}.jpg")].split for n in (0, 8, 16)] == ["train", "val", "test"]


def test_a_photo_in_two_splits(tmp_path):
    tables = {"train__csv": lines("image,label", "p{n},{kind}"), "test__csv": lines("image,label", "p{n},{kind}", 8, 7)}
    result = read(tmp_path, numbered("p{}.jpg", 15), **tables)
    assert len(labels(result)) == 14 and "splits" in result.reasons[PurePosixPath("p7.jpg")]


@pytest.mark.parametrize(
    "other",
    [
        {"test__csv": ["image", *(f"q{n}" for n in range(8))]},
        {"test__csv": ["image,width", *(f"q{n},{n}" for n in range(8))]},
        {"test__csv": ["image,label", *(f"q{n},0" for n in range(8))]},
        {"test__csv": ["image,label", *(f"q{n}," for n in range(8))]},
        {"sample_submission__csv": lines("image,label", "q{n},{kind}")},
        {"sampleSubmission__csv": lines("image,label", "q{n},{kind}")},
    ],
)
def test_photos_to_predict_get_no_label(tmp_path, other):
    photos = [*numbered("images/p{}.jpg"), *numbered("images/q{}.jpg")]
    result = read(tmp_path, photos, train__csv=lines("image,label", "p{n},{kind}"), **other)
    assert labels(result) == numbered("images/p{}.jpg")
    assert {row.split for row in result.labels.values()} == {None}


# Several tables


def test_tables_that_disagree_are_asked(tmp_path):
    tables = {
        "labels__csv": lines("image,label", "p{n},{kind}"),
        "labels_old__csv": lines("image,label", "p{n},cat{bit}"),
    }
    result = read(tmp_path, numbered("p{}.jpg"), **tables)
    assert "labels_old.csv" in result.question and not result.labels
    assert labels(read(tmp_path, numbered("p{}.jpg"), "labels.csv", **tables)) == numbered("p{}.jpg")


def test_parts_of_one_table(tmp_path):
    tables = {f"part{k}__csv": lines("image,label", "p{n},{kind}", 8, 8 * k) for k in range(3)}
    result = read(tmp_path, numbered("p{}.jpg", 24), **tables)
    assert labels(result) == numbered("p{}.jpg", 24) and len(result.tables) == 3


@pytest.mark.parametrize("name", ["labels", "trainLabels", "image_annotations", "HAM_metadata", "Train"])
def test_another_table_beside_it(tmp_path, name):
    tables = {f"{name}__csv": lines("image,label", "p{n},{kind}"), "sizes__csv": lines("image,width", "p{n},{big}")}
    result = read(tmp_path, numbered("p{}.jpg"), **tables)
    assert labels(result) == numbered("p{}.jpg") and "sizes.csv" in result.ignored
    assert result.named_labels == ("abels" in name or "annotations" in name)


def test_one_text_file_per_photo_is_no_table(tmp_path):
    boxes = {f"labels_in_p{n}__txt": f"{n % 2} 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1\n" for n in range(30)}
    assert read(tmp_path, [f"images/p{n}.jpg" for n in range(30)] + ["0.jpg", "1.jpg"], **boxes) is None


# The owner's answer


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("train.csv", LabelChoice("train.csv")),
        ("a b/train.csv: image_id, dx", LabelChoice("a b/train.csv", "image_id", "dx")),
        ('x.tsv:"a, b",dx', LabelChoice("x.tsv", "a, b", "dx")),
        ("x.csv: id", LabelChoice("x.csv", "id")),
        ("x.csv: id, healthy, rust", LabelChoice("x.csv", "id", "healthy, rust")),
    ],
)
def test_the_setting(text, choice):
    assert parse_choice(text) == choice


def test_the_owner_chooses_columns(tmp_path):
    table = lines("image,species,breed", "p{n},{kind},{bit}")
    result = read(tmp_path, numbered("p{}.jpg"), "Metadata.csv: Image, breed", metadata__csv=table)
    assert set(labels(result).values()) == {"0", "1"}
    assert "colour" in read(tmp_path, numbered("p{}.jpg"), "metadata.csv: image, colour", metadata__csv=table).question
    assert read(tmp_path, numbered("p{}.jpg"), "other.csv", metadata__csv=table) is None


# Public data sets


def test_german_traffic_signs(tmp_path):
    header = "Width,Height,Roi.X1,Roi.Y1,ClassId,Path"
    train = [f"{27 + n},{26 + n},5,{n % 7},{n % 4},Train/{n % 4}/0000{n % 4}_{n:05d}.png" for n in range(40)]
    test = [f"{50 + n},{48 + n},6,{n % 7},{n % 4},Test/{n:05d}.png" for n in range(12)]
    meta = ["Path,ClassId,ShapeId,ColorId", *(f"Meta/{n}.png,{n},{n % 2},{n % 3}" for n in range(4))]
    photos = [row.rsplit(",", 1)[1] for row in [*train, *test, *meta[1:]] if row.endswith("png")]
    photos += [f"Meta/{n}.png" for n in range(4)]
    result = read(tmp_path, photos, Train__csv=[header, *train], Test__csv=[header, *test], Meta__csv=meta)
    found = labels(result)
    assert len(found) == 52 and found["Train/3/00003_00003.png"] == "3" and found["Test/00005.png"] == "1"
    assert {row.split for row in result.labels.values()} == {"train", "test"}
    assert "Meta.csv" in result.ignored


def test_chest_radiographs(tmp_path):
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,Height],"
    kinds = ["No Finding", "Edema", "Effusion", "Edema|Effusion"]
    rows = [
        f"{n // 3:08d}_{n % 3:03d}.png,{kinds[n % 4]},{n % 3},{n // 3},{40 + n},M,PA,{2000 + n}," for n in range(24)
    ]
    photos = [f"images_00{n % 2 + 1}/images/{row.split(',')[0]}" for n, row in enumerate(rows)]
    result = read(tmp_path, photos, Data_Entry_2017__csv=[header, *rows])
    assert set(labels(result).values()) == {"No Finding", "Edema", "Effusion"} and len(result.reasons) == 6
    assert (result.file_column, result.group_column) == ("Image Index", "Patient ID")


def test_skin_lesions_with_one_hot_columns_and_metadata(tmp_path):
    truth = [
        "image,MEL,NV,BCC",
        *(f"ISIC_{n:07d},{','.join(f'{float(n % 3 == k)}' for k in range(3))}" for n in range(12)),
    ]
    meta = ["image,age_approx,anatom_site_general,lesion_id,sex"]
    meta += [f"ISIC_{n:07d},{40 + n}.0,s{n % 4},BCN_{n // 2},{'fe' * (n % 2)}male" for n in range(12)]
    photos = [f"ISIC_2019_Training_Input/ISIC_{n:07d}.jpg" for n in range(12)]
    tables = {"ISIC_2019_Training_GroundTruth__csv": truth, "ISIC_2019_Training_Metadata__csv": meta}
    result = read(tmp_path, photos, **tables)
    assert set(labels(result).values()) == {"MEL", "NV", "BCC"} and result.named_labels


def test_eye_grades(tmp_path):
    rows = ["image,level", *(f"{n}_{side},{n % 5}" for n in range(20) for side in ("left", "right"))]
    photos = [f"train/{n}_{side}.jpeg" for n in range(20) for side in ("left", "right")]
    assert set(labels(read(tmp_path, photos, trainLabels__csv=rows)).values()) == set("01234")


def test_lists_of_birds_are_no_labels(tmp_path):
    photos = [f"images/{n % 3:03d}.Bird/Bird_{n}.jpg" for n in range(12)]
    images = [f"{n + 1} {photo.removeprefix('images/')}" for n, photo in enumerate(photos)]
    classes = [f"{n} {n:03d}.Bird" for n in range(3)]
    result = read(tmp_path, photos, images__txt=images, classes__txt=classes)
    assert result is None or not result.labels


def test_whales(tmp_path):
    rows = ["Image,Id", *(f"{n:08x}.jpg,{'new_whale' if n % 2 else f'w_{n % 5}'}" for n in range(40))]
    found = labels(read(tmp_path, [f"train/{n:08x}.jpg" for n in range(40)], train__csv=rows))
    assert len(found) == 40 and "new_whale" in found.values()


def test_pet_profiles_ask_for_the_class(tmp_path):
    rows = ["Type,Name,Age,Breed1,Breed2,Gender,PetID,AdoptionSpeed"]
    rows += [f"{n % 2},Tom{n},{n},{n % 3},{n % 4},{n % 2},p{n},{n % 5}" for n in range(24)]
    result = read(tmp_path, [f"p{n}.jpg" for n in range(24)], train__csv=rows)
    assert "Breed1" in result.question and "Breed2" in result.question


def test_splits_with_a_table_in_each(tmp_path):
    tables = {}
    for split in ("train", "valid", "test"):
        ones = [f"p{n}.jpg,{n % 2},{1 - n % 2}" for n in range(8)]
        tables[f"{split}_in__classes__csv"] = ["filename, cat, dog", *ones]
    photos = [f"{split}/p{n}.jpg" for split in ("train", "valid", "test") for n in range(8)]
    result = read(tmp_path, photos, **tables)
    assert labels(result) == {photo: "cat" if int(photo[-5]) % 2 else "dog" for photo in photos}
    assert {(path.parts[0], row.split) for path, row in result.labels.items()} == {
        *(("train", "train"), ("valid", "val"), ("test", "test"))
    }
