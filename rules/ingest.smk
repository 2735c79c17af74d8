# A scene's source, wherever it is, becomes one file in a folder of its own: a remote job gets whole folders.


rule ingest_video:
    input:
        source=get_source_files,
        bucket=get_bucket_files,
        masks=get_mask_files,
    output:
        footage="resources/videos/{scene}/video.mp4",
    log:
        "results/{scene}/ingest/ingest.log",
    priority: PRIORITY["ingest"]
    localrule: True
    conda:
        "../envs/footage.yaml"
    params:
        source=get_sources,
        argument=get_source_argument,
        photos=get_photo_arguments,
        code=get_code("scripts/ingest.py"),
    shell:
        'PYTHONPATH="${{VIDEOMESH:-.}}/src" python3 "${{VIDEOMESH:-.}}/scripts/ingest.py"'
        " --scene {wildcards.scene:q}"
        " --source {params.argument:q}"
        " --output {output.footage:q}"
        " {params.photos:q}"
        " > {log:q} 2>&1"


use rule ingest_video as ingest_photos with:
    output:
        footage="resources/videos/{scene}/photos.tar",


use rule ingest_video as ingest_clips with:
    output:
        footage="resources/videos/{scene}/clips.tar",
