"""The command answers at once: what is heavy is imported by the command that needs it."""

import subprocess
import sys

HEAVY = {"torch", "numpy", "networkx", "matplotlib", "sklearn", "lightning", "distributed"}


def test_help_imports_nothing_heavy():
    """Help of all commands and of one: half a second, where torch alone would take two."""
    script = (
        "import sys\n"
        "from deploy.cli.main import app\n"
        "for arguments in (['--help'], ['compile', '--help'], ['simulate', '--help']):\n"
        "    try:\n"
        "        app(arguments)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, end.code\n"
        f"print(sorted({HEAVY!r} & sys.modules.keys()))\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "qac-deploy simulate build/" in process.stdout
    assert process.stdout.endswith("\n[]\n")
