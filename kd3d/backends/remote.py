"""Backend on a vehicle: inputs and outputs go over SSH, a file in memory each."""

import subprocess
import tempfile
from contextlib import ExitStack, suppress
from typing import IO, Any

from typing_extensions import Self

from kd3d.backends.base import Array, Feeds, check_feeds
from kd3d.backends.bundle import Bundle
from kd3d.backends.serve import LENGTH_BYTES, arrays_from_bytes, bytes_from_arrays
from kd3d.backends.ssh import (
    Answer,
    ConnectionLostError,
    Host,
    Say,
    check_end,
    parse_answer,
    request_line,
    with_retries,
)
from kd3d.backends.vehicle_run import VehicleRun, vehicle_run
from kd3d.errors import UserError

_MODULE = "kd3d.backends.serve"


class RemoteBackend:
    """Runs a bundle in a backend of the vehicle; for parity there, not for timing.

    Args:
        bundle: copied there, as far as it is missing.
        host: the vehicle.
        backend: "tensorrt" or "onnxruntime", there.
        precision: "fp32", "fp16" or "int8", if the bundle has it.
        say: told of lost connections.
        patience_s: once the far end has hung up, how long ssh may take to end and say why; then it
            is ended by force, and the connection taken for lost.
        keep: False lets the vehicle forget the bundle at the end: it is a part of a graph, and
            nobody will ask for it again.
    """

    def __init__(
        self,
        bundle: Bundle,
        host: Host,
        backend: str,
        *,
        precision: str = "fp32",
        say: Say,
        patience_s: float = 10.0,
        keep: bool = True,
    ) -> None:
        self.name = f"{backend} on {host.name}"
        self.device = host.name
        self.inputs = bundle.inputs
        self.output_names = bundle.output_names
        self._bundle, self._host, self._say = bundle, host, say
        self._backend, self._precision = backend, precision
        self._patience_s = patience_s
        self._keep = keep
        self._stack = ExitStack()
        self._run: VehicleRun | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._run = stack.enter_context(
                vehicle_run(
                    self._bundle,
                    self._host,
                    precisions=[self._precision],
                    module=_MODULE,
                    say=self._say,
                    keep=self._keep,
                )
            )
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            stack.callback(self._hang_up)
            with_retries(self._call, self._host.pauses_s, say=self._say)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """Runs the network there; connects again and asks again if the connection is lost."""
        check_feeds(self.inputs, feeds)
        packed = bytes_from_arrays(feeds)
        question = len(packed).to_bytes(LENGTH_BYTES, "big") + packed
        outputs: dict[str, Array] = with_retries(
            lambda: self._ask(question), self._host.pauses_s, say=self._say
        )
        return outputs

    def _call(self) -> None:
        """Starts the far end, and waits until it has opened the model."""
        assert self._run is not None, "use the backend inside its with block"
        assert self._errors is not None, "made with the run"
        self._hang_up()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._host.side(),
            stdin=pipe,
            stdout=pipe,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )
        arguments = ("--backend", self._backend, "--precision", self._precision)
        self._send(request_line("attend", **self._run.request(_MODULE, arguments)))
        self.device = f"{self._receive()['device']} of {self._host.name}"

    def _ask(self, question: bytes) -> dict[str, Array]:
        if self._process is None:
            self._call()
        self._send(question)
        answer = self._receive()
        if "error" in answer:
            raise UserError(f"{self.name}: {answer['error']}")
        content = self._stream("stdout").read(answer["size"])
        if len(content) < answer["size"]:
            raise self._lost()
        return arrays_from_bytes(content)

    def _send(self, content: bytes) -> None:
        try:
            self._stream("stdin").write(content)
            self._stream("stdin").flush()
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self) -> Answer:
        for line in iter(self._stream("stdout").readline, b""):
            answer = parse_answer(line)
            if answer is not None:
                return answer
        raise self._lost()

    def _lost(self) -> ConnectionLostError:
        """Why the far end has ended; raises it where connecting again would not help."""
        assert self._process is not None, "it was called"
        assert self._errors is not None, "made with the run"
        try:
            code = self._process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            self._hang_up()
            return ConnectionLostError(f"{self._host.address}: the far end does not end")
        self._errors.seek(0)
        errors = self._errors.read()
        self._hang_up()
        check_end(self._host, code, errors)
        return ConnectionLostError(f"{self._host.address}: the far end has ended")

    def _stream(self, name: str) -> Any:  # Any: one of the process's pipes
        return getattr(self._process, name)

    def _hang_up(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                assert stream is not None, "it was made with pipes"
                stream.close()
