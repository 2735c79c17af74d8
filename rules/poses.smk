# Where was the camera? COLMAP finds out from the frames.


rule poses:
    input:
        frames="results/{scene}/frames/frames.tar",
        summary="results/{scene}/frames/frames.json",
        masks="results/{scene}/frames/masks.tar",
    output:
        images="results/{scene}/poses/images.tar",
        cameras="results/{scene}/poses/cameras.bin",
        image_poses="results/{scene}/poses/images.bin",
        points="results/{scene}/poses/points3D.bin",
        masks="results/{scene}/poses/masks.tar",
        summary="results/{scene}/poses/poses.json",
    log:
        "results/{scene}/poses/poses.log",
    priority: PRIORITY["poses"]
    conda:
        "../envs/poses.yaml"
    container:
        get_container("colmap")
    threads: 8
    resources:
        expected_seconds=get_expected("poses"),
    params:
        container=get_container_in_use("colmap"),
        given=get_setting("poses.given"),
        backend=get_setting("poses.backend"),
        device=get_setting("poses.device"),
        min_registered=get_setting("poses.min_registered"),
        max_features=get_setting("poses.max_features"),
        max_image_size=get_setting("poses.max_image_size"),
        seed=get_setting("poses.seed"),
        code=get_code("scripts/poses.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/poses.py"'
        " --frames {input.frames:q}"
        " --frames-json {input.summary:q}"
        " --frame-masks {input.masks:q}"
        " --given {params.given}"
        " --backend {params.backend:q}"
        " --device {params.device:q}"
        " --min-registered {params.min_registered}"
        " --max-features {params.max_features}"
        " --max-image-size {params.max_image_size}"
        " --seed {params.seed}"
        " --threads {threads}"
        " --images {output.images:q}"
        " --cameras {output.cameras:q}"
        " --image-poses {output.image_poses:q}"
        " --points {output.points:q}"
        " --masks {output.masks:q}"
        " --summary {output.summary:q}"
        " > {log:q} 2>&1"
