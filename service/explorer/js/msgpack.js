// MessagePack as the server writes it: tensors come as raw float32 instead of text.

const text = new TextDecoder();

/** The value in a buffer; binary parts are Uint8Arrays. */
export function decode(buffer) {
  const reader = { view: new DataView(buffer), at: 0 };
  return value(reader);
}

function value(r) {
  const tag = r.view.getUint8(r.at++);
  if (tag < 0x80) return tag;
  if (tag < 0x90) return map(r, tag & 0x0f);
  if (tag < 0xa0) return array(r, tag & 0x0f);
  if (tag < 0xc0) return string(r, tag & 0x1f);
  if (tag >= 0xe0) return tag - 0x100;
  return long(r, tag);
}

function long(r, tag) {
  switch (tag) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xc4: return binary(r, size(r, 1));
    case 0xc5: return binary(r, size(r, 2));
    case 0xc6: return binary(r, size(r, 4));
    case 0xca: return take(r, 4, "getFloat32");
    case 0xcb: return take(r, 8, "getFloat64");
    case 0xcc: return size(r, 1);
    case 0xcd: return size(r, 2);
    case 0xce: return size(r, 4);
    case 0xcf: return Number(take(r, 8, "getBigUint64"));
    case 0xd0: return take(r, 1, "getInt8");
    case 0xd1: return take(r, 2, "getInt16");
    case 0xd2: return take(r, 4, "getInt32");
    case 0xd3: return Number(take(r, 8, "getBigInt64"));
    case 0xd9: return string(r, size(r, 1));
    case 0xda: return string(r, size(r, 2));
    case 0xdb: return string(r, size(r, 4));
    case 0xdc: return array(r, size(r, 2));
    case 0xdd: return array(r, size(r, 4));
    case 0xde: return map(r, size(r, 2));
    case 0xdf: return map(r, size(r, 4));
    default: throw new Error(`MessagePack: tag ${tag} is not read here`);
  }
}

function take(r, count, method) {
  const found = r.view[method](r.at);
  r.at += count;
  return found;
}

const size = (r, count) => take(r, count, { 1: "getUint8", 2: "getUint16", 4: "getUint32" }[count]);

function binary(r, count) {
  const found = new Uint8Array(r.view.buffer, r.at, count).slice(); // aligned for float32
  r.at += count;
  return found;
}

function string(r, count) {
  const found = text.decode(new Uint8Array(r.view.buffer, r.at, count));
  r.at += count;
  return found;
}

function array(r, count) {
  return Array.from({ length: count }, () => value(r));
}

function map(r, count) {
  const found = {};
  for (let at = 0; at < count; at++) {
    const name = value(r);
    found[name] = value(r);
  }
  return found;
}

/** A tensor's numbers. int64 becomes float64, which holds every counter there is. */
export function numbers(tensor) {
  if (tensor.dtype !== "int64") return new Float32Array(tensor.data.buffer);
  return Float64Array.from(new BigInt64Array(tensor.data.buffer), Number);
}
