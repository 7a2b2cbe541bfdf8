"""The example in C gives the features of Python on a golden window, with the library of the installed wheel.

The wheel has the library without its header. The part of the header that the example uses is declared here: places in
the table of functions, which ONNX Runtime only ever extends at its end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from imu_video.export.folder import serialised
from imu_video.export.runtime import load_onnx
from tests.export.models import facts, network

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "onnx_c" / "encode.c"
TYPES = (
    "Status", "Env", "SessionOptions", "Session", "RunOptions", "MemoryInfo", "Value", "TensorTypeAndShapeInfo",
)  # fmt: skip
TABLE = {
    2: "const char *(*GetErrorMessage)(const OrtStatus *)",
    3: "OrtStatus *(*CreateEnv)(int, const char *, OrtEnv **)",
    7: "OrtStatus *(*CreateSession)(const OrtEnv *, const char *, const OrtSessionOptions *, OrtSession **)",
    9: "OrtStatus *(*Run)(OrtSession *, const OrtRunOptions *, const char *const *, const OrtValue *const *, size_t, "
    "const char *const *, size_t, OrtValue **)",
    10: "OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **)",
    24: "OrtStatus *(*SetIntraOpNumThreads)(OrtSessionOptions *, int)",
    49: "OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, "
    "int, OrtValue **)",
    51: "OrtStatus *(*GetTensorMutableData)(OrtValue *, void **)",
    64: "OrtStatus *(*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo *, size_t *)",
    65: "OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *, OrtTensorTypeAndShapeInfo **)",
    69: "OrtStatus *(*CreateCpuMemoryInfo)(int, int, OrtMemoryInfo **)",
    92: "void (*ReleaseEnv)(OrtEnv *)",
    93: "void (*ReleaseStatus)(OrtStatus *)",
    94: "void (*ReleaseMemoryInfo)(OrtMemoryInfo *)",
    95: "void (*ReleaseSession)(OrtSession *)",
    96: "void (*ReleaseValue)(OrtValue *)",
    99: "void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo *)",
    100: "void (*ReleaseSessionOptions)(OrtSessionOptions *)",
}


def header() -> str:
    """Declarations for the functions that the example calls, at their places in the table."""
    lines = ["#include <stddef.h>", "#include <stdint.h>", "#define ORT_API_VERSION 7"]
    lines += [f"typedef struct Ort{name} Ort{name};" for name in TYPES]
    lines += ["enum { ORT_LOGGING_LEVEL_ERROR = 3, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1 };"]
    lines += ["enum { OrtDeviceAllocator = 0, OrtMemTypeDefault = 0 };", "typedef struct OrtApi {"]
    place = 0
    for index, declaration in TABLE.items():
        if index > place:
            lines.append(f"void *others_{place}[{index - place}];")
        lines.append(f"{declaration};")
        place = index + 1
    lines += ["} OrtApi;", "typedef struct { const OrtApi *(*GetApi)(uint32_t); } OrtApiBase;"]
    return "\n".join([*lines, "const OrtApiBase *OrtGetApiBase(void);", ""])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    compiler = shutil.which("cc")
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if compiler is None or not libraries:
        pytest.skip("no C compiler, or no library of ONNX Runtime for it")
    folder = tmp_path_factory.mktemp("c")
    (folder / "onnxruntime_c_api.h").write_text(header())
    built = folder / "encode"
    words = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(built), f"-I{folder}"]
    library = folder / "libonnxruntime.so.1"  # the name that the library has for the loader
    library.symlink_to(libraries[0])
    words += [str(library), f"-Wl,-rpath,{folder}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


def run(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]}
    command = [str(program), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def test_c_gives_the_features_of_python(program: Path, tmp_path: Path) -> None:
    graph = network()
    (tmp_path / "model.onnx").write_bytes(serialised(graph.model, facts(graph)))
    window = np.random.default_rng(0).normal(size=(1, 6, 100)).astype(np.float32)
    window[0, 2, 10:30] = np.nan
    (tmp_path / "window.f32").write_bytes(window.tobytes())
    expected = load_onnx(tmp_path / "model.onnx").encode(window, rate_hz=50, check_units=False)[0]
    done = run(program, tmp_path / "model.onnx", tmp_path / "window.f32", 6, 100, "features")
    assert done.returncode == 0, done.stderr
    assert np.array([float(line) for line in done.stdout.split()], np.float32).tolist() == expected.tolist()


def test_c_names_what_is_wrong(program: Path, tmp_path: Path) -> None:
    (tmp_path / "window.f32").write_bytes(b"\0" * 8)
    short = run(program, tmp_path / "no.onnx", tmp_path / "window.f32", 6, 100, "features")
    assert (short.returncode, short.stderr) == (1, f"{tmp_path}/window.f32: expected 600 float32 values\n")
    missing = run(program, tmp_path / "no.onnx", tmp_path / "window.f32", 1, 2, "features")
    assert missing.returncode == 1
    assert missing.stderr.startswith("ONNX Runtime: ")
    assert run(program).returncode == 2
