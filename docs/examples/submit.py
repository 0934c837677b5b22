"""Sends a file to a Forebay gateway and waits for the job's end, with nothing but the service's proto files.

    apt install python3-grpcio python3-protobuf protobuf-compiler      # or: pip install grpcio protobuf, and a protoc
    python docs/examples/submit.py 127.0.0.1:7401 clinical samples/patients.ndjson demo

Run again with the same job key, it goes on where the gateway has it durable.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import threading

import grpc

FRAME = 1 << 20  # the largest frame that the gateway takes


SERVICE = "/forebay.gateway.v1.GatewayService/"


def load_messages(folder):
    """Compiles the proto files into a temporary folder, and imports the gateway's messages."""
    out = tempfile.mkdtemp()
    files = ["forebay/common/v1/common.proto", "forebay/gateway/v1/gateway.proto"]
    subprocess.run(["protoc", f"-I{folder}", f"--python_out={out}", *files], check=True)
    sys.path.insert(0, out)
    return importlib.import_module("forebay.gateway.v1.gateway_pb2")


def submit(channel, pb, recipe, path, output, key, settings):
    """Submits one file. The gateway says first from where on it wants it, so the frames wait for that."""
    wanted = {}
    told = threading.Event()
    stat = os.stat(path)

    def requests():
        source = pb.StreamedInput(name=os.path.basename(path), size=stat.st_size, version=str(stat.st_mtime_ns))
        header = pb.SubmitHeader(
            key=key, shipped=recipe, settings=settings, format="auto", output=output, streams=[source]
        )
        yield pb.SubmitRequest(header=header)
        told.wait()
        with open(path, "rb") as file:
            if not wanted.get("complete"):
                file.seek(wanted.get("offset", 0))
                while data := file.read(FRAME):
                    offset = file.tell() - len(data)
                    yield pb.SubmitRequest(frame=pb.Frame(input=0, offset=offset, data=data))
        yield pb.SubmitRequest(end=pb.SubmitEnd())

    call = channel.stream_stream(
        SERVICE + "Submit", pb.SubmitRequest.SerializeToString, pb.SubmitResponse.FromString
    )
    for response in call(requests()):
        event = response.WhichOneof("event")
        if event == "accepted":
            for point in response.accepted.resume:
                wanted.update(offset=point.offset, complete=point.complete)
            told.set()
            if response.accepted.HasField("ended"):
                return
        elif event == "chunk_durable":
            print(f"durable: {response.chunk_durable.durable_bytes} bytes", file=sys.stderr)


def main():
    address, recipe, path, output = sys.argv[1:5]
    key = sys.argv[5] if len(sys.argv) > 5 else f"{output}-{os.path.basename(path)}"
    settings = dict(setting.split("=", 1) for setting in sys.argv[6:])
    here = os.path.dirname(os.path.abspath(__file__))
    pb = load_messages(os.path.join(here, "..", "..", "proto"))
    with grpc.insecure_channel(address) as channel:
        submit(channel, pb, recipe, path, output, key, settings)
        progress = None
        watch = channel.unary_stream(
            SERVICE + "WatchJob", pb.WatchJobRequest.SerializeToString, pb.WatchJobResponse.FromString
        )
        for response in watch(pb.WatchJobRequest(job=key)):
            progress = response.progress
    state = pb.JobState.Name(progress.summary.state)
    print(f"{key}: {state}, {progress.records_in} records in")
    for table in progress.rows_out:
        print(f"{table.table}: {table.rows} rows")
    sys.exit(0 if progress.summary.state == pb.JOB_STATE_DONE else 1)


if __name__ == "__main__":
    main()
