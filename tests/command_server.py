"""A process that has imported what takes long, and forks to run each command.

Importing PyTorch takes more than a second, as long as many commands themselves. Every command still runs in
a process of its own, with its own folder, environment, output and exit code; modules of this project are
imported in that process, from bytecode that the first one leaves in a folder of its own where Python is told
to write none beside the sources. ``installed_command`` talks to it with one line of JSON for each command.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import threading
import traceback

import lightning_fabric  # noqa: F401
import networkx  # noqa: F401
import rich.markdown
import rich.status  # noqa: F401
import safetensors.numpy  # noqa: F401
import torch
import torch.export
import typer.rich_utils  # noqa: F401
import yaml  # noqa: F401


def import_tracer():
    """Export a network, which imports PyTorch's tracer."""
    torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))
    assert threading.active_count() == 1, "a fork copies no other thread"


def import_all(package):
    """Import all modules of a package but those that are only emitted, and those of optional packages."""
    for module in pkgutil.walk_packages([package], f"{package}."):
        if ".bundle." not in module.name:
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def serve():
    """Answer each request with the number of a process, and later with its exit code."""
    import_tracer()
    for package in os.environ.pop("COMMAND_SERVER_IMPORTS", "").split():
        import_all(package)
    gc.freeze()  # so that no collection in a command walks through what was imported here
    bytecode = tempfile.mkdtemp()  # a TemporaryDirectory would end with the first command
    try:
        if sys.dont_write_bytecode:
            sys.dont_write_bytecode, sys.pycache_prefix = False, bytecode
        serve_requests()
    finally:
        shutil.rmtree(bytecode)


def serve_requests():
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            run(request)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(request):
    """Become the command, as the console script is, in a session of its own."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):  # as before the first line of Python
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    outputs = [os.open(request[name], os.O_WRONLY) for name in ("stdout", "stderr")]
    for number, opened in enumerate((null, *outputs)):
        os.dup2(opened, number)
    for name, number in (("stdout", 1), ("stderr", 2)):  # each may be a terminal or a file
        setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    code = 1
    try:
        from deploy.cli.entry import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
