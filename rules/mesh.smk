# The mesh of an engine becomes what people open.


# On the head, which has the libraries that training images lack. It needs the whole mesh for delivery anyway, and the
# frames for the page: a job of its own would cost more than it saves.
rule web_mesh:
    input:
        mesh="results/{scene}/mesh/{iteration}/mesh.ply",
        transforms=get_for_texture("region/transforms.json"),
        images=get_for_texture("poses/images.tar"),
        masks=get_for_texture("poses/masks.tar"),
    output:
        mesh="results/{scene}/mesh/{iteration}/mesh.glb",
    log:
        "results/{scene}/mesh/{iteration}/web_mesh.log",
    priority: PRIORITY["mesh"]
    localrule: True
    conda:
        "../envs/web.yaml"
    params:
        faces=get_setting("mesh.web_faces"),
        texture_size=get_texture_size,
        photographs=get_texture_arguments,
        code=get_code("scripts/web_mesh.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/web_mesh.py"'
        " --mesh {input.mesh:q}"
        " --faces {params.faces}"
        " --texture-size {params.texture_size}"
        " {params.photographs:q}"
        " --output {output.mesh:q}"
        " > {log:q} 2>&1"
