/**
 * The Huffman code of HPACK, decoded four bits at a time.
 *
 * The code is canonical: its lengths define it. They are kept as text, and the table is made of them when the module
 * is loaded. The shortest code has five bits, so four bits never end more than one symbol.
 *
 * @see RFC 7541 section 5.2 and appendix B
 */

/** Code lengths of symbols 0 to 256 (end of string), each a digit in base 36. */
const LENGTHS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6ca" +
  "d67777777777777777777777878djde6f56565666577666567655677777fbeds" +
  "kmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrq" +
  "u";

const SYMBOLS = 257;
const END_OF_STRING = 256;
const BITS_MAX = 30;
/** The code is a full tree: it has one inner node less than leaves. */
const NODES = SYMBOLS - 1;
const PADDING_BITS_MAX = 7;

/** Of a step: the symbol in bits 0 to 7, whether there is one, the next node from bit 16 on; -1 where there is no way on. */
const HAS_SYMBOL = 0x100;
const NODE_SHIFT = 16;

const { steps, mayEnd } = buildSteps();

/**
 * Decodes `bytes[start, end)` into `out`, which must have room for 8/5 of their number.
 *
 * @returns How many bytes were written; -1 where the code is not valid: end of string inside, or padding that is none.
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let node = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    let step = steps[(node << 4) | (byte >> 4)] as number;
    if (step < 0) return -1;
    if ((step & HAS_SYMBOL) !== 0) out[length++] = step;
    step = steps[((step >> NODE_SHIFT) << 4) | (byte & 15)] as number;
    if (step < 0) return -1;
    if ((step & HAS_SYMBOL) !== 0) out[length++] = step;
    node = step >> NODE_SHIFT;
  }
  return mayEnd[node] === 1 ? length : -1;
}

/** Children of inner nodes: a node from 0 on, or the complement of a symbol. */
function buildTree(): Int32Array {
  const children = new Int32Array(NODES * 2);
  let nodes = 1;
  let code = 0;
  for (let bits = 1; bits <= BITS_MAX; bits++) {
    code *= 2;
    for (let symbol = 0; symbol < SYMBOLS; symbol++) {
      if (Number.parseInt(LENGTHS[symbol] as string, 36) !== bits) continue;
      let node = 0;
      for (let bit = bits - 1; bit > 0; bit--) {
        const at = node * 2 + ((code >> bit) & 1);
        if (children[at] === 0) children[at] = nodes++;
        node = children[at] as number;
      }
      children[node * 2 + (code & 1)] = ~symbol;
      code++;
    }
  }
  return children;
}

function buildSteps(): { steps: Int32Array; mayEnd: Uint8Array } {
  const children = buildTree();
  const steps = new Int32Array(NODES * 16);
  for (let from = 0; from < NODES; from++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = from;
      let symbol = -1;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + ((nibble >> bit) & 1)] as number;
        if (child < 0) symbol = ~child;
        node = Math.max(child, 0);
      }
      const found = symbol < 0 ? 0 : HAS_SYMBOL | symbol;
      steps[from * 16 + nibble] = symbol === END_OF_STRING ? -1 : (node << NODE_SHIFT) | found;
    }
  }
  // Padding is the beginning of end of string, all ones, and shorter than a byte.
  const mayEnd = new Uint8Array(NODES);
  for (let node = 0, bits = 0; bits <= PADDING_BITS_MAX; bits++) {
    mayEnd[node] = 1;
    node = children[node * 2 + 1] as number;
  }
  return { steps, mayEnd };
}
