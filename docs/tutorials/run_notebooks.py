"""Execute the notebooks and store their outputs: ``python docs/tutorials/run_notebooks.py [NAME ...]``.

Each notebook runs in an empty folder, in the interpreter that runs this file. Cells that simulate in Lava
need the environment that ``qac-deploy doctor --create-lava-env`` makes.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from toolchain.files.whole_files import scratch_folder

FOLDER = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SAME_ARITHMETIC = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}
"""Of the kernel: the order of float additions is then that of no particular processor."""


def notebooks() -> dict[str, Path]:
    """The notebooks by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs, and nothing that differs from run to run; the file stays as it is.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with scratch_folder() as folder:
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources)
        client.execute(env={**os.environ, **SAME_ARITHMETIC})
    notebook = stripped(notebook)
    notebook.metadata["processor"] = processor()
    return notebook


def processor() -> str:
    """Model of the processor: kernels that a library chooses by it train a network a little otherwise."""
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.machine()


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without times, numbers of executions and lines of progress."""
    kept = {"processor": notebook.metadata.get("processor", "unknown")}
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}, **kept}
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        cell.outputs = _joined([output for output in cell.outputs if not _is_progress(output)])
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
    return notebook


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with printed text that follows printed text in one piece."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else output
        if (
            found
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            found.append(output)
    return found


def _is_progress(output: nbformat.NotebookNode) -> bool:
    """Whether an output is the line that ``qac_deploy`` shows while it works."""
    return output.output_type == "display_data" and list(output.data) == ["text/plain"]


def text_outputs(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Source and text of each cell that has an output; seconds are left out."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.outputs:
            texts = (o.text if "text" in o else o.data.get("text/plain", "") for o in cell.outputs)
            found.append((cell.source, re.sub(r"\d+(\.\d+)? s\b", "... s", "".join(texts))))
    return found


def main(names: list[str]) -> None:
    known = notebooks()
    for name in names or known:
        if name not in known:
            sys.exit(f"no notebook is named '{name}'; choose from {', '.join(known)}")
        nbformat.write(executed(known[name]), known[name])
        print(known[name])


if __name__ == "__main__":
    main(sys.argv[1:])
