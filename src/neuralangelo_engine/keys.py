"""The settings of NVIDIA's Neuralangelo: names, types and limits, and which of them the workflow itself decides.

Upstream takes a misspelt name in its file for a new setting and goes on without a word (NA-16). So what it is given is
checked here against the names of its own two files, imaginaire/config_base.yaml and projects/neuralangelo/configs/
base.yaml at commit 94390b6, with nothing else allowed at any level.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

Schema = dict[str, Any]

FLAG: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
PARAMETERS: Schema = {"type": "object", "additionalProperties": {"type": ["number", "boolean"]}}
WORDS: Schema = {"type": "object"}
LAYERS: Schema = {"type": "array", "items": COUNT}


def numbers(count: int, kind: Schema = NUMBER) -> Schema:
    return {"type": "array", "items": kind, "minItems": count, "maxItems": count}


def closed(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


ENCODING_VIEW = closed(type=TEXT, levels=COUNT)
SCHEMA = closed(
    image_save_iter=COUNT,
    metrics_iter=MAYBE_COUNT,
    metrics_epoch=MAYBE_COUNT,
    max_epoch=COUNT,
    max_iter={"type": "integer", "minimum": 1},
    logging_iter=COUNT,
    wandb_scalar_iter={"type": "integer", "minimum": 1},
    wandb_image_iter={"type": "integer", "minimum": 1},
    validation_iter={"type": "integer", "minimum": 1},
    speed_benchmark=FLAG,
    timeout_period=COUNT,
    local_rank=COUNT,
    nvtx_profile=FLAG,
    checkpoint=closed(
        save_iter={"type": "integer", "minimum": 1},
        save_latest_iter=COUNT,
        save_epoch=COUNT,
        save_period=COUNT,
        strict_resume=FLAG,
    ),
    trainer=closed(
        type=TEXT,
        ema_config=closed(enabled=FLAG, beta=NUMBER, start_iteration=COUNT, load_ema_checkpoint=FLAG),
        image_to_tensorboard=FLAG,
        ddp_config=closed(find_unused_parameters=FLAG, static_graph=FLAG),
        init=closed(type=TEXT, gain=MAYBE_NUMBER),
        amp_config=closed(
            enabled=FLAG, init_scale=POSITIVE, growth_factor=POSITIVE, backoff_factor=POSITIVE, growth_interval=COUNT
        ),
        grad_accum_iter={"type": "integer", "minimum": 1},
        loss_weight=closed(render=NUMBER, eikonal=NUMBER, curvature=NUMBER),
        depth_vis_scale=POSITIVE,
    ),
    model=closed(
        type=TEXT,
        object=closed(
            sdf=closed(
                mlp=closed(
                    num_layers=COUNT,
                    hidden_dim=COUNT,
                    skip=LAYERS,
                    activ=TEXT,
                    activ_params=PARAMETERS,
                    geometric_init=FLAG,
                    weight_norm=FLAG,
                    out_bias=NUMBER,
                    inside_out=FLAG,
                ),
                encoding=closed(
                    type=TEXT,
                    levels={"type": "integer", "minimum": 1, "maximum": 32},
                    hashgrid=closed(
                        min_logres=COUNT,
                        max_logres=COUNT,
                        dict_size={"type": "integer", "minimum": 10, "maximum": 24},
                        dim={"enum": [1, 2, 4, 8]},  # what tiny-cuda-nn has (NA-18)
                        range=numbers(2),
                    ),
                    coarse2fine=closed(
                        enabled=FLAG,
                        init_active_level={"type": "integer", "minimum": 1},
                        step={"type": "integer", "minimum": 1},
                    ),
                ),
                gradient=closed(mode={"enum": ["numerical", "analytical"]}, taps={"enum": [4, 6]}),
            ),
            rgb=closed(
                mlp=closed(
                    num_layers=COUNT,
                    hidden_dim=COUNT,
                    skip=LAYERS,
                    activ=TEXT,
                    activ_params=PARAMETERS,
                    weight_norm=FLAG,
                ),
                mode={"enum": ["idr", "no_view_dir", "no_normal"]},
                encoding_view=ENCODING_VIEW,
            ),
            s_var=closed(init_val=NUMBER, anneal_end=POSITIVE),
        ),
        background=closed(
            enabled=FLAG,
            white=FLAG,
            mlp=closed(
                num_layers=COUNT,
                hidden_dim=COUNT,
                skip=LAYERS,
                num_layers_rgb=COUNT,
                hidden_dim_rgb=COUNT,
                skip_rgb=LAYERS,
                activ=TEXT,
                activ_params=PARAMETERS,
                activ_density=TEXT,
                activ_density_params=PARAMETERS,
            ),
            view_dep=FLAG,
            encoding=closed(type=TEXT, levels=COUNT),
            encoding_view=ENCODING_VIEW,
        ),
        render=closed(
            rand_rays={"type": "integer", "minimum": 1},
            num_samples=closed(coarse=COUNT, fine=COUNT, background=COUNT),
            num_sample_hierarchy=COUNT,
            stratified=FLAG,
        ),
        appear_embed=closed(enabled=FLAG, dim={"type": "integer", "minimum": 1}),
    ),
    optim=closed(
        type=TEXT,
        # Handed to the optimiser as they are: those of torch.optim.AdamW.
        params=closed(
            lr=POSITIVE, weight_decay=NUMBER, betas=numbers(2, POSITIVE), eps=POSITIVE, amsgrad=FLAG, fused=FLAG
        ),
        fused_opt=FLAG,
        sched=closed(
            iteration_mode=FLAG,
            type=TEXT,
            step_size=COUNT,
            gamma=POSITIVE,
            warm_up_end=COUNT,
            two_steps=numbers(2, {"type": "integer", "minimum": 1}),
        ),
    ),
    data=closed(
        name=TEXT,
        type=TEXT,
        root=TEXT,
        use_multi_epoch_loader=FLAG,
        num_workers={"type": "integer", "minimum": 1},
        preload=FLAG,
        num_images=MAYBE_COUNT,
        train=closed(
            image_size=numbers(2, {"type": "integer", "minimum": 1}),
            batch_size={"type": "integer", "minimum": 1},
            subset=MAYBE_COUNT,
        ),
        val=closed(
            image_size=numbers(2, {"type": "integer", "minimum": 1}),
            batch_size={"type": "integer", "minimum": 1},
            subset=MAYBE_COUNT,
            max_viz_samples=COUNT,
        ),
        readjust=closed(center=numbers(3), scale=POSITIVE),
    ),
    test_data=closed(name=TEXT, type=TEXT, num_workers=COUNT, test=WORDS),
    cudnn=closed(deterministic=FLAG, benchmark=FLAG),
    pretrained_weight={"type": ["string", "null"]},
    inference_args=WORDS,
)
# What the workflow decides, and what to use instead.
DECIDED = {
    "max_iter": "Use train.iterations.",
    "data.root": "The workflow puts the images there itself.",
    "data.type": "The workflow writes transforms.json for projects.neuralangelo.data.",
    "data.num_images": "It is the number of frames in transforms.json.",
    "data.readjust.center": "It would move the training but not the mesh: use region.center.",
    "data.readjust.scale": "It would scale the training but not the mesh: use region.radius.",
    "model.appear_embed.enabled": "Use neuralangelo.appearance.",
    "model.object.sdf.mlp.inside_out": "Use scene_type.",
    "trainer.type": "It is part of Neuralangelo.",
    "model.type": "It is part of Neuralangelo.",
    "local_rank": "It is the launcher's.",
    "logging_iter": "Progress is in metrics.jsonl.",
    "checkpoint.strict_resume": "A checkpoint that does not fit must be refused.",
}


def find_keys(schema: Mapping[str, Any] = SCHEMA, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Every setting by its dotted name, with its schema."""
    for name, child in schema["properties"].items():
        if "properties" in child:
            yield from find_keys(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


KEYS = dict(find_keys())


def check_overrides(overrides: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings given by their dotted names, each as a sentence with the remedy."""
    errors = []
    for key, value in overrides.items():
        if key in DECIDED:
            errors.append(f"{key} is decided by the workflow. {DECIDED[key]}")
        elif key not in KEYS:
            errors.append(f"Neuralangelo has no setting {key}.{suggest(key)}")
        elif not jsonschema.Draft202012Validator(KEYS[key]).is_valid(value):
            errors.append(f"{key}: {value!r} is not allowed. Write {describe(KEYS[key])}.")
    return errors


def suggest(key: str) -> str:
    """The nearest name: of the whole, or one that ends alike (hashgrid.dict_size)."""
    section = next((name for name in KEYS if name.startswith(f"{key}.")), None)
    if section:
        return f" Name one setting below it, such as {section}."
    same_end = [name for name in KEYS if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = difflib.get_close_matches(key, same_end or list(KEYS), 1, 0 if len(same_end) == 1 else 0.6)
    return f" Did you mean {near[0]}?" if near else " Its names are in its base.yaml."


def describe(schema: Schema) -> str:
    """What is allowed, as the end of a sentence."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    words = {
        "boolean": "true or false",
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "object": "keys with values",
        "null": "null",
        "array": "a list",
    }
    text = " or ".join(words[kind] for kind in types)
    if "array" in types:
        count = f" of {schema['minItems']}" if "minItems" in schema else ""
        text = f"a list{count}, each {describe(schema['items'])}"
    if schema.get("minimum"):
        text += f" from {schema['minimum']}" + (f" to {schema['maximum']}" if "maximum" in schema else "")
    if "exclusiveMinimum" in schema:
        text += f" above {schema['exclusiveMinimum']}"
    return text


def find_unknown(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names in nested values that nested `known` lacks; what is empty or a leaf in `known` may hold anything."""
    unknown = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in known:
            unknown.append(key)
        elif isinstance(value, Mapping) and isinstance(known[name], Mapping) and known[name]:
            unknown += find_unknown(value, known[name], f"{key}.")
    return unknown
