"""sources.py: folders of programs and files of options, below the working folder or beside the Snakefile."""

from pathlib import Path

import pytest
from heads import Head, jobs_of

from snakemake_executor_plugin_ovhai.sources import SourceError, find_file, find_folder, find_programs

SIGNATURE = "- {pattern: 'reason of \\w+', cause: A known cause., remedy: Do this., retry: no}\n"


@pytest.fixture
def snakefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Snakefile with a file and a folder beside it. The working folder is another one."""
    workflow, project = tmp_path / "workflow", tmp_path / "project"
    (workflow / "src" / "tool").mkdir(parents=True)
    (workflow / "known.yaml").touch()
    project.mkdir()
    monkeypatch.chdir(project)
    return str(workflow / "Snakefile")


def test_the_working_folder_comes_before_the_snakefiles_folder(snakefile: str) -> None:
    beside = Path(snakefile).parent
    assert find_folder("src/tool", snakefile) == beside / "src" / "tool"
    assert find_file(Path("known.yaml"), snakefile) == beside / "known.yaml"
    Path("src/tool").mkdir(parents=True)
    Path("known.yaml").touch()
    assert find_folder("src/tool", snakefile) == Path("src/tool")
    assert find_file(Path("known.yaml"), snakefile) == Path("known.yaml")


def test_a_file_in_the_working_folder_does_not_hide_a_folder(snakefile: str) -> None:
    Path("src").touch()
    assert find_folder("src", snakefile) == Path(snakefile).parent / "src"


@pytest.mark.parametrize("name", ["none", "known.yaml", "../project", "/tmp", "src/../src"])
def test_what_is_no_folder_or_leads_out_of_it_is_named(snakefile: str, name: str) -> None:
    with pytest.raises(SourceError, match=repr(name)):
        find_folder(name, snakefile)


def test_a_file_that_is_nowhere_keeps_its_name_for_the_error(snakefile: str) -> None:
    assert find_file(Path("none.yaml"), snakefile) == Path("none.yaml")
    assert find_file(Path("/none.yaml"), snakefile) == Path("/none.yaml")


def test_a_snakefile_on_the_web_has_nothing_beside_it(snakefile: str) -> None:
    with pytest.raises(SourceError):
        find_folder("src", "https://example.org/workflow/Snakefile")
    assert find_file(Path("known.yaml"), "https://example.org/workflow/Snakefile") == Path("known.yaml")


def test_what_python_and_installers_leave_is_no_program(tmp_path: Path) -> None:
    for name in ("a.py", "sub/b.sh", ".hidden", "sub/__pycache__/a.pyc", "tool.egg-info/PKG-INFO"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(find_programs(tmp_path)) == [tmp_path / "a.py", tmp_path / "sub" / "b.sh"]


def test_a_workflow_runs_from_any_folder(head: Head, tmp_path: Path) -> None:
    """`snakemake -s PATH/Snakefile -d PROJECT`: the programs and known errors are beside the Snakefile."""
    (head.folder / "known.yaml").write_text(SIGNATURE)
    elsewhere = Head(tmp_path / "elsewhere", head.platform, head.s3, head.bucket)
    options = ("-s", "../head/Snakefile", "-d", "../project", "--ovhai-signatures", "known.yaml")
    run = elsewhere.run(*options)
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "project" / "deliver" / "a.txt").read_text() == "6\n"
    (job,) = jobs_of(head.platform, "add")
    assert job["spec"]["volumes"][-1]["mountPath"] == "/workspace/programs"

    head.write(make="echo reason of it; exit 1;")
    run = elsewhere.run(*options, "--forcerun", "make")
    assert run.returncode == 1 and "Cause: A known cause." in run.stdout
