# Results come home: the only files that rule all asks for, so that nothing is downloaded twice.


rule deliver:
    input:
        mesh=get_final_mesh("mesh.ply"),
        web_mesh=get_final_mesh("mesh.glb"),
    output:
        mesh=local("deliver/{scene}/mesh.ply"),
        web_mesh=local("deliver/{scene}/mesh.glb"),
    log:
        "results/{scene}/deliver/deliver.log",
    priority: PRIORITY["deliver"]
    localrule: True
    conda:
        "../envs/head.yaml"
    params:
        code=get_code("scripts/deliver.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/deliver.py"'
        " --copy {input.mesh:q} {output.mesh:q}"
        " --copy {input.web_mesh:q} {output.web_mesh:q}"
        " > {log:q} 2>&1"


rule deliver_obj:
    input:
        web_mesh=get_final_mesh("mesh.glb"),
    output:
        mesh=local("deliver/{scene}/mesh.obj"),
        materials=local("deliver/{scene}/mesh.mtl"),
        picture=local("deliver/{scene}/mesh.jpg"),
    log:
        "results/{scene}/deliver/obj.log",
    priority: PRIORITY["deliver"]
    localrule: True
    conda:
        "../envs/web.yaml"
    params:
        code=get_code("scripts/deliver_obj.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/deliver_obj.py"'
        " --mesh {input.web_mesh:q}"
        " --output {output.mesh:q}"
        " --materials {output.materials:q}"
        " --picture {output.picture:q}"
        " > {log:q} 2>&1"


rule deliver_stl:
    input:
        mesh=get_final_mesh("mesh.ply"),
        summary=get_final_mesh("mesh.json"),
    output:
        mesh=local("deliver/{scene}/mesh.stl"),
    log:
        "results/{scene}/deliver/stl.log",
    priority: PRIORITY["deliver"]
    localrule: True
    conda:
        "../envs/web.yaml"
    params:
        code=get_code("scripts/deliver_stl.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/deliver_stl.py"'
        " --mesh {input.mesh:q}"
        " --summary {input.summary:q}"
        " --output {output.mesh:q}"
        " > {log:q} 2>&1"


rule deliver_preview:
    input:
        web_mesh="results/{scene}/mesh/{iteration}/mesh.glb",
    output:
        web_mesh=local("deliver/{scene}/previews/{iteration}.glb"),
    log:
        "results/{scene}/deliver/preview-{iteration}.log",
    priority: PRIORITY["deliver"]
    localrule: True
    conda:
        "../envs/head.yaml"
    params:
        code=get_code("scripts/deliver.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/deliver.py"'
        " --copy {input.web_mesh:q} {output.web_mesh:q}"
        " > {log:q} 2>&1"


rule deliver_page:
    input:
        page="results/{scene}/report/scene.html",
        summary="results/{scene}/report/scene.json",
    output:
        page=local("deliver/{scene}/scene.html"),
        summary=local("deliver/{scene}/scene.json"),
    log:
        "results/{scene}/deliver/page.log",
    priority: PRIORITY["deliver"]
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        code=get_code("scripts/deliver.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/deliver.py"'
        " --copy {input.page:q} {output.page:q}"
        " --copy {input.summary:q} {output.summary:q}"
        " > {log:q} 2>&1"


# What is asked for by name: `snakemake meshes`. A single scene is asked for by its delivery, deliver/SCENE/mesh.ply.
rule meshes:
    input:
        meshes=local(get_meshes()),
    localrule: True


rule previews:
    input:
        previews=local(get_previews()),
    localrule: True
