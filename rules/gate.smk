# Is this capture good enough to spend time or money on?


rule gate:
    input:
        frames="results/{scene}/frames/frames.json",
        poses="results/{scene}/poses/poses.json",
        transforms="results/{scene}/region/transforms.json",
        region="results/{scene}/region/region.json",
        points="results/{scene}/region/points.npz",
    output:
        checks="results/{scene}/gate/gate.json",
    log:
        "results/{scene}/gate/gate.log",
    priority: PRIORITY["gate"]
    localrule: True
    conda:
        "../envs/head.yaml"
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
        checks="results/{scene}/gate/gate.json",
    output:
        decision="results/{scene}/gate/gate.pass",
    log:
        "results/{scene}/gate/gate_decision.log",
    priority: PRIORITY["gate"]
    retries: 0
    localrule: True
    conda:
        "../envs/head.yaml"
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
