/* SPDX-License-Identifier: Apache-2.0 */
/* Layout of the records that packetDrain writes. Mirrored in bpf/native.ts (PACKET_RECORD). */
#ifndef THALWEG_PACKET_H
#define THALWEG_PACKET_H

#include <stddef.h>
#include <stdint.h>

struct packet_record {
	uint32_t record_bytes; /* with the bytes and padding to a multiple of 8 */
	uint32_t captured_bytes;
	uint32_t original_bytes; /* from the IP header on */
	uint32_t ifindex;
	uint8_t packet_type; /* PACKET_HOST … PACKET_OUTGOING */
	uint8_t reserved;
	uint16_t protocol; /* EtherType, host order */
	uint32_t seconds; /* CLOCK_REALTIME */
	uint32_t nanoseconds;
	uint32_t reserved2;
	uint8_t bytes[];
};

_Static_assert(offsetof(struct packet_record, captured_bytes) == 4, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, original_bytes) == 8, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, ifindex) == 12, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, packet_type) == 16, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, protocol) == 18, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, seconds) == 20, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, nanoseconds) == 24, "mirrored in native.ts");
_Static_assert(offsetof(struct packet_record, bytes) == 32, "mirrored in native.ts");

#endif
