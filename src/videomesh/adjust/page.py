"""The page on which the region and the crop are set, and what it may ask for."""

import base64
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

from videomesh.adjust.data import collect, describe_other
from videomesh.adjust.saving import Conflict, read_state, save
from videomesh.adjust.server import Answer
from videomesh.adjust.workflow import Project
from videomesh.errors import UserError
from videomesh.region.by_hand import get_path
from videomesh.report.page import get_policy, open_templates, to_json

HERE = Path(__file__).parent


class Page:
    """One scene's page: its data are read once, the file with its region and crop each time."""

    def __init__(self, project: Project, scene: str) -> None:
        self.project, self.scene, self.path = project, scene, get_path(scene)
        try:
            self.data, self.blobs = collect(project, scene)
        finally:
            project.remove_copies()
        self.lock = threading.Lock()  # requests come in threads of their own

    def show(self) -> tuple[str, str]:
        """HTML, and its content security policy."""
        script = (HERE / "assets/adjust.js").read_text(encoding="utf-8")
        styles = [(HERE / name).read_text(encoding="utf-8") for name in ("templates/adjust.css", "assets/adjust.css")]
        policy = get_policy([script], styles, "'self' blob:")
        data = {**self.data, "adjust": {**self.data["adjust"], "file": read_state(self.path)}}
        html = (
            open_templates(HERE / "templates")
            .get_template("adjust.html.j2")
            .render(
                scene=self.scene,
                policy=policy,
                styles=styles,
                script=script,
                page_data=to_json(data),
                blobs={name: base64.b64encode(blob).decode() for name, blob in self.blobs.items()},
            )
        )
        return html, policy

    def ask(self, path: str) -> Answer:
        """other/NAME: region and crop of another scene."""
        kind, _, name = path.partition("/")
        if kind != "other" or name not in self.project.scenes:
            return HTTPStatus.NOT_FOUND, {"error": "there is no such address"}
        with self.lock:
            try:
                return HTTPStatus.OK, describe_other(self.project, name)
            finally:
                self.project.remove_copies()

    def save(self, request: dict[str, Any]) -> Answer:
        """{part: region or crop, value, version}; value null takes the part out of the file."""
        if set(request) != {"part", "value", "version"} or not isinstance(request["part"], str):
            raise UserError("a request to save has part, value and version")
        with self.lock:
            try:
                save(self.path, request["part"], request["value"], request["version"])
            except Conflict as error:
                return HTTPStatus.CONFLICT, {"error": str(error), "file": read_state(self.path)}
            return HTTPStatus.OK, {"file": read_state(self.path)}
