"""Patience with the bucket: a request that gets no proper answer is made again until the bucket answers.

Snakemake takes an outage of seconds for a failed job, removes the job's outputs, and pays again. Or it ends the run.
So its requests wait here, one by one, for hours if need be. All of them go through the client of the S3 storage plugin,
in the main thread. Any other thread gets an error: the watcher goes on with its jobs, and asks again at its next check.

Patience begins as soon as the bucket has answered one request well. A wrong address or key must be told at once. A
definite answer, such as 403 or 404, is never waited for.
"""

import asyncio
import functools
import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import botocore.exceptions
import botocore.parsers
from boto3.exceptions import RetriesExceededError, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from snakemake_interface_common.exceptions import WorkflowError

from .outage import OUTAGE, Outage, find_outage, is_outage, tell

LONGEST_PAUSE = 30.0  # seconds between two tries; the first pause is one second
QUIET_TRIES = 2  # a server that is busy for a moment is not worth a line
WATCHERS_TIMEOUT = 20.0  # seconds; the watcher has other jobs to look after
TRANSFERS = 20  # times that a file is copied from its beginning; if it then fails, it is no outage
NOT_FOUND = {"404", "NoSuchBucket", "NotFound"}
LOST = (
    "The run does not wait while the bucket does not answer, because {}. An outage may end the run. Jobs keep running, "
    "and the next run finds them."
)

T = TypeVar("T")


def attach() -> None:
    """Make the clients of the S3 storage plugin patient. A second call does nothing."""
    try:
        from snakemake_storage_plugin_s3 import StorageObject, StorageProvider
    except ImportError:
        return  # the executor says what it needs

    prepare = StorageProvider.__post_init__
    if getattr(prepare, "makes_patient", False):
        return
    if problem := find_misfit(StorageObject, StorageProvider):
        tell("warning", LOST.format(problem))
        return

    @functools.wraps(prepare)
    def prepare_patiently(provider: Any) -> None:
        prepare(provider)
        try:
            make_patient(provider.s3c.meta.client)
        except AttributeError as error:
            tell("warning", LOST.format(f"the client of the S3 storage plugin has changed ({error})"))

    prepare_patiently.makes_patient = True  # type: ignore[attr-defined]
    StorageProvider.__post_init__ = prepare_patiently
    StorageObject.bucket_exists = bucket_exists


NEEDED = {
    "bucket_exists": "self.provider.s3c.meta.client.head_bucket(",
    "retrieve_object": ".download_file(",
    "store_object": ".upload_file(",
}


def find_misfit(storage_object: Any, storage_provider: Any) -> str:
    """Why this module does not fit the installed S3 storage plugin. Empty if it does."""
    methods = {name: getattr(storage_object, name, None) for name in NEEDED}
    methods["__post_init__"] = storage_provider.__post_init__
    words = NEEDED | {"__post_init__": "self.s3c = boto3.resource("}
    for name, method in methods.items():
        if method is None or words[name] not in inspect.getsource(method):
            return f"the S3 storage plugin has no `{words[name]}` in {name}() any more"
    return ""


def bucket_exists(storage_object: Any) -> bool:
    """The S3 storage plugin takes any error for a missing bucket, and all results in it for missing."""
    name = f"s3://{storage_object.bucket}"
    try:
        storage_object.provider.s3c.meta.client.head_bucket(Bucket=storage_object.bucket)
    except botocore.exceptions.ClientError as error:
        if str(error.response["Error"]["Code"]) in NOT_FOUND:
            return False
        raise WorkflowError(f"The bucket {name} cannot be read: {error}") from None
    except botocore.exceptions.BotoCoreError as error:
        raise WorkflowError(f"The bucket {name} cannot be reached: {error}") from None
    return True


# One client ----------------------------------------------------------------------------------------------------------


def make_patient(client: Any, outage: Outage = OUTAGE) -> None:
    """client: of boto3, for S3."""
    events = client.meta.events
    # botocore emits this event after each try and takes the first opinion: seconds until the next try, False for no
    # other try, or None for no opinion.
    events.register_first("needs-retry.s3", Patience(outage).judge, unique_id="ovhai-patience")
    events.register("before-call.s3", hurry_watcher, unique_id="ovhai-hurry")
    client._make_api_call = repeat_unreadable(client._make_api_call, outage)
    # boto3 would wait for threads that hang, and Ctrl-C would wait with it.
    config = TransferConfig(use_threads=False)
    for name in ("upload_file", "download_file"):
        setattr(client, name, repeat_broken(functools.partial(getattr(client, name), Config=config), outage))


class Patience:
    def __init__(self, outage: Outage) -> None:
        self.outage = outage

    def judge(
        self, response: Any, operation: Any, attempts: int, caught_exception: Any, **_: Any
    ) -> float | bool | None:
        """Whether to make a request again. attempts: how many there were."""
        reason = find_outage(response, operation, caught_exception)
        if not reason:
            if response:
                self.outage.answered |= is_of_s3(response[0])
                self.outage.report_answer()
            return None
        if not self.outage.answered:
            return None  # boto3 tries a few times, and then tells what is wrong
        timeouts = (botocore.exceptions.ReadTimeoutError, botocore.exceptions.ConnectTimeoutError)
        if attempts > QUIET_TRIES or isinstance(caught_exception, timeouts):
            self.outage.report_failure(reason)
        if is_main_thread():
            return get_pause(attempts)
        return False if self.outage.silent else None


def is_of_s3(answer: Any) -> bool:
    """Whether an answer shows that there is an S3 server, and that the keys are right. Any web server can say 404."""
    return 200 <= answer.status_code < 300 or (answer.status_code == 404 and "x-amz-request-id" in answer.headers)


def get_pause(attempts: int) -> float:
    """Seconds until the next try. The bucket is asked again after at most half of the time that was waited so far."""
    return float(min(LONGEST_PAUSE, 1.5 ** min(attempts - 1, 20)))


def is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def hurry_watcher(context: dict[str, Any], **_: Any) -> None:
    """A server that takes a request and never answers must not keep the watcher for minutes."""
    if not is_main_thread():
        context["read_timeout"] = WATCHERS_TIMEOUT  # botocore before 1.44 ignores this, and waits for 60 s


def wait_for(
    ask: Callable[[], T],
    outage: Outage = OUTAGE,
    passes: Callable[[Exception], bool] = is_outage,
    most: int | None = None,
) -> T:
    """Ask again until the bucket answers, in the main thread. Reading the body of an answer belongs into `ask`.

    passes: whether an error will pass. Other errors leave this function. most: how often to ask, None without end.
    """
    attempt = 0
    with interruptible():
        while True:
            attempt += 1
            try:
                return ask()
            except Exception as error:
                if not (outage.answered and is_main_thread() and passes(error)) or attempt == most:
                    raise
                if attempt > QUIET_TRIES:
                    outage.report_failure(str(error))
            time.sleep(get_pause(attempt))


def repeat_unreadable(call: Callable[..., Any], outage: Outage) -> Callable[..., Any]:
    """Make a request again whose answer cannot be read. botocore itself gives up then."""

    def call_again(operation: str, parameters: dict[str, Any]) -> Any:
        return wait_for(lambda: call(operation, parameters), outage, is_unreadable)

    return call_again


def is_unreadable(error: Exception) -> bool:
    return isinstance(error, botocore.parsers.ResponseParserError)


def repeat_broken(copy: Callable[..., Any], outage: Outage) -> Callable[..., Any]:
    """Copy a file again if its connection breaks in the middle of it."""

    def copy_again(*arguments: Any, Config: Any = None, **keywords: Any) -> Any:
        """Config: is ignored."""
        return wait_for(lambda: copy(*arguments, **keywords), outage, is_broken, TRANSFERS)

    return copy_again


def is_broken(error: Exception) -> bool:
    """Whether an error of a copy comes from a broken connection."""
    if isinstance(error, S3UploadFailedError):  # wraps whatever the server answered
        # An upload in parts exists no longer if the answer to its last request was lost.
        return "NoSuchUpload" in str(error)
    return isinstance(error, RetriesExceededError) or is_outage(error)


ended: Any = None  # asyncio's handler of Ctrl-C during the run of its loop that Ctrl-C has ended


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a request that waits.

    asyncio only notes the first Ctrl-C, and cancels its task at the next pause. A request blocks asyncio's loop, so
    there is no pause until the bucket answers. Other tasks of the loop may have requests too: none is made any more.
    """
    noted = signal.getsignal(signal.SIGINT) if is_main_thread() else None
    if not callable(noted) or noted is signal.default_int_handler:
        yield
        return
    if noted is ended:
        raise asyncio.CancelledError

    def interrupt(number: int, frame: FrameType | None) -> None:
        global ended
        noted(number, frame)
        if asyncio._get_running_loop() is None:
            raise KeyboardInterrupt
        ended = noted
        raise asyncio.CancelledError

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, noted)
