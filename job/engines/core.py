"""OpenVINO's core, one for the whole process."""

import functools

import openvino


@functools.cache
def core() -> openvino.Core:
    """The one OpenVINO core of this process, made at the first call and kept to the end.

    Its CPU plugin swaps the process's alternate signal stack when it is loaded and puts the former
    one back when it is freed. Of two cores freed in the order they were made, the second puts back
    a stack that is gone, and the next signal ends the process (seen with OpenVINO 2023.3).
    """
    return openvino.Core()
