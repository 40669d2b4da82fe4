"""The command `label-studio-anomaly`: a thin skin over the service and the model package.

Nothing heavy is imported before it is needed: --help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from backend import __version__

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

EXIT_CODES = (
    "Exit codes: 0, all is well; 1, a picture to judge could not be read, there was none, or the doctor found something"
    " to change; 2, nothing could be done, and the message says what to do."
)
UNREAD = 141
"""What a shell says of a command that wrote to nobody."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. What people did wrong is told in one line, without a traceback."""
    from model.errors import AnomalyError, ImageUnreadable

    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except AnomalyError as error:
        return _refuse(str(error), 1 if isinstance(error, ImageUnreadable) else 2)
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{error.filename} cannot be read or written ({error.strerror}): name another file or folder", 2)
    except KeyboardInterrupt:
        return 130


def _refuse(reason: str, code: int) -> int:
    print(f"label-studio-anomaly: {reason}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="label-studio-anomaly", description="Visual anomaly detection for Label Studio.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_serve,
        _add_worker,
        _add_doctor,
        _add_tabs,
        _add_train,
        _add_predict,
        _add_evaluate,
        _add_export,
        _add_demo,
    ):
        add(commands)
    return parser


# With Label Studio


def _add_serve(commands: Commands) -> None:
    parser = commands.add_parser("serve", help="answer Label Studio; settings come from the environment")
    parser.add_argument("--host", help="address to listen on (HOST, 0.0.0.0)")
    parser.add_argument("--port", type=int, help="port to listen on (PORT, 9090)")
    parser.add_argument(
        "--no-worker",
        action="store_true",
        help="only answer; a worker elsewhere shares the queue and folders",
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from backend.server import serve

    return serve(options.host, options.port, own_worker=not options.no_worker)


def _add_worker(commands: Commands) -> None:
    parser = commands.add_parser("worker", help="train and pre-annotate in the background")
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_worker)


def _worker(options: argparse.Namespace) -> int:
    from backend.server import work

    return work(with_parent=options.with_parent)


def _add_doctor(commands: Commands) -> None:
    parser = commands.add_parser("doctor", help="check every step to Label Studio and back; say what to change")
    parser.add_argument("--project", type=int, metavar="ID", help="only this project (all that are connected)")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from backend.doctor import examine

    return examine(options.project)


def _add_tabs(commands: Commands) -> None:
    parser = commands.add_parser("tabs", help="add tabs for reviewing predictions to a project's Data Manager")
    parser.add_argument("project", type=int, metavar="PROJECT", help="the project's id")
    parser.set_defaults(run=_tabs)


def _tabs(options: argparse.Namespace) -> int:
    from backend.settings import load_settings
    from backend.studio import open_studio
    from backend.tabs import add_tabs

    added = add_tabs(open_studio(load_settings()), options.project)
    print(f"added to project {options.project}: {', '.join(added)}" if added else "both tabs are there already")
    return 0


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="try it: Label Studio, this backend and pictures, on this machine")
    parser.add_argument("images", nargs="?", type=Path, metavar="IMAGES", help="your own folder of pictures")
    parser.add_argument(
        "--directory", type=Path, default=Path(".demo"), metavar="DIR", help="where everything is kept (.demo)"
    )
    parser.add_argument("--port", type=int, default=8080, help="port of Label Studio (8080)")
    parser.add_argument("--backend-port", type=int, default=9090, help="port of the backend (9090)")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from backend.demo.run import run_demo

    return run_demo(options.images, options.directory, port=options.port, backend_port=options.backend_port)


# With folders


def _add_train(commands: Commands) -> None:
    parser = commands.add_parser("train", help="learn from a folder of normal pictures, without Label Studio")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="normal pictures, also in sub-folders")
    parser.add_argument("--output", type=Path, required=True, metavar="MODEL", help="file to write")
    parser.add_argument("--alarm-rate", type=float, help="false-alarm rate to keep (0.05)")
    parser.add_argument(
        "--tolerance",
        choices=("strict", "usual", "tolerant"),
        help="how much light and focus may change before a picture is abnormal (usual)",
    )
    parser.add_argument(
        "--orientation",
        choices=("auto", "free", "fixed"),
        help="whether an item may lie mirrored or turned by half (auto: as the pictures tell)",
    )
    for name, what in (("--roi", "look only here"), ("--ignore", "leave this out")):
        parser.add_argument(name, metavar="X,Y,W,H", help=f"{what}, in per cent of the picture; more after a ;")
    parser.add_argument(
        "--tiles",
        metavar="RxC",
        help="cut large pictures, for small defects: auto, or such as 3x4 (1x1)",
    )
    parser.add_argument(
        "--trusted",
        nargs="+",
        type=Path,
        default=(),
        metavar="NAME",
        help="pictures or folders below FOLDER, normal beyond doubt: never left out, however unusual; . for all",
    )
    parser.add_argument("--backbone", help="the frozen network (efficientnet_lite2)")
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side that pictures, or their tiles, are resized to (320)"
    )
    _add_device(parser)
    _add_weights(parser)
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from backend.folders import train_folder
    from model.config import DetectorConfig
    from model.errors import AnomalyError

    known = DetectorConfig.__dataclass_fields__
    asked = {name: value for name, value in vars(options).items() if name in known and value is not None}
    try:
        config = DetectorConfig(**asked)
    except ValueError as error:
        raise AnomalyError(str(error)) from error
    return train_folder(
        options.folder,
        options.output,
        config,
        trusted=options.trusted,
        device=options.device,
        weights=options.weights,
    )


def _add_predict(commands: Commands) -> None:
    parser = commands.add_parser("predict", help="judge pictures with a trained model, without Label Studio")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE", help="pictures to judge")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture instead of a table")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write a heat map of each, in folders as the pictures")
    _add_model(parser)
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    from backend.folders import predict_paths

    try:
        return predict_paths(
            options.paths,
            options.model,
            as_json=options.json,
            save=options.save,
            device=options.device,
            weights=options.weights,
        )
    except BrokenPipeError:  # who reads the lines, such as head, wants no more of them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def _add_evaluate(commands: Commands) -> None:
    parser = commands.add_parser("evaluate", help="compare a model's verdicts with what sub-folders are called")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds folders such as normal and abnormal")
    parser.add_argument("--json", action="store_true", help="every number, as JSON")
    _add_model(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from backend.folders import evaluate_folder

    return evaluate_folder(
        options.folder, options.model, as_json=options.json, device=options.device, weights=options.weights
    )


def _add_export(commands: Commands) -> None:
    parser = commands.add_parser("export", help="write a model as one ONNX or OpenVINO graph")
    parser.add_argument("model", type=Path, metavar="MODEL", help="file that train wrote or the report gave")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="file to write: .onnx, or .xml for OpenVINO")
    parser.add_argument(
        "--pictures",
        nargs="+",
        type=Path,
        required=True,
        metavar="FOLDER_OR_FILE",
        help="normal and abnormal pictures; nothing is written if one is judged otherwise",
    )
    _add_weights(parser)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from backend.folders import export_model

    return export_model(options.model, options.output, options.pictures, weights=options.weights)


# What several commands take


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="file that train wrote")
    _add_device(parser)
    _add_weights(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (auto)")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a local weights file of the backbone")
