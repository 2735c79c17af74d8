"""What the server of snakemake_process.py reads once for all calls: libraries, S3's description, Snakemake's plugins.

botocore parses megabytes of JSON for the first client of each process, and looks through hundreds of folders for each
client. Snakemake looks through all packages.
"""

import functools

import boto3
import botocore.loaders
import jsonschema  # noqa: F401
import pandas  # noqa: F401
import smart_open  # noqa: F401
import snakemake.cli
import snakemake.report
import snakemake_storage_plugin_s3  # noqa: F401

READER = botocore.loaders.JSONFileLoader
READER.load_file = staticmethod(functools.cache(READER().load_file))
LOADER = botocore.loaders.Loader
LIST = LOADER.list_available_services


@functools.cache
def list_services(folders, kind):
    loader = LOADER(include_default_search_paths=False)
    loader.search_paths[:] = folders
    return LIST(loader, kind)


LOADER.list_available_services = lambda loader, type_name: list_services(tuple(loader.search_paths), type_name)
boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="none").resource("s3")
snakemake.cli.get_argument_parser()
