/**
 * Finds the IP packet inside a captured frame, by link type. Pure.
 *
 * @see https://www.tcpdump.org/linktypes.html for the numbers.
 */

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;

/**
 * @returns Offset of the IP header within `bytes`; -1 where the frame carries no IP packet, -2 where the link type
 * is not known here.
 */
export function ipOffset(linkType: number, bytes: Uint8Array): number {
  switch (linkType) {
    case 0: // BSD loopback: the address family in host order.
    case 108: // OpenBSD loopback.
      return within(bytes, 4);
    case 1:
      return etherOffset(bytes, word16(bytes, 12), 14);
    case 9:
      return pppOffset(bytes, 0);
    case 12:
    case 14:
    case 101: // Raw IP.
    case 228: // Raw IPv4.
    case 229: // Raw IPv6.
      return within(bytes, 0);
    case 105:
      return wifiOffset(bytes, 0);
    case 113: // Linux cooked.
      return etherOffset(bytes, word16(bytes, 14), 16);
    case 127: // Radiotap, then 802.11.
      return wifiOffset(bytes, word16Little(bytes, 2));
    case 239:
      return nflogOffset(bytes);
    case 276: // Linux cooked, version 2.
      return etherOffset(bytes, word16(bytes, 0), 20);
    default:
      return -2;
  }
}

/** Peels VLAN and QinQ tags, MPLS labels and PPPoE. */
function etherOffset(bytes: Uint8Array, firstType: number, firstAt: number): number {
  let type = firstType;
  let at = firstAt;
  while (type === 0x8100 || type === 0x88a8 || type === 0x9100) {
    if (at + 4 > bytes.length) return -1;
    type = word16(bytes, at + 2);
    at += 4;
  }
  if (type === 0x8847 || type === 0x8848) {
    for (;;) {
      if (at + 4 > bytes.length) return -1;
      const isLast = ((bytes[at + 2] ?? 0) & 1) === 1;
      at += 4;
      if (isLast) return within(bytes, at);
    }
  }
  if (type === 0x8864) return pppOffset(bytes, at + 6);
  return type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6 ? within(bytes, at) : -1;
}

function pppOffset(bytes: Uint8Array, start: number): number {
  const at = word16(bytes, start) === 0xff03 ? start + 2 : start;
  const protocol = word16(bytes, at);
  return protocol === 0x0021 || protocol === 0x0057 ? within(bytes, at + 2) : -1;
}

/** Unencrypted 802.11 data frames. */
function wifiOffset(bytes: Uint8Array, start: number): number {
  const control = bytes[start] ?? 0;
  const flags = bytes[start + 1] ?? 0;
  if ((control & 0x0c) !== 0x08 || (flags & 0x40) !== 0) return -1;
  const at = start + 24 + ((control & 0x80) !== 0 ? 2 : 0) + ((flags & 3) === 3 ? 6 : 0);
  const isSnap = word16(bytes, at) === 0xaaaa && bytes[at + 2] === 3;
  return isSnap ? etherOffset(bytes, word16(bytes, at + 6), at + 8) : -1;
}

/** The payload is the TLV of type 9. */
function nflogOffset(bytes: Uint8Array): number {
  for (let at = 4; at + 4 <= bytes.length; ) {
    const length = word16Little(bytes, at);
    if ((word16Little(bytes, at + 2) & 0x7fff) === 9) return within(bytes, at + 4);
    at += Math.max(4, (length + 3) & ~3);
  }
  return -1;
}

function within(bytes: Uint8Array, at: number): number {
  return at < bytes.length ? at : -1;
}

function word16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function word16Little(bytes: Uint8Array, at: number): number {
  return ((bytes[at + 1] ?? 0) << 8) | (bytes[at] ?? 0);
}
