"""The client code for VideoGen, made from proto/ when it is missing or outdated.

A backend of your own would make it once, in its build:

    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/videogen/v1/videogen.proto
"""

import pathlib
import subprocess
import sys

_here = pathlib.Path(__file__).resolve().parent
_protos = _here.parent.parent / "proto"
_source = _protos / "videogen/v1/videogen.proto"
_folder = _here / "generated"
_made = _folder / "videogen/v1/videogen_pb2_grpc.py"

if not _made.exists() or _made.stat().st_mtime < _source.stat().st_mtime:
    _folder.mkdir(exist_ok=True)
    _outputs = [f"--python_out={_folder}", f"--pyi_out={_folder}", f"--grpc_python_out={_folder}"]
    _protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{_protos}", *_outputs, str(_source)]
    subprocess.run(_protoc, check=True)

sys.path.insert(0, str(_folder))

from videogen.v1 import videogen_pb2 as pb  # noqa: E402, F401
from videogen.v1 import videogen_pb2_grpc as rpc  # noqa: E402, F401
