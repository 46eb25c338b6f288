"""Runs a model by onnxruntime: check_onnx.py MODEL IDS BATCH LOGITS reads 64-bit ids, writes 32-bit logits."""
import sys

import numpy
import onnxruntime

model, ids, batch, logits = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
read = numpy.fromfile(ids, dtype="<i8").reshape(int(batch), -1)
session.run(["logits"], {"input_ids": read})[0].astype("<f4").tofile(logits)
