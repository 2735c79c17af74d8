# The mesh of an engine becomes what people open.


# On the head, which needs the whole mesh for delivery anyway and has the libraries that training images lack.
rule web_mesh:
    input:
        mesh="results/{scene}/mesh/{iteration}/mesh.ply",
    output:
        mesh="results/{scene}/mesh/{iteration}/mesh.glb",
    log:
        "results/{scene}/mesh/{iteration}/web_mesh.log",
    priority: PRIORITY["mesh"]
    localrule: True
    conda:
        "../envs/head.yaml"
    params:
        faces=get_setting("mesh.web_faces"),
        code=get_code("scripts/web_mesh.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/web_mesh.py"'
        " --mesh {input.mesh:q}"
        " --faces {params.faces}"
        " --output {output.mesh:q}"
        " > {log:q} 2>&1"
