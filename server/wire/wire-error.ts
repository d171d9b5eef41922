/**
 * The one error decoders of this room raise: input that cannot be decoded at all.
 */

/** Why bytes or text cannot be decoded. Never leaves the room: a decoder's door turns it into a `malformed` result. */
export class WireError extends Error {
  /** Byte (protobuf) or UTF-16 unit (JSON) where decoding stopped. */
  readonly offset: number;

  constructor(reason: string, offset: number) {
    super(reason);
    this.name = "WireError";
    this.offset = offset;
  }
}
