"""Recording of a notebook's outputs in its kernel, so that a session in JupyterLab leaves the same report as a run."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import nbformat

#: Where Jupyter's server names the notebook of a kernel, and VS Code in the notebook's namespace.
_JUPYTER_VARIABLE, _VSCODE_NAME = "JPY_SESSION_NAME", "__vsc_ipynb_file__"
_ATTRIBUTE = "_phototransfer_recording"


class Recording:
    """The source and the outputs of each cell that was run in this kernel, since the recording was started.

    What people see is not changed. A cell that is run again replaces what was recorded of it.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: dict[str, tuple[str, list[Any]]] = {}  # by the cell's id, or its source where it has none
        self._outputs: list[Any] = []
        self._clear_before_next = False
        # Those of the notebook: a cell may put others in their place, which are not shown.
        self._streams: dict[str, Any] = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._original_writes: dict[str, Any] = {}
        parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
        cell_id = parent.get("metadata", {}).get("cellId")
        self._begin(cell_id, parent.get("content", {}).get("code", ""))
        shell.events.register("pre_run_cell", lambda info: self._begin(info.cell_id, info.raw_cell))
        shell.events.register("post_run_cell", self._end)
        shell.display_pub.register_hook(self._on_message)
        shell.displayhook.register_hook(self._on_message)

    @classmethod
    def start(cls) -> "Recording | None":
        """Return the recording of this kernel, started now or before; None outside of a notebook.

        None too in a kernel of an old version, such as one that was already running when this package was installed.
        """
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None or not hasattr(shell, "kernel") or not hasattr(shell.displayhook, "register_hook"):
            return None
        recording = getattr(shell, _ATTRIBUTE, None)
        if recording is None:
            recording = cls(shell)
            setattr(shell, _ATTRIBUTE, recording)
        return recording

    def notebook(self, default: Path) -> "nbformat.NotebookNode":
        """Return the notebook with what was recorded: text and order of the cells are those of its file.

        Cells that were not run since the recording was started have no outputs. Where the notebook is no file that can
        be found, as on Colab, it has the code cells in the order in which they were run.

        Parameters
        ----------
        default : Path
            The notebook, where the front end does not say which file it is.
        """
        import nbformat
        from nbformat.v4 import new_code_cell, new_notebook, output_from_msg

        path = next((path for path in (self._path(), default) if path.is_file()), None)
        if path is None:
            cells = [new_code_cell(source) for source, _ in self._cells.values()]
            notebook = new_notebook(cells=cells)
        else:
            notebook = nbformat.read(path, as_version=4)
        by_source = {source: outputs for source, outputs in self._cells.values()}
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            source, messages = self._cells.get(cell.get("id", ""), (cell.source, by_source.get(cell.source, [])))
            cell.source, cell.execution_count = source, None
            cell.outputs = [output_from_msg(message) for message in messages]
        return notebook

    def _path(self) -> Path:
        name = self._shell.user_ns.get(_VSCODE_NAME) or os.environ.get(_JUPYTER_VARIABLE, "")
        return Path(name) if str(name).endswith(".ipynb") else Path()

    def _begin(self, cell_id: str | None, source: str) -> None:
        self._outputs = []
        self._clear_before_next = False
        self._cells[cell_id or source] = (source, self._outputs)
        # For the time of the cell: IPython replaces the same methods when a cell begins, and puts them back at its end.
        for name in self._streams:
            self._copy_stream(name)

    def _end(self, result: Any) -> None:
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            traceback = list(getattr(self._shell, "_last_traceback", None) or [])
            self._add("error", {"ename": type(error).__name__, "evalue": str(error), "traceback": traceback})
        for name, write in self._original_writes.items():
            self._streams[name].write = write
        self._original_writes = {}

    def _on_message(self, message: dict[str, Any]) -> dict[str, Any]:
        kind = message["header"]["msg_type"]
        if kind == "clear_output":
            self._clear_before_next = True
            if not message["content"].get("wait"):
                self._outputs.clear()
        elif kind in ("display_data", "execute_result"):
            self._add(kind, message["content"])
        elif kind == "update_display_data":
            self._update(message["content"])
        return message

    def _update(self, content: dict[str, Any]) -> None:
        """Change what was displayed under the same id, in whichever cell that was."""
        for _, outputs in self._cells.values():
            for output in outputs:
                if output["content"].get("transient", {}).get("display_id") == content["transient"]["display_id"]:
                    output["content"] = content

    def _add(self, kind: str, content: dict[str, Any]) -> None:
        if self._clear_before_next:
            self._outputs.clear()
            self._clear_before_next = False
        self._outputs.append({"header": {"msg_type": kind}, "msg_type": kind, "content": content})

    def _copy_stream(self, name: str) -> None:
        """Record what is written to a stream, which goes on to where it went."""
        stream = self._streams[name]
        write = self._original_writes[name] = stream.write

        def write_and_record(text: str) -> int:
            if isinstance(text, str) and text:
                self._add("stream", {"name": name, "text": text})
            return write(text)

        stream.write = write_and_record
