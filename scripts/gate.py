"""Is this capture good enough to spend training time on?

check measures everything that is known before training and writes gate.json: each check with its value, limits, verdict
and advice for the person with the camera. decide reads gate.json and lets the scene pass, or stops it with that advice.
"""

import argparse
import sys
from pathlib import Path

from videomesh.checks import summarize
from videomesh.errors import run
from videomesh.files import outputs, write_json
from videomesh.gate.capture import read_capture
from videomesh.gate.verdict import check_capture, decide, describe_gate, read_limits


def main() -> None:
    args = parse_arguments()
    args.action(args)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True, metavar="check|decide")
    check = actions.add_parser("check", help="measure and write gate.json; exit code 0 whatever the verdict")
    check.set_defaults(action=check_scene)
    check.add_argument("--scene", required=True, help="name of the scene, for the messages")
    check.add_argument("--frames-json", type=Path, required=True, help="frames.json of the frames stage")
    check.add_argument("--poses-json", type=Path, required=True, help="poses.json of the poses stage")
    check.add_argument("--transforms", type=Path, required=True, help="transforms.json of the region stage")
    check.add_argument("--region", type=Path, required=True, help="region.json of the region stage")
    check.add_argument("--points", type=Path, required=True, help="points.npz of the region stage")
    check.add_argument(
        "--thresholds",
        required=True,
        help='JSON {"CHECK": {"warn": number or null, "fail": number or null}, ...} of all checks; null: never',
    )
    check.add_argument("--output", type=Path, required=True, help="gate.json")
    decision = actions.add_parser("decide", help="exit code 1 with the advice if the verdict is fail")
    decision.set_defaults(action=decide_scene)
    decision.add_argument("--gate", type=Path, required=True, help="gate.json")
    decision.add_argument("--mode", choices=("fail", "warn"), required=True, help="fail: a failed check stops a scene")
    decision.add_argument("--output", type=Path, required=True, help="gate.pass: written if the scene may go on")
    return parser.parse_args()


def check_scene(args: argparse.Namespace) -> None:
    limits = read_limits(args.thresholds)
    capture = read_capture(args.frames_json, args.poses_json, args.transforms, args.region, args.points)
    gate = describe_gate(args.scene, check_capture(capture, limits))
    with outputs(args.output) as (part,):
        write_json(part, gate)
    print(f"gate: {args.scene}: {gate['verdict']}, {summarize(gate['checks'])}")


def decide_scene(args: argparse.Namespace) -> None:
    args.output.unlink(missing_ok=True)  # an old verdict must not outlive a new "no"
    text = decide(args.gate, args.mode)
    with outputs(args.output) as (part,):
        part.write_text(text)
    if len(text.splitlines()) > 1:  # behind the summary stand the failures and warnings
        print(f"gate: scene {text}", end="", file=sys.stderr)


if __name__ == "__main__":
    run(main)
