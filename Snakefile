from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/ingest.smk"
include: "rules/frames.smk"
include: "rules/poses.smk"
include: "rules/region.smk"
include: "rules/gate.smk"
include: "rules/sdfgrid.smk"
include: "rules/neuralangelo.smk"
include: "rules/mesh.smk"
include: "rules/report.smk"
include: "rules/deliver.smk"


rule all:
    default_target: True
    input:
        meshes=local(get_meshes()),
        previews=local(get_previews()),
        pages=local(get_pages()),
