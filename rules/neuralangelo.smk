# NVIDIA's Neuralangelo in place of the built-in engine, for the scenes whose engine it is. Same files in and out.


rule neuralangelo_source:
    input:
        source=get_neuralangelo_files(),
    output:
        source="resources/neuralangelo/neuralangelo-94390b6.tar.gz",
    log:
        "resources/neuralangelo/source.log",
    priority: PRIORITY["train"]
    localrule: True
    conda:
        "../envs/footage.yaml"
    params:
        source=get_global_setting("neuralangelo.source") or "",
        checksum=get_global_setting("neuralangelo.checksum"),
        code=get_code("src/neuralangelo_engine/__main__.py", "src/neuralangelo_engine/source.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m neuralangelo_engine source'
        " --source {params.source:q}"
        " --checksum {params.checksum:q}"
        " --output {output.source:q}"
        " 2>&1 | tee {log:q}"


rule neuralangelo_config:
    input:
        source="resources/neuralangelo/neuralangelo-94390b6.tar.gz",
        transforms="results/{scene}/region/transforms.json",
        region="results/{scene}/region/region.json",
        frames="results/{scene}/frames/frames.json",
        masks="results/{scene}/poses/masks.tar",
    output:
        config="results/{scene}/train/config/config.yaml",
    log:
        "results/{scene}/train/config/config.log",
    wildcard_constraints:
        scene=get_scenes_of("neuralangelo"),
    priority: PRIORITY["train"]
    localrule: True
    conda:
        "../envs/head.yaml"
    params:
        iterations=get_setting("train.iterations"),
        schedule=get_setting("neuralangelo.schedule"),
        preset=get_setting("neuralangelo.preset"),
        appearance=get_setting("neuralangelo.appearance"),
        gpu_memory=get_setting("neuralangelo.gpu_memory"),
        overrides=get_overrides,
        code=get_code("src/neuralangelo_engine/__main__.py", "src/neuralangelo_engine/config.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m neuralangelo_engine config'
        " --source {input.source:q}"
        " --transforms {input.transforms:q}"
        " --region {input.region:q}"
        " --frames-json {input.frames:q}"
        " --masks {input.masks:q}"
        " --iterations {params.iterations}"
        " --schedule {params.schedule:q}"
        " --preset {params.preset:q}"
        " --appearance {params.appearance:q}"
        " --gpu-memory {params.gpu_memory}"
        " --overrides {params.overrides:q}"
        " --output {output.config:q}"
        " > {log:q} 2>&1"


# The progress lines belong on the terminal too: this is the step that takes long. No conda environment has what upstream's
# programs need: without its image they run, as neuralangelo_mesh does, in the environment of snakemake itself.
rule neuralangelo_train:
    input:
        gate=ancient("results/{scene}/gate/gate.pass"),
        source="resources/neuralangelo/neuralangelo-94390b6.tar.gz",
        images="results/{scene}/poses/images.tar",
        masks="results/{scene}/poses/masks.tar",
        transforms="results/{scene}/region/transforms.json",
        config="results/{scene}/train/config/config.yaml",
        previous=get_previous("checkpoint.pt"),
        previous_metrics=get_previous("metrics.jsonl"),
    output:
        checkpoint="results/{scene}/train/{iteration}/checkpoint.pt",
        metrics="results/{scene}/train/{iteration}/metrics.jsonl",
    log:
        "results/{scene}/train/{iteration}/train.log",
    wildcard_constraints:
        scene=get_scenes_of("neuralangelo"),
    priority: PRIORITY["train"]
    container:
        get_container("neuralangelo")
    threads: 8
    resources:
        expected_seconds=get_expected("neuralangelo_train"),
        gpu_mem_gb=get_gpu_memory_of_scene,
    params:
        container=get_container_in_use("neuralangelo"),
        resume=get_neuralangelo_resume_arguments,
        stop=get_stop_arguments,
        gpus=get_gpus,
        seed=get_setting("train.seed"),
        stall=get_stall_minutes,
        code=get_training_code("src/neuralangelo_engine/__main__.py", "src/neuralangelo_engine/train.py", *STANDINS),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m videomesh.gpus --count {params.gpus} --'
        " python3 -m neuralangelo_engine train"
        " --source {input.source:q}"
        " --transforms {input.transforms:q}"
        " --images {input.images:q}"
        " --masks {input.masks:q}"
        " --config {input.config:q}"
        " --iterations {wildcards.iteration}"
        " {params.resume:q}"
        " {params.stop:q}"
        " --gpus {params.gpus}"
        " --seed {params.seed}"
        " --stall-minutes {params.stall}"
        " --checkpoint {output.checkpoint:q}"
        " --metrics {output.metrics:q}"
        " 2>&1 | tee {log:q}"


rule neuralangelo_mesh:
    input:
        source="resources/neuralangelo/neuralangelo-94390b6.tar.gz",
        config="results/{scene}/train/config/config.yaml",
        checkpoint="results/{scene}/train/{iteration}/checkpoint.pt",
        images="results/{scene}/poses/images.tar",
        masks="results/{scene}/poses/masks.tar",
        transforms="results/{scene}/region/transforms.json",
        region="results/{scene}/region/region.json",
    output:
        mesh="results/{scene}/mesh/{iteration}/mesh.ply",
        summary="results/{scene}/mesh/{iteration}/mesh.json",
    log:
        "results/{scene}/mesh/{iteration}/mesh.log",
    wildcard_constraints:
        scene=get_scenes_of("neuralangelo"),
    priority: PRIORITY["mesh"]
    container:
        get_container("neuralangelo")
    threads: 8
    resources:
        expected_seconds=get_expected("neuralangelo_mesh"),
        gpu_mem_gb=get_gpu_memory_of_scene,
    params:
        container=get_container_in_use("neuralangelo"),
        gpus=get_gpus,
        extractor=get_setting("neuralangelo.extractor"),
        resolution=get_setting("mesh.resolution"),
        crop=get_crop_arguments,
        min_component=get_setting("mesh.min_component"),
        unseen=get_setting("mesh.unseen"),
        refine=get_setting("mesh.refine"),
        code=get_code("src/neuralangelo_engine/__main__.py", "src/neuralangelo_engine/extract.py", *STANDINS),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m videomesh.gpus --count {params.gpus} --'
        " python3 -m neuralangelo_engine extract"
        " --source {input.source:q}"
        " --config {input.config:q}"
        " --checkpoint {input.checkpoint:q}"
        " --transforms {input.transforms:q}"
        " --images {input.images:q}"
        " --masks {input.masks:q}"
        " --extractor {params.extractor:q}"
        " --resolution {params.resolution}"
        " --region {input.region:q}"
        " {params.crop:q}"
        " --min-component {params.min_component}"
        " --unseen {params.unseen}"
        " --refine {params.refine}"
        " --threads {threads}"
        " --mesh {output.mesh:q}"
        " --summary {output.summary:q}"
        " > {log:q} 2>&1"
