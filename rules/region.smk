# Which part of the world is the scene?


rule region:
    input:
        cameras="results/{scene}/poses/cameras.bin",
        image_poses="results/{scene}/poses/images.bin",
        points3d="results/{scene}/poses/points3D.bin",
        frames="results/{scene}/frames/frames.json",
        poses="results/{scene}/poses/poses.json",
        masks="results/{scene}/poses/masks.tar",
        override=get_region_override,
    output:
        transforms="results/{scene}/region/transforms.json",
        summary="results/{scene}/region/region.json",
        picture=report(
            "results/{scene}/region/region.png",
            caption="captions/region.rst",
            category="Scenes",
            labels={"scene": "{scene}", "what": "region"},
        ),
        points="results/{scene}/region/points.npz",
    log:
        "results/{scene}/region/region.log",
    priority: PRIORITY["region"]
    localrule: True
    conda:
        "../envs/head.yaml"
    params:
        scene_type=get_setting("scene_type"),
        method=get_setting("region.method"),
        margin=get_setting("region.margin"),
        explicit=get_region_arguments,
        override=get_region_checksum,
        scale=get_scale_arguments,
        code=get_code("scripts/region.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/region.py"'
        " --cameras {input.cameras:q}"
        " --image-poses {input.image_poses:q}"
        " --points3d {input.points3d:q}"
        " --frames-json {input.frames:q}"
        " --poses-json {input.poses:q}"
        " --masks {input.masks:q}"
        " --scene-type {params.scene_type:q}"
        " --method {params.method:q}"
        " --margin {params.margin}"
        " {params.explicit:q}"
        " {params.scale:q}"
        " --transforms {output.transforms:q}"
        " --summary {output.summary:q}"
        " --picture {output.picture:q}"
        " --points {output.points:q}"
        " > {log:q} 2>&1"
