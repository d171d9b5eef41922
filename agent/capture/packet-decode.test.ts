import assert from "node:assert/strict";
import { test } from "node:test";
import { ipOffset } from "./link-layer.ts";
import { addressText, addressWords, decodeIpPacket, makeTcpPacket } from "./packet-decode.ts";
import { ipPacket, randomOf } from "./packets.testkit.ts";

test("addresses as text and words", () => {
  const same = (text: string, canonical = text) => {
    const words = addressWords(text);
    assert.ok(words !== undefined, text);
    assert.equal(addressText(...words), canonical);
  };
  same("127.0.0.1");
  same("255.255.255.255");
  same("::ffff:10.1.2.3", "10.1.2.3");
  same("::ffff:a01:203", "10.1.2.3");
  same("::");
  same("::1");
  same("2001:db8::1");
  same("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1");
  same("fe80::1%eth0", "fe80::1");
  same("1:2:3:4:5:6:7:8");
  same("1:0:3:4:5:6:7:8");
  for (const text of ["", "1.2.3", "1.2.3.256", "1:2", "1::2::3", "g::", "1:2:3:4:5:6:7:8:9", ":::"]) {
    assert.equal(addressWords(text), undefined, text);
  }
});

test("verdicts", () => {
  const packet = makeTcpPacket();
  const verdict = (bytes: Buffer, wireBytes = bytes.length) =>
    decodeIpPacket(bytes, 0, bytes.length, wireBytes, packet);
  const change = (bytes: Buffer, at: number, value: number) => {
    const changed = Buffer.from(bytes);
    changed[at] = value;
    return changed;
  };
  const whole = ipPacket({ seq: 1, payload: "hello" });
  assert.equal(verdict(whole), "tcp");
  assert.equal(verdict(Buffer.alloc(0)), "malformed");
  assert.equal(verdict(change(whole, 0, 0x55)), "not_ip");
  assert.equal(verdict(change(whole, 0, 0x44)), "malformed", "header shorter than 20 bytes");
  assert.equal(verdict(change(whole, 6, 0x20)), "fragment", "more fragments");
  assert.equal(verdict(change(whole, 7, 1)), "fragment", "a later fragment");
  assert.equal(verdict(change(whole, 6, 0x40)), "tcp", "don't fragment is none");
  assert.equal(verdict(change(whole, 9, 17)), "udp");
  assert.equal(verdict(change(whole, 9, 1)), "not_tcp");
  assert.equal(verdict(whole.subarray(0, 30)), "header_cut");
  assert.equal(verdict(change(whole, 32, 0x40)), "malformed", "TCP header shorter than 20 bytes");
});

test("payload: padding is cut, what the snap length cut is counted, a length of 0 is the wire's", () => {
  const packet = makeTcpPacket();
  const whole = ipPacket({ seq: 1, payload: "hello" });
  const padded = Buffer.concat([whole, Buffer.alloc(9)]);
  decodeIpPacket(padded, 0, padded.length, padded.length, packet);
  assert.deepEqual([packet.payloadTotal, packet.payloadEnd - packet.payloadStart], [5, 5]);
  decodeIpPacket(whole, 0, 43, whole.length, packet);
  assert.deepEqual([packet.payloadTotal, packet.payloadEnd - packet.payloadStart], [5, 3]);
  const big = Buffer.from(whole);
  big.writeUInt16BE(0, 2);
  decodeIpPacket(big, 0, big.length, 100_040, packet);
  assert.deepEqual([packet.payloadTotal, packet.payloadEnd - packet.payloadStart], [100_000, 5]);
});

test("IPv6 extension headers are skipped, fragments are not put together", () => {
  const packet = makeTcpPacket();
  const whole = ipPacket({ seq: 1, payload: "hello", ipv6: true });
  const withHeader = (kind: number, header: Buffer) => {
    const bytes = Buffer.concat([whole.subarray(0, 40), header, whole.subarray(40)]);
    bytes[6] = kind;
    bytes.writeUInt16BE(bytes.length - 40, 4);
    return bytes;
  };
  const verdict = (bytes: Buffer) => decodeIpPacket(bytes, 0, bytes.length, bytes.length, packet);
  assert.equal(verdict(whole), "tcp");
  assert.equal(verdict(withHeader(0, Buffer.from([6, 0, 1, 4, 0, 0, 0, 0]))), "tcp");
  assert.equal(packet.payloadTotal, 5);
  assert.equal(verdict(withHeader(44, Buffer.from([6, 0, 0, 0, 0, 0, 0, 9]))), "tcp", "an atomic fragment is whole");
  assert.equal(verdict(withHeader(44, Buffer.from([6, 0, 0, 1, 0, 0, 0, 9]))), "fragment");
  assert.equal(verdict(withHeader(0, Buffer.from([6, 255, 1, 4, 0, 0, 0, 0]))), "malformed");
});

test("link types", () => {
  const ip = ipPacket({ seq: 1, payload: "hello" });
  const ether = (...types: number[]) => Buffer.concat([Buffer.alloc(12), ...types.map(word)]);
  const word = (value: number) => Buffer.from([value >> 8, value & 255]);
  const at = (linkType: number, ...head: Buffer[]) => {
    const before = Buffer.concat(head);
    const frame = Buffer.concat([before, ip]);
    assert.equal(ipOffset(linkType, frame), before.length, `link type ${linkType}`);
  };
  at(101);
  at(228);
  at(0, Buffer.from([2, 0, 0, 0]));
  at(108, Buffer.from([0, 0, 0, 2]));
  at(1, ether(0x0800));
  at(1, ether(0x8100, 5, 0x0800));
  at(1, ether(0x88a8, 5, 0x8100, 6, 0x0800));
  at(1, ether(0x8847), Buffer.from([0, 1, 0, 64, 0, 1, 1, 64]));
  at(1, ether(0x8864), Buffer.from([0x11, 0, 0, 1, 0, 44, 0, 0x21]));
  at(113, Buffer.alloc(14), word(0x0800));
  at(276, word(0x0800), Buffer.alloc(18));
  at(9, Buffer.from([0xff, 3, 0, 0x21]));
  assert.equal(ipOffset(1, Buffer.concat([ether(0x0806), Buffer.alloc(28)])), -1, "ARP");
  assert.equal(ipOffset(1, Buffer.alloc(10)), -1, "cut");
  assert.equal(ipOffset(999, ip), -2);
});

test("property: no bytes make the decoders throw or read past their end", () => {
  const random = randomOf(7);
  const packet = makeTcpPacket();
  const seeds = [ipPacket({ seq: 1, payload: "hello" }), ipPacket({ seq: 1, payload: "hello", ipv6: true })];
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(seeds[round % 2] ?? Buffer.alloc(0)).subarray(0, Math.floor(random() * 80));
    for (let flips = 0; flips < 4; flips++) {
      const at = Math.floor(random() * bytes.length);
      if (at < bytes.length) bytes[at] = Math.floor(random() * 256);
    }
    const verdict = decodeIpPacket(bytes, 0, bytes.length, bytes.length, packet);
    if (verdict !== "tcp") continue;
    assert.ok(
      packet.payloadTotal >= 0 && packet.payloadEnd <= bytes.length && packet.payloadStart <= packet.payloadEnd,
    );
    assert.ok(packet.payloadEnd - packet.payloadStart <= packet.payloadTotal);
  }
  for (const linkType of [0, 1, 9, 105, 113, 127, 239, 276]) {
    for (let length = 0; length < 40; length++) {
      const bytes = Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
      assert.ok(ipOffset(linkType, bytes) < Math.max(1, length));
    }
  }
});
