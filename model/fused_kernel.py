# pyright: basic, reportMissingImports=false
"""Rows of the Neural Turing Machine in one kernel, for GPUs, in the Triton language.

    slot src --memory to the chip--> K rows: controller, write, read --> slot dst, y (B, K, Y)

One program runs one session. It reads the session's memory once and writes it once, however many
rows there are between, and addresses slots itself: nothing is gathered or scattered around it. What
a row hands on beside the memory is small, and goes through `scratch`, where the program's threads
meet (`debug_barrier` is the block's barrier). The equations are those of Graves, Wayne and
Danihelka 2014 (arXiv 1410.5401); N slots, M word width, H controller, S shifts.

`fused_ntm.py` calls it. TRITON_INTERPRET=1 runs it on a CPU, slowly.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _layer(
    inputs, weights, bias, out, size: tl.constexpr, width: tl.constexpr, chunk: tl.constexpr
):
    """W u + b for the columns `out`. inputs: (size,), weights: (size, width), out: columns."""
    total = tl.load(bias + out, mask=out < width, other=0.0)
    for begin in range(0, size, chunk):
        at = begin + tl.arange(0, chunk)
        u = tl.load(inputs + at, mask=at < size, other=0.0)
        inside = (at < size)[:, None] & (out < width)[None, :]
        w = tl.load(weights + at[:, None] * width + out[None, :], mask=inside, other=0.0)
        total += tl.sum(u[:, None] * w, 0)
    return total


@triton.jit
def _tanh(u):
    return 2 * tl.sigmoid(2 * u) - 1


@triton.jit
def _softplus(u):
    return tl.where(u > 20, u, tl.log(1 + tl.exp(tl.minimum(u, 20.0))))


@triton.jit
def _address(
    emitted, memory, previous, ring, slot, word,
    N: tl.constexpr, M: tl.constexpr, S: tl.constexpr, BS: tl.constexpr, SOFTMAX: tl.constexpr,
    EPS: tl.constexpr,
):  # fmt: skip
    """A head's weights w_t (BN,), from what the controller emitted for it: k, beta, g, s, gamma."""
    key = _tanh(tl.load(emitted + word, mask=word < M, other=0.0))
    strength = _softplus(tl.load(emitted + M))  # beta_t > 0
    gate = tl.sigmoid(tl.load(emitted + M + 1))  # g_t in (0, 1)
    j = tl.arange(0, BS)
    logits = tl.load(emitted + M + 2 + j, mask=j < S, other=float("-inf"))
    shift = tl.exp(logits - tl.max(logits, 0))
    shift = shift / tl.sum(shift, 0)  # s_t sums to 1
    sharpness = 1 + _softplus(tl.load(emitted + M + 2 + S))  # gamma_t >= 1

    # K[k, M(i)] = k.M(i) / (|k| |M(i)|)                                  (eq. 6)
    norms = tl.sqrt(tl.sum(key * key, 0)) * tl.sqrt(tl.sum(memory * memory, 1))
    cosine = tl.sum(memory * key[None, :], 1) / (norms + EPS)
    # w_c = softmax(beta K)                                               (eq. 5)
    score = tl.where(slot < N, strength * cosine, float("-inf"))
    content = tl.exp(score - tl.max(score, 0))
    content = content / tl.sum(content, 0)
    # w_g = g w_c + (1 - g) w_{t-1}                                       (eq. 7)
    before = tl.load(previous + slot, mask=slot < N, other=0.0)
    gated = gate * content + (1 - gate) * before
    # w~(i) = sum_j w_g(i - j) s(j), around the ring                      (eq. 8)
    tl.debug_barrier()  # the ring may still be read by the head before
    tl.store(ring + slot, gated, mask=slot < N)
    tl.debug_barrier()
    moved = tl.zeros_like(gated)
    for at in tl.static_range(S):
        source = (slot + N - (at - S // 2)) % N
        share = tl.sum(tl.where(j == at, shift, 0.0), 0)
        moved += tl.load(ring + source, mask=slot < N, other=0.0) * share
    # w(i) = w~(i)^gamma / sum w~^gamma, scaled by its largest first      (eq. 9)
    if SOFTMAX:
        score = tl.where(slot < N, sharpness * moved, float("-inf"))
        power = tl.exp(score - tl.max(score, 0))
    else:
        scaled = moved / tl.maximum(tl.max(moved, 0), EPS)
        power = tl.where(scaled > 0, tl.exp(sharpness * tl.log(tl.maximum(scaled, 1e-37))), 0.0)
    return power / tl.sum(power, 0)


@triton.jit
def ntm_rows(
    memories, read_weights, write_weights, reads, hiddens, cells,  # slot arrays (slots, *dims)
    sources, targets, x, y, scratch,
    gates, gates_bias, write, write_bias, read, read_bias, output, output_bias,
    K, X: tl.constexpr, Y: tl.constexpr, N: tl.constexpr, M: tl.constexpr, H: tl.constexpr,
    R: tl.constexpr, W: tl.constexpr, S: tl.constexpr,
    BX: tl.constexpr, BY: tl.constexpr, BN: tl.constexpr, BM: tl.constexpr, BH: tl.constexpr,
    BS: tl.constexpr, BA: tl.constexpr, BE: tl.constexpr, CHUNK: tl.constexpr,
    SCRATCH: tl.constexpr, SOFTMAX: tl.constexpr, SIGMOID: tl.constexpr, LIMIT: tl.constexpr,
    EPS: tl.constexpr,
):  # fmt: skip
    """K rows of one session: program b takes slot sources[b] to slot targets[b]."""
    b = tl.program_id(0).to(tl.int64)
    src, dst = tl.load(sources + b), tl.load(targets + b)
    slot, word, unit = tl.arange(0, BN), tl.arange(0, BM), tl.arange(0, BH)
    in_x, in_y = tl.arange(0, BX), tl.arange(0, BY)
    address: tl.constexpr = M + 3 + S  # what a head emits for its addressing
    emits: tl.constexpr = address + 2 * M  # and a write head, erase and add beside
    whole = (slot < N)[:, None] & (word < M)[None, :]
    tile = slot[:, None] * M + word[None, :]

    # Scratch: what the controller is shown (x, reads, hidden), what it emits, a ring of N.
    shown = scratch + b * SCRATCH
    told = shown + X + R * M + H
    ring = told + W * emits + R * address
    memory = tl.load(memories + src * N * M + tile, mask=whole, other=0.0)
    cell = tl.load(cells + src * H + unit, mask=unit < H, other=0.0)
    hidden = tl.load(hiddens + src * H + unit, mask=unit < H, other=0.0)
    tl.store(shown + X + R * M + unit, hidden, mask=unit < H)
    for head in tl.static_range(R):
        last = tl.load(reads + (src * R + head) * M + word, mask=word < M, other=0.0)
        tl.store(shown + X + head * M + word, last, mask=word < M)
        focus = tl.load(read_weights + (src * R + head) * N + slot, mask=slot < N, other=0.0)
        tl.store(read_weights + (dst * R + head) * N + slot, focus, mask=slot < N)
    for head in tl.static_range(W):
        focus = tl.load(write_weights + (src * W + head) * N + slot, mask=slot < N, other=0.0)
        tl.store(write_weights + (dst * W + head) * N + slot, focus, mask=slot < N)

    for k in range(K):
        row = tl.load(x + (b * K + k) * X + in_x, mask=in_x < X, other=0.0)
        tl.store(shown + in_x, tl.minimum(tl.maximum(row, -LIMIT), LIMIT), mask=in_x < X)
        tl.debug_barrier()
        # The LSTM: one layer for its four gates, input, forget, cell and output.
        sight: tl.constexpr = X + R * M + H
        wide = unit < H
        i = tl.sigmoid(
            _layer(shown, gates, gates_bias, tl.where(wide, unit, 4 * H), sight, 4 * H, CHUNK)
        )
        f = tl.sigmoid(
            _layer(shown, gates, gates_bias, tl.where(wide, H + unit, 4 * H), sight, 4 * H, CHUNK)
        )
        g = _tanh(
            _layer(
                shown, gates, gates_bias, tl.where(wide, 2 * H + unit, 4 * H), sight, 4 * H, CHUNK
            )
        )
        o = tl.sigmoid(
            _layer(
                shown, gates, gates_bias, tl.where(wide, 3 * H + unit, 4 * H), sight, 4 * H, CHUNK
            )
        )
        cell = f * cell + i * g
        hidden = o * _tanh(cell)
        tl.debug_barrier()  # all have read the last hidden
        heard = shown + X + R * M
        tl.store(heard + unit, hidden, mask=wide)
        tl.debug_barrier()
        e = tl.arange(0, BE)
        a = tl.arange(0, BA)
        tl.store(
            told + e, _layer(heard, write, write_bias, e, H, W * emits, CHUNK), mask=e < W * emits
        )
        tl.store(
            told + W * emits + a,
            _layer(heard, read, read_bias, a, H, R * address, CHUNK),
            mask=a < R * address,
        )
        tl.debug_barrier()

        # M_t(i) = M_{t-1}(i) prod_w [1 - w(i) e] + sum_w w(i) a          (eqs. 3 and 4)
        kept = tl.full([BN, BM], 1.0, tl.float32)
        added = tl.zeros([BN, BM], tl.float32)
        for head in tl.static_range(W):
            emitted = told + head * emits
            place = write_weights + (dst * W + head) * N
            w = _address(emitted, memory, place, ring, slot, word, N, M, S, BS, SOFTMAX, EPS)
            tl.debug_barrier()
            tl.store(place + slot, w, mask=slot < N)
            erase = tl.sigmoid(tl.load(emitted + address + word, mask=word < M, other=0.0))
            add = _tanh(tl.load(emitted + address + M + word, mask=word < M, other=0.0))
            kept *= 1 - w[:, None] * erase[None, :]
            added += w[:, None] * add[None, :]
        memory = tl.where(whole, memory * kept + added, 0.0)

        # r_t = sum_i w(i) M_t(i)                                         (eq. 2)
        for head in tl.static_range(R):
            emitted = told + W * emits + head * address
            place = read_weights + (dst * R + head) * N
            w = _address(emitted, memory, place, ring, slot, word, N, M, S, BS, SOFTMAX, EPS)
            tl.debug_barrier()
            tl.store(place + slot, w, mask=slot < N)
            tl.store(shown + X + head * M + word, tl.sum(w[:, None] * memory, 0), mask=word < M)
        tl.debug_barrier()
        logits = _layer(shown + X, output, output_bias, in_y, R * M + H, Y, CHUNK)
        tl.store(
            y + (b * K + k) * Y + in_y, tl.sigmoid(logits) if SIGMOID else logits, mask=in_y < Y
        )
        tl.debug_barrier()

    tl.store(memories + dst * N * M + tile, memory, mask=whole)
    tl.store(cells + dst * H + unit, cell, mask=unit < H)
    tl.store(hiddens + dst * H + unit, hidden, mask=unit < H)
    for head in tl.static_range(R):
        last = tl.load(shown + X + head * M + word, mask=word < M, other=0.0)
        tl.store(reads + (dst * R + head) * M + word, last, mask=word < M)
