"""The pages in deliver/, through snakemake: of scenes that are done, stopped or failed, and over all of them."""

import csv
import json
import zipfile

from checkout import SMALL, Checkout

Rows = list[dict[str, object]]
PAGES = {"scene_page", "deliver_page"}


def read_states(checkout: Checkout) -> dict[str, str]:
    with open(checkout.folder / "deliver/scenes.csv", newline="") as file:
        return {row["scene"]: row["state"] for row in csv.DictReader(file)}


def read_page(checkout: Checkout, scene: str) -> str:
    return (checkout.folder / f"deliver/{scene}/scene.html").read_text()


def test_a_finished_run_has_a_page_for_each_scene_and_one_over_all(finished: Checkout) -> None:
    assert read_states(finished) == {"film": "done", "photos": "done", "web": "done"}
    for scene in ("film", "photos", "web"):
        html = read_page(finished, scene)
        data = json.loads(html.split('id="page-data">')[1].split("</script>")[0])
        assert data["scene"] == scene and len(data["cameras"]) > 10 and len(data["frames"]) >= len(data["cameras"])
        assert data["held_out"] and all(entry["psnr"] > 5 for entry in data["held_out"])
        assert '<th scope="row">sdfgrid_train' in html, "how long it took"
        assert len(html) < 15e6
        milestones = [60, 120] if scene == "film" else [20]
        assert [mesh["iteration"] for mesh in data["meshes"]] == milestones


def test_the_code_of_pages_makes_only_pages_stale(copy: Checkout) -> None:
    for file in ("src/videomesh/report/still.py", "scripts/report.py"):
        path = copy.folder / file
        text = path.read_text()
        path.write_text(text + "\nCHANGED = True\n")
        assert set(copy.planned()) == PAGES, file
        path.write_text(text)
    template = copy.folder / "src/videomesh/report/templates/scene.html.j2"
    template.write_text(template.read_text().replace("<h1>", "<h1> "))
    assert set(copy.planned()) == PAGES


def test_a_scene_stopped_by_the_gate_has_a_page_with_the_reason(copy: Checkout, scenes: Rows) -> None:
    film, photos, web = scenes
    copy.configure([film, {**photos, "region.center": "50,0,0", "region.radius": 1}, web], **SMALL)
    run = copy.snakemake()
    assert run.returncode == 1 and "could not be brought up to date" not in run.stdout
    assert read_states(copy) == {"film": "done", "photos": "stopped", "web": "done"}
    html = read_page(copy, "photos")
    assert html.index("points_inside is 0 %") < html.index('id="viewer"')
    assert '"meshes":[]' in html, "the mesh of the earlier region is another scene's"
    copy.configure(scenes, **SMALL)
    assert copy.snakemake().returncode == 0
    assert read_states(copy)["photos"] == "done" and "Why it stopped" not in read_page(copy, "photos")


def test_a_scene_that_fails_has_a_page_with_the_end_of_its_log(copy: Checkout, scenes: Rows) -> None:
    (copy.folder / "scripts/web_mesh.py").write_text("import sys\nsys.exit('error: <b>the disk is full</b>')\n")
    assert copy.snakemake().returncode == 1
    assert set(read_states(copy).values()) == {"failed"}
    html = read_page(copy, "film")
    assert "error: &lt;b&gt;the disk is full&lt;/b&gt;" in html and '"cameras":[{' in html


def test_pages_are_made_on_request_and_nothing_else(copy: Checkout, scenes: Rows) -> None:
    copy.configure([{**scenes[0], "mesh.resolution": 56}, *scenes[1:], {"scene": "new", "video": "film.mp4"}], **SMALL)
    (copy.folder / "deliver/index.html").unlink()
    before = copy.files()
    lock = copy.folder / ".snakemake/locks/0.output.lock"  # of another run
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("deliver/film/mesh.ply\n")
    run = copy.snakemake("report")
    assert run.returncode == 0, run.stdout
    assert copy.files() == before | {"deliver/index.html"}
    assert read_states(copy)["new"] == "waiting"
    assert lock.exists(), "the other run is locked as before"


def test_snakemake_s_own_report_has_the_pages(copy: Checkout) -> None:
    run = copy.snakemake("--report", "report.zip")
    assert run.returncode == 0, run.stdout
    names = zipfile.ZipFile(copy.folder / "report.zip").namelist()
    assert sum(name.endswith("scene.html") for name in names) == 3
    assert any(name.endswith("region.png") for name in names)
