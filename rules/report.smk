# What a scene looks like and how good it is, as a page. Those of scenes that are not done are made when a run ends.


rule scene_page:
    input:
        frames="results/{scene}/frames/frames.json",
        frame_pictures="results/{scene}/frames/frames.tar",
        poses="results/{scene}/poses/poses.json",
        images="results/{scene}/poses/images.tar",
        transforms="results/{scene}/region/transforms.json",
        region="results/{scene}/region/region.json",
        points="results/{scene}/region/points.npz",
        gate="results/{scene}/gate/gate.json",
        config="results/{scene}/train/config/config.yaml",
        metrics=get_at_milestones("train/metrics.jsonl"),
        meshes=get_at_milestones("mesh/mesh.json"),
        web_meshes=get_at_milestones("mesh/mesh.glb"),
    output:
        page=report(
            "results/{scene}/report/scene.html",
            caption="captions/scene.rst",
            category="Scenes",
            labels={"scene": "{scene}", "what": "page"},
        ),
        summary="results/{scene}/report/scene.json",
    log:
        "results/{scene}/report/report.log",
    priority: PRIORITY["report"]
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        settings=get_scene_settings,
        programs=get_all_code,
        code=get_code("scripts/report.py"),
        parts=get_page_parts(),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/report.py"'
        " --scene {wildcards.scene:q}"
        " --settings {params.settings:q}"
        " --programs {params.programs}"
        " --files {input:q}"
        " --page {output.page:q}"
        " --summary {output.summary:q}"
        " > {log:q} 2>&1"


# Nothing is asked for, so that nothing is made but the pages: of what is there, also while another run goes on.
rule report:
    localrule: True


onstart:
    get_watch().start()


onsuccess:
    update_pages()
    get_watch().stop(success=True)


onerror:
    update_pages()
    get_watch().stop(success=False)
