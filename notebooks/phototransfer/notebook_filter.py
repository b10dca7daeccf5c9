"""Git's clean filter for the notebook: the outputs of a session are not committed, the published ones are kept.

Git runs it with the notebook on standard input whenever it compares or adds the file. `make lab` turns it on:
`.gitattributes` names the file, and `git config filter.notebook-outputs.clean` this command.
"""

import hashlib
import json
import subprocess
import sys
from typing import Any

PATH = "notebooks/transfer_learning.ipynb"
#: Entry of the notebook's metadata with a hash of the published outputs: see `outputs_hash`.
PUBLISHED = "published_outputs"


def outputs_hash(notebook: dict[str, Any]) -> str:
    """Return a hash of the sources, outputs and execution counts of a notebook's code cells."""
    parts = [
        [_text(cell["source"]), cell.get("execution_count"), cell.get("outputs", [])]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    return hashlib.sha256(json.dumps(_joined(parts), sort_keys=True).encode()).hexdigest()


def clean(text: str, committed: str | None) -> str:
    """Return what is to be committed of a notebook.

    Parameters
    ----------
    text : str
        The notebook as it is on disk.
    committed : str or None
        The notebook as it was committed or added last, None if it never was.

    Returns
    -------
    str
        `text` itself if its outputs are the published ones. Else the notebook with the committed outputs of each cell
        whose source is unchanged, and without outputs for other cells; if only outputs differ, this is `committed`.
    """
    notebook = json.loads(text)
    if notebook["metadata"].get(PUBLISHED) == outputs_hash(notebook):
        return text
    earlier = json.loads(committed) if committed else {"cells": [], "metadata": notebook["metadata"]}
    by_id = {cell.get("id"): cell for cell in earlier["cells"]}
    cells = []
    for cell in notebook["cells"]:
        before = by_id.get(cell.get("id"))
        if before and before["cell_type"] == cell["cell_type"] and _text(before["source"]) == _text(cell["source"]):
            cells.append(before)
        elif cell["cell_type"] == "code":
            metadata = {
                key: value for key, value in cell["metadata"].items() if key != "execution"
            }  # times of a session
            cells.append(cell | {"outputs": [], "execution_count": None, "metadata": metadata})
        else:
            cells.append(cell)
    cleaned = notebook | {"cells": cells, "metadata": earlier["metadata"]}
    if committed and cleaned == earlier:
        return committed
    return json.dumps(cleaned, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _joined(value: Any) -> Any:
    """Return outputs with texts in one piece: on disk, nbformat splits them into lines, an empty one into none."""
    if isinstance(value, dict):
        return {key: _joined(part) for key, part in value.items()}
    if isinstance(value, list):
        return "".join(value) if value and all(isinstance(part, str) for part in value) else [_joined(p) for p in value]
    return [] if value == "" else value


def _committed() -> str | None:
    """Return the notebook in git's index, or else of the last commit; None if it is in neither."""
    for revision in (f":{PATH}", f"HEAD:{PATH}"):
        found = subprocess.run(["git", "cat-file", "blob", revision], capture_output=True, check=False)
        if found.returncode == 0:
            return found.stdout.decode()
    return None


def main() -> None:
    """Filter standard input to standard output; what is no notebook passes unchanged."""
    content = sys.stdin.buffer.read()
    try:
        content = clean(content.decode(), _committed()).encode()
    except (ValueError, KeyError, TypeError) as error:  # half-written, or with the marks of a merge conflict
        print(f"{PATH} is not a notebook ({error}): it is added as it is.", file=sys.stderr)
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main()
