"""What the server of snakemake_process.py reads once for all calls: libraries, S3's description, Snakemake's plugins.

botocore parses megabytes of JSON for the first client of each process, and looks through hundreds of folders for each
client. boto3 makes a class for each object in S3. Snakemake looks through all packages.
"""

import functools

import boto3
import boto3.resources.factory
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

FACTORY = boto3.resources.factory.ResourceFactory
MAKE_CLASS = FACTORY.load_from_definition
CLASSES = {}


def make_class(factory, resource_name, single_resource_json_definition, service_context):
    """One for each kind of thing, and for each session: its handlers may add to the class."""
    key = (id(factory._emitter), service_context.service_name, resource_name)
    if key not in CLASSES:
        made = MAKE_CLASS(factory, resource_name, single_resource_json_definition, service_context)
        CLASSES[key] = (made, factory._emitter)  # the second is kept so that no other gets its number
    return CLASSES[key][0]


FACTORY.load_from_definition = make_class
boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="none").resource("s3")
snakemake.cli.get_argument_parser()
