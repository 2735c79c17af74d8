# Which part of the world is the scene, and is this capture good enough to spend time or money on?


rule region:
    input:
        cameras="results/{scene}/poses/cameras.bin",
        image_poses="results/{scene}/poses/images.bin",
        points="results/{scene}/poses/points3D.bin",
        frames="results/{scene}/frames/frames.json",
        override=get_region_override,
    output:
        transforms="results/{scene}/region/transforms.json",
        summary="results/{scene}/region/region.json",
        picture="results/{scene}/region/region.png",
        points="results/{scene}/region/points.npz",
    log:
        "results/{scene}/region/region.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        scene_type=get_setting("scene_type"),
        method=get_setting("region.method"),
        margin=get_setting("region.margin"),
        explicit=get_region_arguments,
        code=get_code("scripts/region.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/region.py"'
        " --cameras {input.cameras:q}"
        " --image-poses {input.image_poses:q}"
        " --points {input.points:q}"
        " --frames-json {input.frames:q}"
        " --scene-type {params.scene_type:q}"
        " --method {params.method:q}"
        " --margin {params.margin}"
        " {params.explicit:q}"
        " --transforms {output.transforms:q}"
        " --summary {output.summary:q}"
        " --picture {output.picture:q}"
        " --engine-points {output.points:q}"
        " > {log:q} 2>&1"


rule gate:
    input:
        frames="results/{scene}/frames/frames.json",
        poses="results/{scene}/poses/poses.json",
        transforms="results/{scene}/region/transforms.json",
        region="results/{scene}/region/region.json",
        points="results/{scene}/region/points.npz",
    output:
        checks="results/{scene}/region/gate.json",
    log:
        "results/{scene}/region/gate.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        thresholds=get_gate_thresholds,
        code=get_code("scripts/gate.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/gate.py" check'
        " --scene {wildcards.scene:q}"
        " --frames-json {input.frames:q}"
        " --poses-json {input.poses:q}"
        " --transforms {input.transforms:q}"
        " --region {input.region:q}"
        " --points {input.points:q}"
        " --thresholds {params.thresholds:q}"
        " --output {output.checks:q}"
        " > {log:q} 2>&1"


# A rule of its own, so that gate.json stays when the verdict stops the scene. What it says belongs on the terminal.
rule gate_decision:
    input:
        checks="results/{scene}/region/gate.json",
    output:
        decision="results/{scene}/region/gate.pass",
    log:
        "results/{scene}/region/gate_decision.log",
    retries: 0
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        mode=get_setting("gate.mode"),
        code=get_code("scripts/gate.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/gate.py" decide'
        " --gate {input.checks:q}"
        " --mode {params.mode:q}"
        " --output {output.decision:q}"
        " 2>&1 | tee {log:q}"


# `snakemake captures`: everything up to the verdict. No step of it needs a GPU.
rule captures:
    input:
        verdicts=get_verdicts(),
    localrule: True
