# Footage becomes still frames.


rule frames:
    input:
        footage=get_footage,
    output:
        frames="results/{scene}/frames/frames.tar",
        masks="results/{scene}/frames/masks.tar",
        summary="results/{scene}/frames/frames.json",
    log:
        "results/{scene}/frames/frames.log",
    priority: PRIORITY["frames"]
    conda:
        "../envs/footage.yaml"
    container:
        get_container("colmap")
    threads: 8
    resources:
        expected_seconds=get_expected("frames"),
    params:
        container=get_container_in_use("colmap"),
        selection=get_selection_arguments,
        max_size=get_setting("frames.max_size"),
        code=get_code("scripts/frames.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/frames.py"'
        " --source {input.footage:q}"
        " {params.selection:q}"
        " --max-size {params.max_size}"
        " --threads {threads}"
        " --frames {output.frames:q}"
        " --masks {output.masks:q}"
        " --summary {output.summary:q}"
        " > {log:q} 2>&1"
