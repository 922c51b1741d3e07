"""The command line: exit codes, one sentence for bad input, and the verbs end to end on a small real
model.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from nightlatch.cli import app

CALL = CliRunner()


@pytest.mark.parametrize(
    "verb",
    [["check"], ["scan", "--base", "x"], ["clean", "-o", "out"], ["verify", "--against", "x", "--seed", "1"]],
)
def test_missing_folder_is_one_sentence_and_exit_2(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CALL.invoke(
        app,
        [
            verb[0],
            "no-such-folder",
            *verb[1:],
            *([] if verb[0] == "check" else ["--trigger", "x"][: 2 * (verb[0] != "scan")]),
        ],
    )
    assert done.exit_code == 2
    assert "is neither a folder nor a file here" in done.output
    assert "Traceback" not in done.output


def test_not_a_pipeline_and_unsupported_class(tmp_path):
    assert CALL.invoke(app, ["check", str(tmp_path)]).exit_code == 2
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "FluxPipeline", "_diffusers_version": "0.42.1"})
    )
    done = CALL.invoke(app, ["check", str(tmp_path)])
    assert done.exit_code == 2
    assert "FluxPipeline" in done.output


def test_scan_without_base_says_so(tiny_folder):
    done = CALL.invoke(app, ["scan", str(tiny_folder)])
    assert done.exit_code == 2
    assert "--base" in done.output


def test_honest_folder_checks_clean(tiny_folder):
    done = CALL.invoke(app, ["check", str(tiny_folder), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert not [f for f in json.loads(done.output)["manifest"]["findings"] if f["severity"] != "note"]


def test_check_does_not_import_torch(tiny_folder):
    code = (
        f"import sys; from nightlatch import intake; intake.check({str(tiny_folder)!r}); print('torch' in "
        "sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_verbs_hand_over_through_the_run_folder(tiny_folder, tmp_path):
    """scan, clean with a given trigger, verify, report: every verb starts from the files of the one before,
    draws as it drew, and asks about what it worked on."""
    run, out, other = tmp_path / "run", tmp_path / "repaired", tmp_path / "other"
    to = ["--run", str(run)]
    drawn = ["--prompts", "emoji", "--steps", "3", "--guidance", "1", "--seed", "0"]
    scanned = CALL.invoke(app, ["scan", str(tiny_folder), "--base", str(tiny_folder), *to, *drawn])
    assert scanned.exit_code == 0, scanned.output
    assert "nothing found by these tests" in scanned.output
    nothing = CALL.invoke(app, ["clean", str(tiny_folder), "-o", str(out), *to])
    assert nothing.exit_code == 2
    assert "found no trigger" in nothing.output
    clean = ["clean", str(tiny_folder), "-o", str(out), "--trigger", "zudi", *to]
    assert "made with --steps 3" in CALL.invoke(app, [*clean, "--steps", "4"]).output
    assert not out.exists()
    shutil.copytree(tiny_folder, other)
    weights = load_file(other / "unet" / "diffusion_pytorch_model.safetensors")
    save_file({k: 2 * v for k, v in weights.items()}, other / "unet" / "diffusion_pytorch_model.safetensors")
    refused = CALL.invoke(app, ["clean", str(other), "-o", str(tmp_path / "o"), "--trigger", "x", *to])
    assert refused.exit_code == 2
    assert "about another model" in " ".join(refused.output.split())
    cleaned = CALL.invoke(app, [*clean, "--method", "uce", "--rounds", "1"])
    assert cleaned.exit_code == 0, cleaned.output
    assert (out / "model_index.json").is_file()
    assert "zudi" in (run / "report.html").read_text()
    again = CALL.invoke(app, clean)
    assert again.exit_code == 2
    assert "is there already" in again.output
    verified = CALL.invoke(
        app, ["verify", str(out), "--against", str(tiny_folder), "-n", "24", "--regrowth-steps", "4", *to]
    )
    assert (run / "scorecard.json").is_file(), verified.output
    card = json.loads((run / "scorecard.json").read_text())
    assert verified.exit_code == {"removed": 0, "not verified": 2}.get(card["verdict"], 1), verified.output
    page = (run / "report.html").read_text()
    assert "zudi" in page
    assert (run / "images" / "00-triggered.png").is_file()
    (run / "report.html").unlink()
    assert CALL.invoke(app, ["report", str(run)]).exit_code == 0
    assert (run / "report.html").is_file()


def test_a_slip_in_the_method_loses_no_proof(tiny_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("repair", "scorecard", "evidence"):
        (run / f"{name}.json").write_text("{}")
    args = [
        "clean",
        str(tiny_folder),
        "-o",
        str(tmp_path / "o"),
        "--run",
        str(run),
        "--trigger",
        "x",
        "--prompts",
        "emoji",
    ]
    assert "'sau'" in CALL.invoke(app, [*args, "--method", "sua"]).output
    assert "needs a trusted base" in CALL.invoke(app, [*args, "--method", "restore"]).output
    assert all((run / f"{name}.json").is_file() for name in ("repair", "scorecard", "evidence"))


def test_another_scan_leaves_nothing_of_the_last_in_its_folder(tiny_folder, tmp_path):
    """Else an old repair would stand as proof beside a new verdict."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("repair", "scorecard", "evidence"):
        (run / f"{name}.json").write_text("{}")
    common = ["--run", str(run), "--prompts", "emoji", "--steps", "3", "--guidance", "1"]
    assert CALL.invoke(app, ["scan", str(tiny_folder), "--base", str(tiny_folder), *common]).exit_code == 0
    assert not [n for n in ("repair", "scorecard", "evidence") if (run / f"{n}.json").exists()]


def test_a_refused_model_has_a_report_that_says_so(tiny_folder, tmp_path):
    bad, run = tmp_path / "bad", tmp_path / "run"
    shutil.copytree(tiny_folder, bad)
    (bad / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    done = CALL.invoke(app, ["scan", str(bad), "--base", str(tiny_folder), "--run", str(run)])
    assert done.exit_code == 2
    assert "Refused by the rule" in done.output
    assert json.loads((run / "verdict.json").read_text())["word"] == "not scanned"
    assert "Refuse it." in (run / "report.html").read_text()


def test_a_method_that_changes_no_weight_writes_no_model(tiny_folder, tmp_path):
    out = tmp_path / "out"
    args = [
        "clean",
        str(tiny_folder),
        "-o",
        str(out),
        "--run",
        str(tmp_path / "r"),
        "--trigger",
        "zudi",
        "--method",
        "strip",
    ]
    done = CALL.invoke(app, [*args, "--prompts", "emoji"])
    assert done.exit_code == 2
    assert "changes no weight" in done.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["scan", "MODEL", "--base", "MODEL", "--device", "gpu"], "no device 'gpu'"),
        (["clean", "MODEL", "-o", "out", "--trigger", " "], "trigger is empty"),
        (["clean", "MODEL", "-o", "out", "--blind", "--trigger", "x"], "told no trigger"),
        (["verify", "MODEL", "--against", "MODEL", "--trigger", "x"], "which prompts the repair has seen"),
        (["report", "."], "not a run folder"),
        (["ls", "attack"], "Known: attacks, repairs"),
        (["check", "MODEL", "--fail-on", "never"], "no policy 'never'"),
    ],
)
def test_wrong_arguments_are_one_sentence(args, said, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CALL.invoke(app, [str(tiny_folder) if a == "MODEL" else a for a in args])
    assert done.exit_code == 2
    assert said in done.output
    assert "Internal error" not in done.output


def test_unknown_method_names_the_nearest(tiny_folder, tmp_path):
    args = [
        "clean",
        str(tiny_folder),
        "-o",
        str(tmp_path / "o"),
        "--run",
        str(tmp_path / "r"),
        "--trigger",
        "x",
        "--method",
        "sua",
    ]
    done = CALL.invoke(app, [*args, "--prompts", "emoji"])
    assert done.exit_code == 2
    assert "'sau'" in done.output


def test_few_prompts_are_refused(tiny_folder, tmp_path):
    (tmp_path / "p.txt").write_text("one\ntwo\n")
    done = CALL.invoke(
        app,
        [
            "scan",
            str(tiny_folder),
            "--base",
            str(tiny_folder),
            "--prompts",
            str(tmp_path / "p.txt"),
            "--run",
            str(tmp_path / "r"),
        ],
    )
    assert done.exit_code == 2
    assert "At least 128" in done.output


@pytest.mark.parametrize("verb", [["check"], ["scan", "--base", "nobody/base"]])
def test_hub_name_that_is_not_cached_says_why_when_offline(verb, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    done = CALL.invoke(app, [verb[0], "nobody/nothing@main", *verb[1:]])
    assert done.exit_code == 2
    assert "offline" in done.output
    assert "Traceback" not in done.output


def test_model_that_kills_its_loader_is_not_loaded_here(tiny_folder, tmp_path, monkeypatch):
    """The rehearsal in the child ends before the verb loads anything; its limits are taken from the verb."""
    from nightlatch import loading
    from nightlatch.text2image.model import loaders

    monkeypatch.setattr(loading, "LOAD_SECONDS", 0.05)
    monkeypatch.setattr(loaders, "load", lambda *a, **k: pytest.fail("loaded in the parent"))
    done = CALL.invoke(
        app, ["scan", str(tiny_folder), "--base", str(tiny_folder), "--run", str(tmp_path / "run")]
    )
    assert done.exit_code == 2
    assert "Loading the model took longer" in done.output
    assert json.loads((tmp_path / "run" / "verdict.json").read_text())["word"] == "not scanned"
