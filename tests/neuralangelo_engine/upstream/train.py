"""Test double of Neuralangelo's train.py: the same command line, files and lines on the terminal, and nothing learnt.

What should go wrong is said in the settings: inference_args of the configuration, which the real program does not read
while it trains. Iterations after which: hang (no sign of life), nan (until the learning rate is lower), oom, crash (but
for a run that resumes), silent (exit code 0 without the last checkpoint), kill (as by a full memory). Also forget: it
does not resume; wait: after a save, it goes on when that has been looked at.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
import wandb
from imaginaire.config import Config
from imaginaire.trainers.utils.get_trainer import get_trainer

SECONDS = 0.002  # an iteration


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--logdir", required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--resume", action="store_true")
    arguments, others = parser.parse_known_args()
    settings = Config(arguments.config)
    for other in others:
        name, _, value = other[2:].partition("=")
        override(settings, name.split("."), json.loads(value))
    faults = settings["inference_args"]
    data = Path(settings.data.root)
    for frame in json.loads((data / "transforms.json").read_text())["frames"]:
        (data / frame["file_path"]).read_bytes()
    os.makedirs(arguments.logdir, exist_ok=True)
    print(f"Training with {os.environ['WORLD_SIZE']} GPUs.")
    model = get_trainer(settings, is_inference=False, seed=0).model
    start = resume(arguments.logdir, model) if arguments.resume and "forget" not in faults else None
    rate = start["optim"]["param_groups"][0]["lr"] if start else settings.optim.params.lr
    iteration = start["iteration"] if start else 0
    print(
        f"Done with loading the checkpoint (epoch {start['epoch']}, iter {iteration})."
        if start
        else "Training from scratch."
    )
    wandb.init(id=wandb.util.generate_id(), dir=arguments.logdir, settings=wandb.Settings(start_method="fork"))
    _group, _name = arguments.logdir.split("/")[-2:]  # as upstream does: a folder with one part is too short

    saving = []
    while iteration < settings.max_iter:
        iteration += 1
        time.sleep(SECONDS)
        if faults.get("hang") == iteration:
            time.sleep(3600)
        if faults.get("oom") == iteration:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if faults.get("crash") == iteration and not start:
            raise RuntimeError("CUDA error: unspecified launch failure")
        if faults.get("kill") == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        if iteration % settings.wandb_scalar_iter == 0:
            loss = torch.tensor(1 / iteration)
            wandb.log({"optim/lr": rate, "train/loss/total": loss, "iteration": iteration}, step=iteration)
            wandb.log({"train/PSNR": torch.tensor(20.0), "train/active_levels": 4}, step=iteration)
        if faults.get("nan") and iteration >= faults["nan"] and rate >= settings.optim.params.lr:
            raise ValueError("Training loss has gone to NaN!!!")
        if faults.get("silent") == iteration:
            return
        if iteration % settings.checkpoint.save_iter == 0 or iteration == settings.max_iter:
            saving.append(threading.Thread(target=save, args=(arguments.logdir, model, iteration, rate)))
            saving[-1].start()
            saving[-1].join() if "nan" in faults or "crash" in faults else None
            wait(Path(arguments.logdir).parents[1] / "look.pt") if "wait" in faults else None
    print("Done with training!!!")
    wandb.finish()


def wait(look):
    time.sleep(1.5)  # three times as long as a look may take to begin
    while look.exists():
        time.sleep(0.1)


def override(settings, names, value):
    for name in names[:-1]:
        settings = settings[name]
    if names[-1] not in settings:
        raise KeyError(f"The input key '{'.'.join(names)}; does not exist in the config files.")
    settings[names[-1]] = value


def resume(logdir, model):
    pointer = os.path.join(logdir, "latest_checkpoint.txt")
    if not os.path.exists(pointer):
        return None
    path = os.path.join(logdir, Path(pointer).read_text().strip())
    if not os.path.exists(path):
        raise FileNotFoundError(f"File not found (local): {path}")
    content = torch.load(path, map_location="cpu")
    model.load_state_dict(content["model"])
    return content


def save(logdir, model, iteration, rate):
    epoch = iteration // 3  # depends on the number of images, as upstream's: nobody can know the name
    name = f"epoch_{epoch:05}_iteration_{iteration:09}_checkpoint.pt"
    optimiser = {"param_groups": [{"lr": rate, "initial_lr": rate}]}
    content = {"model": model.state_dict(), "optim": optimiser, "sched": {"base_lrs": [rate]}}
    torch.save({**content, "epoch": epoch, "iteration": iteration}, os.path.join(logdir, name))
    with open(os.path.join(logdir, "latest_checkpoint.txt"), "w") as file:
        file.write(f"{name}\n")
    print(f"Saved checkpoint to {os.path.join(logdir, name)}")


if __name__ == "__main__":
    sys.exit(main())
