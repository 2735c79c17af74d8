"""A platform with its S3 server, for use by hand: python -m ovhai_standin FOLDER."""

import signal
import sys
from pathlib import Path

import s3_server
from ovhai_standin.platform import Platform

folder = Path(sys.argv[1])
data = folder / "s3"
data.mkdir(parents=True)
with s3_server.s3_server(data) as server:
    platform = Platform.start(folder, server)
    for variable, value in server.environment.items():
        print(f"export {variable}={value}")
    print(f"export OVHAI_STANDIN={folder.absolute()}", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        platform.stop_everything()
