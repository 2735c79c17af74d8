# What the built-in engine has learnt becomes triangles.


rule mesh:
    input:
        checkpoint="results/{scene}/train/{iteration}/checkpoint.pt",
        images="results/{scene}/poses/images.tar",
        transforms="results/{scene}/region/transforms.json",
    output:
        mesh="results/{scene}/mesh/{iteration}/mesh.ply",
        summary="results/{scene}/mesh/{iteration}/mesh.json",
    log:
        "results/{scene}/mesh/{iteration}/mesh.log",
    wildcard_constraints:
        scene=get_scenes_of("sdfgrid"),
    conda:
        "../envs/workflow.yaml"
    container:
        get_image("pytorch")
    threads: 8
    params:
        resolution=get_setting("mesh.resolution"),
        crop=get_setting("mesh.crop"),
        min_component=get_setting("mesh.min_component"),
        code=get_code("src/sdfgrid/__main__.py", "src/sdfgrid/extract.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 -m sdfgrid extract'
        " --checkpoint {input.checkpoint:q}"
        " --transforms {input.transforms:q}"
        " --images {input.images:q}"
        " --resolution {params.resolution}"
        " --crop {params.crop}"
        " --min-component {params.min_component}"
        " --threads {threads}"
        " --mesh {output.mesh:q}"
        " --summary {output.summary:q}"
        " > {log:q} 2>&1"


# On the head, which needs the whole mesh for delivery anyway and has the libraries that training images lack.
rule web_mesh:
    input:
        mesh="results/{scene}/mesh/{iteration}/mesh.ply",
        region="results/{scene}/region/region.json",
    output:
        mesh="results/{scene}/mesh/{iteration}/mesh.glb",
    log:
        "results/{scene}/mesh/{iteration}/web_mesh.log",
    localrule: True
    conda:
        "../envs/workflow.yaml"
    params:
        faces=get_setting("mesh.web_faces"),
        code=get_code("scripts/web_mesh.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/web_mesh.py"'
        " --mesh {input.mesh:q}"
        " --region {input.region:q}"
        " --faces {params.faces}"
        " --output {output.mesh:q}"
        " > {log:q} 2>&1"
