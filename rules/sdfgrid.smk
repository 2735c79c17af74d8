# The built-in engine learns the surface from the frames, milestone by milestone, and makes triangles of it.


rule sdfgrid_config:
    output:
        config="results/{scene}/train/config/config.yaml",
    log:
        "results/{scene}/train/config/config.log",
    wildcard_constraints:
        scene=get_scenes_of("sdfgrid"),
    priority: PRIORITY["train"]
    localrule: True
    conda:
        "../envs/head.yaml"
    params:
        iterations=get_setting("train.iterations"),
        image_size=get_image_size_arguments,
        seed=get_setting("train.seed"),
        code=get_code("src/sdfgrid/__main__.py", "src/sdfgrid/config.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m sdfgrid config'
        " --iterations {params.iterations}"
        " {params.image_size:q}"
        " --seed {params.seed}"
        " --output {output.config:q}"
        " > {log:q} 2>&1"


# The progress lines belong on the terminal too: this is the step that takes long.
rule sdfgrid_train:
    input:
        gate=ancient("results/{scene}/gate/gate.pass"),
        images="results/{scene}/poses/images.tar",
        masks="results/{scene}/poses/masks.tar",
        transforms="results/{scene}/region/transforms.json",
        points="results/{scene}/region/points.npz",
        config="results/{scene}/train/config/config.yaml",
        previous=get_previous("checkpoint.pt"),
    output:
        checkpoint="results/{scene}/train/{iteration}/checkpoint.pt",
        metrics="results/{scene}/train/{iteration}/metrics.jsonl",
    log:
        "results/{scene}/train/{iteration}/train.log",
    wildcard_constraints:
        scene=get_scenes_of("sdfgrid", train_and_mesh="apart"),
    priority: PRIORITY["train"]
    conda:
        "../envs/sdfgrid.yaml"
    container:
        get_container("pytorch")
    threads: 8
    resources:
        expected_seconds=get_expected("sdfgrid_train"),
        gpu_mem_gb=get_gpu_memory_of_scene,
    params:
        container=get_container_in_use("pytorch"),
        gpus=get_gpus,
        resume=get_resume_arguments,
        stop=get_stop_arguments,
        code=get_training_code("src/sdfgrid/__main__.py", "src/sdfgrid/train.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m videomesh.gpus --count {params.gpus} --'
        " python3 -m sdfgrid train"
        " --transforms {input.transforms:q}"
        " --images {input.images:q}"
        " --masks {input.masks:q}"
        " --points {input.points:q}"
        " --config {input.config:q}"
        " --iterations {wildcards.iteration}"
        " {params.resume:q}"
        " {params.stop:q}"
        " --threads {threads}"
        " --checkpoint {output.checkpoint:q}"
        " --metrics {output.metrics:q}"
        " 2>&1 | tee {log:q}"


rule sdfgrid_mesh:
    input:
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
        scene=get_scenes_of("sdfgrid", train_and_mesh="apart"),
    priority: PRIORITY["mesh"]
    conda:
        "../envs/sdfgrid.yaml"
    container:
        get_container("pytorch")
    threads: 8
    resources:
        expected_seconds=get_expected("sdfgrid_mesh"),
        gpu_mem_gb=get_gpu_memory_of_scene,
    params:
        container=get_container_in_use("pytorch"),
        gpus=get_gpus,
        resolution=get_setting("mesh.resolution"),
        crop=get_crop_arguments,
        min_component=get_setting("mesh.min_component"),
        unseen=get_setting("mesh.unseen"),
        refine=get_setting("mesh.refine"),
        code=get_code("src/sdfgrid/__main__.py", "src/sdfgrid/extract.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m videomesh.gpus --count {params.gpus} --'
        " python3 -m sdfgrid extract"
        " --checkpoint {input.checkpoint:q}"
        " --transforms {input.transforms:q}"
        " --images {input.images:q}"
        " --masks {input.masks:q}"
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


# The two rules above in one process, for the scenes that want it. If the extraction fails, Snakemake removes the checkpoint
# too, and the scene counts as one whose training failed. So the log of the training has what both say.
rule sdfgrid_train_and_mesh:
    input:
        gate=ancient("results/{scene}/gate/gate.pass"),
        images="results/{scene}/poses/images.tar",
        masks="results/{scene}/poses/masks.tar",
        transforms="results/{scene}/region/transforms.json",
        region="results/{scene}/region/region.json",
        points="results/{scene}/region/points.npz",
        config="results/{scene}/train/config/config.yaml",
        previous=get_previous("checkpoint.pt"),
    output:
        checkpoint="results/{scene}/train/{iteration}/checkpoint.pt",
        metrics="results/{scene}/train/{iteration}/metrics.jsonl",
        mesh="results/{scene}/mesh/{iteration}/mesh.ply",
        summary="results/{scene}/mesh/{iteration}/mesh.json",
    log:
        train="results/{scene}/train/{iteration}/train.log",
        mesh="results/{scene}/mesh/{iteration}/mesh.log",
    wildcard_constraints:
        scene=get_scenes_of("sdfgrid", train_and_mesh="together"),
    priority: PRIORITY["train"]
    conda:
        "../envs/sdfgrid.yaml"
    container:
        get_container("pytorch")
    threads: 8
    resources:
        expected_seconds=get_expected("sdfgrid_train_and_mesh"),
        gpu_mem_gb=get_gpu_memory_of_scene,
    params:
        container=get_container_in_use("pytorch"),
        gpus=get_gpus,
        resume=get_resume_arguments,
        stop=get_stop_arguments,
        resolution=get_setting("mesh.resolution"),
        crop=get_crop_arguments,
        min_component=get_setting("mesh.min_component"),
        unseen=get_setting("mesh.unseen"),
        refine=get_setting("mesh.refine"),
        code=get_training_code("src/sdfgrid/__main__.py", "src/sdfgrid/train_and_extract.py"),
    shell:
        '{{ PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m videomesh.gpus --count {params.gpus} --'
        " python3 -m sdfgrid train_and_extract"
        " --transforms {input.transforms:q}"
        " --images {input.images:q}"
        " --masks {input.masks:q}"
        " --points {input.points:q}"
        " --config {input.config:q}"
        " --iterations {wildcards.iteration}"
        " {params.resume:q}"
        " {params.stop:q}"
        " --resolution {params.resolution}"
        " --region {input.region:q}"
        " {params.crop:q}"
        " --min-component {params.min_component}"
        " --unseen {params.unseen}"
        " --refine {params.refine}"
        " --threads {threads}"
        " --checkpoint {output.checkpoint:q}"
        " --metrics {output.metrics:q}"
        " --mesh {output.mesh:q}"
        " --summary {output.summary:q}"
        " | tee {log.mesh:q}; }} 2>&1 | tee {log.train:q}"
