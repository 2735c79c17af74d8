"""Test double: what holds a model and loads its checkpoints."""

import torch
import wandb  # noqa: F401  # not used; but upstream does not start without it
from projects.neuralangelo.model import Model


def get_trainer(cfg, is_inference=True, seed=0):
    torch.manual_seed(seed)
    return Trainer(cfg)


class Wrapped(torch.nn.Module):
    """Puts `module.` before all names of parameters."""

    def __init__(self, module):
        super().__init__()
        self.module = module


class Trainer:
    def __init__(self, cfg):
        torch.backends.cuda.matmul.allow_tf32 = True
        self.model_module = Model(cfg.model)
        self.model = Wrapped(self.model_module)
        self.checkpointer = Checkpointer(self.model)
        self.current_iteration = 0


class Checkpointer:
    def __init__(self, model):
        self.model = model

    def load(self, checkpoint_path, resume=False, load_opt=True, load_sch=True):
        content = torch.load(checkpoint_path, map_location="cpu")
        self.model.load_state_dict(content["model"])
        self.eval_epoch, self.eval_iteration = content["epoch"], content["iteration"]
