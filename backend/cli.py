"""The command `label-studio-anomaly`: a thin skin over the service and the model package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from backend import __version__

EXIT_CODES = (
    "Exit codes: 0, all is well; 1, a picture could not be read, there was none, or the doctor found something to"
    " change; 2, nothing could be done, and the message says what to do."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. What people did wrong is told in one line, without a traceback."""
    from model.errors import AnomalyError, ImageUnreadable

    options = build_parser().parse_args(arguments)
    try:
        return int(COMMANDS[options.command](options))
    except AnomalyError as error:
        print(f"label-studio-anomaly: {error}", file=sys.stderr)
        return 1 if isinstance(error, ImageUnreadable) else 2
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="label-studio-anomaly", description="Visual anomaly detection for Label Studio.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="answer Label Studio; settings come from the environment")
    serve.add_argument("--host", help="address to listen on (HOST, 0.0.0.0)")
    serve.add_argument("--port", type=int, help="port to listen on (PORT, 9090)")
    serve.add_argument(
        "--no-worker",
        action="store_true",
        help="only answer; a worker elsewhere shares the queue and folders",
    )

    worker = commands.add_parser("worker", help="train and pre-annotate in the background")
    worker.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)

    doctor = commands.add_parser("doctor", help="check every step to Label Studio and back; say what to change")
    doctor.add_argument("--project", type=int, metavar="ID", help="only this project (all that are connected)")

    tabs = commands.add_parser("tabs", help="add tabs for reviewing predictions to a project's Data Manager")
    tabs.add_argument("project", type=int, metavar="PROJECT", help="the project's id")

    train = commands.add_parser("train", help="learn from a folder of normal pictures, without Label Studio")
    train.add_argument("folder", type=Path, metavar="FOLDER", help="normal pictures, also in sub-folders")
    train.add_argument("--output", type=Path, required=True, metavar="MODEL", help="file to write")
    train.add_argument("--alarm-rate", type=_share, default=0.05, help="false-alarm rate to keep (0.05)")
    train.add_argument(
        "--tolerance",
        choices=("strict", "usual", "tolerant"),
        default="usual",
        help="how much light and focus may change before a picture is abnormal (usual)",
    )
    train.add_argument(
        "--orientation",
        choices=("free", "fixed"),
        help="whether an item may lie mirrored or turned by half (free)",
    )
    for name, what in (("--roi", "look only here"), ("--ignore", "leave this out")):
        train.add_argument(
            name, type=_rectangles, metavar="X,Y,W,H", help=f"{what}, in per cent of the picture; more after a ;"
        )
    train.add_argument(
        "--tiles",
        type=_tiles,
        default="1x1",
        metavar="RxC",
        help="cut large pictures, for small defects: auto, or such as 3x4 (1x1)",
    )
    train.add_argument("--backbone", help="the frozen network (default: the packaged one)")
    train.add_argument("--image-size", type=int, metavar="PIXELS", help="side that pictures are resized to")
    _add_device(train)
    _add_weights(train)

    predict = commands.add_parser("predict", help="judge pictures with a trained model, without Label Studio")
    predict.add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE", help="pictures to judge")
    predict.add_argument("--json", action="store_true", help="one JSON object a picture instead of a table")
    predict.add_argument("--save", type=Path, metavar="DIR", help="write a heat-map picture for each")
    _add_model(predict)

    evaluate = commands.add_parser("evaluate", help="compare a model's verdicts with what sub-folders are called")
    evaluate.add_argument("folder", type=Path, metavar="FOLDER", help="holds folders such as normal and abnormal")
    evaluate.add_argument("--json", action="store_true", help="every number, as JSON")
    _add_model(evaluate)

    export = commands.add_parser("export", help="write a model as one ONNX or OpenVINO graph")
    export.add_argument("model", type=Path, metavar="MODEL", help="file that train wrote or the report gave")
    export.add_argument("output", type=Path, metavar="OUTPUT", help="file to write: .onnx, or .xml for OpenVINO")
    export.add_argument(
        "--pictures",
        nargs="+",
        type=Path,
        required=True,
        metavar="FOLDER_OR_FILE",
        help="normal and abnormal pictures; nothing is written if one is judged otherwise",
    )
    _add_weights(export)

    demo = commands.add_parser("demo", help="try it: Label Studio, this backend and pictures, on this machine")
    demo.add_argument("images", nargs="?", type=Path, metavar="IMAGES", help="your own folder of pictures")
    demo.add_argument(
        "--directory", type=Path, default=Path(".demo"), metavar="DIR", help="where everything is kept (.demo)"
    )
    demo.add_argument("--port", type=int, default=8080, help="port of Label Studio (8080)")
    demo.add_argument("--backend-port", type=int, default=9090, help="port of the backend (9090)")
    return parser


def _tiles(text: str) -> str:
    from model.tiling import AUTO, parse_tiles

    if text != AUTO:
        try:
            parse_tiles(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="file that train wrote")
    _add_device(parser)
    _add_weights(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (auto)")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a local weights file of the backbone")


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1, such as 0.05")
    return value


def _rectangles(text: str) -> str:
    from model.area import parse_rectangles

    try:
        parse_rectangles(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


# Nothing heavy is imported before it is needed: --help and mistakes are answered at once.


def _serve(options: argparse.Namespace) -> int:
    from backend.server import serve

    return serve(options.host, options.port, own_worker=not options.no_worker)


def _worker(options: argparse.Namespace) -> int:
    from backend.server import work

    return work(with_parent=options.with_parent)


def _train(options: argparse.Namespace) -> int:
    from backend.folders import train_folder
    from model.config import DetectorConfig
    from model.errors import AnomalyError

    asked = {
        name: getattr(options, name)
        for name in ("alarm_rate", "tolerance", "orientation", "roi", "ignore", "tiles", "backbone", "image_size")
        if getattr(options, name) is not None
    }
    try:
        config = DetectorConfig(**asked)
    except ValueError as error:
        raise AnomalyError(str(error)) from error
    return train_folder(options.folder, options.output, config, device=options.device, weights=options.weights)


def _predict(options: argparse.Namespace) -> int:
    from backend.folders import predict_paths

    return predict_paths(
        options.paths,
        options.model,
        as_json=options.json,
        save=options.save,
        device=options.device,
        weights=options.weights,
    )


def _evaluate(options: argparse.Namespace) -> int:
    from backend.folders import evaluate_folder

    return evaluate_folder(
        options.folder, options.model, as_json=options.json, device=options.device, weights=options.weights
    )


def _export(options: argparse.Namespace) -> int:
    from backend.folders import export_model

    return export_model(options.model, options.output, options.pictures, weights=options.weights)


def _demo(options: argparse.Namespace) -> int:
    from backend.demo.run import run_demo

    return run_demo(options.images, options.directory, port=options.port, backend_port=options.backend_port)


def _doctor(options: argparse.Namespace) -> int:
    from backend.doctor import examine

    return examine(options.project)


def _tabs(options: argparse.Namespace) -> int:
    from backend.settings import load_settings
    from backend.studio import open_studio
    from backend.tabs import add_tabs

    added = add_tabs(open_studio(load_settings()), options.project)
    print(f"added to project {options.project}: {', '.join(added)}" if added else "both tabs are there already")
    return 0


COMMANDS = {
    "serve": _serve,
    "tabs": _tabs,
    "worker": _worker,
    "demo": _demo,
    "doctor": _doctor,
    "train": _train,
    "predict": _predict,
    "evaluate": _evaluate,
    "export": _export,
}
