"""Drives Triton's own HTTP client, unmodified, against a Shoal gateway.

Usage: python3 triton_client.py HOST:PORT
The models `t-pair` (a, b: FP32 [N, 2] -> sum, product), `t-text` (x: BYTES [N, 2] -> y) and `t-labelled` (x: FP32 [N, 3]
-> y = x, with labels) must have been pushed. Prints one line of JSON: what was seen, for the test to judge.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def pair(binary):
    inputs = []
    for name, rows in (("a", [[2, 3], [1, 1]]), ("b", [[5, 7], [0.5, -1]])):
        given = triton.InferInput(name, [2, 2], "FP32")
        given.set_data_from_numpy(np.array(rows, dtype=np.float32), binary_data=binary)
        inputs.append(given)
    return inputs


def text(binary):
    given = triton.InferInput("x", [1, 2], "BYTES")
    given.set_data_from_numpy(np.array([["shoal", "größer 🐟".encode()]], dtype=np.object_), binary_data=binary)
    return [given]


def outputs_of(result, names=("sum", "product")):
    return {name: None if result.as_numpy(name) is None else result.as_numpy(name).tolist() for name in names}


def asked(name, binary, **more):
    return triton.InferRequestedOutput(name, binary_data=binary, **more)


def error_of(call):
    try:
        call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return None


def main(url):
    seen = {}
    with triton.InferenceServerClient(url, concurrency=4) as client:
        seen["live"] = client.is_server_live()
        seen["ready"] = client.is_server_ready()
        seen["model_ready"] = [
            client.is_model_ready("t-pair"), client.is_model_ready("t-pair", "1"), client.is_model_ready("t-none")]
        seen["server"] = client.get_server_metadata()
        seen["model"] = client.get_model_metadata("t-pair")
        seen["index"] = client.get_model_repository_index()

        seen["binary"] = outputs_of(client.infer("t-pair", pair(True)))
        seen["json"] = outputs_of(client.infer("t-pair", pair(False), outputs=[asked("sum", False), asked("product", False)]))
        mixed_inputs = [pair(True)[0], pair(False)[1]]
        mixed = client.infer("t-pair", mixed_inputs, outputs=[asked("product", True), asked("sum", False)], request_id="7")
        seen["mixed"] = outputs_of(mixed)
        seen["id"] = mixed.get_response().get("id")
        seen["one"] = outputs_of(client.infer("t-pair", pair(True), outputs=[asked("product", True)]))
        seen["parameters"] = outputs_of(client.infer(
            "t-pair", pair(True), model_version="1", priority=1, timeout=20_000_000, parameters={"mine": 42}))

        waiting = [client.async_infer("t-pair", pair(i % 2 == 0)) for i in range(8)]
        seen["async"] = [outputs_of(one.get_result()) for one in waiting]
        for coding in ("gzip", "deflate"):
            seen[coding] = outputs_of(client.infer(
                "t-pair", pair(True), request_compression_algorithm=coding, response_compression_algorithm=coding))

        seen["text"] = [
            [value.decode() for value in client.infer("t-text", text(binary)).as_numpy("y").flatten()] for binary in (True, False)]
        picture = triton.InferInput("x", [2, 3], "FP32")
        picture.set_data_from_numpy(np.array([[5, -2, 3], [0, 1, 2]], dtype=np.float32))
        classes = client.infer("t-labelled", [picture], outputs=[asked("y", True, class_count=2)])
        seen["classes"] = [value.decode() for value in classes.as_numpy("y").flatten()]

        seen["no_model"] = error_of(lambda: client.infer("t-none", pair(True)))
        seen["bad_input"] = error_of(lambda: client.infer("t-pair", text(True)))
    print(json.dumps(seen))


main(sys.argv[1])
